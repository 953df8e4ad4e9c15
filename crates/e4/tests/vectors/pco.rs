//! Operations and adaptive verification.

use crate::clock::clock;
use crate::evidence::backend;
use crate::fields::{
    Case, enc, f64_of, flag, flat_score, hex, list, number, registry, score, utf8, witnesses,
};
use ed25519_dalek::{Signer, SigningKey};
use polity_e4::Mode;
use polity_e4::adaptive::{Controller, Outcome};
use polity_e4::delta::Delta;
use polity_e4::keys::Backend;
use polity_e4::pco::{Bound, Context, Header, Operation, State, Witnesses, metadata};
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "build" => build(case, input),
        "verify" => {
            let operation = operation(input);
            let registry = registry(&input["registry"]);
            let local = &input["local_clock"];
            let clock = (!local.is_null()).then(|| clock(local));
            let evidence = &input["originator_evidence"];
            let context = Context {
                registry: registry.as_ref(),
                backend: backend(&input["ed25519_backend"]),
                state: State {
                    root: input["local_root_digest"].as_str(),
                    clock: clock.as_ref(),
                },
                originator_overall: (!evidence.is_null()).then(|| score(evidence).overall()),
            };
            let found: serde_json::Map<String, Value> = (0..4)
                .map(|level| {
                    let answer = operation.verify(level, &context).unwrap();
                    (level.to_string(), json!(answer))
                })
                .collect();
            case.expect(&Value::Object(found));
        }
        _ => case.unknown(),
    }
}

fn build(case: &Case<'_>, input: &Value) {
    let witnesses = witnesses(input);
    let bounds_hash = witnesses.bounds_hash();
    let short = |name: &str| number(&input[name]) as u16;
    let seconds = number(&input["unix_time_seconds"]);
    let metadata = metadata(short("version"), short("flags"), seconds);
    let seed = &input["ed25519_seed_hex"];
    let signer = (!seed.is_null()).then(|| SigningKey::from_bytes(&hex(seed).try_into().unwrap()));
    let sign = signer
        .as_ref()
        .map(|signer| |bytes: &[u8]| signer.sign(bytes).to_bytes().to_vec());
    let sign = sign.as_ref().map(|sign| sign as &dyn Fn(&[u8]) -> Vec<u8>);
    let operation = Operation::build(witnesses, metadata, sign).unwrap();
    let wire = operation.header.to_wire().unwrap();
    assert_eq!(
        Header::from_wire(&wire, Mode::Strict).unwrap(),
        operation.header
    );
    let mut found = json!({"aggregate_hash_hex": enc(operation.header.aggregate),
        "signature_hex": enc(&operation.header.signature),
        "metadata_hex": enc(operation.header.metadata), "wire_hex": enc(wire)});
    if let Some(signer) = &signer {
        found["ed25519_public_hex"] = json!(enc(signer.verifying_key().to_bytes()));
        found["bounds_hash_hex"] = json!(enc(bounds_hash));
    }
    case.expect(&found);
}

fn operation(input: &Value) -> Operation {
    let part = |name: &str| hex(&input[name]);
    let header = Header {
        signature: part("signature_hex"),
        aggregate: part("aggregate_hash_hex").try_into().unwrap(),
        metadata: part("metadata_hex").try_into().unwrap(),
    };
    Operation {
        header,
        witnesses: witnesses(input),
    }
}

pub(crate) fn check_adaptive(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "verify" => {
            let delta = Delta {
                source: utf8(&input["source_utf8"]),
                operation: Some(operation(input)),
                ..Delta::default()
            };
            let registry = registry(&input["registry"]);
            let source = flat_score(f64_of(&input["source_evidence_per_dimension_f64"]));
            let originator = flat_score(f64_of(&input["originator_evidence_per_dimension_f64"]));
            let context = Context {
                registry: registry.as_ref(),
                backend: Backend::Ed25519,
                state: State {
                    root: input["local_root_digest"].as_str(),
                    clock: None,
                },
                originator_overall: Some(originator.overall()),
            };
            let mut controller = Controller::new(1_024, Mode::Compatible);
            let is_tripped = flag(&input["breaker_tripped"]);
            let outcome = controller
                .verify(&delta, Some(&source), is_tripped, &context)
                .unwrap();
            case.expect(&json!({"outcome": word(&outcome), "level": outcome.level,
                "async_pending": outcome.is_pending, "reason": outcome.reason,
                "queue": controller.pending()}));
        }
        "async_queue" => {
            let limit = number(&input["limit"]) as usize;
            let mut controller = Controller::new(limit, Mode::Compatible);
            let source = flat_score(0.5);
            let context = Context {
                originator_overall: Some(source.overall()),
                ..Context::default()
            };
            for (index, bad) in list(&input["bad"]).iter().enumerate() {
                let delta = unsigned_delta(&format!("s{index}"), flag(bad));
                controller
                    .verify(&delta, Some(&source), false, &context)
                    .unwrap();
            }
            let batch = number(&input["batch_size"]) as usize;
            let results = controller.follow_up(batch, |_| context).unwrap();
            let results: Vec<Value> = results
                .iter()
                .map(|(delta, outcome)| json!([enc(&delta.source), word(outcome), outcome.reason]))
                .collect();
            case.expect(&json!({"followup": results, "left": controller.pending()}));
        }
        _ => case.unknown(),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    if outcome.is_accepted {
        "accept"
    } else {
        "reject"
    }
}

/// A delta without a signature; a bad one has a bound that changes nothing.
pub(crate) fn unsigned_delta(source: &str, is_bad: bool) -> Delta {
    let old_hash = "a".repeat(64);
    let new_hash = if is_bad {
        old_hash.clone()
    } else {
        "b".repeat(64)
    };
    let witnesses = Witnesses {
        originator: source.to_owned(),
        bounds: vec![Bound {
            path: vec![1],
            depth: 1,
            old_hash,
            new_hash,
        }],
        ..Witnesses::default()
    };
    Delta {
        source: source.to_owned(),
        operation: Some(Operation::build(witnesses, metadata(1, 0, 0), None).unwrap()),
        ..Delta::default()
    }
}
