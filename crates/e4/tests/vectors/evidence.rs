//! Evidence: bytes, signatures and checks.

use crate::fields::{Case, enc, f64_of, flag, hex, list, maybe_f64, number, registry, text, utf8};
use ed25519_dalek::{Signer, SigningKey};
use polity_e4::Mode;
use polity_e4::evidence::{Context, Evidence, Kind};
use polity_e4::keys::Backend;
use polity_e4::proof;
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "evidence" => {
            let mut evidence = evidence(input);
            let seed = hex(&input["ed25519_seed_hex"]);
            let signer = SigningKey::from_bytes(&seed.try_into().unwrap());
            let signature = signer.sign(&evidence.signed_payload()).to_bytes();
            evidence.signature = signature.to_vec();
            let bytes = evidence.to_bytes().unwrap();
            let read = Evidence::from_bytes(&bytes, Mode::Compatible).unwrap();
            assert_eq!(read.to_bytes().unwrap(), bytes);
            let observers = registry(&input["observers"]);
            let said = list(&case.value["out"]["verifications"]);
            let verifications: Vec<Value> = said
                .iter()
                .map(|said| {
                    let has_registry = match said["registry"].as_str() {
                        None => false,
                        Some("observers") => true,
                        Some(other) => panic!("nobody here knows the registry `{other}`"),
                    };
                    let context = Context {
                        registry: observers.as_ref().filter(|_| has_registry),
                        backend: Backend::Ed25519,
                        is_signature_required: flag(&said["require_observer_auth"]),
                        expected_root: said["merkle_root_digest"].as_str(),
                        age_max: maybe_f64(&said["max_age_f64"]),
                        now: maybe_f64(&said["now_f64"]).unwrap_or(0.0),
                    };
                    let mut found = said.clone();
                    found["result"] = json!(evidence.verify(&context));
                    found
                })
                .collect();
            case.expect(&json!({"proof_type": evidence.proof_type,
                "signed_payload_hex": enc(evidence.signed_payload()),
                "signature_hex": enc(signature), "to_bytes_hex": enc(bytes),
                "content_hash_digest": evidence.content_hash().unwrap(),
                "verifications": verifications}));
        }
        "verify_context" => {
            let mut evidence = evidence(input);
            evidence.signature = hex(&input["signature_hex"]);
            evidence.public_key = hex(&input["public_key_hex"]);
            let registry = registry(&input["registry"]);
            let context = Context {
                registry: registry.as_ref(),
                backend: backend(&input["ed25519_backend"]),
                is_signature_required: flag(&input["require_observer_auth"]),
                expected_root: None,
                age_max: maybe_f64(&input["max_age_f64"]),
                now: f64_of(&input["now_f64"]),
            };
            case.expect(&json!(evidence.verify(&context)));
        }
        "pack" => {
            let pair = proof::pack_pair(&hex(&input["a_hex"]), &hex(&input["b_hex"])).unwrap();
            let steps: Vec<proof::Step> = list(&input["path"])
                .iter()
                .map(|step| proof::Step {
                    siblings: list(&step["siblings_utf8"]).iter().map(hex).collect(),
                    position: number(&step["position"]) as u16,
                })
                .collect();
            let path = proof::pack_path(&steps).unwrap();
            case.expect(
                &json!({"pair_hex": enc(pair), "merkle_path_hex": enc(&path),
                "merkle_path_root_digest": proof::path_root(&path).unwrap()}),
            );
        }
        _ => case.unknown(),
    }
}

pub(crate) fn backend(value: &Value) -> Backend {
    if flag(value) {
        Backend::Ed25519
    } else {
        Backend::PublicHmac
    }
}

fn evidence(input: &Value) -> Evidence {
    let label = text(&input["evidence_type"]);
    let kind = Kind::from_label(label).unwrap_or_else(|| panic!("no type: {label}"));
    Evidence::new(
        &utf8(&input["observer_utf8"]),
        &utf8(&input["target_utf8"]),
        kind,
        &utf8(&input["dimension_utf8"]),
        f64_of(&input["amount_f64"]),
        hex(&input["proof_hex"]),
        f64_of(&input["timestamp_f64"]),
    )
}
