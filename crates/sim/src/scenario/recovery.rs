//! Power fails at the worst moments (FB-15).

use super::{Play, millis};
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
                everybody.iter().for_each(|id| world.crash(*id));
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

fn three_blocks(world: &mut World) -> Result<(), Failure> {
    world.load(millis(40), 4);
    world.expect(world_limit(world), "three blocks", |world| {
        world.lowest_height() >= u64::from(BLOCKS)
    })
}

fn world_limit(world: &World) -> core::time::Duration {
    world.pace().heights(0, BLOCKS)
}
