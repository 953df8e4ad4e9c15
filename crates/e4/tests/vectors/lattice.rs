//! The lattice in both versions.

use crate::fields::{
    Case, enc, enc_score, f64_of, flag, flat_score, hex, list, number, peers, text, utf8,
};
use crate::pco::unsigned_delta;
use polity_e4::breaker::{Breaker, Parameters};
use polity_e4::clock::{Clock, Entry};
use polity_e4::delta::Delta;
use polity_e4::evidence::{self, Evidence, Kind};
use polity_e4::lattice::{Lattice, Local, Version};
use polity_e4::score::{DIMENSIONS, Peers, Score};
use polity_e4::{Mode, Refusal, pco};
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    let version = match case.version {
        Some("0.9.7") => Version::Old,
        Some("0.11.0") => Version::New,
        other => panic!("nobody here knows the version {other:?}"),
    };
    match case.op() {
        "observe_sequence" => observe(case, input, version),
        "merge" => {
            let a = lattice("A", version, peers(&input["a"]), None);
            let merged = a
                .merge(&lattice("B", version, peers(&input["b"]), None))
                .unwrap();
            let peers: Vec<Value> = merged
                .peers()
                .iter()
                .map(|(peer, score)| {
                    json!([
                        enc(peer),
                        enc_score(score),
                        enc(score.to_text()),
                        score.level()
                    ])
                })
                .collect();
            case.expect(&json!({"peers": peers,
                "trust_root_digest": merged.trust_root(),
                "peer_id_utf8": enc(merged.local())}));
        }
        "normalized_scores" => {
            let lattice = lattice("A", version, peers(&input["peers"]), None);
            case.expect(&enc_peers(&lattice.normalized()));
        }
        "receive_trust_delta_default_encoder" => receive(case, input, version),
        "breaker_in_lattice" => {
            let count = number(&input["peers"]);
            let initial: Peers = (0..count)
                .map(|index| (format!("p{index}"), zeroes()))
                .collect();
            let breaker = Some(Breaker::new(Parameters::default()));
            let mut lattice = lattice("me", version, initial, breaker);
            let found: Vec<&str> = list(&input["observe"])
                .iter()
                .map(|step| {
                    let target = utf8(&step[0]);
                    let proof = [&[0; 32], target.as_bytes()].concat();
                    let evidence = Evidence::new(
                        "observer",
                        &target,
                        Kind::InvalidDelta,
                        text(&step[1]),
                        f64_of(&step[2]),
                        proof,
                        0.0,
                    );
                    match lattice.observe(0.0, &evidence, &evidence::Context::default(), &local(""))
                    {
                        Ok(_) => "ok",
                        Err(Refusal::BreakerTripped) => "tripped",
                        Err(other) => panic!("{other}"),
                    }
                })
                .collect();
            case.expect(&json!(found));
        }
        _ => case.unknown(),
    }
}

fn zeroes() -> Score {
    let mut score = Score::default();
    for dimension in DIMENSIONS {
        let observers = score.evidence.entry(dimension.to_owned()).or_default();
        observers.insert("z".to_owned(), 0.0);
    }
    score
}

fn lattice(local: &str, version: Version, peers: Peers, breaker: Option<Breaker>) -> Lattice {
    Lattice::new(local, version, Mode::Compatible, peers, breaker).unwrap()
}

fn local(root: &str) -> Local<'_> {
    Local {
        root,
        clock: Vec::new(),
        seconds: 1_800_000_000,
        sign: None,
    }
}

fn enc_peers(peers: &Peers) -> Value {
    peers
        .iter()
        .map(|(peer, score)| json!([enc(peer), enc_score(score), enc(score.to_text())]))
        .collect()
}

