//! Connections that others dial, and that this node receives on.

use super::counters::{Refusal, is_logged};
use super::frame::{self, Read, code};
use super::inbox::Budgets;
use super::seal::{Session, TAG_BYTES};
use super::table::Key;
use super::{Lane, Limits, Peer, Shared, tls};
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A connection that lasted this long without an offence wipes the peer's earlier penalties.
const FORGIVEN_AFTER: Duration = Duration::from_mins(1);

/// What is remembered about the connections that come with one key of a peer. A peer whose key is being
/// replaced has two, perhaps in different hands: what is done with one costs the other nothing.
#[derive(Debug)]
pub(super) struct Incoming {
    newest: Option<Connection>,
    /// Until when the key is not let in.
    shut_out_until: Option<Instant>,
    /// Penalties in a row.
    penalties: u32,
    /// What its frames may take of the inbox, whichever connection brought them.
    budgets: Budgets,
}

/// By key: those of the peer's route alone.
pub(super) type IncomingByKey = BTreeMap<Key, Incoming>;

impl Incoming {
    fn new(limits: &Limits) -> Self {
        Self {
            newest: None,
            shut_out_until: None,
            penalties: 0,
            budgets: Budgets::new(limits),
        }
    }
}

/// Accepts until the endpoint closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes_max));
    let mut tasks = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = shared.endpoint.accept() => incoming,
            // Collects what ended; the set would grow otherwise.
            Some(_) = tasks.join_next() => continue,
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address();
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            refused(&shared, address, Refusal::Busy, "");
            incoming.refuse();
            continue;
        };
        // Under load an address has to be proven before it costs a key exchange.
        let is_loaded = handshakes.available_permits() < shared.limits.handshakes_max / 2;
        if is_loaded && incoming.may_retry() {
            // Answering fails only if it was answered before.
            let _ = incoming.retry();
            continue;
        }
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let handshake = tokio::time::timeout(shared.limits.handshake_timeout, incoming).await;
            let connection = match handshake {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    let refusal = classify(&error);
                    // A stranger was counted and logged where its key was seen.
                    if refusal != Refusal::Stranger {
                        refused(&shared, address, refusal, &error.to_string());
                    }
                    return;
                }
                Err(_) => return refused(&shared, address, Refusal::Other, "timed out"),
            };
            let proven =
                tls::proven_key(&connection).and_then(|key| Some((shared.peer_with(&key)?, key)));
            // The verifier let members through alone, but the table may have changed since.
            let Some((peer, key)) = proven else {
                return connection.close(code::NO_MEMBER, b"the key is no member's any more");
            };
            let session = match prove(&shared, &connection, &key).await {
                Ok(session) => session,
                Err(refusal) => {
                    refused(&shared, address, refusal, "");
                    return connection.close(code::NOT_AUTHENTIC, b"not authentic");
                }
            };
            drop(permit);
            serve(&shared, &peer, connection, key, session).await;
        });
    }
}

/// Under tier 1, waits until who dialled proves the secret. Until then nothing of the connection counts, so
/// that nobody without the secret puts an end to another one.
async fn prove(
    shared: &Shared,
    connection: &Connection,
    key: &Key,
) -> Result<Option<Session>, Refusal> {
    let session = shared.session(connection, key, shared.tls.public_key());
    let Some(session) = session.map_err(|_| Refusal::Other)? else {
        return Ok(None);
    };
    let hello = async {
        let mut stream = connection.accept_uni().await.map_err(|_| Refusal::Other)?;
        let proof = stream.read_to_end(TAG_BYTES).await;
        if connection.close_reason().is_some() {
            return Err(Refusal::Other);
        }
        // What is longer than a proof is none.
        proof.map_err(|_| Refusal::LinkSecret)
    };
    let hello = tokio::time::timeout(shared.limits.handshake_timeout, hello).await;
    let proof = hello.map_err(|_| Refusal::LinkSecret)??;
    let checked = session.hello().check(b"", &proof);
    checked.map_err(|_| Refusal::LinkSecret)?;
    Ok(Some(session))
}

/// Counts and logs a handshake that led nowhere.
fn refused(shared: &Shared, address: SocketAddr, refusal: Refusal, detail: &str) {
    let count = shared.refusals.count(refusal);
    if is_logged(count) {
        tracing::warn!(%address, count, detail, "connection refused: {}", refusal.text());
    }
}

