//! Committees change between epochs (FB-17), under weather, power cuts and members that lie.

use super::{Play, broken, inconclusive, millis};
use crate::adversary::{DoubleVoter, KeyThief};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::{Fate, Kind, Link};
use crate::node::CrashPoint;
use crate::outcome::Failure;
use crate::world::{Options, World};
use core::time::Duration;
use polity_replica::MemberChange;
use polity_types::{Height, ReplicaId};
use std::rc::Rc;

/// Keys that each replica holds.
const KEYS: u32 = 2;

/// Four founders of weight 1, and replicas that follow.
fn federation(play: &Play, epoch_length: u64, followers: u32) -> Rc<Federation> {
    let seed = &play.seed;
    let federation = Federation::new(seed, Scheme::Stub, &[1; 4], epoch_length);
    Rc::new(federation.with_replicas(seed, Scheme::Stub, followers, KEYS))
}

/// A member of weight 1 with one of its keys.
fn set(federation: &Federation, id: ReplicaId, key: usize) -> MemberChange {
    MemberChange::Set(federation.member(id, key, 1))
}

/// The authority has these changes decided, and everybody passes the boundary behind them.
fn change(world: &mut World, changes: &[MemberChange]) -> Result<(), Failure> {
    world.decree(Duration::ZERO, changes);
    world.load(millis(40), 2);
    let limit = world.pace().heights(world.highest_floor(), 8) * 2;
    world.expect(limit, "a decided change", World::is_decreed)?;
    // Decided in the last block of an epoch, it waits for one more.
    let epoch = world
        .committees()
        .epoch(Height::new(world.agreement().highest()));
    reach(world, world.committees().end_of(epoch + 1) + 1)
}

fn reach(world: &mut World, height: u64) -> Result<(), Failure> {
    world.load(millis(40), 2);
    let missing = height.saturating_sub(world.lowest_height()) as u32;
    let limit = world.pace().heights(world.highest_floor(), missing) * 2;
    world.expect(limit, &format!("height {height}"), |world| {
        world.lowest_height() >= height
    })
}

/// Everybody has another key after two epochs, while frames are lost and one member votes with the
/// old ones.
pub(super) fn rotate_keys(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4, 0);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let thief = play.pick("thief", &everybody);
    let options = Options {
        link: Link::reordering(millis(2), millis(40)).losing(10_000),
        sync: millis(2),
        ..Options::default().with(thief, KeyThief::new(federation.keyrings.clone()))
    };
    play.world(&federation, options, |world| {
        for half in everybody.chunks(2) {
            let changes: Vec<MemberChange> =
                half.iter().map(|id| set(&federation, *id, 1)).collect();
            change(world, &changes)?;
        }
        world.settle(5)?;
        let last = world.committees().tables().last();
        let is_new = |id: &ReplicaId| {
            let row = last.and_then(|table| table.row(*id));
            row == Some(&federation.member(*id, 1, 1))
        };
        if !everybody.iter().all(is_new) {
            return broken("somebody kept its key");
        }
        Ok(())
    })
}

/// One founder after the other makes room for a newcomer; in the end none of them is there.
pub(super) fn replace_founders(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 3, 4);
    let founders: Vec<ReplicaId> = (0..4).map(ReplicaId::new).collect();
    let options = Options {
        link: Link::reordering(millis(2), millis(20)),
        ..Options::default()
    };
    play.world(&federation, options, |world| {
        for founder in &founders {
            let newcomer = ReplicaId::new(founder.get() + 4);
            let changes = [
                MemberChange::Remove(*founder),
                set(&federation, newcomer, 0),
            ];
            change(world, &changes)?;
        }
        world.heal_but(&founders)?;
        world.progress(4)?;
        world.settle(2)
    })
}

