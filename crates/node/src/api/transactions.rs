//! Submitting transactions and asking what became of them.

use super::{ApiError, Gate, Service};
use crate::driver::Submitted;
use crate::host::decode_receipts;
use crate::view::{State as Standing, SubmitResult, Transaction};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use polity_consensus::fbpbft::TransactionBytes;
use polity_ledger::{ReceiptProof, SignedTransaction, TransactionId};
use polity_replica::Admission;
use polity_replica::proof::{FinalityProof, TransactionProof};
use polity_types::{Height, wire};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Transactions in one request, at most.
pub const LIST_MAX: usize = 4_096;

/// How long the index may be behind the ledger before a question is answered with 503.
const INDEX_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks into an index that is behind.
const INDEX_PAUSE: Duration = Duration::from_millis(5);

/// Longest wait for a receipt in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;

/// Content type of one encoded transaction.
pub const BINARY_ONE: &str = "application/octet-stream";
/// Content type of an encoded list of encoded transactions.
pub const BINARY_LIST: &str = "application/vnd.polity.transactions";

/// The transactions of a request, encoded.
struct Submission {
    transactions: Vec<Vec<u8>>,
    is_list: bool,
}

pub(super) async fn submit(
    State(gate): State<Arc<Gate>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let service = gate.service()?;
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this node takes; send fewer transactions at once",
        ),
        _ => ApiError::bad("unreadable_body", error.body_text()),
    })?;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map_or("application/json", |value| value.to_str().unwrap_or(""))
        .to_owned();
    // A long text takes milliseconds to read, in which the runtime could serve others.
    let Submission {
        transactions,
        is_list,
    } = tokio::task::spawn_blocking(move || parse(&content_type, &body))
        .await
        .map_err(|_| ApiError::stopping())??;
    if transactions.len() > LIST_MAX {
        return Err(ApiError::bad(
            "too_many_transactions",
            format!("a request has at most {LIST_MAX} transactions"),
        ));
    }
    if !service.links.is_quorum() {
        return Err(ApiError::no_quorum());
    }
    let judged = service
        .admission
        .from_client(transactions)
        .ok_or_else(ApiError::busy)?;
    let judged = judged.await.map_err(|_| ApiError::stopping())?;
    let results = judged.results().await.ok_or_else(ApiError::stopping)?;
    if is_list {
        let list: Vec<SubmitResult> = results
            .into_iter()
            .map(|result| match result {
                Ok((id, submitted)) => show(id, &submitted),
                Err(error) => SubmitResult {
                    id: None,
                    state: None,
                    receipt: None,
                    error: Some(ApiError::from(error).problem()),
                },
            })
            .collect();
        return Ok(Json(list).into_response());
    }
    let (id, submitted) = results
        .into_iter()
        .next()
        .ok_or_else(ApiError::stopping)??;
    if let Err(refusal) = submitted {
        return Err(refusal.into());
    }
    let shown = show(id, &submitted);
    let status = match shown.state {
        Some(Standing::Decided) => StatusCode::OK,
        Some(Standing::Pending) | None => StatusCode::ACCEPTED,
    };
    Ok((status, Json(shown)).into_response())
}

fn show(id: TransactionId, submitted: &Submitted) -> SubmitResult {
    let (state, receipt, error) = match submitted {
        Ok(Admission::Pending | Admission::Known | Admission::Passing) => {
            (Some(Standing::Pending), None, None)
        }
        // LG-4: submitting an id again returns its receipt.
        Ok(Admission::Decided(receipt)) => (Some(Standing::Decided), Some(receipt.into()), None),
        Err(refusal) => (None, None, Some(ApiError::from(*refusal).problem())),
    };
    SubmitResult {
        id: Some(id),
        state,
        receipt,
        error,
    }
}

/// The encoded transactions in the body of a submission, in any of its three forms. Whether they are
/// transactions, only the JSON forms say.
///
/// # Errors
///
/// If the body is not what the content type says.
pub fn read_submission(content_type: &str, body: &[u8]) -> Result<Vec<Vec<u8>>, ApiError> {
    parse(content_type, body).map(|submission| submission.transactions)
}

