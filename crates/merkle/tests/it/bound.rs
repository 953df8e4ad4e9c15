//! The trust-bound tree, against a model that hashes a sorted map from scratch.

use polity_crypto::{PeerId, Sha256Digest};
use polity_merkle::bound::{
    AbsenceProof, BoundError, BoundLeaf, BoundProof, BoundRefusal, BoundTree, FanOut,
    KEY_BYTES_MAX, bound_root, diff, verify_absence, verify_inclusion,
};
use polity_merkle::leaf_hash;
use polity_types::{Epoch, TRUST_MAX};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, BoundLeaf>;

fn content(number: u64) -> BoundLeaf {
    BoundLeaf {
        value: leaf_hash(&number.to_le_bytes()),
        originator: PeerId::new([number as u8; 32]),
        trust: (number % 1_000_001) as u32,
        epoch: Epoch::new(number / 7),
        dot_peer: PeerId::new([(number / 3) as u8; 32]),
        dot_counter: number,
    }
}

fn sha(parts: &[&[u8]]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(parts.concat()).into())
}

/// Text of bits of a digest.
fn bits(key: &[u8]) -> String {
    let digest = Sha256::digest(key);
    let bit = |at: usize| digest[at / 8] >> (7 - at % 8) & 1 == 1;
    (0..256).map(|at| if bit(at) { '1' } else { '0' }).collect()
}

fn model_node(records: &[(String, Vec<u8>, BoundLeaf)], bit: usize) -> Sha256Digest {
    if let [(_, key, leaf)] = records {
        return sha(&[
            b"polity/merkle/bound-leaf/v1\0",
            &(key.len() as u32).to_le_bytes(),
            key,
            leaf.value.as_bytes(),
            leaf.originator.as_bytes(),
            &leaf.trust.to_le_bytes(),
            &leaf.epoch.get().to_le_bytes(),
            leaf.dot_peer.as_bytes(),
            &leaf.dot_counter.to_le_bytes(),
        ]);
    }
    let (left, right): (Vec<_>, Vec<_>) = records
        .iter()
        .cloned()
        .partition(|(text, _, _)| text.as_bytes()[bit] == b'0');
    if left.is_empty() || right.is_empty() {
        return model_node(records, bit + 1);
    }
    sha(&[
        &[1],
        &(bit as u16).to_le_bytes(),
        &(records.len() as u64).to_le_bytes(),
        model_node(&left, bit + 1).as_bytes(),
        model_node(&right, bit + 1).as_bytes(),
    ])
}

fn model_root(model: &Model, fan_out: u16) -> Sha256Digest {
    let records: Vec<_> = model
        .iter()
        .map(|(key, leaf)| (bits(key), key.clone(), *leaf))
        .collect();
    let top = match records.len() {
        0 => Sha256Digest::ZERO,
        _ => model_node(&records, 0),
    };
    sha(&[
        b"polity/merkle/bound-data/v1\0",
        &u32::from(fan_out).to_le_bytes(),
        &(records.len() as u64).to_le_bytes(),
        top.as_bytes(),
    ])
}

