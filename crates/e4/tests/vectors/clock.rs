//! Clocks and breakers.

use crate::fields::{Case, enc, enc_f64, f64_of, hex, list, number, score, text, utf8};
use polity_e4::breaker::{Breaker, Parameters};
use polity_e4::clock::{Clock, Entry};
use polity_e4::{Mode, Refusal};
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "serialize" => {
            let clock = clock(&input["entries"]);
            let bytes = clock.to_bytes().unwrap();
            let decoded = Clock::from_bytes(&bytes, Mode::Compatible).unwrap();
            case.expect(&json!({"bytes_hex": enc(&bytes),
                "content_hash_digest": clock.content_hash().unwrap(),
                "decoded": entries(&decoded)}));
        }
        "deserialize" => {
            let found = match Clock::from_bytes(&hex(&input["bytes_hex"]), Mode::Compatible) {
                Ok(clock) => {
                    let entries: Vec<Value> = clock
                        .entries
                        .iter()
                        .map(|(peer, e)| json!([enc(peer), e.time.to_string(), enc_f64(e.trust)]))
                        .collect();
                    json!({"entries": entries})
                }
                Err(Refusal::Truncated) => json!({"error": "truncated"}),
                Err(Refusal::NotUtf8) => json!({"error": "utf8"}),
                Err(other) => panic!("{other}"),
            };
            case.expect(&found);
        }
        "merge_compare" => {
            let (a, b) = (clock(&input["a"]), clock(&input["b"]));
            let merged = a.merge(&b);
            let is_consistent = |local: &Clock, other: &Clock| {
                local
                    .is_consistent_with(&other.to_bytes().unwrap(), Mode::Compatible)
                    .unwrap()
            };
            case.expect(&json!({"merged": entries(&merged),
                "merged_hex": enc(merged.to_bytes().unwrap()),
                "a_compare_b": a.compare(&b).label(), "b_compare_a": b.compare(&a).label(),
                "a_is_consistent_with_b": is_consistent(&a, &b),
                "b_is_consistent_with_a": is_consistent(&b, &a)}));
        }
        "increment" => {
            let mut clock = clock(&input["entries"]);
            let owner = utf8(&input["owner_utf8"]);
            let evidence = &input["owner_evidence"];
            let overall = (!evidence.is_null()).then(|| score(evidence).overall());
            for _ in 0..number(&input["times"]) {
                clock.increment(&owner, overall).unwrap();
            }
            case.expect(&json!({"entries": entries(&clock),
                "bytes_hex": enc(clock.to_bytes().unwrap()),
                "logical_time": clock.entries.get(&owner).map_or(0, |entry| entry.time)}));
        }
        _ => case.unknown(),
    }
}

pub(crate) fn clock(value: &Value) -> Clock {
    let mut clock = Clock::default();
    for entry in list(value) {
        let (time, trust) = (number(&entry[1]), f64_of(&entry[2]));
        clock.entries.insert(utf8(&entry[0]), Entry { time, trust });
    }
    clock
}

fn entries(clock: &Clock) -> Value {
    clock
        .entries
        .iter()
        .map(|(peer, entry)| json!([enc(peer), entry.time, enc_f64(entry.trust)]))
        .collect()
}

pub(crate) fn check_breaker(case: &Case<'_>) {
    let input = case.input();
    let "breaker" = case.op() else { case.unknown() };
    let mut breaker = Breaker::new(Parameters {
        window: number(&input["window_size"]) as usize,
        sigma: f64_of(&input["sigma_threshold_f64"]),
        cooldown_seconds: f64_of(&input["cooldown_seconds_f64"]),
        samples_min: number(&input["min_samples"]) as usize,
    });
    let mut now = 0.0;
    let mut states = Vec::new();
    for step in list(&input["script"]) {
        match text(&step[0]) {
            "record" => breaker.record(now, 0.0, f64_of(&step[1])),
            "advance" => now += f64_of(&step[1]),
            "reset" => breaker.reset(),
            other => panic!("nobody here knows the step `{other}`"),
        }
        states.push(breaker.is_tripped(now));
    }
    case.expect(&json!({"is_tripped_after_each": states}));
}
