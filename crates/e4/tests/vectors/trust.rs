//! Scores, joins and normalisation.

use crate::fields::{Case, enc, enc_f64, enc_score, f64_of, list, peers, score, text, utf8};
use polity_e4::Mode;
use polity_e4::score::{DIMENSIONS, Score, normalize};
use serde_json::{Map, Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "score" => case.expect(&describe(&score(&input["evidence"]))),
        "score_text" => {
            let score = score(&input["evidence"]);
            case.expect(
                &json!({"level": score.level(), "serialized_hex": enc(score.to_text()),
                "hash_digest": score.hash()}),
            );
        }
        "record_evidence_sequence" => {
            let mut score = Score::default();
            for (index, step) in list(&case.value["steps"]).iter().enumerate() {
                let evidence = &step["in"];
                score = score
                    .record(
                        &utf8(&evidence["observer_utf8"]),
                        text(&evidence["dimension"]),
                        f64_of(&evidence["amount_f64"]),
                        Mode::Compatible,
                    )
                    .unwrap();
                case.expect_at(&format!("step {index}"), &step["out"], &describe(&score));
            }
            case.expect(&json!({"evidence_sorted": enc_score(&score)}));
        }
        "merge" => {
            let joined = score(&input["a"]).join(&score(&input["b"]));
            let mut found = describe(&joined);
            found["evidence_sorted"] = enc_score(&joined);
            case.expect(&found);
        }
        "homeostasis_normalize" => {
            let count = input["peer_count"].as_i64().unwrap();
            let normal = normalize(&peers(&input["peers"]), count, Mode::Compatible).unwrap();
            let found: Vec<Value> = normal
                .iter()
                .map(|(peer, score)| {
                    json!([enc(peer), enc_score(score),
                        {"serialized_hex": enc(score.to_text()), "level": score.level()}])
                })
                .collect();
            case.expect(&json!({"peers": found}));
        }
        _ => case.unknown(),
    }
}

fn describe(score: &Score) -> Value {
    let dimensions: Map<String, Value> = DIMENSIONS
        .iter()
        .map(|&name| (name.to_owned(), json!(enc_f64(score.dimension(name)))))
        .collect();
    json!({"per_dimension_f64": dimensions, "overall_f64": enc_f64(score.overall()),
        "level": score.level(), "serialized_hex": enc(score.to_text()),
        "hash_digest": score.hash()})
}
