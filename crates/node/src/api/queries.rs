//! Questions about accounts, locks, blocks and the node.

use super::{ApiError, Gate, Service};
use crate::archive::ArchiveError;
use crate::driver::View;
use crate::hub::{Hub, Listener};
use crate::view;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use polity_consensus::committee::CommitteeTable;
use polity_consensus::fbpbft::{self, Evidence};
use polity_crypto::Sha256Digest;
use polity_ledger::{Address, LockCursor, LockId, StateProof, TransactionId};
use polity_replica::application_root;
use polity_replica::proof::{AccountProof, FinalityProof, LockProof};
use polity_types::{Epoch, Height, Time, wire};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a proof waits for the header that names the state.
const PROOF_WAIT: Duration = Duration::from_secs(30);

/// Largest piece of evidence that is read back: a NEW-VIEW, with some slack.
const EVIDENCE_BYTES_MAX: usize = fbpbft::Config::BESIDE_BLOCK_BYTES_MAX + 4_096;

/// Locks in one page, at most.
const LOCKS_MAX: usize = 1_000;

/// Open locks that one question to the driver looks at: a fraction of a millisecond.
const LOCKS_SCANNED_MAX: usize = 4_096;

/// Ends of epochs in one page, at most: some megabytes of JSON with the largest committees.
const EPOCHS_MAX: usize = 100;

/// Questions to the driver for one page. A page may then be short and still have a next one.
const LOCKS_QUESTIONS_MAX: usize = 64;

type Answer<T> = Result<Json<T>, ApiError>;

fn address(text: &str) -> Result<Address, ApiError> {
    text.parse().map_err(|error: polity_ledger::AddressError| {
        ApiError::bad("malformed_address", error.to_string())
    })
}

fn lock_id(text: &str) -> Result<LockId, ApiError> {
    text.parse()
        .map_err(|error: polity_types::HexError| ApiError::bad("malformed_id", error.to_string()))
}

fn no_account() -> ApiError {
    ApiError::not_found("unknown_account", "no account has this address")
}

fn no_lock() -> ApiError {
    ApiError::not_found(
        "unknown_lock",
        "no lock has this id, or it was settled too long ago to be remembered",
    )
}

pub(super) async fn account(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
) -> Answer<view::Account> {
    let address = address(&text)?;
    let account = gate
        .service()?
        .ask(move |view| {
            let ledger = view.replica.ledger();
            let height = ledger.height();
            Some(view::Account::new(ledger.account(&address)?, height))
        })
        .await?;
    account.map(Json).ok_or_else(no_account)
}

/// `GET /v1/accounts/{address}/locks`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

