//! Laws of clocks over what owners signed, and the faults that they must not have.

use core::cmp::Ordering;
use core::time::Duration;
use polity_clock::{
    AnchorError, Causality, ClockContext, ClockError, Entry, HybridClock, HybridError, HybridTime,
    SignedEntry, TimeAnchor, TrustClock, median,
};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, PeerId, PublicKey, Signer, Verified};
use polity_types::{ChainId, Epoch, Join, TRUST_MAX, Time, wire};
use proptest::prelude::*;

const CHAIN: ChainId = ChainId::new([7; 32]);

fn checker() -> Checker<StubVerifier> {
    Checker::new(StubVerifier, 64)
}

fn peer(number: u64) -> PeerId {
    PeerId::of(StubSigner::new(number).public_key())
}

fn key(peer_id: &PeerId) -> Option<PublicKey> {
    let number = (0..8).find(|number| peer(*number) == *peer_id)?;
    Some(StubSigner::new(number).public_key().clone())
}

fn context(number: u64) -> ClockContext {
    ClockContext {
        chain: CHAIN,
        owner: peer(number),
        key: StubSigner::new(number).public_key().clone(),
    }
}

fn signed(number: u64, time: u64, trust: u32) -> SignedEntry {
    let entry = Entry { time, trust };
    SignedEntry::new(&CHAIN, peer(number), entry, &StubSigner::new(number))
}

fn verified(number: u64, time: u64, trust: u32) -> Verified<SignedEntry> {
    Verified::check(
        signed(number, time, trust),
        &context(number),
        &mut checker(),
    )
    .unwrap()
}

fn clock(entries: &[(u64, u64, u32)]) -> TrustClock {
    let mut clock = TrustClock::new();
    for (number, time, trust) in entries {
        clock.observe(&verified(*number, *time, *trust));
    }
    clock
}

fn joined(a: &TrustClock, b: &TrustClock) -> TrustClock {
    let mut joined = a.clone();
    let is_changed = joined.join(b);
    assert_eq!(is_changed, joined != *a);
    joined
}

/// Reachable states: some events of 5 peers, whose trust follows from the event.
fn clocks() -> impl Strategy<Value = TrustClock> {
    prop::collection::vec((0_u64..5, 1_u64..4, 0_u32..3), 0..8).prop_map(|list| clock(&list))
}

proptest! {
    #[test]
    fn tr_16_merging_is_a_join(a in clocks(), b in clocks(), c in clocks()) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(&joined(&a, &a), &a);
        prop_assert_eq!(&joined(&joined(&a, &b), &b), &joined(&a, &b));
    }

    #[test]
    fn tr_16_comparing_is_the_order_of_the_join(a in clocks(), b in clocks(), c in clocks()) {
        let is_below = |a: &TrustClock, b: &TrustClock| joined(b, a) == *b;
        let expected = match (is_below(&a, &b), is_below(&b, &a)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        };
        prop_assert_eq!(a.compare(&b), expected);
        prop_assert_eq!(expected == Causality::Equal, a == b);
        if is_below(&a, &b) && is_below(&b, &c) {
            prop_assert!(is_below(&a, &c));
        }
    }

    #[test]
    fn tr_16_rank_is_total_and_agrees_with_causality(
        mut list in prop::collection::vec(clocks(), 2..6),
        trust in prop::collection::vec(0_u32..3, 8),
    ) {
        let trust = |id: &PeerId| {
            (0..8).find(|number| peer(*number) == *id).map_or(0, |at| trust[at as usize])
        };
        for a in &list {
            for b in &list {
                let rank = a.rank(b, trust);
                prop_assert_eq!(rank, b.rank(a, trust).reverse());
                prop_assert_eq!(rank == Ordering::Equal, a == b);
                match a.compare(b) {
                    Causality::Before => prop_assert_eq!(rank, Ordering::Less),
                    Causality::After => prop_assert_eq!(rank, Ordering::Greater),
                    Causality::Equal | Causality::Concurrent => {}
                }
            }
        }
        list.sort_by(|a, b| a.rank(b, trust));
        prop_assert!(list.windows(2).all(|pair| pair[0].rank(&pair[1], trust).is_le()));
    }

    #[test]
    fn tr_16_replicas_converge_whatever_is_repeated_or_reordered(
        events in prop::collection::vec((0_u64..5, 1_u64..5, 0_u32..3, 0_usize..4), 0..20),
        gossip in prop::collection::vec((0_usize..4, 0_usize..4), 0..20),
    ) {
        let mut replicas = vec![TrustClock::new(); 4];
        for (number, time, trust, at) in &events {
            replicas[*at].observe(&verified(*number, *time, *trust));
        }
        for (from, to) in gossip {
            let sent = replicas[from].clone();
            replicas[to].join(&sent);
        }
        let all: Vec<_> = events.iter().map(|(number, time, trust, _)| (*number, *time, *trust)).collect();
        let total = replicas.iter().rev().fold(TrustClock::new(), |sum, next| joined(&sum, next));
        prop_assert_eq!(total, clock(&all));
    }

    #[test]
    fn tr_18_a_hybrid_clock_only_goes_forward(
        events in prop::collection::vec((0_u64..50, prop::option::of((0_u64..60, 0_u32..3))), 1..40),
    ) {
        let mut clock = HybridClock::new(Duration::from_millis(10));
        for (now, theirs) in events {
            let (before, now) = (clock.last(), Time::from_millis(now));
            let Some((time, counter)) = theirs else {
                prop_assert!(clock.tick(now).unwrap() > before);
                continue;
            };
            let theirs = HybridTime { time: Time::from_millis(time), counter };
            if let Ok(moment) = clock.observe(now, theirs) {
                prop_assert!(moment > before && moment > theirs);
            } else {
                prop_assert!(theirs.time.saturating_since(now) > Duration::from_millis(10));
                prop_assert_eq!(clock.last(), before);
            }
        }
    }

    #[test]
    fn tr_17_a_clock_has_one_encoding(clock in clocks()) {
        let bytes = clock.encode();
        let read = TrustClock::decode(&bytes, &CHAIN, key, &mut checker());
        prop_assert_eq!(read, Ok((clock, 0)));
    }
}