/// The member that is removed leads the last height of its last epoch, and is late with it.
pub(super) fn leader_removed(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4, 1);
    let end = 4;
    let removed = federation.leader(end, 0);
    let newcomer = ReplicaId::new(4);
    for late in [0, 700, 1_500, 4_000] {
        play.world(&federation, Options::default(), |world| {
            world.filter(move |packet| {
                let is_late = packet.from == removed && packet.height() >= end;
                match packet.kind() {
                    Kind::Proposal | Kind::Prepare | Kind::Commit if is_late => {
                        Fate::Delay(millis(late))
                    }
                    _ => Fate::Pass,
                }
            });
            let changes = [MemberChange::Remove(removed), set(&federation, newcomer, 1)];
            world.decree(Duration::ZERO, &changes);
            reach(world, 2 * end + 1)?;
            world.unfilter();
            world.settle(2)?;
            let tables = world.committees().tables();
            if tables
                .get(1)
                .is_some_and(|table| table.row(removed).is_some())
            {
                return inconclusive("the change came too late for the first epoch");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Offences at the last height of an epoch are proven in the next one, in which the offender has
/// another key, or no vote.
pub(super) fn evidence_across(play: &mut Play) -> Result<(), Failure> {
    for leaves in [false, true] {
        let federation = federation(play, 2, 1);
        let everybody: Vec<ReplicaId> = (0..4).map(ReplicaId::new).collect();
        let liar = play.pick("liar", &everybody);
        let options = Options::default().with(liar, DoubleVoter);
        play.world(&federation, options, |world| {
            let mut changes = vec![set(&federation, ReplicaId::new(4), 0)];
            changes.push(if leaves {
                MemberChange::Remove(liar)
            } else {
                set(&federation, liar, 1)
            });
            world.progress(12)?;
            change(world, &changes)?;
            world.settle(4)?;
            match world.evidence().across_boundaries() {
                0 => broken("nothing was proven across a boundary"),
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// What the last block of an epoch decides counts one epoch later.
pub(super) fn late_change(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 5, 1);
    let newcomer = ReplicaId::new(4);
    play.world(&federation, Options::default(), |world| {
        // A block with a transaction, and one that records what came of it.
        for height in [2, 4] {
            let leader = federation.leader(height - 1, 0);
            world.submit(leader)?;
            world.arrange(millis(5_000), "two blocks", |world| {
                world.lowest_height() >= height
            })?;
            world.run_for(millis(500))?;
        }
        world.decree(Duration::ZERO, &[set(&federation, newcomer, 0)]);
        world.arrange(millis(5_000), "a decided change", |world| {
            world.promises().decided() == 3
        })?;
        if world.agreement().highest() != 5 {
            return inconclusive("the change is in another block than the last of the epoch");
        }
        reach(world, 11)?;
        let tables = world.committees().tables();
        let has_row = |epoch: usize| {
            let table = tables.get(epoch);
            table.is_some_and(|table| table.row(newcomer).is_some())
        };
        if has_row(1) || !has_row(2) {
            return broken("the change does not count in the third epoch alone");
        }
        world.settle(3)
    })
}

/// A member misses the ends of epochs, and wakes up with a key that has no vote any more.
pub(super) fn asleep(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 3, 2);
    let everybody: Vec<ReplicaId> = (0..4).map(ReplicaId::new).collect();
    let sleeper = play.pick("sleeper", &everybody);
    let others: Vec<ReplicaId> = everybody
        .iter()
        .copied()
        .filter(|id| *id != sleeper)
        .collect();
    for is_down in [true, false] {
        play.world(&federation, Options::default(), |world| {
            world.progress(1)?;
            if is_down {
                world.crash(sleeper);
            } else {
                world.isolate(sleeper);
            }
            world.decree(Duration::ZERO, &[set(&federation, sleeper, 1)]);
            let newcomers = [4, 5].map(|id| set(&federation, ReplicaId::new(id), 0));
            world.decree(Duration::ZERO, &newcomers);
            world.decree(Duration::ZERO, &[set(&federation, others[0], 1)]);
            world.load(millis(40), 4);
            let limit = world.pace().heights(0, 16) * 2;
            world.expect(limit, "four epochs without one", |world| {
                others.iter().all(|id| world.height(*id) >= 13)
            })?;
            world.mend();
            world.restart(sleeper)?;
            world.settle(4)
        })?;
    }
    Ok(())
}

/// FB-15: a member whose key is replaced loses power at each record around the boundary.
pub(super) fn crash_at_boundary(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4, 1);
    let everybody: Vec<ReplicaId> = (0..5).map(ReplicaId::new).collect();
    let victim = play.pick("victim", &everybody);
    let changes = [
        set(&federation, ReplicaId::new(4), 0),
        match victim.get() {
            // It starts to vote.
            4 => MemberChange::Remove(ReplicaId::new(0)),
            _ => set(&federation, victim, 1),
        },
    ];
    let mut around = 0..0;
    play.world(&federation, Options::default(), |world| {
        world.decree(Duration::ZERO, &changes);
        reach(world, 3)?;
        around.start = world.records(victim);
        reach(world, 6)?;
        around.end = world.records(victim);
        world.settle(1)
    })?;
    let mut random = play.random("bytes");
    for record in around {
        let torn = 1 + random.below(200) as usize;
        for kept in [None, Some(0), Some(torn)] {
            play.world(&federation, Options::default(), |world| {
                world.crash_at(victim, CrashPoint { record, kept });
                world.decree(Duration::ZERO, &changes);
                world.load(millis(40), 4);
                let limit = world.pace().heights(0, 8);
                world.arrange(limit, "the crash", |world| !world.is_up(victim))?;
                world.run_for(millis(100))?;
                world.restart(victim)?;
                world.progress(5)
            })?;
        }
    }
    Ok(())
}
