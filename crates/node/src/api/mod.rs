//! The HTTP interface: JSON over HTTP/1.1.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/transactions` | one signed transaction, or a list: taken, known, decided, or why not |
//! | `GET /v1/transactions/{id}` | where it stands, its receipt, its finality proof; `?wait_ms=` waits |
//! | `GET /v1/accounts/{address}` | balance |
//! | `GET /v1/accounts/{address}/locks` | open locks from and to it; `?limit=` and `&after=` page |
//! | `GET /v1/accounts/{address}/proof` | proof that holds without this node |
//! | `GET /v1/locks/{id}`, `GET /v1/locks/{id}/proof` | a lock, and its proof |
//! | `GET /v1/blocks/{height}`, `GET /v1/blocks/latest` | a block with its finality proof |
//! | `GET /v1/status` | height, view, leader, roots, peers |
//! | `GET /v1/evidence` | proofs of offences |
//! | `GET /v1/events` | server-sent events, one for each committed block; `?receipts=true` |
//! | `GET /v1/health`, `GET /v1/ready` | whether the process lives, whether it can decide |
//! | `GET /metrics` | Prometheus text |
//!
//! Every error is `{"code": "...", "message": "..."}` with a stable code. Bodies, requests in
//! progress, connections and event streams are bounded. There are no passwords: writing needs a
//! signed transaction, reading needs nothing, so the interface belongs on loopback or behind a proxy.

mod error;
mod events;
mod listener;
mod metrics;
mod queries;
mod transactions;

pub use error::ApiError;
pub use listener::Bounded;
pub use transactions::{BINARY_LIST, BINARY_ONE, LIST_MAX};

use crate::admission::Admission;
use crate::archive::Blocks;
use crate::config;
use crate::driver::{Command, View};
use crate::hub::Hub;
use crate::links::Links;
use crate::meters::Meters;
use crate::transport::Transport;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use polity_consensus::fbpbft::Chain;
use polity_replica::Genesis;
use polity_types::ReplicaId;
use serde_json::json;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// What answers requests once the node has recovered.
#[derive(Debug)]
pub struct Service {
    /// What the founders agreed on.
    pub genesis: Genesis,
    /// The chain.
    pub chain: Chain,
    /// This node.
    pub own: ReplicaId,
    /// The driver.
    pub commands: mpsc::Sender<Command>,
    /// The verifying threads.
    pub admission: Arc<Admission>,
    /// Tells of committed blocks.
    pub hub: Arc<Hub>,
    /// Decided blocks.
    pub blocks: Arc<Blocks>,
    /// The links.
    pub transport: Arc<Transport>,
    /// Which members can be reached.
    pub links: Arc<Links>,
}

/// What the interface has from the first moment on.
#[derive(Debug)]
pub struct Gate {
    service: OnceLock<Arc<Service>>,
    meters: Arc<Meters>,
    requests: Semaphore,
    streams: Arc<Semaphore>,
    /// Walks over many things, of which the driver shows a few at a time.
    walks: Semaphore,
}

impl Gate {
    /// A gate that is closed until the node has recovered.
    pub fn new(config: &config::Api, meters: Arc<Meters>) -> Arc<Self> {
        Arc::new(Self {
            service: OnceLock::new(),
            meters,
            requests: Semaphore::new(config.requests_max),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            walks: Semaphore::new(8),
        })
    }

    /// Opens the gate. A second time changes nothing.
    pub fn open(&self, service: Arc<Service>) {
        let _ = self.service.set(service);
    }

    fn service(&self) -> Result<&Arc<Service>, ApiError> {
        self.service.get().ok_or_else(ApiError::not_ready)
    }
}

impl Service {
    /// Asks the driver about its replica.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let question = Command::Ask(Box::new(move |view| {
            // The client may have gone.
            let _ = reply.send(question(view));
        }));
        self.commands
            .try_send(question)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ApiError::busy(),
                mpsc::error::TrySendError::Closed(_) => ApiError::stopping(),
            })?;
        answer.await.map_err(|_| ApiError::stopping())
    }

    fn name(&self, id: ReplicaId) -> String {
        let member = self.genesis.members.iter().find(|member| member.id == id);
        member.map_or_else(|| id.to_string(), |member| member.name.clone())
    }
}

/// The whole interface.
pub fn router(gate: &Arc<Gate>, config: &config::Api) -> Router {
    Router::new()
        .route("/v1/transactions", post(transactions::submit))
        .route("/v1/transactions/{id}", get(transactions::one))
        .route("/v1/accounts/{address}", get(queries::account))
        .route("/v1/accounts/{address}/locks", get(queries::account_locks))
        .route("/v1/accounts/{address}/proof", get(queries::account_proof))
        .route("/v1/locks/{id}", get(queries::lock))
        .route("/v1/locks/{id}/proof", get(queries::lock_proof))
        .route("/v1/blocks/latest", get(queries::latest_block))
        .route("/v1/blocks/{height}", get(queries::block))
        .route("/v1/status", get(queries::status))
        .route("/v1/evidence", get(queries::evidence))
        .route("/v1/events", get(events::events))
        .route("/v1/health", get(health))
        .route("/v1/ready", get(ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async { ApiError::not_found("no_such_path", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .layer(middleware::from_fn_with_state(Arc::clone(gate), bound))
        .with_state(Arc::clone(gate))
}

/// Answers 503 at once when too many requests are in progress.
async fn bound(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    gate.meters.requests.add(1);
    let Ok(_permit) = gate.requests.try_acquire() else {
        gate.meters.requests_shed.add(1);
        return Err(ApiError::busy());
    };
    Ok(next.run(request).await)
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(gate): State<Arc<Gate>>) -> Result<Json<serde_json::Value>, ApiError> {
    let service = gate.service()?;
    if !service.links.is_quorum() {
        return Err(ApiError::no_quorum());
    }
    // The driver has to answer, too.
    service.ask(|_| ()).await?;
    Ok(Json(json!({ "status": "ready" })))
}
