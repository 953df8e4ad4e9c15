//! Far behind: catching up by a certified snapshot (FB-14, FB-19).

use super::{Play, broken, inconclusive, millis, seconds};
use crate::adversary::SnapshotLiar;
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::{Fate, Kind, Link};
use crate::node::{CrashPoint, SimReplica};
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_ledger::Ledger;
use polity_replica::sync::SyncRecord;
use polity_replica::{Config, Record};
use polity_types::ReplicaId;
use std::rc::Rc;

/// Heights of an epoch.
const EPOCH: u64 = 5;

/// Accounts that make a ledger of several chunks.
const ACCOUNTS: u32 = 10_000;

/// Whoever is so many heights behind takes a snapshot.
const SNAPSHOT_AFTER: u64 = 8;

fn federation(play: &Play, members: usize) -> Rc<Federation> {
    let federation = Federation::new(&play.seed, Scheme::Stub, &vec![1; members], EPOCH);
    Rc::new(federation.with_accounts(ACCOUNTS))
}

fn options() -> Options {
    Options {
        config: Config {
            snapshot_after: SNAPSHOT_AFTER,
            ..Config::default()
        },
        ..Options::default()
    }
}

/// A member loses power early, and the others go on for some epochs.
fn sleep(world: &mut World, sleeper: ReplicaId, epochs: u64) -> Result<(), Failure> {
    world.load(millis(80), 2);
    let limit = world.pace().heights(0, 3);
    world.expect(limit, "the first height", |world| {
        world.lowest_height() >= 1
    })?;
    world.crash(sleeper);
    let limit = world.pace().heights(0, (epochs * EPOCH + 3) as u32);
    let target = epochs * EPOCH + 2;
    world.expect(limit, "some epochs", |world| {
        world.lowest_height() >= target
    })
}

/// The sleeper wakes, and nobody gives it blocks until it has a snapshot.
fn wake(world: &mut World, sleeper: ReplicaId) -> Result<(), Failure> {
    world.filter(move |packet| {
        if packet.to == sleeper && packet.kind() == Kind::Decided {
            Fate::Drop
        } else {
            Fate::Pass
        }
    });
    world.restart(sleeper)
}

/// It has a snapshot, and then what the others have.
fn catch_up(world: &mut World, sleeper: ReplicaId) -> Result<(), Failure> {
    world.expect(seconds(180), "a snapshot is installed", |world| {
        !world.installed(sleeper).is_empty()
    })?;
    world.unfilter();
    let target = world.agreement().highest();
    world.expect(seconds(60), "the sleeper catches up", |world| {
        world.height(sleeper) >= target
    })
}

/// FB-19: a member slept for epochs, wakes under load, over links of every kind.
pub(super) fn sleeper(play: &mut Play) -> Result<(), Failure> {
    let mut random = play.random("links");
    let federation = federation(play, [4, 4, 7][random.below(3) as usize]);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let sleeper = play.pick("sleeper", &everybody);
    let mut options = options();
    options.sync = millis(random.below(4));
    let epochs = 3 + random.below(3);
    let is_lossy = random.below(2) == 0;
    play.world(&federation, options, |world| {
        sleep(world, sleeper, epochs)?;
        if is_lossy {
            world.set_link(Link::reordering(millis(5), millis(20)).losing(20_000));
        }
        wake(world, sleeper)?;
        catch_up(world, sleeper)?;
        world.settle(3)
    })
}

/// FB-15, FB-19: the sleeper loses power at some record of its sync, and goes on with the next chunk.
pub(super) fn sleeper_crash(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let sleeper = play.pick("sleeper", &everybody);
    let mut random = play.random("crash");
    // Ends of four epochs, the start, three chunks, and that it counts.
    let offset = random.below(9);
    let kept = [None, Some(0), Some(1 + random.below(300_000) as usize)];
    let kept = kept[random.below(3) as usize];
    play.world(&federation, options(), |world| {
        sleep(world, sleeper, 4)?;
        // The others rest, so that the snapshot is the newest one all the time.
        world.idle();
        world.run_for(seconds(2))?;
        let record = world.records(sleeper) + offset;
        world.crash_at(sleeper, CrashPoint { record, kept });
        wake(world, sleeper)?;
        world.arrange(seconds(60), "the crash", |world| !world.is_up(sleeper))?;
        world.run_for(millis(random.below(3_000)))?;
        world.restart(sleeper)?;
        let replica = world.replica(sleeper);
        let progress = replica.and_then(|replica| replica.sync_progress());
        let had = progress.map_or(0, |(_, chunks)| chunks);
        let is_installed = world.height(sleeper) >= 4 * EPOCH;
        if !is_installed {
            catch_up(world, sleeper)?;
        }
        let again = world
            .chunks_asked(sleeper)
            .iter()
            .find(|chunk| **chunk < had);
        if let Some(again) = again {
            return broken(format!("chunk {again} was fetched again, {had} were there"));
        }
        let journal = world.journal(sleeper);
        let starts = journal
            .iter()
            .filter(|record| matches!(record, Record::Sync(SyncRecord::Started(_))));
        if starts.count() != 1 {
            return broken("the sync started over");
        }
        world.settle(3)
    })
}

