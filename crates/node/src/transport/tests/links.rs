//! Links break, are noticed to be broken, and come back.

use super::*;

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
