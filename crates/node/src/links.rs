//! Which members this node can reach.

use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::Chain;
use polity_types::{Height, ReplicaId};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The members to which a link is up, as the events of the transport tell.
#[derive(Debug)]
pub struct Links {
    own: ReplicaId,
    chain: Chain,
    up: Mutex<BTreeSet<ReplicaId>>,
}

impl Links {
    /// No link is up yet.
    pub fn new(own: ReplicaId, chain: Chain) -> Self {
        Self {
            own,
            chain,
            up: Mutex::default(),
        }
    }

    /// Notes that a link came up or broke.
    pub fn set(&self, peer: ReplicaId, is_up: bool) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if is_up {
            up.insert(peer);
        } else {
            up.remove(&peer);
        }
    }

    /// Whether this node and those it can reach could decide something.
    pub fn is_quorum(&self) -> bool {
        let committee = self.chain.committee(Height::ZERO);
        let up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = up
            .iter()
            .chain([&self.own])
            .map(|id| committee.weight(*id))
            .sum();
        committee.thresholds().is_quorum(weight)
    }
}