/// What an error of a handshake that somebody else began means.
fn classify(error: &ConnectionError) -> Refusal {
    match error {
        ConnectionError::TransportError(error) => match tls::alert(error.code) {
            Some(tls::ACCESS_DENIED | tls::CERTIFICATE_REQUIRED) => Refusal::Stranger,
            Some(tls::NO_APPLICATION_PROTOCOL) => Refusal::OtherChain,
            Some(tls::HANDSHAKE_FAILURE) => Refusal::Incompatible,
            _ => Refusal::Other,
        },
        ConnectionError::ConnectionClosed(close) => match tls::alert(close.error_code) {
            Some(tls::ACCESS_DENIED) => Refusal::RefusedByPeer,
            Some(tls::NO_APPLICATION_PROTOCOL) => Refusal::OtherChain,
            _ => Refusal::Other,
        },
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Refusal::Other,
    }
}

/// One accepted connection. What it receives counts against the budgets of its key, which all
/// connections with that key share: connecting again makes no room.
struct Link {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    key: Key,
    budgets: Budgets,
    connection: Connection,
    /// Under tier 1.
    session: Option<Session>,
    /// Lanes that have a stream: a second one would break the order.
    is_open: [AtomicBool; 4],
    offences: AtomicU32,
}

/// Receives until the connection ends.
async fn serve(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: Connection,
    key: Key,
    session: Option<Session>,
) {
    let Some(budgets) = admit(peer, &connection, key, &shared.limits) else {
        return;
    };
    // The stream is kept until the end: dropping it early could lose the welcome.
    let Ok(_welcome) = send_welcome(&connection, session.as_ref()).await else {
        return;
    };
    peer.wake.notify_one();
    let since = Instant::now();
    let link = Arc::new(Link {
        shared: Arc::clone(shared),
        peer: Arc::clone(peer),
        key,
        budgets,
        connection: connection.clone(),
        session,
        is_open: Default::default(),
        offences: AtomicU32::new(0),
    });
    // Readers end with this set, when the connection does: a replaced connection must neither wait
    // for its peer's budget nor keep the share of a frame whose rest will never come.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    readers.spawn(read_lane(Arc::clone(&link), stream));
                }
                Err(_) => break,
            },
            Some(_) = readers.join_next() => {}
        }
    }
    let mut by_key = peer.incoming();
    // It is not there any more if the key is gone.
    if let Some(incoming) = by_key.get_mut(&key) {
        if link.offences.load(Ordering::Relaxed) == 0 && since.elapsed() >= FORGIVEN_AFTER {
            incoming.penalties = 0;
        }
        let is_this = |newest: &Connection| newest.stable_id() == connection.stable_id();
        if incoming.newest.as_ref().is_some_and(is_this) {
            incoming.newest = None;
        }
    }
    let is_connected = by_key.values().any(|incoming| incoming.newest.is_some());
    peer.meters
        .is_connected_to_us
        .store(is_connected, Ordering::Relaxed);
}

/// Lets the connection in and gives its budgets back, unless the key is shut out or gone; then it is
/// closed. It replaces an older one with the same key: a peer that restarted dials before we notice that
/// its old connection is dead.
fn admit(peer: &Peer, connection: &Connection, key: Key, limits: &Limits) -> Option<Budgets> {
    let mut by_key = peer.incoming();
    // A changed table closes what does not fit it under this lock, so it sees this connection, or this
    // sees the table.
    if !peer.route.borrow().allows(&key) {
        connection.close(code::NO_MEMBER, b"the key is no member's any more");
        return None;
    }
    let incoming = by_key.entry(key).or_insert_with(|| Incoming::new(limits));
    if incoming
        .shut_out_until
        .is_some_and(|until| Instant::now() < until)
    {
        peer.meters.refused_in_penalty.add(1);
        connection.close(code::CUT_OFF, b"the peer broke the rules a moment ago");
        return None;
    }
    if let Some(older) = incoming.newest.replace(connection.clone()) {
        older.close(code::REPLACED, b"a newer connection took its place");
    }
    peer.meters
        .is_connected_to_us
        .store(true, Ordering::Relaxed);
    Some(incoming.budgets.clone())
}

