//! Server-sent events: one for each committed block.
//!
//! ```text
//! begin {height}   commit, commit, …   end {height}
//! ```
//!
//! A stream ends when the node stops, when its reader is too slow, and where a snapshot takes the place of
//! blocks. Its last event says the height that it got to: whoever reads on asks for the blocks above it,
//! and opens another stream.

use super::{ApiError, Gate};
use crate::hub::Listener;
use crate::view::Commit;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use polity_types::Height;
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
    /// Absent when the stream is over.
    blocks: Option<Listener>,
    /// The height that the reader has got to.
    height: Height,
    with_receipts: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(gate): State<Arc<Gate>>,
    options: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
) -> Result<Sse<axum::response::sse::KeepAliveStream<Commits>>, ApiError> {
    let service = gate.service()?;
    let Query(options) = options?;
    let place = Arc::clone(&gate.streams)
        .try_acquire_owned()
        .map_err(|_| ApiError::busy())?;
    let blocks = service.hub.listen();
    let height = service.ask(|view| view.replica.tip().parent.height).await?;
    let commits = Commits {
        first: Some(at("begin", height)),
        blocks: Some(blocks),
        height,
        with_receipts: options.receipts,
        _place: place,
    };
    Ok(Sse::new(commits).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn at(name: &str, height: Height) -> Event {
    let data = serde_json::json!({ "height": height });
    Event::default().event(name).data(data.to_string())
}

impl Stream for Commits {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(blocks) = &mut self.blocks else {
            return Poll::Ready(None);
        };
        let block = ready!(blocks.poll_recv(context));
        let commit = block.map(|block| Commit::new(&block, self.with_receipts));
        // The type has no keys that are not text, so this does not fail.
        let shown = commit.and_then(|commit| {
            let json = serde_json::to_string(&commit).ok()?;
            Some((commit.height, json))
        });
        let event = if let Some((height, json)) = shown {
            self.height = self.height.max(height);
            let id = height.to_string();
            Event::default().event("commit").id(id).data(json)
        } else {
            self.blocks = None;
            at("end", self.height)
        };
        Poll::Ready(Some(Ok(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, tests::block};
    use axum::body::to_bytes;
    use axum::response::IntoResponse as _;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn a_stream_that_ends_says_where() {
        let hub = Hub::default();
        let places = Arc::new(Semaphore::new(2));
        let stream = |height: u64| Commits {
            first: None,
            blocks: Some(hub.listen()),
            height: Height::new(height),
            with_receipts: false,
            _place: Arc::clone(&places).try_acquire_owned().unwrap(),
        };
        let (one, other) = (stream(0), stream(7));
        hub.publish(&Arc::new(block()));
        // As when a snapshot was installed.
        hub.close();
        for (stream, end) in [(one, 1), (other, 7)] {
            let body = Sse::new(stream).into_response().into_body();
            let text = to_bytes(body, 1 << 20).await.unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            let events: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("event"))
                .collect();
            assert_eq!(events, ["event: commit", "event: end"]);
            assert!(
                text.ends_with(&format!("data: {{\"height\":{end}}}\n\n")),
                "{text}"
            );
        }
    }
}
