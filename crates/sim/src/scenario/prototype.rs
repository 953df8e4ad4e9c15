//! Schedules that forked or halted the prototype (section 9: W1 to W12, V1 to V4).

use super::faults::{blocks_under_faults, next_turn, shuffle};
use super::{Play, broken, inconclusive, millis, seconds};
use crate::adversary::{
    Accomplice, Equivocator, Foreigner, JunkNewView, Nonsense, Plot, Silent, ViewJumper,
};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::{Fate, Kind, Link};
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_consensus::fbpbft::DropReason;
use polity_replica::proof::FinalityProof;
use polity_types::{Height, ReplicaId, View, wire};
use std::rc::Rc;

/// Votes before the PRE-PREPARE: the leader tells two members of A and, later, the third of B.
pub(super) fn w3(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let leader = federation.leader(1, 0);
    let third = play.pick("third", &federation.others(&[leader]));
    let plot = Plot::against([third]);
    let options = Options::default().with(leader, Equivocator::new(plot.clone()));
    play.world(&federation, options, |world| {
        world.filter(move |packet| {
            let is_late = packet.from == leader && packet.to == third;
            match packet.kind() {
                Kind::Proposal if is_late && packet.height() == 1 => Fate::Delay(millis(400)),
                _ => Fate::Pass,
            }
        });
        world.submit(leader)?;
        world.arrange(seconds(5), "a decision of the other two", |world| {
            let deciders = federation.others(&[leader, third]);
            deciders.iter().all(|id| world.height(*id) >= 1)
        })?;
        if world.height(third) > 0 {
            return inconclusive("the third decided before it was told of B");
        }
        // It hears of B only now; what it decides is compared by the oracle.
        world.run_for(seconds(2))?;
        world.settle(6)?;
        if plot.borrow().attempts() == 0 {
            return inconclusive("the leader proposed once");
        }
        Ok(())
    })
}

/// COMMITs of view 0 reach one member alone; returns once it has decided and is cut off.
pub(super) fn decided_by_one(world: &mut World, lonely: ReplicaId) -> Result<(), Failure> {
    let from = world.federation().leader(1, 0);
    world.filter(move |packet| {
        let is_first = packet.height() == 1 && packet.view() == 0;
        match packet.kind() {
            Kind::Commit if is_first && packet.to != lonely => Fate::Drop,
            // What it says about its decision is lost as well.
            Kind::Status | Kind::Decided if packet.from == lonely => Fate::Drop,
            _ => Fate::Pass,
        }
    });
    world.submit(from)?;
    world.arrange(seconds(1), "a decision of one member", |world| {
        world.height(lonely) >= 1
    })?;
    world.isolate(lonely);
    Ok(())
}

/// COMMITs reach one replica only, then the view changes.
pub(super) fn w4a(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let lonely = play.pick("lonely", &everybody);
    play.world(&federation, Options::default(), |world| {
        decided_by_one(world, lonely)?;
        let others = federation.others(&[lonely]);
        let limit = world.pace().height(0) * 2;
        world.expect(limit, "a decision of the others", |world| {
            others.iter().all(|id| world.height(*id) >= 1)
        })?;
        let views: Vec<u64> = others
            .iter()
            .filter_map(|id| world.store(*id).first())
            .map(|decided| decided.certificate.view.get())
            .collect();
        if views.contains(&0) {
            return inconclusive("somebody decided in view 0");
        }
        world.settle(4)
    })
}