pub(super) async fn account_locks(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer<view::Locks> {
    let address = address(&text)?;
    let Query(page) = page?;
    check_limit(page.limit, LOCKS_MAX)?;
    let mut after = page.after.as_deref().map(cursor).transpose()?;
    let service = gate.service()?;
    // Few walk at a time, and none for long, so that they leave the driver to its replica.
    let _turn = gate.walks.try_acquire().map_err(|_| ApiError::busy())?;
    let mut locks = Vec::new();
    for question in 1.. {
        let wanted = page.limit - locks.len();
        let of = address.clone();
        let found = service
            .ask(move |view| {
                let ledger = view.replica.ledger();
                ledger.account(&of)?;
                Some(ledger.locks_of(&of, after, wanted, LOCKS_SCANNED_MAX))
            })
            .await?
            .ok_or_else(no_account)?;
        locks.extend(found.locks.into_iter().map(view::Lock::from));
        after = found.next;
        if after.is_none() || locks.len() >= page.limit || question >= LOCKS_QUESTIONS_MAX {
            break;
        }
    }
    Ok(Json(view::Locks {
        locks,
        next: after.map(|at| format!("{}-{}", at.expires.as_millis(), at.id)),
    }))
}

fn check_limit(limit: usize, max: usize) -> Result<(), ApiError> {
    if (1..=max).contains(&limit) {
        return Ok(());
    }
    let message = format!("`limit` is from 1 to {max}");
    Err(ApiError::bad("bad_query", message))
}

/// A place in a walk over locks, as an earlier page named it.
fn cursor(text: &str) -> Result<LockCursor, ApiError> {
    let parsed = text.split_once('-').and_then(|(expires, id)| {
        Some(LockCursor {
            expires: Time::from_millis(expires.parse().ok()?),
            id: id.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| {
        ApiError::bad(
            "bad_query",
            "`after` is the `next` of the page before, as it is",
        )
    })
}

pub(super) async fn lock(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
) -> Answer<view::Lock> {
    let id = lock_id(&text)?;
    let lock = gate
        .service()?
        .ask(move |view| view.replica.ledger().lock(&id))
        .await?;
    lock.map(|lock| Json(lock.into())).ok_or_else(no_lock)
}

pub(super) async fn account_proof(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
) -> Answer<AccountProof> {
    let address = address(&text)?;
    let (finality, state) = prove(gate.service()?, move |ledger| {
        ledger.prove_account(&address)
    })
    .await?
    .ok_or_else(no_account)?;
    Ok(Json(AccountProof { finality, state }))
}

pub(super) async fn lock_proof(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
) -> Answer<LockProof> {
    let id = lock_id(&text)?;
    let (finality, state) = prove(gate.service()?, move |ledger| ledger.prove_lock(&id))
        .await?
        .ok_or_else(no_lock)?;
    Ok(Json(LockProof { finality, state }))
}

/// Proves something under the present state root, and waits for the block that names this root.
///
/// That block is decided soon: a state that no header names yet is something to decide (FB-8).
async fn prove<T: Send + 'static>(
    service: &Arc<Service>,
    prove: impl Fn(&mut polity_ledger::Ledger) -> Option<StateProof<T>> + Clone + Send + 'static,
) -> Result<Option<(FinalityProof, StateProof<T>)>, ApiError> {
    let ask = || {
        let prove = prove.clone();
        let question = move |view: &mut View<'_>| {
            let proof = prove(view.replica.ledger_mut())?;
            let root = application_root(&proof.sections.root());
            let height = view.replica.tip().parent.height;
            let named = view
                .last
                .filter(|(header, _)| header.application_root == root)
                .map(|(header, certificate)| FinalityProof {
                    header: header.clone(),
                    certificate: certificate.clone(),
                });
            Some((proof, height, named))
        };
        service.ask(question)
    };
    wait_named(&service.hub, ask).await
}

/// Asks for something under the present state, the height of that state, and the block that names it; waits
/// for that block if it is not there yet.
pub(super) async fn wait_named<T, A>(
    hub: &Hub,
    ask: impl Fn() -> A,
) -> Result<Option<(FinalityProof, T)>, ApiError>
where
    A: Future<Output = Result<Option<(T, Height, Option<FinalityProof>)>, ApiError>>,
{
    let until = Instant::now() + PROOF_WAIT;
    loop {
        // Listening starts before asking, so the block cannot fall in between.
        let mut commits = hub.listen();
        let Some((proof, height, named)) = ask().await? else {
            return Ok(None);
        };
        if let Some(finality) = named {
            return Ok(Some((finality, proof)));
        }
        match tokio::time::timeout_at(until, naming(&mut commits, height)).await {
            Ok(Some(finality)) => return Ok(Some((finality, proof))),
            // A snapshot took the place of blocks, or there were too many of them, so there is another state
            // to prove; where the node stops, the next question says so.
            Ok(None) => {}
            Err(_) => {
                return Err(ApiError::new(
                    axum::http::StatusCode::SERVICE_UNAVAILABLE,
                    "not_final_yet",
                    "no block names the present state yet; try again",
                ));
            }
        }
    }
}

/// The block after a height, which names the state after it. `None` if the stream ends before.
async fn naming(commits: &mut Listener, height: Height) -> Option<FinalityProof> {
    loop {
        let committed = commits.recv().await?;
        if committed.block.header().height == height.next() {
            return Some(FinalityProof {
                header: committed.block.header().clone(),
                certificate: committed.certificate.clone(),
            });
        }
    }
}

pub(super) async fn latest_block(State(gate): State<Arc<Gate>>) -> Answer<view::Block> {
    let service = gate.service()?;
    let height = service.ask(|view| view.replica.tip().parent.height).await?;
    block_at(service, height).await
}

pub(super) async fn block(
    State(gate): State<Arc<Gate>>,
    Path(text): Path<String>,
) -> Answer<view::Block> {
    let height: u64 = text.parse().map_err(|_| {
        ApiError::bad(
            "malformed_height",
            "a height is a whole number from 1, or `latest`",
        )
    })?;
    block_at(gate.service()?, Height::new(height)).await
}

async fn block_at(service: &Arc<Service>, height: Height) -> Answer<view::Block> {
    let of = Arc::clone(service);
    let read = move || {
        let decided = of.blocks.get(height)?;
        let gap = match decided {
            Some(_) => None,
            None => of.blocks.store().gap(height)?,
        };
        Ok((decided, of.committee_at(height)?, gap))
    };
    let (decided, committee, gap) = read_back(read).await?;
    let decided = decided.ok_or_else(|| no_block(gap))?;
    let block = &decided.block;
    let transactions = block
        .body
        .transactions
        .iter()
        .filter_map(|bytes| polity_replica::transaction_id(bytes.as_slice()))
        .map(|id| TransactionId::new(*id.as_bytes()))
        .collect();
    Ok(Json(view::Block::new(
        committee.as_deref(),
        &block.header,
        &decided.certificate,
        transactions,
        block.body.evidence.len(),
    )))
}

/// Why there is no block: it is not decided, or a snapshot passed it over.
fn no_block(gap: Option<(Height, Height)>) -> ApiError {
    match gap {
        None => ApiError::not_found("unknown_block", "no block is decided at this height"),
        Some((first, last)) => {
            let message = format!(
                "this node started from a snapshot at height {last} and does not hold blocks {first} to {last}; ask another node"
            );
            ApiError::not_found("block_not_held", message)
        }
    }
}

/// Reads from index and journal, which may wait for the disk.
async fn read_back<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| ApiError::stopping())?
        .map_err(|error| ApiError::storage(&error))
}

