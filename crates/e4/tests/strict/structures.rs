//! Trees and clocks with two readings.

use crate::scene::{digest, entry_bytes};
use polity_e4::clock::{Clock, Comparison, Entry, Order};
use polity_e4::score::Score;
use polity_e4::tree::{Leaf, Step, Tree, leaf_hash, verify_compat_path, verify_path};
use polity_e4::{Mode, Refusal};

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
