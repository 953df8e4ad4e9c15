//! The event loop: one event, one replica, one list of effects at a time.

use super::{EVENTS_AT_ONCE_MAX, Event, IDLE_EVERY, World};
use crate::adversary::message_of;
use crate::moment::Moment;
use crate::network::Arrival;
use crate::oracle::Violation;
use crate::oracle::completeness::{Listener, Members, Owed};
use crate::outcome::Failure;
use crate::recording::Step;
use core::time::Duration;
use polity_consensus::fbpbft::Message;
use polity_ledger::SignedTransaction;
use polity_replica::Frame;
use polity_types::{Height, StateMachine};
use std::fmt::Write as _;

impl World {
    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        let at = self.now.after(after);
        self.schedule_at(at, event);
    }

    pub(super) fn schedule_at(&mut self, at: Moment, event: Event) {
        self.scheduled += 1;
        self.events
            .insert((at.max(self.now), self.scheduled), event);
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.schedule_at(arrival.at, Event::Arrives(arrival));
    }

    pub(super) fn turn(&mut self) -> Result<(), Failure> {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return Ok(());
        };
        if at > self.now {
            self.at_once = 0;
        }
        self.at_once += 1;
        if self.at_once > EVENTS_AT_ONCE_MAX {
            return Err(Failure::Liveness(format!("time stands still at {at} ms")));
        }
        self.now = at;
        let Some(event) = self.defer(event) else {
            return Ok(());
        };
        match event {
            Event::Arrives(arrival) => self.on_arrival(&arrival),
            Event::Wakes { node, start } => self.on_wake(node, start),
            Event::Synced { node, start } => self.on_synced(node, start),
            Event::Submits => self.on_submit(),
            Event::Decrees => self.on_decrees(),
            Event::Idles(node) => {
                self.schedule(IDLE_EVERY, Event::Idles(node));
                self.perform(node, |adversary, scene| adversary.idles(scene));
            }
        }
        self.check()
    }

    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(super) fn fail(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.failure.is_none()
        {
            self.note(|| format!("VIOLATION {violation}"));
            self.failure = Some(violation.into());
        }
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{now} {}", line());
        }
    }

    pub(super) fn on_arrival(&mut self, arrival: &Arrival) {
        let index = arrival.to.get() as usize;
        if !self.nodes[index].is_up() {
            return;
        }
        if !self.nodes[index].is_honest() {
            let Ok(frame) = Frame::decode(&arrival.bytes, usize::MAX) else {
                return;
            };
            self.perform(index, |adversary, scene| {
                adversary.hears(scene, arrival.from, &frame);
            });
            // Its replica must not learn what it said behind the replica's back.
            let is_own = match message_of(&frame) {
                Some(Message::Vote(vote)) => vote.signer == arrival.to,
                Some(Message::ViewChange(said)) => said.signer == arrival.to,
                Some(_) | None => false,
            };
            if is_own {
                return;
            }
        }
        let owed = self.overhear(index, arrival);
        self.tell(
            index,
            Step::Frame {
                from: arrival.from,
                bytes: arrival.bytes.clone(),
            },
        );
        if let Some(owed) = owed {
            let complete = self.evidence.complete(&owed);
            self.fail(complete);
        }
    }

    /// What a member that breaks the rules says to an honest one may have to be reported.
    fn overhear(&mut self, index: usize, arrival: &Arrival) -> Option<Owed> {
        let is_of_liar = !self.nodes[arrival.from.get() as usize].is_honest();
        if !self.nodes[index].is_honest() || !is_of_liar || arrival.is_corrupted {
            return None;
        }
        let replica = self.nodes[index].replica.as_ref()?;
        let frame = Frame::decode(&arrival.bytes, arrival.bytes.len()).ok()?;
        let message = message_of(&frame)?;
        let listener = Listener {
            id: arrival.to,
            height: replica.machine().height(),
            view: replica.machine().view(),
            floor: replica.machine().view_floor(),
            views_ahead: self.config.consensus.views_ahead_max,
        };
        // Of the epoch of the height that it works on; everything else is passed over.
        let table = self.committees.table(listener.height)?;
        let members = Members {
            table,
            federation: &self.federation,
        };
        self.completeness
            .hears(listener, arrival.from, members, message)
    }

    pub(super) fn on_wake(&mut self, index: usize, start: u32) {
        let node = &mut self.nodes[index];
        if node.start != start || node.wake_at != Some(self.now) {
            return;
        }
        node.wake_at = None;
        let now = node.clock(self.now);
        let deadline = node.replica.as_ref().and_then(StateMachine::deadline);
        if deadline.is_some_and(|at| at <= now) {
            self.tell(index, Step::Tick);
        } else {
            self.set_alarm(index);
        }
    }

    /// Wakes the node at its deadline.
    pub(super) fn set_alarm(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.replica.as_ref().and_then(StateMachine::deadline) else {
            return;
        };
        let at = Moment::of_clock(deadline, node.skew).max(self.now);
        if node.wake_at.is_none_or(|earlier| at < earlier) {
            node.wake_at = Some(at);
            let start = node.start;
            self.schedule_at(at, Event::Wakes { node: index, start });
        }
    }

    pub(super) fn next_transaction(&mut self) -> SignedTransaction {
        let height = Height::new(self.agreement.highest());
        let now = self.now.shown(Duration::ZERO);
        self.clients.next(now, height)
    }

    pub(super) fn on_submit(&mut self) {
        let Some(load) = self.load else {
            return;
        };
        self.schedule(load.every, Event::Submits);
        let up = self.listeners();
        if up.is_empty() {
            return;
        }
        let transaction = self.next_transaction().encode();
        let first = self.clients.random().below(up.len() as u64) as usize;
        for copy in 0..load.copies.min(up.len() as u64) {
            let index = up[(first + copy as usize) % up.len()];
            self.tell(index, Step::Submit(vec![transaction.clone()]));
        }
    }

    /// Those who answer clients.
    pub(super) fn listeners(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|index| {
                let node = &self.nodes[*index];
                node.is_up() && node.is_honest() && !node.is_paused
            })
            .collect()
    }

    pub(crate) fn highest_floor(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|node| node.is_honest())
            .filter_map(|node| node.replica.as_ref())
            .map(|replica| replica.machine().view_floor().get())
            .max()
            .unwrap_or(0)
    }
}
