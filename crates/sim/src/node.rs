//! One simulated node: a replica, its disk, and what waits for the disk.

use crate::adversary::Adversary;
use crate::disk::Disk;
use crate::keys::{SimSigner, SimVerifier};
use crate::moment::Moment;
use crate::recording::{Basis, Door, EffectBytes, EffectHash, Recording, Refused};
use crate::world::Event;
use core::time::Duration;
use polity_consensus::fbpbft::{Decided, Halt};
use polity_crypto::Blake3Digest;
use polity_replica::sync::Shelf;
use polity_replica::{Effect, Replica, Snapshot};
use polity_types::{ReplicaId, Time};
use std::collections::VecDeque;
use std::rc::Rc;

/// The replica that simulations drive: the one that nodes run.
pub type SimReplica = Replica<SimSigner, SimVerifier>;

/// Where a replica loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// At the record with this number, counted from 0 over all starts.
    pub record: u64,
    /// So many bytes of this record are on the disk; `None` for all of them.
    pub kept: Option<usize>,
}

/// An effect that waits until everything in front of `position` is durable.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) position: usize,
    pub(crate) effect: Effect,
    pub(crate) bytes: EffectBytes,
}

/// A life that ended or goes on: what was told, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) recording: Recording,
    pub(crate) effects: Blake3Digest,
}

pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) basis: Basis<SimSigner, SimVerifier>,
    /// How far its clock is ahead.
    pub(crate) skew: Duration,
    /// The latest time that its replica was told since it started: where the clock is set back,
    /// time stands still until it has caught up, as in a node.
    pub(crate) shown: Time,
    /// Everything it does and hears takes this much longer.
    pub(crate) slowness: Duration,
    /// What happens meanwhile waits for the end of a pause.
    pub(crate) is_paused: bool,
    pub(crate) deferred: Vec<Event>,
    /// Its disk needs this much longer for each sync.
    pub(crate) sync_extra: Duration,
    /// Its disk takes no more records.
    pub(crate) is_full: bool,
    /// A durable record was damaged: it must never start again.
    pub(crate) is_damaged: bool,
    /// Nothing while it is down.
    pub(crate) replica: Option<SimReplica>,
    pub(crate) door: Door<SimVerifier>,
    pub(crate) adversary: Option<Box<dyn Adversary>>,
    pub(crate) disk: Disk,
    pub(crate) waiting: VecDeque<Waiting>,
    /// A sync is under way and covers everything in front of this.
    pub(crate) syncing: Option<usize>,
    /// Decided blocks, from height 1 on, with a gap where a snapshot was installed: what a node's
    /// index finds.
    pub(crate) store: Vec<Decided>,
    /// What it serves to those far behind.
    pub(crate) shelf: Shelf,
    /// Heights of the snapshots that it installed.
    pub(crate) installed: Vec<u64>,
    /// Chunks of snapshots that it asked for since it started.
    pub(crate) chunks_asked: Vec<u32>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) wake_at: Option<Moment>,
    /// Number of starts; what was scheduled for an earlier one is void.
    pub(crate) start: u32,
    /// Records appended so far, over all starts.
    pub(crate) records: u64,
    pub(crate) crash_at: Option<CrashPoint>,
    pub(crate) halted: Option<Halt>,
    pub(crate) recording: Recording,
    pub(crate) effects: EffectHash,
    pub(crate) lives: Vec<Life>,
    /// What was refused at the door in earlier lives.
    pub(crate) refused_before: Refused,
}

impl Node {
    pub(crate) fn new(
        id: ReplicaId,
        basis: Basis<SimSigner, SimVerifier>,
        skew: Duration,
        adversary: Option<Box<dyn Adversary>>,
    ) -> Self {
        let chain = basis.genesis.chain().expect("validated before").id();
        Self {
            id,
            door: Door::new(&basis, chain),
            basis,
            skew,
            shown: Time::ZERO,
            slowness: Duration::ZERO,
            is_paused: false,
            deferred: Vec::new(),
            sync_extra: Duration::ZERO,
            is_full: false,
            is_damaged: false,
            replica: None,
            adversary,
            disk: Disk::default(),
            waiting: VecDeque::new(),
            syncing: None,
            store: Vec::new(),
            shelf: Shelf::default(),
            installed: Vec::new(),
            chunks_asked: Vec::new(),
            snapshot: None,
            wake_at: None,
            start: 0,
            records: 0,
            crash_at: None,
            halted: None,
            recording: Recording::default(),
            effects: EffectHash::default(),
            lives: Vec::new(),
            refused_before: Refused::default(),
        }
    }

    /// The last height in its store.
    pub(crate) fn stored(&self) -> u64 {
        self.store
            .last()
            .map_or(0, |decided| decided.certificate.height.get())
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.adversary.is_none()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Loses everything that is not on the disk, and of the tail that was not synced all but the
    /// first `kept` bytes.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.replica = None;
        self.waiting.clear();
        self.syncing = None;
        self.wake_at = None;
        self.shown = Time::ZERO;
        self.is_paused = false;
        self.deferred.clear();
        self.chunks_asked.clear();
        self.start += 1;
        self.disk.crash(kept);
        let refused = self.door.refused();
        self.refused_before.frames += refused.frames;
        self.refused_before.transactions += refused.transactions;
        self.lives.push(Life {
            recording: core::mem::take(&mut self.recording),
            effects: core::mem::take(&mut self.effects).digest(),
        });
    }

    /// What its clock shows; it never runs backwards during a life.
    pub(crate) fn clock(&mut self, now: Moment) -> Time {
        self.shown = self.shown.max(now.shown(self.skew));
        self.shown
    }

    /// What was refused at the door since the beginning.
    pub(crate) fn refused(&self) -> Refused {
        let now = self.door.refused();
        Refused {
            frames: self.refused_before.frames + now.frames,
            transactions: self.refused_before.transactions + now.transactions,
        }
    }

    /// Every life so far, the present one included.
    pub(crate) fn all_lives(&self) -> Vec<Life> {
        let mut lives = self.lives.clone();
        if self.is_up() {
            lives.push(Life {
                recording: self.recording.clone(),
                effects: self.effects.digest(),
            });
        }
        lives
    }
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("is_up", &self.is_up())
            .field("blocks", &self.store.len())
            .finish_non_exhaustive()
    }
}

/// Encoded frames are shared by the links that carry them.
pub(crate) fn share(bytes: &EffectBytes) -> Rc<[u8]> {
    Rc::from(bytes.bytes.as_slice())
}
