//! A replica with a memory: the part of a node that can be tested without clocks and sockets.
//!
//! [`Host`] drives a [`Replica`] and its [`Journal`] and does nothing else. It takes inputs with
//! their times and gives effects back when they may be carried out:
//!
//! ```text
//! handle, handle, tick      the replica acts; records go into the journal, the rest waits
//! flush                     one sync, then everything that waited is released, in order
//! ```
//!
//! # Invariants
//!
//! 1. What [`Host::flush`] returns was asked for by the replica, in that order, and every record it
//!    persisted before is durable.
//! 2. After an error nothing is released any more: the journal is poisoned, the node has to stop.

mod places;
mod recover;
pub mod repair;
#[cfg(test)]
mod tests;

pub use places::Places;
pub use recover::{
    Basis, RecoverError, Recovered, decode_receipts, decode_snapshot, decode_snapshot_meta,
    encode_receipts, encode_snapshot, recover,
};

use crate::journal::{FileLayer, Journal, JournalError};
use crate::signing::{NodeSigner, NodeVerifier};
use crate::store::BlockEntry;
use polity_crypto::{PublicKey, Signer, Verifier};
use polity_replica::{Effect, Input, Record, Replica, Snapshot};
use polity_types::{Effects, StateMachine as _, Time, wire};

/// The replica that a node runs.
pub type NodeReplica = Replica<NodeSigner, NodeVerifier>;

/// Something that may happen now, because everything before it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// What is to be done. [`Effect::Persist`] only with a record of a sync (FB-19): it is durable, and
    /// the index and the log may want to know.
    pub effect: Effect,
    /// Where the journal holds the block, for [`Effect::Committed`].
    pub entry: Option<BlockEntry>,
    /// The state after the block, if it ended an epoch, or that which was installed. Absent where several
    /// blocks were committed at once and the replica is further on already: others have it.
    pub snapshot: Option<Box<Snapshot>>,
}

/// A replica and its journal.
#[derive(Debug)]
pub struct Host<F, S = NodeSigner, V = NodeVerifier> {
    replica: Replica<S, V>,
    journal: Journal<F>,
    places: Places,
    /// Released by the next flush.
    waiting: Vec<Released>,
    /// The latest time handed to the replica.
    now: Time,
}

impl<F: FileLayer, S: Signer, V: Verifier + Clone> Host<F, S, V> {
    /// Puts a replica on its journal, which holds everything that the replica was restored from.
    pub fn new(replica: Replica<S, V>, journal: Journal<F>, places: Places) -> Self {
        Self {
            replica,
            journal,
            places,
            waiting: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// The replica.
    pub fn replica(&self) -> &Replica<S, V> {
        &self.replica
    }

    /// The replica, for questions that bring its trees up to date.
    pub fn replica_mut(&mut self) -> &mut Replica<S, V> {
        &mut self.replica
    }

    /// Gives up the keys for which `keep` says no, because they ended (CR-7). Nothing is signed with them
    /// from here on; the replica follows without a vote if it was that of the present epoch.
    pub fn retain_keys(&mut self, keep: impl FnMut(&PublicKey) -> bool) {
        self.replica.retain_keys(keep);
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Option<Time> {
        self.replica.deadline()
    }

    /// Bytes of the journal.
    pub fn journal_bytes(&self) -> u64 {
        self.journal.length()
    }

    /// Takes one fact in. A time that went back counts as the latest one before.
    pub fn handle(&mut self, now: Time, input: Input) -> Result<(), JournalError> {
        self.now = self.now.max(now);
        let effects = self.replica.handle(self.now, input);
        self.take(effects)
    }

    /// Acts on every deadline that has come.
    pub fn tick(&mut self, now: Time) -> Result<(), JournalError> {
        self.now = self.now.max(now);
        let effects = self.replica.tick(self.now);
        self.take(effects)
    }

    /// Makes every record durable with one sync, and releases what waited for it.
    pub fn flush(&mut self) -> Result<Vec<Released>, JournalError> {
        self.journal.sync()?;
        Ok(core::mem::take(&mut self.waiting))
    }

    fn take(&mut self, effects: Effects<Effect>) -> Result<(), JournalError> {
        for effect in effects {
            match effect {
                Effect::Persist(record) => {
                    let offset = self.journal.append(&wire::encode(&record))?;
                    self.places.record(offset, &record);
                    if matches!(record, Record::Sync(_)) {
                        self.waiting.push(Released {
                            effect: Effect::Persist(record),
                            entry: None,
                            snapshot: None,
                        });
                    }
                }
                Effect::Installed(installed) => {
                    self.places.pass(installed.meta.height);
                    let is_here = installed.meta.digest == self.replica.tip().parent.digest;
                    let snapshot = is_here.then(|| Box::new(self.replica.snapshot()));
                    self.waiting.push(Released {
                        effect: Effect::Installed(installed),
                        entry: None,
                        snapshot,
                    });
                }
                Effect::Committed(committed) => {
                    let entry = self.places.commit(&committed);
                    // Here, because the next input may bring the next block.
                    let is_here = committed.block.digest() == self.replica.tip().parent.digest;
                    let snapshot = (is_here && committed.next_committee.is_some())
                        .then(|| Box::new(self.replica.snapshot()));
                    self.waiting.push(Released {
                        effect: Effect::Committed(committed),
                        entry,
                        snapshot,
                    });
                }
                effect => self.waiting.push(Released {
                    effect,
                    entry: None,
                    snapshot: None,
                }),
            }
        }
        Ok(())
    }
}
