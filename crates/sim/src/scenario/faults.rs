//! The network and the power fail; everybody is honest, or almost.

use super::{Play, broken, inconclusive, millis, seconds};
use crate::adversary::{
    Equivocator, Forger, Forgetful, JunkNewView, Nonsense, Plot, Replayer, Silent, SplitVoter,
    StatusLiar,
};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::Link;
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_types::{ReplicaId, Stream};
use std::rc::Rc;

/// FB-7: message counts and delays of the case without faults.
pub(super) fn calm(play: &mut Play) -> Result<(), Failure> {
    for (members, expected) in [(4, 27), (7, 90), (10, 189)] {
        let federation = play.federation(members);
        play.world(&federation, Options::default(), |world| {
            let blocks = 10;
            world.progress(blocks)?;
            world.run_for(millis(200))?;
            let delay = Link::default().latency;
            for height in 1..=u64::from(blocks) {
                let sent = world.normal_case_messages(height);
                if sent != expected {
                    return broken(format!(
                        "N = {members}: height {height} took {sent} messages instead of {expected}"
                    ));
                }
                for id in federation.ids() {
                    let time = world.decision_time(id, height);
                    if time != Some(delay * 3) {
                        return broken(format!(
                            "N = {members}: replica {id} decided height {height} after {time:?}"
                        ));
                    }
                }
            }
            if world.signing().highest_floor() != 0 {
                return broken("a view changed without a fault");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Real signatures through the same world.
pub(super) fn ed25519(play: &mut Play) -> Result<(), Failure> {
    let seed = &play.seed.clone();
    let federation = Rc::new(Federation::of_equals(seed, Scheme::Ed25519, 4));
    let options = Options {
        link: Link::reordering(millis(3), millis(30)).losing(10_000),
        sync: millis(4),
        skew_max: millis(500),
        ..Options::default()
    };
    play.world(&federation, options, |world| blocks_under_faults(world, 5))
}

/// So many blocks while the faults go on, in time that leaves room for some of them.
pub(super) fn blocks_under_faults(world: &mut World, blocks: u32) -> Result<(), Failure> {
    world.load(millis(40), 2);
    let target = world.lowest_height() + u64::from(blocks);
    let limit = world.pace().heights(0, blocks) * 2;
    world.expect(limit, &format!("height {target} under faults"), |world| {
        world.lowest_height() >= target
    })?;
    world.idle();
    world.settle(1)
}

/// FB-13: with 5 % loss all runs of 20 blocks finish.
pub(super) fn lossy(play: &mut Play) -> Result<(), Failure> {
    for loss_per_million in [1_000, 10_000, 50_000] {
        let federation = play.federation(4);
        let options = Options {
            link: Link {
                jitter: millis(5),
                ..Link::default()
            }
            .losing(loss_per_million),
            ..Options::default()
        };
        play.world(&federation, options, |world| blocks_under_faults(world, 20))?;
    }
    Ok(())
}

/// FB-12: frames overtake each other by many times the latency.
pub(super) fn reorder(play: &mut Play) -> Result<(), Failure> {
    for members in [4, 7, 10] {
        let federation = play.federation(members);
        let options = Options {
            link: Link {
                duplicate_per_million: 20_000,
                ..Link::reordering(millis(1), millis(120))
            },
            skew_max: seconds(2),
            ..Options::default()
        };
        play.world(&federation, options, |world| blocks_under_faults(world, 20))?;
    }
    Ok(())
}

pub(super) fn partition_heal(play: &mut Play) -> Result<(), Failure> {
    for members in [4, 7] {
        let federation = play.federation(members);
        let mut random = play.random("partition");
        let options = Options {
            sync: millis(1),
            ..Options::default()
        };
        play.world(&federation, options, |world| {
            world.progress(2)?;
            // Halves: nobody has a quorum, so nothing may be decided after what is on its way.
            let mut ids: Vec<ReplicaId> = federation.ids().collect();
            shuffle(&mut ids, &mut random);
            world.partition(&ids[..ids.len() / 2]);
            world.load(millis(50), 2);
            world.run_for(millis(200))?;
            let before = world.agreement().highest();
            world.run_for(seconds(3 + random.below(20)))?;
            if members == 4 && world.agreement().highest() != before {
                return broken("half a federation decided a block");
            }
            world.settle(3)?;
            // A minority alone: the others go on, and it catches up.
            let minority = &ids[..federation.members() as usize / 4];
            world.partition(minority);
            world.load(millis(50), federation.members().into());
            world.run_for(seconds(5 + random.below(20)))?;
            world.settle(3)?;
            // One-way cuts, at random.
            for _ in 0..3 {
                let pair = [0, 1].map(|_| ids[random.below(ids.len() as u64) as usize]);
                world.cut(pair[0], pair[1]);
            }
            world.load(millis(50), 2);
            world.run_for(seconds(10))?;
            world.settle(3)
        })?;
    }
    Ok(())
}

/// The leader of the next height loses power as soon as it has proposed.
pub(super) fn crash_leader(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let mut random = play.random("crashes");
    let options = Options {
        sync: millis(random.below(5)),
        ..Options::default()
    };
    play.world(&federation, options, |world| {
        for _ in 0..6 {
            let height = world.agreement().highest() + 1;
            let leader = federation.leader(height, 0);
            world.load(millis(40), 4);
            world.arrange(seconds(60), "a proposal", |world| {
                world.normal_case_messages(height) > 0
            })?;
            world.run_for(millis(random.below(40)))?;
            world.crash(leader);
            // The others go on without it.
            let limit = world.pace().heights(world.floor(leader), 2);
            world.expect(limit, "the next height without its leader", |world| {
                world.lowest_height() >= height
            })?;
            world.run_for(millis(random.below(3_000)))?;
            world.restart(leader)?;
            let target = world.agreement().highest();
            let limit = world.pace().heights(0, 2);
            world.expect(limit, "the restarted leader", |world| {
                world.lowest_height() >= target
            })?;
        }
        world.settle(2)
    })
}

/// Every vote of the three is needed, and votes arrive before the PRE-PREPARE they are for. Views
/// change where the dead member leads, and nowhere else (FB-12).
pub(super) fn barely_a_quorum(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let dead = play.pick("dead", &everybody);
    let options = Options {
        link: Link::reordering(millis(1), millis(90)),
        ..Options::default()
    };
    play.world(&federation, options, |world| {
        world.crash(dead);
        let alive = federation.others(&[dead]);
        world.load(millis(60), 3);
        let limit = world.pace().heights(0, 16);
        world.expect(limit, "16 heights without one member", |world| {
            world.lowest_height() >= 16
        })?;
        world.idle();
        for height in (1..=16).filter(|height| federation.leader(*height, 0) != dead) {
            if let Some(id) = alive
                .iter()
                .find(|id| world.signing().floor(**id, height) > 0)
            {
                return broken(format!(
                    "replica {id} gave up on the living leader of height {height}"
                ));
            }
        }
        world.settle(2)
    })
}

/// A replica promises a client to keep its transaction, and its gossip is lost once. Nobody else
/// has anything to decide, so nobody else will ever bring it up.
pub(super) fn lost_gossip(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let keeper = play.pick("keeper", &federation.others(&[federation.leader(1, 0)]));
    play.world(&federation, Options::default(), |world| {
        world.isolate(keeper);
        world.submit(keeper)?;
        world.run_for(seconds(2))?;
        world.mend();
        let pace = world.pace();
        let limit = pace.heights(world.floor(keeper), 2) + pace.timeout_max;
        world.expect(limit, "a block for the promised transaction", |world| {
            world.promises().open() == 0
        })?;
        world.settle(2)
    })
}

/// Anything at any time.
pub(super) fn chaos(play: &mut Play) -> Result<(), Failure> {
    let mut random = play.random("chaos");
    let members: u32 = [4, 5, 6, 7, 10][random.below(5) as usize];
    let epoch_length = [3, 1_000][random.below(2) as usize];
    let weights = vec![1; members as usize];
    let federation = Federation::new(&play.seed, Scheme::Stub, &weights, epoch_length);
    let federation = Rc::new(federation);
    let faulty_max = (members - 1) / 3;
    let mut ids: Vec<ReplicaId> = federation.ids().collect();
    shuffle(&mut ids, &mut random);
    let byzantine = random.below(u64::from(faulty_max) + 1) as usize;
    let mut options = Options {
        link: some_link(&mut random),
        sync: millis(random.below(8)),
        skew_max: millis(random.below(3_000)),
        ..Options::default()
    };
    for id in &ids[..byzantine] {
        options = with_somebody(options, *id, &ids[byzantine..], &mut random);
    }
    let honest = ids.split_off(byzantine);
    play.world(&federation, options, |world| {
        world.load(millis(20 + random.below(200)), 1 + random.below(3));
        for _ in 0..12 + random.below(20) {
            world.run_for(millis(random.below(3_000)))?;
            let somebody = honest[random.below(honest.len() as u64) as usize];
            match random.below(9) {
                0 | 1 => world.crash(somebody),
                2 | 3 => {
                    for id in &honest {
                        world.restart(*id)?;
                    }
                }
                4 => {
                    let side = 1 + random.below(honest.len() as u64 - 1) as usize;
                    world.partition(&honest[..side]);
                }
                5 => {
                    let other = honest[random.below(honest.len() as u64) as usize];
                    world.cut(somebody, other);
                }
                6 | 7 => world.mend(),
                _ => world.set_link(some_link(&mut random)),
            }
        }
        world.settle(4)
    })
}

fn some_link(random: &mut Stream) -> Link {
    Link {
        latency: millis(1 + random.below(40)),
        jitter: millis(random.below(150)),
        loss_per_million: [0, 1_000, 50_000, 200_000][random.below(4) as usize],
        duplicate_per_million: [0, 20_000][random.below(2) as usize],
        corrupt_per_million: 0,
        is_ordered: random.below(2) == 0,
    }
}

fn with_somebody(
    options: Options,
    id: ReplicaId,
    honest: &[ReplicaId],
    random: &mut Stream,
) -> Options {
    match random.below(9) {
        0 => {
            let half = honest.len() / 2;
            options.with(id, Equivocator::new(Plot::against(honest[..half].to_vec())))
        }
        1 => options.with(id, SplitVoter),
        2 => options.with(id, Silent::AsLeader),
        3 => options.with(id, JunkNewView::default()),
        4 => options.with(id, Replayer::default()),
        5 => options.with(id, StatusLiar),
        6 => options.with(id, Forger::default()),
        7 => options.with(id, Forgetful),
        _ => options.with(id, Nonsense::starting_with(random.below(11))),
    }
}

/// Puts them into a random order.
pub(super) fn shuffle(ids: &mut [ReplicaId], random: &mut Stream) {
    for place in (1..ids.len()).rev() {
        ids.swap(place, random.below(place as u64 + 1) as usize);
    }
}

/// The first height whose leader in view 0 is the given member, from `from` on.
pub(super) fn next_turn(federation: &Federation, id: ReplicaId, from: u64) -> Result<u64, Failure> {
    let turns = from..from + u64::from(federation.members());
    match turns
        .into_iter()
        .find(|height| federation.leader(*height, 0) == id)
    {
        Some(height) => Ok(height),
        None => inconclusive("equal members take turns"),
    }
}
