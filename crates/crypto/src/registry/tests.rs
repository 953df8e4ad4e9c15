//! Rules of the registry, one after the other, and its laws under any sequence of operations.

use super::*;
use crate::ed25519::Ed25519Signer;
use crate::hybrid::HybridSigner;
use crate::ml_dsa::MlDsaSigner;
use crate::stub::{StubSigner, StubVerifier};
use crate::{
    KeyError, KeyRecord, Preimage, PublicVerifier, RECORD_BYTES_MAX, Refusal, Revocation, Signer,
};
use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;
use polity_types::wire;
use rstest::rstest;

fn day(number: u64) -> Time {
    Time::ZERO.saturating_add(DAY * number as u32)
}

/// A registry with one peer, whose key `StubSigner::new(0)` is valid on the days 10 to 40. It is day 10.
struct World {
    now: Time,
    registry: Registry,
    checker: Checker<StubVerifier>,
    peer: PeerId,
}

fn first(number: u64, from: Time, until: Time) -> SignedRecord {
    SignedRecord::first(&StubSigner::new(number), from, until)
}

impl World {
    fn new() -> Self {
        let mut registry = Registry::new(RotationRules::default());
        let mut checker = Checker::new(StubVerifier, 0);
        let record = first(0, day(10), day(40));
        registry
            .register(&record, day(10), Admission::Anybody, &mut checker)
            .unwrap();
        Self {
            now: day(10),
            registry,
            checker,
            peer: record.record.peer,
        }
    }

    fn rotation(&self, from: u64, to: u64, start: Time, end: Time) -> SignedRecord {
        SignedRecord::rotation(
            self.peer,
            &StubSigner::new(from),
            &StubSigner::new(to),
            start,
            end,
        )
    }

    /// The rotation when the new key begins.
    fn rotate(&mut self, from: u64, to: u64, start: Time, end: Time) {
        self.now = start;
        let record = self.rotation(from, to, start, end);
        assert_eq!(self.register(&record), Ok(id(to)));
    }

    fn register(&mut self, record: &SignedRecord) -> Result<KeyId, RegistryError> {
        let before = self.registry.clone();
        let (now, checker) = (self.now, &mut self.checker);
        let result = self
            .registry
            .register(record, now, Admission::Anybody, checker);
        if result.is_err() {
            assert_eq!(self.registry, before, "a refusal changes nothing");
        }
        result
    }

    fn revoke(&mut self, key: u64, at: Time, by: u64) -> Result<(), RegistryError> {
        let revocation = Revocation {
            peer: self.peer,
            key: id(key),
            revoked_at: at,
        };
        let signed = SignedRevocation::new(revocation, &StubSigner::new(by));
        let before = self.registry.clone();
        let result = self.registry.revoke(&signed, self.now, &mut self.checker);
        if result.is_err() {
            assert_eq!(self.registry, before, "a refusal changes nothing");
        }
        result
    }

    fn valid(&self, key: u64, signed: Time) -> Result<(), Invalid> {
        self.registry
            .valid_at(&self.peer, id(key), signed, signed)
            .map(|_| ())
    }
}

fn id(number: u64) -> KeyId {
    StubSigner::new(number).key_id()
}

fn just_before(time: Time) -> Time {
    Time::from_millis(time.as_millis() - 1)
}

#[test]
fn cr_7_a_key_is_valid_within_its_window() {
    let world = World::new();
    assert_eq!(world.valid(0, just_before(day(10))), Err(Invalid::NotYet));
    assert_eq!(world.valid(0, day(10)), Ok(()));
    assert_eq!(world.valid(0, just_before(day(40))), Ok(()));
    assert_eq!(world.valid(0, day(40)), Err(Invalid::Expired));
    assert_eq!(world.valid(1, day(20)), Err(Invalid::Unknown));
    let stranger = PeerId::new([7; 32]);
    let refused = world.registry.valid_at(&stranger, id(0), day(20), day(20));
    assert_eq!(refused, Err(Invalid::Unknown));
    assert_eq!(world.registry.keys(&stranger), []);
}

