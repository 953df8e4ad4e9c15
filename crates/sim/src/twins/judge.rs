//! What must hold, judged from outside.
//!
//! The judge sees decisions, reports and what is on disks. It counts signers by their bits and draws
//! leaders anew; it calls nothing of the code that it judges.

use super::leaders::{FAULTY_MAX, drawn, weight};
use super::partition::{Cast, QUORUM, member_name};
use crate::oracle::Violation;
use polity_consensus::fbpbft::{
    Evidence, NewView, PreparedClaim, SealedBlock, VoteCertificate, VoteKind,
};
use polity_crypto::{Blake3Digest, Sha256Digest};
use std::collections::BTreeMap;

const NAME: &str = "twins";

/// Members as bits.
type Members = u8;

/// Why a block is decided, as far as a stranger reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// View of the COMMITs.
    pub view: u64,
    /// The block.
    pub digest: Sha256Digest,
    /// Who signed, one bit for each member.
    pub signers: u8,
}

/// Watches all instances of a run.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    cast: Cast,
    genesis: Blake3Digest,
    /// Every different block that a certificate decides, by height.
    decisions: BTreeMap<u64, Vec<Decision>>,
    /// The state after a block, as the first instance computed it.
    states: BTreeMap<(u64, Sha256Digest), Sha256Digest>,
    pub(super) reports: u64,
}

impl Judge {
    pub(super) fn new(cast: Cast, genesis: Blake3Digest) -> Self {
        Self {
            cast,
            genesis,
            decisions: BTreeMap::new(),
            states: BTreeMap::new(),
            reports: 0,
        }
    }

    /// An instance decides. `height` and `parent` are what it decided last, `state` is that after
    /// the block.
    pub(super) fn decided(
        &mut self,
        by: usize,
        (height, parent): (u64, Option<Sha256Digest>),
        block: &SealedBlock,
        certificate: &VoteCertificate,
        state: Sha256Digest,
    ) -> Result<(), Violation> {
        let name = self.cast.name(by);
        let header = block.header();
        let follows = header.height.get() == height + 1
            && parent.is_none_or(|parent| header.parent == parent);
        if !follows {
            return Err(violation(format!(
                "{name} decides height {} after height {height}",
                header.height
            )));
        }
        let decision = Decision {
            view: certificate.view.get(),
            digest: block.digest(),
            signers: signers(certificate),
        };
        let is_proof = certificate.kind == VoteKind::Commit
            && certificate.height == header.height
            && certificate.value.digest == decision.digest
            && decision.signers.count_ones() >= QUORUM;
        if !is_proof {
            return Err(violation(format!(
                "{name} decides height {} without proof",
                header.height
            )));
        }
        let known = self
            .states
            .entry((header.height.get(), decision.digest))
            .or_insert(state);
        if *known != state {
            return Err(violation(format!(
                "{name} is in another state after height {}",
                header.height
            )));
        }
        let of_height = self.decisions.entry(header.height.get()).or_default();
        if of_height
            .iter()
            .all(|other| other.digest != decision.digest)
        {
            of_height.push(decision);
        }
        Ok(())
    }

    /// An instance reports an offence.
    pub(super) fn reported(&mut self, by: usize, evidence: &Evidence) -> Result<(), Violation> {
        self.reports += 1;
        let leader = |height: u64, view: u64| drawn(&self.genesis, height.wrapping_add(view));
        let (accused, is_offence) = match evidence {
            Evidence::TwoProposals(a, b) => (
                leader(a.height.get(), a.view.get()),
                (a.height, a.view) == (b.height, b.view) && a.digest != b.digest,
            ),
            Evidence::TwoVotes(a, b) => (
                a.signer.get() as usize,
                (a.kind, a.height, a.view, a.signer) == (b.kind, b.height, b.view, b.signer)
                    && a.value != b.value,
            ),
            Evidence::TwoViewChanges(a, b) => (
                a.signer.get() as usize,
                (a.height, a.view, a.signer) == (b.height, b.view, b.signer)
                    && a.prepared != b.prepared,
            ),
            Evidence::ForgottenLock {
                commit,
                view_change,
            } => (
                commit.signer.get() as usize,
                commit.kind == VoteKind::Commit
                    && (commit.height, commit.signer) == (view_change.height, view_change.signer)
                    && commit.view < view_change.view
                    && view_change
                        .prepared
                        .is_none_or(|claim| claim.view < commit.view),
            ),
            // Twins run honest code, and honest code justifies what it proposes.
            Evidence::UnjustifiedNewView(new_view) => {
                (leader(new_view.height.get(), new_view.view.get()), false)
            }
        };
        let name = self.cast.name(by);
        if !is_offence {
            return Err(violation(format!(
                "{name} reports what is no offence: {evidence:?}"
            )));
        }
        if !self.cast.is_twinned(accused) {
            return Err(violation(format!(
                "{name} accuses {}, which has no twin: {evidence:?}",
                member_name(accused)
            )));
        }
        Ok(())
    }

