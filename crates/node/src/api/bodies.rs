//! Reading the bodies of requests, before the requests count as work.
//!
//! A body comes at the pace of its client. So a request gets a place among those in progress only
//! after its body is complete, and until then it is bounded by itself: in length, in time, and in
//! what all bodies take together. A body no longer than one transaction is outside of the last bound
//! (the number of connections bounds how many there are), so that clients with long and slow bodies
//! cannot shut out those who submit one transaction.

use super::ApiError;
use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use futures_core::Stream as _;
use polity_ledger::SignedTransaction;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of all bodies together, at most, beside the first bytes of each; two bodies always fit.
const BYTES_MAX: usize = 64 << 20;

/// First bytes of each body, which do not count.
const FREE: usize = SignedTransaction::LENGTH_MAX;

/// What all bodies may take.
#[derive(Debug)]
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
    one_max: usize,
    patience: Duration,
}

/// The share of one body, given back when its request is answered.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Bodies {
    pub(super) fn new(one_max: usize, patience: Duration) -> Self {
        Self::with_budget(BYTES_MAX.max(2 * one_max), one_max, patience)
    }

    fn with_budget(budget: usize, one_max: usize, patience: Duration) -> Self {
        Self {
            budget: Arc::new(Semaphore::new(budget)),
            one_max,
            patience,
        }
    }

    /// The same request, with its body in memory.
    pub(super) async fn read(&self, request: Request) -> Result<(Request, Share), ApiError> {
        if request.body().is_end_stream() {
            return Ok((request, Share::default()));
        }
        let (parts, body) = request.into_parts();
        if body.size_hint().lower() > self.one_max as u64 {
            return Err(too_large());
        }
        let (bytes, share) = timeout(self.patience, self.collect(body))
            .await
            .map_err(|_| too_slow())??;
        Ok((Request::from_parts(parts, bytes.into()), share))
    }

    async fn collect(&self, body: Body) -> Result<(Vec<u8>, Share), ApiError> {
        let mut body = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut share = Share::default();
        while let Some(part) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            let part = part.map_err(|error| ApiError::bad("unreadable_body", error.to_string()))?;
            let length = bytes.len() + part.len();
            if length > self.one_max {
                return Err(too_large());
            }
            if length > bytes.capacity() {
                // Doubled, as a vector grows by itself, but never without a share. Lengths that
                // clients merely announce are worth nothing.
                let capacity = length.max(2 * bytes.capacity()).min(self.one_max);
                self.grow(&mut share, capacity)?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&part);
        }
        Ok((bytes, share))
    }

    /// Enlarges a share to that of a body of `bytes`.
    fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), ApiError> {
        let held = share
            .0
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.saturating_sub(FREE).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| too_large())?;
        let permit = Arc::clone(&self.budget)
            .try_acquire_many_owned(more)
            .map_err(|_| ApiError::busy())?;
        match &mut share.0 {
            Some(held) => held.merge(permit),
            None => share.0 = Some(permit),
        }
        Ok(())
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "the body is larger than this node takes; send fewer transactions at once",
    )
}

fn too_slow() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "the body did not arrive in time; send fewer transactions at once",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_core::Stream;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A body in parts of 1 KiB; afterwards it ends, or goes silent.
    struct Parts {
        left: usize,
        ends: bool,
    }

    impl Stream for Parts {
        type Item = Result<Vec<u8>, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if self.left > 0 {
                self.left -= 1;
                return Poll::Ready(Some(Ok(vec![7; 1 << 10])));
            }
            if self.ends {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    }

    fn request(parts: usize, ends: bool) -> Request {
        Request::new(Body::from_stream(Parts { left: parts, ends }))
    }

    fn code(result: Result<(Request, Share), ApiError>) -> &'static str {
        result.unwrap_err().code
    }

    #[tokio::test]
    async fn a_body_is_the_same_afterwards() {
        let bodies = Bodies::new(1 << 20, PATIENCE);
        for parts in [1, 63, 64, 65, 1_000, 1_024] {
            let (read, _share) = bodies.read(request(parts, true)).await.unwrap();
            let bytes = axum::body::to_bytes(read.into_body(), usize::MAX).await;
            assert_eq!(bytes.unwrap(), vec![7; parts << 10]);
        }
        let (_, share) = bodies.read(Request::new(Body::empty())).await.unwrap();
        assert!(share.0.is_none());
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused() {
        let bodies = Bodies::new(1 << 20, PATIENCE);
        let found = bodies.read(request(1_025, false)).await;
        assert_eq!(code(found), "body_too_large");
        // An announced length is enough.
        let long = Request::new(Body::from(vec![0; (1 << 20) + 1]));
        assert_eq!(code(bodies.read(long).await), "body_too_large");
        assert_eq!(bodies.budget.available_permits(), BYTES_MAX);
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_cut_and_gives_its_share_back() {
        let bodies = Bodies::new(1 << 20, PATIENCE);
        let found = bodies.read(request(1_000, false)).await;
        assert_eq!(code(found), "body_too_slow");
        assert_eq!(bodies.budget.available_permits(), BYTES_MAX);
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded_and_short_ones_always_fit() {
        let bodies = Bodies::with_budget(2 << 20, 1 << 20, PATIENCE);
        let slow = || bodies.read(request(1_024, false));
        let slow = async { tokio::join!(slow(), slow()) };
        let others = async {
            tokio::task::yield_now().await;
            let found = bodies.read(request(1_024, true)).await;
            assert_eq!(code(found), "busy");
            bodies.read(request(FREE >> 10, true)).await.unwrap();
        };
        let ((first, second), ()) = tokio::join!(slow, others);
        assert_eq!(
            (code(first), code(second)),
            ("body_too_slow", "body_too_slow")
        );
        // A share is held as long as the request is.
        let held = bodies.read(request(1_024, true)).await.unwrap();
        assert_eq!(
            bodies.budget.available_permits(),
            (1 << 20) + FREE,
            "{held:?}"
        );
        drop(held);
        assert_eq!(bodies.budget.available_permits(), 2 << 20);
    }
}
