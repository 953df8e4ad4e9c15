//! The connection this node dials to one peer, and sends on.

use super::counters::{Refusal, is_logged};
use super::outbox::Batch;
use super::seal::{Session, TAG_BYTES};
use super::table::{Key, Route};
use super::{Event, Lane, Peer, Shared, frame, tls};
use quinn::{Connection, ConnectionError, WriteError};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A link that held this long was no accident: the next pause is short again.
const STABLE: Duration = Duration::from_secs(5);

/// How often the round trip of an open link is noted.
const ROUND_TRIP_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no link.
enum Failure {
    /// The handshake failed, or the peer closed the connection before its welcome.
    Connection(ConnectionError),
    /// The configuration or the address cannot be dialled at all.
    Local(String),
    /// The peer let us wait too long.
    Timeout,
    /// The welcome is not ours.
    Welcome,
    /// The peer does not prove the secret (tier 1).
    LinkSecret,
}

/// Keeps a link to the peer for as long as it is a member and the transport runs.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut changes = peer.route.subscribe();
    let mut backoff = Backoff::new(shared.limits.redial_min, shared.limits.redial_max);
    loop {
        let route = changes.borrow_and_update().clone();
        if route.is_over() {
            return;
        }
        let Some(address) = route.address else {
            // It may still reach us. The other end of the channel is in the peer, which is here.
            let _ = changes.changed().await;
            continue;
        };
        let attempt = tokio::select! {
            attempt = attempt(&shared, &peer, &route.keys, address) => attempt,
            _ = changes.changed() => continue,
        };
        let Some(attempt) = attempt else {
            continue;
        };
        match attempt {
            Ok(link) => {
                let since = Instant::now();
                let reason = serve(&shared, &peer, link, address, &mut changes).await;
                if since.elapsed() >= STABLE {
                    backoff.reset();
                }
                tracing::info!(peer = %peer.id, %reason, "link broke");
                shared.inbox.link(
                    peer.id,
                    Event::Disconnected {
                        peer: peer.id,
                        reason,
                    },
                );
            }
            Err(failure) => note(&shared, &peer, address, &failure),
        }
        let pause = backoff.next();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = peer.wake.notified() => {}
            _ = changes.changed() => backoff.reset(),
        }
    }
}

/// A connection, and what authenticates its frames under tier 1.
type Link = (Connection, Option<Arc<Session>>);

/// One attempt. `None` if it should start over: a peer that reached us is alive, so an attempt
/// that began before that need not wait until its first packet is repeated.
async fn attempt(
    shared: &Shared,
    peer: &Peer,
    keys: &[Key],
    address: SocketAddr,
) -> Option<Result<Link, Failure>> {
    let began = Instant::now();
    let mut attempt = pin!(connect(shared, peer, keys, address));
    loop {
        tokio::select! {
            result = &mut attempt => return Some(result),
            () = peer.wake.notified() => {
                if began.elapsed() >= shared.limits.redial_min {
                    return None;
                }
            }
        }
    }
}

async fn connect(
    shared: &Shared,
    peer: &Peer,
    keys: &[Key],
    address: SocketAddr,
) -> Result<Link, Failure> {
    let config = shared
        .tls
        .client_config(peer.id, keys, &shared.refusals, &shared.limits)
        .map_err(|error| Failure::Local(error.to_string()))?;
    // The name is not sent and not compared; the key is what counts.
    let connecting = shared
        .endpoint
        .connect_with(config, address, "polity.invalid")
        .map_err(|error| Failure::Local(error.to_string()))?;
    let attempt = async {
        let connection = connecting.await.map_err(Failure::Connection)?;
        let key = tls::proven_key(&connection).ok_or(Failure::Welcome)?;
        let session = shared.session(&connection, shared.tls.public_key(), &key);
        let session = session.map_err(|_| Failure::LinkSecret)?;
        if let Some(session) = &session {
            hello(&connection, session).await?;
        }
        let welcomed = welcome(&connection, session.as_ref()).await;
        if let Err(Failure::LinkSecret) = welcomed {
            connection.close(frame::code::NOT_AUTHENTIC, b"not authentic");
        }
        welcomed?;
        Ok((connection, session.map(Arc::new)))
    };
    tokio::time::timeout(shared.limits.handshake_timeout, attempt)
        .await
        .unwrap_or(Err(Failure::Timeout))
}

