//! Projection deltas.

use crate::fields::{Case, delta, enc_delta, enc_f64, list, number};
use polity_e4::Mode;
use polity_e4::delta::History;
use polity_e4::pco::{Operation, Witnesses, metadata};
use serde_json::json;

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "content_hash_compress" => {
            let delta = delta(input);
            let (sparse, sparse_ratio) = delta.sparse();
            let (whole, _) = delta.quantized(8, Mode::Compatible).unwrap();
            let bits = number(&input["bits"]) as u8;
            let (masked, ratio) = delta.quantized(bits, Mode::Compatible).unwrap();
            case.expect(&json!({"content_hash_digest": delta.content_hash(),
                "is_empty": delta.is_empty(), "sparse": enc_delta(&sparse),
                "sparse_ratio_f64": enc_f64(sparse_ratio), "quantized8": enc_delta(&whole),
                "quantized_bits": enc_delta(&masked), "quantized_ratio_f64": enc_f64(ratio),
                "sparse_content_hash_digest": sparse.content_hash()}));
        }
        "compose" => {
            let marked = |seconds| {
                let metadata = metadata(1, 0, seconds);
                Operation::build(Witnesses::default(), metadata, None).unwrap()
            };
            let (mut a, mut b) = (delta(&input["a"]), delta(&input["b"]));
            a.operation = Some(marked(1));
            b.operation = Some(marked(2));
            let composed = a.compose(&b, Mode::Compatible).unwrap();
            let mut found = enc_delta(&composed);
            found["content_hash_digest"] = json!(composed.content_hash());
            found["pco_from"] = json!(if composed.operation == b.operation {
                "b"
            } else {
                "a"
            });
            case.expect(&found);
        }
        "history" => {
            let mut history = History::new(number(&input["max_history"]) as usize);
            for value in list(&input["deltas"]) {
                history.record(delta(value));
            }
            let start = number(&input["start"]) as usize;
            let range = history.compose_range(start, usize::MAX, Mode::Compatible);
            let composed = range.unwrap();
            let found = composed.map_or(json!(null), |composed| {
                let mut found = enc_delta(&composed);
                found["content_hash_digest"] = json!(composed.content_hash());
                found
            });
            case.expect(&found);
        }
        _ => case.unknown(),
    }
}
