//! How far a snapshot is that is fetched (FB-19).

use polity_replica::sync::SyncRecord;
use polity_types::{Height, ReplicaId};
use serde::{Deserialize, Serialize};

/// A snapshot that is fetched, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncing {
    /// The state after this block.
    pub height: Height,
    /// Chunks that are here.
    pub chunks: u32,
    /// Chunks that there are.
    pub chunks_total: u32,
    /// The members that offered it.
    pub offered_by: Vec<ReplicaId>,
}

impl Syncing {
    /// What a record makes of it.
    pub fn follow(syncing: &mut Option<Self>, record: &SyncRecord) {
        match record {
            SyncRecord::Epoch(_) => {}
            SyncRecord::Started(target) => {
                *syncing = Some(Self {
                    height: target.meta.height,
                    chunks: 0,
                    chunks_total: target.chunks,
                    offered_by: target.vouched.clone(),
                });
            }
            SyncRecord::Chunk(_) => {
                if let Some(syncing) = syncing {
                    syncing.chunks += 1;
                }
            }
            SyncRecord::Installed { .. } => *syncing = None,
        }
    }
}
