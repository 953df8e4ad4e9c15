//! A run with everything in it drawn from one number.

use super::Report;
use super::course::{Course, KEYS};
use crate::adversary::{Circumstances, Named, named};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::Link;
use crate::outcome::Failure;
use crate::plan::{FaultPlan, Victims, some_link};
use crate::scenario::{Play, play_script};
use crate::world::{Options, World};
use core::fmt;
use core::time::Duration;
use polity_types::{ReplicaId, Seed, Stream};
use std::rc::Rc;

/// Committees: equal ones of 4 to 10, and weights of which none is above what may be faulty.
const TOPOLOGIES: &[&[u64]] = &[
    &[1; 4],
    &[1; 5],
    &[1; 6],
    &[1; 7],
    &[1; 10],
    &[2, 2, 1, 1, 1, 1],
    &[3, 2, 2, 1, 1, 1],
    &[30, 30, 20, 11, 5, 4],
    &[7, 6, 5, 4, 3, 2, 1],
    &[5, 5, 5, 4],
    &[3, 3, 3, 3, 1, 1, 1, 1, 1, 1],
];

/// Blocks that have to come once the faults are over.
const BLOCKS_AFTER: u32 = 3;

/// A federation, what breaks, who breaks the rules, and what clients do.
#[derive(Clone, Debug)]
pub struct Composition {
    number: u64,
    weights: Vec<u64>,
    epoch_length: u64,
    course: Course,
    scheme: Scheme,
    link: Link,
    sync: Duration,
    skew_max: Duration,
    /// Locks that expire in one block.
    expiries_max: u32,
    /// Transactions that a pool holds.
    pool_max: usize,
    load_every: Duration,
    load_copies: u64,
    byzantine: Vec<(ReplicaId, Named)>,
    plan: FaultPlan,
    /// Members that stay switched off when the rest is healed: a quorum is enough.
    down: Vec<ReplicaId>,
}

impl Composition {
    /// The composition of this number.
    pub fn draw(number: u64) -> Self {
        let seed = Self::seed(number);
        let mut random = seed.fork("composition").stream();
        let weights = pick(&mut random, TOPOLOGIES).to_vec();
        // A good part of the runs passes several boundaries, and most of those change the committee.
        let epoch_length = *pick(&mut random, &[1, 2, 3, 4, 5, 1_000, 1_000]);
        let course = match random.below(4) {
            1.. if epoch_length < 1_000 => {
                Course::draw(&mut random, &weights, Duration::from_secs(4))
            }
            _ => Course::still(&weights),
        };
        let replicas = weights.len() as u32 + course.followers;
        let all: Vec<ReplicaId> = (0..replicas).map(ReplicaId::new).collect();
        let mut ids = all.clone();
        let mut faulty = Vec::new();
        for place in (1..ids.len()).rev() {
            ids.swap(place, random.below(place as u64 + 1) as usize);
        }
        // The weight that may be faulty is spent on liars, damaged journals and the dead, in this
        // order, and now and then not at all.
        let is_hostile = random.below(4) != 0;
        let is_damaging = random.below(4) == 0;
        let mut spend = |random: &mut Stream, is_wanted: bool, most: usize| {
            let mut chosen = Vec::new();
            while is_wanted && chosen.len() < most {
                let affordable = |id: &ReplicaId| {
                    let more: Vec<ReplicaId> = faulty.iter().copied().chain([*id]).collect();
                    course.may_be_faulty(&more)
                };
                let Some(place) = ids.iter().position(affordable) else {
                    break;
                };
                let id = ids.remove(place);
                faulty.push(id);
                chosen.push(id);
                if random.below(3) == 0 {
                    break;
                }
            }
            chosen
        };
        let liars = spend(&mut random, is_hostile, usize::MAX);
        let expendable = spend(&mut random, is_damaging, 1);
        let dies = random.below(4) == 0;
        let down = spend(&mut random, dies, 1);
        let honest: Vec<ReplicaId> = all
            .iter()
            .copied()
            .filter(|id| !liars.contains(id))
            .collect();
        let byzantine = liars
            .into_iter()
            .map(|id| (id, *pick(&mut random, named())))
            .collect();
        let victims = Victims {
            all,
            honest,
            expendable,
        };
        let plan = FaultPlan::draw(&mut random, &victims);
        let link = match random.below(3) {
            0 => Link::default(),
            1 => Link::reordering(
                Duration::from_millis(1 + random.below(10)),
                Duration::from_millis(random.below(100)),
            ),
            _ => some_link(&mut random),
        };
        Self {
            number,
            epoch_length,
            course,
            scheme: match random.below(48) {
                0 => Scheme::Ed25519,
                _ => Scheme::Stub,
            },
            link,
            sync: Duration::from_millis(random.below(8) / 2),
            skew_max: Duration::from_millis(random.below(3_000)),
            expiries_max: *pick(&mut random, &[1, 1_024]),
            pool_max: *pick(&mut random, &[32, 256, 65_536]),
            load_every: Duration::from_millis(20 + random.below(200)),
            load_copies: 1 + random.below(3),
            weights,
            byzantine,
            plan,
            down,
        }
    }

