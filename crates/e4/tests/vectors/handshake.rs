//! Negotiation and configuration.

use crate::fields::{Case, enc, hex, list, score, text, utf8};
use polity_e4::Mode;
use polity_e4::config::Config;
use polity_e4::handshake::{Capability, CompatibilityMode, Controller, VERSION, compute_hashes};
use serde_json::{Map, Value, json};

fn mode(value: &Value) -> CompatibilityMode {
    CompatibilityMode::from_label(text(value)).unwrap_or_else(|| panic!("no mode: {value}"))
}

fn capability(value: &Value) -> Capability {
    Capability::from_label(text(value)).unwrap_or_else(|| panic!("no capability: {value}"))
}

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "table" => {
            let local = mode(&input["local_mode"]);
            let negotiated: Map<String, Value> = Capability::ALL
                .iter()
                .map(|&remote| {
                    let negotiated = local.negotiate(remote).label();
                    (remote.label().to_owned(), json!(negotiated))
                })
                .collect();
            let advertised = local.advertised();
            case.expect(&json!({"advertised": advertised.label(),
                "advertised_value": advertised.value(), "version": VERSION,
                "negotiated": negotiated}));
        }
        "sequence" => {
            let default = mode(&input["default_mode"]);
            let mut controller = Controller::new(default, Mode::Compatible);
            for step in list(&case.value["steps"]) {
                let peer = step.get("peer_utf8").map(utf8).unwrap_or_default();
                let found = match text(&step["op"]) {
                    "set_default" => {
                        controller.set_default(mode(&step["mode"]));
                        continue;
                    }
                    "mode" => controller.mode_for(&peer),
                    "upgrade" => controller.upgrade(&peer),
                    "handshake" => controller
                        .handshake(&peer, capability(&step["capability"]))
                        .unwrap(),
                    other => panic!("nobody here knows the step `{other}`"),
                };
                case.expect_at("step", &step["out"], &json!(found.label()));
            }
            let count: Map<String, Value> = CompatibilityMode::ALL
                .iter()
                .map(|&mode| (mode.label().to_owned(), json!(controller.count(mode))))
                .collect();
            let ready: Vec<String> = controller.ready_for_e4_only().iter().map(enc).collect();
            let known: Vec<Value> = controller
                .known()
                .map(|(peer, capability)| json!([enc(peer), capability.label()]))
                .collect();
            case.expect(&json!({"ready_for_e4_only": ready, "count_by_mode": count,
                "known": known}));
        }
        "compute_hashes" => {
            let evidence = &input["originator_evidence"];
            let score = (!evidence.is_null()).then(|| score(evidence));
            let (e4, legacy) = compute_hashes(
                mode(&input["mode"]),
                &hex(&input["data_hex"]),
                &utf8(&input["originator_utf8"]),
                score.as_ref(),
            );
            let mut found = Map::new();
            for (name, digest) in [("e4_digest", e4), ("legacy_digest", legacy)] {
                if let Some(digest) = digest {
                    found.insert(name.to_owned(), json!(digest));
                }
            }
            case.expect(&Value::Object(found));
        }
        _ => case.unknown(),
    }
}

pub(crate) fn check_config(case: &Case<'_>) {
    let config = Config::default();
    match case.op() {
        "config_defaults" => case.expect(&json!({
            "probation_trust": config.probation_trust,
            "quarantine_threshold": config.quarantine_threshold,
            "low_trust_threshold": config.low_trust_threshold,
            "partial_trust_threshold": config.partial_trust_threshold,
            "cb_window_size": config.cb_window_size,
            "cb_sigma_threshold": config.cb_sigma_threshold,
            "cb_cooldown_seconds": config.cb_cooldown_seconds,
            "cb_min_samples": config.cb_min_samples,
            "merkle_branching_factor": config.merkle_branching_factor,
            "compatibility_mode": config.compatibility_mode,
            "verification_level_override": config.verification_level_override,
            "async_queue_limit": config.async_queue_limit,
            "homeostasis_enabled": config.homeostasis_enabled,
            "homeostasis_target_budget": config.homeostasis_target_budget,
            "delta_max_history": config.delta_max_history,
            "gossip_include_trust_deltas": config.gossip_include_trust_deltas,
            "stream_per_chunk_validation": config.stream_per_chunk_validation,
            "stream_min_trust": config.stream_min_trust,
            "agent_trust_weight_context": config.agent_trust_weight_context,
        })),
        "trust_thresholds" => {
            let found: Map<String, Value> = config
                .trust_thresholds()
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            case.expect(&Value::Object(found));
        }
        _ => case.unknown(),
    }
}
