//! Which members this node can reach.

use crate::host::NodeReplica;
use crate::roster;
use polity_consensus::committee::{Committee as _, CommitteeTable};
use polity_types::{ReplicaId, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The members to which a link is up, as the events of the transport tell, and what the committee of
/// the next height makes of that.
#[derive(Debug)]
pub struct Links {
    own: ReplicaId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    up: BTreeSet<ReplicaId>,
    /// The committee of the next height.
    committee: Arc<CommitteeTable>,
    /// Whether this node votes in it.
    has_vote: bool,
    names: BTreeMap<ReplicaId, String>,
}

impl Links {
    /// No link is up yet.
    pub fn new(own: ReplicaId, replica: &NodeReplica) -> Self {
        Self {
            own,
            state: Mutex::new(State {
                up: BTreeSet::new(),
                committee: committee(replica),
                has_vote: replica.machine().has_vote(),
                names: roster::names(replica),
            }),
        }
    }

    /// Takes the committee of the next height over.
    pub fn follow(&self, replica: &NodeReplica) {
        let mut state = self.lock();
        state.committee = committee(replica);
        state.has_vote = replica.machine().has_vote();
        state.names = roster::names(replica);
    }

    /// Notes that a link came up or broke.
    pub fn set(&self, peer: ReplicaId, is_up: bool) {
        let mut state = self.lock();
        if is_up {
            state.up.insert(peer);
        } else {
            state.up.remove(&peer);
        }
    }

    /// Whether those whom this node can reach, and itself if it votes, could decide something.
    pub fn is_quorum(&self) -> bool {
        let state = self.lock();
        let own = state.has_vote.then_some(&self.own);
        let others = state.up.iter().filter(|id| **id != self.own);
        let weights = others.chain(own).map(|id| state.committee.weight(*id));
        state
            .committee
            .thresholds()
            .is_quorum(weights.sum::<Weight>())
    }

    /// What people call a member, or its number if nobody of the committees around has it.
    pub fn name(&self, id: ReplicaId) -> String {
        let state = self.lock();
        state
            .names
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each method leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn committee(replica: &NodeReplica) -> Arc<CommitteeTable> {
    let height = replica.tip().parent.height.next();
    Arc::clone(replica.chain().table(height))
}