/// Dead leaders are skipped.
pub(super) fn w4b(play: &mut Play) -> Result<(), Failure> {
    for (members, dead) in [(4, 1), (7, 2)] {
        let federation = play.federation(members);
        let dead: Vec<ReplicaId> = (0..dead).map(|view| federation.leader(1, view)).collect();
        play.world(&federation, Options::default(), |world| {
            for id in &dead {
                world.crash(*id);
            }
            world.progress(3 * members)?;
            let alive = federation.others(&dead)[0];
            let led = world
                .store(alive)
                .iter()
                .filter(|decided| dead.contains(&decided.block.header.proposer));
            if led.count() > 0 {
                return broken("a dead member proposed a block");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// VIEW-CHANGEs for 1, 7 and 1,000,000.
pub(super) fn w4c(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(10);
    // Members that do not lead the first height, so that it starts well.
    let jumpers: Vec<ReplicaId> = (3..6).map(|view| federation.leader(1, view)).collect();
    let options = jumpers
        .iter()
        .zip([1, 7, 1_000_000])
        .fold(Options::default(), |options, (id, view)| {
            options.with(*id, ViewJumper::to(View::new(view)))
        });
    play.world(&federation, options, |world| {
        world.progress(3)?;
        if world.signing().highest_floor() > 0 {
            return broken("three members made honest ones leave a view");
        }
        // Now the view has to change: one step, not a million. Some decide the height below
        // late, so they follow the wishes of others before they have one of their own.
        let height = world.agreement().highest() + 2;
        world.filter(move |packet| match packet.kind() {
            Kind::Proposal if packet.height() >= height => Fate::Drop,
            Kind::Commit if packet.to.get().is_multiple_of(2) => Fate::Delay(millis(400)),
            _ => Fate::Pass,
        });
        world.load(millis(300), 1);
        let limit = world.pace().heights(0, 2);
        world.expect(limit, "a decision in a later view", |world| {
            world.lowest_height() >= height
        })?;
        world.idle();
        let highest = world.signing().highest_floor();
        if highest == 0 {
            return inconclusive("no view changed");
        }
        if highest > 4 {
            return broken(format!("an honest member asked for view {highest}"));
        }
        world.settle(3)
    })
}

/// Nonsense blocks, in every way that the adversary knows.
pub(super) fn w5(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let leader = play.pick("leader", &everybody);
    let nonsense = Nonsense::starting_with(0);
    let said = nonsense.said();
    let options = Options::default().with(leader, nonsense);
    play.world(&federation, options, |world| {
        world.progress(4 * 12)?;
        if said.borrow().len() < 8 {
            return inconclusive("too little nonsense was proposed");
        }
        let voted = said
            .borrow()
            .iter()
            .find(|digest| world.signing().has_voted_for(digest))
            .copied();
        if let Some(digest) = voted {
            return broken(format!("an honest member voted for nonsense {digest}"));
        }
        Ok(())
    })
}

/// Reordering and loss together.
pub(super) fn w7(play: &mut Play) -> Result<(), Failure> {
    for (members, loss) in [(4, 1_000), (7, 10_000), (4, 50_000)] {
        let federation = play.federation(members);
        let options = Options {
            link: Link::reordering(millis(2), millis(80)).losing(loss),
            sync: millis(2),
            ..Options::default()
        };
        play.world(&federation, options, |world| blocks_under_faults(world, 20))?;
    }
    Ok(())
}

/// One replica is offline for a block, and has to lead afterwards.
pub(super) fn w7b(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let absent = play.pick("absent", &everybody);
    play.world(&federation, Options::default(), |world| {
        world.isolate(absent);
        let others = federation.others(&[absent]);
        world.submit(others[0])?;
        let limit = world.pace().heights(0, 2);
        world.expect(limit, "a block without one member", |world| {
            others.iter().all(|id| world.height(*id) >= 1)
        })?;
        world.mend();
        world.progress(2)?;
        let turn = next_turn(&federation, absent, world.agreement().highest() + 2)?;
        world.progress(6)?;
        let block = &world.store(others[0])[turn as usize - 1].block;
        if block.header.proposer != absent {
            return broken(format!(
                "member {absent} did not lead height {turn} after it was back"
            ));
        }
        Ok(())
    })
}

/// An equivocating leader, with as many accomplices as may be faulty.
pub(super) fn w8(play: &mut Play) -> Result<(), Failure> {
    for members in [6, 20] {
        let federation = play.federation(members);
        let faulty_max = u64::from(members - 1) / 3;
        let faulty: Vec<ReplicaId> = (0..faulty_max)
            .map(|view| federation.leader(1, view))
            .collect();
        let honest = federation.others(&faulty);
        // Halves: with a quorum of 2F + 1 both would decide.
        let mut honest = honest;
        shuffle(&mut honest, &mut play.random("halves"));
        let plot = Plot::against(honest[..honest.len() / 2].to_vec());
        let mut options = Options::default().with(faulty[0], Equivocator::new(plot.clone()));
        for id in &faulty[1..] {
            options = options.with(*id, Accomplice::new(plot.clone()));
        }
        play.world(&federation, options, |world| {
            world.progress(4)?;
            if plot.borrow().attempts() == 0 {
                return inconclusive("the leader never had a turn");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A stranger checks finality with the genesis alone.
pub(super) fn w9(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(7);
    play.world(&federation, Options::default(), |world| {
        world.progress(5)?;
        let Ok(chain) = federation.genesis.chain() else {
            return inconclusive("the genesis has no committee");
        };
        for id in federation.ids() {
            for decided in world.store(id) {
                let proof = FinalityProof {
                    header: decided.block.header.clone(),
                    certificate: decided.certificate.clone(),
                };
                let bytes = wire::encode(&proof);
                let Ok(mut proof) = wire::decode::<FinalityProof>(&bytes, bytes.len()) else {
                    return broken("a proof that does not travel");
                };
                if proof.verify(&chain, &federation.verifier).is_err() {
                    return broken(format!(
                        "a stranger refuses the proof of height {}",
                        proof.header.height
                    ));
                }
                proof.header.timestamp = proof.header.timestamp.saturating_add(millis(1));
                if proof.verify(&chain, &federation.verifier).is_ok() {
                    return broken("a stranger accepts a changed header");
                }
                proof.header = decided.block.header.clone();
                proof.certificate.view = proof.certificate.view.next();
                if proof.verify(&chain, &federation.verifier).is_ok() {
                    return broken("a stranger accepts a changed certificate");
                }
            }
        }
        Ok(())
    })
}

/// Signatures for another chain, kind, epoch or view.
pub(super) fn w12(play: &mut Play) -> Result<(), Failure> {
    let seed = play.seed;
    let federation = Rc::new(Federation::new(&seed, Scheme::Stub, &[1; 4], 5));
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let foreigner = play.pick("foreigner", &everybody);
    let mut other = federation.genesis.clone();
    "another federation".clone_into(&mut other.name);
    let Ok(elsewhere) = other.chain() else {
        return inconclusive("the other federation has no committee");
    };
    let adversary = Foreigner::new(elsewhere);
    let said = adversary.said();
    let options = Options::default().with(foreigner, adversary);
    play.world(&federation, options, |world| {
        world.progress(12)?;
        let honest = federation.others(&[foreigner]);
        let refused: u64 = honest
            .iter()
            .map(|id| world.drops(*id, DropReason::Signature))
            .sum();
        if said.get() == 0 || refused == 0 {
            return inconclusive("no misplaced signature was checked");
        }
        for decided in world.store(honest[0]) {
            let committee = federation.chain.committee(Height::new(1));
            let signers = decided.certificate.votes.signers.members(committee);
            if signers.is_ok_and(|signers| signers.contains(&foreigner)) {
                return broken("a misplaced signature was counted");
            }
        }
        Ok(())
    })
}

/// A leader is silent for a day; every wish is granted all the same.
pub(super) fn v1(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let silent = play.pick("silent", &everybody);
    let how = match play.random("how").below(2) {
        0 => Silent::AsLeader,
        _ => Silent::Always,
    };
    let mut options = Options::default().with(silent, how);
    // A day of STATUS every second would only take time.
    options.config.consensus.status_every = seconds(120);
    let mut random = play.random("clients");
    play.world(&federation, options, |world| {
        let honest = federation.others(&[silent]);
        for _ in 0..72 {
            let target = world.lowest_height() + 1;
            world.submit(honest[random.below(honest.len() as u64) as usize])?;
            let limit = world.pace().heights(0, 2);
            world.expect(limit, "a block for a wish", |world| {
                world.lowest_height() >= target && world.promises().open() == 0
            })?;
            world.run_for(seconds(20 * 60))?;
        }
        Ok(())
    })
}

/// Junk in the place of proofs.
pub(super) fn v3(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let leader = play.pick("leader", &everybody);
    let options = Options::default().with(leader, JunkNewView::default());
    play.world(&federation, options, |world| {
        world.progress(12)?;
        if world.signing().highest_floor() > 3 {
            return broken("junk made honest members leave their views");
        }
        if world.evidence().reports(leader, "an unjustified NEW-VIEW") == 0 {
            return broken("junk under a leader's signature was not reported");
        }
        Ok(())
    })
}
