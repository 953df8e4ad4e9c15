//! Schedules that forked or halted a first draft (section 9: R1 to R12).

use super::faults::next_turn;
use super::prototype::decided_by_one;
use super::{Play, broken, inconclusive, millis, seconds};
use crate::adversary::{BareProposer, Forger, Forgetful, StatusLiar, Tamperer};
use crate::network::{Fate, Kind};
use crate::outcome::Failure;
use crate::world::Options;
use polity_consensus::fbpbft::DropReason;
use polity_types::ReplicaId;
use std::cell::Cell;
use std::rc::Rc;

/// X is decided in view 0 by one replica; the leader of view 1 sends a bare PRE-PREPARE for Y.
pub(super) fn r1(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let leader = federation.leader(1, 1);
    let lonely = play.pick("lonely", &federation.others(&[leader]));
    let adversary = BareProposer::default();
    let said = adversary.said();
    let options = Options::default().with(leader, adversary);
    play.world(&federation, options, |world| {
        decided_by_one(world, lonely)?;
        let others = federation.others(&[lonely, leader]);
        world.arrange(seconds(20), "a bare proposal", |_| {
            !said.borrow().is_empty()
        })?;
        let limit = world.pace().height(2) * 2;
        world.expect(limit, "a decision of the others", |world| {
            others.iter().all(|id| world.height(*id) >= 1)
        })?;
        world.settle(3)?;
        let is_voted = said
            .borrow()
            .iter()
            .any(|digest| world.signing().has_voted_for(digest));
        if is_voted {
            return broken("an honest member voted for a bare proposal");
        }
        Ok(())
    })
}

/// A replica has asked for view 5 when the traffic of view 3 reaches it. Had it voted there, three
/// PREPAREs would have met while a NEW-VIEW for 5 is built that knows nothing of them.
pub(super) fn r2(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let forgetful = federation.leader(1, 3);
    let others = federation.others(&[forgetful]);
    let late = play.pick("late", &others);
    let ignorant = play.pick("ignorant", &federation.others(&[forgetful, late]));
    let options = Options::default().with(forgetful, Forgetful);
    play.world(&federation, options, |world| {
        world.filter(move |packet| match (packet.kind(), packet.view()) {
            _ if packet.height() != 1 => Fate::Pass,
            // Views 0, 1, 2 and 4 come to nothing.
            (Kind::Proposal, _) | (Kind::NewView, 1 | 2 | 4) => Fate::Drop,
            // Of view 3 the late one hears nothing for now, the ignorant one no proposal at all.
            (Kind::ViewChange | Kind::NewView | Kind::Prepare | Kind::Commit, 3)
                if packet.to == late =>
            {
                Fate::Hold
            }
            (Kind::NewView, 3) if packet.to == ignorant => Fate::Drop,
            _ => Fate::Pass,
        });
        world.submit(ignorant)?;
        world.arrange(seconds(120), "a wish for view 5", |world| {
            world.floor(late) >= 5
        })?;
        world.release();
        world.run_for(seconds(1))?;
        if world.signing().has_voted(late, 1, 3) {
            return broken("a replica voted in view 3 after it asked for view 5");
        }
        world.settle(3)
    })
}

/// A block proposed again after more view changes than the drift bound allows for.
pub(super) fn r3(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    play.world(&federation, Options::default(), |world| {
        world.filter(|packet| match packet.kind() {
            Kind::Commit | Kind::NewView => Fate::Drop,
            _ => Fate::Pass,
        });
        world.submit(federation.leader(1, 0))?;
        world.run_for(seconds(50))?;
        world.unfilter();
        let limit = world.pace().heights(world.floor(ReplicaId::new(0)), 1);
        world.expect(limit, "a decision about an old block", |world| {
            world.lowest_height() >= 1
        })?;
        let decided = &world.store(ReplicaId::new(0))[0];
        let age = world
            .now()
            .shown(core::time::Duration::ZERO)
            .saturating_since(decided.block.header.timestamp);
        if decided.block.header.view.get() != 0 || decided.certificate.view.get() < 4 {
            return inconclusive("the block was not proposed again");
        }
        if age < seconds(30) {
            return inconclusive("the block is younger than the drift bound");
        }
        world.settle(3)
    })
}