    fn seed(number: u64) -> Seed {
        Seed::from_number(number).fork("campaign")
    }

    /// Plays it: safety under faults, then the time in which a quorum has to converge.
    pub fn play(&self, is_traced: bool) -> Report {
        let outcome = play_script(Self::seed(self.number), is_traced, |play| self.script(play));
        Report {
            outcome,
            adversaries: self.byzantine.iter().map(|(_, named)| named.name).collect(),
        }
    }

    fn script(&self, play: &mut Play) -> Result<(), Failure> {
        let seed = Self::seed(self.number);
        let federation = Federation::new(&seed, self.scheme, &self.weights, self.epoch_length);
        let keys = if self.course.is_still() { 1 } else { KEYS };
        let federation = federation.with_replicas(&seed, self.scheme, self.course.followers, keys);
        let federation = Rc::new(federation.with_parameters(|parameters| {
            parameters.expiries_per_block_max = self.expiries_max;
        }));
        let liars: Vec<ReplicaId> = self.byzantine.iter().map(|(id, _)| *id).collect();
        let honest = federation.others(&liars);
        let mut random = seed.fork("habits").stream();
        let mut options = Options {
            link: self.link,
            sync: self.sync,
            skew_max: self.skew_max,
            ..Options::default()
        };
        options.config.pool.count_max = self.pool_max;
        options.config.pool.per_account_max = self.pool_max / 2;
        for (id, named) in &self.byzantine {
            let adversary = named.make(&mut Circumstances {
                federation: &federation,
                honest: &honest,
                random: &mut random,
            });
            options = options.with_boxed(*id, adversary);
        }
        play.world(&federation, options, |world| self.phases(world))
    }

    fn phases(&self, world: &mut World) -> Result<(), Failure> {
        world.load(self.load_every, self.load_copies);
        for (at, changes) in self.course.decrees(world.federation()) {
            world.decree_bytes(at, changes);
        }
        world.endure(&self.plan)?;
        world.heal_but(&self.down)?;
        world.progress(BLOCKS_AFTER)?;
        if !self.course.is_still() {
            let changes = self.course.decrees(world.federation()).len() as u32;
            let limit = world.pace().heights(world.highest_floor(), 4 * changes);
            world.load(Duration::from_millis(40), 2);
            world.expect(limit, "every decreed change", World::is_decreed)?;
            // The last one has to count, too.
            world.progress(2 * self.epoch_length as u32)?;
        }
        // Whoever was down comes back and catches up.
        world.heal()?;
        world.progress(1)
    }
}

fn pick<'a, T>(random: &mut Stream, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

impl fmt::Display for Composition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "composition {}", self.number)?;
        writeln!(
            f,
            "  weights {:?}, epochs of {} heights, {:?} signatures",
            self.weights, self.epoch_length, self.scheme
        )?;
        write!(f, "{}", self.course)?;
        writeln!(f, "  links {}", self.link)?;
        writeln!(
            f,
            "  syncs {} ms, clocks up to {} ms ahead, pools of {}, {} expiries a block, a transaction every {} ms to {}",
            self.sync.as_millis(),
            self.skew_max.as_millis(),
            self.pool_max,
            self.expiries_max,
            self.load_every.as_millis(),
            self.load_copies
        )?;
        for (id, named) in &self.byzantine {
            writeln!(f, "  {id} is a {}", named.name)?;
        }
        for id in &self.down {
            writeln!(f, "  {id} stays switched off when the others are healed")?;
        }
        write!(f, "  {}", self.plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn never_more_weight_is_faulty_than_may_be() {
        let mut drawn = BTreeSet::new();
        let mut changing = 0;
        for number in 0..2_000 {
            let composition = Composition::draw(number);
            let mut faulty: BTreeSet<ReplicaId> =
                composition.byzantine.iter().map(|(id, _)| *id).collect();
            for planned in &composition.plan.faults {
                if let crate::plan::Fault::Damage { replica, .. } = planned.fault {
                    faulty.insert(replica);
                }
            }
            faulty.extend(&composition.down);
            let faulty: Vec<ReplicaId> = faulty.into_iter().collect();
            assert!(composition.course.may_be_faulty(&faulty), "{composition}");
            changing += u64::from(!composition.course.is_still());
            drawn.extend(composition.byzantine.iter().map(|(_, named)| named.name));
        }
        assert_eq!(drawn.len(), named().len(), "every adversary has its turn");
        assert!(changing > 500, "{changing} of 2000 change their committee");
    }

    #[test]
    fn compositions_name_everything_that_is_in_them() {
        let text = Composition::draw(7).to_string();
        assert!(text.starts_with("composition 7\n  weights ["), "{text}");
        assert_eq!(text, Composition::draw(7).to_string());
    }
}
