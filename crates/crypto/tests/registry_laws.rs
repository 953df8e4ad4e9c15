//! Laws of the registry of keys (CR-7, CR-10), over random histories with a clock that moves on.
//!
//! Time is counted in steps of six hours, an overlap being four of them, so that random operations
//! meet at the edges of windows.

use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{
    Admission, Checker, Invalid, KeyId, PeerId, Registry, Revocation, RotationRules, SignedRecord,
    SignedRevocation, Signer as _,
};
use polity_types::Time;
use proptest::prelude::*;
use std::time::Duration;

const STEP: Duration = Duration::from_secs(6 * 60 * 60);
const OVERLAP: u64 = 4;
const WINDOW_MAX: u64 = 31 * 4;
/// Where histories begin, so that there is room before.
const START: u64 = 200;
const KEYS: u64 = 6;

fn at(step: u64) -> Time {
    Time::ZERO.saturating_add(STEP * u32::try_from(step).unwrap())
}

fn signer(number: u64) -> StubSigner {
    StubSigner::new(number)
}

fn id(number: u64) -> KeyId {
    signer(number).key_id()
}

/// The peer whose first key is key 0. Nobody else is there.
fn peer() -> PeerId {
    PeerId::of(signer(0).public_key())
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Some time goes by.
    Wait(u64),
    /// A key follows another, with a window that begins as many steps before or after now.
    Rotate {
        from: u64,
        to: u64,
        begin: i64,
        length: u64,
    },
    /// A key ends, as many steps before or after now.
    Revoke { key: u64, by: u64, at: i64 },
}

fn shifted(now: u64, steps: i64) -> u64 {
    now.saturating_add_signed(steps)
}

fn keys() -> std::ops::Range<u64> {
    0..KEYS
}

/// Mostly what may succeed: rotations to a fresh key by the newest one.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => (1..40_u64).prop_map(Operation::Wait),
        4 => (keys(), keys(), -6..10_i64, 1..WINDOW_MAX + 3)
            .prop_map(|(from, to, begin, length)| Operation::Rotate { from, to, begin, length }),
        3 => (0..KEYS - 1, -10..10_i64, 60..WINDOW_MAX).prop_map(|(from, begin, length)| {
            Operation::Rotate { from, to: from + 1, begin, length }
        }),
        4 => (keys(), keys(), -60..12_i64).prop_map(|(key, by, at)| Operation::Revoke { key, by, at }),
        1 => (keys(), -8..12_i64).prop_map(|(key, at)| Operation::Revoke { key, by: key, at }),
    ];
    prop::collection::vec(operation, 1..40)
}

/// A registry, and the model of it.
struct World {
    now: u64,
    registry: Registry,
    checker: Checker<StubVerifier>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: START,
            registry: Registry::new(RotationRules::default()),
            checker: Checker::new(StubVerifier, 0),
            model: Model::default(),
        };
        let (begin, end) = (START, START + 80);
        let record = SignedRecord::first(&signer(0), at(begin), at(end));
        let listed = [peer()].into();
        let (now, admission) = (at(START), Admission::Listed(&listed));
        let taken = world
            .registry
            .register(&record, now, admission, &mut world.checker);
        assert_eq!(taken, Ok(id(0)));
        world.model.keys.push(Key {
            number: 0,
            begin,
            end,
            revoked: None,
        });
        world
    }

    /// Whether the operation was taken.
    fn apply(&mut self, operation: Operation) -> bool {
        let (now, checker) = (at(self.now), &mut self.checker);
        match operation {
            Operation::Wait(steps) => {
                self.now += steps;
                true
            }
            Operation::Rotate {
                from,
                to,
                begin,
                length,
            } => {
                let begin = shifted(self.now, begin);
                let (start, end) = (at(begin), at(begin + length));
                let record = SignedRecord::rotation(peer(), &signer(from), &signer(to), start, end);
                let registry = &mut self.registry;
                registry
                    .register(&record, now, Admission::Nobody, checker)
                    .is_ok()
            }
            Operation::Revoke {
                key,
                by,
                at: moment,
            } => {
                let revocation = Revocation {
                    peer: peer(),
                    key: id(key),
                    revoked_at: at(shifted(self.now, moment)),
                };
                let signed = SignedRevocation::new(revocation, &signer(by));
                self.registry.revoke(&signed, now, checker).is_ok()
            }
        }
    }

    /// What the registry says of a signature: whether it counts, and only below a snapshot.
    fn answer(&self, key: u64, signed: u64, seen: u64) -> Result<bool, Invalid> {
        let valid = self
            .registry
            .valid_at(&peer(), id(key), at(signed), at(seen));
        valid.map(|valid| {
            assert_eq!(valid.key, signer(key).public_key());
            valid.needs_snapshot
        })
    }

    /// Every answer about what was seen before now.
    fn answers(&self) -> Vec<(u64, u64, u64, Result<bool, Invalid>)> {
        let mut answers = Vec::new();
        for key in keys() {
            for signed in START - 20..self.now {
                for later in [0, 1, 2, 3, 5, 10, 50] {
                    if signed + later < self.now {
                        let seen = signed + later;
                        answers.push((key, signed, seen, self.answer(key, signed, seen)));
                    }
                }
            }
        }
        answers
    }
}