/// Two replicas ask for view 1, one entered it and asks for view 2, the fourth is silent.
pub(super) fn r4(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let silent = federation.leader(1, 0);
    let ahead = play.pick(
        "ahead",
        &federation.others(&[silent, federation.leader(1, 1)]),
    );
    play.world(&federation, Options::default(), |world| {
        world.crash(silent);
        let is_over = Rc::new(Cell::new(false));
        let seen = is_over.clone();
        world.filter(move |packet| {
            if packet.from == ahead && packet.kind() == Kind::ViewChange && packet.view() == 2 {
                seen.set(true);
            }
            match packet.kind() {
                Kind::ViewChange if packet.from == ahead && packet.view() == 1 && !seen.get() => {
                    Fate::Drop
                }
                _ => Fate::Pass,
            }
        });
        let others = federation.others(&[silent, ahead]);
        world.submit(ahead)?;
        world.arrange(
            seconds(30),
            "a replica that entered and left view 1",
            |world| {
                is_over.get()
                    && world.view(ahead) == 1
                    && world.floor(ahead) == 2
                    && others.iter().all(|id| world.floor(*id) == 1)
            },
        )?;
        // Nobody restarts and nothing is healed: the three go on by themselves.
        world.progress(4)?;
        // FB-9: its VIEW-CHANGE for view 1 is sent again although it has left that view, so the
        // leader of view 1 still gets a quorum for exactly that view.
        if !world.signing().has_started(federation.leader(1, 1), 1, 1) {
            return broken("the leader of view 1 never got a quorum for it");
        }
        world.settle(2)
    })
}

/// 33 view changes while one replica is offline; then it is needed for every quorum.
pub(super) fn r5(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let absent = play.pick("absent", &everybody);
    let mut options = Options::default();
    options.config.consensus.timeout_base = millis(100);
    options.config.consensus.timeout_max = millis(400);
    play.world(&federation, options, |world| {
        let others = federation.others(&[absent]);
        world.isolate(absent);
        world.filter(|packet| match packet.kind() {
            Kind::Proposal | Kind::NewView => Fate::Drop,
            _ => Fate::Pass,
        });
        world.submit(others[0])?;
        world.arrange(seconds(120), "33 view changes", |world| {
            others.iter().all(|id| world.floor(*id) > 33)
        })?;
        // The adversary stops, and one of the others is gone.
        world.crash(others[2]);
        world.unfilter();
        world.mend();
        world.progress(4)?;
        world.settle(2)
    })
}

/// A certificate of PREPAREs exists and one replica decided; those who prepared restart, and a
/// member that prepared hides it.
pub(super) fn r6(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let forgetful = play.pick("forgetful", &everybody);
    let lonely = play.pick("lonely", &federation.others(&[forgetful]));
    let sync = millis(play.random("sync").below(4));
    let options = Options {
        sync,
        ..Options::default().with(forgetful, Forgetful)
    };
    play.world(&federation, options, |world| {
        decided_by_one(world, lonely)?;
        // Nobody tells them of the transaction again: their own vote is what they have to go on.
        world.filter(|packet| match packet.kind() {
            Kind::Commit if packet.height() == 1 && packet.view() == 0 => Fate::Drop,
            Kind::Transactions => Fate::Drop,
            _ => Fate::Pass,
        });
        let preparers = federation.others(&[forgetful, lonely]);
        for id in &preparers {
            world.crash(*id);
        }
        world.run_for(millis(50))?;
        for id in &preparers {
            world.restart(*id)?;
        }
        let limit = world.pace().height(0) * 2;
        world.expect(limit, "a decision of those who restarted", |world| {
            preparers.iter().all(|id| world.height(*id) >= 1)
        })?;
        world.settle(3)
    })
}

/// Each replica decides with another certificate.
pub(super) fn r7(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    play.world(&federation, Options::default(), |world| {
        world.filter(|packet| match packet.kind() {
            Kind::Commit if (packet.to.get() + 1) % 4 == packet.from.get() => Fate::Drop,
            _ => Fate::Pass,
        });
        world.progress(8)?;
        let signers = |id: u32| {
            let store = world.store(ReplicaId::new(id));
            store
                .iter()
                .map(|decided| decided.certificate.votes.signers.clone())
                .collect::<Vec<_>>()
        };
        let (first, second) = (signers(0), signers(1));
        if first.iter().zip(&second).all(|(a, b)| a == b) {
            return inconclusive("all hold the same certificates");
        }
        world.settle(3)
    })
}

