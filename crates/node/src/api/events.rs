//! Server-sent events: one for each committed block.

use super::{ApiError, Gate};
use crate::hub::Listener;
use crate::view::Commit;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Silence after which a comment shows that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// `GET /v1/events`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    receipts: bool,
}

/// The stream of one listener.
pub(super) struct Commits {
    /// Says that the stream has begun; commits from then on are in it.
    first: Option<Event>,
    blocks: Listener,
    with_receipts: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(gate): State<Arc<Gate>>,
    options: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
) -> Result<Sse<axum::response::sse::KeepAliveStream<Commits>>, ApiError> {
    let service = gate.service()?;
    let Query(options) = options.map_err(|error| ApiError::bad("bad_query", error.body_text()))?;
    let place = Arc::clone(&gate.streams)
        .try_acquire_owned()
        .map_err(|_| ApiError::busy())?;
    let blocks = service.hub.listen();
    let height = service.ask(|view| view.replica.tip().parent.height).await?;
    let first = Event::default()
        .event("begin")
        .data(serde_json::json!({ "height": height }).to_string());
    let commits = Commits {
        first: Some(first),
        blocks,
        with_receipts: options.receipts,
        _place: place,
    };
    Ok(Sse::new(commits).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Stream for Commits {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let with_receipts = self.with_receipts;
        self.blocks.poll_recv(context).map(|block| {
            let block = block?;
            let commit = Commit::new(&block, with_receipts);
            // The type has no keys that are not text, so this does not fail.
            let json = serde_json::to_string(&commit).ok()?;
            let id = commit.height.to_string();
            Some(Ok(Event::default().event("commit").id(id).data(json)))
        })
    }
}
