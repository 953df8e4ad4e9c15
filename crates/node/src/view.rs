//! What the HTTP interface shows, as both ends see it.

use polity_consensus::committee::CommitteeTable;
use polity_consensus::fbpbft::{Header, VoteCertificate};
use polity_consensus::light::EpochEnd;
use polity_crypto::{Sha256Digest, Signer, Verifier};
use polity_ledger::{
    AccountView, Address, LockId, LockState, LockView, Outcome, Receipt, Rejection, Supply,
    TransactionId,
};
use polity_replica::proof::{FinalityProof, TransactionProof};
use polity_replica::{Committed, GenesisMember, Replica};
use polity_types::{Amount, ChainId, Epoch, Height, ReplicaId, Time, View, Weight};
use serde::{Deserialize, Serialize};

/// An error: a stable code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable, in `snake_case`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the federation.
    pub federation: String,
    /// Name of the node.
    pub name: String,
    /// Its number in the committee.
    pub replica: ReplicaId,
    /// Whether it votes on the next height; otherwise it follows.
    pub votes: bool,
    /// Epoch of the next height.
    pub epoch: Epoch,
    /// Version of the program.
    pub version: String,
    /// The chain.
    pub chain: ChainId,
    /// Height of the last committed block.
    pub height: Height,
    /// View of the height being decided.
    pub view: View,
    /// Who leads it.
    pub leader: String,
    /// Digest of the last committed block.
    pub block: Sha256Digest,
    /// Its block time.
    pub block_time: Time,
    /// State root of the ledger after it.
    pub state_root: Sha256Digest,
    /// Root of the whole application after it.
    pub application_root: Sha256Digest,
    /// Root of its receipts.
    pub receipts_root: Sha256Digest,
    /// Where the supply came from and went.
    pub supply: Supply,
    /// What exists.
    pub supply_total: Amount,
    /// Transactions that wait.
    pub pool_transactions: usize,
    /// How far ahead `valid_until` may be, in heights.
    pub validity_horizon: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// The snapshot that the node is fetching because it is far behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syncing: Option<Syncing>,
    /// Whether the node can decide something with those it can reach.
    pub ready: bool,
    /// The other members: of the present epoch, of the one before and of the next one.
    pub peers: Vec<Peer>,
}

/// A snapshot that a node fetches because it is far behind (FB-19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncing {
    /// The state after this block.
    pub height: Height,
    /// Chunks that are here.
    pub chunks: u32,
    /// Chunks that there are.
    pub chunks_total: u32,
    /// Members that offered it.
    pub offered_by: Vec<ReplicaId>,
    /// Members that are not asked any more, because what they sent was wrong.
    pub excluded: Vec<ReplicaId>,
}

impl Syncing {
    /// What a replica fetches, if it does.
    pub fn of<S: Signer, V: Verifier + Clone>(replica: &Replica<S, V>) -> Option<Self> {
        let (target, chunks) = replica.sync_progress()?;
        Some(Self {
            height: target.meta.height,
            chunks,
            chunks_total: target.chunks,
            offered_by: target.vouched.clone(),
            excluded: replica.sync_excluded().collect(),
        })
    }
}

/// `GET /v1/committee`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committee {
    /// Height of the last committed block.
    pub height: Height,
    /// Epoch of the next height.
    pub epoch: Epoch,
    /// Heights of one epoch.
    pub epoch_length: u64,
    /// Weight of a quorum of the present members.
    pub quorum: Weight,
    /// Who votes on the next height.
    pub present: Vec<GenesisMember>,
    /// The first height of the next epoch.
    pub next_from: Height,
    /// Who votes from there on, if no further change is decided.
    pub next: Vec<GenesisMember>,
}

/// `GET /v1/epochs`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    /// Ends of epochs, ascending: the last header of each with its certificate, and the committee that
    /// it names for the next one. Nothing of that need be believed (FB-18).
    pub ends: Vec<EpochEnd>,
    /// What to ask for as `from` to get the next ones; absent if these were the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Epoch>,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its number.
    pub replica: ReplicaId,
    /// Its name.
    pub name: String,
    /// Whether this node can send to it.
    pub connected: bool,
    /// Whether it can send to this node.
    pub connected_to_us: bool,
    /// Round trip in microseconds.
    pub round_trip_us: u64,
}

/// `GET /v1/accounts/{address}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Fingerprint of the owner's key.
    pub owner: Sha256Digest,
    /// Everything it holds.
    pub total: Amount,
    /// What it may spend.
    pub available: Amount,
    /// What open locks reserve.
    pub locked: Amount,
    /// Open locks from this account.
    pub outgoing_locks: u32,
    /// Open locks to this account.
    pub incoming_locks: u32,
    /// Whether it may not pay.
    pub frozen: bool,
    /// Whether it was closed.
    pub closed: bool,
    /// Height of the last change.
    pub changed: Height,
    /// Height at which this was true.
    pub height: Height,
}

impl Account {
    /// An account as it is at a height.
    pub fn new(view: AccountView, height: Height) -> Self {
        Self {
            available: view.available(),
            address: view.address,
            owner: view.owner,
            total: view.total,
            locked: view.locked,
            outgoing_locks: view.outgoing_locks,
            incoming_locks: view.incoming_locks,
            frozen: view.is_frozen,
            closed: view.is_closed,
            changed: view.changed,
            height,
        }
    }
}

/// `GET /v1/locks/{id}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its identity.
    pub id: LockId,
    /// The payer.
    pub from: Address,
    /// The payee.
    pub to: Address,
    /// What it reserves or reserved.
    pub amount: Amount,
    /// What the payee got.
    pub paid: Amount,
    /// From this block time on it can only expire.
    pub expires: Time,
    /// What became of it.
    pub state: LockState,
    /// Height at which it was settled, 0 while it is open.
    pub settled_at: Height,
}