/// A key in the model, in steps. Numbers stand for keys.
#[derive(Clone, Copy, Debug)]
struct Key {
    number: u64,
    begin: u64,
    end: u64,
    /// From when on its signatures do not count, and when that was agreed.
    revoked: Option<(u64, u64)>,
}

/// The rules of CR-10, said in another way: a list that is searched from the beginning.
#[derive(Clone, Debug, Default)]
struct Model {
    keys: Vec<Key>,
}

impl Model {
    fn find(&self, number: u64) -> Option<usize> {
        self.keys.iter().position(|key| key.number == number)
    }

    fn speaks(key: &Key, now: u64) -> bool {
        let end = key.revoked.map_or(key.end, |(at, _)| at.min(key.end));
        (key.begin..end).contains(&now)
    }

    /// Whether the operation is taken now.
    fn apply(&mut self, now: u64, operation: Operation) -> bool {
        match operation {
            Operation::Wait(_) => true,
            Operation::Rotate {
                from,
                to,
                begin,
                length,
            } => {
                let begin = shifted(now, begin);
                let newest = *self.keys.last().unwrap();
                let is_taken = newest.number == from
                    && newest.revoked.is_none()
                    && Self::speaks(&newest, now)
                    && self.find(to).is_none()
                    && begin > newest.begin
                    && begin < newest.end
                    && begin + OVERLAP >= now
                    && begin + length > now
                    && length <= WINDOW_MAX;
                if is_taken {
                    let older = self.keys.last_mut().unwrap();
                    older.end = older.end.min(begin.max(now) + OVERLAP);
                    let end = begin + length;
                    self.keys.push(Key {
                        number: to,
                        begin,
                        end,
                        revoked: None,
                    });
                }
                is_taken
            }
            Operation::Revoke { key, by, at } => {
                let (Some(revoked), Some(by)) = (self.find(key), self.find(by)) else {
                    return false;
                };
                let claimed = shifted(now, at);
                let (entry, signer) = (self.keys[revoked], self.keys[by]);
                let at = claimed.max(now - OVERLAP);
                let is_open = match entry.revoked {
                    None => true,
                    Some((former, _)) => former > now && at < former,
                };
                let is_itself = by == revoked
                    && signer.revoked.is_none_or(|(at, _)| at > now)
                    && now <= signer.end + OVERLAP;
                let is_taken = by >= revoked
                    && claimed >= entry.begin
                    && is_open
                    && (Self::speaks(&signer, now) || is_itself);
                if is_taken {
                    self.keys[revoked].revoked = Some((at, now));
                }
                is_taken
            }
        }
    }

