//! Links under tier 1: both ends prove the secret, and every frame bears an authenticator.

use super::seal::{Session, TAG_BYTES};
use super::*;

const SECRET: [u8; 32] = [0xa7; 32];

fn sealed(own: ReplicaId, members: &[Member], secret: [u8; 32]) -> Config {
    Config {
        link_secret: Some(Zeroizing::new(secret)),
        ..config(own, members)
    }
}

/// A connection of B to A under tier 1, and what B makes its tags with if it knows the secret.
async fn dial(to: &Member, secret: [u8; 32]) -> (quinn::Connection, Session) {
    let connection = dial_under(B, to, true, |_| {}).await.unwrap();
    let [own, other] = [B, A].map(|id| key(id).key_bytes().try_into().unwrap());
    let secret = Arc::new(Zeroizing::new(secret));
    let session = Session::new(&secret, &connection, own, other);
    (connection, session.ok().unwrap())
}

async fn say_hello(connection: &quinn::Connection, proof: &[u8]) {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(proof).await.unwrap();
    stream.finish().unwrap();
}

/// A connection of B that A has let in.
async fn let_in(to: &Member) -> (quinn::Connection, Session) {
    let (connection, session) = dial(to, SECRET).await;
    say_hello(&connection, &session.hello().tag(b"")).await;
    let mut stream = patiently(connection.accept_uni()).await.unwrap();
    let mut welcome = [0; 8 + TAG_BYTES];
    stream.read_exact(&mut welcome).await.unwrap();
    assert!(session.welcome().check(b"", &welcome[8..]).is_ok());
    (connection, session)
}