#[test]
fn e4_c1_an_entry_at_the_end_of_time_hurts_nobody_else() {
    let mut victim = clock(&[(1, 5, 0)]);
    victim.join(&clock(&[(2, u64::MAX, 0)]));
    let (read, dropped) =
        TrustClock::decode(&victim.encode(), &CHAIN, key, &mut checker()).unwrap();
    assert_eq!((&read, dropped), (&victim, 0));
    assert!(victim.observe(&verified(1, 6, 0)));
    // Nobody but the owner raises an entry.
    let mut forged = signed(1, 7, 0);
    forged.entry.time = u64::MAX;
    let bytes = wire::encode(&vec![forged]);
    let read = TrustClock::decode(&bytes, &CHAIN, key, &mut checker());
    assert_eq!(read, Ok((TrustClock::new(), 1)));
}

#[test]
fn e4_c2_before_means_before() {
    let (small, large) = (clock(&[(1, 1, 0)]), clock(&[(1, 2, 0), (2, 1, 0)]));
    assert_eq!(small.compare(&large), Causality::Before);
    assert_eq!(large.compare(&small), Causality::After);
    assert_eq!(small.compare(&small.clone()), Causality::Equal);
    assert_eq!(clock(&[(2, 9, 0)]).compare(&small), Causality::Concurrent);
}

#[test]
fn e4_c3_nobody_dominates_by_assertion() {
    let honest = clock(&[(1, 5, TRUST_MAX)]);
    // A peer of low trust claims to have seen far events of the honest one, signed by itself.
    let claim = Entry {
        time: 99,
        trust: TRUST_MAX,
    };
    let forged = SignedEntry::new(&CHAIN, peer(1), claim, &StubSigner::new(2));
    assert!(Verified::check(forged.clone(), &context(1), &mut checker()).is_err());
    assert!(Verified::check(forged.clone(), &context(2), &mut checker()).is_err());
    let bytes = wire::encode(&vec![forged]);
    let (read, dropped) = TrustClock::decode(&bytes, &CHAIN, key, &mut checker()).unwrap();
    assert_eq!((read.entries().len(), dropped), (0, 1));
    // Among concurrent clocks the snapshot decides, not what the clocks say of themselves.
    let proud = clock(&[(2, 9, TRUST_MAX)]);
    let trust = |id: &PeerId| if *id == peer(1) { TRUST_MAX } else { 1_000 };
    assert_eq!(honest.rank(&proud, trust), Ordering::Greater);
}