#[test]
fn cr_10_keys_rotate_with_an_overlap_of_a_day_and_stay_for_ever() {
    let mut world = World::new();
    world.rotate(0, 1, day(20), day(50));
    // The old key ends a day after the new one begins, though its record said more.
    assert_eq!(world.valid(0, just_before(day(21))), Ok(()));
    assert_eq!(world.valid(0, day(21)), Err(Invalid::Expired));
    assert_eq!(world.valid(1, just_before(day(20))), Err(Invalid::NotYet));
    assert_eq!(world.valid(1, day(20)), Ok(()));
    let key = |now| {
        world
            .registry
            .signing_key(&world.peer, now)
            .map(PublicKey::key_id)
    };
    assert_eq!(key(just_before(day(10))), None);
    assert_eq!(key(day(10)), Some(id(0)));
    assert_eq!(key(day(20)), Some(id(1)));
    assert_eq!(key(day(50)), None);
    // Decades later, what the old key signed in its time still holds.
    assert_eq!(world.registry.keys(&world.peer).len(), 2);
    assert_eq!(world.valid(0, day(15)), Ok(()));
}

#[test]
fn cr_10_a_late_rotation_does_not_lengthen_the_old_window() {
    let mut world = World::new();
    world.rotate(0, 1, just_before(day(40)), day(60));
    assert_eq!(world.valid(0, day(40)), Err(Invalid::Expired));
}

#[test]
fn cr_7_what_is_seen_late_needs_a_snapshot() {
    let mut world = World::new();
    let needs = |world: &World, seen| {
        let valid = world.registry.valid_at(&world.peer, id(0), day(15), seen);
        valid.unwrap().needs_snapshot
    };
    assert!(!needs(&world, day(41)));
    assert!(needs(&world, Time::from_millis(day(41).as_millis() + 1)));
    // A revoked key has no grace.
    world.now = day(30);
    world.revoke(0, day(30), 0).unwrap();
    assert!(!needs(&world, just_before(day(30))));
    assert!(needs(&world, day(30)));
}

#[test]
fn cr_7_revocation_counts_from_its_moment_and_an_earlier_one_wins_until_it_is_in_effect() {
    let mut world = World::new();
    world.rotate(0, 1, day(20), day(50));
    // The later key revokes the earlier one, not the other way round.
    assert_eq!(
        world.revoke(1, day(25), 0),
        Err(RegistryError::MayNotRevoke)
    );
    world.revoke(1, day(45), 1).unwrap();
    world.revoke(1, day(30), 1).unwrap();
    let refused = Err(RegistryError::AlreadyRevoked(day(30)));
    assert_eq!(world.revoke(1, day(40), 1), refused);
    assert_eq!(world.valid(1, just_before(day(30))), Ok(()));
    assert_eq!(world.valid(1, day(30)), Err(Invalid::Revoked));
    world.now = day(30);
    assert_eq!(world.revoke(1, day(29), 1), refused);
}

/// Signed on each day and hour, and seen at once or at the end of day 60.
fn answers(world: &World, key: u64, seen: Option<Time>) -> Vec<Result<bool, Invalid>> {
    (0..60 * 24)
        .map(|hour| Time::ZERO.saturating_add(DAY / 24 * hour))
        .filter(|signed| *signed < world.now)
        .map(|signed| {
            let seen = seen.unwrap_or(signed);
            let valid = world.registry.valid_at(&world.peer, id(key), signed, seen);
            valid.map(|valid| valid.needs_snapshot)
        })
        .collect()
}

#[test]
fn cr_10_a_revocation_reaches_back_an_overlap_and_what_was_seen_before_stays() {
    let mut world = World::new();
    world.rotate(0, 1, day(30), day(60));
    world.now = Time::from_millis(day(30).as_millis() + 1);
    let before = answers(&world, 0, None);
    // As far back as can be said.
    world.revoke(0, day(10), 1).unwrap();
    assert_eq!(answers(&world, 0, None), before, "what was seen before");
    let later = |signed| {
        let valid = world
            .registry
            .valid_at(&world.peer, id(0), signed, world.now);
        valid.map(|valid| valid.needs_snapshot)
    };
    let reach = Time::from_millis(day(29).as_millis() + 1);
    assert_eq!(later(day(10)), Ok(true));
    assert_eq!(later(just_before(reach)), Ok(true));
    assert_eq!(later(reach), Err(Invalid::Revoked));
    assert_eq!(later(world.now), Err(Invalid::Revoked));
    let entry = &world.registry.keys(&world.peer)[0];
    let agreed = world.now;
    assert_eq!(entry.revoked, Some(Revoked { at: reach, agreed }));
}

