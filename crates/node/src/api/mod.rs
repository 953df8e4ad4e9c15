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
//! | `GET /v1/status` | height, view, leader, roots, peers, whether the node votes |
//! | `GET /v1/committee` | who votes now, and from the next epoch on |
//! | `GET /v1/epochs` | how epochs ended, and who voted then, to be verified; `?from=` and `&limit=` page |
//! | `GET /v1/evidence` | proofs of offences |
//! | `GET /v1/events` | server-sent events, one for each committed block; `?receipts=true` |
//! | `GET /v1/health`, `GET /v1/ready` | whether the process lives, whether it can decide |
//! | `GET /metrics` | Prometheus text |
//!
//! Every error is `{"code": "...", "message": "..."}` with a stable code. There are no passwords:
//! writing needs a signed transaction, reading needs nothing, so the interface belongs on loopback or
//! behind a proxy.
//!
//! # Bounds
//!
//! | what | bound | what falls out |
//! |---|---|---|
//! | connections | [`connections_max`](config::Api::connections_max) | further ones get 503, except for health, readiness and metrics |
//! | head of a request, idle connection | 15 seconds | the connection |
//! | body of a request | [`body_bytes_max`](config::Api::body_bytes_max), 10 seconds | the request, with 413 or 408 |
//! | all bodies together | 64 MiB, beside what one transaction takes | the request, with 503 |
//! | requests in progress | [`requests_max`](config::Api::requests_max) | the request, with 503 |
//! | requests that may wait for a block | as many again | the request, with 503 |
//! | event streams | [`streams_max`](config::Api::streams_max) | the request, with 503 |
//! | part of an answer that the client does not take | 20 seconds | the connection |
//!
//! A request is in progress from the end of its body to its answer. Those that may wait for a block
//! count apart, so that waiting keeps nobody from asking. Health, readiness and metrics count
//! nowhere: they tell how the node is when it has most to do.

mod bodies;
mod error;
mod events;
mod metrics;
mod queries;
mod server;
#[cfg(test)]
mod tests;
mod transactions;

pub use error::ApiError;
pub use server::serve;
pub use transactions::{BINARY_LIST, BINARY_ONE, LIST_MAX, read_submission};

use crate::admission::Admission;
use crate::archive::Blocks;
use crate::config;
use crate::driver::{Command, View};
use crate::hub::Hub;
use crate::links::Links;
use crate::meters::Meters;
use crate::transport::Transport;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use bodies::Bodies;
use polity_consensus::fbpbft::Chain;
use polity_replica::Genesis;
use polity_types::ReplicaId;
use serde_json::json;
use server::Patience;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

/// Questions about readiness and metrics at the same time; further ones wait for their turn.
const PROBES_MAX: usize = 16;

/// What answers requests once the node has recovered.
#[derive(Debug)]
pub struct Service {
    /// What the founders agreed on.
    pub genesis: Genesis,
    /// The chain.
    pub chain: Chain,
    /// This node.
    pub own: ReplicaId,
    /// What people call it.
    pub name: String,
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
    /// Requests that are answered at once.
    requests: Semaphore,
    /// Requests that may wait for a block.
    waits: Semaphore,
    probes: Semaphore,
    streams: Arc<Semaphore>,
    /// Walks over many things, of which the driver shows a few at a time.
    walks: Semaphore,
    bodies: Bodies,
    patience: Patience,
}

impl Gate {
    /// A gate that is closed until the node has recovered.
    pub fn new(config: &config::Api, meters: Arc<Meters>) -> Arc<Self> {
        Self::with_patience(config, meters, Patience::default())
    }

    fn with_patience(config: &config::Api, meters: Arc<Meters>, patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            service: OnceLock::new(),
            meters,
            requests: Semaphore::new(config.requests_max),
            waits: Semaphore::new(config.requests_max),
            probes: Semaphore::new(PROBES_MAX),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            walks: Semaphore::new(8),
            bodies: Bodies::new(config.body_bytes_max, patience.body),
            patience,
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
    /// Asks the driver about its replica. Waits for a place among the driver's commands: those who
    /// ask are bounded themselves.
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
            .send(question)
            .await
            .map_err(|_| ApiError::stopping())?;
        answer.await.map_err(|_| ApiError::stopping())
    }
}

