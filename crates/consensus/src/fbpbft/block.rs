//! Blocks: a header of fixed layout and a body of typed sections.
//!
//! The digest of a block covers its header, the header covers the body through `body_root`, and no
//! digest covers signature bytes: a transaction stands for its id, the parent's certificate for its
//! view and signers, evidence for the offence it proves.

use super::chain::Chain;
use super::evidence::Evidence;
use super::message::VoteCertificate;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Preimage, Sha256Digest, Signature, domain};
use polity_merkle::{leaf_hash, root_of};
use polity_types::{ChainId, Epoch, Height, ReplicaId, Time, View};
use serde::{Deserialize, Serialize};

/// Number of entries in each section of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Transactions.
    pub transactions: u32,
    /// Pieces of evidence.
    pub evidence: u32,
    /// Late COMMITs.
    pub late_commits: u32,
    /// Entries of application data.
    pub application: u32,
}

/// What a block's digest covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// The chain it belongs to.
    pub chain: ChainId,
    /// The epoch of its height.
    pub epoch: Epoch,
    /// Its height.
    pub height: Height,
    /// View in which it was proposed first. A later view may decide it unchanged.
    pub view: View,
    /// Who proposed it first.
    pub proposer: ReplicaId,
    /// Digest of the block below.
    pub parent: Sha256Digest,
    /// Block time; above that of the parent.
    pub timestamp: Time,
    /// Root of the body.
    pub body_root: Sha256Digest,
    /// Entries in each section of the body.
    pub counts: Counts,
    /// State of the application after the parent.
    pub application_root: Sha256Digest,
    /// Receipts of the parent's transactions.
    pub receipts_root: Sha256Digest,
    /// Committee of the next epoch, in an epoch's last block; otherwise zero.
    pub next_committee: Sha256Digest,
}

impl Header {
    /// Digest of the block.
    pub fn digest(&self) -> Sha256Digest {
        Preimage::new(domain::BLOCK)
            .array(self.chain.as_bytes())
            .u64(self.epoch.get())
            .u64(self.height.get())
            .u64(self.view.get())
            .u32(self.proposer.get())
            .array(self.parent.as_bytes())
            .u64(self.timestamp.as_millis())
            .array(self.body_root.as_bytes())
            .u32(self.counts.transactions)
            .u32(self.counts.evidence)
            .u32(self.counts.late_commits)
            .u32(self.counts.application)
            .array(self.application_root.as_bytes())
            .array(self.receipts_root.as_bytes())
            .array(self.next_committee.as_bytes())
            .sha256()
    }
}

/// A transaction as consensus sees it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionBytes(#[serde(with = "polity_types::hex_bytes")] Vec<u8>);

impl TransactionBytes {
    /// Wraps encoded bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Debug for TransactionBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TransactionBytes({} bytes)", self.0.len())
    }
}

/// A COMMIT for an earlier height that came too late for its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LateCommit {
    /// Height of the COMMIT.
    pub height: Height,
    /// View of the COMMIT.
    pub view: View,
    /// Who sent it.
    pub signer: ReplicaId,
    /// Its signature.
    pub signature: Signature,
}

/// Data of the application beside transactions: opinion shards, key records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApplicationData {
    /// What it is. The application refuses kinds it does not know.
    pub kind: u16,
    /// The content.
    #[serde(with = "polity_types::hex_bytes")]
    pub content: Vec<u8>,
}

/// The sections of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Body {
    /// Transactions, in order of execution.
    pub transactions: Vec<TransactionBytes>,
    /// Proofs of offences.
    pub evidence: Vec<Evidence>,
    /// Why the parent is decided; absent in the first block.
    pub parent_certificate: Option<VoteCertificate>,
    /// Late COMMITs of recent heights. Empty in this version.
    pub late_commits: Vec<LateCommit>,
    /// Application data.
    pub application: Vec<ApplicationData>,
}

impl Body {
    /// Entries in each section.
    pub fn counts(&self) -> Counts {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Counts {
            transactions: count(self.transactions.len()),
            evidence: count(self.evidence.len()),
            late_commits: count(self.late_commits.len()),
            application: count(self.application.len()),
        }
    }

