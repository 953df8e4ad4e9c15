//! Narrow schedules, one for each guard that chance does not reach.

use super::prototype::decided_by_one;
use super::{Play, broken, inconclusive, millis, seconds};
use crate::adversary::{Equivocator, Forgery, Nonsense, Plot, StaleNewView};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::{Fate, Kind, Link};
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_consensus::fbpbft::{Evidence, Message};
use polity_ledger::LockState;
use polity_types::ReplicaId;
use std::rc::Rc;

/// FB-4: the first block of a chain is spoilt in every way; nobody votes for any of them.
pub(super) fn garbage_blocks(play: &mut Play) -> Result<(), Failure> {
    for way in 0..14 {
        let federation = play.federation(4);
        let leader = federation.leader(1, 0);
        let nonsense = Nonsense::starting_with(way);
        let said = nonsense.said();
        let options = Options::default().with(leader, nonsense);
        play.world(&federation, options, |world| {
            world.submit(leader)?;
            world.progress(6)?;
            if said.borrow().is_empty() {
                return inconclusive("no nonsense was proposed");
            }
            let is_voted =
                |digest: &polity_crypto::Sha256Digest| world.signing().has_voted_for(digest);
            if said.borrow().iter().any(is_voted) {
                return broken(format!("an honest member voted for nonsense of kind {way}"));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// FB-10: one member has decided; the leader of a later view starts it with something else, and
/// votes for that.
pub(super) fn forged_new_view(play: &mut Play) -> Result<(), Failure> {
    for forgery in [
        Forgery::FewerParts,
        Forgery::Denial,
        Forgery::StrippedParts,
        Forgery::OtherBlock,
        Forgery::OldParts,
    ] {
        forged(play, forgery)?;
    }
    Ok(())
}

fn forged(play: &mut Play, forgery: Forgery) -> Result<(), Failure> {
    let federation = play.federation(4);
    // The view that the forger starts.
    let view = match forgery {
        // The next one that it leads after view 0.
        Forgery::OtherBlock => 4,
        // One above the view of the decision, which is 1.
        Forgery::OldParts => 2,
        Forgery::FewerParts | Forgery::Denial | Forgery::StrippedParts => 1,
    };
    let forger = federation.leader(1, view);
    let lonely = play.pick("lonely", &federation.others(&[forger]));
    let adversary = StaleNewView::always(forgery);
    let count = adversary.count();
    let options = Options::default().with(forger, adversary);
    play.world(&federation, options, |world| {
        match forgery {
            Forgery::OldParts => decided_in_view_1(world, lonely)?,
            _ => decided_by_one(world, lonely)?,
        }
        if view > 2 {
            world.filter(move |packet| match packet.kind() {
                Kind::NewView | Kind::Commit if packet.height() == 1 && packet.view() < view => {
                    Fate::Drop
                }
                _ => Fate::Pass,
            });
        }
        let others: Vec<ReplicaId> = federation.others(&[lonely, forger]);
        world.arrange(seconds(60), "a forged NEW-VIEW", |_| count.get() > 0)?;
        let limit = world.pace().height(view + 1) * 2;
        world.expect(limit, "a decision of the others", |world| {
            others.iter().all(|id| world.height(*id) >= 1)
        })?;
        world.settle(2)?;
        if world.evidence().reports(forger, "an unjustified NEW-VIEW") == 0 {
            return broken(format!("{forgery:?} was not reported"));
        }
        Ok(())
    })
}

/// Nobody sees a proposal in view 0, so all ask for view 1 without a claim; what is decided there
/// reaches one member alone.
fn decided_in_view_1(world: &mut World, lonely: ReplicaId) -> Result<(), Failure> {
    let from = world.federation().leader(1, 0);
    world.filter(move |packet| {
        let is_first = packet.height() == 1;
        match packet.kind() {
            Kind::Proposal if is_first => Fate::Drop,
            Kind::Commit if is_first && packet.to != lonely => Fate::Drop,
            Kind::Status | Kind::Decided if packet.from == lonely => Fate::Drop,
            _ => Fate::Pass,
        }
    });
    world.submit(from)?;
    world.arrange(seconds(20), "a decision of one member", |world| {
        world.height(lonely) >= 1
    })?;
    world.isolate(lonely);
    world.filter(|packet| match packet.kind() {
        Kind::Commit if packet.height() == 1 && packet.view() < 2 => Fate::Drop,
        _ => Fate::Pass,
    });
    Ok(())
}

/// FB-8: frames travel so long that no height is decided within the first timeout: later views
/// have to last longer.
pub(super) fn slow_links(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let options = Options {
        link: Link {
            latency: millis(900),
            ..Link::default()
        },
        ..Options::default()
    };
    play.world(&federation, options, |world| {
        world.load(millis(300), 4);
        let limit = world.pace().heights(0, 3) * 3;
        world.expect(limit, "three heights over slow links", |world| {
            world.lowest_height() >= 3
        })?;
        world.settle(1)
    })
}

/// FB-4: all have sent PREPARE and lose power, and the leader, which had the block first, is gone for
/// good. Those who voted for the block have it themselves.
pub(super) fn lost_leader(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let leader = federation.leader(1, 0);
    let others = federation.others(&[leader]);
    play.world(&federation, Options::default(), |world| {
        world.filter(|packet| match packet.kind() {
            Kind::Commit if packet.height() == 1 && packet.view() == 0 => Fate::Drop,
            _ => Fate::Pass,
        });
        world.submit(leader)?;
        world.arrange(seconds(1), "a COMMIT of everybody", |world| {
            world.sent(Kind::Commit) >= 12
        })?;
        for id in federation.ids() {
            world.crash(id);
        }
        world.unfilter();
        for id in &others {
            world.restart(*id)?;
        }
        let limit = world.pace().height(0) * 2;
        world.expect(limit, "a decision without the leader", |world| {
            others.iter().all(|id| world.height(*id) >= 1)
        })?;
        world.settle(2)
    })
}

/// FB-8: an idle federation whose next leader is dead has nothing to decide but a lock that
/// becomes due.
pub(super) fn due_lock(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    play.world(&federation, Options::default(), |world| {
        let lock = world.submit_lock(federation.leader(1, 0), seconds(20), false)?;
        world.run_for(seconds(10))?;
        let height = world.lowest_height();
        if height == 0 {
            return inconclusive("the lock was not decided");
        }
        world.crash(federation.leader(height + 1, 0));
        let limit = seconds(10) + world.pace().heights(0, 2);
        world.expect(limit, "the expiry of a lock", |world| {
            world.lowest_height() > height
        })?;
        let alive = federation.leader(height + 1, 1);
        let state = world
            .replica(alive)
            .and_then(|replica| Some(replica.ledger().lock(&lock)?.state));
        if state != Some(LockState::Expired) {
            return broken(format!("the lock is {state:?}"));
        }
        world.settle(2)
    })
}

/// FB-16: an offence is in a block; whoever restarts afterwards has forgotten that it knew, and is
/// told again. It is acted on once.
pub(super) fn old_evidence(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let offender = federation.leader(1, 0);
    let honest = federation.others(&[offender]);
    let plot = Plot::against([honest[0]]);
    plot.borrow_mut().witness = Some(honest[1]);
    let options = Options::default().with(offender, Equivocator::new(plot));
    play.world(&federation, options, |world| {
        world.progress(4)?;
        world.settle(2)?;
        let evidence: Vec<Evidence> = world
            .store(honest[0])
            .iter()
            .flat_map(|decided| decided.block.body.evidence.clone())
            .collect();
        if evidence.is_empty() {
            return inconclusive("the offender was not convicted");
        }
        for id in &honest {
            world.crash(*id);
            world.run_for(millis(50))?;
            world.restart(*id)?;
        }
        for (id, piece) in honest
            .iter()
            .flat_map(|id| evidence.iter().map(move |p| (id, p)))
        {
            world.say_as(offender, *id, Message::Evidence(piece.clone()));
        }
        world.progress(5)
    })
}

/// LG-7: more locks are due than one block sweeps; whoever settles one of the rest is too late.
pub(super) fn late_commits(play: &mut Play) -> Result<(), Failure> {
    let federation = Federation::of_equals(&play.seed, Scheme::Stub, 4);
    let federation = Rc::new(federation.with_parameters(|parameters| {
        parameters.expiries_per_block_max = 1;
    }));
    play.world(&federation, Options::default(), |world| {
        for _ in 0..40 {
            world.submit_lock(federation.leader(1, 0), seconds(3), true)?;
        }
        world.run_for(seconds(2))?;
        if world.lowest_height() == 0 {
            return inconclusive("the locks were not decided");
        }
        world.run_for(millis(980))?;
        // Clients settle them one after the other while the sweep goes on.
        world.load(millis(5), 2);
        world.run_for(seconds(2))?;
        world.settle(2)
    })
}
