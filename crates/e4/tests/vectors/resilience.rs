//! Formats and tables of the resilience modules.

use crate::fields::{
    Case, delta, enc, enc_changes, enc_f64, f64_of, hex, list, number, text, utf8,
};
use polity_e4::Mode;
use polity_e4::keys::key_id;
use polity_e4::resilience::{
    aggregate_hash, bandwidth, convergence_bound, domain_hash, epoch_hash, fixed_sum, kahan_sum,
    partition_strategy, region_for, region_summary, schema_hash, sketch_size, sorted_sum,
    sparse_trust, tag, vouch_hash, weighted_average,
};
use polity_e4::schemes::Scheme;
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "domain_hash" => {
            let bytes = |name: &str| hex(&input[name]);
            let clock = bytes("clock_hex");
            let tag = number(&input["domain"]) as u8;
            assert!((tag::ROOT..=tag::EVIDENCE).contains(&tag));
            let aggregate = aggregate_hash(
                &bytes("merkle_root_hex"),
                &clock,
                &bytes("trust_hash_hex"),
                &bytes("bounds_hex"),
            );
            case.expect(&json!({"aggregate_hex": enc(aggregate),
                "domain_hash_of_clock_hex": enc(domain_hash(tag, &clock)),
                "epoch_scoped_hash_of_clock_hex":
                    enc(epoch_hash(tag, number(&input["epoch"]), &clock))}));
        }
        "sparse_trust_delta" => {
            let peers: Vec<(String, Vec<f64>)> = list(&input["peers"])
                .iter()
                .map(|peer| (utf8(&peer[0]), floats(&peer[1])))
                .collect();
            let epoch = number(&input["epoch"]) as u32;
            let bytes = sparse_trust(epoch, &peers, Mode::Compatible).unwrap();
            case.expect(&json!({"bytes_hex": enc(bytes)}));
        }
        "region_summary" => {
            let statistics = floats(&input["min_max_median_mean_f64"]);
            let bytes = region_summary(
                &utf8(&input["region_utf8"]),
                number(&input["peer_count"]) as u32,
                statistics.try_into().unwrap(),
                number(&input["epoch"]) as u32,
            );
            case.expect(&json!({"bytes_hex": enc(bytes.unwrap())}));
        }
        "region_for" => {
            let peer = utf8(&input["peer_utf8"]);
            case.expect(&json!(
                region_for(&peer, number(&input["region_count"])).unwrap()
            ));
        }
        "vouch_hash" => {
            let devices: Vec<String> = list(&input["devices_utf8"]).iter().map(utf8).collect();
            let digest = vouch_hash(
                &utf8(&input["institution_utf8"]),
                &devices,
                f64_of(&input["ceiling_f64"]),
                &floats(&input["dimensions_f64"]),
                f64_of(&input["timestamp_f64"]),
                Mode::Compatible,
            );
            case.expect(&json!({"hash_hex": enc(digest.unwrap())}));
        }
        "signature_scheme" => {
            let label = text(&input["scheme"]);
            let scheme = Scheme::from_label(label).unwrap_or_else(|| panic!("no scheme: {label}"));
            let pair = scheme.generate(&hex(&input["seed_hex"]));
            let message = hex(&input["message_hex"]);
            let signature = scheme.sign(&pair.private, &message).unwrap();
            assert!(scheme.verify(&pair.public, &message, &signature));
            assert!(!scheme.verify(&pair.public, b"another", &signature));
            case.expect(&json!({"private_hex": enc(pair.private),
                "public_hex": enc(pair.public), "signature_hex": enc(signature)}));
        }
        "key_id" => case.expect(&json!(key_id(&hex(&input["public_hex"])))),
        "deterministic_sum" => {
            let (values, weights) = (floats(&input["values_f64"]), floats(&input["weights_f64"]));
            case.expect(&json!({"sorted_kahan_f64": enc_f64(sorted_sum(&values)),
                "kahan_in_order_f64": enc_f64(kahan_sum(&values)),
                "integer_2p24_f64": enc_f64(fixed_sum(&values).unwrap()),
                "weighted_avg_f64": enc_f64(weighted_average(&values, &weights))}));
        }
        "convergence_bound" => {
            let bound = convergence_bound(
                number(&input["peers"]),
                f64_of(&input["interval_f64"]),
                f64_of(&input["rate_f64"]),
                f64_of(&input["divergence_f64"]),
            );
            case.expect(&json!({"rounds": bound.rounds as u64,
                "time_f64": enc_f64(bound.seconds),
                "post_partition_f64": enc_f64(bound.seconds_after_partition)}));
        }
        "scale_tables" => {
            let peers = number(&input["peers"]);
            case.expect(&json!({"sketch": sketch_size(peers), "bandwidth": bandwidth(peers)}));
        }
        "partition_strategy" => case.expect(&json!(partition_strategy(
            number(&input["local_epoch"]),
            number(&input["remote_epoch"]),
            number(&input["retention"]),
        ))),
        "schema_hash" => {
            let fields: Vec<(String, String, u64)> = list(&input["fields"])
                .iter()
                .map(|f| {
                    (
                        text(&f[0]).to_owned(),
                        text(&f[1]).to_owned(),
                        number(&f[2]),
                    )
                })
                .collect();
            let schema = utf8(&input["schema_utf8"]);
            case.expect(&json!(schema_hash(
                &schema,
                number(&input["version"]),
                &fields
            )));
        }
        "composition_spec" => {
            let composition = delta(&input["a"]).compose_spec(&delta(&input["b"]));
            let mut found = enc_changes(&composition.delta);
            found["tombstones"] = composition.tombstones.iter().map(enc).collect();
            found["conflicts"] = composition
                .conflicts
                .iter()
                .map(|(key, conflict)| json!([enc(key), conflict.label()]))
                .collect();
            case.expect(&found);
        }
        _ => case.unknown(),
    }
}

fn floats(value: &Value) -> Vec<f64> {
    list(value).iter().map(f64_of).collect()
}
