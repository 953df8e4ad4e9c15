//! What holds for any bytes and any scores.

// Scores are made of sixty-fourths.
#![allow(clippy::float_arithmetic)]

use polity_e4::clock::Clock;
use polity_e4::evidence::{Context, Evidence, Kind};
use polity_e4::export::Export;
use polity_e4::pco::Header;
use polity_e4::score::{DIMENSIONS, Score, normalize};
use polity_e4::{Mode, proof};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

fn scores() -> impl Strategy<Value = Score> {
    let dimension = proptest::sample::select(DIMENSIONS.to_vec());
    // Sixty-fourths add up without rounding.
    let observers = btree_map("[a-d]", (0_u8..64).prop_map(|n| f64::from(n) / 64.0), 0..4);
    btree_map(dimension.prop_map(str::to_owned), observers, 0..6)
        .prop_map(|evidence| Score { evidence })
}

fn entries() -> impl Strategy<Value = Vec<u8>> {
    let entry = ("[a-c]{0,2}", 0_u64..5, 0_u8..4).prop_map(|(id, time, trust)| {
        let mut bytes = (id.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&(f64::from(trust) / 2.0).to_be_bytes());
        bytes
    });
    vec(entry, 0..4).prop_map(|entries| entries.concat())
}

proptest! {
    #[test]
    fn stored_scores_join_as_a_lattice(a in scores(), b in scores(), c in scores()) {
        prop_assert_eq!(a.join(&b), b.join(&a));
        prop_assert_eq!(a.join(&b).join(&c), a.join(&b.join(&c)));
        prop_assert_eq!(a.join(&a), a.clone());
        for dimension in a.evidence.keys().filter(|name| !a.evidence[*name].is_empty()) {
            prop_assert!(a.join(&b).dimension(dimension) <= a.dimension(dimension));
        }
    }

    #[test]
    fn normalised_scores_are_scores(a in scores(), b in scores(), count in -1_i64..4) {
        let peers = [("a".to_owned(), a), ("b".to_owned(), b)].into();
        for score in normalize(&peers, count, Mode::Compatible).unwrap().values() {
            prop_assert!((0.0..=1.0).contains(&score.overall()));
        }
    }

    #[test]
    fn strict_clocks_are_those_that_are_written(bytes in entries()) {
        let read = Clock::from_bytes(&bytes, Mode::Compatible).unwrap();
        match Clock::from_bytes(&bytes, Mode::Strict) {
            Ok(strict) => {
                prop_assert_eq!(strict.to_bytes().unwrap(), bytes);
                prop_assert_eq!(strict, read);
            }
            Err(_) => prop_assert!(read.check().is_err() || read.to_bytes().unwrap() != bytes),
        }
    }

    #[test]
    fn merged_clocks_are_behind_nobody(a in entries(), b in entries()) {
        use polity_e4::clock::Order;
        let [a, b] = [a, b].map(|bytes| Clock::from_bytes(&bytes, Mode::Compatible).unwrap());
        let merged = a.merge(&b);
        for part in [&a, &b] {
            let order = part.order(&merged);
            prop_assert!(matches!(order, Order::Before | Order::Equal), "{order:?}");
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..300)) {
        for mode in [Mode::Strict, Mode::Compatible] {
            let _ = Clock::from_bytes(&bytes, mode);
            let _ = Header::from_wire(&bytes, mode);
            let read = Evidence::from_bytes(&bytes, mode);
            if let Ok(evidence) = read {
                prop_assert_eq!(evidence.to_bytes().unwrap(), bytes.clone());
            }
        }
        let _ = proof::path_root(&bytes);
        let _ = proof::parse_pair(&bytes);
        let _ = Export::from_json(&bytes);
        for kind in Kind::ALL {
            let evidence = Evidence::new("o", "t", kind, "model", 0.5, bytes.clone(), 0.0);
            let expected_root = Some("r");
            let _ = evidence.verify(&Context { expected_root, ..Context::default() });
        }
    }
}