/// Reads the three forms of a submission.
fn parse(content_type: &str, body: &[u8]) -> Result<Submission, ApiError> {
    let media = content_type.split(';').next().unwrap_or("").trim();
    match media {
        "application/json" => parse_json(body),
        BINARY_ONE => Ok(Submission {
            transactions: vec![body.to_vec()],
            is_list: false,
        }),
        BINARY_LIST => {
            let list: Vec<TransactionBytes> = wire::decode(body, body.len())
                .map_err(|error| ApiError::bad("malformed_list", error.to_string()))?;
            Ok(Submission {
                transactions: list.into_iter().map(|t| t.as_slice().to_vec()).collect(),
                is_list: true,
            })
        }
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_type",
            format!("send application/json, {BINARY_ONE} or {BINARY_LIST}"),
        )),
    }
}

fn parse_json(body: &[u8]) -> Result<Submission, ApiError> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_list = first == Some(&b'[');
    let parsed: Result<Vec<SignedTransaction>, _> = if is_list {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|one| vec![one])
    };
    let transactions = parsed.map_err(|error| json_error(body, &error))?;
    Ok(Submission {
        transactions: transactions.iter().map(SignedTransaction::encode).collect(),
        is_list,
    })
}

/// Which of the things that can be wrong with a JSON text it is.
fn json_error(body: &[u8], error: &serde_json::Error) -> ApiError {
    if error.is_syntax() || error.is_eof() {
        return ApiError::bad("malformed_json", error.to_string());
    }
    let lacks_signatures = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .is_some_and(|value| {
            let is_unsigned = |one: &serde_json::Value| {
                one.get("transaction").is_some()
                    && one
                        .get("signatures")
                        .is_none_or(|list| list.as_array().is_some_and(Vec::is_empty))
            };
            match &value {
                serde_json::Value::Array(list) => list.iter().any(is_unsigned),
                one => is_unsigned(one),
            }
        });
    if lacks_signatures {
        return ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unsigned",
            "the transaction has no signature; sign it with the keys that it names",
        );
    }
    ApiError::bad("malformed_transaction", error.to_string())
}

/// `GET /v1/transactions/{id}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wait {
    wait_ms: u64,
}