impl Service {
    /// The committee of a height, if this node knows how the epoch before ended.
    fn committee_at(&self, height: Height) -> Result<Option<Arc<CommitteeTable>>, ArchiveError> {
        let Some(before) = self.chain.epoch(height).previous() else {
            return Ok(Some(Arc::clone(self.chain.table(height))));
        };
        let end = self.blocks.epoch_ends(before, 1)?.pop();
        Ok(end
            .filter(|end| end.last.header.epoch == before)
            .and_then(|end| CommitteeTable::new(end.next).ok())
            .map(Arc::new))
    }
}

/// `GET /v1/epochs`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct EpochPage {
    from: u64,
    limit: usize,
}

impl Default for EpochPage {
    fn default() -> Self {
        Self {
            from: 0,
            limit: EPOCHS_MAX,
        }
    }
}

pub(super) async fn epochs(
    State(gate): State<Arc<Gate>>,
    page: Result<Query<EpochPage>, QueryRejection>,
) -> Answer<view::Epochs> {
    let Query(page) = page?;
    check_limit(page.limit, EPOCHS_MAX)?;
    let blocks = Arc::clone(&gate.service()?.blocks);
    // One more tells whether there is a next page.
    let read = move || blocks.epoch_ends(Epoch::new(page.from), page.limit + 1);
    let mut ends = read_back(read).await?;
    let next = ends.get(page.limit).map(|end| end.last.header.epoch);
    ends.truncate(page.limit);
    Ok(Json(view::Epochs { ends, next }))
}

