//! Authenticated links between the members of one federation.
//!
//! # What it is
//!
//! Every member listens on one UDP port and dials every other member, over QUIC with TLS 1.3. Both
//! ends prove their Ed25519 key (raw public keys, RFC 7250) during the handshake, and each end knows
//! from the member table which keys it may meet. The table changes while the transport runs, see
//! [`Transport::set_members`]. The key exchange is X25519MLKEM768 and nothing
//! else: all peers are ours. The chain id is part of the application protocol name, so a node of
//! another chain or fork is refused before it can send a byte.
//!
//! ```text
//! node A                                   node B
//!   dial ──── handshake, mutual ───────────▶ accept: is the key a member's, is the chain ours
//!        ◀─── welcome (8 bytes) ────────────
//!   lane streams: votes, blocks, … ────────▶ frames
//!
//!   accept ◀───────── the same, dialled by B ── dial
//! ```
//!
//! Each node **sends on the connection it dialled and receives on the one it accepted**, so two
//! nodes that dial each other at the same moment need no tie-break. The welcome exists because a
//! TLS client considers the handshake finished before the server has judged its key.
//!
//! # Lanes
//!
//! A [`Lane`] is one stream with its own flow control, so a block in transfer never holds up a vote.
//! Frames are `length (u32, little-endian) ‖ bytes`, each lane has its largest frame, and votes are
//! sent first when the link is full. Order is kept within a lane, not between lanes.
//!
//! # Tier 1
//!
//! With [`Config::link_secret`] both ends prove a common secret as well, and each frame bears an
//! authenticator that holds once, in its place (CR-6). `seal.rs` has the bytes. The proof of
//! who dials is its first stream, the one of who accepts follows the welcome. A proof that does not hold
//! ends the connection before it takes the place of another one; a frame that does not, ends it as an
//! offence. The peer is told one code for all of these.
//!
//! # Bounds
//!
//! | what | bound | what falls out |
//! |---|---|---|
//! | waiting to be sent, per peer and lane | [`LaneLimits::queue_frames_max`], [`LaneLimits::queue_bytes_max`] | the oldest frame, counted |
//! | received and not yet taken, per key of a peer and lane, over all connections | [`LaneLimits::inbox_bytes_max`] | nothing: that lane waits |
//! | frame | [`LaneLimits::frame_bytes_max`] | the stream is closed; a peer that repeats is cut off for a while |
//! | handshakes in progress | [`Limits::handshakes_max`] | the newest is refused, counted |
//! | members | [`MEMBERS_MAX`] | the table is refused, the one before stays |
//!
//! # What it does not promise
//!
//! Frames that were handed to the network when a link broke are lost and are not sent again: the
//! protocols above repeat what still matters. Frames that still wait are sent after the next
//! connection. Bytes are not decoded here.
//!
//! # Invariants
//!
//! 1. A frame is delivered only if its sender proved the key of [`Event::Frame`]'s `from`, and under
//!    tier 1 only if its tag holds.
//! 2. No call of [`Transport::send`] waits.
//! 3. What a peer can make this node hold is bounded, and holding it back does not delay others.
//! 4. After [`Transport::set_members`] returned, no connection of a key outside the table is taken in,
//!    and those that were open are closed.

mod accept;
mod config;
mod counters;
mod dial;
mod frame;
mod inbox;
mod outbox;
mod seal;
mod table;
#[cfg(test)]
mod tests;
mod tls;

pub use config::{Config, LaneLimits, Limits};
pub use counters::{Counters, LaneCounters, PeerCounters, Refusals};
pub use inbox::Events;
pub use table::MEMBERS_MAX;

use counters::{PeerMeters, RefusalMeters};
use inbox::Inbox;
use outbox::Outbox;
use polity_crypto::PublicKey;
use polity_types::ReplicaId;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use table::{Key, Keys, Route};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// A class of messages with its own stream. The order is the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Votes, view changes and everything a decision waits for.
    Votes = 0,
    /// Proposals with their bodies.
    Blocks = 1,
    /// Transactions on their way to a leader.
    Transactions = 2,
    /// History and snapshots for members that fell behind.
    Sync = 3,
}

