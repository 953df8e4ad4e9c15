//! What E4 takes and strict mode refuses: one row per fault that concerns a format.
//!
//! Each row runs both modes on one input. Compatible mode has to answer as E4 does, or the row would
//! show nothing.

// Amounts are sums of powers of two.
#![allow(clippy::float_cmp)]

use ed25519_dalek::{Signer, SigningKey};
use polity_e4::adaptive::{self, Controller};
use polity_e4::bridges::{Agent, Chunk, Gossip, Streams, WAITING_MAX};
use polity_e4::clock::{Clock, Comparison, Entry, Order};
use polity_e4::config::Config;
use polity_e4::delta::Delta;
use polity_e4::evidence::{self, Evidence, Kind};
use polity_e4::handshake::{self, Capability, CompatibilityMode};
use polity_e4::hash::hex_sha256;
use polity_e4::keys::{
    Backend, Registry, check_revocation, public_hmac, revocation_payload, verify_peer,
};
use polity_e4::lattice::{Lattice, Local, Version};
use polity_e4::pco::{self, Bound, Header, Operation, Seen, State, Witnesses, metadata};
use polity_e4::resilience::{sparse_trust, vouch_hash};
use polity_e4::schemes::Scheme;
use polity_e4::score::{DIMENSIONS, Peers, Score, normalize};
use polity_e4::tree::{Leaf, Step, Tree, leaf_hash, verify_compat_path, verify_path};
use polity_e4::{Mode, Refusal, proof};

const NOW: f64 = 1_800_000_000.0;

fn key(name: &str) -> SigningKey {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SigningKey::from_bytes(&seed)
}

fn public(name: &str) -> Vec<u8> {
    key(name).verifying_key().to_bytes().to_vec()
}

fn registry() -> Registry {
    ["alice", "bob", "carol"]
        .iter()
        .map(|name| (*name, public(name)))
        .collect()
}

// ---- evidence ---------------------------------------------------------------------------------

fn attestation(signer: &str, content: &str) -> Vec<u8> {
    let text = [signer, "7", content].join("\0").into_bytes();
    let signature = key(signer).sign(&text).to_bytes();
    [text.as_slice(), &signature].concat()
}

fn equivocation(signer: &str) -> Vec<u8> {
    proof::pack_pair(&attestation(signer, "x"), &attestation(signer, "y")).unwrap()
}

fn accusation(kind: Kind, proof: Vec<u8>) -> Evidence {
    Evidence::new("alice", "bob", kind, "integrity", 0.25, proof, NOW)
}

fn signed(mut evidence: Evidence) -> Evidence {
    let signature = key("alice").sign(&evidence.signed_payload()).to_bytes();
    evidence.signature = signature.to_vec();
    evidence
}

fn evidence_context(registry: &Registry) -> evidence::Context<'_> {
    evidence::Context {
        registry: Some(registry),
        backend: Backend::Ed25519,
        is_signature_required: true,
        expected_root: Some("another root"),
        age_max: Some(60.0),
        now: NOW,
    }
}

#[test]
fn evidence_that_the_accused_signed_is_taken_in_both_modes() {
    let registry = registry();
    let evidence = signed(accusation(Kind::Equivocation, equivocation("bob")));
    let context = evidence_context(&registry);
    assert!(evidence.verify(&context));
    assert_eq!(evidence.verify_strict(&context), Ok(()));
}