fn tree_of(numbers: impl IntoIterator<Item = u64>) -> BoundTree {
    let mut tree = BoundTree::new(FanOut::default());
    for number in numbers {
        tree.insert(&key(number), content(number)).unwrap();
    }
    tree
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

proptest! {
    #[test]
    fn tr_12_agrees_with_the_model_at_every_step(
        operations in prop::collection::vec((0_u64..24, prop::option::weighted(0.7, 0_u64..50)), 0..60),
    ) {
        let mut tree = BoundTree::default();
        let mut model = Model::new();
        for (number, write) in operations {
            let key = key(number);
            if let Some(value) = write {
                let old = model.insert(key.clone(), content(value));
                prop_assert_eq!(tree.insert(&key, content(value)), Ok(old));
            } else {
                prop_assert_eq!(tree.remove(&key), model.remove(&key));
            }
            prop_assert_eq!(tree.len(), model.len());
            prop_assert_eq!(tree.root(), model_root(&model, 256));
        }
        for number in 0..24 {
            let key = key(number);
            prop_assert_eq!(tree.get(&key), model.get(&key));
            let root = tree.root();
            let (there, absent) = (tree.inclusion(&key), tree.absence(&key));
            prop_assert_eq!(there.is_some(), model.contains_key(&key));
            prop_assert_eq!(absent.is_none(), model.contains_key(&key));
            if let Some(proof) = there {
                prop_assert_eq!(verify_inclusion(&root, &key, &model[&key], &proof), Ok(()));
            }
            if let Some(proof) = absent {
                prop_assert_eq!(verify_absence(&root, &key, &proof), Ok(()));
            }
        }
    }

    #[test]
    fn tr_12_a_set_has_one_root_in_any_order_and_built_at_once(
        numbers in prop::collection::vec(0_u64..1_000, 0..80),
        seed: u64,
    ) {
        let mut shuffled = numbers.clone();
        shuffled.sort_by_key(|number| sha(&[&seed.to_le_bytes(), &number.to_le_bytes()]));
        let root = tree_of(numbers.clone()).root();
        prop_assert_eq!(tree_of(shuffled).root(), root);
        let records = numbers.iter().map(|number| (key(*number), content(*number)));
        let mut built = BoundTree::from_records(FanOut::default(), records).unwrap();
        prop_assert_eq!(built.root(), root);
    }

    #[test]
    fn tr_14_diff_names_every_change_and_nothing_else(
        a in prop::collection::btree_map(0_u64..60, 0_u64..3, 0..50),
        b in prop::collection::btree_map(0_u64..60, 0_u64..3, 0..50),
    ) {
        let tree = |map: &BTreeMap<u64, u64>| {
            let records = map.iter().map(|(number, value)| (key(*number), content(*value)));
            BoundTree::from_records(FanOut::default(), records).unwrap()
        };
        let ranges = diff(&mut tree(&a), &mut tree(&b));
        prop_assert_eq!(&ranges, &diff(&mut tree(&b), &mut tree(&a)));
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].last < pair[1].first);
        }
        for number in 0..60 {
            let hits = ranges.iter().filter(|range| range.contains(&key(number))).count();
            // Both have it, and equally: it lies outside. Someone has it otherwise: inside, once.
            match (a.get(&number), b.get(&number)) {
                (None, None) => {}
                (x, y) if x == y => prop_assert_eq!(hits, 0),
                _ => prop_assert_eq!(hits, 1),
            }
        }
    }
}

fn proved() -> (Sha256Digest, Vec<u8>, BoundLeaf, BoundProof) {
    let mut tree = tree_of(0..200);
    let proof = tree.inclusion(&key(7)).unwrap();
    assert!(proof.steps.len() > 3);
    (tree.root(), key(7), content(7), proof)
}

#[test]
fn tr_14_every_change_of_a_proof_is_refused() {
    let (root, key, leaf, proof) = proved();
    let check = |proof: &BoundProof| verify_inclusion(&root, &key, &leaf, proof);
    assert_eq!(check(&proof), Ok(()));
    for step in 0..proof.steps.len() {
        for flip in 0..256 {
            let mut bad = proof.clone();
            let mut bytes = *bad.steps[step].sibling.as_bytes();
            bytes[flip / 8] ^= 1 << (flip % 8);
            bad.steps[step].sibling = Sha256Digest::new(bytes);
            assert_eq!(check(&bad), Err(BoundRefusal::Root));
        }
        let mut bad = proof.clone();
        bad.steps[step].records += 1;
        assert_eq!(check(&bad), Err(BoundRefusal::Root));
        bad.steps[step].records = 0;
        assert_eq!(check(&bad), Err(BoundRefusal::Count(step)));
        bad.steps[step].records = u64::MAX;
        assert_eq!(check(&bad), Err(BoundRefusal::Count(step)));
        let mut bad = proof.clone();
        bad.steps[step].bit = 256;
        assert_eq!(check(&bad), Err(BoundRefusal::Order(step)));
        let mut bad = proof.clone();
        bad.steps.remove(step);
        assert_eq!(check(&bad), Err(BoundRefusal::Root));
    }
    let mut long = proof.clone();
    long.steps.resize(257, proof.steps[0]);
    assert_eq!(check(&long), Err(BoundRefusal::TooLong(257)));
    let mut wide = proof.clone();
    wide.fan_out = FanOut::new(16).unwrap();
    assert_eq!(check(&wide), Err(BoundRefusal::Root));
    let other = tree_of(0..201).root();
    assert_eq!(
        verify_inclusion(&other, &key, &leaf, &proof),
        Err(BoundRefusal::Root)
    );
}