impl Lane {
    /// Every lane, by precedence.
    pub const ALL: [Self; 4] = [Self::Votes, Self::Blocks, Self::Transactions, Self::Sync];

    /// Name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Blocks => "blocks",
            Self::Transactions => "transactions",
            Self::Sync => "sync",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| *lane as u8 == number)
    }

    /// Higher is sent first.
    const fn priority(self) -> i32 {
        3 - self as i32
    }
}

/// Another node, or this one.
#[derive(Clone, Debug)]
pub struct Member {
    /// Number in the committee table.
    pub id: ReplicaId,
    /// Ed25519 keys, of which the node proves one in each handshake: more than one while a key is being
    /// replaced.
    pub keys: Vec<PublicKey>,
    /// Where the node listens. Without it the node is let in and not dialled.
    pub address: Option<SocketAddr>,
}

/// Why a transport does not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The port is taken or the address is not ours.
    #[error(
        "cannot listen on {address}: {source}; choose another address or stop the process that uses it"
    )]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A member has no key, or one that is not of the suite that links need.
    #[error("member {0} has no Ed25519 key; links between nodes need one")]
    KeySuite(ReplicaId),
    /// More members than a table may have.
    #[error("a table of {0} members is more than the limit of {MEMBERS_MAX}")]
    TooMany(usize),
    /// Two members share a number or a key.
    #[error("member {0} appears twice in the member table, by number or by key")]
    Duplicate(ReplicaId),
    /// The table gives this node's key to somebody else.
    #[error(
        "the secret key of this node is that of member {0}; check that this is the right data directory, and the number after `replica` in node.toml"
    )]
    OwnKey(ReplicaId),
    /// A lane could not hold a single frame.
    #[error("the limits of lane {0} do not fit each other; queue and inbox must hold one frame")]
    LaneLimits(&'static str),
    /// An interval is zero or contradicts another one.
    #[error("the idle timeout must be at least twice the keep-alive, and no interval may be zero")]
    Timeouts,
    /// The cryptographic library refuses.
    #[error("cannot prepare TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a frame is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody has this number, or it is this node.
    #[error("{0} is no other member")]
    UnknownPeer(ReplicaId),
    /// The frame is larger than its lane takes.
    #[error("a frame of {length} bytes is more than the {limit} of its lane")]
    TooLong {
        /// Bytes of the frame.
        length: usize,
        /// Bytes that the lane takes.
        limit: usize,
    },
}

/// What happened.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer sent bytes.
    Frame {
        /// Who proved to be the sender.
        from: ReplicaId,
        /// On which lane.
        lane: Lane,
        /// The frame without its length.
        bytes: Vec<u8>,
    },
    /// This node can send to the peer. Frames from it can come before.
    Connected {
        /// The peer.
        peer: ReplicaId,
    },
    /// This node can no longer send to the peer; it keeps dialling.
    Disconnected {
        /// The peer.
        peer: ReplicaId,
        /// For the log.
        reason: String,
    },
}

impl fmt::Debug for Event {
    /// Shows the length of a frame, not its bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { from, lane, bytes } => {
                write!(f, "Frame({from}, {}, {} bytes)", lane.name(), bytes.len())
            }
            Self::Connected { peer } => write!(f, "Connected({peer})"),
            Self::Disconnected { peer, reason } => write!(f, "Disconnected({peer}, {reason})"),
        }
    }
}

/// One other member and everything kept for it.
struct Peer {
    id: ReplicaId,
    /// How it is known and reached; its tasks follow the changes.
    route: watch::Sender<Route>,
    outboxes: [Outbox; 4],
    meters: PeerMeters,
    /// Rung when the peer reached us: it lives, so dial it without waiting.
    wake: Notify,
    /// The newest connection that came with each of its keys, and what that key may do.
    incoming: Mutex<accept::IncomingByKey>,
}