    /// Whether a signature counts, and only below a snapshot.
    fn answer(&self, number: u64, signed: u64, seen: u64) -> Option<bool> {
        let key = self.keys[self.find(number)?];
        let known = key.revoked.filter(|(_, agreed)| seen >= *agreed);
        let end = known.map_or(key.end, |(at, _)| at.min(key.end));
        if signed > seen || !(key.begin..end).contains(&signed) {
            return None;
        }
        let is_late = seen > key.end + OVERLAP;
        Some(is_late || known.is_some_and(|(at, _)| seen >= at))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The registry and a simple list take the same operations and give the same answers.
    #[test]
    fn cr_10_the_naive_model_agrees(operations in operations()) {
        let mut world = World::new();
        for operation in operations {
            let expected = world.model.apply(world.now, operation);
            prop_assert_eq!(world.apply(operation), expected, "{:?}", operation);
        }
        for (key, signed, seen, answer) in world.answers() {
            let expected = world.model.answer(key, signed, seen);
            prop_assert_eq!(answer.ok(), expected, "key {} at {} seen at {}", key, signed, seen);
        }
        let expected = world.model.keys.iter().rev().find(|key| Model::speaks(key, world.now));
        let signing = world.registry.signing_key(&peer(), at(world.now)).cloned();
        prop_assert_eq!(signing, expected.map(|key| signer(key.number).public_key().clone()));
    }

    /// What was accepted when it was seen is accepted for ever; and whoever sees it later accepts it
    /// as well, below a snapshot at the most, unless its key was revoked from a time before it.
    #[test]
    fn cr_10_what_was_accepted_stays_accepted(operations in operations()) {
        let mut world = World::new();
        let mut accepted = Vec::new();
        for operation in operations {
            let now = world.now;
            world.apply(operation);
            if world.now > now {
                accepted.extend(world.answers().into_iter().filter(|(_, _, seen, answer)| {
                    *seen >= now && answer.is_ok()
                }));
            }
        }
        for (key, signed, seen, answer) in accepted {
            prop_assert_eq!(world.answer(key, signed, seen), answer);
            match world.answer(key, signed, world.now) {
                Ok(needs_snapshot) => prop_assert!(needs_snapshot || answer == Ok(false)),
                Err(reason) => {
                    prop_assert_eq!(reason, Invalid::Revoked);
                    let entry = world.registry.keys(&peer()).iter().find(|entry| entry.id == id(key));
                    let revoked = entry.unwrap().revoked.unwrap();
                    prop_assert!(revoked.at <= at(signed) && revoked.agreed > at(seen));
                    // Not further back than an overlap from when all agreed.
                    prop_assert!(revoked.at.saturating_add(STEP * 4) >= revoked.agreed);
                }
            }
        }
    }

    /// Whoever holds only keys that are over changes nothing: no record, no revocation, no answer.
    #[test]
    fn cr_10_keys_that_are_over_change_nothing(
        operations in operations(),
        attacks in prop::collection::vec((keys(), 0..KEYS + 3, -220..40_i64, 1..WINDOW_MAX), 30),
    ) {
        let mut world = World::new();
        for operation in operations {
            world.apply(operation);
        }
        let now = at(world.now);
        let held: Vec<u64> = keys()
            .filter(|number| {
                let entry = world.registry.keys(&peer()).iter().find(|entry| entry.id == id(*number));
                entry.is_none_or(|entry| {
                    let is_revoked = entry.revoked.is_some_and(|revoked| revoked.at <= now);
                    is_revoked || entry.not_after.saturating_add(STEP * 4) < now
                })
            })
            .collect();
        for (key, other, moment, length) in attacks {
            if held.is_empty() {
                break;
            }
            let by = held[usize::try_from(key).unwrap() % held.len()];
            let begin = moment;
            let before = world.registry.clone();
            let taken = [
                world.apply(Operation::Rotate { from: by, to: other, begin, length }),
                world.apply(Operation::Revoke { key: other, by, at: moment }),
                world.apply(Operation::Revoke { key: by, by, at: moment }),
            ];
            prop_assert_eq!(taken, [false; 3]);
            prop_assert_eq!(&world.registry, &before);
        }
    }
}

/// The random histories reach what the laws speak of, so that they do not hold of nothing.
#[test]
fn histories_reach_long_chains_and_revocations() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut longest, mut revoked, mut back_dated) = (0, 0, 0);
    for _ in 0..128 {
        let mut world = World::new();
        for operation in operations().new_tree(&mut runner).unwrap().current() {
            if world.apply(operation) {
                match operation {
                    Operation::Revoke { at, .. } if at < 0 => revoked += 1,
                    Operation::Rotate { begin, .. } if begin < 0 => back_dated += 1,
                    _ => {}
                }
            }
        }
        longest = longest.max(world.registry.keys(&peer()).len());
    }
    assert!(longest >= 4, "{longest} keys");
    assert!(revoked >= 10, "{revoked} revocations");
    assert!(back_dated >= 20, "{back_dated} rotations");
}