/// Proves the secret.
async fn hello(connection: &Connection, session: &Session) -> Result<(), Failure> {
    let mut stream = connection.open_uni().await.map_err(Failure::Connection)?;
    if stream.write_all(&session.hello().tag(b"")).await.is_err() {
        // Nobody stops this stream.
        return Err(connection
            .close_reason()
            .map_or(Failure::Welcome, Failure::Connection));
    }
    // The stream is ours and open. Dropping it sends the rest.
    let _ = stream.finish();
    Ok(())
}

/// Waits until the peer says that it accepts us, and proves the secret.
async fn welcome(connection: &Connection, session: Option<&Session>) -> Result<(), Failure> {
    let mut stream = connection.accept_uni().await.map_err(Failure::Connection)?;
    let mut bytes = [0; frame::WELCOME.len()];
    let read = stream.read_exact(&mut bytes).await;
    if let Some(reason) = connection.close_reason() {
        return Err(Failure::Connection(reason));
    }
    if read.is_err() || &bytes != frame::WELCOME {
        return Err(Failure::Welcome);
    }
    if let Some(session) = session {
        let mut tag = [0; TAG_BYTES];
        let read = stream.read_exact(&mut tag).await;
        if let Some(reason) = connection.close_reason() {
            return Err(Failure::Connection(reason));
        }
        if read.is_err() || session.welcome().check(b"", &tag).is_err() {
            return Err(Failure::LinkSecret);
        }
    }
    Ok(())
}

/// Sends until the link breaks or no longer fits the member table, and says why it broke.
async fn serve(
    shared: &Shared,
    peer: &Arc<Peer>,
    (connection, session): Link,
    address: SocketAddr,
    changes: &mut watch::Receiver<Route>,
) -> String {
    let key = tls::proven_key(&connection);
    let fits =
        |route: &Route| route.address == Some(address) && key.is_some_and(|key| route.allows(&key));
    peer.meters.connects.add(1);
    peer.meters.is_connected.store(true, Ordering::Relaxed);
    tracing::info!(peer = %peer.id, %address, "link is up");
    shared
        .inbox
        .link(peer.id, Event::Connected { peer: peer.id });
    // Dropping the set ends the writers.
    let mut writers = JoinSet::new();
    for lane in Lane::ALL {
        let link = (connection.clone(), session.clone());
        writers.spawn(write_lane(Arc::clone(peer), link, lane));
    }
    let mut tick = tokio::time::interval(ROUND_TRIP_INTERVAL);
    let reason = loop {
        tokio::select! {
            reason = connection.closed() => break reason.to_string(),
            _ = changes.changed() => {
                if !fits(&changes.borrow_and_update()) {
                    connection.close(frame::code::MOVED, b"the member table changed");
                    break "the member table changed".to_owned();
                }
            }
            _ = tick.tick() => {
                let micros = u64::try_from(connection.rtt().as_micros()).unwrap_or(u64::MAX);
                peer.meters.round_trip_us.store(micros, Ordering::Relaxed);
            }
        }
    };
    peer.meters.is_connected.store(false, Ordering::Relaxed);
    peer.meters.round_trip_us.store(0, Ordering::Relaxed);
    peer.meters.disconnects.add(1);
    reason
}