#[test]
fn tr_12_every_field_of_a_leaf_is_bound() {
    let (root, key, leaf, proof) = proved();
    let changes: [fn(&mut BoundLeaf); 6] = [
        |leaf| leaf.value = Sha256Digest::ZERO,
        |leaf| leaf.originator = PeerId::ZERO,
        |leaf| leaf.trust += 1,
        |leaf| leaf.epoch = leaf.epoch.next(),
        |leaf| leaf.dot_peer = PeerId::new([9; 32]),
        |leaf| leaf.dot_counter += 1,
    ];
    for change in changes {
        let mut bad = leaf;
        change(&mut bad);
        assert_eq!(
            verify_inclusion(&root, &key, &bad, &proof),
            Err(BoundRefusal::Root)
        );
    }
    let mut proud = leaf;
    proud.trust = TRUST_MAX + 1;
    assert_eq!(
        verify_inclusion(&root, &key, &proud, &proof),
        Err(BoundRefusal::Trust(TRUST_MAX + 1))
    );
}

#[test]
fn tr_14_absence_is_shown_by_the_leaf_at_the_end_of_the_way_and_no_other() {
    let mut tree = tree_of(0..200);
    let root = tree.root();
    for number in 200..400 {
        let proof = tree.absence(&key(number)).unwrap();
        assert_eq!(verify_absence(&root, &key(number), &proof), Ok(()));
        let AbsenceProof::Other { key: other, .. } = &proof else {
            panic!("the tree is not empty");
        };
        assert_eq!(
            verify_absence(&root, other, &proof),
            Err(BoundRefusal::SameKey)
        );
    }
    // A key that is there is at the end of its own way alone.
    let proof = tree.absence(&key(300)).unwrap();
    for number in 0..200 {
        assert!(verify_absence(&root, &key(number), &proof).is_err());
    }
    let empty = AbsenceProof::Empty {
        fan_out: FanOut::default(),
    };
    assert_eq!(
        verify_absence(&root, &key(300), &empty),
        Err(BoundRefusal::Root)
    );
    let nothing = BoundTree::default().root();
    assert_eq!(verify_absence(&nothing, &key(300), &empty), Ok(()));
}

#[test]
fn e4_m1_the_key_is_bound_and_the_order_is_not() {
    let one = |key: &[u8]| {
        let mut tree = BoundTree::default();
        tree.insert(key, content(1)).unwrap();
        tree.root()
    };
    assert_ne!(one(b"a"), one(b"b"));
    assert_eq!(tree_of([1, 2, 3]).root(), tree_of([3, 1, 2]).root());
}

#[test]
fn e4_m2_sizes_and_boundaries_do_not_collide() {
    // A leaf that is offered in the place of a subtree has another tag and another count.
    let mut roots: Vec<_> = (0..20).map(|size| tree_of(0..size).root()).collect();
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots.len(), 20);
    let digest = |key: &[u8], byte: u8| {
        let mut leaf = content(1);
        leaf.value = Sha256Digest::new([byte; 32]);
        leaf.digest(key)
    };
    assert_ne!(digest(b"a\x01", 1), digest(b"a", 1));
}