/// FB-19: one member lies about snapshots, and then more than may.
pub(super) fn snapshot_liar(play: &mut Play) -> Result<(), Failure> {
    one_liar(play)?;
    vouched_lie(play)
}

/// A liar serves snapshots in each of its ways, and boasts so that it is asked first.
fn one_liar(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let sleeper = play.pick("sleeper", &everybody);
    let liar = play.pick("liar", &federation.others(&[sleeper]));
    let lie = play.random("lie").below(SnapshotLiar::LIES);
    let options = options().with(liar, SnapshotLiar::new(lie));
    play.world(&federation, options, |world| {
        sleep(world, sleeper, 4)?;
        wake(world, sleeper)?;
        catch_up(world, sleeper)?;
        let replica = world.replica(sleeper);
        let excluded = replica.into_iter().flat_map(SimReplica::sync_excluded);
        let honest: Vec<ReplicaId> = excluded.filter(|id| *id != liar).collect();
        if !honest.is_empty() {
            return broken(format!("honest members are asked no more: {honest:?}"));
        }
        world.settle(3)
    })
}

/// LG-13, FB-19: two of four vouch for one false state, which is more than F, and keep every other rule. So
/// the sleeper fetches it, and refuses it: a quorum certified another root, whoever vouches.
fn vouched_lie(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let sleeper = play.pick("fooled", &everybody);
    let mut liars = federation.others(&[sleeper]);
    let truthful = play.pick("truthful", &liars);
    liars.retain(|id| *id != truthful);
    // A state that was true once.
    let genesis = &federation.genesis.ledger;
    let invented = Ledger::new(genesis, federation.chain.id(), play.seed.fork("index"));
    let invented = invented.expect("the genesis of a federation is one");
    let invented: Vec<Vec<u8>> = invented.snapshot().collect();
    let options = liars.iter().fold(options(), |options, id| {
        options.with(*id, SnapshotLiar::accomplice(invented.clone()))
    });
    play.world(&federation, options, |world| {
        sleep(world, sleeper, 4)?;
        // The others rest: one member alone keeps a snapshot for too short a time under load.
        world.idle();
        world.run_for(seconds(2))?;
        wake(world, sleeper)?;
        catch_up(world, sleeper)?;
        let replica = world.replica(sleeper);
        let excluded: Vec<ReplicaId> = replica
            .into_iter()
            .flat_map(SimReplica::sync_excluded)
            .collect();
        if excluded.contains(&truthful) {
            return broken(format!("{truthful} told the truth and is asked no more"));
        }
        if excluded != liars {
            return inconclusive(format!("{excluded:?} were found out, {liars:?} lied"));
        }
        world.settle(3)
    })
}

/// FB-19: some or all peers drop the snapshot in the middle; the next one is taken instead.
pub(super) fn dropped_snapshot(play: &mut Play) -> Result<(), Failure> {
    let federation = federation(play, 4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let sleeper = play.pick("sleeper", &everybody);
    let others = federation.others(&[sleeper]);
    let gone = 1 + play.random("gone").below(3) as usize;
    play.world(&federation, options(), |world| {
        sleep(world, sleeper, 4)?;
        wake(world, sleeper)?;
        world.arrange(seconds(60), "the first chunks", |world| {
            let replica = world.replica(sleeper);
            let progress = replica.and_then(|replica| replica.sync_progress());
            progress.is_some_and(|(_, chunks)| chunks > 0)
        })?;
        for id in &others[..gone] {
            world.drop_snapshots(*id);
        }
        catch_up(world, sleeper)?;
        world.settle(3)
    })
}
