//! Nobody honest is ever accused (FB-16).

use super::Violation;
use super::committees::Committees;
use super::completeness::Owed;
use polity_consensus::fbpbft::{Evidence, VoteKind};
use polity_crypto::{Blake3Digest, Preimage, domain};
use polity_replica::{Committed, Genesis};
use polity_types::{Height, ReplicaId, View};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "evidence";

/// Who, of what, at which height and in which view.
type Offence = (ReplicaId, &'static str, u64, u64);

/// Watches reports and decided blocks for accusations.
#[derive(Clone, Debug)]
pub struct EvidenceWatch {
    genesis_id: Blake3Digest,
    byzantine: BTreeSet<ReplicaId>,
    /// Reports by accused and kind.
    reported: BTreeMap<(ReplicaId, &'static str), u64>,
    /// Accusations in decided blocks, by accused and kind.
    decided: BTreeMap<(ReplicaId, &'static str), u64>,
    /// Offences in decided blocks: each stands in one.
    once: BTreeSet<Offence>,
    /// Offences that each honest replica reported.
    known: BTreeSet<(ReplicaId, Offence)>,
    /// Accusations in blocks of the epoch after the offence.
    across: u64,
    height: u64,
}

impl EvidenceWatch {
    /// Watches a federation in which exactly `byzantine` may be accused.
    pub fn new(genesis: &Genesis, byzantine: BTreeSet<ReplicaId>) -> Self {
        Self {
            genesis_id: genesis.id(),
            byzantine,
            reported: BTreeMap::new(),
            decided: BTreeMap::new(),
            once: BTreeSet::new(),
            known: BTreeSet::new(),
            across: 0,
            height: 0,
        }
    }

    /// An honest replica reports an offence.
    pub fn reported(
        &mut self,
        by: ReplicaId,
        evidence: &Evidence,
        committees: &Committees,
    ) -> Result<(), Violation> {
        let (accused, kind) = self.judge(evidence, committees)?;
        *self.reported.entry((accused, kind)).or_default() += 1;
        let (height, view) = evidence.position();
        let offence = (accused, kind, height.get(), view.get());
        self.known.insert((by, offence));
        self.check(by, accused, kind)
    }

    /// A block was decided.
    pub fn committed(
        &mut self,
        by: ReplicaId,
        committed: &Committed,
        committees: &Committees,
    ) -> Result<(), Violation> {
        let height = committed.block.header().height.get();
        if height <= self.height {
            return Ok(());
        }
        self.height = height;
        for evidence in &committed.block.body().evidence {
            let (accused, kind) = self.judge(evidence, committees)?;
            *self.decided.entry((accused, kind)).or_default() += 1;
            let (at, view) = evidence.position();
            // FB-17: a replica that started from a snapshot knows two committees of the past.
            let here = committees.epoch(committed.block.header().height);
            let age = here.saturating_sub(committees.epoch(at));
            if age > 1 {
                return Err(Violation::new(
                    NAME,
                    format!("block {height} convicts {accused} of {kind} {age} epochs ago"),
                ));
            }
            self.across += age;
            if !self.once.insert((accused, kind, at.get(), view.get())) {
                return Err(Violation::new(
                    NAME,
                    format!("block {height} convicts {accused} of {kind} a second time"),
                ));
            }
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

    /// How many accusations stand in blocks of the epoch after the offence.
    pub fn across_boundaries(&self) -> u64 {
        self.across
    }

    /// An offence that an honest replica has seen has to be known to it, or to everybody.
    pub(crate) fn complete(&self, owed: &Owed) -> Result<(), Violation> {
        let Owed {
            by,
            member,
            offence,
            height,
            ref views,
        } = *owed;
        let (first, last) = (views.start(), views.end());
        let at = |view: &View| (member, offence, height.get(), view.get());
        let mut known = self.known.range((by, at(first))..=(by, at(last)));
        let mut decided = self.once.range(at(first)..=at(last));
        let is_known = known.next().is_some() || decided.next().is_some();
        if is_known || self.is_exhausted(member) {
            return Ok(());
        }
        Err(Violation::new(
            NAME,
            format!(
                "member {member} made {offence} at height {height} in view {first} towards replica {by}, which did not report it"
            ),
        ))
    }

    /// Whether a member was accused as often as the blocks of an epoch take. Blocks may hold what a
    /// proposer alone saw, and reports what no block holds yet.
    fn is_exhausted(&self, accused: ReplicaId) -> bool {
        let all = self.reported.iter().filter(|((id, _), _)| *id == accused);
        let reported: u64 = all.map(|(_, count)| *count).sum();
        reported.max(self.convictions(accused)) >= 8
    }

    /// Offences that honest replicas reported, and accusations in decided blocks.
    pub fn counts(&self) -> (u64, u64) {
        (self.reported.values().sum(), self.decided.values().sum())
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

    /// Who is accused of what, computed from the committee of that height alone.
    fn judge(
        &self,
        evidence: &Evidence,
        committees: &Committees,
    ) -> Result<(ReplicaId, &'static str), Violation> {
        let (height, view) = evidence.position();
        let (accused, kind) = match evidence {
            Evidence::TwoProposals(..) => (self.leader(height, view, committees)?, "two proposals"),
            Evidence::TwoVotes(first, _) => match first.kind {
                VoteKind::Prepare => (first.signer, "two PREPAREs"),
                VoteKind::Commit => (first.signer, "two COMMITs"),
            },
            Evidence::TwoViewChanges(first, _) => (first.signer, "two VIEW-CHANGEs"),
            Evidence::ForgottenLock { commit, .. } => (commit.signer, "a forgotten lock"),
            Evidence::UnjustifiedNewView(_) => (
                self.leader(height, view, committees)?,
                "an unjustified NEW-VIEW",
            ),
        };
        let table = committees.table(height);
        if table.is_none_or(|table| table.row(accused).is_none()) {
            return Err(Violation::new(
                NAME,
                format!("{accused} is accused of {kind} at height {height}, where it has no vote"),
            ));
        }
        Ok((accused, kind))
    }

    /// Section 2 of the specification: turns for members of equal weight, draws for others.
    fn leader(
        &self,
        height: Height,
        view: View,
        committees: &Committees,
    ) -> Result<ReplicaId, Violation> {
        let table = committees.table(height).ok_or_else(|| {
            let reason = format!("an offence at height {height}, whose committee is not decided");
            Violation::new(NAME, reason)
        })?;
        let members: Vec<(ReplicaId, u64)> = table
            .rows()
            .iter()
            .map(|row| (row.id, row.weight.get()))
            .collect();
        let epoch = committees.epoch(height);
        let turn = height.get().wrapping_add(view.get());
        let is_equal = members.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let leader = if is_equal {
            self.in_turn(epoch, turn, &members)
        } else {
            self.drawn(epoch, turn, &members)
        };
        leader.ok_or_else(|| Violation::new(NAME, "a federation without members"))
    }

    fn in_turn(&self, epoch: u64, turn: u64, members: &[(ReplicaId, u64)]) -> Option<ReplicaId> {
        let mut order: Vec<([u8; 32], ReplicaId)> = members
            .iter()
            .map(|(id, _)| {
                let digest = Preimage::new(domain::LEADER_ORDER)
                    .array(self.genesis_id.as_bytes())
                    .u64(epoch)
                    .u32(id.get())
                    .sha256();
                (*digest.as_bytes(), *id)
            })
            .collect();
        order.sort();
        let place = turn % order.len().max(1) as u64;
        order.get(place as usize).map(|(_, id)| *id)
    }

    fn drawn(&self, epoch: u64, turn: u64, members: &[(ReplicaId, u64)]) -> Option<ReplicaId> {
        let digest = Preimage::new(domain::LEADER_DRAW)
            .array(self.genesis_id.as_bytes())
            .u64(epoch)
            .u64(turn)
            .sha256();
        let total: u64 = members.iter().map(|(_, weight)| weight).sum();
        // The digest as one large number modulo the weight of all, bit by bit.
        let mut point = 0_u64;
        for byte in digest.as_bytes() {
            for bit in (0..8).rev() {
                point = (point * 2 + u64::from(byte >> bit & 1)) % total.max(1);
            }
        }
        let mut shares = members.iter().scan(0, |sum, (id, weight)| {
            *sum += weight;
            Some((*sum, *id))
        });
        shares.find(|(end, _)| point < *end).map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::Federation;
    use crate::keys::Scheme;
    use polity_types::Seed;

    /// Two computations of one rule.
    #[test]
    fn leaders_are_those_of_the_chain() {
        let seed = Seed::from_number(9);
        for weights in [&[1; 7][..], &[30, 20, 20, 10, 10, 10]] {
            // The committee of the first epoch is the only one that is known without a block.
            let federation = Federation::new(&seed, Scheme::Stub, weights, 60);
            let watch = EvidenceWatch::new(&federation.genesis, BTreeSet::new());
            let committees = Committees::new(&federation);
            for (height, view) in (1..60).flat_map(|height| [(height, 0), (height, height * 3)]) {
                assert_eq!(
                    watch.leader(Height::new(height), View::new(view), &committees),
                    Ok(federation.leader(height, view))
                );
            }
        }
    }
}