fn observe(case: &Case<'_>, input: &Value, version: Version) {
    let me = utf8(&input["local_utf8"]);
    let initial = list(&input["initial_peers_utf8"])
        .iter()
        .map(|peer| (utf8(peer), Score::default()))
        .collect();
    let mut lattice = lattice(&me, version, initial, None);
    let mut clock = Clock::default();
    let entry = Entry {
        time: 3,
        trust: 0.5,
    };
    clock.entries.insert(me, entry);
    let root = text(&input["tree_root_digest"]);
    for (index, step) in list(&case.value["steps"]).iter().enumerate() {
        let value = &step["in"];
        let evidence = Evidence::new(
            &utf8(&value["observer_utf8"]),
            &utf8(&value["target_utf8"]),
            Kind::InvalidDelta,
            text(&value["dimension"]),
            f64_of(&value["amount_f64"]),
            hex(&value["proof_hex"]),
            f64_of(&value["timestamp_f64"]),
        );
        let context = evidence::Context {
            expected_root: Some(root),
            ..evidence::Context::default()
        };
        let local = Local {
            clock: clock.to_bytes().unwrap(),
            ..local(root)
        };
        let answer = lattice.observe(0.0, &evidence, &context, &local);
        let peers: Vec<Value> = lattice
            .peers()
            .iter()
            .map(|(peer, score)| {
                json!([enc(peer), {"serialized_hex": enc(score.to_text()), "level": score.level()}])
            })
            .collect();
        let mut found = json!({"peers": peers, "trust_root_digest": lattice.trust_root(),
            "evidence_log_length": lattice.log().count()});
        match answer {
            Ok(delta) => {
                found["result"] = json!("delta");
                found["delta"] = enc_trust_delta(&delta);
            }
            Err(refusal) => {
                found["result"] = json!("error");
                found["error"] = json!(match refusal {
                    Refusal::SelfAccusation => "self",
                    Refusal::EvidenceInvalid => "proof",
                    Refusal::BreakerTripped => "tripped",
                    other => panic!("{other}"),
                });
            }
        }
        case.expect_at(&format!("step {index}"), &step["out"], &found);
    }
}

fn enc_trust_delta(delta: &Delta) -> Value {
    let (key, (old, value)) = delta.updates.first_key_value().unwrap();
    let subtree = &delta.subtrees[0];
    let operation = delta.operation.as_ref().unwrap();
    let witnesses = &operation.witnesses;
    json!({"source_utf8": enc(&delta.source), "update_key_utf8": enc(key),
        "update_old_digest": old, "update_value_hex": enc(value),
        "subtree_depth": subtree.depth, "subtree_old_digest": subtree.old_hash,
        "subtree_new_digest": subtree.new_hash,
        "pco_originator_utf8": enc(&witnesses.originator),
        "pco_merkle_root_digest": witnesses.merkle_root, "pco_clock_hex": enc(&witnesses.clock),
        "pco_trust_vector_hash_digest": witnesses.trust_hash,
        "pco_aggregate_hex": enc(operation.header.aggregate)})
}

fn receive(case: &Case<'_>, input: &Value, version: Version) {
    let sender = flat_score(f64_of(&input["sender_amount_per_dimension_f64"]));
    let mut breaker = Breaker::new(Parameters {
        samples_min: 2,
        sigma: 0.0,
        ..Parameters::default()
    });
    if flag(&input["breaker_tripped"]) {
        breaker.record(0.0, 0.0, 0.0);
        breaker.record(0.0, 0.0, 1.0);
        assert!(breaker.is_tripped(0.0));
    }
    let peers = Peers::from([("sender".to_owned(), sender.clone())]);
    let mut lattice = lattice("me", version, peers, Some(breaker));
    let mut delta = unsigned_delta("sender", false);
    if !flag(&input["pco_valid"]) {
        delta.operation.as_mut().unwrap().header.aggregate[0] ^= 1;
    }
    let context = pco::Context {
        originator_overall: Some(sender.overall()),
        ..pco::Context::default()
    };
    let result = lattice
        .receive(0.0, &delta, None, &context, &evidence::Context::default())
        .unwrap();
    case.expect(
        &json!({"result": result.is_some(), "queue": lattice.pending(),
        "sender_level_after": lattice.trust("sender").level()}),
    );
}
