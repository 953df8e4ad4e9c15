//! Tables of members and limits: which are refused, and how they change while it runs.

use super::*;

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
