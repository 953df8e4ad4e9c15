//! Agent state, streams and gossip.

use crate::fields::{
    Case, enc, enc_f64, f64_of, flag, flat_score, hex, list, maybe_f64, number, utf8,
};
use crate::pco::unsigned_delta;
use polity_e4::Mode;
use polity_e4::adaptive::Controller;
use polity_e4::bridges::{Agent, Chunk, Gossip, Streams};
use polity_e4::delta::Delta;
use polity_e4::keys::Registry;
use polity_e4::lattice::{Lattice, Version};
use polity_e4::pco::Context;
use polity_e4::score::{Peers, Score};
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "agent" => agent(case, input),
        "stream_accept" => {
            let score = maybe_f64(&input["amount_per_dimension_f64"])
                .map_or_else(Score::default, flat_score);
            let trust_min = f64_of(&input["min_trust_f64"]);
            let mut streams = Streams::new(Mode::Compatible);
            let found = streams.accept("p", "s", &score, trust_min).unwrap();
            case.expect(&json!(found));
            assert_eq!(streams.open().count(), usize::from(found));
        }
        "stream_validate" => {
            let registry = Registry::from_iter([("good", vec![7; 44])]);
            let chunks: Vec<Chunk> = list(&input["bad"])
                .iter()
                .enumerate()
                .map(|(index, bad)| Chunk {
                    delta: signed_delta(flag(bad)),
                    sequence: index as i64,
                    stream: "s".to_owned(),
                })
                .collect();
            let mut controller = Controller::new(1_024, Mode::Compatible);
            let context = Context {
                registry: Some(&registry),
                ..Context::default()
            };
            let mut streams = Streams::new(Mode::Compatible);
            let results = streams
                .validate("p", &chunks, |delta| {
                    let source = Score::default();
                    controller
                        .verify(delta, Some(&source), false, &context)
                        .map(Some)
                })
                .unwrap();
            let found: Vec<Value> = results
                .iter()
                .map(|result| json!([result.is_accepted, result.sequence, result.reason]))
                .collect();
            case.expect(&json!(found));
        }
        "prepare_sync" => {
            let local = utf8(&input["local_utf8"]);
            let mut lattice =
                Lattice::new(&local, Version::New, Mode::Compatible, Peers::new(), None).unwrap();
            let named = |count: &Value, name: &str| -> Vec<Delta> {
                (0..number(count))
                    .map(|i| unsigned_delta(&format!("{name}{i}"), false))
                    .collect()
            };
            for delta in named(&input["lattice_queue"], "q") {
                lattice.push(delta);
            }
            let mut gossip = Gossip::new(Mode::Compatible);
            let data = named(&input["data_deltas"], "d");
            let payload = gossip
                .prepare(&mut lattice, data, flag(&input["include_trust"]))
                .unwrap();
            let sources = |deltas: &[Delta]| -> Vec<String> {
                deltas.iter().map(|delta| enc(&delta.source)).collect()
            };
            case.expect(&json!({"peer_utf8": enc(&payload.peer),
                "data": sources(&payload.data), "trust": sources(&payload.trust),
                "lattice_queue_after": lattice.pending(), "pending_outbound": gossip.pending()}));
        }
        _ => case.unknown(),
    }
}

/// A delta whose code fits the key of `good`, or not.
fn signed_delta(is_bad: bool) -> Delta {
    let mut delta = unsigned_delta("good", false);
    let header = &mut delta.operation.as_mut().unwrap().header;
    let code = polity_e4::keys::public_hmac(&[7; 44], &header.aggregate);
    header.signature[..32].copy_from_slice(&code);
    if is_bad {
        header.signature[0] ^= 1;
    }
    delta
}

fn agent(case: &Case<'_>, input: &Value) {
    let amounts = &input["lattice_amount_per_dimension_f64"];
    let lattice: Option<Peers> = amounts.as_object().map(|amounts| {
        amounts
            .iter()
            .map(|(peer, amount)| (peer.clone(), flat_score(f64_of(amount))))
            .collect()
    });
    let lattice = lattice.as_ref();
    let state = |puts: &Value| {
        let mut agent = Agent::new(flag(&input["trust_weight_context"]), Mode::Compatible);
        for put in list(puts) {
            agent
                .put(
                    &utf8(&put["key_utf8"]),
                    &hex(&put["value_utf8"]),
                    &utf8(&put["peer_utf8"]),
                    f64_of(&put["timestamp_f64"]),
                    lattice,
                )
                .unwrap();
        }
        agent
    };
    let (a, b) = (state(&input["puts_a"]), state(&input["puts_b"]));
    let ab = a.merge(&b, lattice).unwrap();
    let ba = b.merge(&a, lattice).unwrap();
    let contributions: Vec<Value> = ab
        .contributions()
        .iter()
        .map(|(peer, count)| json!([enc(peer), count]))
        .collect();
    case.expect(
        &json!({"a": entries(&a), "b": entries(&b), "a_merge_b": entries(&ab),
        "b_merge_a": entries(&ba), "contributions": contributions}),
    );
}

fn entries(agent: &Agent) -> Value {
    agent
        .entries()
        .iter()
        .map(|(key, entry)| {
            json!([
                enc(key),
                enc(&entry.value),
                enc(&entry.peer),
                enc_f64(entry.trust),
                enc_f64(entry.timestamp)
            ])
        })
        .collect()
}
