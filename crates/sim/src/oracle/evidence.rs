//! Nobody honest is ever accused (FB-16).

use super::Violation;
use polity_consensus::fbpbft::{Evidence, VoteKind};
use polity_crypto::{Blake3Digest, Preimage, domain};
use polity_replica::{Committed, Genesis};
use polity_types::ReplicaId;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "evidence";

/// Watches reports and decided blocks for accusations.
#[derive(Clone, Debug)]
pub struct EvidenceWatch {
    genesis_id: Blake3Digest,
    members: Vec<ReplicaId>,
    epoch_length: u64,
    byzantine: BTreeSet<ReplicaId>,
    /// Reports by accused and kind.
    reported: BTreeMap<(ReplicaId, &'static str), u64>,
    /// Accusations in decided blocks, by accused and kind.
    decided: BTreeMap<(ReplicaId, &'static str), u64>,
    height: u64,
}

impl EvidenceWatch {
    /// Watches a federation in which exactly `byzantine` may be accused.
    pub fn new(genesis: &Genesis, byzantine: BTreeSet<ReplicaId>) -> Self {
        Self {
            genesis_id: genesis.id(),
            members: genesis.members.iter().map(|member| member.id).collect(),
            epoch_length: genesis.consensus.epoch_length,
            byzantine,
            reported: BTreeMap::new(),
            decided: BTreeMap::new(),
            height: 0,
        }
    }

    /// An honest replica reports an offence.
    pub fn reported(&mut self, by: ReplicaId, evidence: &Evidence) -> Result<(), Violation> {
        let (accused, kind) = self.judge(evidence)?;
        *self.reported.entry((accused, kind)).or_default() += 1;
        self.check(by, accused, kind)
    }

    /// A block was decided.
    pub fn committed(&mut self, by: ReplicaId, committed: &Committed) -> Result<(), Violation> {
        let height = committed.block.header().height.get();
        if height <= self.height {
            return Ok(());
        }
        self.height = height;
        for evidence in &committed.block.body().evidence {
            let (accused, kind) = self.judge(evidence)?;
            *self.decided.entry((accused, kind)).or_default() += 1;
            self.check(by, accused, kind)?;
        }
        Ok(())
    }

    /// How often somebody was reported for a kind of offence.
    pub fn reports(&self, accused: ReplicaId, kind: &str) -> u64 {
        self.reported
            .iter()
            .filter(|((id, name), _)| *id == accused && *name == kind)
            .map(|(_, count)| *count)
            .sum()
    }

    /// How many accusations of somebody stand in decided blocks.
    pub fn convictions(&self, accused: ReplicaId) -> u64 {
        self.decided
            .iter()
            .filter(|((id, _), _)| *id == accused)
            .map(|(_, count)| *count)
            .sum()
    }

    fn check(&self, by: ReplicaId, accused: ReplicaId, kind: &str) -> Result<(), Violation> {
        if self.byzantine.contains(&accused) {
            return Ok(());
        }
        Err(Violation::new(
            NAME,
            format!("replica {by} accuses honest replica {accused} of {kind}"),
        ))
    }

    /// Who is accused of what, computed from the members and the genesis alone.
    fn judge(&self, evidence: &Evidence) -> Result<(ReplicaId, &'static str), Violation> {
        Ok(match evidence {
            Evidence::TwoProposals(first, _) => (
                self.leader(first.height.get(), first.view.get())?,
                "two proposals",
            ),
            Evidence::TwoVotes(first, _) => match first.kind {
                VoteKind::Prepare => (first.signer, "two PREPAREs"),
                VoteKind::Commit => (first.signer, "two COMMITs"),
            },
            Evidence::TwoViewChanges(first, _) => (first.signer, "two VIEW-CHANGEs"),
            Evidence::ForgottenLock { commit, .. } => (commit.signer, "a forgotten lock"),
            Evidence::UnjustifiedNewView(new_view) => (
                self.leader(new_view.height.get(), new_view.view.get())?,
                "an unjustified NEW-VIEW",
            ),
        })
    }

    /// Section 2 of the specification, for members of equal weight.
    fn leader(&self, height: u64, view: u64) -> Result<ReplicaId, Violation> {
        let epoch = height.saturating_sub(1) / self.epoch_length;
        let mut order: Vec<([u8; 32], ReplicaId)> = self
            .members
            .iter()
            .map(|id| {
                let digest = Preimage::new(domain::LEADER_ORDER)
                    .array(self.genesis_id.as_bytes())
                    .u64(epoch)
                    .u32(id.get())
                    .sha256();
                (*digest.as_bytes(), *id)
            })
            .collect();
        order.sort();
        let turn = height.wrapping_add(view) % order.len().max(1) as u64;
        order
            .get(turn as usize)
            .map(|(_, id)| *id)
            .ok_or_else(|| Violation::new(NAME, "a federation without members"))
    }
}
