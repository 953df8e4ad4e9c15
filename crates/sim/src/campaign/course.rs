//! How the committee of a composition changes in its course.
//!
//! Whoever draws faults asks here first: a replica may only be faulty if it weighs, with the others
//! that are, no more than may be faulty in **every** committee through which the run can pass. Decrees
//! are decided one after the other, so these are the first committee and those after each decree.

use crate::federation::Federation;
use core::fmt;
use core::time::Duration;
use polity_crypto::{PublicKey, Suite};
use polity_ledger::CommitteeChange;
use polity_replica::MemberChange;
use polity_types::{ReplicaId, Stream};
use std::collections::BTreeMap;

/// Keys that each replica holds, where committees change.
pub(super) const KEYS: u32 = 3;

/// Most replicas that follow at first.
const FOLLOWERS_MAX: u64 = 3;

/// Most transactions of the authority.
const DECREES_MAX: u64 = 5;

/// Weights by number.
type Weights = BTreeMap<u32, u64>;

/// One change that the authority wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// A member with one of its keys and a weight; nobody may weigh more than may be faulty.
    Set { id: u32, key: usize, weight: u64 },
    /// A member leaves.
    Remove(u32),
    /// A member with a key that may not vote, which is refused.
    WeakKey(u32),
    /// Bytes that are no change, which are refused.
    Junk,
}

/// The changes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) followers: u32,
    decrees: Vec<(Duration, Vec<Want>)>,
    /// The committee of the genesis, and that after each decree.
    tables: Vec<Weights>,
}

impl Course {
    /// No change at all.
    pub(super) fn still(weights: &[u64]) -> Self {
        Self {
            tables: vec![(0..).zip(weights.iter().copied()).collect()],
            ..Self::default()
        }
    }

    /// Draws changes within a span of time.
    pub(super) fn draw(random: &mut Stream, weights: &[u64], span: Duration) -> Self {
        let mut course = Self::still(weights);
        course.followers = random.below(FOLLOWERS_MAX + 1) as u32;
        let all = weights.len() as u64 + u64::from(course.followers);
        let mut keys = vec![0; all as usize];
        let mut times: Vec<u64> = (0..=random.below(DECREES_MAX))
            .map(|_| random.below(span.as_millis() as u64))
            .collect();
        times.sort_unstable();
        for at in times {
            let present = course.tables.last().cloned().unwrap_or_default();
            let more = random.below(3) / 2 * (1 + random.below(2));
            let wants: Vec<Want> = (0..=more)
                .map(|_| want(random, all as u32, &present, &mut keys))
                .collect();
            let after = amended(&present, &wants);
            // Where nobody may be faulty, one crash would stop everything.
            if faulty_max(&after) > 0 {
                course.tables.push(after);
                course.decrees.push((Duration::from_millis(at), wants));
            }
        }
        course
    }

    /// Whether these may be faulty together, whichever committee is in force.
    pub(super) fn may_be_faulty(&self, ids: &[ReplicaId]) -> bool {
        self.tables.iter().all(|table| {
            let weight = |id: &ReplicaId| table.get(&id.get()).copied().unwrap_or(0);
            ids.iter().map(weight).sum::<u64>() <= faulty_max(table)
        })
    }

    /// Whether anything changes.
    pub(super) fn is_still(&self) -> bool {
        self.decrees.is_empty()
    }

    /// What the authority sends, and when.
    pub(super) fn decrees(&self, federation: &Federation) -> Vec<(Duration, Vec<CommitteeChange>)> {
        let encoded = |want: &Want| {
            let change = match *want {
                Want::Set { id, key, weight } => {
                    MemberChange::Set(federation.member(ReplicaId::new(id), key, weight))
                }
                Want::Remove(id) => MemberChange::Remove(ReplicaId::new(id)),
                Want::WeakKey(id) => {
                    let mut member = federation.member(ReplicaId::new(id), 0, 1);
                    // All zeros are a point of small order, and a suite below the floor.
                    let suite = match federation.genesis.tiers.votes {
                        polity_crypto::Tier::Ed25519 => Suite::Ed25519,
                        _ => Suite::Hmac,
                    };
                    member.key = PublicKey::new(suite, &[0; 32]).unwrap_or(member.key);
                    MemberChange::Set(member)
                }
                Want::Junk => {
                    return CommitteeChange::new(b"junk").expect("a few bytes");
                }
            };
            change.encode().expect("short names")
        };
        self.decrees
            .iter()
            .map(|(at, wants)| (*at, wants.iter().map(encoded).collect()))
            .collect()
    }
}

fn want(random: &mut Stream, all: u32, present: &Weights, keys: &mut [usize]) -> Want {
    let members: Vec<u32> = present.keys().copied().collect();
    let member = members[random.below(members.len() as u64) as usize];
    let anybody = random.below(u64::from(all)) as u32;
    // Now and then more than one member may weigh.
    let weight = 1 + random.below(faulty_max(present) + 1);
    match random.below(12) {
        0..4 => Want::Set {
            id: anybody,
            key: keys[anybody as usize],
            weight,
        },
        4 | 5 => Want::Remove(member),
        6 => Want::Set {
            id: member,
            key: keys[member as usize],
            weight,
        },
        7..10 => {
            let next = &mut keys[member as usize];
            *next = (*next + 1) % KEYS as usize;
            Want::Set {
                id: member,
                key: *next,
                weight: present[&member],
            }
        }
        10 => Want::WeakKey(anybody),
        _ => Want::Junk,
    }
}

/// The committee after a transaction; the same if the changes make none.
fn amended(present: &Weights, wants: &[Want]) -> Weights {
    let mut amended = present.clone();
    for want in wants {
        match *want {
            Want::Set { id, weight, .. } => amended.insert(id, weight),
            Want::Remove(id) => amended.remove(&id),
            Want::WeakKey(_) | Want::Junk => return present.clone(),
        };
    }
    let most = faulty_max(&amended);
    let is_committee =
        !amended.is_empty() && (most == 0 || amended.values().all(|weight| *weight <= most));
    if is_committee {
        amended
    } else {
        present.clone()
    }
}

fn faulty_max(table: &Weights) -> u64 {
    table.values().sum::<u64>().saturating_sub(1) / 3
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((at, wants), after) in self.decrees.iter().zip(&self.tables[1..]) {
            let weights: Vec<String> = after
                .iter()
                .map(|(id, weight)| format!("{id}: {weight}"))
                .collect();
            writeln!(
                f,
                "  the authority wants {wants:?} at {} ms, which makes {{{}}}",
                at.as_millis(),
                weights.join(", ")
            )?;
        }
        Ok(())
    }
}