#[test]
fn e4_c4_trust_beyond_its_range_is_not_taken() {
    for (time, trust) in [(1, TRUST_MAX + 1), (1, u32::MAX), (0, 1)] {
        let entry = signed(1, time, trust);
        assert!(Verified::check(entry, &context(1), &mut checker()).is_err());
    }
    assert!(Verified::check(signed(1, 1, TRUST_MAX), &context(1), &mut checker()).is_ok());
}

#[test]
fn tr_17_disorder_and_foreign_chains_are_refused() {
    let decode = |list: &Vec<SignedEntry>| {
        TrustClock::decode(&wire::encode(list), &CHAIN, key, &mut checker())
    };
    let mut list = vec![signed(1, 1, 0), signed(2, 1, 0)];
    list.sort_by_key(|signed| signed.owner);
    assert_eq!(decode(&list).map(|(_, dropped)| dropped), Ok(0));
    list.swap(0, 1);
    assert_eq!(decode(&list), Err(ClockError::Order(1)));
    list[1] = list[0].clone();
    assert_eq!(decode(&list), Err(ClockError::Order(1)));
    list[0].owner = PeerId::ZERO;
    assert_eq!(decode(&list), Err(ClockError::NoPeer));
    let bytes = clock(&[(1, 1, 0)]).encode();
    let other = ChainId::new([8; 32]);
    let read = TrustClock::decode(&bytes, &other, key, &mut checker());
    assert_eq!(read, Ok((TrustClock::new(), 1)));
    let longer = [&bytes[..], &[0]].concat();
    assert!(TrustClock::decode(&longer, &CHAIN, key, &mut checker()).is_err());
}

#[test]
fn tr_18_hybrid_drift_and_the_end_of_time() {
    let mut clock = HybridClock::new(Duration::from_millis(10));
    let at = |time, counter| HybridTime {
        time: Time::from_millis(time),
        counter,
    };
    let now = Time::from_millis(100);
    assert_eq!(clock.observe(now, at(110, 4)), Ok(at(110, 5)));
    assert_eq!(
        clock.observe(now, at(111, 0)),
        Err(HybridError::Ahead {
            ahead: Duration::from_millis(11),
            max: Duration::from_millis(10),
        })
    );
    assert_eq!(clock.observe(now, at(110, u32::MAX)), Ok(at(111, 0)));
    let end = HybridTime {
        time: Time::MAX,
        counter: u32::MAX,
    };
    assert_eq!(clock.observe(Time::MAX, end), Err(HybridError::Exhausted));
}

#[test]
fn tr_18_anchors_follow_each_other_and_the_median_survives_liars() {
    let anchor = |number: u64, epoch, time| {
        let (epoch, time) = (Epoch::new(epoch), Time::from_millis(time));
        TimeAnchor::new(&CHAIN, peer(number), epoch, time, &StubSigner::new(number))
    };
    let check = |number: u64, anchor| Verified::check(anchor, &context(number), &mut checker());
    assert!(check(1, anchor(1, 1, 5)).is_ok());
    assert!(check(2, anchor(1, 1, 5)).is_err());
    let mut bad = anchor(1, 1, 5);
    bad.time = Time::from_millis(6);
    assert!(check(1, bad).is_err());

    let follows = |next: TimeAnchor| next.check_follows(&anchor(1, 2, 5));
    assert_eq!(follows(anchor(1, 2, 6)), Ok(()));
    for (epoch, time) in [(2, 5), (2, 4), (1, 6), (3, 5)] {
        assert_eq!(follows(anchor(1, epoch, time)), Err(AnchorError::NotLater));
    }
    assert_eq!(follows(anchor(2, 2, 6)), Err(AnchorError::Publisher));

    let now = Time::from_millis(1_000);
    let sample = |number, time| (check(number, anchor(number, 1, time)).unwrap(), now);
    let mut list = vec![sample(0, 500), sample(1, 501), sample(1, 499)];
    assert_eq!(median(&list, now), None);
    list.extend([sample(2, 502), sample(3, 503)]);
    // Four publishers: the lower of the two in the middle, and the wait is added.
    let later = Time::from_millis(1_010);
    assert_eq!(median(&list, later), Some(Time::from_millis(511)));
    list.extend([sample(4, 0), sample(5, 1), sample(6, 9_999_999)]);
    assert_eq!(median(&list, now), Some(Time::from_millis(501)));
    // Ten minutes after they arrived they count no more.
    assert_eq!(median(&list, Time::from_millis(601_001)), None);
}
