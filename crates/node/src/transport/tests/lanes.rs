//! Frames arrive whole and in order, and no lane or peer takes the room of another.

use super::*;

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
