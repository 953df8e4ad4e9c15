//! Who is let in, and what it may do then.

use super::*;

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
    let identity = tls::Identity::new(&seed(B), CHAIN, false).unwrap();
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