/// `GET /v1/accounts/{address}/locks`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks {
    /// Open locks from and to the account, in the order in which they expire. A page may be short and
    /// still have a next one.
    pub locks: Vec<Lock>,
    /// What to ask for as `after` to get the next ones; absent if these were the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<LockView> for Lock {
    fn from(view: LockView) -> Self {
        Self {
            id: view.id,
            from: view.from,
            to: view.to,
            amount: view.amount,
            paid: view.paid,
            expires: view.expires,
            state: view.state,
            settled_at: view.settled_at,
        }
    }
}

/// What became of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// The transaction.
    pub id: TransactionId,
    /// Height of its block.
    pub height: Height,
    /// Zero-based place in the block.
    pub index: u32,
    /// What it paid.
    pub fee: Amount,
    /// Whether it did what it says.
    pub applied: bool,
    /// The lock that its one command made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockId>,
    /// Why it was refused: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Zero-based number of the command that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_command: Option<u8>,
}

impl From<&Receipt> for ReceiptView {
    fn from(receipt: &Receipt) -> Self {
        let (lock, rejection) = match receipt.outcome {
            Ok(Outcome::Applied) => (None, None),
            Ok(Outcome::Locked(lock)) => (Some(lock), None),
            Err(rejection) => (None, Some(rejection)),
        };
        Self {
            id: receipt.id,
            height: receipt.height,
            index: receipt.index,
            fee: receipt.fee,
            applied: receipt.outcome.is_ok(),
            lock,
            rejection,
            reason: rejection.map(|rejection| rejection.to_string()),
            refused_command: receipt.refused_command,
        }
    }
}

/// What the pool says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a block. A restart of this node does not lose it, unless the pool had no room to
    /// promise that and only holds what another member sent.
    Pending,
    /// A block holds it.
    Decided,
}

/// `POST /v1/transactions`, for each transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitResult {
    /// The transaction; absent if the bytes are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TransactionId>,
    /// Where it stands, if it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its receipt, if a block holds it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// `GET /v1/transactions/{id}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The transaction.
    pub id: TransactionId,
    /// Where it stands.
    pub state: State,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
    /// Why that is final; absent until the next block is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<TransactionProof>,
}

/// `GET /v1/blocks/{height}` and `/v1/blocks/latest`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Digest of the block below.
    pub parent: Sha256Digest,
    /// Block time in milliseconds since the Unix epoch.
    pub timestamp: Time,
    /// Who proposed it.
    pub proposer: ReplicaId,
    /// View in which it was proposed first.
    pub view: View,
    /// State of the application after the parent.
    pub application_root: Sha256Digest,
    /// Receipts of the parent's transactions.
    pub receipts_root: Sha256Digest,
    /// Its transactions, in order.
    pub transactions: Vec<TransactionId>,
    /// Pieces of evidence in it.
    pub evidence: usize,
    /// Members whose COMMITs are in the certificate. Empty if the node does not know the committee of
    /// the epoch.
    pub signers: Vec<ReplicaId>,
    /// Why it is final.
    pub finality: FinalityProof,
}

impl Block {
    /// A decided block, and the committee of its epoch.
    pub fn new(
        committee: Option<&CommitteeTable>,
        header: &Header,
        certificate: &VoteCertificate,
        transactions: Vec<TransactionId>,
        evidence: usize,
    ) -> Self {
        let signers =
            committee.and_then(|committee| certificate.votes.signers.members(committee).ok());
        Self {
            height: header.height,
            digest: header.digest(),
            parent: header.parent,
            timestamp: header.timestamp,
            proposer: header.proposer,
            view: header.view,
            application_root: header.application_root,
            receipts_root: header.receipts_root,
            transactions,
            evidence,
            // Only verified certificates are stored; one that names others names nobody.
            signers: signers.unwrap_or_default(),
            finality: FinalityProof {
                header: header.clone(),
                certificate: certificate.clone(),
            },
        }
    }
}

/// An event `commit` of `GET /v1/events`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Height of the block.
    pub height: Height,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its block time.
    pub timestamp: Time,
    /// View in which it was proposed first.
    pub view: View,
    /// Who proposed it.
    pub proposer: ReplicaId,
    /// State root of the ledger after it.
    pub state_root: Sha256Digest,
    /// How many transactions it has.
    pub transactions: usize,
    /// How many of them were refused.
    pub refused: usize,
    /// Locks that expired in it.
    pub expired: Vec<LockId>,
    /// What became of its transactions, if that was asked for with `receipts=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<Vec<ReceiptView>>,
}

impl Commit {
    /// A committed block.
    pub fn new(committed: &Committed, with_receipts: bool) -> Self {
        let header = committed.block.header();
        let receipts = &committed.receipts;
        Self {
            height: header.height,
            digest: committed.block.digest(),
            timestamp: header.timestamp,
            view: header.view,
            proposer: header.proposer,
            state_root: committed.ledger_root,
            transactions: receipts.len(),
            refused: receipts.iter().filter(|r| r.outcome.is_err()).count(),
            expired: committed.expired.clone(),
            receipts: with_receipts.then(|| receipts.iter().map(ReceiptView::from).collect()),
        }
    }
}

/// One entry of `GET /v1/evidence`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// Digest of the offence's identity.
    pub id: Sha256Digest,
    /// Who broke the rules.
    pub accused: ReplicaId,
    /// Number of the kind of offence.
    pub kind: u8,
    /// At which height.
    pub height: Height,
    /// In which view.
    pub view: View,
    /// The encoded proof in hexadecimal digits, for whoever wants to check it.
    pub proof: String,
}