#[test]
fn cr_10_a_key_that_ended_revokes_nothing() {
    let mut world = World::new();
    world.rotate(0, 1, day(20), day(50));
    world.rotate(1, 2, day(45), day(75));
    // The overlap of the first key is over, that of the second is not.
    let refused = |number, reason| {
        let key = id(number);
        Err(RegistryError::NotNow { key, reason })
    };
    let expired = refused(0, Invalid::Expired);
    for at in [day(10), day(20), day(45), day(80)] {
        assert_eq!(world.revoke(0, at, 0), expired);
    }
    world.now = day(47);
    assert_eq!(world.revoke(0, day(10), 1), refused(1, Invalid::Expired));
    // Its last signatures are still taken without a snapshot, so it may say that they are not its own.
    world.now = Time::from_millis(day(47).as_millis() + 1);
    assert_eq!(world.revoke(1, day(45), 1), refused(1, Invalid::Expired));
    world.now = day(47);
    world.revoke(1, day(45), 1).unwrap();
    // A revoked key revokes nothing, not even itself.
    let mut world = World::new();
    world.rotate(0, 1, day(20), day(50));
    world.revoke(1, day(20), 1).unwrap();
    assert_eq!(world.revoke(0, day(15), 1), refused(1, Invalid::Revoked));
    let again = world.revoke(1, day(20), 1);
    assert_eq!(again, Err(RegistryError::AlreadyRevoked(day(20))));
}

#[test]
fn cr_10_a_key_that_was_lost_before_it_begins_is_revoked_by_itself() {
    let mut world = World::new();
    let record = world.rotation(0, 1, day(20), day(50));
    world.register(&record).unwrap();
    let reason = Invalid::NotYet;
    let refused = Err(RegistryError::NotNow { key: id(1), reason });
    assert_eq!(world.revoke(0, day(10), 1), refused);
    world.revoke(1, day(20), 1).unwrap();
    assert_eq!(world.valid(1, day(20)), Err(Invalid::Revoked));
}

#[test]
fn cr_10_an_expired_newest_key_introduces_nobody_however_the_record_is_dated() {
    let mut world = World::new();
    let key = id(0);
    for (now, start) in [
        (day(40), day(39)),
        (day(40), just_before(day(40))),
        (just_before(day(41)), just_before(day(40))),
        (day(41), day(41)),
    ] {
        world.now = now;
        let record = world.rotation(0, 1, start, day(60));
        let reason = Invalid::Expired;
        let refused = Err(RegistryError::NotNow { key, reason });
        assert_eq!(world.register(&record), refused, "{now} {start}");
    }
    // Nor does one that is valid, further back than an overlap.
    world.now = day(30);
    let record = world.rotation(0, 1, just_before(day(29)), day(55));
    let refused = world.register(&record);
    assert!(matches!(refused, Err(RegistryError::BackDated { .. })));
    let record = world.rotation(0, 1, day(29), day(30));
    let refused = world.register(&record);
    assert!(
        matches!(refused, Err(RegistryError::BackDated { .. })),
        "over already"
    );
    let record = world.rotation(0, 1, day(29), day(55));
    assert_eq!(world.register(&record), Ok(id(1)));
}

#[test]
fn cr_10_a_back_dated_rotation_ends_no_signature_that_was_accepted() {
    let mut world = World::new();
    world.now = day(30);
    let before = answers(&world, 0, None);
    let record = world.rotation(0, 1, day(29), day(55));
    world.register(&record).unwrap();
    assert_eq!(answers(&world, 0, None), before);
    // An overlap from now on, not from the day that the record names.
    assert_eq!(world.valid(0, just_before(day(31))), Ok(()));
    assert_eq!(world.valid(0, day(31)), Err(Invalid::Expired));
}