pub(super) async fn committee(State(gate): State<Arc<Gate>>) -> Answer<view::Committee> {
    let service = gate.service()?;
    let epoch_length = service.genesis.consensus.epoch_length;
    let answer = service.ask(move |view| {
        let replica = &*view.replica;
        let height = replica.tip().parent.height;
        let epoch = replica.chain().epoch(height.next());
        let table = replica.chain().committee(height.next());
        let ends = epoch.get().saturating_add(1).saturating_mul(epoch_length);
        view::Committee {
            height,
            epoch,
            epoch_length,
            quorum: table.thresholds().quorum(),
            present: replica.members().to_vec(),
            next_from: Height::new(ends).next(),
            next: replica.next_members(),
        }
    });
    Ok(Json(answer.await?))
}

pub(super) async fn status(State(gate): State<Arc<Gate>>) -> Answer<view::Status> {
    let service = gate.service()?;
    Ok(Json(read_status(service).await?))
}

/// Everything about the node at once.
pub(super) async fn read_status(service: &Arc<Service>) -> Result<view::Status, ApiError> {
    let counters = service.transport.counters();
    let peers = counters
        .peers
        .iter()
        .map(|(id, peer)| view::Peer {
            replica: *id,
            name: service.links.name(*id),
            connected: peer.is_connected,
            connected_to_us: peer.is_connected_to_us,
            round_trip_us: peer.round_trip_us,
        })
        .collect();
    let of = Arc::clone(service);
    let ready = service.links.is_quorum();
    service
        .ask(move |view| {
            let journal_bytes = view.journal_bytes;
            let state_root = view.replica.ledger_mut().root();
            let replica = &*view.replica;
            let tip = replica.tip();
            let machine = replica.machine();
            let supply = replica.ledger().supply();
            view::Status {
                federation: of.genesis.name.clone(),
                name: of.name.clone(),
                replica: of.own,
                votes: machine.has_vote(),
                epoch: replica.chain().epoch(tip.parent.height.next()),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                chain: of.chain.id(),
                height: tip.parent.height,
                view: machine.view(),
                leader: of.links.name(machine.leader()),
                block: tip.parent.digest,
                block_time: tip.parent.timestamp,
                state_root,
                application_root: tip.roots.application,
                receipts_root: tip.roots.receipts,
                supply,
                supply_total: supply.total(),
                pool_transactions: replica.pool().len(),
                validity_horizon: replica.ledger().parameters().validity_horizon,
                journal_bytes,
                syncing: view::Syncing::of(replica),
                ready,
                peers,
            }
        })
        .await
}

pub(super) async fn evidence(State(gate): State<Arc<Gate>>) -> Answer<Vec<view::EvidenceView>> {
    let service = Arc::clone(gate.service()?);
    // What is reported just now may be of an epoch of which the index knows nothing yet.
    let present = service.ask(|view| view.replica.chain().clone()).await?;
    let read = move || {
        let mut list = Vec::new();
        for (id, bytes) in service.blocks.store().evidence()? {
            let evidence = wire::decode::<Evidence>(&bytes, EVIDENCE_BYTES_MAX);
            let mut proof = String::with_capacity(2 * bytes.len());
            let (Ok(evidence), Ok(())) = (evidence, polity_types::write_hex(&bytes, &mut proof))
            else {
                continue;
            };
            let (height, view) = evidence.position();
            let past = match service.committee_at(height)? {
                Some(table) if !present.is_known(height) => {
                    Some(present.at(present.epoch(height), table))
                }
                _ => None,
            };
            list.push(view::EvidenceView {
                id: Sha256Digest::new(id),
                accused: evidence.accused(past.as_ref().unwrap_or(&present)),
                kind: evidence.kind(),
                height,
                view,
                proof,
            });
        }
        Ok(list)
    };
    Ok(Json(read_back(read).await?))
}
