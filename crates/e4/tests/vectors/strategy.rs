//! Conflict strategies.

use crate::fields::{Case, enc, enc_f64, f64_of, flag, flat_score, hex, list, text, utf8};
use polity_e4::score::Score;
use polity_e4::strategy::{
    Conflict, Entry, Gate, Resolution, TRUST_MIN, Value as Chosen, average, last_writer, select,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "lww" => {
            let (factor, trust_min) = (
                f64_of(&input["factor_f64"]),
                f64_of(&input["min_trust_f64"]),
            );
            let resolution = last_writer(&entries(input, hex), factor, trust_min).unwrap();
            case.expect(&describe(&resolution, |value| json!(enc(value))));
        }
        "averaging" => {
            let sigma = f64_of(&input["outlier_sigma_f64"]);
            let resolution = average(&entries(input, f64_of), TRUST_MIN, sigma).unwrap();
            case.expect(&describe(&resolution, |value| json!(enc_f64(*value))));
        }
        "gate" => {
            let mut score = Score::default();
            for (dimension, amount) in input["amounts_f64"].as_object().unwrap() {
                let observers = score.evidence.entry(dimension.clone()).or_default();
                observers.insert("o".to_owned(), f64_of(amount));
            }
            let gate = Gate {
                thresholds: input["thresholds_f64"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, value)| (name.clone(), f64_of(value)))
                    .collect(),
                is_strict: flag(&input["strict"]),
            };
            let dimensions = input["dimensions"].as_array().map(|names| {
                let names = names.iter().map(|name| text(name).to_owned());
                names.collect::<Vec<String>>()
            });
            case.expect(&json!(gate.accepts(&score, dimensions.as_deref())));
        }
        "select" => {
            let set =
                |value: &Value| -> BTreeSet<String> { list(value).iter().map(utf8).collect() };
            let conflict = match text(&input["type"]) {
                "numeric" => Conflict::Numeric(entries(input, f64_of)),
                "counter" => Conflict::Counter(entries(input, f64_of)),
                "set" => Conflict::Set(entries(input, set)),
                "opaque" => Conflict::Opaque(entries(input, hex)),
                "structured" => Conflict::Structured(entries(input, hex)),
                other => panic!("nobody here knows the type `{other}`"),
            };
            let resolution = select(&conflict, &Gate::default()).unwrap();
            case.expect(&describe(&resolution, |value| match value {
                Chosen::Number(number) => json!(enc_f64(*number)),
                Chosen::Set(set) => set.iter().map(enc).collect(),
                Chosen::Bytes(bytes) => json!(enc(bytes)),
            }));
        }
        _ => case.unknown(),
    }
}

fn entries<V>(input: &Value, read: impl Fn(&Value) -> V) -> Vec<Entry<V>> {
    list(&input["entries"])
        .iter()
        .map(|entry| Entry {
            peer: utf8(&entry["peer_utf8"]),
            value: read(&entry["value"]),
            timestamp: f64_of(&entry["timestamp_f64"]),
            score: flat_score(f64_of(&entry["amount_per_dimension_f64"])),
            dimension: text(&entry["dimension"]).to_owned(),
        })
        .collect()
}

fn describe<V>(resolution: &Resolution<V>, write: impl Fn(&V) -> Value) -> Value {
    let ids = |ids: &[String]| -> Vec<String> { ids.iter().map(enc).collect() };
    json!({"value": write(&resolution.value),
        "confidence_f64": enc_f64(resolution.confidence), "method": resolution.method,
        "contributors": ids(&resolution.contributors), "rejected": ids(&resolution.rejected)})
}