/// What all tasks of one transport share.
struct Shared {
    limits: Limits,
    peers: RwLock<BTreeMap<ReplicaId, Arc<Peer>>>,
    keys: Keys,
    refusals: Arc<RefusalMeters>,
    inbox: Arc<Inbox>,
    endpoint: quinn::Endpoint,
    tls: tls::Identity,
    /// Under tier 1.
    secret: Option<seal::Secret>,
}

/// The links of this node. Dropping it closes them.
pub struct Transport {
    shared: Arc<Shared>,
    own: ReplicaId,
    address: SocketAddr,
    runtime: Handle,
    /// Nothing once the links are closed.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Transport {
    /// Listens, and starts to dial every other member. Must be called within a tokio runtime.
    pub fn start(config: Config) -> Result<(Self, Events), TransportError> {
        let Config {
            own,
            seed,
            link_secret,
            chain,
            members,
            listen,
            limits,
        } = config;
        limits.check()?;
        let tls = tls::Identity::new(&seed, chain, link_secret.is_some())?;
        // Nobody listens when the table makes no sense.
        table::routes(own, tls.public_key(), members.clone())?;
        let refusals = Arc::new(RefusalMeters::default());
        let keys = Keys::default();
        let server = tls.server_config(&keys, &refusals, &limits)?;

        let listen_error = |source| TransportError::Listen {
            address: listen,
            source,
        };
        let socket = UdpSocket::bind(listen).map_err(listen_error)?;
        let address = socket.local_addr().map_err(listen_error)?;
        let endpoint = quinn::Endpoint::new(
            tls::endpoint_config(&seed)?,
            Some(server),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(listen_error)?;

        let (inbox, events) = inbox::new();
        let shared = Arc::new(Shared {
            limits,
            peers: RwLock::default(),
            keys,
            refusals,
            inbox,
            endpoint,
            tls,
            secret: link_secret.map(Arc::new),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(Arc::clone(&shared)));
        tracing::info!(%address, replica = %own, "listening for members");
        let transport = Self {
            shared,
            own,
            address,
            runtime: Handle::current(),
            tasks: Mutex::new(Some(tasks)),
        };
        transport.set_members(members)?;
        Ok((transport, events))
    }

    /// Replaces the member table. Peers that stay keep their connections, queues and counters, unless
    /// the key that a connection proved is gone or the address is another one. Those that are new are
    /// dialled and let in; those that are gone are disconnected. With an error nothing changes, and
    /// after the end of the links nothing does.
    pub fn set_members(&self, members: Vec<Member>) -> Result<(), TransportError> {
        let shared = &self.shared;
        let routes = table::routes(self.own, shared.tls.public_key(), members)?;
        let mut tasks = self.tasks();
        let Some(tasks) = tasks.as_mut() else {
            return Ok(());
        };
        // Collects what ended; the set would grow otherwise.
        while tasks.try_join_next().is_some() {}
        let mut peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        shared.keys.replace(&routes);
        peers.retain(|id, peer| {
            let stays = routes.contains_key(id);
            if !stays {
                peer.follow(Route::NONE);
                tracing::info!(peer = %id, "no longer let in");
            }
            stays
        });
        for (id, route) in routes {
            if let Some(peer) = peers.get(&id) {
                peer.follow(route);
                continue;
            }
            let peer = Arc::new(Peer::new(id, route, &shared.limits));
            tasks.spawn_on(
                dial::run(Arc::clone(shared), Arc::clone(&peer)),
                &self.runtime,
            );
            peers.insert(id, peer);
        }
        Ok(())
    }

    /// Where this node listens, with the port that the system gave.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues a frame for one peer, reachable or not, and returns at once. When the queue of the
    /// peer's lane is full, its oldest frames fall out and are counted.
    pub fn send(&self, to: ReplicaId, lane: Lane, frame: Arc<[u8]>) -> Result<(), SendError> {
        let peers = self.shared.peers();
        let peer = peers.get(&to).ok_or(SendError::UnknownPeer(to))?;
        self.check_length(lane, &frame)?;
        peer.queue(lane, frame);
        Ok(())
    }

    /// Queues a frame for every other member. The bytes are shared, not copied.
    pub fn broadcast(&self, lane: Lane, frame: &Arc<[u8]>) -> Result<(), SendError> {
        self.check_length(lane, frame)?;
        for peer in self.shared.peers().values() {
            peer.queue(lane, Arc::clone(frame));
        }
        Ok(())
    }

    /// A copy of all counters.
    pub fn counters(&self) -> Counters {
        Counters {
            peers: self
                .shared
                .peers()
                .iter()
                .map(|(id, peer)| (*id, peer.counters()))
                .collect(),
            refusals: self.shared.refusals.read(),
        }
    }

    /// Closes every link and waits until the peers were told, at most a second. Frames that still
    /// wait are dropped. [`Events`] ends.
    pub async fn shutdown(&self) {
        self.close();
        let idle = self.shared.endpoint.wait_idle();
        // A peer that does not answer must not keep the process from ending.
        let _ = tokio::time::timeout(Duration::from_secs(1), idle).await;
    }

    fn close(&self) {
        // Dropping the set ends the tasks.
        drop(self.tasks().take());
        self.shared
            .endpoint
            .close(frame::code::SHUTDOWN, b"the node stops");
        self.shared.inbox.close();
    }

    fn tasks(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        // Whole between any two statements.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_length(&self, lane: Lane, frame: &[u8]) -> Result<(), SendError> {
        let limit = self.shared.limits.lane(lane).frame_bytes_max;
        let length = frame.len();
        if length > limit {
            return Err(SendError::TooLong { length, limit });
        }
        Ok(())
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("address", &self.address)
            .field("peers", &self.shared.peers().len())
            .finish_non_exhaustive()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// What authenticates the frames of a connection, under tier 1.
    fn session(
        &self,
        connection: &quinn::Connection,
        dialler: &Key,
        acceptor: &Key,
    ) -> Result<Option<seal::Session>, seal::Forged> {
        let secret = self.secret.as_ref();
        secret
            .map(|secret| seal::Session::new(secret, connection, *dialler, *acceptor))
            .transpose()
    }

    fn peers(&self) -> RwLockReadGuard<'_, BTreeMap<ReplicaId, Arc<Peer>>> {
        // Whoever writes leaves it whole.
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member whose key this is.
    fn peer_with(&self, key: &Key) -> Option<Arc<Peer>> {
        let id = self.keys.owner(key)?;
        self.peers().get(&id).cloned()
    }
}

impl Peer {
    fn new(id: ReplicaId, route: Route, limits: &Limits) -> Self {
        Self {
            id,
            route: watch::Sender::new(route),
            outboxes: Lane::ALL.map(|lane| Outbox::new(limits.lane(lane))),
            meters: PeerMeters::default(),
            wake: Notify::new(),
            incoming: Mutex::default(),
        }
    }

    /// Takes another route, and closes what does not fit it any more.
    fn follow(&self, route: Route) {
        let is_changed = self.route.send_if_modified(|old| {
            let is_changed = *old != route;
            *old = route;
            is_changed
        });
        if is_changed {
            self.close_strangers();
        }
    }

    fn queue(&self, lane: Lane, frame: Arc<[u8]>) {
        let dropped = self.outboxes[lane.index()].push(frame);
        self.meters.lane(lane).dropped.add(dropped);
    }

    fn counters(&self) -> PeerCounters {
        let mut counters = self.meters.read();
        for lane in Lane::ALL {
            let (frames, bytes) = self.outboxes[lane.index()].waiting();
            counters.lanes[lane.index()].waiting_frames = frames as u64;
            counters.lanes[lane.index()].waiting_bytes = bytes as u64;
        }
        counters
    }
}