#[test]
fn what_was_signed_later_than_it_was_seen_is_not_judged() {
    let world = World::new();
    let valid = |signed, seen| {
        let valid = world.registry.valid_at(&world.peer, id(0), signed, seen);
        valid.map(|_| ())
    };
    assert_eq!(valid(day(20), day(20)), Ok(()));
    assert_eq!(valid(day(20), just_before(day(20))), Err(Invalid::Ahead));
}

#[rstest]
#[case::nobody(|_: PeerId| vec![], false)]
#[case::others(|_: PeerId| vec![PeerId::new([7; 32])], false)]
#[case::itself(|peer: PeerId| vec![PeerId::new([7; 32]), peer], true)]
fn cr_10_a_first_record_is_taken_of_those_that_are_admitted(
    #[case] listed: fn(PeerId) -> Vec<PeerId>,
    #[case] is_taken: bool,
) {
    let mut world = World::new();
    let record = first(1, day(10), day(40));
    let peer = record.record.peer;
    let listed: BTreeSet<PeerId> = listed(peer).into_iter().collect();
    let admission = if listed.is_empty() {
        Admission::Nobody
    } else {
        Admission::Listed(&listed)
    };
    let before = world.registry.clone();
    let result = world
        .registry
        .register(&record, day(10), admission, &mut world.checker);
    if is_taken {
        assert_eq!(result, Ok(id(1)));
    } else {
        assert_eq!(result, Err(RegistryError::NotAdmitted(peer)));
        assert_eq!(world.registry, before);
    }
    // Whoever is there already needs no admission.
    let record = world.rotation(0, 2, day(20), day(50));
    let result = world
        .registry
        .register(&record, day(20), Admission::Nobody, &mut world.checker);
    assert_eq!(result, Ok(id(2)));
}

/// Counts what a verifier is asked.
#[derive(Clone, Default)]
struct Counting(Rc<Cell<u32>>);

impl Verifier for Counting {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        self.0.set(self.0.get() + 1);
        StubVerifier.check_key(key)
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        self.0.set(self.0.get() + 1);
        StubVerifier.judge(key, preimage, signature)
    }
}

#[test]
fn what_costs_nothing_is_checked_before_keys_and_signatures() {
    let world = World::new();
    let verifier = Counting::default();
    let count = Rc::clone(&verifier.0);
    let mut checker = Checker::new(verifier, 0);
    let mut registry = world.registry.clone();
    let cut = |mut record: SignedRecord| {
        record.by_new = Signature::new(&[0; 63]);
        record
    };
    let records = [
        first(1, day(20), day(60)),
        first(1, day(1), day(9)),
        first(1, day(20), day(50)),
        cut(world.rotation(0, 1, day(20), day(50))),
        world.rotation(0, 1, day(18), day(40)),
        world.rotation(0, 1, day(10), day(40)),
        world.rotation(0, 0, day(20), day(50)),
        world.rotation(9, 1, day(20), day(50)),
    ];
    for record in records {
        let refused = registry.register(&record, day(20), Admission::Nobody, &mut checker);
        assert!(refused.is_err());
        assert_eq!(count.get(), 0, "{refused:?}");
    }
    let revocations = [
        (0, day(9), 0, day(20)),
        (0, day(20), 9, day(20)),
        (9, day(20), 0, day(20)),
        (0, day(20), 0, day(50)),
    ];
    for (key, revoked_at, by, now) in revocations {
        let revocation = Revocation {
            peer: world.peer,
            key: id(key),
            revoked_at,
        };
        let signed = SignedRevocation::new(revocation, &StubSigner::new(by));
        assert!(registry.revoke(&signed, now, &mut checker).is_err());
        assert_eq!(count.get(), 0, "{signed:?}");
    }
    let record = world.rotation(0, 1, day(20), day(50));
    let taken = registry.register(&record, day(20), Admission::Nobody, &mut checker);
    assert_eq!((taken, count.get()), (Ok(id(1)), 3));
}

