//! FB-15: a replica that stops at any record continues and contradicts nothing.

use crate::cluster::{Cluster, genesis_tip, keys, state_after};
use polity_consensus::fbpbft::{
    Config, Engine, Machine, Message, Parent, Record, Roots, Round, SealedBlock, Tip, Vote,
};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::{StateMachine, Time};
use std::collections::BTreeMap;

fn cluster() -> Cluster<StubSigner, StubVerifier> {
    let signers = (0..4).map(StubSigner::new).collect();
    Cluster::new(signers, || StubVerifier, Config::default())
}

/// The last block that the records decide.
fn tip_of(cluster: &Cluster<StubSigner, StubVerifier>, records: &[Record]) -> Tip {
    let chain = cluster.chain();
    let mut tip = genesis_tip(chain);
    let mut blocks = BTreeMap::new();
    for record in records {
        match record {
            Record::Block(block) => {
                blocks.insert(block.header.digest(), block.clone());
            }
            Record::Decided(certificate) => {
                let digest = certificate.value.digest;
                let block = SealedBlock::new(chain, blocks[&digest].clone()).expect("stored");
                tip = Tip {
                    parent: Parent {
                        height: certificate.height,
                        digest,
                        timestamp: block.header().timestamp,
                    },
                    certificate: Some(certificate.clone()),
                    roots: Roots {
                        height: certificate.height,
                        application: state_after(&digest),
                        receipts: polity_merkle::empty_root(),
                    },
                    is_unrecorded: true,
                };
            }
            _ => {}
        }
    }
    tip
}

/// Every vote that was sent, by what it may be said once about.
fn voted(frames: &[Message]) -> BTreeMap<String, Vote> {
    frames
        .iter()
        .filter_map(|message| match message {
            Message::Vote(vote) => Some((
                format!("{} {} {:?}", vote.height, vote.view, vote.kind),
                vote.clone(),
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn fb_15_a_stop_at_any_record_contradicts_nothing() {
    let victim = 2;
    // A run without a stop tells how many records there are.
    let mut whole = cluster();
    while whole.decided_by_all().get() < 3 {
        let frame = whole.network.pop_front().expect("progress");
        whole.deliver(frame);
    }
    let total = whole.nodes[victim].journal.len();
    assert!(total > 12, "three blocks persist more than {total} records");
    for stop_at in 0..=total {
        let mut run = cluster();
        let mut said: Vec<Message> = Vec::new();
        // Everything that the victim sent was sent after its record: cut the journal where its
        // messages of that moment still lay in front.
        while run.nodes[victim].journal.len() < stop_at {
            let frame = run.network.pop_front().expect("progress");
            run.deliver(frame);
        }
        let limit = run.config.message_bytes_max();
        said.extend(
            run.network
                .iter()
                .filter(|f| f.from.get() as usize == victim)
                .map(|f| polity_types::wire::decode::<Message>(&f.bytes, limit).expect("sent")),
        );
        let journal = run.nodes[victim].journal.clone();
        let tip = tip_of(&run, &journal);
        let machine = Machine::restore(
            run.config.clone(),
            run.chain().clone(),
            keys(victim),
            StubVerifier,
            tip,
            journal.clone(),
        )
        .expect("its own records");
        run.nodes[victim].engine = Engine::new(machine);
        run.tick_all();
        for _ in 0..40 {
            let until = run.decided_by_all().get() + 1;
            while run.decided_by_all().get() < until
                && let Some(frame) = run.network.pop_front()
            {
                if frame.from.get() as usize == victim {
                    let message = polity_types::wire::decode::<Message>(&frame.bytes, limit);
                    said.push(message.expect("sent"));
                }
                run.deliver(frame);
            }
            if run.decided_by_all().get() >= 5 {
                break;
            }
            run.advance();
        }
        assert!(
            run.decided_by_all().get() >= 5,
            "stopped at record {stop_at}: no progress"
        );
        // Votes of one (height, view, kind) are equal, byte for byte, before and after.
        let mut seen: BTreeMap<String, Vote> = BTreeMap::new();
        for message in &said {
            for (about, vote) in voted(std::slice::from_ref(message)) {
                let first = seen.entry(about.clone()).or_insert_with(|| vote.clone());
                assert_eq!(*first, vote, "stopped at record {stop_at}: {about}");
            }
        }
        let first = &run.nodes[0].decided;
        for node in &run.nodes {
            for ((a, _), (b, _)) in node.decided.iter().zip(first) {
                assert_eq!(a.digest(), b.digest());
            }
        }
    }
}

#[test]
fn fb_15_the_floor_survives_a_restart() {
    let mut cluster = cluster();
    for node in cluster.nodes.iter_mut().skip(1) {
        node.is_down = true;
    }
    cluster.input(0, polity_consensus::fbpbft::EngineInput::WorkPending(true));
    for _ in 0..200 {
        cluster.advance();
    }
    let floor = cluster.nodes[0].engine.machine().view_floor();
    assert!(floor.get() >= 1, "alone, it asks for another view");
    let machine = Machine::restore(
        cluster.config.clone(),
        cluster.chain().clone(),
        keys(0),
        StubVerifier,
        genesis_tip(cluster.chain()),
        cluster.nodes[0].journal.clone(),
    )
    .expect("its own records");
    assert_eq!(machine.view_floor(), floor);
    assert_eq!(machine.deadline(), Some(Time::ZERO));
}

#[test]
fn a_journal_that_says_two_things_is_refused() {
    let cluster = cluster();
    let leader = crate::forge::leader(cluster.chain(), 1, 0);
    let node = &cluster.nodes[leader.get() as usize];
    let mut records = node.journal.clone();
    records.extend(node.journal.clone());
    let restored = Machine::restore(
        cluster.config.clone(),
        cluster.chain().clone(),
        keys(leader.get() as usize),
        StubVerifier,
        genesis_tip(cluster.chain()),
        records,
    );
    assert!(matches!(
        restored.err(),
        Some(polity_consensus::fbpbft::StartError::Contradiction(_))
    ));
}

/// FB-15, FB-19: a machine that jumps forgets the height it worked on, starts anew above the block, and
/// never goes back.
#[test]
fn fb_19_a_jump_goes_forward_and_starts_anew() {
    let mut cluster = cluster();
    while cluster.decided_by_all().get() < 3 {
        let frame = cluster.network.pop_front().expect("progress");
        cluster.deliver(frame);
    }
    let tip = tip_of(&cluster, &cluster.nodes[0].journal);
    let chain = cluster.chain().clone();
    let mut machine = Machine::new(
        cluster.config.clone(),
        chain.clone(),
        StubSigner::new(3),
        StubVerifier,
        genesis_tip(&chain),
    )
    .expect("a member");
    let height = tip.parent.height;
    machine.jump(chain.clone(), tip.clone());
    assert_eq!(machine.height(), height.next());
    assert_eq!(*machine.parent(), tip.parent);
    assert_eq!(*machine.round(), Round::default());
    assert_eq!(machine.deadline(), Some(Time::ZERO));
    let back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| machine.jump(chain, tip)));
    assert!(back.is_err(), "the same block again is a step back");
}
