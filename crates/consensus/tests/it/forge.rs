//! Messages made by hand, signed with real keys of members: what a faulty member can send.

use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::{
    Block, Body, Chain, Counts, Header, NewView, PrePrepare, PreparedClaim, Proposal, Roots,
    SealedBlock, Tip, Value, ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::stub::StubSigner;
use polity_crypto::{Sha256Digest, Signer, domain};
use polity_types::{Height, ReplicaId, Time, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The signer of a member: members of test committees are numbered like their keys.
pub(crate) fn signer(id: ReplicaId) -> StubSigner {
    StubSigner::new(u64::from(id.get()))
}

pub(crate) fn leader(chain: &Chain, height: u64, view: u64) -> ReplicaId {
    chain.leader(Height::new(height), View::new(view))
}

/// A valid first block; `salt` makes different ones.
pub(crate) fn block(chain: &Chain, tip: &Tip, view: u64, salt: u64) -> SealedBlock {
    let height = tip.parent.height.next();
    let proposer = chain.leader(height, View::new(view));
    let Roots {
        application,
        receipts,
        ..
    } = tip.roots;
    let header = Header {
        chain: chain.id(),
        epoch: chain.epoch(height),
        height,
        view: View::new(view),
        proposer,
        parent: tip.parent.digest,
        timestamp: Time::from_millis(tip.parent.timestamp.as_millis() + 1 + salt),
        body_root: Sha256Digest::ZERO,
        counts: Counts::default(),
        application_root: application,
        receipts_root: receipts,
        next_committee: chain.next_committee(height),
    };
    let body = Body {
        parent_certificate: tip.certificate.clone(),
        ..Body::default()
    };
    SealedBlock::build(chain, header, body).expect("no transactions")
}

pub(crate) fn pre_prepare(chain: &Chain, block: &SealedBlock, view: u64) -> PrePrepare {
    let (height, view) = (block.header().height, View::new(view));
    let preimage = PrePrepare::preimage(chain, height, view, &block.digest());
    PrePrepare {
        height,
        view,
        digest: block.digest(),
        signature: signer(chain.leader(height, view)).sign(&preimage),
    }
}

pub(crate) fn proposal(chain: &Chain, block: &SealedBlock) -> Proposal {
    Proposal {
        pre_prepare: pre_prepare(chain, block, block.header().view.get()),
        block: block.block().clone(),
    }
}

pub(crate) fn vote(
    chain: &Chain,
    kind: VoteKind,
    (height, view): (u64, u64),
    value: Value,
    id: ReplicaId,
) -> Vote {
    let (height, view) = (Height::new(height), View::new(view));
    // The layout stands in the specification; here it is written a second time.
    let preimage = match kind {
        VoteKind::Prepare => chain
            .scope(domain::PREPARE, height, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes()),
        VoteKind::Commit => chain
            .scope(domain::COMMIT, height, view)
            .array(value.digest.as_bytes()),
    };
    Vote {
        kind,
        height,
        view,
        value,
        signer: id,
        signature: signer(id).sign(&preimage),
    }
}

pub(crate) fn certificate(
    chain: &Chain,
    kind: VoteKind,
    at: (u64, u64),
    value: Value,
    signers: &[u32],
) -> VoteCertificate {
    let signatures: BTreeMap<ReplicaId, _> = signers
        .iter()
        .map(|id| {
            let id = ReplicaId::new(*id);
            (id, vote(chain, kind, at, value, id).signature)
        })
        .collect();
    let committee = chain.committee(Height::new(at.0));
    assert!(
        signers
            .iter()
            .all(|id| committee.key(ReplicaId::new(*id)).is_some())
    );
    VoteCertificate {
        kind,
        height: Height::new(at.0),
        view: View::new(at.1),
        value,
        votes: polity_consensus::certificate::MultiSignature::collect(committee, &signatures),
    }
}

pub(crate) fn view_change(
    chain: &Chain,
    (height, view): (u64, u64),
    certificate: Option<VoteCertificate>,
    id: u32,
) -> ViewChange {
    let (height, view, id) = (Height::new(height), View::new(view), ReplicaId::new(id));
    let prepared = certificate.as_ref().map(|certificate| PreparedClaim {
        view: certificate.view,
        digest: certificate.value.digest,
    });
    let preimage = ViewChange::preimage(chain, height, view, prepared.as_ref());
    ViewChange {
        height,
        view,
        prepared,
        signer: id,
        signature: signer(id).sign(&preimage),
        certificate,
    }
}

pub(crate) fn new_view(
    chain: &Chain,
    (height, view): (u64, u64),
    view_changes: Vec<ViewChange>,
    pre_prepare: PrePrepare,
) -> NewView {
    let content = NewView::content(&view_changes, &pre_prepare);
    let (height, view) = (Height::new(height), View::new(view));
    let preimage = NewView::preimage(chain, height, view, &content);
    NewView {
        height,
        view,
        view_changes,
        pre_prepare,
        signature: signer(chain.leader(height, view)).sign(&preimage),
    }
}

/// A block with another body than its header covers.
pub(crate) fn with_other_body(block: &SealedBlock) -> Arc<Block> {
    let mut changed = (**block.block()).clone();
    changed
        .body
        .transactions
        .push(polity_consensus::fbpbft::TransactionBytes::new(vec![
            1, 2, 3,
        ]));
    Arc::new(changed)
}
