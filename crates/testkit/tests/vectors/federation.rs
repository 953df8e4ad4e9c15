//! Four members with known keys, and what they sign: shared by the topics of consensus.
//!
//! Secret seeds are 32 bytes of the member's number and one, so everybody can sign the same.

use crate::fields::{array, list, number, text};
use polity_consensus::certificate::MultiSignature;
use polity_consensus::committee::{Committee as _, CommitteeTable, Member};
use polity_consensus::fbpbft::{
    Body, Chain, Counts, Header, NewView, PrePrepare, PreparedClaim, SealedBlock, TransactionBytes,
    Value, ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::ed25519::Ed25519Signer;
use polity_crypto::{Blake3Digest, Preimage, Sha256Digest, Signature, Signer, domain};
use polity_types::{Height, ReplicaId, Time, View, Weight};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

pub(crate) fn signer(id: u32) -> Ed25519Signer {
    Ed25519Signer::from_seed(&[id as u8 + 1; 32])
}

/// What an input says about the chain: everything that a stranger has to know.
pub(crate) fn constants(weights: &[u64]) -> Json {
    let members: Vec<Json> = (0_u32..)
        .zip(weights)
        .map(|(id, weight)| {
            json!({
                "id": id,
                "key": signer(id).public_key().to_string(),
                "weight": weight,
            })
        })
        .collect();
    json!({
        "genesis_id": Blake3Digest::new([1; 32]).to_string(),
        "epoch_length": 10,
        "members": members,
    })
}

pub(crate) fn four() -> Json {
    constants(&[1; 4])
}

/// Adds a field to an input.
pub(crate) fn with(mut constants: Json, name: &str, value: impl Into<Json>) -> Json {
    constants[name] = value.into();
    constants
}

/// In these vectors the id of a transaction is a hash of its bytes, and there is no empty one.
fn transaction_id(bytes: &[u8]) -> Option<Sha256Digest> {
    (!bytes.is_empty()).then(|| Preimage::new(domain::TEST).bytes(bytes).sha256())
}

/// The chain that an input describes.
pub(crate) fn chain(input: &Json) -> Chain {
    let members = list(input, "members").iter().map(|row| Member {
        id: ReplicaId::new(u32::try_from(number(row, "id")).expect("small")),
        key: text(row, "key").parse().expect("a key"),
        weight: Weight::new(number(row, "weight")),
    });
    let committee = CommitteeTable::new(members).expect("a committee");
    let genesis = Blake3Digest::new(array(input, "genesis_id"));
    Chain::new(
        genesis,
        number(input, "epoch_length"),
        committee,
        transaction_id,
    )
}

pub(crate) fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

/// The leader of a view of height 5.
pub(crate) fn leader(chain: &Chain, view: u64) -> u32 {
    chain.leader(Height::new(5), View::new(view)).get()
}

pub(crate) fn vote_preimage(
    chain: &Chain,
    kind: VoteKind,
    (height, view): (u64, u64),
    value: &Value,
) -> Preimage {
    let (height, view) = (Height::new(height), View::new(view));
    match kind {
        VoteKind::Prepare => chain
            .scope(domain::PREPARE, height, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes()),
        VoteKind::Commit => chain
            .scope(domain::COMMIT, height, view)
            .array(value.digest.as_bytes()),
    }
}

pub(crate) fn vote(chain: &Chain, kind: VoteKind, view: u64, value: Value, id: u32) -> Vote {
    let preimage = vote_preimage(chain, kind, (5, view), &value);
    Vote {
        kind,
        height: Height::new(5),
        view: View::new(view),
        value,
        signer: ReplicaId::new(id),
        signature: signer(id).sign(&preimage),
    }
}

pub(crate) fn certificate(
    chain: &Chain,
    kind: VoteKind,
    view: u64,
    value: Value,
    signers: &[u32],
) -> VoteCertificate {
    let signatures: BTreeMap<ReplicaId, Signature> = signers
        .iter()
        .map(|id| {
            let vote = vote(chain, kind, view, value, *id);
            (ReplicaId::new(*id), vote.signature)
        })
        .collect();
    let height = Height::new(5);
    assert!(
        signatures
            .keys()
            .all(|id| chain.committee(height).key(*id).is_some())
    );
    VoteCertificate {
        kind,
        height,
        view: View::new(view),
        value,
        votes: MultiSignature::collect(chain.committee(height), &signatures),
    }
}

pub(crate) fn pre_prepare(chain: &Chain, view: u64, digest: Sha256Digest) -> PrePrepare {
    let (height, view) = (Height::new(5), View::new(view));
    let preimage = PrePrepare::preimage(chain, height, view, &digest);
    PrePrepare {
        height,
        view,
        digest,
        signature: signer(leader(chain, view.get())).sign(&preimage),
    }
}

/// A VIEW-CHANGE without its certificate: all that the signature covers.
pub(crate) fn claim(chain: &Chain, view: u64, prepared: Option<(u64, u8)>, id: u32) -> ViewChange {
    let (height, view) = (Height::new(5), View::new(view));
    let prepared = prepared.map(|(view, byte)| PreparedClaim {
        view: View::new(view),
        digest: digest(byte),
    });
    let preimage = ViewChange::preimage(chain, height, view, prepared.as_ref());
    ViewChange {
        height,
        view,
        prepared,
        signer: ReplicaId::new(id),
        signature: signer(id).sign(&preimage),
        certificate: None,
    }
}

pub(crate) fn new_view(chain: &Chain, view: u64, parts: Vec<ViewChange>, proposed: u8) -> NewView {
    let pre_prepare = pre_prepare(chain, view, digest(proposed));
    let content = NewView::content(&parts, &pre_prepare);
    let preimage = NewView::preimage(chain, Height::new(5), View::new(view), &content);
    NewView {
        height: Height::new(5),
        view: View::new(view),
        view_changes: parts,
        pre_prepare,
        signature: signer(leader(chain, view)).sign(&preimage),
    }
}

/// A first block with these transactions.
pub(crate) fn block(chain: &Chain, transactions: &[&[u8]]) -> SealedBlock {
    let height = Height::new(1);
    let header = Header {
        chain: chain.id(),
        epoch: chain.epoch(height),
        height,
        view: View::ZERO,
        proposer: chain.leader(height, View::ZERO),
        parent: chain.genesis_block(),
        timestamp: Time::from_millis(1_000),
        body_root: Sha256Digest::ZERO,
        counts: Counts::default(),
        application_root: digest(0xaa),
        receipts_root: polity_merkle::empty_root(),
        next_committee: Sha256Digest::ZERO,
    };
    let transactions = transactions.iter();
    let body = Body {
        transactions: transactions
            .map(|bytes| TransactionBytes::new(bytes.to_vec()))
            .collect(),
        ..Body::default()
    };
    SealedBlock::build(chain, header, body).expect("transactions")
}