pub(super) async fn one(
    State(gate): State<Arc<Gate>>,
    Path(id): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<Transaction>, ApiError> {
    let service = gate.service()?;
    let Query(wait) = wait?;
    let id: TransactionId = id.parse().map_err(|error: polity_types::HexError| {
        ApiError::bad("malformed_id", error.to_string())
    })?;
    let until = Instant::now() + Duration::from_millis(wait.wait_ms.min(WAIT_MAX_MS));
    // Listening starts before looking, so nothing falls in between.
    let mut commits = service.hub.listen();
    loop {
        let found = look_up(service, id).await?;
        let is_complete = found.as_ref().is_some_and(|found| found.proof.is_some());
        if is_complete || Instant::now() >= until {
            return found.map(Json).ok_or_else(|| {
                ApiError::not_found(
                    "unknown_transaction",
                    "no block holds this transaction and it does not wait here",
                )
            });
        }
        // A time that is over shows what is known now.
        if let Ok(None) = tokio::time::timeout_at(until, commits.recv()).await {
            // A snapshot took the place of blocks, or there were too many of them; where the node stops, the
            // next look says so.
            commits = service.hub.listen();
        }
    }
}

/// What is known about a transaction.
async fn look_up(
    service: &Arc<Service>,
    id: TransactionId,
) -> Result<Option<Transaction>, ApiError> {
    // The pool first: what was refused for now may have been sent again, and then it waits,
    // whatever an older block says.
    let (is_waiting, latest, height) = service
        .ask(move |view| {
            let replica = &*view.replica;
            let height = replica.tip().parent.height;
            let waits = replica.pool().contains(&id);
            (waits, replica.ledger().receipt(&id), height)
        })
        .await?;
    if is_waiting {
        return Ok(Some(Transaction {
            id,
            state: Standing::Pending,
            receipt: None,
            proof: None,
        }));
    }
    // It may have been refused for now in a block that the index does not know yet.
    let until = Instant::now() + INDEX_WAIT;
    let found = loop {
        let blocks = Arc::clone(&service.blocks);
        let (found, indexed) = tokio::task::spawn_blocking(move || find(&blocks, id))
            .await
            .map_err(|_| ApiError::stopping())??;
        // A receipt in the ledger is the newest there is.
        if indexed >= height || latest.is_some() {
            break found;
        }
        if Instant::now() >= until {
            return Err(ApiError::busy());
        }
        tokio::time::sleep(INDEX_PAUSE).await;
    };
    let is_current = |found: &Transaction| {
        let shown = found.receipt.as_ref().map(|receipt| receipt.height);
        latest.is_none_or(|latest| shown == Some(latest.height))
    };
    let found = found.filter(is_current).or_else(|| {
        latest.map(|receipt| Transaction {
            id,
            state: Standing::Decided,
            receipt: Some((&receipt).into()),
            proof: None,
        })
    });
    held(found)
}

/// A decision whose receipt is not here is no answer.
fn held(found: Option<Transaction>) -> Result<Option<Transaction>, ApiError> {
    if found.as_ref().is_some_and(|found| found.receipt.is_none()) {
        return Err(ApiError::not_found(
            "receipt_not_held",
            "a block holds this transaction, but this node does not hold its receipt; ask another node",
        ));
    }
    Ok(found)
}

/// What the index says of a transaction, and up to which height it says all.
fn find(
    blocks: &crate::archive::Blocks,
    id: TransactionId,
) -> Result<(Option<Transaction>, Height), ApiError> {
    let indexed = blocks.store().last_height();
    let indexed = indexed.map_err(|error| ApiError::storage(&error))?;
    Ok((find_indexed(blocks, id)?, indexed.unwrap_or(Height::ZERO)))
}

/// The same. A transaction without a receipt is one whose block is known and whose receipt is not.
fn find_indexed(
    blocks: &crate::archive::Blocks,
    id: TransactionId,
) -> Result<Option<Transaction>, ApiError> {
    let store = blocks.store();
    let storage = |error: crate::store::StoreError| ApiError::storage(&error);
    let Some((height, position)) = store.transaction(id.as_bytes()).map_err(storage)? else {
        return Ok(None);
    };
    let receipts = store
        .receipts(height)
        .map_err(storage)?
        .and_then(|bytes| decode_receipts(&bytes))
        .unwrap_or_default();
    // The receipts of a height stand in the header of the next one.
    let next = blocks
        .get(height.next())
        .map_err(|error| ApiError::storage(&error))?;
    let proof = next.and_then(|decided| {
        Some(TransactionProof {
            finality: FinalityProof {
                header: decided.block.header.clone(),
                certificate: decided.certificate,
            },
            receipt: ReceiptProof::new(&receipts, position)?,
        })
    });
    Ok(Some(Transaction {
        id,
        state: Standing::Decided,
        receipt: receipts.get(position as usize).map(Into::into),
        proof,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Blocks;
    use crate::hub::tests::block;
    use crate::journal::{Journal, Reader};
    use crate::lock::DirectoryLock;
    use crate::scratch::Scratch;
    use crate::store::{BlockEntry, Store};
    use polity_crypto::Sha256Digest;

    #[test]
    fn a_transaction_whose_receipt_is_not_held_is_not_unknown() {
        let committed = block();
        let chain = committed.block.header().chain;
        let id = committed.receipts[0].id;
        let scratch = Scratch::new();
        let lock = DirectoryLock::acquire(scratch.path()).unwrap();
        let owner = Sha256Digest::ZERO;
        drop(Journal::open_in(&lock, chain, &owner, |_, _| {}).unwrap());
        let store = Arc::new(Store::open(&scratch.path().join("index"), chain).unwrap());
        let reader = Reader::open_in(scratch.path(), chain).unwrap();
        let blocks = Blocks::new(Arc::clone(&store), reader);
        let answer = || held(find(&blocks, id).unwrap().0);
        assert_eq!(answer().unwrap(), None);
        let place = BlockEntry {
            block_offset: 0,
            certificate_offset: 0,
            digest: [0; 32],
        };
        let height = Height::new(1);
        store.put_block(height, &place, &[*id.as_bytes()]).unwrap();
        assert_eq!(answer().unwrap_err().code, "receipt_not_held");
        let receipts = crate::host::encode_receipts(&committed.receipts);
        store.put_receipts([(height, receipts.as_slice())]).unwrap();
        let found = answer().unwrap().unwrap();
        assert_eq!(found.receipt.unwrap().height, height);
    }
}
