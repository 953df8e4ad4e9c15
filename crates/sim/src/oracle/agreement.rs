//! One block at each height, and one state after it.

use super::Violation;
use polity_crypto::Sha256Digest;
use polity_replica::{Committed, SnapshotMeta};
use polity_types::{ReplicaId, wire};
use std::collections::BTreeMap;

const NAME: &str = "agreement";

/// What the first honest replica decided at a height.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    digest: Sha256Digest,
    /// The encoded header: equal digests of different headers would be a broken digest.
    header: Vec<u8>,
    receipts: Vec<u8>,
    application: Sha256Digest,
    receipts_root: Sha256Digest,
    ledger_root: Sha256Digest,
    by: ReplicaId,
}

/// Compares the decided blocks of all honest replicas.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    decisions: BTreeMap<u64, Decision>,
    heights: BTreeMap<ReplicaId, u64>,
}

impl Agreement {
    /// An honest replica decided and applied a block.
    pub fn committed(&mut self, by: ReplicaId, committed: &Committed) -> Result<(), Violation> {
        let header = committed.block.header();
        let height = header.height.get();
        let last = self.heights.insert(by, height).unwrap_or(0);
        if height != last + 1 {
            return Err(Violation::new(
                NAME,
                format!("replica {by} decides height {height} after height {last}"),
            ));
        }
        let decision = Decision {
            digest: committed.block.digest(),
            header: wire::encode(header),
            receipts: wire::encode(&committed.receipts[..]),
            application: committed.roots.application,
            receipts_root: committed.roots.receipts,
            ledger_root: committed.ledger_root,
            by,
        };
        if let Some(parent) = height.checked_sub(1).and_then(|h| self.decisions.get(&h)) {
            let follows = header.parent == parent.digest
                && header.application_root == parent.application
                && header.receipts_root == parent.receipts_root;
            if !follows {
                return Err(Violation::new(
                    NAME,
                    format!(
                        "the block that replica {by} decides at height {height} does not follow the one below"
                    ),
                ));
            }
        }
        let first = self
            .decisions
            .entry(height)
            .or_insert_with(|| decision.clone());
        let same = Decision {
            by: first.by,
            ..decision
        };
        if *first == same {
            return Ok(());
        }
        Err(Violation::new(
            NAME,
            format!(
                "height {height}: replica {} decided {} with state {}, replica {by} decided {} with state {}",
                first.by, first.digest, first.ledger_root, same.digest, same.ledger_root
            ),
        ))
    }

    /// An honest replica goes on from a snapshot (FB-19): of a block that was decided, with the state
    /// after it, and above everything that it decided.
    pub fn installed(&mut self, by: ReplicaId, meta: &SnapshotMeta) -> Result<(), Violation> {
        let height = meta.height.get();
        let last = self.heights.insert(by, height).unwrap_or(0);
        if height <= last {
            let reason = format!("replica {by} goes back to a snapshot of {height} from {last}");
            return Err(Violation::new(NAME, reason));
        }
        let is_true = self.decisions.get(&height).is_some_and(|decision| {
            decision.digest == meta.digest
                && decision.ledger_root == meta.ledger_root
                && decision.receipts_root == meta.receipts
        });
        if is_true {
            return Ok(());
        }
        let reason = format!("replica {by} goes on from a state of {height} that nobody decided");
        Err(Violation::new(NAME, reason))
    }

    /// A replica starts from its journal and will decide again from `height` on.
    pub fn restarted(&mut self, replica: ReplicaId, height: u64) {
        self.heights.insert(replica, height);
    }

    /// The height up to which a replica decided.
    pub fn height(&self, replica: ReplicaId) -> u64 {
        self.heights.get(&replica).copied().unwrap_or(0)
    }

    /// The highest decided height.
    pub fn highest(&self) -> u64 {
        self.decisions
            .last_key_value()
            .map_or(0, |(height, _)| *height)
    }

    /// The block that was decided at a height.
    pub fn digest(&self, height: u64) -> Option<Sha256Digest> {
        self.decisions.get(&height).map(|decision| decision.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_per_replica_and_restart_where_told() {
        let mut agreement = Agreement::default();
        let replica = ReplicaId::new(2);
        assert_eq!(agreement.height(replica), 0);
        agreement.restarted(replica, 7);
        assert_eq!(agreement.height(replica), 7);
        assert_eq!(agreement.highest(), 0);
        assert_eq!(agreement.digest(1), None);
    }
}