/// The whole interface.
pub fn router(gate: &Arc<Gate>, config: &config::Api) -> Router {
    let prompt = Router::new()
        .route("/v1/transactions", post(transactions::submit))
        .route("/v1/accounts/{address}", get(queries::account))
        .route("/v1/accounts/{address}/locks", get(queries::account_locks))
        .route("/v1/locks/{id}", get(queries::lock))
        .route("/v1/blocks/latest", get(queries::latest_block))
        .route("/v1/blocks/{height}", get(queries::block))
        .route("/v1/status", get(queries::status))
        .route("/v1/committee", get(queries::committee))
        .route("/v1/epochs", get(queries::epochs))
        .route("/v1/evidence", get(queries::evidence))
        .route("/v1/events", get(events::events))
        .layer(middleware::from_fn_with_state(Arc::clone(gate), prompt));
    let perhaps = Router::new()
        .route("/v1/transactions/{id}", get(transactions::one))
        .layer(middleware::from_fn_with_state(Arc::clone(gate), perhaps));
    let patient = Router::new()
        .route("/v1/accounts/{address}/proof", get(queries::account_proof))
        .route("/v1/locks/{id}/proof", get(queries::lock_proof))
        .layer(middleware::from_fn_with_state(Arc::clone(gate), patient));
    prompt
        .merge(perhaps)
        .merge(patient)
        .merge(probes())
        .fallback(|| async { ApiError::not_found("no_such_path", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .layer(middleware::from_fn_with_state(Arc::clone(gate), count))
        .with_state(Arc::clone(gate))
}

/// What is left of the interface on a connection beyond the bound.
fn spare_router(gate: &Arc<Gate>) -> Router {
    probes()
        .fallback(|State(gate): State<Arc<Gate>>| async move { gate.shed() })
        .layer(middleware::from_fn_with_state(Arc::clone(gate), count))
        .with_state(Arc::clone(gate))
}

/// How the node is, whatever else it has to do.
fn probes() -> Router<Arc<Gate>> {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/ready", get(ready))
        .route("/metrics", get(metrics::metrics))
}

async fn count(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    gate.meters.requests.add(1);
    next.run(request).await
}

/// For requests that are answered at once.
async fn prompt(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    gate.bound(&gate.requests, request, next).await
}

/// For requests that may wait for a block.
async fn patient(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    gate.bound(&gate.waits, request, next).await
}

/// For requests that wait for a block if they say so, which takes a query. It is read later, so any
/// query counts.
async fn perhaps(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let places = match request.uri().query() {
        Some(_) => &gate.waits,
        None => &gate.requests,
    };
    gate.bound(places, request, next).await
}

impl Gate {
    /// Reads the body, and then answers 503 at once when too many requests are in progress.
    async fn bound(
        &self,
        places: &Semaphore,
        request: Request,
        next: Next,
    ) -> Result<Response, ApiError> {
        let (request, _share) = match self.bodies.read(request).await {
            Ok(read) => read,
            Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => {
                return Err(self.shed());
            }
            Err(error) => return Err(error),
        };
        let Ok(_place) = places.try_acquire() else {
            return Err(self.shed());
        };
        Ok(next.run(request).await)
    }

    /// Waits for the turn of a question about the node itself. No permit of other requests is
    /// needed, so their load does not matter.
    async fn probe(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        // The semaphore is never closed.
        self.probes
            .acquire()
            .await
            .map_err(|_| ApiError::stopping())
    }

    /// Too much at once.
    fn shed(&self) -> ApiError {
        self.meters.requests_shed.add(1);
        ApiError::busy()
    }
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(gate): State<Arc<Gate>>) -> Result<Json<serde_json::Value>, ApiError> {
    let service = gate.service()?;
    if !service.links.is_quorum() {
        return Err(ApiError::no_quorum());
    }
    let _turn = gate.probe().await?;
    // The driver has to answer, too.
    service.ask(|_| ()).await?;
    Ok(Json(json!({ "status": "ready" })))
}
