//! Reading the fields of a case by the conventions of the files.

use polity_e4::delta::Delta;
use polity_e4::keys::Registry;
use polity_e4::pco::{Bound, Witnesses};
use polity_e4::score::{Peers, Score};
use serde_json::{Value, json};

/// A case, and the version of the package if its family has several.
pub(crate) struct Case<'a> {
    pub(crate) value: &'a Value,
    pub(crate) version: Option<&'a str>,
}

impl Case<'_> {
    pub(crate) fn op(&self) -> &str {
        text(&self.value["op"])
    }

    pub(crate) fn input(&self) -> &Value {
        &self.value["in"]
    }

    /// Compares an answer with what the file says, field by field of what the file has.
    pub(crate) fn expect(&self, found: &Value) {
        self.expect_at("out", &self.value["out"], found);
    }

    pub(crate) fn expect_at(&self, place: &str, said: &Value, found: &Value) {
        let tolerance = self.value["tolerance"].as_f64();
        if !equal(said, found, tolerance) {
            let name = &self.value["name"];
            panic!(
                "{name} {} {place}:\n said  {said}\n found {found}",
                self.op()
            );
        }
    }

    pub(crate) fn unknown(&self) -> ! {
        panic!("nobody here knows the operation `{}`", self.op())
    }
}

fn equal(said: &Value, found: &Value, tolerance: Option<f64>) -> bool {
    match (said, found) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            // Files leave out what is long or of no matter to a case; what they have is compared.
            !a.is_empty()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b, tolerance)))
        }
        (Value::String(a), Value::String(b)) if a != b => match (bits(a), bits(b), tolerance) {
            (Some(a), Some(b), Some(tolerance)) => {
                (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
            }
            _ => false,
        },
        _ => said == found,
    }
}

fn bits(text: &str) -> Option<f64> {
    (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok().map(f64::from_bits))
        .flatten()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = text(value);
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

pub(crate) fn utf8(value: &Value) -> String {
    String::from_utf8(hex(value)).unwrap()
}

pub(crate) fn f64_of(value: &Value) -> f64 {
    let text = text(value);
    assert_eq!(text.len(), 16, "{text}");
    f64::from_bits(u64::from_str_radix(text, 16).unwrap())
}

pub(crate) fn maybe_f64(value: &Value) -> Option<f64> {
    (!value.is_null()).then(|| f64_of(value))
}

pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or_else(|| panic!("no number: {value}"))
}

pub(crate) fn flag(value: &Value) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| panic!("no truth value: {value}"))
}

pub(crate) fn enc(bytes: impl AsRef<[u8]>) -> String {
    polity_e4::hash::encode_hex(bytes.as_ref())
}

pub(crate) fn enc_f64(number: f64) -> String {
    format!("{:016x}", number.to_bits())
}

pub(crate) fn score(value: &Value) -> Score {
    let mut score = Score::default();
    for dimension in list(value) {
        let observers = score.evidence.entry(utf8(&dimension[0])).or_default();
        for observer in list(&dimension[1]) {
            observers.insert(utf8(&observer[0]), f64_of(&observer[1]));
        }
    }
    score
}

/// The same amount of one observer in each of the six dimensions.
pub(crate) fn flat_score(amount: f64) -> Score {
    let mut score = Score::default();
    for dimension in polity_e4::score::DIMENSIONS {
        let observers = score.evidence.entry(dimension.to_owned()).or_default();
        observers.insert("o".to_owned(), amount);
    }
    score
}

pub(crate) fn peers(value: &Value) -> Peers {
    list(value)
        .iter()
        .map(|peer| (utf8(&peer[0]), score(&peer[1])))
        .collect()
}

pub(crate) fn enc_score(score: &Score) -> Value {
    score
        .evidence
        .iter()
        .map(|(dimension, observers)| {
            let observers: Vec<Value> = observers
                .iter()
                .map(|(id, amount)| json!([enc(id), enc_f64(*amount)]))
                .collect();
            json!([enc(dimension), observers])
        })
        .collect()
}

pub(crate) fn bounds(value: &Value) -> Vec<Bound> {
    list(value)
        .iter()
        .map(|bound| Bound {
            path: list(&bound["path"])
                .iter()
                .map(|step| step.as_i64().unwrap())
                .collect(),
            depth: bound["depth"].as_i64().unwrap(),
            old_hash: text(&bound["old_digest"]).to_owned(),
            new_hash: text(&bound["new_digest"]).to_owned(),
        })
        .collect()
}

pub(crate) fn enc_bounds(bounds: &[Bound]) -> Value {
    bounds
        .iter()
        .map(|bound| {
            json!({"path": bound.path, "depth": bound.depth,
                "old_digest": bound.old_hash, "new_digest": bound.new_hash})
        })
        .collect()
}

pub(crate) fn registry(value: &Value) -> Option<Registry> {
    (!value.is_null()).then(|| {
        list(value)
            .iter()
            .map(|entry| (utf8(&entry[0]), hex(&entry[1])))
            .collect()
    })
}

pub(crate) fn witnesses(value: &Value) -> Witnesses {
    Witnesses {
        originator: utf8(&value["originator_utf8"]),
        merkle_root: utf8(&value["merkle_root_utf8"]),
        clock: hex(&value["clock_snapshot_hex"]),
        trust_hash: utf8(&value["trust_vector_hash_utf8"]),
        bounds: bounds(&value["bounds"]),
    }
}

pub(crate) fn delta(value: &Value) -> Delta {
    Delta {
        source: utf8(&value["source_utf8"]),
        subtrees: bounds(&value["subtrees"]),
        insertions: list(&value["insertions"])
            .iter()
            .map(|pair| (utf8(&pair[0]), hex(&pair[1])))
            .collect(),
        updates: list(&value["updates"])
            .iter()
            .map(|update| (utf8(&update[0]), (utf8(&update[1]), hex(&update[2]))))
            .collect(),
        deletions: list(&value["deletions"]).iter().map(utf8).collect(),
        operation: None,
    }
}

pub(crate) fn enc_changes(delta: &Delta) -> Value {
    let insertions: Vec<Value> = delta
        .insertions
        .iter()
        .map(|(key, value)| json!([enc(key), enc(value)]))
        .collect();
    let updates: Vec<Value> = delta
        .updates
        .iter()
        .map(|(key, (old, value))| json!([enc(key), enc(old), enc(value)]))
        .collect();
    let deletions: Vec<String> = delta.deletions.iter().map(enc).collect();
    json!({"insertions": insertions, "updates": updates, "deletions": deletions})
}

pub(crate) fn enc_delta(delta: &Delta) -> Value {
    let mut value = enc_changes(delta);
    value["source_utf8"] = json!(enc(&delta.source));
    value["subtrees"] = enc_bounds(&delta.subtrees);
    value
}