/// Moves frames of one lane from the queue into a stream. A stream that the peer stopped is
/// replaced by a new one.
async fn write_lane(peer: Arc<Peer>, (connection, session): Link, lane: Lane) {
    let outbox = &peer.outboxes[lane.index()];
    let meters = peer.meters.lane(lane);
    let mut batch = Batch::default();
    'stream: loop {
        let Ok(mut stream) = connection.open_uni().await else {
            return;
        };
        let session = session.as_ref();
        let mut seal = session.map(|session| session.lane(lane, stream.id()));
        if stream.set_priority(lane.priority()).is_err() {
            return;
        }
        if let Err(error) = stream.write_all(&[lane as u8]).await {
            match error {
                WriteError::Stopped(_) => continue 'stream,
                _ => return,
            }
        }
        loop {
            outbox.take(&mut batch, &mut seal).await;
            match stream.write_all(&batch.bytes).await {
                Ok(()) => {
                    meters.frames_out.add(batch.frames);
                    meters.bytes_out.add(batch.payload_bytes);
                }
                Err(WriteError::Stopped(code)) => {
                    tracing::warn!(peer = %peer.id, lane = lane.name(), %code, "the peer stopped the stream; do both have the same limits?");
                    continue 'stream;
                }
                Err(_) => return,
            }
        }
    }
}

/// Counts and logs a failed attempt.
fn note(shared: &Shared, peer: &Peer, address: SocketAddr, failure: &Failure) {
    let count = peer.meters.dial_failures.add(1);
    let detail = match failure {
        Failure::Connection(error) => {
            let refusal = classify(error);
            // A wrong key was counted and logged where it was seen.
            if !matches!(refusal, Refusal::WrongKey) {
                shared.refusals.count(refusal);
            }
            match refusal {
                Refusal::Other => error.to_string(),
                known => known.text().to_owned(),
            }
        }
        Failure::Local(detail) => detail.clone(),
        Failure::LinkSecret => {
            shared.refusals.count(Refusal::LinkSecret);
            Refusal::LinkSecret.text().to_owned()
        }
        Failure::Timeout => "the peer does not answer".to_owned(),
        Failure::Welcome => "the peer speaks another protocol".to_owned(),
    };
    if count == 1 && matches!(failure, Failure::Timeout) {
        // Members start one after the other.
        tracing::info!(peer = %peer.id, %address, "the member does not answer yet");
    } else if is_logged(count) {
        tracing::warn!(peer = %peer.id, %address, count, "cannot reach member: {detail}");
    }
}

/// What an error of a connection that we dialled means.
fn classify(error: &ConnectionError) -> Refusal {
    match error {
        ConnectionError::TransportError(error) => match tls::alert(error.code) {
            Some(tls::ACCESS_DENIED) => Refusal::WrongKey,
            Some(tls::NO_APPLICATION_PROTOCOL) => Refusal::OtherChain,
            Some(tls::HANDSHAKE_FAILURE) => Refusal::Incompatible,
            _ => Refusal::Other,
        },
        ConnectionError::ConnectionClosed(close) => match tls::alert(close.error_code) {
            Some(tls::ACCESS_DENIED) => Refusal::RefusedByPeer,
            Some(tls::NO_APPLICATION_PROTOCOL) => Refusal::OtherChain,
            Some(tls::HANDSHAKE_FAILURE) => Refusal::Incompatible,
            _ => Refusal::Other,
        },
        ConnectionError::ApplicationClosed(close)
            if [frame::code::CUT_OFF, frame::code::NO_MEMBER].contains(&close.error_code) =>
        {
            Refusal::RefusedByPeer
        }
        ConnectionError::ApplicationClosed(close)
            if close.error_code == frame::code::NOT_AUTHENTIC =>
        {
            Refusal::LinkSecret
        }
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Refusal::Other,
    }
}

/// Pauses that double up to a maximum, each shortened by up to a half at random, so that nodes
/// that were stopped together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            current: first,
        }
    }

    pub(super) fn reset(&mut self) {
        self.current = self.first;
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.current;
        self.current = (pause * 2).min(self.max);
        let mut byte = [0];
        // Without system randomness the pause is merely not jittered.
        let _ = getrandom::fill(&mut byte);
        pause * (512 - u32::from(byte[0])) / 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_start_over() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(100), millis(350));
        for full in [100, 200, 350, 350] {
            let pause = backoff.next();
            assert!(
                pause <= millis(full) && pause > millis(full) / 2,
                "{pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= millis(100));
    }
}
