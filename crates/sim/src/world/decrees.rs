//! What the authority has the federation decide: changes of the committee, one transaction after
//! the other.
//!
//! The next one is sent when the one before it is decided, so every table through which a run passes
//! is that of the genesis with some of the first changes.

use super::{Event, World};
use crate::moment::Moment;
use crate::recording::Step;
use core::time::Duration;
use polity_ledger::{CommitteeChange, SignedTransaction};
use polity_replica::MemberChange;
use polity_types::Height;
use std::collections::VecDeque;

/// How often the authority looks whether its last transaction is decided, and sends it again.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// Replicas that get a transaction each time.
const COPIES: u64 = 2;

/// What the authority still wants.
#[derive(Debug, Default)]
pub(super) struct Decrees {
    waiting: VecDeque<(Moment, Vec<CommitteeChange>)>,
    sent: Option<SignedTransaction>,
}

impl World {
    /// From now on or a later time, the authority wants these changes, in one transaction.
    pub fn decree(&mut self, after: Duration, changes: &[MemberChange]) {
        let encoded = changes.iter().map(|change| {
            let encoded = change.encode();
            encoded.expect("scenarios make changes that a transaction holds")
        });
        self.decree_bytes(after, encoded.collect());
    }

    /// The same with changes that may be none.
    pub fn decree_bytes(&mut self, after: Duration, changes: Vec<CommitteeChange>) {
        if self.is_decreed() {
            self.schedule(Duration::ZERO, Event::Decrees);
        }
        let at = self.now.after(after);
        self.decrees.waiting.push_back((at, changes));
    }

    /// Whether everything that the authority wanted is decided.
    pub fn is_decreed(&self) -> bool {
        self.decrees.waiting.is_empty() && self.decrees.sent.is_none()
    }

    pub(super) fn on_decrees(&mut self) {
        let sent = self.decrees.sent.take();
        self.decrees.sent = sent.filter(|sent| !self.progress.has_decided(&sent.id()));
        let is_due = |(at, _): &(Moment, _)| *at <= self.now;
        if self.decrees.sent.is_none() && self.decrees.waiting.front().is_some_and(is_due) {
            let height = Height::new(self.agreement.highest());
            let wanted = self.decrees.waiting.pop_front();
            self.decrees.sent = wanted.map(|(_, changes)| self.clients.decree(changes, height));
        }
        if !self.is_decreed() {
            self.schedule(LOOKS_EVERY, Event::Decrees);
        }
        let up = self.listeners();
        let Some(sent) = self.decrees.sent.as_ref().filter(|_| !up.is_empty()) else {
            return;
        };
        let bytes = sent.encode();
        let first = self.clients.random().below(up.len() as u64) as usize;
        for copy in 0..COPIES.min(up.len() as u64) {
            let index = up[(first + copy as usize) % up.len()];
            self.tell(index, Step::Submit(vec![bytes.clone()]));
        }
    }
}