/// How A ended the connection: the one code that it has for everything that does not hold.
async fn is_refused(connection: &quinn::Connection) -> bool {
    let reason = patiently(connection.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(close) = &reason else {
        panic!("{reason}");
    };
    close.error_code == frame::code::NOT_AUTHENTIC && close.reason == b"not authentic"[..]
}

#[tokio::test(flavor = "multi_thread")]
async fn cr_6_nodes_with_one_secret_exchange_frames_on_all_lanes() {
    let members = members(2);
    let mut a = Node::start(sealed(A, &members, SECRET));
    let mut b = Node::start(sealed(B, &members, SECRET));
    a.connected(B).await;
    b.connected(A).await;
    for lane in Lane::ALL {
        let largest = Limits::default().lane(lane).frame_bytes_max;
        for length in [0, 5, largest] {
            a.send(B, lane, &vec![7; length]);
            b.send(A, lane, &vec![8; length]);
            assert_eq!(b.frame().await, (A, lane, vec![7; length]));
            assert_eq!(a.frame().await, (B, lane, vec![8; length]));
        }
    }
    assert_eq!((a.peer(B).forged, b.peer(A).forged), (0, 0));
    // What is counted are the frames, without the tags.
    assert_eq!(a.peer(B).lanes[0].bytes_out, b.peer(A).lanes[0].bytes_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn cr_6_nodes_with_different_secrets_have_no_link() {
    let members = members(2);
    let a = Node::start(sealed(A, &members, SECRET));
    let b = Node::start(sealed(B, &members, [0xa6; 32]));
    for (node, peer) in [(&a, B), (&b, A)] {
        node.until(|counters| {
            counters.refusals.link_secret > 2 && counters.peers[&peer].dial_failures > 0
        })
        .await;
        assert_eq!(node.peer(peer).connects, 0);
        assert!(!node.peer(peer).is_connected_to_us);
        assert_eq!(node.peer(peer).lanes[0].frames_in, 0);
    }
}

/// Nothing negotiates: a node without a secret is of another protocol.
#[tokio::test(flavor = "multi_thread")]
async fn cr_6_nodes_of_different_tiers_have_no_link() {
    let members = members(2);
    let a = Node::start(sealed(A, &members, SECRET));
    let b = Node::start(config(B, &members));
    for (node, peer) in [(&a, B), (&b, A)] {
        node.until(|counters| counters.refusals.other_chain > 1)
            .await;
        assert_eq!(node.peer(peer).connects, 0);
        assert!(!node.peer(peer).is_connected_to_us);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cr_6_who_does_not_prove_the_secret_displaces_nobody() {
    let members = members(2);
    let mut a = Node::start(sealed(A, &members, SECRET));
    let (good, session) = let_in(&members[0]).await;
    let mut lane = good.open_uni().await.unwrap();
    let mut seal = session.lane(Lane::Votes, lane.id());
    let mut bytes = vec![Lane::Votes as u8];
    frame::append(&mut bytes, b"before", Some(&mut seal));
    lane.write_all(&bytes).await.unwrap();
    assert_eq!(a.frame().await.2, b"before");

    let right = |session: &Session| session.hello().tag(b"").to_vec();
    let proofs: [fn(&Session) -> Vec<u8>; 6] = [
        |_| Vec::new(),
        |_| vec![0; TAG_BYTES],
        // Longer and shorter than a proof.
        |session| [&session.hello().tag(b"")[..], &[0]].concat(),
        |session| session.hello().tag(b"")[..TAG_BYTES - 1].to_vec(),
        // What the other end would say, and what stands in another place.
        |session| session.welcome().tag(b"").to_vec(),
        |session| {
            let stream = quinn::StreamId::from(quinn::VarInt::from_u32(0));
            session.lane(Lane::Votes, stream).tag(b"").to_vec()
        },
    ];
    for proof in proofs {
        let (connection, session) = dial(&members[0], SECRET).await;
        say_hello(&connection, &proof(&session)).await;
        assert!(is_refused(&connection).await);
    }
    // Another secret, and the proof of another connection.
    let (connection, session) = dial(&members[0], [0; 32]).await;
    say_hello(&connection, &right(&session)).await;
    assert!(is_refused(&connection).await);
    let (connection, _) = dial(&members[0], SECRET).await;
    let (other, elsewhere) = dial(&members[0], SECRET).await;
    say_hello(&connection, &right(&elsewhere)).await;
    assert!(is_refused(&connection).await);
    other.close(0_u32.into(), b"");
    a.until(|counters| counters.refusals.link_secret == 8).await;

    // The first connection is as it was.
    let mut bytes = Vec::new();
    frame::append(&mut bytes, b"after", Some(&mut seal));
    lane.write_all(&bytes).await.unwrap();
    assert_eq!(a.frame().await.2, b"after");
    assert_eq!(a.peer(B).refused_in_penalty, 0);
}

/// What B sends after a first good frame, on a lane of votes.
type Forgery = fn(&Session, quinn::StreamId, &[u8], &mut seal::Seal) -> Vec<u8>;

const FORGERIES: [(&str, Forgery); 7] = [
    ("a wrong tag", |_, _, _, seal| {
        let mut bytes = append(b"second", Some(seal));
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    }),
    ("another frame", |_, _, _, seal| {
        let mut bytes = append(b"second", Some(seal));
        bytes[4] ^= 1;
        bytes
    }),
    ("no tag", |_, _, _, _| {
        [append(b"second", None), append(&[0; 64], None)].concat()
    }),
    ("replayed", |_, _, first, _| first.to_vec()),
    ("left out", |_, _, _, seal| {
        seal.tag(b"second");
        append(b"third", Some(seal))
    }),
    ("of another lane", |session, stream, _, _| {
        let mut other = session.lane(Lane::Blocks, stream);
        other.tag(b"first");
        append(b"second", Some(&mut other))
    }),
    ("of another stream", |session, _, _, _| {
        let stream = quinn::StreamId::from(quinn::VarInt::from_u32(2));
        let mut other = session.lane(Lane::Votes, stream);
        other.tag(b"first");
        append(b"second", Some(&mut other))
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn cr_6_a_frame_that_does_not_hold_ends_the_link() {
    for (case, forgery) in FORGERIES {
        let members = members(2);
        let mut a = Node::start(sealed(A, &members, SECRET));
        let (connection, session) = let_in(&members[0]).await;
        let mut lane = connection.open_uni().await.unwrap();
        let mut seal = session.lane(Lane::Votes, lane.id());
        let first = append(b"first", Some(&mut seal));
        lane.write_all(&[Lane::Votes as u8]).await.unwrap();
        lane.write_all(&first).await.unwrap();
        assert_eq!(a.frame().await, (B, Lane::Votes, b"first".to_vec()));
        let forged = forgery(&session, lane.id(), &first, &mut seal);
        lane.write_all(&forged).await.unwrap();
        assert!(is_refused(&connection).await, "{case}");
        let peer = a.peer(B);
        assert_eq!((peer.forged, peer.cut_off), (1, 1), "{case}");
        assert_eq!(peer.lanes[0].frames_in, 1, "{case}");
    }
}

/// A frame that ends early says nothing false: it is not delivered, and the link goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_ends_before_its_tag_is_not_delivered() {
    let members = members(2);
    let mut a = Node::start(sealed(A, &members, SECRET));
    let (connection, session) = let_in(&members[0]).await;
    let mut lane = connection.open_uni().await.unwrap();
    let mut seal = session.lane(Lane::Votes, lane.id());
    let mut bytes = append(b"first", Some(&mut seal));
    bytes.pop();
    lane.write_all(&[Lane::Votes as u8]).await.unwrap();
    lane.write_all(&bytes).await.unwrap();
    lane.finish().unwrap();
    patiently(async { lane.stopped().await }).await.unwrap();
    let mut next = connection.open_uni().await.unwrap();
    let mut seal = session.lane(Lane::Blocks, next.id());
    next.write_all(&[Lane::Blocks as u8]).await.unwrap();
    let block = append(b"block", Some(&mut seal));
    next.write_all(&block).await.unwrap();
    assert_eq!(a.frame().await, (B, Lane::Blocks, b"block".to_vec()));
    assert_eq!((a.peer(B).forged, a.peer(B).lanes[0].frames_in), (0, 0));
}

#[test]
fn no_configuration_shows_the_secret() {
    let shown = format!("{:?}", sealed(A, &members(1), SECRET));
    assert!(!shown.contains("167, 167"), "{shown}");
    assert!(!shown.contains("a7a7"), "{shown}");
}

fn append(frame: &[u8], seal: Option<&mut seal::Seal>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, frame, seal);
    bytes
}