#[test]
fn revocations_that_are_not_the_peers_are_refused() {
    let mut world = World::new();
    assert_eq!(
        world.revoke(0, just_before(day(10)), 0),
        Err(RegistryError::RevokedBeforeStart(day(10)))
    );
    assert_eq!(
        world.revoke(5, day(20), 0),
        Err(RegistryError::UnknownKey(id(5)))
    );
    assert_eq!(
        world.revoke(0, day(20), 5),
        Err(RegistryError::UnknownKey(id(5)))
    );
    let revocation = Revocation {
        peer: world.peer,
        key: id(0),
        revoked_at: day(20),
    };
    let mut forged = SignedRevocation::new(revocation, &StubSigner::new(9));
    forged.by = id(0);
    let before = world.registry.clone();
    let refused = world.registry.revoke(&forged, day(20), &mut world.checker);
    assert_eq!(refused, Err(RegistryError::Signature(VerifyError)));
    let mut elsewhere = SignedRevocation::new(revocation, &StubSigner::new(0));
    elsewhere.revocation.peer = PeerId::new([7; 32]);
    let refused = world
        .registry
        .revoke(&elsewhere, day(20), &mut world.checker);
    assert_eq!(refused, Err(RegistryError::UnknownPeer));
    assert_eq!(world.registry, before);
}

#[rstest]
#[case::empty_window(|w: &World| w.rotation(0, 1, day(20), day(20)),
    RegistryError::Window { found: Duration::ZERO, max: DAY.saturating_mul(31) })]
#[case::backward_window(|w: &World| w.rotation(0, 1, day(20), day(19)),
    RegistryError::Window { found: Duration::ZERO, max: DAY.saturating_mul(31) })]
#[case::long_window(|w: &World| w.rotation(0, 1, day(20), day(52)),
    RegistryError::Window { found: DAY.saturating_mul(32), max: DAY.saturating_mul(31) })]
#[case::starts_with_the_previous(|w: &World| w.rotation(0, 1, day(10), day(40)),
    RegistryError::Start { after: day(10), before: day(40) })]
#[case::starts_after_a_gap(|w: &World| w.rotation(0, 1, day(40), day(60)),
    RegistryError::Start { after: day(10), before: day(40) })]
#[case::same_key(|w: &World| w.rotation(0, 0, day(20), day(50)), RegistryError::Duplicate(id(0)))]
#[case::signed_by_a_stranger(|w: &World| w.rotation(9, 1, day(20), day(50)),
    RegistryError::NotNewest { newest: id(0) })]
#[case::second_first_record(|_: &World| first(0, day(20), day(50)), RegistryError::NotFirst)]
#[case::another_name(|w: &World| {
    let mut record = first(1, day(20), day(50));
    record.record.peer = w.peer;
    record.by_new = StubSigner::new(1).sign(&record.record.preimage());
    record
}, RegistryError::NotFirst)]
#[case::a_name_out_of_the_air(|_: &World| {
    let mut record = first(1, day(20), day(50));
    record.record.peer = PeerId::new([7; 32]);
    record.by_new = StubSigner::new(1).sign(&record.record.preimage());
    record
}, RegistryError::NotFirst)]
#[case::rotation_of_nobody(|_: &World| SignedRecord::rotation(
    PeerId::new([7; 32]), &StubSigner::new(0), &StubSigner::new(1), day(20), day(50),
), RegistryError::UnknownPeer)]
#[case::without_the_previous_signature(|w: &World| {
    let mut record = w.rotation(0, 1, day(20), day(50));
    record.by_previous = None;
    record
}, RegistryError::Signature(VerifyError))]
#[case::with_a_signature_too_many(|_: &World| {
    let mut record = first(1, day(20), day(50));
    record.by_previous = Some(record.by_new.clone());
    record
}, RegistryError::Signature(VerifyError))]
#[case::previous_forged(|w: &World| {
    let mut record = w.rotation(0, 1, day(20), day(50));
    record.by_previous = Some(record.by_new.clone());
    record
}, RegistryError::Signature(VerifyError))]
#[case::new_forged(|w: &World| {
    let mut record = w.rotation(0, 1, day(20), day(50));
    record.by_new = Signature::new(&[0; 64]);
    record
}, RegistryError::Signature(VerifyError))]
#[case::changed_after_signing(|w: &World| {
    let mut record = w.rotation(0, 1, day(20), day(50));
    record.record.not_after = day(51);
    record
}, RegistryError::Signature(VerifyError))]
#[case::suite_that_is_not_taken(
    |_: &World| SignedRecord::first(&Ed25519Signer::from_seed(&[1; 32]), day(20), day(50)),
    RegistryError::Key(KeyError::UnknownSuite))]
