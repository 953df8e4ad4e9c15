//! Power fails at the worst moments (FB-15).

use super::{Play, inconclusive, millis};
use crate::adversary::{Equivocator, Plot};
use crate::network::{Fate, Kind};
use crate::node::CrashPoint;
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_types::ReplicaId;

/// Blocks of the run that is stopped at every record.
const BLOCKS: u32 = 3;

/// W11: kill and restart at each height.
pub(super) fn w11(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let mut random = play.random("kills");
    let options = Options {
        sync: millis(3),
        ..Options::default()
    };
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    play.world(&federation, options, |world| {
        for height in 1..=12 {
            world.load(millis(30), 4);
            let limit = world.pace().heights(0, 2);
            world.expect(limit, "the next height", |world| {
                world.agreement().highest() >= height
            })?;
            world.run_for(millis(random.below(60)))?;
            let victim = everybody[random.below(4) as usize];
            world.crash(victim);
            if height % 4 == 0 {
                // All at once: what is left is what the disks kept.
                for id in &everybody {
                    world.crash(*id);
                }
            }
            world.run_for(millis(random.below(1_500)))?;
            for id in &everybody {
                world.restart(*id)?;
            }
        }
        world.settle(3)
    })
}

/// FB-15: stops a member at every record, behind it, in front of it, and in the middle of it.
pub(super) fn crash_at_persist(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let mut records = Vec::new();
    play.world(&federation, Options::default(), |world| {
        three_blocks(world)?;
        records = federation.ids().map(|id| world.records(id)).collect();
        Ok(())
    })?;
    let mut random = play.random("bytes");
    for id in federation.ids() {
        for record in 0..records[id.get() as usize] {
            let torn = 1 + random.below(200) as usize;
            for kept in [None, Some(0), Some(torn)] {
                let point = CrashPoint { record, kept };
                play.world(&federation, Options::default(), |world| {
                    world.crash_at(id, point);
                    world.load(millis(40), 4);
                    world.arrange(world_limit(world), "the crash", |world| !world.is_up(id))?;
                    world.run_for(millis(100))?;
                    world.restart(id)?;
                    world.progress(BLOCKS)
                })?;
            }
        }
    }
    Ok(())
}

/// FB-15: a leader tells a member of one block and, after that member was restarted, of another one
/// in the same view. What it voted for before is what it votes for.
pub(super) fn two_stories(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let leader = federation.leader(1, 0);
    let victim = play.pick("victim", &federation.others(&[leader]));
    // All but the victim are told of the first block.
    for record in 0..6 {
        let plot = Plot::against([]);
        plot.borrow_mut().witness = Some(victim);
        let options = Options::default().with(leader, Equivocator::new(plot.clone()));
        play.world(&federation, options, |world| {
            let mut told = 0;
            world.filter(move |packet| match packet.kind() {
                Kind::Proposal if packet.to == victim && packet.height() == 1 => {
                    told += 1;
                    if told == 1 {
                        Fate::Pass
                    } else {
                        Fate::Delay(millis(300))
                    }
                }
                // The others decide late, so that height and view are the same all the time.
                Kind::Commit if packet.height() == 1 => Fate::Delay(millis(500)),
                _ => Fate::Pass,
            });
            world.crash_at(victim, CrashPoint { record, kept: None });
            world.submit(leader)?;
            world.run_for(millis(150))?;
            // Some records come only later in the height, or in the next one.
            world.crash(victim);
            world.run_for(millis(50))?;
            world.restart(victim)?;
            world.run_for(millis(900))?;
            world.settle(2)?;
            if plot.borrow().attempts() == 0 {
                return inconclusive("the leader told one story");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn three_blocks(world: &mut World) -> Result<(), Failure> {
    world.load(millis(40), 4);
    world.expect(world_limit(world), "three blocks", |world| {
        world.lowest_height() >= u64::from(BLOCKS)
    })
}

fn world_limit(world: &World) -> core::time::Duration {
    world.pace().heights(0, BLOCKS)
}
