//! Transports on the loopback interface. Nothing here measures time: every wait is for an event,
//! and the limit of a wait only ends a test that has already failed.

use super::counters::PeerCounters;
use super::*;
use polity_crypto::ed25519::Ed25519Signer;

use polity_crypto::{Signer as _, Suite};
use polity_types::ChainId;
use quinn::crypto::rustls::QuicClientConfig;
use rstest::rstest;
use std::future::Future;
use std::net::Ipv4Addr;
use zeroize::Zeroizing;

mod door;
mod lanes;
mod links;
mod sealed;
mod tables;

const CHAIN: ChainId = ChainId::new([7; 32]);
const A: ReplicaId = ReplicaId::new(0);
const B: ReplicaId = ReplicaId::new(1);
const C: ReplicaId = ReplicaId::new(2);

/// A wait that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn seed(id: ReplicaId) -> [u8; 32] {
    [u8::try_from(id.get()).unwrap() + 1; 32]
}

fn key(id: ReplicaId) -> PublicKey {
    Ed25519Signer::from_seed(&seed(id)).public_key().clone()
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

fn member(id: ReplicaId, address: SocketAddr) -> Member {
    Member {
        id,
        keys: vec![key(id)],
        address: Some(address),
    }
}

fn members(count: u32) -> Vec<Member> {
    (0..count)
        .map(|id| member(ReplicaId::new(id), free_address()))
        .collect()
}

fn config(own: ReplicaId, members: &[Member]) -> Config {
    let limits = Limits {
        redial_min: Duration::from_millis(20),
        redial_max: Duration::from_millis(200),
        ..Limits::default()
    };
    Config {
        own,
        seed: Zeroizing::new(seed(own)),
        link_secret: None,
        chain: CHAIN,
        members: members.to_vec(),
        listen: members
            .iter()
            .find(|member| member.id == own)
            .and_then(|member| member.address)
            .unwrap_or((Ipv4Addr::LOCALHOST, 0).into()),
        limits,
    }
}

struct Node {
    transport: Transport,
    events: Events,
}

impl Node {
    fn start(config: Config) -> Self {
        let (transport, events) = Transport::start(config).unwrap();
        Self { transport, events }
    }

    /// Starts where another node just stopped: the system may still hold its port.
    async fn start_again(own: ReplicaId, members: &[Member]) -> Self {
        patiently(async {
            loop {
                match Transport::start(config(own, members)) {
                    Ok((transport, events)) => return Self { transport, events },
                    Err(TransportError::Listen { .. }) => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    }

    async fn next(&mut self) -> Event {
        let event = patiently(self.events.recv()).await;
        event.expect("the transport runs")
    }

    /// Waits for the link to `peer`; frames that come before are an error of the test.
    async fn connected(&mut self, peer: ReplicaId) {
        loop {
            match self.next().await {
                Event::Connected { peer: other } if other == peer => return,
                Event::Connected { .. } | Event::Disconnected { .. } => {}
                Event::Frame { .. } => panic!("a frame before the test sent one"),
            }
        }
    }

    async fn frame(&mut self) -> (ReplicaId, Lane, Vec<u8>) {
        loop {
            if let Event::Frame { from, lane, bytes } = self.next().await {
                return (from, lane, bytes);
            }
        }
    }

    fn send(&self, to: ReplicaId, lane: Lane, bytes: &[u8]) {
        self.transport.send(to, lane, bytes.into()).unwrap();
    }

    fn peer(&self, id: ReplicaId) -> PeerCounters {
        self.transport.counters().peers[&id]
    }

    fn refusals(&self) -> Refusals {
        self.transport.counters().refusals
    }

    /// Waits until the counters are as wanted.
    async fn until(&self, what: impl Fn(&Counters) -> bool) {
        patiently(async {
            while !what(&self.transport.counters()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this should have happened long ago")
}

/// Two nodes with links in both directions.
async fn pair() -> (Node, Node) {
    let members = members(2);
    let mut a = Node::start(config(A, &members));
    let mut b = Node::start(config(B, &members));
    a.connected(B).await;
    b.connected(A).await;
    (a, b)
}

/// Dials `to` by hand, as a member whose program does what it likes.
async fn dial_by_hand(
    own: ReplicaId,
    to: &Member,
    adapt: impl FnOnce(&mut rustls::crypto::CryptoProvider),
) -> Result<quinn::Connection, quinn::ConnectionError> {
    dial_under(own, to, false, adapt).await
}

/// The same, with or without authenticators behind frames.
async fn dial_under(
    own: ReplicaId,
    to: &Member,
    has_tags: bool,
    adapt: impl FnOnce(&mut rustls::crypto::CryptoProvider),
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut identity = tls::Identity::new(&seed(own), CHAIN, has_tags).unwrap();
    identity.adapt(adapt);
    let refusals = Arc::default();
    let key = to.keys[0].key_bytes().try_into().unwrap();
    let config = identity
        .client_config(to.id, &[key], &refusals, &Limits::default())
        .unwrap();
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint
        .connect_with(config, to.address.unwrap(), "polity.invalid")
        .unwrap()
        .await
}

/// The beginning of a lane of votes, and frames of 1,000 bytes.
fn votes(frames: usize) -> Vec<u8> {
    let mut bytes = vec![Lane::Votes as u8];
    for _ in 0..frames {
        frame::append(&mut bytes, &[1; 1_000], None);
    }
    bytes
}