    /// Root over the roots of the sections, with the given transaction ids.
    fn root(&self, chain: &Chain, height: Height, transactions: &[Sha256Digest]) -> Sha256Digest {
        let transactions: Vec<Sha256Digest> = transactions
            .iter()
            .map(|id| leaf_hash(id.as_bytes()))
            .collect();
        let evidence: Vec<Sha256Digest> = self
            .evidence
            .iter()
            .map(|evidence| leaf_hash(evidence.digest(chain).as_bytes()))
            .collect();
        let late_commits: Vec<Sha256Digest> = self
            .late_commits
            .iter()
            .map(|late| {
                let digest = chain
                    .scope(domain::LATE_COMMIT, late.height, late.view)
                    .u32(late.signer.get())
                    .sha256();
                leaf_hash(digest.as_bytes())
            })
            .collect();
        let application: Vec<Sha256Digest> = self
            .application
            .iter()
            .map(|data| {
                let mut bytes = Vec::with_capacity(2 + data.content.len());
                bytes.extend_from_slice(&data.kind.to_le_bytes());
                bytes.extend_from_slice(&data.content);
                leaf_hash(&bytes)
            })
            .collect();
        // Bound by view and signers alone: signatures may differ from replica to replica.
        let parent_certificate = match &self.parent_certificate {
            None => Sha256Digest::ZERO,
            Some(certificate) => chain
                .scope(domain::PARENT_CERTIFICATE, height, certificate.view)
                .bytes(certificate.votes.signers.as_slice())
                .sha256(),
        };
        Preimage::new(domain::BODY)
            .array(root_of(&transactions).as_bytes())
            .array(root_of(&evidence).as_bytes())
            .array(parent_certificate.as_bytes())
            .array(root_of(&late_commits).as_bytes())
            .array(root_of(&application).as_bytes())
            .sha256()
    }
}

/// A header with its body, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
}

/// Why a body does not belong to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Bytes that are no transaction.
    #[error("entry {0} of the body is no transaction")]
    NoTransaction(usize),
    /// The header counts something else.
    #[error("the header counts other entries than the body has")]
    Counts,
    /// The header covers another body.
    #[error("the header covers another body")]
    Root,
}

/// A block whose body was checked against its header. Its digest is computed once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SealedBlock {
    block: Arc<Block>,
    digest: Sha256Digest,
    transaction_ids: Arc<[Sha256Digest]>,
}

impl SealedBlock {
    /// Checks that the body is the one that the header covers.
    pub fn new(chain: &Chain, block: Arc<Block>) -> Result<Self, BodyError> {
        if block.body.counts() != block.header.counts {
            return Err(BodyError::Counts);
        }
        let ids = transaction_ids(chain, &block.body.transactions)?;
        if block.body.root(chain, block.header.height, &ids) != block.header.body_root {
            return Err(BodyError::Root);
        }
        Ok(Self {
            digest: block.header.digest(),
            transaction_ids: ids.into(),
            block,
        })
    }

    /// Completes a header so that it covers `body`.
    pub fn build(chain: &Chain, mut header: Header, body: Body) -> Result<Self, BodyError> {
        let ids = transaction_ids(chain, &body.transactions)?;
        header.counts = body.counts();
        header.body_root = body.root(chain, header.height, &ids);
        Ok(Self {
            digest: header.digest(),
            transaction_ids: ids.into(),
            block: Arc::new(Block { header, body }),
        })
    }

    /// The block.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.block.header
    }

    /// Its body.
    pub fn body(&self) -> &Body {
        &self.block.body
    }

    /// Its digest.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Ids of its transactions, in order.
    pub fn transaction_ids(&self) -> &[Sha256Digest] {
        &self.transaction_ids
    }
}

fn transaction_ids(
    chain: &Chain,
    transactions: &[TransactionBytes],
) -> Result<Vec<Sha256Digest>, BodyError> {
    transactions
        .iter()
        .enumerate()
        .map(|(index, bytes)| {
            chain
                .transaction_id(bytes.as_slice())
                .ok_or(BodyError::NoTransaction(index))
        })
        .collect()
}