    /// Heights at which two blocks are decided, the lowest first.
    pub(super) fn forks(&self) -> impl Iterator<Item = (u64, &[Decision])> {
        self.decisions
            .iter()
            .filter(|(_, of_height)| of_height.len() > 1)
            .map(|(height, of_height)| (*height, of_height.as_slice()))
    }

    /// The highest height that anybody decided.
    pub(super) fn highest(&self) -> u64 {
        self.decisions.last_key_value().map_or(0, |(h, _)| *h)
    }

    /// Judges the lowest fork: it names members that weigh more than may be faulty, and nobody
    /// without a twin. Forks above it follow from it. Returns who is to blame.
    ///
    /// `new_views` are those that instances without a twin stored for a height.
    pub(super) fn attribute(
        &self,
        new_views: impl Fn(u64) -> Vec<NewView>,
    ) -> Result<Members, Violation> {
        let Some((height, of_height)) = self.forks().next() else {
            return Ok(0);
        };
        let stored = new_views(height);
        let mut all = 0;
        for (place, one) in of_height.iter().enumerate() {
            for other in &of_height[place + 1..] {
                let blamed = blame(one, other, &stored);
                if blamed & !self.cast.twinned() != 0 {
                    return Err(violation(format!(
                        "a fork at height {height} names members without a twin: {}",
                        names(blamed)
                    )));
                }
                if weight(blamed) <= FAULTY_MAX {
                    return Err(violation(format!(
                        "a fork at height {height} in views {} and {} names only [{}]",
                        one.view,
                        other.view,
                        names(blamed)
                    )));
                }
                all |= blamed;
            }
        }
        // One pair weighs no more than may be faulty, so it cannot come here.
        Ok(all)
    }
}

/// Who made two certificates of one height possible.
///
/// In one view: whoever signed both. In two views, look at the first NEW-VIEW above the lower one
/// that proposes another block. Either its VIEW-CHANGEs claim nothing from that view on, and then
/// whoever signed the certificate and stands in it forgot a COMMIT. Or they claim another block
/// prepared in that very view, and then whoever signed both voted there twice. A claim of a view
/// in between would need an earlier NEW-VIEW that proposes another block.
pub fn blame(one: &Decision, other: &Decision, new_views: &[NewView]) -> Members {
    let (low, high) = if one.view <= other.view {
        (one, other)
    } else {
        (other, one)
    };
    if low.view == high.view {
        return low.signers & high.signers;
    }
    let first = new_views
        .iter()
        .filter(|new_view| {
            let view = new_view.view.get();
            low.view < view && view <= high.view && new_view.pre_prepare.digest != low.digest
        })
        .min_by_key(|new_view| new_view.view);
    let Some(first) = first else {
        return 0;
    };
    let top = first
        .view_changes
        .iter()
        .filter(|part| part.prepared.is_some())
        .max_by_key(|part| part.prepared);
    match top.map(|part| (part.prepared, &part.certificate)) {
        Some((Some(PreparedClaim { view, .. }), certificate)) if view.get() >= low.view => {
            match certificate {
                Some(certificate) if view.get() == low.view => signers(certificate) & low.signers,
                Some(_) | None => 0,
            }
        }
        Some(_) | None => {
            let heard = first
                .view_changes
                .iter()
                .fold(0, |set, part| set | 1 << part.signer.get());
            low.signers & heard
        }
    }
}

/// The signers of a certificate: the bits of the first four members.
fn signers(certificate: &VoteCertificate) -> Members {
    match certificate.votes.signers.as_slice() {
        [bits] => *bits,
        _ => 0,
    }
}

/// `A, B`.
pub(super) fn names(members: Members) -> String {
    let names: Vec<String> = (0..8)
        .filter(|member| members >> member & 1 == 1)
        .map(|member| member_name(member).to_string())
        .collect();
    names.join(", ")
}