#[test]
fn e4_m3_a_view_of_trust_changes_the_bound_root_and_not_the_data_root() {
    let data = tree_of(0..9).root();
    let bind = |trust: u8, clock: u8, epoch| {
        let (trust, clock) = ([trust; 32], [clock; 32]);
        let digests = (Sha256Digest::new(trust), Sha256Digest::new(clock));
        bound_root(&data, &digests.0, &digests.1, Epoch::new(epoch))
    };
    let mut roots = [bind(1, 1, 1), bind(2, 1, 1), bind(1, 2, 1), bind(1, 1, 2)];
    roots.sort_unstable();
    assert!(roots.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(tree_of((0..9).rev()).root(), data);
}

#[test]
fn e4_m4_one_insertion_before_five_thousand_leaves_is_one_change() {
    let mut a = tree_of(1..5_001);
    let mut b = tree_of(0..5_001);
    let ranges = diff(&mut a, &mut b);
    assert_eq!(ranges.len(), 1);
    assert!(ranges[0].contains(&key(0)));
    assert!((1..5_001).all(|number| !ranges[0].contains(&key(number))));
    assert_eq!(b.remove(&key(0)), Some(content(0)));
    assert_eq!(a.root(), b.root());
    assert_eq!(diff(&mut a, &mut b), []);
}

#[test]
fn e4_m6_a_proof_holds_for_one_key_in_one_place() {
    let (root, own, leaf, proof) = proved();
    for number in (0..400).filter(|number| *number != 7) {
        for leaf in [leaf, content(number)] {
            let answer = verify_inclusion(&root, &key(number), &leaf, &proof);
            assert_eq!(answer, Err(BoundRefusal::Root));
        }
    }
    let steps = proof.steps.len();
    for (from, to) in (1..steps).map(|step| (step - 1, step)) {
        // Siblings that change places, alone and with their bits.
        let mut bad = proof.clone();
        (bad.steps[from].sibling, bad.steps[to].sibling) =
            (bad.steps[to].sibling, bad.steps[from].sibling);
        let answer = verify_inclusion(&root, &own, &leaf, &bad);
        assert_eq!(answer, Err(BoundRefusal::Root));
        let mut bad = proof.clone();
        bad.steps.swap(from, to);
        let answer = verify_inclusion(&root, &own, &leaf, &bad);
        assert_eq!(answer, Err(BoundRefusal::Order(to)));
    }
    // Bytes moved from one sibling to the next.
    let mut bad = proof.clone();
    let (mut a, mut b) = (
        *bad.steps[0].sibling.as_bytes(),
        *bad.steps[1].sibling.as_bytes(),
    );
    core::mem::swap(&mut a[31], &mut b[0]);
    bad.steps[0].sibling = Sha256Digest::new(a);
    bad.steps[1].sibling = Sha256Digest::new(b);
    let answer = verify_inclusion(&root, &own, &leaf, &bad);
    assert_eq!(answer, Err(BoundRefusal::Root));
}

#[test]
fn tr_12_limits_are_kept_and_a_refused_record_changes_nothing() {
    let mut tree = tree_of(0..3);
    let root = tree.root();
    let long = vec![0; KEY_BYTES_MAX + 1];
    assert_eq!(
        tree.insert(&long, content(1)),
        Err(BoundError::Key(KEY_BYTES_MAX + 1))
    );
    let mut proud = content(1);
    proud.trust = TRUST_MAX + 1;
    assert_eq!(
        tree.insert(b"a", proud),
        Err(BoundError::Trust(TRUST_MAX + 1))
    );
    assert_eq!(tree.root(), root);
    tree.insert(&long[1..], content(1)).unwrap();
    for children in [0, 1, 8, 17, 100, 1_023, 2_048, u16::MAX] {
        assert!(FanOut::new(children).is_err());
    }
    let mut roots = BTreeMap::new();
    for children in [16, 32, 64, 128, 256, 512, 1_024] {
        let mut tree = BoundTree::new(FanOut::new(children).unwrap());
        tree.insert(b"a", content(1)).unwrap();
        let model = Model::from([(b"a".to_vec(), content(1))]);
        assert_eq!(tree.root(), model_root(&model, children));
        roots.insert(tree.root(), children);
    }
    assert_eq!(roots.len(), 7);
}
