//! FB-19: snapshots that come to nothing end, and cost a bounded part of the journal.

use crate::federation::Federation;
use crate::sync::{
    EPOCH, SLEEPER, at_epoch_end, gone, installed, no_chunk, slept_until, with_offer,
};
use crate::vouchers::{give_back, run_until_loading, take_shelves, vouchers, without_blocks};
use polity_crypto::Sha256Digest;
use polity_replica::Record;
use polity_replica::sync::{SyncAnswer, SyncRecord, UNBACKED_CHUNKS_MAX, UNFINISHED_MAX};
use polity_types::wire;

/// Hours for which liars go on.
const HOURS: u64 = 6;

const HOUR_MS: u64 = 3_600_000;

/// Chunks that the liar gives of each snapshot, at most.
const GIVEN: u32 = 20;

/// How many snapshots a replica began, and how many chunks it put into its journal.
fn written(federation: &Federation) -> (u32, u32) {
    let records = federation.nodes[SLEEPER].journal.iter();
    records.fold((0, 0), |(starts, chunks), record| match record {
        Record::Sync(SyncRecord::Started(_)) => (starts + 1, chunks),
        Record::Sync(SyncRecord::Chunk(_)) => (starts, chunks + 1),
        _ => (starts, chunks),
    })
}

/// Everything is answered but the end of the snapshot.
fn all_but_the_end(answer: SyncAnswer) -> Vec<SyncAnswer> {
    match answer {
        SyncAnswer::Chunk { index, .. } if index >= GIVEN => Vec::new(),
        other => vec![other],
    }
}

/// FB-19: who vouches alone for snapshots that never end fills no disk, however long it goes on, and
/// the others are asked all the same.
#[test]
fn fb_19_a_liar_begins_so_many_snapshots_and_no_more() {
    let (mut federation, first) = without_blocks();
    let mut snapshot = at_epoch_end(&federation, 5 * EPOCH);
    let offence = |number: u8| wire::encode(&(1_u8, 5_u8, Sha256Digest::new([number; 32])));
    snapshot.chunks.extend((0..=200).map(offence));
    let shelves = take_shelves(&mut federation, &[0, 1, 2]);
    federation.nodes[0].shelf.keep(snapshot);
    federation.nodes[0].shelf.committed(&first);
    federation.nodes[0].lie = Some(all_but_the_end);
    federation.run(HOUR_MS);
    assert_eq!(
        written(&federation),
        (UNFINISHED_MAX, UNFINISHED_MAX * GIVEN)
    );
    federation.run((HOURS - 1) * HOUR_MS);
    assert_eq!(
        written(&federation),
        (UNFINISHED_MAX, UNFINISHED_MAX * GIVEN)
    );
    give_back(&mut federation, shelves[1..].to_vec());
    federation.run_until("a true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(written(&federation).0, UNFINISHED_MAX + 1);
}

/// FB-19: who takes its word back again and again, so that an honest member alone carries the snapshot, is
/// not counted with it any more.
#[test]
fn fb_19_a_word_taken_back_counts_so_often_and_no_more() {
    let (mut federation, _) = without_blocks();
    federation.nodes[0].lie = Some(gone);
    federation.nodes[1].lie = Some(no_chunk);
    federation.nodes[2].is_down = true;
    run_until_loading(&mut federation);
    assert_eq!(vouchers(&federation), [0, 1]);
    federation.run(HOURS * HOUR_MS);
    let (starts, _) = written(&federation);
    // With the word of both, and then with that of the honest one alone.
    assert_eq!(starts, 2 * UNFINISHED_MAX);
    federation.nodes[1].lie = None;
    federation.nodes[2].is_down = false;
    federation.run_until("a true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(written(&federation).0, starts + 1);
}

/// FB-19: what no more than F vouch for has a size, which is theirs to say.
#[test]
fn fb_19_a_large_snapshot_needs_more_than_f() {
    let (mut federation, _) = without_blocks();
    let shelves = take_shelves(&mut federation, &[1, 2]);
    federation.nodes[0].lie =
        Some(|answer| with_offer(answer, |offer| offer.chunks = UNBACKED_CHUNKS_MAX + 1));
    federation.run(HOUR_MS);
    assert_eq!(written(&federation), (0, 0));
    give_back(&mut federation, shelves);
    federation.run_until("the true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
}

/// FB-19: what was vouched for and is nowhere any more is dropped, though those who vouched never said so.
#[test]
fn fb_19_a_snapshot_that_left_with_its_members_is_dropped() {
    let mut federation = slept_until(5 * EPOCH + 1);
    let first = federation.nodes[0].chain[4 * EPOCH as usize].clone();
    let older = at_epoch_end(&federation, 4 * EPOCH);
    for node in &mut federation.nodes[..SLEEPER] {
        node.chain.clear();
    }
    take_shelves(&mut federation, &[2]);
    for node in &mut federation.nodes[..2] {
        node.lie = Some(no_chunk);
    }
    run_until_loading(&mut federation);
    assert_eq!(vouchers(&federation), [0, 1]);
    for node in &mut federation.nodes[..2] {
        node.is_down = true;
    }
    // This one never offered it, and has another one.
    federation.nodes[2].shelf.keep(older);
    federation.nodes[2].shelf.committed(&first);
    federation.run_until("another one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(installed(&federation, SLEEPER), [4 * EPOCH]);
}

/// FB-19: an installed snapshot settles what was charged before.
#[test]
fn fb_19_an_installed_snapshot_settles_the_account() {
    let (mut federation, _) = without_blocks();
    for node in &mut federation.nodes[1..SLEEPER] {
        node.is_down = true;
    }
    federation.nodes[0].lie = Some(no_chunk);
    federation.run(HOUR_MS);
    assert_eq!(written(&federation), (UNFINISHED_MAX, 0));
    federation.nodes[0].lie = None;
    federation.run(HOUR_MS);
    assert_eq!(written(&federation), (UNFINISHED_MAX, 0));
    for node in &mut federation.nodes[1..SLEEPER] {
        node.is_down = false;
    }
    federation.run_until("a snapshot is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    federation.nodes[SLEEPER].is_down = true;
    let height = federation.height().get();
    federation.advance_to(height + 4 * EPOCH);
    for node in &mut federation.nodes[..SLEEPER] {
        node.chain.clear();
    }
    for node in &mut federation.nodes[1..SLEEPER] {
        node.is_down = true;
    }
    federation.nodes[SLEEPER].is_down = false;
    federation.run_until("one of this member alone is installed", |federation| {
        installed(federation, SLEEPER).len() == 2
    });
}