fn violation(detail: impl Into<String>) -> Violation {
    Violation::new(NAME, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_consensus::fbpbft::{PrePrepare, Value, ViewChange, Vote};
    use polity_crypto::Signature;
    use polity_types::{Height, ReplicaId, View};

    const A: u8 = 1;
    const B: u8 = 2;
    const C: u8 = 4;
    const D: u8 = 8;

    fn digest(byte: u8) -> Sha256Digest {
        Sha256Digest::new([byte; 32])
    }

    fn decision(view: u64, byte: u8, signers: u8) -> Decision {
        Decision {
            view,
            digest: digest(byte),
            signers,
        }
    }

    fn no_signature() -> Signature {
        Signature::new(&[])
    }

    fn view_change(view: u64, signer: u32, prepared: Option<(u64, u8)>) -> ViewChange {
        ViewChange {
            height: Height::new(1),
            view: View::new(view),
            prepared: prepared.map(|(view, byte)| PreparedClaim {
                view: View::new(view),
                digest: digest(byte),
            }),
            signer: ReplicaId::new(signer),
            signature: no_signature(),
            certificate: None,
        }
    }

    fn new_view(view: u64, byte: u8, parts: &[(u32, Option<(u64, u8)>)]) -> NewView {
        NewView {
            height: Height::new(1),
            view: View::new(view),
            view_changes: parts
                .iter()
                .map(|(signer, prepared)| view_change(view, *signer, *prepared))
                .collect(),
            pre_prepare: PrePrepare {
                height: Height::new(1),
                view: View::new(view),
                digest: digest(byte),
                signature: no_signature(),
            },
            signature: no_signature(),
        }
    }

    #[test]
    fn fb_16_two_decisions_of_one_view_name_who_signed_both() {
        let (one, other) = (decision(0, 1, A | B | C), decision(0, 2, A | B | D));
        assert_eq!(blame(&one, &other, &[]), A | B);
    }

    /// The first NEW-VIEW that turns away from the lower decision is where it was forgotten; what
    /// follows may rest on it in good faith.
    #[test]
    fn fb_16_decisions_of_two_views_name_who_forgot_the_first() {
        let (one, other) = (decision(0, 1, A | B | C), decision(2, 2, A | C | D));
        let away = new_view(1, 2, &[(0, None), (1, None), (3, None)]);
        let after = new_view(2, 2, &[(0, Some((1, 2))), (2, None), (3, Some((1, 2)))]);
        let stored = [after.clone(), away];
        assert_eq!(blame(&one, &other, &stored), A | B);
        assert_eq!(blame(&other, &one, &stored), A | B);
        // Without the NEW-VIEW of view 1 nobody can be named.
        assert_eq!(blame(&one, &other, &[after]), 0);
        assert_eq!(blame(&one, &other, &[]), 0);
    }

    /// A block prepared in the very view of the lower decision: whoever signed both.
    #[test]
    fn fb_16_a_second_block_prepared_in_the_view_names_who_prepared_it() {
        use super::super::world::chain_of;
        use polity_consensus::certificate::MultiSignature;
        let chain = chain_of(0);
        let signatures = [0, 1, 3]
            .into_iter()
            .map(|id| (ReplicaId::new(id), no_signature()))
            .collect();
        let votes = MultiSignature::collect(chain.committee(Height::new(1)), &signatures);
        let mut away = new_view(1, 2, &[(0, Some((0, 2))), (1, None), (3, None)]);
        away.view_changes[0].certificate = Some(VoteCertificate {
            kind: VoteKind::Prepare,
            height: Height::new(1),
            view: View::ZERO,
            value: Value::of_block(digest(2)),
            votes,
        });
        let (one, other) = (decision(0, 1, A | B | C), decision(1, 2, A | B | D));
        assert_eq!(blame(&one, &other, &[away]), A | B);
    }

    #[test]
    fn a_fork_has_to_name_more_than_may_be_faulty_and_nobody_without_a_twin() {
        let mut judge = Judge::new(Cast::new(2), Blake3Digest::new([0; 32]));
        assert_eq!(judge.attribute(|_| Vec::new()), Ok(0));
        let mut fork = |one: u8, other: u8| {
            judge
                .decisions
                .insert(1, vec![decision(0, 1, one), decision(0, 2, other)]);
            judge.attribute(|_| Vec::new())
        };
        assert_eq!(fork(A | B | C, A | B | D), Ok(A | B));
        assert!(fork(A | C, A | D).is_err());
        assert!(fork(A | B | C, A | B | C).is_err());
    }

    #[test]
    fn fb_16_reports_name_twins_and_prove_something() {
        let mut judge = Judge::new(Cast::new(1), Blake3Digest::new([0; 32]));
        let vote = |signer: u32, byte: u8| Vote {
            kind: VoteKind::Prepare,
            height: Height::new(1),
            view: View::ZERO,
            value: Value::of_block(digest(byte)),
            signer: ReplicaId::new(signer),
            signature: no_signature(),
        };
        let two = |signer, one, other| Evidence::TwoVotes(vote(signer, one), vote(signer, other));
        assert_eq!(judge.reported(2, &two(0, 1, 2)), Ok(()));
        assert!(judge.reported(2, &two(0, 1, 1)).is_err());
        assert!(judge.reported(2, &two(1, 1, 2)).is_err());
        assert_eq!(judge.reports, 3);
    }
}