/// A relay swaps junk into NEW-VIEWs, and is faster than their leaders.
pub(super) fn r8(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let relay = play.pick("relay", &everybody);
    let adversary = Tamperer::default();
    let tampered = adversary.tampered();
    let options = Options::default().with(relay, adversary);
    play.world(&federation, options, |world| {
        world.filter(move |packet| match packet.kind() {
            Kind::Proposal => Fate::Drop,
            Kind::NewView if packet.from != relay && packet.to != relay => Fate::Delay(millis(200)),
            _ => Fate::Pass,
        });
        world.load(millis(100), 2);
        let limit = world.pace().heights(0, 6);
        world.expect(limit, "blocks by way of NEW-VIEWs", |world| {
            world.lowest_height() >= 6
        })?;
        world.idle();
        if tampered.get() == 0 {
            return inconclusive("no NEW-VIEW passed the relay");
        }
        world.settle(3)
    })
}

/// One client feeds one replica, whose gossip is lost.
pub(super) fn r9(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let fed = play.pick("fed", &federation.others(&[federation.leader(1, 0)]));
    play.world(&federation, Options::default(), |world| {
        world.filter(move |packet| match packet.kind() {
            Kind::Transactions if packet.from == fed => Fate::Drop,
            _ => Fate::Pass,
        });
        world.submit(fed)?;
        world.run_for(seconds(30))?;
        if let Some(id) = federation
            .others(&[fed])
            .into_iter()
            .find(|id| world.floor(*id) > 0)
        {
            return broken(format!("one client made replica {id} change its view"));
        }
        // The others have work of their own; the one that was fed must not be lost to them.
        world.unfilter();
        let turn = next_turn(&federation, fed, 2)?;
        world.progress(turn as u32 + 2)?;
        world.settle(2)
    })
}

fn under_forgery(play: &mut Play, delay: u64) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let forger = play.pick("forger", &everybody);
    let options = Options::default().with(forger, Forger::default());
    play.world(&federation, options, |world| {
        world.filter(move |packet| {
            // What the forger says travels faster than what it imitates.
            if packet.from == forger || packet.to == forger {
                Fate::Pass
            } else {
                Fate::Delay(millis(delay))
            }
        });
        world.load(millis(60), 2);
        let limit = world.pace().heights(0, 8);
        world.expect(limit, "blocks under forgery", |world| {
            world.lowest_height() >= 8
        })?;
        world.idle();
        let honest = federation.others(&[forger]);
        let refused: u64 = honest
            .iter()
            .map(|id| world.drops(*id, DropReason::Signature))
            .sum();
        if refused == 0 {
            return inconclusive("no forgery was checked");
        }
        for id in &honest {
            let engine = world.replica(*id).map(crate::SimReplica::engine);
            let blamed = engine.map_or(0, |engine| {
                honest
                    .iter()
                    .map(|other| engine.intake().failures(*other))
                    .sum()
            });
            if blamed > 0 {
                return broken(format!("replica {id} blames an honest link for forgery"));
            }
        }
        // No view was changed by it, as long as the forger did not lead.
        world.settle(3)
    })
}

/// Forged votes in an honest sender's name over another link.
pub(super) fn r10(play: &mut Play) -> Result<(), Failure> {
    under_forgery(play, 0)
}

/// A junk signature is seen first for an honest message.
pub(super) fn r11(play: &mut Play) -> Result<(), Failure> {
    under_forgery(play, 60)
}

/// STATUS with a height of a billion.
pub(super) fn r12(play: &mut Play) -> Result<(), Failure> {
    let federation = play.federation(4);
    let everybody: Vec<ReplicaId> = federation.ids().collect();
    let liar = play.pick("liar", &everybody);
    let absent = play.pick("absent", &federation.others(&[liar]));
    let options = Options::default().with(liar, StatusLiar);
    play.world(&federation, options, |world| {
        world.progress(4)?;
        // One who is really behind has to find the others among the lies; the liar helps the
        // quorum meanwhile.
        world.isolate(absent);
        let target = world.agreement().highest() + 5;
        world.load(millis(60), 4);
        let others = federation.others(&[liar, absent]);
        let limit = world.pace().heights(0, 5);
        world.expect(limit, "blocks without the absent one", |world| {
            others.iter().all(|id| world.height(*id) >= target)
        })?;
        world.mend();
        world.progress(6)
    })
}
