//! What scenarios ask of a world.

use super::World;
use crate::network::Kind;
use crate::node::SimReplica;
use crate::oracle::progress::Pace;
use crate::oracle::{
    Agreement, Committees, Completeness, EvidenceWatch, MemoryWatch, Progress, SigningWatch,
};
use crate::recording::{RECORD_BYTES_MAX, Refused};
use core::time::Duration;
use polity_consensus::fbpbft::{Decided, DropReason};
use polity_replica::Record;
use polity_types::{ReplicaId, wire};

impl World {
    /// The height up to which a replica decided.
    pub fn height(&self, id: ReplicaId) -> u64 {
        self.agreement.height(id)
    }

    /// The height up to which every honest replica that is up decided.
    pub fn lowest_height(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|node| node.is_honest() && node.is_up())
            .map(|node| self.agreement.height(node.id))
            .min()
            .unwrap_or(0)
    }

    /// A replica, if it is up.
    pub fn replica(&self, id: ReplicaId) -> Option<&SimReplica> {
        self.nodes[id.get() as usize].replica.as_ref()
    }

    /// The view that a replica is in at the height it works on; 0 if it is down.
    pub fn view(&self, id: ReplicaId) -> u64 {
        self.replica(id)
            .map_or(0, |replica| replica.machine().view().get())
    }

    /// The lowest view in which a replica may still act; 0 if it is down.
    pub fn floor(&self, id: ReplicaId) -> u64 {
        self.replica(id)
            .map_or(0, |replica| replica.machine().view_floor().get())
    }

    /// How many messages a replica dropped for a reason since it started.
    pub fn drops(&self, id: ReplicaId, reason: DropReason) -> u64 {
        self.replica(id)
            .and_then(|replica| replica.machine().drops().get(&reason).copied())
            .unwrap_or(0)
    }

    /// The decided blocks of a replica, from height 1 on.
    pub fn store(&self, id: ReplicaId) -> &[Decided] {
        &self.nodes[id.get() as usize].store
    }

    /// Heights of the snapshots that a replica installed.
    pub fn installed(&self, id: ReplicaId) -> &[u64] {
        &self.nodes[id.get() as usize].installed
    }

    /// Chunks of snapshots that a replica asked for since it started.
    pub fn chunks_asked(&self, id: ReplicaId) -> &[u32] {
        &self.nodes[id.get() as usize].chunks_asked
    }

    /// The records on a replica's disk.
    pub fn journal(&self, id: ReplicaId) -> Vec<Record> {
        let payloads = self.nodes[id.get() as usize].disk.clone().recover();
        let payloads = payloads.unwrap_or_default();
        payloads
            .iter()
            .filter_map(|bytes| wire::decode(bytes, RECORD_BYTES_MAX).ok())
            .collect()
    }

    /// What was refused in front of a replica.
    pub fn refused(&self, id: ReplicaId) -> Refused {
        self.nodes[id.get() as usize].refused()
    }

    /// How many records a replica has persisted.
    pub fn records(&self, id: ReplicaId) -> u64 {
        self.nodes[id.get() as usize].records
    }

    /// Whether a replica is switched on.
    pub fn is_up(&self, id: ReplicaId) -> bool {
        self.nodes[id.get() as usize].is_up()
    }

    /// One block at each height.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Who votes in each epoch.
    pub fn committees(&self) -> &Committees {
        &self.committees
    }

    /// What honest members said.
    pub fn signing(&self) -> &SigningWatch {
        &self.signing
    }

    /// Who was accused.
    pub fn evidence(&self) -> &EvidenceWatch {
        &self.evidence
    }

    /// Offences that had to be reported.
    pub fn completeness(&self) -> &Completeness {
        &self.completeness
    }

    /// What replicas held at most.
    pub fn memory(&self) -> &MemoryWatch {
        &self.memory
    }

    /// What was promised and decided.
    pub fn promises(&self) -> &Progress {
        &self.progress
    }

    /// Messages of the normal case about a height.
    pub fn normal_case_messages(&self, height: u64) -> u64 {
        self.normal_case.get(&height).copied().unwrap_or(0)
    }

    /// Frames of a kind that were sent.
    pub fn sent(&self, kind: Kind) -> u64 {
        self.network.sent().get(&kind).map_or(0, |sent| sent.frames)
    }

    /// Bytes of the frames of a kind that were sent.
    pub fn sent_bytes(&self, kind: Kind) -> u64 {
        self.network.sent().get(&kind).map_or(0, |sent| sent.bytes)
    }

    /// From the first proposal at a height until a replica had decided it.
    pub fn decision_time(&self, id: ReplicaId, height: u64) -> Option<Duration> {
        let proposed = self.proposed_at.get(&height)?;
        Some(self.applied_at.get(&(height, id))?.since(*proposed))
    }

    /// What bounds the time of a decision.
    pub fn pace(&self) -> Pace {
        let consensus = &self.config.consensus;
        let link = self.network.link();
        Pace {
            timeout_base: consensus.timeout_base,
            timeout_max: consensus.timeout_max,
            retransmit_after: consensus.retransmit_after,
            status_every: consensus.status_every,
            fetch_timeout: consensus.fetch_timeout,
            travel: link.latency + link.jitter,
            sync: self.sync,
            silent: self
                .nodes
                .iter()
                .filter(|node| !node.is_honest() || !node.is_up())
                .count() as u32,
        }
    }
}
