//! Members break the rules in general.

use super::faults::{blocks_under_faults, shuffle};
use super::{Play, broken, inconclusive, millis};
use crate::adversary::{Equivocator, Plot, Replayer, SplitVoter};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::Link;
use crate::outcome::Failure;
use crate::world::Options;
use polity_types::ReplicaId;
use std::rc::Rc;

/// A leader that proposes two blocks.
pub(super) fn equivocating_leader(play: &mut Play) -> Result<(), Failure> {
    for members in [4, 6, 20] {
        let federation = play.federation(members);
        let leader = federation.leader(1, 0);
        let others = federation.others(&[leader]);
        let plot = Plot::against(others[..others.len() / 2].to_vec());
        // Without a witness nobody honest would ever see both, and nothing could be proven.
        plot.borrow_mut().witness = Some(play.pick("witness", &others));
        let options = Options::default().with(leader, Equivocator::new(plot.clone()));
        play.world(&federation, options, |world| {
            world.progress(members + 2)?;
            if plot.borrow().attempts() == 0 {
                return inconclusive("the leader never had a turn");
            }
            world.settle(2)?;
            if world.evidence().convictions(leader) == 0 {
                return broken(format!("N = {members}: the equivocator was not convicted"));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// FB-1: quorums of weight. The heaviest member may be as heavy as all that may be faulty.
pub(super) fn weights(play: &mut Play) -> Result<(), Failure> {
    for weights in [&[3, 2, 2, 1, 1, 1][..], &[30, 30, 20, 11, 5, 4]] {
        let federation = Rc::new(Federation::new(&play.seed, Scheme::Stub, weights, 4));
        let heaviest = ReplicaId::new(0);
        let mut others = federation.others(&[heaviest]);
        shuffle(&mut others, &mut play.random("halves"));
        let plot = Plot::against(others[..2].to_vec());
        let options = Options {
            link: Link::reordering(millis(2), millis(40)).losing(5_000),
            ..Options::default().with(heaviest, Equivocator::new(plot))
        };
        // The heaviest member leads about three of ten heights, or now and then none.
        play.world(&federation, options, |world| blocks_under_faults(world, 16))?;
    }
    Ok(())
}

pub(super) fn split_voter(play: &mut Play) -> Result<(), Failure> {
    for members in [4, 7] {
        let federation = play.federation(members);
        let everybody: Vec<ReplicaId> = federation.ids().collect();
        let voter = play.pick("voter", &everybody);
        let options = Options::default().with(voter, SplitVoter);
        play.world(&federation, options, |world| {
            world.progress(8)?;
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn replayer(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let replayer = play.pick("replayer", &everybody);
    let options = Options::default().with(replayer, Replayer::default());
    play.world(&federation, options, |world| {
        world.progress(6)?;
        // Restarts in between: old words must not come back as new ones.
        for id in federation.others(&[replayer]) {
            world.crash(id);
            world.run_for(core::time::Duration::from_millis(300))?;
            world.restart(id)?;
            world.progress(2)?;
        }
        Ok(())
    })
}
