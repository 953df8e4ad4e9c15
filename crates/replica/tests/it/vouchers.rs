//! FB-19: whom a replica believes while a snapshot comes, and for how long.

use crate::federation::{Envelope, Federation};
use crate::sync::{
    EPOCH, SLEEPER, asked, at_epoch_end, catch_up, excluded, federation, installed, no_chunk,
    slept_until, with_offer,
};
use polity_consensus::fbpbft::{Message, Status};
use polity_crypto::Sha256Digest;
use polity_replica::sync::{Shelf, SyncAnswer, SyncError, SyncMessage, SyncRequest};
use polity_replica::{Committed, Effect, Frame};
use polity_types::{Height, ReplicaId, Time, View, wire};
use rstest::rstest;

/// FB-19: whoever offers the true root and another number of chunks makes nobody prove for it, and
/// honest members are asked for the true snapshot all the same.
#[rstest]
#[case::one_less(|answer: SyncAnswer| with_offer(answer, |offer| offer.chunks -= 1))]
#[case::one_more(|answer: SyncAnswer| with_offer(answer, |offer| offer.chunks += 1))]
fn fb_19_a_false_number_of_chunks_excludes_nobody(#[case] lie: fn(SyncAnswer) -> Vec<SyncAnswer>) {
    let (mut federation, _) = without_blocks();
    federation.nodes[0].lie = Some(lie);
    let shelves = take_shelves(&mut federation, &[1, 2]);
    run_until_loading(&mut federation);
    // Now they have it, with its true number of chunks, and are asked for the other one.
    give_back(&mut federation, shelves);
    federation.run_until("the true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    let asked = asked(&federation, SLEEPER);
    assert!(asked.iter().any(|(to, _)| *to != ReplicaId::new(0)));
    assert_eq!(excluded(&federation, SLEEPER), [0_u32; 0]);
    // They said that they have no such snapshot, and nothing that had to be refused.
    let refused = federation.nodes[SLEEPER].replica.sync_refused();
    assert_eq!(refused, (None, 0));
}

/// FB-19: a proof about another number of chunks says only that its sender has another snapshot.
#[test]
fn fb_19_a_proof_about_another_snapshot_blames_nobody() {
    let mut federation = slept_until(5 * EPOCH + 2);
    federation.nodes[0].lie = Some(|mut answer| {
        if let SyncAnswer::Chunk { proof, .. } = &mut answer {
            proof.size += 1;
        }
        vec![answer]
    });
    catch_up(&mut federation);
    let replica = &federation.nodes[SLEEPER].replica;
    let refused = replica.sync_refused().0;
    assert!(
        matches!(refused, Some(SyncError::ChunkCount(_))),
        "{refused:?}"
    );
    assert_eq!(excluded(&federation, SLEEPER), [0_u32; 0]);
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    let asked = asked(&federation, SLEEPER);
    let of_it = asked.iter().filter(|(to, _)| *to == ReplicaId::new(0));
    assert_eq!(of_it.count(), 1, "{asked:?}");
}

/// FB-19: blocks are fetched again as soon as those who vouch for the snapshot weigh no more than F.
#[test]
fn fb_19_blocks_come_again_when_vouchers_have_it_no_more() {
    let mut federation = slept_until(5 * EPOCH + 2);
    federation.nodes[2].is_down = true;
    federation.nodes[0].lie = Some(no_chunk);
    run_until_loading(&mut federation);
    assert_eq!(vouchers(&federation), [0, 1]);
    federation.nodes[1].shelf.clear();
    // Shorter than an answer may take.
    federation.run(1_500);
    let replica = &federation.nodes[SLEEPER].replica;
    assert!(replica.tip().parent.height >= Height::new(5 * EPOCH + 1));
    assert!(replica.sync_progress().is_none());
}

/// FB-19: those who vouched and do not answer stop no blocks either.
#[test]
fn fb_19_blocks_come_again_when_vouchers_are_late() {
    let mut federation = slept_until(5 * EPOCH + 2);
    federation.nodes[2].shelf.clear();
    for node in &mut federation.nodes[..2] {
        node.lie = Some(no_chunk);
        node.chain.clear();
    }
    run_until_loading(&mut federation);
    assert_eq!(vouchers(&federation), [0, 1]);
    // Longer than an answer may take, and shorter than until the snapshot is left alone.
    federation.run(6_000);
    let replica = &federation.nodes[SLEEPER].replica;
    assert!(replica.tip().parent.height >= Height::new(5 * EPOCH + 1));
}

/// FB-19: a snapshot that somebody honest has no more is given up at once.
#[test]
fn fb_19_a_snapshot_that_is_gone_is_given_up() {
    let (mut federation, _) = without_blocks();
    federation.nodes[0].lie = Some(no_chunk);
    run_until_loading(&mut federation);
    assert_eq!(vouchers(&federation), [0, 1]);
    let shelves = take_shelves(&mut federation, &[1, 2]);
    federation.run(500);
    assert!(federation.nodes[SLEEPER].replica.sync_progress().is_none());
    give_back(&mut federation, shelves);
    federation.run_until("it is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
}

/// FB-19: what members of weight above F vouch for is kept over an outage, however long.
#[test]
fn fb_19_an_outage_costs_no_chunk() {
    let (mut federation, _) = without_blocks();
    let has = |federation: &Federation| {
        let progress = federation.nodes[SLEEPER].replica.sync_progress();
        progress.map_or(0, |(_, chunks)| chunks)
    };
    for node in &mut federation.nodes[1..SLEEPER] {
        node.lie = Some(no_chunk);
    }
    federation.run_until("a chunk is here", |federation| has(federation) > 0);
    let had = has(&federation);
    for node in &mut federation.nodes[1..SLEEPER] {
        node.lie = None;
    }
    federation.nodes[SLEEPER].effects.clear();
    for is_down in [true, false] {
        for node in &mut federation.nodes[..3] {
            node.is_down = is_down;
        }
        if is_down {
            federation.run(120_000);
            assert!(asked(&federation, SLEEPER).len() > 10);
            federation.nodes[SLEEPER].effects.clear();
        }
    }
    federation.run_until("it is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    let asked = asked(&federation, SLEEPER);
    assert!(
        asked.iter().all(|(_, index)| *index >= had),
        "{had} {asked:?}"
    );
}

/// FB-19: a snapshot that one member invented, and gives chunk by chunk as late as it may, is given
/// up after a while; then the others are asked.
#[test]
fn fb_19_an_invented_snapshot_comes_to_an_end() {
    let (mut federation, first) = without_blocks();
    let mut snapshot = at_epoch_end(&federation, 5 * EPOCH);
    // One offence in each of many further chunks.
    let offence = |number: u8| wire::encode(&(1_u8, 5_u8, Sha256Digest::new([number; 32])));
    snapshot.chunks.extend((0..=200).map(offence));
    let shelves = take_shelves(&mut federation, &[0, 1, 2]);
    federation.nodes[0].shelf.keep(snapshot);
    federation.nodes[0].shelf.committed(&first);
    federation.nodes[1].is_down = true;
    run_until_loading(&mut federation);
    let start = federation.now;
    let mut late = Vec::new();
    while federation.nodes[SLEEPER].replica.sync_progress().is_some() {
        step_slowly(&mut federation, &mut late, 1_900);
        let passed = federation.now.as_millis() - start.as_millis();
        assert!(passed < 125_000, "it goes on and on");
    }
    assert!(federation.now.as_millis() - start.as_millis() > 60_000);
    assert_eq!(excluded(&federation, SLEEPER), [0_u32; 0]);
    federation.nodes[1].is_down = false;
    give_back(&mut federation, shelves);
    federation.run_until("a true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(excluded(&federation, SLEEPER), [0_u32; 0]);
}

/// FB-19: one member that boasted for a while keeps nobody from asking the others later.
#[test]
fn fb_19_a_boaster_delays_nobody() {
    let mut federation = federation();
    federation.advance_to(1);
    let status = Status {
        height: Height::new(1_000_000_000),
        view: View::ZERO,
        last_decided: Sha256Digest::ZERO,
    };
    for _ in 0..300 {
        federation.receive(SLEEPER, 0, Message::Status(status));
        federation.run(1_000);
    }
    federation.nodes[SLEEPER].is_down = true;
    federation.advance_to(5 * EPOCH + 2);
    federation.nodes[SLEEPER].is_down = false;
    catch_up(&mut federation);
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
}

/// FB-19: where the first that is asked keeps silent, the others have the time to answer.
#[test]
fn fb_19_everybody_has_the_time_to_offer() {
    let (mut federation, _) = without_blocks();
    federation.nodes[0].lie = Some(|answer| match answer {
        SyncAnswer::Epochs { .. } => Vec::new(),
        other => vec![other],
    });
    let mut late = Vec::new();
    while installed(&federation, SLEEPER).is_empty() {
        step_slowly(&mut federation, &mut late, 1_500);
    }
    // In the first attempt: in a second one, the silent member would be asked again.
    let effects = federation.nodes[SLEEPER].effects.iter();
    let asked = effects.filter(|effect| match effect {
        Effect::Send { to, frame } => {
            *to == ReplicaId::new(0)
                && matches!(
                    frame,
                    Frame::Sync(SyncMessage::Request(SyncRequest::Epochs { .. }))
                )
        }
        _ => false,
    });
    assert_eq!(asked.count(), 1);
}

/// FB-19: a peer that rested is asked at the end of its rest, and not with the next message.
#[test]
fn fb_19_the_end_of_a_rest_is_a_deadline() {
    let (mut federation, _) = without_blocks();
    for node in &mut federation.nodes[1..3] {
        node.is_down = true;
    }
    federation.nodes[0].lie = Some(no_chunk);
    run_until_loading(&mut federation);
    let mut asked_at = Vec::new();
    while asked_at.len() < 2 {
        if asked(&federation, SLEEPER).len() > asked_at.len() {
            asked_at.push(federation.now.as_millis());
        }
        federation.step();
    }
    // An answer may take two seconds, and the first rest is one.
    assert_eq!(asked_at[1] - asked_at[0], 3_000);
}

/// The members that offered what the sleeper fetches.
pub(crate) fn vouchers(federation: &Federation) -> Vec<u32> {
    let progress = federation.nodes[SLEEPER].replica.sync_progress();
    let vouched = progress.map(|(target, _)| target.vouched.iter().map(|id| id.get()));
    vouched.into_iter().flatten().collect()
}

/// A replica slept, and wakes where nobody has blocks any more. Returns the one behind the snapshot, too.
pub(crate) fn without_blocks() -> (Federation, Committed) {
    let mut federation = slept_until(5 * EPOCH + 1);
    let first = federation.nodes[0].chain[5 * EPOCH as usize].clone();
    for node in &mut federation.nodes[..SLEEPER] {
        node.chain.clear();
    }
    (federation, first)
}

/// These members have no snapshots until they get them back.
pub(crate) fn take_shelves(federation: &mut Federation, members: &[usize]) -> Vec<(usize, Shelf)> {
    let take = |index: &usize| {
        let shelf = &mut federation.nodes[*index].shelf;
        let taken = shelf.clone();
        shelf.clear();
        (*index, taken)
    };
    members.iter().map(take).collect()
}

pub(crate) fn give_back(federation: &mut Federation, shelves: Vec<(usize, Shelf)>) {
    for (index, shelf) in shelves {
        federation.nodes[index].shelf = shelf;
    }
}

/// A step in which answers about snapshots take so long.
fn step_slowly(federation: &mut Federation, late: &mut Vec<(Time, Envelope)>, millis: u64) {
    let is_answer = |envelope: &Envelope| {
        let frame = Frame::decode(&envelope.bytes, 1 << 20).unwrap();
        matches!(frame, Frame::Sync(SyncMessage::Answer(_)))
    };
    let due = Time::from_millis(federation.now.as_millis() + millis);
    let (answers, others) = std::mem::take(&mut federation.network)
        .into_iter()
        .partition(is_answer);
    federation.network = others;
    let answers: Vec<Envelope> = answers;
    late.extend(answers.into_iter().map(|envelope| (due, envelope)));
    let is_due = |(at, _): &mut (Time, Envelope)| *at <= federation.now;
    let arriving: Vec<(Time, Envelope)> = late.extract_if(.., is_due).collect();
    let arriving = arriving.into_iter().map(|(_, envelope)| envelope);
    federation.network.extend(arriving);
    federation.run(1);
}

pub(crate) fn run_until_loading(federation: &mut Federation) {
    federation.run_until("a snapshot is fetched", |federation| {
        let replica = &federation.nodes[SLEEPER].replica;
        replica.sync_progress().is_some()
    });
}