#[test]
fn e1_to_e6_evidence_that_anybody_can_write_is_refused() {
    let registry = registry();
    let mut zeroes = attestation("bob", "x");
    let mut other = attestation("bob", "y");
    for blob in [&mut zeroes, &mut other] {
        let length = blob.len();
        blob[length - 64..].fill(0);
    }
    let unsigned_pair = proof::pack_pair(&zeroes, &other).unwrap();
    let delta = proof::pack_delta(&[0; 32], b"junk:bob");
    let regression = proof::pack_pair(b"bob=2", b"bob=1").unwrap();
    let states = proof::pack_pair(b"a state of bob...", b"another of bob...").unwrap();
    let path = proof::pack_path(&[]).unwrap();

    let mut unregistered = accusation(Kind::Equivocation, equivocation("bob"));
    unregistered.observer = "mallory".to_owned();
    unregistered.public_key = public("mallory");
    let payload = unregistered.signed_payload();
    unregistered.signature = key("mallory").sign(&payload).to_bytes().to_vec();

    let mut with_nul = accusation(Kind::Equivocation, equivocation("bob"));
    with_nul.target = "bob\0x".to_owned();
    let mut timeless = accusation(Kind::Equivocation, equivocation("bob"));
    timeless.timestamp = f64::NAN;
    let mut elsewhere = accusation(Kind::InvalidDelta, delta.clone());
    elsewhere.dimension = "weather".to_owned();

    let kinds = |kind, proof| signed(accusation(kind, proof));
    let table = [
        (
            "E1 zero signatures",
            kinds(Kind::Equivocation, unsigned_pair),
            Refusal::NotSignedByTarget,
        ),
        (
            "E1 of another signer",
            kinds(Kind::Equivocation, equivocation("carol")),
            Refusal::NotSignedByTarget,
        ),
        (
            "E1 invalid delta",
            kinds(Kind::InvalidDelta, delta),
            Refusal::Unattributable,
        ),
        (
            "E1 state pair",
            kinds(Kind::TrustManipulation, states),
            Refusal::Unattributable,
        ),
        (
            "E1 any path",
            kinds(Kind::MerkleDivergence, path),
            Refusal::Unattributable,
        ),
        (
            "E1, E6 text clock",
            kinds(Kind::ClockRegression, regression),
            Refusal::Unattributable,
        ),
        ("E2 key in the message", unregistered, Refusal::UnknownKey),
        (
            "E4 no number",
            signed(timeless),
            Refusal::TimestampNotFinite,
        ),
        (
            "L12 dimension",
            signed(elsewhere),
            Refusal::UnknownDimension,
        ),
    ];
    let context = evidence_context(&registry);
    for (name, evidence, refusal) in table {
        assert!(evidence.verify(&context), "{name}");
        assert_eq!(evidence.verify_strict(&context), Err(refusal), "{name}");
    }
    // E4 takes these in a context of its own.
    let unsigned = accusation(Kind::Equivocation, equivocation("bob"));
    let lax = evidence::Context {
        is_signature_required: false,
        ..context
    };
    assert!(unsigned.verify(&lax));
    assert_eq!(unsigned.verify_strict(&lax), Err(Refusal::Unsigned));
    let ageless = evidence::Context {
        age_max: None,
        ..context
    };
    let evidence = signed(unsigned);
    assert!(evidence.verify(&ageless));
    assert_eq!(evidence.verify_strict(&ageless), Err(Refusal::AgeUnchecked));
    // E3: two accusations with one payload.
    let mut shifted = with_nul.clone();
    shifted.observer = "alice\0bob".to_owned();
    shifted.target = "x".to_owned();
    assert_eq!(shifted.signed_payload(), with_nul.signed_payload());
    assert_eq!(
        signed(with_nul).verify_strict(&context),
        Err(Refusal::NulInText)
    );
    // E5: the form without a signature.
    let bytes = evidence.to_bytes().unwrap();
    assert!(Evidence::from_bytes(&bytes, Mode::Compatible).is_ok());
    assert_eq!(
        Evidence::from_bytes(&bytes, Mode::Strict),
        Err(Refusal::UnsignedForm)
    );
}

// ---- operations -------------------------------------------------------------------------------

fn digest(text: &str) -> String {
    hex_sha256([text.as_bytes()])
}