async fn send_welcome(
    connection: &Connection,
    session: Option<&Session>,
) -> Result<quinn::SendStream, quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(frame::WELCOME).await?;
    if let Some(session) = session {
        stream.write_all(&session.welcome().tag(b"")).await?;
    }
    // The stream is ours and open.
    let _ = stream.finish();
    Ok(stream)
}

/// Delivers the frames of one stream.
async fn read_lane(link: Arc<Link>, mut stream: RecvStream) {
    let mut number = [0];
    if stream.read_exact(&mut number).await.is_err() {
        return;
    }
    let lane = Lane::from_number(number[0])
        .filter(|lane| !link.is_open[lane.index()].swap(true, Ordering::AcqRel));
    let Some(lane) = lane else {
        let _ = stream.stop(code::UNEXPECTED);
        return link.offence("a stream for no lane, or a second one for a lane");
    };
    let meters = link.peer.meters.lane(lane);
    let limits = &link.shared.limits;
    let session = link.session.as_ref();
    let mut seal = session.map(|session| session.lane(lane, stream.id()));
    loop {
        match frame::read(&mut stream, lane, &link.budgets, limits, seal.as_mut()).await {
            Ok(Read::Frame(bytes, permit)) => {
                meters.frames_in.add(1);
                meters.bytes_in.add(bytes.len() as u64);
                link.shared.inbox.frame(link.peer.id, lane, bytes, permit);
            }
            Ok(Read::Oversized(length)) => {
                let count = link.peer.meters.oversized.add(1);
                if is_logged(count) {
                    tracing::warn!(peer = %link.peer.id, lane = lane.name(), length, count, "frame refused: it is longer than its lane takes");
                }
                // First free the lane, then tell the peer, which opens a new stream.
                link.is_open[lane.index()].store(false, Ordering::Release);
                let _ = stream.stop(code::OVERSIZED);
                return link.offence("frames longer than their lane takes");
            }
            Ok(Read::Forged) => {
                link.peer.meters.forged.add(1);
                return link.cut_off(
                    "a frame whose authenticator does not hold",
                    (code::NOT_AUTHENTIC, b"not authentic"),
                );
            }
            Ok(Read::End) | Err(_) => {
                link.is_open[lane.index()].store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl Link {
    /// Counts against the key, which is cut off after too many.
    fn offence(&self, what: &str) {
        let offences = self.offences.fetch_add(1, Ordering::Relaxed) + 1;
        if offences == self.shared.limits.offences_max {
            self.cut_off(what, (code::CUT_OFF, b"the peer broke the rules"));
        }
    }

    /// Closes the connection, and lets the key stay outside for a while, each time longer. The peer is
    /// told `why`.
    fn cut_off(&self, what: &str, why: (VarInt, &[u8])) {
        if self.connection.close_reason().is_some() {
            return;
        }
        let limits = &self.shared.limits;
        // A connection that ends like this forgives nothing.
        self.offences.fetch_add(1, Ordering::Relaxed);
        let mut by_key = self.peer.incoming();
        // A key that is gone comes in no more anyway.
        let Some(incoming) = by_key.get_mut(&self.key) else {
            return;
        };
        let factor = 1_u32 << incoming.penalties.min(16);
        let pause = (limits.penalty_min * factor).min(limits.penalty_max);
        incoming.penalties = incoming.penalties.saturating_add(1);
        incoming.shut_out_until = Some(Instant::now() + pause);
        drop(by_key);
        self.peer.meters.cut_off.add(1);
        tracing::warn!(peer = %self.peer.id, pause_ms = pause.as_millis() as u64, "peer cut off: {what}");
        self.connection.close(why.0, why.1);
    }
}

impl Peer {
    /// Closes the connections that came with keys that are gone, and forgets these keys.
    pub(super) fn close_strangers(&self) {
        let mut by_key = self.incoming();
        let route = self.route.borrow();
        by_key.retain(|key, incoming| {
            let is_allowed = route.allows(key);
            if let (false, Some(connection)) = (is_allowed, &incoming.newest) {
                connection.close(code::NO_MEMBER, b"the key is no member's any more");
            }
            is_allowed
        });
    }

    fn incoming(&self) -> MutexGuard<'_, IncomingByKey> {
        // Each statement leaves it whole.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
