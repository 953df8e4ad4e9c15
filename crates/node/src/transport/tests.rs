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

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_exchange_frames_on_all_lanes() {
    let members = members(3);
    let ids = [A, B, C];
    let mut nodes: Vec<Node> = ids
        .iter()
        .map(|id| Node::start(config(*id, &members)))
        .collect();
    for (own, node) in ids.iter().zip(&mut nodes) {
        let peers: Vec<ReplicaId> = ids.into_iter().filter(|id| id != own).collect();
        node.until(|counters| peers.iter().all(|peer| counters.peers[peer].is_connected))
            .await;
    }
    for (own, node) in ids.iter().zip(&nodes) {
        for lane in Lane::ALL {
            let frame: Arc<[u8]> = [own.get() as u8, lane as u8].into();
            node.transport.broadcast(lane, &frame).unwrap();
        }
    }
    for (own, node) in ids.iter().zip(&mut nodes) {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 8 {
            let (from, lane, bytes) = node.frame().await;
            assert_eq!(bytes, [from.get() as u8, lane as u8]);
            assert_ne!(from, *own);
            assert!(seen.insert((from, lane)), "twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_within_a_lane_for_small_and_large_frames() {
    let (a, mut b) = pair().await;
    let size = |number: u32| {
        if number.is_multiple_of(7) {
            200_000
        } else {
            4 + number as usize
        }
    };
    for number in 0..200_u32 {
        for lane in [Lane::Votes, Lane::Transactions] {
            let mut frame = vec![0xaa; size(number)];
            frame[..4].copy_from_slice(&number.to_le_bytes());
            a.send(B, lane, &frame);
        }
    }
    let mut next = [0_u32; 4];
    for _ in 0..400 {
        let (_, lane, bytes) = b.frame().await;
        let number = &mut next[lane.index()];
        assert_eq!(bytes[..4], number.to_le_bytes());
        assert_eq!(bytes.len(), size(*number));
        assert!(bytes[4..].iter().all(|byte| *byte == 0xaa));
        *number += 1;
    }
    assert_eq!(next, [200, 0, 200, 0]);
    let counters = b.peer(A).lanes[Lane::Votes.index()];
    assert_eq!(counters.frames_in, 200);
    assert_eq!(a.peer(B).lanes[0].bytes_out, counters.bytes_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_frames_arrive_and_the_largest_frame_of_each_lane_does_too() {
    let (a, mut b) = pair().await;
    let limits = Limits::default();
    for lane in Lane::ALL {
        for length in [0, limits.lane(lane).frame_bytes_max] {
            a.send(B, lane, &vec![1; length]);
            let (_, seen, bytes) = b.frame().await;
            assert_eq!((seen, bytes.len()), (lane, length));
        }
        let length = limits.lane(lane).frame_bytes_max + 1;
        assert_eq!(
            a.transport.send(B, lane, vec![1; length].into()),
            Err(SendError::TooLong {
                length,
                limit: length - 1
            })
        );
    }
    assert_eq!(
        a.transport.send(A, Lane::Votes, [].into()),
        Err(SendError::UnknownPeer(A))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_that_nobody_reads_does_not_hold_up_votes() {
    let (a, mut b) = pair().await;
    // More than b's budget and the windows on the way: the lane stands still.
    let block = vec![2; 4 << 20];
    for _ in 0..4 {
        a.send(B, Lane::Sync, &block);
    }
    let sync = Lane::Sync.index();
    a.until(|counters| counters.peers[&B].lanes[sync].waiting_frames == 2)
        .await;
    b.until(|counters| counters.peers[&A].lanes[sync].frames_in == 1)
        .await;
    for number in 0..100 {
        a.send(B, Lane::Votes, &[number]);
    }
    b.until(|counters| counters.peers[&A].lanes[0].frames_in == 100)
        .await;
    // The budget holds one block with its overhead; nobody has taken it.
    assert_eq!(b.peer(A).lanes[sync].frames_in, 1);
    let mut votes = 0;
    let mut blocks = 0;
    while votes < 100 || blocks < 4 {
        let (_, lane, bytes) = b.frame().await;
        if lane == Lane::Votes {
            assert_eq!(bytes, [votes]);
            votes += 1;
        } else {
            assert!(bytes == block);
            blocks += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_peer_is_held_to_its_budget() {
    let members = members(3);
    let mut b = Node::start({
        let mut config = config(B, &members);
        config.limits.lanes[0].frame_bytes_max = 1_000;
        config.limits.lanes[0].inbox_bytes_max = 10_000;
        config
    });
    let flooder = Node::start(config(A, &members));
    let quiet = Node::start(config(C, &members));
    flooder
        .until(|counters| counters.peers[&B].is_connected)
        .await;
    quiet
        .until(|counters| counters.peers[&B].is_connected)
        .await;
    for _ in 0..4_000 {
        flooder.send(B, Lane::Votes, &[1; 1_000]);
    }
    // 7 frames of 1,000 bytes and their overhead fit the budget.
    b.until(|counters| counters.peers[&A].lanes[0].frames_in == 7)
        .await;
    quiet.send(B, Lane::Votes, &[3]);
    b.until(|counters| counters.peers[&C].lanes[0].frames_in == 1)
        .await;
    assert_eq!(b.peer(A).lanes[0].frames_in, 7);
    let mut before = 0;
    while b.frame().await.0 != C {
        before += 1;
    }
    assert!(
        before <= 2 * 7,
        "{before} frames were served before the quiet peer"
    );
}

/// A node whose inbox takes 7 votes of 1,000 bytes, with their overhead, from one peer.
fn narrow(members: &[Member]) -> Node {
    let mut config = config(A, members);
    config.limits.lanes[0].frame_bytes_max = 9_000;
    config.limits.lanes[0].inbox_bytes_max = 9_000;
    Node::start(config)
}

/// The beginning of a lane of votes, and frames of 1,000 bytes.
fn votes(frames: usize) -> Vec<u8> {
    let mut bytes = vec![Lane::Votes as u8];
    for _ in 0..frames {
        frame::append(&mut bytes, &[1; 1_000]);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_makes_no_room() {
    let members = members(2);
    let mut a = narrow(&members);
    let mut connections = Vec::new();
    for number in 1..=20 {
        let connection = dial_by_hand(B, &members[0], |_| {}).await.unwrap();
        // The welcome says that this connection took the place of the one before.
        patiently(connection.accept_uni()).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&votes(20)).await.unwrap();
        if let Some((older, _)) = connections.last() {
            let older: &quinn::Connection = older;
            patiently(older.closed()).await;
        } else {
            a.until(|counters| counters.peers[&B].lanes[0].frames_in == 7)
                .await;
        }
        connections.push((connection, stream));
        assert_eq!(a.peer(B).lanes[0].frames_in, 7, "connection {number}");
    }
    // Nobody keeps a share: the last connection goes on as soon as frames are taken.
    let (_, stream) = connections.last_mut().unwrap();
    stream.write_all(&[1, 0, 0, 0, 9]).await.unwrap();
    while a.frame().await.2 != [9] {}
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_of_a_dead_connection_gives_its_share_back() {
    let members = members(2);
    let mut a = narrow(&members);
    // A frame that takes the whole budget, and never ends.
    let half = [&[Lane::Votes as u8][..], &9_000_u32.to_le_bytes(), &[1; 10]].concat();
    let mut dead = Vec::new();
    for _ in 0..3 {
        let connection = dial_by_hand(B, &members[0], |_| {}).await.unwrap();
        // The next one must not be taken in before this one.
        patiently(connection.accept_uni()).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&half).await.unwrap();
        dead.push((connection, stream));
    }
    let connection = dial_by_hand(B, &members[0], |_| {}).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&votes(20)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(a.frame().await.2.len(), 1_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() {
    let known = members(1);
    let a = Node::start(config(A, &known));
    // The stranger knows the member, the member does not know the stranger.
    let stranger = Node::start(config(C, &known));
    a.until(|counters| counters.refusals.strangers > 0).await;
    stranger
        .until(|counters| counters.refusals.refused_by_peer > 0)
        .await;
    assert!(!stranger.peer(A).is_connected);
    assert_eq!(stranger.peer(A).connects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_another_key_than_the_table_says_is_refused() {
    let members = members(2);
    let mut wrong = members.clone();
    // Node a believes that b has the key of c.
    wrong[1].keys = vec![key(C)];
    let a = Node::start(config(A, &wrong));
    let b = Node::start(config(B, &members));
    a.until(|counters| counters.refusals.wrong_key > 0 && counters.refusals.strangers > 0)
        .await;
    b.until(|counters| counters.refusals.refused_by_peer > 0)
        .await;
    for (node, peer) in [(&a, B), (&b, A)] {
        assert_eq!(node.peer(peer).connects, 0);
        assert!(!node.peer(peer).is_connected_to_us);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_is_refused() {
    let members = members(2);
    let a = Node::start(config(A, &members));
    let b = Node::start(Config {
        chain: ChainId::new([8; 32]),
        ..config(B, &members)
    });
    for (node, peer) in [(&a, B), (&b, A)] {
        node.until(|counters| counters.refusals.other_chain > 1)
            .await;
        assert_eq!(node.peer(peer).connects, 0);
        assert!(!node.peer(peer).is_connected_to_us);
        assert_eq!(node.refusals().strangers, 0);
    }
}

/// Whoever holds the other key of a member, a past or a next one, gets in the way of nobody but itself.
#[tokio::test(flavor = "multi_thread")]
async fn fb_17_a_key_neither_displaces_nor_burdens_the_other_one_of_its_member() {
    let mut members = members(2);
    // The key of c is the other one of b.
    members[1].keys.push(key(C));
    let mut a = Node::start({
        let mut config = config(A, &members);
        config.limits.lanes[0].frame_bytes_max = 9_000;
        config.limits.lanes[0].inbox_bytes_max = 9_000;
        config.limits.penalty_min = Duration::from_hours(1);
        config.limits.penalty_max = Duration::from_hours(1);
        config
    });
    let dial = async |own| {
        let connection = dial_by_hand(own, &members[0], |_| {}).await.unwrap();
        patiently(connection.accept_uni()).await.unwrap();
        connection
    };
    let present = dial(B).await;
    let mut lane = present.open_uni().await.unwrap();
    lane.write_all(&votes(1)).await.unwrap();
    assert_eq!(a.frame().await.0, B);
    // The other one comes, takes all it may of the inbox, and more.
    let other = dial(C).await;
    let mut flood = other.open_uni().await.unwrap();
    flood.write_all(&votes(20)).await.unwrap();
    a.until(|counters| counters.peers[&B].lanes[0].frames_in == 1 + 7)
        .await;
    // There is room for as much of the present key.
    lane.write_all(&votes(7)[1..]).await.unwrap();
    a.until(|counters| counters.peers[&B].lanes[0].frames_in == 1 + 7 + 7)
        .await;
    // It breaks the rules until it is cut off, and that is not the present key's offence.
    for number in [9, 9, 9] {
        if let Ok(mut stream) = other.open_uni().await {
            // The connection may be closed already.
            let _ = stream.write_all(&[number]).await;
        }
    }
    patiently(other.closed()).await;
    a.until(|counters| counters.peers[&B].cut_off == 1).await;
    if let Ok(again) = dial_by_hand(C, &members[0], |_| {}).await {
        patiently(again.closed()).await;
    }
    a.until(|counters| counters.peers[&B].refused_in_penalty == 1)
        .await;
    assert_eq!(present.close_reason(), None);
    assert!(a.peer(B).is_connected_to_us);
    let present_again = dial(B).await;
    let mut lane = present_again.open_uni().await.unwrap();
    lane.write_all(&[Lane::Votes as u8, 1, 0, 0, 0, 5])
        .await
        .unwrap();
    while a.frame().await.2 != [5] {}
    // When its key is gone, its member is as connected as before.
    members[1].keys.pop();
    a.transport.set_members(members.clone()).unwrap();
    assert_eq!(present_again.close_reason(), None);
    assert!(a.peer(B).is_connected_to_us);
}

/// Dials `to` by hand, as a member whose program does what it likes.
async fn dial_by_hand(
    own: ReplicaId,
    to: &Member,
    adapt: impl FnOnce(&mut rustls::crypto::CryptoProvider),
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut identity = tls::Identity::new(&seed(own), CHAIN).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_hybrid_key_exchange_is_refused() {
    let members = members(2);
    let a = Node::start(config(A, &members));
    let classical = |provider: &mut rustls::crypto::CryptoProvider| {
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    };
    let refused = dial_by_hand(B, &members[0], classical).await;
    assert!(refused.is_err());
    a.until(|counters| counters.refusals.incompatible == 1)
        .await;
    // The same hand with the hybrid group is let in.
    assert!(dial_by_hand(B, &members[0], |_| {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shows_no_key_is_refused() {
    let members = members(1);
    let a = Node::start(config(A, &members));
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768],
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let identity = tls::Identity::new(&seed(B), CHAIN).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(identity.verifier_of(
            A,
            &[key(A).key_bytes().try_into().unwrap()],
            &Arc::default(),
        ))
        .with_no_client_auth();
    tls.alpn_protocols = vec![format!("polity/1/{CHAIN}").into_bytes()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint
        .connect_with(config, members[0].address.unwrap(), "polity.invalid")
        .unwrap();
    if let Ok(connection) = connecting.await {
        patiently(connection.closed()).await;
    }
    a.until(|counters| counters.refusals.incompatible == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_frames_close_the_stream_and_then_the_door() {
    let members = members(2);
    let mut a = Node::start(Config {
        limits: Limits {
            penalty_min: Duration::from_hours(1),
            penalty_max: Duration::from_hours(1),
            ..Limits::default()
        },
        ..config(A, &members)
    });
    let connection = dial_by_hand(B, &members[0], |_| {}).await.unwrap();
    let length = (Limits::default().lanes[0].frame_bytes_max as u32 + 1).to_le_bytes();
    for offence in 1..=3 {
        let mut stream = connection.open_uni().await.unwrap();
        // A good frame, then one that claims too much; its bytes are not needed.
        let good = [&[Lane::Votes as u8][..], &[1, 0, 0, 0, offence], &length].concat();
        stream.write_all(&good).await.unwrap();
        assert_eq!(a.frame().await, (B, Lane::Votes, vec![offence]));
        let stopped = patiently(stream.stopped()).await;
        if offence < 3 {
            assert_eq!(stopped, Ok(Some(frame::code::OVERSIZED)));
        }
    }
    let closed = patiently(connection.closed()).await;
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == frame::code::CUT_OFF),
        "{closed}"
    );
    assert_eq!((a.peer(B).oversized, a.peer(B).cut_off), (3, 1));
    // The peer stays outside.
    if let Ok(again) = dial_by_hand(B, &members[0], |_| {}).await {
        patiently(again.closed()).await;
    }
    a.until(|counters| counters.peers[&B].refused_in_penalty == 1)
        .await;
}

#[rstest]
#[case::no_lane(&[9], &[])]
#[case::lane_taken_twice(&[0], &[0])]
#[tokio::test(flavor = "multi_thread")]
async fn streams_outside_the_protocol_are_offences(#[case] first: &[u8], #[case] second: &[u8]) {
    let members = members(2);
    let a = Node::start({
        let mut config = config(A, &members);
        config.limits.offences_max = 1;
        config
    });
    let connection = dial_by_hand(B, &members[0], |_| {}).await.unwrap();
    let mut streams = Vec::new();
    for bytes in [first, second] {
        if let Ok(mut stream) = connection.open_uni().await {
            // The connection may be closed already.
            let _ = stream.write_all(bytes).await;
            streams.push(stream);
        }
    }
    patiently(connection.closed()).await;
    assert_eq!(a.peer(B).cut_off, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_writer_goes_on_after_its_stream_was_stopped() {
    let members = members(2);
    let mut b = Node::start({
        let mut config = config(B, &members);
        // Node b takes less than a sends.
        config.limits.lanes[0].frame_bytes_max = 10;
        config.limits.offences_max = 100;
        config
    });
    let a = Node::start(config(A, &members));
    a.until(|counters| counters.peers[&B].is_connected).await;
    a.send(B, Lane::Votes, &[1; 11]);
    b.until(|counters| counters.peers[&A].oversized == 1).await;
    // Frames that were already on the way are lost; a later one arrives.
    patiently(async {
        loop {
            a.send(B, Lane::Votes, &[2]);
            if b.events
                .try_recv()
                .is_some_and(|event| matches!(event, Event::Frame { .. }))
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(a.peer(B).disconnects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_come_back_after_a_peer_restarts() {
    let members = members(2);
    let mut a = Node::start(config(A, &members));
    for round in 0..3 {
        let mut b = Node::start_again(B, &members).await;
        a.connected(B).await;
        b.connected(A).await;
        a.send(B, Lane::Votes, &[round]);
        assert_eq!(b.frame().await, (A, Lane::Votes, vec![round]));
        b.send(A, Lane::Sync, &[round]);
        assert_eq!(a.frame().await, (B, Lane::Sync, vec![round]));
        b.transport.shutdown().await;
        assert_eq!(b.events.recv().await, None);
        assert!(matches!(
            a.next().await,
            Event::Disconnected { peer: B, .. }
        ));
    }
    assert_eq!(a.peer(B).connects, 3);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Two nodes with links, each in a runtime of its own. A node whose runtime is gone says nothing any
/// more, like a process that was killed.
fn pair_apart(
    members: &[Member],
    limits: impl Fn(&mut Limits),
) -> [(tokio::runtime::Runtime, Node); 2] {
    let mut nodes = [A, B].map(|own| {
        let runtime = runtime();
        let node = runtime.block_on(async {
            let mut config = config(own, members);
            limits(&mut config.limits);
            Node::start(config)
        });
        (runtime, node)
    });
    for ((runtime, node), peer) in nodes.iter_mut().zip([B, A]) {
        runtime.block_on(node.connected(peer));
    }
    nodes
}

#[test]
fn a_killed_peer_is_noticed_by_its_silence() {
    let members = members(2);
    let [(ours, mut a), (theirs, b)] = pair_apart(&members, |_| {});
    theirs.shutdown_timeout(PATIENCE);
    let down = ours.block_on(a.next());
    assert!(
        matches!(&down, Event::Disconnected { peer: B, reason } if reason == "timed out"),
        "{down:?}"
    );
    drop(b);
}

#[test]
fn a_killed_peer_says_so_when_it_is_back() {
    let members = members(2);
    // Silence alone would be noticed after an hour.
    let [(ours, mut a), (theirs, b)] = pair_apart(&members, |limits| {
        limits.keep_alive = Duration::from_millis(50);
        limits.idle_timeout = Duration::from_hours(1);
    });
    theirs.shutdown_timeout(PATIENCE);
    drop(b);
    ours.block_on(async {
        let mut b = Node::start_again(B, &members).await;
        let down = a.next().await;
        assert!(
            matches!(&down, Event::Disconnected { peer: B, reason } if reason == "reset by peer"),
            "{down:?}"
        );
        a.connected(B).await;
        a.send(B, Lane::Votes, b"again");
        assert_eq!(b.frame().await, (A, Lane::Votes, b"again".to_vec()));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_a_peer_that_is_down_is_bounded_and_sent_later() {
    let members = members(2);
    let a = Node::start({
        let mut config = config(A, &members);
        config.limits.lanes[0].queue_frames_max = 10;
        config
    });
    for number in 0..100 {
        a.send(B, Lane::Votes, &[number]);
    }
    let counters = a.peer(B).lanes[0];
    assert_eq!(counters.waiting_frames, 10);
    assert_eq!(counters.dropped, 90);
    let mut b = Node::start(config(B, &members));
    for number in 90..100 {
        assert_eq!(b.frame().await, (A, Lane::Votes, vec![number]));
    }
    assert_eq!(a.peer(B).lanes[0].waiting_frames, 0);
}

#[rstest]
#[case::two_with_one_key(|members: &mut Vec<Member>| members[2].keys = vec![key(B)])]
#[case::two_with_one_number(|members: &mut Vec<Member>| members[2].id = B)]
#[case::own_key(|members: &mut Vec<Member>| members[1].keys = vec![key(A)])]
#[case::no_key(|members: &mut Vec<Member>| members[1].keys.clear())]
#[case::suite(|members: &mut Vec<Member>| members[1].keys = vec![PublicKey::new(Suite::Stub, &[9; 32]).unwrap()])]
#[case::too_many(|members: &mut Vec<Member>| *members = vec![members[0].clone(); 1_025])]
#[tokio::test]
async fn refuses_member_tables(#[case] spoil: fn(&mut Vec<Member>)) {
    let mut members = members(3);
    Transport::start(config(A, &members)).unwrap();
    spoil(&mut members);
    assert!(Transport::start(config(A, &members)).is_err());
}

#[rstest]
#[case::frame(|limits: &mut Limits| limits.lanes[1].frame_bytes_max = 0)]
#[case::queue(|limits: &mut Limits| limits.lanes[1].queue_bytes_max = 1)]
#[case::inbox(|limits: &mut Limits| limits.lanes[1].inbox_bytes_max = 1)]
#[case::keep_alive(|limits: &mut Limits| limits.keep_alive = limits.idle_timeout)]
#[case::redial(|limits: &mut Limits| limits.redial_max = Duration::ZERO)]
#[tokio::test]
async fn refuses_limits(#[case] spoil: fn(&mut Limits)) {
    let mut config = config(A, &members(2));
    spoil(&mut config.limits);
    assert!(Transport::start(config).is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let members = members(1);
    let _first = Node::start(config(A, &members));
    let error = Transport::start(config(A, &members)).unwrap_err();
    assert!(
        matches!(error, TransportError::Listen { address, .. } if Some(address) == members[0].address)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_while_it_runs() {
    let all = members(3);
    let two = &all[..2];
    let mut a = Node::start(config(A, two));
    let mut b = Node::start(config(B, two));
    a.connected(B).await;
    b.connected(A).await;
    // Node c knows the others, which do not know it yet.
    let mut c = Node::start(config(C, &all));
    a.until(|counters| counters.refusals.strangers > 0).await;
    assert_eq!(
        a.transport.send(C, Lane::Votes, [].into()),
        Err(SendError::UnknownPeer(C))
    );
    for node in [&a, &b] {
        node.transport.set_members(all.clone()).unwrap();
    }
    a.connected(C).await;
    b.connected(C).await;
    c.until(|counters| counters.peers[&A].is_connected && counters.peers[&B].is_connected)
        .await;
    a.send(C, Lane::Votes, b"welcome");
    assert_eq!(c.frame().await, (A, Lane::Votes, b"welcome".to_vec()));
    c.send(A, Lane::Votes, b"thanks");
    assert_eq!(a.frame().await, (C, Lane::Votes, b"thanks".to_vec()));

    let refused = c.refusals().refused_by_peer;
    a.transport.set_members(two.to_vec()).unwrap();
    assert!(matches!(
        a.next().await,
        Event::Disconnected { peer: C, .. }
    ));
    assert_eq!(
        a.transport.send(C, Lane::Votes, [].into()),
        Err(SendError::UnknownPeer(C))
    );
    // It is out in both directions and does not come back in.
    c.until(|counters| {
        let link = &counters.peers[&A];
        let is_out = !link.is_connected && !link.is_connected_to_us;
        is_out && counters.refusals.refused_by_peer > refused
    })
    .await;
    assert!(c.peer(B).is_connected);
    // Whoever stayed noticed nothing of it.
    a.send(B, Lane::Votes, b"still here");
    assert_eq!(b.frame().await, (A, Lane::Votes, b"still here".to_vec()));
    assert_eq!((a.peer(B).connects, a.peer(B).disconnects), (1, 0));
    assert_eq!((b.peer(A).connects, b.peer(A).disconnects), (1, 0));
    assert!(a.peer(B).is_connected_to_us);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_counts_from_then_on_and_both_do_in_between() {
    let old = members(2);
    let with_keys = |keys: Vec<PublicKey>| {
        let mut members = old.clone();
        members[1].keys = keys;
        members
    };
    // The new key of b is that of nobody so far.
    let new_key = key(C);
    let both = with_keys(vec![key(B), new_key.clone()]);
    let mut a = Node::start(config(A, &old));
    let mut b = Node::start(config(B, &old));
    a.connected(B).await;
    b.connected(A).await;
    a.transport.set_members(both).unwrap();
    a.send(B, Lane::Votes, b"same link");
    assert_eq!(b.frame().await, (A, Lane::Votes, b"same link".to_vec()));
    assert_eq!(a.peer(B).connects, 1);

    b.transport.shutdown().await;
    drop(b);
    assert!(matches!(
        a.next().await,
        Event::Disconnected { peer: B, .. }
    ));
    let mut b = patiently(async {
        loop {
            let config = Config {
                seed: Zeroizing::new(seed(C)),
                ..config(B, &old)
            };
            match Transport::start(config) {
                Ok((transport, events)) => return Node { transport, events },
                Err(TransportError::Listen { .. }) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    a.connected(B).await;
    b.connected(A).await;
    a.transport
        .set_members(with_keys(vec![new_key.clone()]))
        .unwrap();
    b.send(A, Lane::Votes, b"new key");
    assert_eq!(a.frame().await, (B, Lane::Votes, b"new key".to_vec()));
    assert_eq!((a.peer(B).connects, a.peer(B).disconnects), (2, 1));

    // A table in which it has the old key alone closes both directions.
    a.transport.set_members(old.clone()).unwrap();
    assert!(matches!(
        a.next().await,
        Event::Disconnected { peer: B, .. }
    ));
    a.until(|counters| {
        !counters.peers[&B].is_connected_to_us
            && counters.refusals.strangers > 0
            && counters.refusals.wrong_key > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_an_address_is_let_in_and_not_dialled() {
    let members = members(2);
    let mut without = members.clone();
    without[1].address = None;
    let mut a = Node::start(config(A, &without));
    let mut b = Node::start(config(B, &members));
    b.connected(A).await;
    b.send(A, Lane::Votes, b"hello");
    assert_eq!(a.frame().await, (B, Lane::Votes, b"hello".to_vec()));
    assert_eq!((a.peer(B).connects, a.peer(B).dial_failures), (0, 0));
    a.send(B, Lane::Votes, b"later");
    a.transport.set_members(members).unwrap();
    a.connected(B).await;
    assert_eq!(b.frame().await, (A, Lane::Votes, b"later".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_makes_no_sense_changes_nothing() {
    let members = members(2);
    let mut a = Node::start(config(A, &members));
    let mut b = Node::start(config(B, &members));
    a.connected(B).await;
    b.connected(A).await;
    let mut spoilt = members.clone();
    spoilt.push(Member {
        id: C,
        ..members[1].clone()
    });
    assert!(matches!(
        a.transport.set_members(spoilt),
        Err(TransportError::Duplicate(C))
    ));
    a.send(B, Lane::Votes, b"still here");
    assert_eq!(b.frame().await, (A, Lane::Votes, b"still here".to_vec()));
    // After the end a table changes nothing either.
    a.transport.shutdown().await;
    a.transport.set_members(members).unwrap();
    assert_eq!(a.events.recv().await, None);
}