fn records_that_break_a_rule_are_refused(
    #[case] record: fn(&World) -> SignedRecord,
    #[case] expected: RegistryError,
) {
    let mut world = World::new();
    world.now = day(11);
    let record = record(&world);
    assert_eq!(world.register(&record), Err(expected));
}

#[test]
fn a_key_of_one_peer_is_refused_for_another() {
    let mut world = World::new();
    world.register(&first(1, day(10), day(40))).unwrap();
    let record = world.rotation(0, 1, day(20), day(50));
    assert_eq!(
        world.register(&record),
        Err(RegistryError::Duplicate(id(1)))
    );
    assert_eq!(
        world.registry.owner(id(1)),
        Some(&PeerId::of(StubSigner::new(1).public_key()))
    );
}

#[test]
fn an_old_or_revoked_key_introduces_nobody() {
    let mut world = World::new();
    world.rotate(0, 1, day(20), day(50));
    let record = world.rotation(0, 2, day(20), day(50));
    let refused = world.register(&record);
    assert_eq!(refused, Err(RegistryError::NotNewest { newest: id(1) }));
    world.now = day(25);
    world.revoke(1, day(25), 1).unwrap();
    // Also with a time from before it was revoked, which a thief would write.
    let moment_before = Time::from_millis(day(25).as_millis() - 1);
    for start in [day(24), moment_before, day(25), day(26)] {
        let record = world.rotation(1, 2, start, day(50));
        let refused = world.register(&record);
        assert_eq!(refused, Err(RegistryError::PreviousRevoked(id(1))));
    }
}

#[test]
fn cr_5_a_half_of_a_hybrid_is_registered_with_it() {
    let mut registry = Registry::new(RotationRules::default());
    let mut checker = Checker::new(PublicVerifier::default(), 16);
    let hybrid = HybridSigner::from_seeds(&[1; 32], &[2; 32]);
    let record = SignedRecord::first(&hybrid, day(0), day(91));
    let mut register =
        |record: &SignedRecord| registry.register(record, day(0), Admission::Anybody, &mut checker);
    assert_eq!(register(&record), Ok(hybrid.key_id()));
    let classical = Ed25519Signer::from_seed(&[2; 32]);
    let post_quantum = MlDsaSigner::from_seed_65(&[1; 32]);
    let mixed = HybridSigner::from_seeds(&[1; 32], &[3; 32]);
    let records = [
        (
            SignedRecord::first(&classical, day(0), day(31)),
            classical.key_id(),
        ),
        (
            SignedRecord::first(&post_quantum, day(0), day(91)),
            post_quantum.key_id(),
        ),
        (
            SignedRecord::first(&mixed, day(0), day(91)),
            post_quantum.key_id(),
        ),
    ];
    for (record, half) in records {
        assert_eq!(register(&record), Err(RegistryError::Duplicate(half)));
    }
    // The halves are known as used up, not as keys that speak for the peer.
    let peer = PeerId::of(hybrid.public_key());
    let refused = registry.valid_at(&peer, classical.key_id(), day(1), day(1));
    assert_eq!(refused, Err(Invalid::Unknown));
}

#[test]
fn keys_of_every_public_suite_follow_each_other() {
    let mut registry = Registry::new(RotationRules::default());
    let mut checker = Checker::new(PublicVerifier::default(), 16);
    let keys: [&dyn Signer; 4] = [
        &Ed25519Signer::from_seed(&[1; 32]),
        &MlDsaSigner::from_seed_65(&[1; 32]),
        &HybridSigner::from_seed(&[1; 32]),
        &MlDsaSigner::from_seed_87(&[1; 32]),
    ];
    let record = SignedRecord::first(&keys[0], day(0), day(31));
    let peer = record.record.peer;
    let mut register = |record: &SignedRecord| {
        let now = record.record.not_before;
        registry.register(record, now, Admission::Anybody, &mut checker)
    };
    register(&record).unwrap();
    for (number, pair) in keys.windows(2).enumerate() {
        let start = day(30 + 90 * number as u64);
        let end = start.saturating_add(DAY * 91);
        let record = SignedRecord::rotation(peer, &pair[0], &pair[1], start, end);
        let bytes = record.encode();
        assert!(bytes.len() <= RECORD_BYTES_MAX, "{} bytes", bytes.len());
        let record = SignedRecord::decode(&bytes).unwrap();
        register(&record).unwrap();
    }
    let longer = DAY * 92;
    let max = DAY * 91;
    let next = MlDsaSigner::from_seed_87(&[2; 32]);
    let start = day(250);
    let record = SignedRecord::rotation(peer, &keys[3], &next, start, start.saturating_add(longer));
    let refused = Err(RegistryError::Window { found: longer, max });
    assert_eq!(register(&record), refused);
    assert_eq!(registry.keys(&peer).len(), 4);
}

