//! How long it may take until something is decided, and what was promised to clients.

use core::time::Duration;
use polity_ledger::TransactionId;
use polity_replica::Committed;
use polity_types::ReplicaId;
use std::collections::BTreeSet;

/// What bounds the time of a decision once faults have stopped.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Timeout of view 0.
    pub timeout_base: Duration,
    /// Largest timeout.
    pub timeout_max: Duration,
    /// Own messages are sent again after this.
    pub retransmit_after: Duration,
    /// STATUS is sent this often.
    pub status_every: Duration,
    /// A fetch is repeated after this.
    pub fetch_timeout: Duration,
    /// Longest time of a frame on its way.
    pub travel: Duration,
    /// How long a sync of a journal takes.
    pub sync: Duration,
    /// Members that may lead without leading.
    pub silent: u32,
}

impl Pace {
    /// The timeout of a view (FB-8).
    fn timeout(&self, view: u64) -> Duration {
        let doublings = u32::try_from(view).unwrap_or(u32::MAX).min(30);
        self.timeout_base
            .saturating_mul(1 << doublings)
            .min(self.timeout_max)
    }

    /// A message sent until it is answered, with everything that may have to be sent again.
    fn exchange(&self) -> Duration {
        self.retransmit_after + self.fetch_timeout + self.travel * 2 + self.sync * 4
    }

    /// Time in which a height is decided that stands in `view` when faults stop: all meet in one
    /// view, and as many leaders as may be silent have their turns first.
    pub fn height(&self, view: u64) -> Duration {
        let views = u64::from(self.silent) + 2;
        (view..=view + views)
            .map(|view| self.timeout(view) + self.exchange())
            .sum()
    }

    /// Time in which all have decided `count` more heights, after the one that stands in `view`.
    ///
    /// The first part is for those who are behind: they hear of it, fetch and apply.
    pub fn heights(&self, view: u64, count: u32) -> Duration {
        let catch_up = self.status_every + self.exchange() * 4;
        catch_up + self.height(view) + self.height(0) * count
    }
}

/// Watches that what was promised to clients is kept.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// With those who promised.
    promised: BTreeSet<(TransactionId, ReplicaId)>,
    decided: BTreeSet<TransactionId>,
}

impl Progress {
    /// An honest replica told a client that its transaction is durable.
    pub fn promised(&mut self, by: ReplicaId, id: TransactionId) {
        self.promised.insert((id, by));
    }

    /// A block was decided.
    pub fn committed(&mut self, committed: &Committed) {
        self.decided
            .extend(committed.receipts.iter().map(|receipt| receipt.id));
    }

    /// Promised transactions that no block holds yet.
    pub fn open(&self) -> usize {
        self.open_of(|_| true)
    }

    /// The same, of those members alone: whoever is switched off keeps its promises later.
    pub fn open_of(&self, is_meant: impl Fn(ReplicaId) -> bool) -> usize {
        let open = self
            .promised
            .iter()
            .filter(|(id, by)| !self.decided.contains(id) && is_meant(*by));
        open.count()
    }

    /// Whether a block holds a transaction.
    pub fn has_decided(&self, id: &TransactionId) -> bool {
        self.decided.contains(id)
    }

    /// Transactions that blocks hold.
    pub fn decided(&self) -> usize {
        self.decided.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_views_and_more_silent_leaders_take_longer() {
        let pace = Pace {
            timeout_base: Duration::from_secs(1),
            timeout_max: Duration::from_secs(60),
            retransmit_after: Duration::from_millis(500),
            status_every: Duration::from_secs(1),
            fetch_timeout: Duration::from_millis(500),
            travel: Duration::from_millis(10),
            sync: Duration::ZERO,
            silent: 1,
        };
        let exchange = Duration::from_millis(1_020);
        assert_eq!(
            pace.height(0),
            Duration::from_secs(1 + 2 + 4 + 8) + exchange * 4
        );
        assert_eq!(pace.height(40), Duration::from_secs(240) + exchange * 4);
        assert!(pace.heights(3, 5) > pace.heights(3, 4));
    }
}
