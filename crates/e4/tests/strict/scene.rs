//! Honest evidence and operations, from which the rows depart.

use ed25519_dalek::{Signer, SigningKey};
use polity_e4::clock::{Clock, Entry};
use polity_e4::evidence::{self, Evidence, Kind};
use polity_e4::hash::hex_sha256;
use polity_e4::keys::{Backend, Registry};
use polity_e4::pco::{self, Bound, Operation, State, Witnesses, metadata};
use polity_e4::proof;
use polity_e4::score::Score;

pub(crate) const NOW: f64 = 1_800_000_000.0;

pub(crate) fn key(name: &str) -> SigningKey {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SigningKey::from_bytes(&seed)
}

pub(crate) fn public(name: &str) -> Vec<u8> {
    key(name).verifying_key().to_bytes().to_vec()
}

pub(crate) fn registry() -> Registry {
    ["alice", "bob", "carol"]
        .iter()
        .map(|name| (*name, public(name)))
        .collect()
}

pub(crate) fn attestation(signer: &str, content: &str) -> Vec<u8> {
    let text = [signer, "7", content].join("\0").into_bytes();
    let signature = key(signer).sign(&text).to_bytes();
    [text.as_slice(), &signature].concat()
}

pub(crate) fn equivocation(signer: &str) -> Vec<u8> {
    proof::pack_pair(&attestation(signer, "x"), &attestation(signer, "y")).unwrap()
}

pub(crate) fn accusation(kind: Kind, proof: Vec<u8>) -> Evidence {
    Evidence::new("alice", "bob", kind, "integrity", 0.25, proof, NOW)
}

pub(crate) fn signed(mut evidence: Evidence) -> Evidence {
    let signature = key("alice").sign(&evidence.signed_payload()).to_bytes();
    evidence.signature = signature.to_vec();
    evidence
}

pub(crate) fn evidence_context(registry: &Registry) -> evidence::Context<'_> {
    evidence::Context {
        registry: Some(registry),
        backend: Backend::Ed25519,
        is_signature_required: true,
        expected_root: Some("another root"),
        age_max: Some(60.0),
        now: NOW,
    }
}

pub(crate) fn digest(text: &str) -> String {
    hex_sha256([text.as_bytes()])
}

pub(crate) fn witnesses() -> Witnesses {
    let mut clock = Clock::default();
    clock.entries.insert(
        "alice".to_owned(),
        Entry {
            time: 3,
            trust: 0.5,
        },
    );
    Witnesses {
        originator: "alice".to_owned(),
        merkle_root: digest("root"),
        clock: clock.to_bytes().unwrap(),
        trust_hash: Score::default().hash(),
        bounds: vec![Bound {
            path: vec![1],
            depth: 1,
            old_hash: digest("old"),
            new_hash: digest("new"),
        }],
    }
}

pub(crate) fn operation(witnesses: Witnesses, metadata: [u8; 32]) -> Operation {
    let sign = |bytes: &[u8]| key("alice").sign(bytes).to_bytes().to_vec();
    Operation::build(witnesses, metadata, Some(&sign)).unwrap()
}

pub(crate) fn changed(change: impl FnOnce(&mut Witnesses)) -> Operation {
    let mut changed = witnesses();
    change(&mut changed);
    operation(changed, metadata(1, 0, 5))
}

pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) root: String,
    pub(crate) clock: Clock,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut clock = Clock::default();
        clock.entries.insert(
            "alice".to_owned(),
            Entry {
                time: 2,
                trust: 0.5,
            },
        );
        Self {
            registry: registry(),
            root: digest("root"),
            clock,
        }
    }

    pub(crate) fn context(&self) -> pco::Context<'_> {
        pco::Context {
            registry: Some(&self.registry),
            backend: Backend::Ed25519,
            state: State {
                root: Some(&self.root),
                clock: Some(&self.clock),
            },
            originator_overall: Some(0.5),
        }
    }
}

pub(crate) fn entry_bytes(time: u64, trust: f64) -> Vec<u8> {
    let mut clock = Clock::default();
    clock
        .entries
        .insert("alice".to_owned(), Entry { time, trust });
    clock.to_bytes().unwrap()
}