#[test]
fn the_history_of_a_peer_is_bounded_by_an_error() {
    let mut world = World::new();
    for number in 1..KEYS_PER_PEER_MAX as u64 {
        let record = world.rotation(number - 1, number, day(10 + number), day(12 + number));
        // Not through `World::register`, which copies the registry.
        let (now, checker) = (day(10 + number), &mut world.checker);
        let admission = Admission::Nobody;
        world
            .registry
            .register(&record, now, admission, checker)
            .unwrap();
    }
    let number = KEYS_PER_PEER_MAX as u64;
    world.now = day(10 + number);
    let record = world.rotation(number - 1, number, day(10 + number), day(12 + number));
    assert_eq!(world.register(&record), Err(RegistryError::TooManyKeys));
    assert_eq!(
        world.valid(0, just_before(day(12))),
        Ok(()),
        "nothing falls out"
    );
}

#[test]
fn the_number_of_peers_is_bounded_by_an_error() {
    let mut world = World::new();
    for number in 1..PEERS_MAX as u64 {
        let record = first(number, day(10), day(40));
        let (admission, checker) = (Admission::Anybody, &mut world.checker);
        world
            .registry
            .register(&record, day(10), admission, checker)
            .unwrap();
    }
    let record = first(PEERS_MAX as u64, day(10), day(40));
    assert_eq!(world.register(&record), Err(RegistryError::TooManyPeers));
}

#[test]
fn the_preimage_of_a_record_has_one_layout() {
    let signer = Ed25519Signer::from_seed(&[1; 32]);
    let record = KeyRecord {
        peer: PeerId::new([7; 32]),
        key: signer.public_key().clone(),
        not_before: Time::from_millis(1),
        not_after: Time::from_millis(2),
        previous: Some(KeyId::new([9; 8])),
    };
    let mut expected = b"polity/key-record/v1\0".to_vec();
    expected.extend([7; 32]);
    expected.push(2);
    expected.extend(signer.public_key().key_bytes());
    expected.extend(1_u64.to_le_bytes());
    expected.extend(2_u64.to_le_bytes());
    expected.push(1);
    expected.extend([9; 8]);
    assert_eq!(record.preimage().as_slice(), expected);
    // No previous key is not the same as one whose id is zero.
    let with = |previous| {
        let record = record.clone();
        KeyRecord { previous, ..record }.preimage()
    };
    assert_ne!(with(None), with(Some(KeyId::ZERO)));
}

#[test]
fn records_have_one_encoding() {
    let world = World::new();
    let record = world.rotation(0, 1, day(20), day(50));
    let bytes = record.encode();
    assert_eq!(SignedRecord::decode(&bytes), Ok(record));
    for length in 0..bytes.len() {
        assert!(SignedRecord::decode(&bytes[..length]).is_err());
    }
    assert!(SignedRecord::decode(&[&bytes[..], &[0]].concat()).is_err());
    let long = vec![0; RECORD_BYTES_MAX + 1];
    let refused = SignedRecord::decode(&long);
    assert!(matches!(refused, Err(wire::DecodeError::TooLong { .. })));
    let revocation = Revocation {
        peer: world.peer,
        key: id(0),
        revoked_at: day(20),
    };
    let signed = SignedRevocation::new(revocation, &StubSigner::new(0));
    assert_eq!(SignedRevocation::decode(&signed.encode()), Ok(signed));
}
