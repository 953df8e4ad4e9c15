//! The server under the interface: connections, and how long a client may take for what.
//!
//! A client that sends or takes its bytes one by one would keep its place for ever, if nothing but
//! silence ended a connection. So everything that depends on the client has a deadline of its own:
//! the head of a request, its body, and each part of an answer. What depends on this node (an answer
//! that is waited for, an event stream without events) has none here.
//!
//! Connections beyond the bound find some spare places, in which only health, readiness and metrics
//! are answered, one request for each connection and a few seconds at most: whoever watches over this
//! node must see that it is busy, and not that it is gone. When these places are taken as well,
//! connections wait in the system's queue, and not for long.

use super::{Gate, router, spare_router};
use crate::config;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

/// Connections beyond the bound, at the same time.
const SPARE_MAX: usize = 16;

/// Bytes that are read ahead on one connection, at most; a head has to fit.
const READ_AHEAD_MAX: usize = 64 << 10;

/// Pause after the system refuses to accept, as it does when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the beginning of a connection, or from the last answer, to the end of the next head. A
    /// connection that is idle ends after this time, too.
    pub(super) head: Duration,
    /// From the end of the head to the end of the body.
    pub(super) body: Duration,
    /// For making room for the next part of an answer.
    pub(super) answer: Duration,
    /// For everything, in a spare place.
    pub(super) spare: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            spare: Duration::from_secs(5),
        }
    }
}

/// Serves the interface until `ended` is done, and then until every connection has its answer.
pub async fn serve(
    listener: TcpListener,
    gate: Arc<Gate>,
    config: config::Api,
    ended: impl Future<Output = ()>,
) {
    let patience = gate.patience;
    let full = router(&gate, &config);
    let spare = spare_router(&gate);
    serve_routers(
        listener,
        [full, spare],
        config.connections_max,
        patience,
        ended,
    )
    .await;
}

pub(super) async fn serve_routers(
    listener: TcpListener,
    [full, spare]: [Router; 2],
    connections_max: usize,
    patience: Patience,
    ended: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let spare_places = Arc::new(Semaphore::new(SPARE_MAX));
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut ended = pin!(ended);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &spare_places) => accepted,
            // Collects what ended; the set would grow otherwise.
            Some(_) = tasks.join_next() => continue,
            () = &mut ended => break,
        };
        let Some((stream, spare_place)) = accepted else {
            continue;
        };
        let stopping = stopping.clone();
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            drop(spare_place);
            let conversation =
                converse(builder(patience), stream, full.clone(), patience, stopping);
            tasks.spawn(async move {
                conversation.await;
                drop(place);
            });
        } else {
            let mut builder = builder(patience);
            builder.keep_alive(false);
            let conversation = converse(builder, stream, spare.clone(), patience, stopping);
            tasks.spawn(async move {
                // Whoever is late has had its chance.
                let _ = timeout(patience.spare, conversation).await;
                drop(spare_place);
            });
        }
    }
    drop(listener);
    // Nobody listens if no connection is left.
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
}

/// The next connection, with a spare place until it has found a proper one.
async fn accept(
    listener: &TcpListener,
    spare_places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(spare_places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        // The client has gone again.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            tracing::warn!(%error, "the HTTP interface cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn builder(patience: Patience) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(READ_AHEAD_MAX);
    builder
}

/// Answers the requests of one connection.
async fn converse(
    builder: http1::Builder,
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Connection {
        stream,
        patience: patience.answer,
        stalled: None,
    });
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    // A connection that breaks is the client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// A stream that ends when the other side does not take what is sent to it.
struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Runs while there is no room for the next part.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        if poll.is_ready() {
            // The system makes room in large parts, so this is progress and not a byte.
            self.stalled = None;
            return poll;
        }
        let patience = self.patience;
        self.stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)))
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
