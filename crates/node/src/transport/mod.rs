//! Authenticated links between the members of one federation.
//!
//! # What it is
//!
//! Every member listens on one UDP port and dials every other member, over QUIC with TLS 1.3. Both
//! ends prove their Ed25519 key (raw public keys, RFC 7250) during the handshake, and each end knows
//! from the member table which keys it may meet. The key exchange is X25519MLKEM768 and nothing
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
//! # Bounds
//!
//! | what | bound | what falls out |
//! |---|---|---|
//! | waiting to be sent, per peer and lane | [`LaneLimits::queue_frames_max`], [`LaneLimits::queue_bytes_max`] | the oldest frame, counted |
//! | received and not yet taken, per peer and lane, over all its connections | [`LaneLimits::inbox_bytes_max`] | nothing: that peer's lane waits |
//! | frame | [`LaneLimits::frame_bytes_max`] | the stream is closed; a peer that repeats is cut off for a while |
//! | handshakes in progress | [`Limits::handshakes_max`] | the newest is refused, counted |
//!
//! # What it does not promise
//!
//! Frames that were handed to the network when a link broke are lost and are not sent again: the
//! protocols above repeat what still matters. Frames that still wait are sent after the next
//! connection. Bytes are not decoded here.
//!
//! # Invariants
//!
//! 1. A frame is delivered only if its sender proved the key of [`Event::Frame`]'s `from`.
//! 2. No call of [`Transport::send`] waits.
//! 3. What a peer can make this node hold is bounded, and holding it back does not delay others.

mod accept;
mod config;
mod counters;
mod dial;
mod frame;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;
mod tls;

pub use config::{Config, LaneLimits, Limits};
pub use counters::{Counters, LaneCounters, PeerCounters, Refusals};
pub use inbox::Events;

use counters::{PeerMeters, RefusalMeters};
use inbox::{Budgets, Inbox};
use outbox::Outbox;
use polity_crypto::{PublicKey, Suite};
use polity_types::ReplicaId;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
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
    /// Ed25519 key, which the node proves in each handshake.
    pub key: PublicKey,
    /// Where the node listens.
    pub address: SocketAddr,
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
    /// A member's key is not of the suite that links need.
    #[error("member {0} has no Ed25519 key; links between nodes need one")]
    KeySuite(ReplicaId),
    /// Two members share a number or a key.
    #[error("member {0} appears twice in the member table, by number or by key")]
    Duplicate(ReplicaId),
    /// The table names this node with another key than its own.
    #[error(
        "the secret key does not belong to member {0}; check that this is the right data directory"
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
    address: SocketAddr,
    key: [u8; 32],
    outboxes: [Outbox; 4],
    /// What its frames may take of the inbox, whichever connection brought them.
    budgets: Budgets,
    meters: PeerMeters,
    /// Rung when the peer reached us: it lives, so dial it without waiting.
    wake: Notify,
    /// The newest connection that the peer dialled, and its penalties.
    incoming: Mutex<accept::Incoming>,
}

/// What all tasks of one transport share.
struct Shared {
    limits: Limits,
    peers: BTreeMap<ReplicaId, Arc<Peer>>,
    refusals: Arc<RefusalMeters>,
    inbox: Arc<Inbox>,
    endpoint: quinn::Endpoint,
    tls: tls::Identity,
}

/// The links of this node. Dropping it closes them.
pub struct Transport {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: Mutex<JoinSet<()>>,
}

impl Transport {
    /// Listens, and starts to dial every other member. Must be called within a tokio runtime.
    pub fn start(config: Config) -> Result<(Self, Events), TransportError> {
        let Config {
            own,
            seed,
            chain,
            members,
            listen,
            limits,
        } = config;
        limits.check()?;
        let tls = tls::Identity::new(&seed, chain)?;
        let peers = peers(own, tls.public_key(), members, &limits)?;
        let refusals = Arc::new(RefusalMeters::default());
        let keys = peers.values().map(|peer| (peer.key, peer.id)).collect();
        let server = tls.server_config(keys, &refusals, &limits)?;

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
            peers,
            refusals,
            inbox,
            endpoint,
            tls,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(Arc::clone(&shared)));
        for peer in shared.peers.values() {
            tasks.spawn(dial::run(Arc::clone(&shared), Arc::clone(peer)));
        }
        tracing::info!(%address, replica = %own, peers = shared.peers.len(), "listening for members");
        let transport = Self {
            shared,
            address,
            tasks: Mutex::new(tasks),
        };
        Ok((transport, events))
    }

    /// Where this node listens, with the port that the system gave.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues a frame for one peer, reachable or not, and returns at once. When the queue of the
    /// peer's lane is full, its oldest frames fall out and are counted.
    pub fn send(&self, to: ReplicaId, lane: Lane, frame: Arc<[u8]>) -> Result<(), SendError> {
        let peer = self
            .shared
            .peers
            .get(&to)
            .ok_or(SendError::UnknownPeer(to))?;
        self.check_length(lane, &frame)?;
        peer.queue(lane, frame);
        Ok(())
    }

    /// Queues a frame for every other member. The bytes are shared, not copied.
    pub fn broadcast(&self, lane: Lane, frame: &Arc<[u8]>) -> Result<(), SendError> {
        self.check_length(lane, frame)?;
        for peer in self.shared.peers.values() {
            peer.queue(lane, Arc::clone(frame));
        }
        Ok(())
    }

    /// A copy of all counters.
    pub fn counters(&self) -> Counters {
        Counters {
            peers: self
                .shared
                .peers
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
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
        self.shared
            .endpoint
            .close(frame::code::SHUTDOWN, b"the node stops");
        self.shared.inbox.close();
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
            .field("peers", &self.shared.peers.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.close();
    }
}

impl Peer {
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

/// Checks the member table and prepares a place for everybody but this node.
fn peers(
    own: ReplicaId,
    own_key: &[u8; 32],
    members: Vec<Member>,
    limits: &Limits,
) -> Result<BTreeMap<ReplicaId, Arc<Peer>>, TransportError> {
    let mut peers = BTreeMap::new();
    let mut keys = std::collections::BTreeSet::new();
    for member in members {
        let key: [u8; 32] = match (member.key.suite(), member.key.key_bytes().try_into()) {
            (Suite::Ed25519, Ok(key)) => key,
            _ => return Err(TransportError::KeySuite(member.id)),
        };
        if !keys.insert(key) {
            return Err(TransportError::Duplicate(member.id));
        }
        if (member.id == own) != (&key == own_key) {
            return Err(TransportError::OwnKey(own));
        }
        if member.id == own {
            continue;
        }
        let peer = Arc::new(Peer {
            id: member.id,
            address: member.address,
            key,
            outboxes: Lane::ALL.map(|lane| Outbox::new(limits.lane(lane))),
            budgets: Budgets::new(limits),
            meters: PeerMeters::default(),
            wake: Notify::new(),
            incoming: Mutex::default(),
        });
        if peers.insert(member.id, peer).is_some() {
            return Err(TransportError::Duplicate(member.id));
        }
    }
    Ok(peers)
}