fn witnesses() -> Witnesses {
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

fn operation(witnesses: Witnesses, metadata: [u8; 32]) -> Operation {
    let sign = |bytes: &[u8]| key("alice").sign(bytes).to_bytes().to_vec();
    Operation::build(witnesses, metadata, Some(&sign)).unwrap()
}

fn changed(change: impl FnOnce(&mut Witnesses)) -> Operation {
    let mut changed = witnesses();
    change(&mut changed);
    operation(changed, metadata(1, 0, 5))
}

struct Scene {
    registry: Registry,
    root: String,
    clock: Clock,
}

impl Scene {
    fn new() -> Self {
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

    fn context(&self) -> pco::Context<'_> {
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

fn entry_bytes(time: u64, trust: f64) -> Vec<u8> {
    let mut clock = Clock::default();
    clock
        .entries
        .insert("alice".to_owned(), Entry { time, trust });
    clock.to_bytes().unwrap()
}

#[test]
fn an_honest_operation_says_the_same_in_both_modes() {
    let scene = Scene::new();
    let operation = changed(|_| {});
    assert_eq!(operation.verify(2, &scene.context()), Ok(true));
    let statement = operation.verify_strict(&scene.context()).unwrap();
    assert_eq!(statement.merkle_root, scene.root);
    assert_eq!(statement.new_hashes, [digest("new")]);
    // P8: late is honest, and level 2 of E4 refuses it.
    let mut late = Scene::new();
    late.clock.entries.get_mut("alice").unwrap().time = 9;
    assert_eq!(operation.verify(2, &late.context()), Ok(false));
    assert!(operation.verify_strict(&late.context()).is_ok());
}

#[test]
fn p2_to_p15_operations_that_cover_too_little_are_refused() {
    let scene = Scene::new();
    let (root, trust) = (digest("root"), Score::default().hash());
    let half = root.split_at(32);
    let table = [
        (
            "P2 version",
            operation(witnesses(), metadata(2, 0, 5)),
            Refusal::MetadataUnsigned,
        ),
        (
            "P2 flags",
            operation(witnesses(), metadata(1, 9, 5)),
            Refusal::MetadataUnsigned,
        ),
        (
            "P3 shifted root",
            changed(|w| {
                w.merkle_root.clear();
                w.clock = Vec::new();
                w.trust_hash = [root.as_str(), &trust].concat();
            }),
            Refusal::RootUnchecked,
        ),
        (
            "P3 shifted trust",
            changed(|w| w.trust_hash = half.0.to_owned()),
            Refusal::DigestForm("trust hash"),
        ),
        (
            "P3 split bounds",
            changed(|w| w.bounds[0].new_hash.push('0')),
            Refusal::DigestForm("new hash"),
        ),
        (
            "P7 empty root",
            changed(|w| w.merkle_root.clear()),
            Refusal::RootUnchecked,
        ),
        (
            "P8, C1 far ahead",
            changed(|w| w.clock = entry_bytes(1_000_000_000_000, 0.5)),
            Refusal::ClockAhead,
        ),
        (
            "C1 no next step",
            changed(|w| w.clock = entry_bytes(u64::MAX, 0.5)),
            Refusal::TimeTooLarge,
        ),
        (
            "C4 infinite trust",
            changed(|w| w.clock = entry_bytes(3, f64::INFINITY)),
            Refusal::TrustOutOfRange,
        ),
        (
            "P15 bounds",
            changed(|w| w.bounds = vec![w.bounds[0].clone(); pco::BOUNDS_MAX + 1]),
            Refusal::TooMany("bounds", pco::BOUNDS_MAX),
        ),
    ];
    for (name, operation, refusal) in table {
        assert_eq!(operation.verify(2, &scene.context()), Ok(true), "{name}");
        assert_eq!(
            operation.verify_strict(&scene.context()),
            Err(refusal),
            "{name}"
        );
    }
}

#[test]
fn p2_to_p14_keys_and_contexts_that_prove_nothing_are_refused() {
    let honest = changed(|_| {});
    let scene = Scene::new();

    let mut shared = Scene::new();
    shared.registry.insert("alias", public("alice"));
    assert_eq!(
        honest.verify_strict(&shared.context()),
        Err(Refusal::SharedKey)
    );

    // P7: nothing local to compare with.
    let mut blind = scene.context();
    blind.state = State::default();
    assert_eq!(honest.verify(2, &blind), Ok(true));
    assert_eq!(honest.verify_strict(&blind), Err(Refusal::RootUnchecked));
    let mut elsewhere = Scene::new();
    elsewhere.root = digest("elsewhere");
    assert_eq!(
        honest.verify_strict(&elsewhere.context()),
        Err(Refusal::RootMismatch)
    );

    // P9: bytes that crash E4.
    let malformed = changed(|w| w.clock = vec![0, 9, b'a']);
    assert_eq!(
        malformed.verify(2, &scene.context()),
        Err(Refusal::Truncated)
    );
    assert_eq!(
        malformed.verify_strict(&scene.context()),
        Err(Refusal::Truncated)
    );

    // P10: bytes behind the header.
    let mut wire = honest.header.to_wire().unwrap().to_vec();
    assert_eq!(
        Header::from_wire(&wire, Mode::Strict),
        Ok(honest.header.clone())
    );
    wire.push(0);
    assert_eq!(
        Header::from_wire(&wire, Mode::Compatible),
        Ok(honest.header.clone())
    );
    assert_eq!(
        Header::from_wire(&wire, Mode::Strict),
        Err(Refusal::NotCanonical)
    );
    assert_eq!(
        Header::from_wire(&wire[..127], Mode::Compatible),
        Err(Refusal::Truncated)
    );

    // P11: no registry, no signature.
    let unsigned = Operation::build(witnesses(), metadata(1, 0, 5), None).unwrap();
    let mut keyless = scene.context();
    keyless.registry = None;
    assert_eq!(unsigned.verify(2, &keyless), Ok(true));
    assert_eq!(unsigned.verify_strict(&keyless), Err(Refusal::Unsigned));

    // P12: a key that is no Ed25519 key is a code that everybody can compute.
    let mut wrapped = Scene::new();
    let long_key = [vec![0x30; 12], public("alice")].concat();
    wrapped.registry.insert("alice", long_key.clone());
    let forge = |bytes: &[u8]| [public_hmac(&long_key, bytes), [0; 32]].concat();
    let forged = Operation::build(witnesses(), metadata(1, 0, 5), Some(&forge)).unwrap();
    assert_eq!(forged.verify(2, &wrapped.context()), Ok(true));
    assert_eq!(
        forged.verify_strict(&wrapped.context()),
        Err(Refusal::KeyLength)
    );

    // P13, P14.
    let mut empty = Scene::new();
    empty.registry = Registry::default();
    assert_eq!(
        honest.verify_strict(&empty.context()),
        Err(Refusal::UnknownKey)
    );
    let long = |_: &[u8]| vec![0; 3_309];
    let built = Operation::build(witnesses(), metadata(1, 0, 5), Some(&long));
    assert_eq!(built, Err(Refusal::SignatureLength));
    let mut altered = honest.clone();
    altered.header.signature[0] ^= 1;
    assert_eq!(
        altered.verify_strict(&scene.context()),
        Err(Refusal::BadSignature)
    );
    let mut other = honest;
    other.witnesses.bounds[0].new_hash = digest("other");
    assert_eq!(
        other.verify_strict(&scene.context()),
        Err(Refusal::AggregateMismatch)
    );
}

#[test]
fn p1_p4_p5_p6_deltas_that_nothing_covers_are_refused() {
    let scene = Scene::new();
    let context = scene.context();
    let honest = Delta {
        source: "alice".to_owned(),
        operation: Some(changed(|_| {})),
        ..Delta::default()
    };
    let mut swapped = honest.clone();
    swapped
        .insertions
        .insert("key".to_owned(), b"anything".to_vec());
    let mut foreign = honest.clone();
    foreign.source = "bob".to_owned();
    let mut quarantined = Score::default();
    for dimension in DIMENSIONS {
        quarantined = quarantined
            .record("o", dimension, 1.0, Mode::Compatible)
            .unwrap();
    }
    let trusted = Score::default();
    let mut e4 = Controller::new(8, Mode::Compatible);
    let table = [
        ("P1", &swapped, &trusted, false, Refusal::PayloadUncovered),
        ("P5", &foreign, &trusted, false, Refusal::SourceMismatch),
        ("P6", &honest, &quarantined, true, Refusal::Quarantined),
    ];
    let mut seen = Seen::default();
    for (name, delta, source, is_tripped, refusal) in table {
        let outcome = e4
            .verify(delta, Some(source), is_tripped, &context)
            .unwrap();
        assert!(outcome.is_accepted, "{name}");
        let strict = adaptive::verify_strict(delta, source, &context, &mut seen);
        assert_eq!(strict, Err(refusal), "{name}");
    }
    // P4: once is enough.
    assert!(adaptive::verify_strict(&honest, &trusted, &context, &mut seen).is_ok());
    let again = adaptive::verify_strict(&honest, &trusted, &context, &mut seen);
    assert_eq!(again, Err(Refusal::Replay));
    assert!(
        e4.verify(&honest, Some(&trusted), false, &context)
            .unwrap()
            .is_accepted
    );
    assert!(
        e4.verify(&honest, Some(&trusted), false, &context)
            .unwrap()
            .is_accepted
    );
}

// ---- tree and clock ---------------------------------------------------------------------------

fn leaf(key: &str, data: &str, originator: &str) -> Leaf {
    Leaf {
        key: key.to_owned(),
        data: data.as_bytes().to_vec(),
        originator: originator.to_owned(),
    }
}

#[test]
fn m1_to_m6_leaves_and_proofs_with_two_readings_are_refused() {
    let row = digest("a") + &digest("b");
    let trust = Score::default().to_text();
    // M2: the boundary between data and originator moves over a whole trust text.
    let moved = format!("o{trust}p");
    assert_eq!(
        leaf_hash("", b"d", &trust, &moved),
        leaf_hash("", format!("d{trust}o").as_bytes(), &trust, "p")
    );
    let table = [
        (
            "M1 same leaf, another key",
            leaf("k2", "data", "o"),
            Refusal::KeyUncovered,
        ),
        (
            "M2 data as a node",
            leaf("k3", &row, "o"),
            Refusal::AmbiguousLeaf,
        ),
        (
            "M2 boundary in the data",
            leaf("k4", &format!("d{trust}"), "p"),
            Refusal::AmbiguousLeaf,
        ),
        (
            "M2 boundary in the originator",
            leaf("k5", "d", &moved),
            Refusal::AmbiguousLeaf,
        ),
        ("no key", leaf("", "d", "o"), Refusal::EmptyId),
    ];
    for (name, leaf_, refusal) in table {
        for (mode, answer) in [(Mode::Compatible, None), (Mode::Strict, Some(refusal))] {
            let mut tree = Tree::new(4, true, mode).unwrap();
            tree.insert(leaf("k", "data", "o"), None).unwrap();
            assert_eq!(tree.insert(leaf_.clone(), None).err(), answer, "{name}");
        }
    }
    // M5.
    let mut tree = Tree::new(4, true, Mode::Strict).unwrap();
    assert_eq!(
        tree.set_trust("o", Score::default()),
        Err(Refusal::TrustShadow)
    );
    assert_eq!(
        Tree::new(1, false, Mode::Compatible).err(),
        Some(Refusal::OutOfRange("branching factor"))
    );

    // M6: one proof at several positions.
    let mut tree = Tree::new(4, false, Mode::Compatible).unwrap();
    for (key, data) in [("a", "1"), ("b", "2"), ("c", "3")] {
        tree.insert(leaf(key, data, "o"), None).unwrap();
    }
    let computed = tree.compute(None);
    let sibling = |index: usize| computed.levels()[0][index].hash.clone();
    let proof = |position, siblings| vec![Step { siblings, position }];
    let pair = vec![sibling(0), sibling(1)];
    let joined = vec![pair.concat()];
    let third = leaf("c", "3", "o");
    let table = [
        ("M6 past the end", proof(9, pair.clone()), Refusal::Position),
        (
            "M6 siblings split anew",
            proof(1, joined),
            Refusal::DigestForm("sibling"),
        ),
    ];
    for (name, steps, refusal) in table {
        let verify = |mode| verify_path(&third, &steps, computed.root(), None, mode);
        assert_eq!(verify(Mode::Compatible), Ok(true), "{name}");
        assert_eq!(verify(Mode::Strict), Err(refusal), "{name}");
        let compat = verify_compat_path(b"3", &steps, "", Mode::Strict);
        assert_eq!(compat, Err(refusal), "{name}");
    }
    let negative = proof(-1, pair.clone());
    let strict = verify_path(&third, &negative, computed.root(), None, Mode::Strict);
    assert_eq!(strict, Err(Refusal::Position));
    let honest = proof(2, pair);
    assert_eq!(
        verify_path(&third, &honest, computed.root(), None, Mode::Strict),
        Ok(true)
    );
}

#[test]
fn c1_to_c4_clocks_that_are_no_clocks_are_refused() {
    let one = |id: &str| {
        let mut clock = Clock::default();
        clock.entries.insert(
            id.to_owned(),
            Entry {
                time: 1,
                trust: 0.5,
            },
        );
        clock.to_bytes().unwrap()
    };
    let table = [
        ("C1 time", entry_bytes(u64::MAX, 0.5), Refusal::TimeTooLarge),
        (
            "C4 infinite",
            entry_bytes(1, f64::INFINITY),
            Refusal::TrustOutOfRange,
        ),
        (
            "C4 no number",
            entry_bytes(1, f64::NAN),
            Refusal::TrustOutOfRange,
        ),
        (
            "C4 negative",
            entry_bytes(1, -0.5),
            Refusal::TrustOutOfRange,
        ),
        ("empty id", one(""), Refusal::EmptyId),
        (
            "trailing byte",
            [one("a"), vec![0]].concat(),
            Refusal::NotCanonical,
        ),
        (
            "order",
            [one("b"), one("a")].concat(),
            Refusal::NotCanonical,
        ),
        (
            "twice",
            [one("a"), one("a")].concat(),
            Refusal::NotCanonical,
        ),
    ];
    for (name, bytes, refusal) in table {
        assert!(
            Clock::from_bytes(&bytes, Mode::Compatible).is_ok(),
            "{name}"
        );
        assert_eq!(
            Clock::from_bytes(&bytes, Mode::Strict),
            Err(refusal),
            "{name}"
        );
    }
    // C1: E4 counts on and cannot write any more.
    let mut last = Clock::from_bytes(&entry_bytes(u64::MAX, 0.5), Mode::Compatible).unwrap();
    assert_eq!(last.increment("alice", None), Err(Refusal::TimeTooLarge));
    // C2, C3: the right way round, whatever the trust.
    let [old, new] = [entry_bytes(1, 0.1), entry_bytes(2, 1.0)]
        .map(|bytes| Clock::from_bytes(&bytes, Mode::Strict).unwrap());
    assert_eq!(old.compare(&new), Comparison::After);
    assert_eq!(new.compare(&old), Comparison::TrustOverride);
    assert_eq!(
        (old.order(&new), new.order(&old)),
        (Order::Before, Order::After)
    );
    assert_eq!(old.order(&old), Order::Equal);
}

// ---- lattice ----------------------------------------------------------------------------------

#[test]
fn l1_to_l12_scores_that_do_not_converge_or_rise_are_refused() {
    // L1, L16.
    let old = |mode| Lattice::new("me", Version::Old, mode, Peers::new(), None).err();
    assert_eq!(
        (old(Mode::Compatible), old(Mode::Strict)),
        (None, Some(Refusal::OldLattice))
    );
    // L4: the first small accusation lifts from 0.5.
    let record = |amount, mode| Score::default().record("o", "integrity", amount, mode);
    assert!(record(1e-9, Mode::Compatible).unwrap().overall() > 0.5);
    assert_eq!(record(1e-9, Mode::Strict), Err(Refusal::AccusationRaises));
    assert!(record(0.75, Mode::Strict).is_ok());
    // L10, L11.
    let mut bad = Score::default();
    bad = bad.record("o", "integrity", 0.9, Mode::Compatible).unwrap();
    let peers = Peers::from([("lone".to_owned(), bad)]);
    let normal = normalize(&peers, 1, Mode::Compatible).unwrap();
    assert_eq!(normal["lone"].dimension("integrity"), 1.0);
    assert_eq!(
        normalize(&peers, 1, Mode::Strict),
        Err(Refusal::Homeostasis)
    );
    // L12.
    assert!(record_in("weather", Mode::Compatible).is_ok());
    assert_eq!(
        record_in("weather", Mode::Strict),
        Err(Refusal::UnknownDimension)
    );
}

fn record_in(dimension: &str, mode: Mode) -> Result<Score, Refusal> {
    Score::default().record("o", dimension, 0.75, mode)
}

#[test]
fn l2_one_accusation_counts_once() {
    let registry = registry();
    let context = evidence_context(&registry);
    let mut evidence = accusation(Kind::Equivocation, equivocation("bob"));
    evidence.amount = 0.5;
    let evidence = signed(evidence);
    let local = Local {
        root: "",
        clock: Vec::new(),
        seconds: 0,
        sign: None,
    };
    let run = |mode| {
        let mut lattice = Lattice::new("alice", Version::New, mode, Peers::new(), None).unwrap();
        lattice.observe(0.0, &evidence, &context, &local).unwrap();
        let second = lattice.observe(0.0, &evidence, &context, &local).err();
        (second, lattice.trust("bob").dimension("integrity"))
    };
    assert_eq!(run(Mode::Compatible), (None, 0.0));
    assert_eq!(run(Mode::Strict), (Some(Refusal::Replay), 0.5));
    // A copy that comes back by a merge is known too.
    let mut strict = Lattice::new("alice", Version::New, Mode::Strict, Peers::new(), None).unwrap();
    let fresh = strict.clone();
    strict.observe(0.0, &evidence, &context, &local).unwrap();
    let mut merged = fresh.merge(&strict).unwrap();
    let again = merged.observe(0.0, &evidence, &context, &local);
    assert_eq!(again, Err(Refusal::Replay));
}

// ---- bridges, delta, configuration, resilience ------------------------------------------------

#[test]
fn b1_p16_nothing_is_dropped_from_a_full_queue() {
    let scene = Scene::new();
    let context = scene.context();
    let delta = Delta {
        source: "alice".to_owned(),
        operation: Some(changed(|_| {})),
        ..Delta::default()
    };
    let source = Score::default();
    for (mode, answer) in [
        (Mode::Compatible, None),
        (Mode::Strict, Some(Refusal::QueueFull)),
    ] {
        let mut controller = Controller::new(1, mode);
        assert!(
            controller
                .verify(&delta, Some(&source), false, &context)
                .is_ok()
        );
        let second = controller.verify(&delta, Some(&source), false, &context);
        assert_eq!(second.err(), answer);
        assert_eq!(controller.pending(), 1);
    }
    let mut lattice =
        Lattice::new("me", Version::New, Mode::Compatible, Peers::new(), None).unwrap();
    let mut gossip = Gossip::new(Mode::Strict);
    for _ in 0..WAITING_MAX {
        gossip.prepare(&mut lattice, Vec::new(), true).unwrap();
    }
    let full = gossip.prepare(&mut lattice, Vec::new(), true);
    assert_eq!(full, Err(Refusal::TooMany("payloads", WAITING_MAX)));
}

#[test]
fn b3_chunks_out_of_place_are_refused() {
    let chunk = |sequence| Chunk {
        sequence,
        stream: "s".to_owned(),
        ..Chunk::default()
    };
    let mut e4 = Streams::new(Mode::Compatible);
    let mut strict = Streams::new(Mode::Strict);
    assert_eq!(
        strict.chunk("p", &chunk(0), None),
        Err(Refusal::ChunkOutOfPlace)
    );
    let score = Score::default();
    assert_eq!(strict.accept("p", "s", &score, 0.1), Ok(true));
    let table = [
        ("p", 0, None),
        ("p", 0, Some(Refusal::ChunkOutOfPlace)),
        ("p", 7, Some(Refusal::ChunkOutOfPlace)),
        ("p", -1, Some(Refusal::ChunkOutOfPlace)),
        ("q", 1, Some(Refusal::ChunkOutOfPlace)),
        ("p", 1, None),
    ];
    for (peer, sequence, refusal) in table {
        assert!(e4.chunk(peer, &chunk(sequence), None).unwrap().is_accepted);
        let answer = strict.chunk(peer, &chunk(sequence), None).err();
        assert_eq!(answer, refusal, "{peer} {sequence}");
    }
    assert_eq!(
        strict.accept("q", "s", &score, 0.1),
        Err(Refusal::ChunkOutOfPlace)
    );
}

#[test]
fn b4_ties_between_values_are_refused() {
    let state = |value: &[u8], mode| {
        let mut agent = Agent::new(false, mode);
        agent.put("k", value, "p", 1.0, None).unwrap();
        agent
    };
    let merge = |mode| {
        let (a, b) = (state(b"a", mode), state(b"b", mode));
        (
            a.merge(&b, None).map(|m| m.entries()["k"].value.clone()),
            b.merge(&a, None).map(|m| m.entries()["k"].value.clone()),
        )
    };
    assert_eq!(
        merge(Mode::Compatible),
        (Ok(b"a".to_vec()), Ok(b"b".to_vec()))
    );
    assert_eq!(merge(Mode::Strict), (Err(Refusal::Tie), Err(Refusal::Tie)));
    let mut strict = state(b"a", Mode::Strict);
    let timeless = strict.put("k", b"b", "p", f64::NAN, None);
    assert_eq!(timeless, Err(Refusal::TimestampNotFinite));
}

#[test]
fn b5_m7_configurations_without_effect_are_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        (config.check(Mode::Compatible), config.check(Mode::Strict))
    };
    let table: [(fn(&mut Config), Refusal); 5] = [
        (
            |c| c.quarantine_threshold = 0.3,
            Refusal::DeadField("quarantine_threshold"),
        ),
        (
            |c| c.homeostasis_enabled = false,
            Refusal::DeadField("homeostasis_enabled"),
        ),
        (
            |c| c.verification_level_override = Some(2),
            Refusal::DeadField("verification_level_override"),
        ),
        (
            |c| c.cb_sigma_threshold = f64::NAN,
            Refusal::OutOfRange("cb_sigma_threshold"),
        ),
        (
            |c| c.compatibility_mode = "e5".to_owned(),
            Refusal::OutOfRange("compatibility_mode"),
        ),
    ];
    for (change, refusal) in table {
        assert_eq!(with(change), (Ok(()), Err(refusal)));
    }
    assert_eq!(with(|_| {}), (Ok(()), Ok(())));
}

#[test]
fn b6_nobody_is_taken_a_step_back() {
    for (mode, answer) in [
        (Mode::Compatible, Ok(CompatibilityMode::DualHash)),
        (Mode::Strict, Err(Refusal::Downgrade)),
    ] {
        let mut controller = handshake::Controller::new(CompatibilityMode::E4Only, mode);
        let first = controller.handshake("p", Capability::E4Full);
        assert_eq!(first, Ok(CompatibilityMode::E4Only));
        assert_eq!(controller.handshake("p", Capability::PreE4), answer);
    }
}

#[test]
fn b7_lossy_deltas_are_refused() {
    let mut first = Delta::default();
    first.insertions.insert("k".to_owned(), vec![0xff]);
    let mut second = Delta::default();
    second.deletions.insert("k".to_owned());
    let phantom = first.compose(&second, Mode::Compatible).unwrap();
    assert!(phantom.deletions.contains("k"));
    assert_eq!(
        first.compose(&second, Mode::Strict),
        Err(Refusal::PhantomDeletion)
    );
    assert!(first.compose_spec(&second).tombstones.contains("k"));
    let (masked, _) = first.quantized(4, Mode::Compatible).unwrap();
    assert_eq!(masked.insertions["k"], [0x0f]);
    assert_eq!(
        first.quantized(4, Mode::Strict),
        Err(Refusal::LossyQuantise)
    );
    assert_eq!(
        first.quantized(9, Mode::Compatible),
        Err(Refusal::OutOfRange("bits"))
    );
}

#[test]
fn r1_to_r4_signatures_from_public_data_are_refused() {
    for scheme in [Scheme::HmacSha256, Scheme::DilithiumLite, Scheme::Hybrid] {
        assert_eq!(scheme.check(Mode::Compatible), Ok(()));
        assert_eq!(scheme.check(Mode::Strict), Err(Refusal::ForgeableScheme));
        // Whatever comes from outside, the answer is no.
        for length in 0..200 {
            let junk = vec![1; length];
            assert!(!scheme.verify(&junk, b"m", &vec![2; length]));
            let _ = scheme.sign(&junk, b"m");
            let _ = scheme.generate(&junk);
        }
    }
    // R2: a code keyed by the public key, and a revocation that nobody proved.
    let public = public("alice");
    let code = public_hmac(&public, b"m");
    assert_eq!(
        verify_peer(&public, b"m", &code, Mode::Compatible),
        Ok(true)
    );
    assert_eq!(
        verify_peer(&public, b"m", &code, Mode::Strict),
        Err(Refusal::SignatureLength)
    );
    let payload = revocation_payload("id", "alice", "routine rotation", "next");
    assert_eq!(
        check_revocation(&public, &payload, b"", Mode::Compatible),
        Ok(())
    );
    let unproven = check_revocation(&public, &payload, b"", Mode::Strict);
    assert_eq!(unproven, Err(Refusal::UnprovenRevocation));
    let signature = key("alice").sign(&payload).to_bytes();
    assert_eq!(
        check_revocation(&public, &payload, &signature, Mode::Strict),
        Ok(())
    );
    let vouch = vouch_hash("i", &[], 0.5, &[], 0.0, Mode::Strict);
    assert_eq!(vouch, Err(Refusal::UncheckedVouch));
    // R4: five values for six dimensions.
    let peers = [("p".to_owned(), vec![0.5; 5])];
    assert!(sparse_trust(1, &peers, Mode::Compatible).is_ok());
    assert_eq!(
        sparse_trust(1, &peers, Mode::Strict),
        Err(Refusal::DimensionsLost)
    );
}
