//! FB-14, FB-19: who is far behind takes a certified snapshot.

use crate::federation::{Federation, address, genesis, key, member_signer, signer};
use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::{Message, Status};
use polity_crypto::{Sha256Digest, Signer as _};
use polity_ledger::{Command, GenesisAccount};
use polity_replica::sync::{
    Blame, CHUNKS_MAX, ChunkBytes, ENDS_MAX, Shelf, SyncAnswer, SyncError, SyncHoldings,
    SyncMessage, SyncRecord, SyncRequest, answer,
};
use polity_replica::{
    Admission, Config, Effect, Frame, GenesisMember, Input, MemberChange, Record, Replayed,
    RestoreError, Snapshot,
};
use polity_types::{Amount, Epoch, Height, ReplicaId, View, Weight};
use rstest::rstest;
use std::collections::BTreeSet;

/// Heights of an epoch.
pub(crate) const EPOCH: u64 = 4;

/// Who sleeps.
pub(crate) const SLEEPER: usize = 3;

/// Accounts beside the others: some chunks of 256 KiB.
const ACCOUNTS: usize = 12_000;

fn config() -> Config {
    Config {
        snapshot_after: 6,
        ..Config::default()
    }
}

/// A federation with short epochs, and a ledger of several chunks.
pub(crate) fn federation() -> Federation {
    let mut genesis = genesis();
    genesis.consensus.epoch_length = EPOCH;
    let owner = key("alice@thor");
    genesis
        .ledger
        .accounts
        .extend((0..ACCOUNTS).map(|number| GenesisAccount {
            address: address(&format!("account-{number}@legion")),
            owner: owner.clone(),
            balance: Amount::from_atp(1),
        }));
    Federation::with(genesis, config())
}

/// A replica slept until the others had decided `height`, and wakes.
pub(crate) fn slept_until(height: u64) -> Federation {
    let mut federation = federation();
    federation.advance_to(1);
    federation.nodes[SLEEPER].is_down = true;
    federation.advance_to(height);
    federation.nodes[SLEEPER].is_down = false;
    federation
}

/// Runs until the sleeper has what the others have.
pub(crate) fn catch_up(federation: &mut Federation) {
    federation.run_until("the sleeper has caught up", |federation| {
        let tips = federation.nodes.iter().map(|node| node.replica.tip());
        let heights: BTreeSet<Height> = tips.map(|tip| tip.parent.height).collect();
        heights.len() == 1
    });
}

/// The heights of the snapshots that a replica installed.
pub(crate) fn installed(federation: &Federation, index: usize) -> Vec<u64> {
    let effects = federation.nodes[index].effects.iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Installed(installed) => Some(installed.meta.height.get()),
            _ => None,
        })
        .collect()
}

/// The chunks that a replica asked for, with those it asked.
pub(crate) fn asked(federation: &Federation, index: usize) -> Vec<(ReplicaId, u32)> {
    let effects = federation.nodes[index].effects.iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Send {
                to,
                frame: Frame::Sync(SyncMessage::Request(SyncRequest::Chunk { index, .. })),
            } => Some((*to, *index)),
            _ => None,
        })
        .collect()
}

pub(crate) fn excluded(federation: &Federation, index: usize) -> Vec<u32> {
    let excluded = federation.nodes[index].replica.sync_excluded();
    excluded.map(ReplicaId::get).collect()
}

/// All replicas have the same state, and decide together.
fn assert_together(federation: &mut Federation) {
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(SLEEPER, &next);
    federation.settle(&next);
    let roots: BTreeSet<Sha256Digest> = federation
        .nodes
        .iter_mut()
        .map(|node| node.replica.ledger_mut().root())
        .collect();
    assert_eq!(roots.len(), 1);
    for node in &federation.nodes {
        // Certificates of one block are not unique.
        let (ours, theirs) = (node.replica.tip(), federation.nodes[0].replica.tip());
        assert_eq!((&ours.parent, ours.roots), (&theirs.parent, theirs.roots));
        assert_eq!(node.replica.evidence_seen(), 0);
    }
    let ours = federation.nodes[SLEEPER].replica.chain();
    let theirs = federation.nodes[0].replica.chain();
    let next = ours.epoch(federation.nodes[0].replica.tip().parent.height.next());
    assert!(ours.last_epoch() >= next);
    for height in [0, EPOCH] {
        let height = Height::new(next.get() * EPOCH + 1).saturating_add(height);
        assert_eq!(
            ours.committee(height).digest(),
            theirs.committee(height).digest()
        );
    }
}

/// FB-19: it takes the newest snapshot and the blocks after it, and none of those before.
#[test]
fn fb_19_a_replica_far_behind_takes_a_snapshot() {
    let mut federation = slept_until(5 * EPOCH + 2);
    let blocks = federation.nodes[SLEEPER].chain.len();
    catch_up(&mut federation);
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    let first = &federation.nodes[SLEEPER].chain[blocks];
    assert_eq!(first.block.header().height.get(), 5 * EPOCH + 1);
    // Several members gave chunks, and each chunk came once.
    let asked = asked(&federation, SLEEPER);
    let chunks: BTreeSet<u32> = asked.iter().map(|(_, index)| *index).collect();
    let members: BTreeSet<ReplicaId> = asked.iter().map(|(to, _)| *to).collect();
    assert!(chunks.len() > 2 && chunks.len() == asked.len(), "{asked:?}");
    assert!(members.len() > 1, "{asked:?}");
    assert_together(&mut federation);
    // It votes again.
    federation.nodes[0].is_down = true;
    federation.advance_to(6 * EPOCH + 2);
}

/// FB-19: whoever is less far behind takes blocks.
#[test]
fn fb_19_a_replica_that_is_near_takes_blocks() {
    let mut federation = slept_until(5);
    catch_up(&mut federation);
    assert!(installed(&federation, SLEEPER).is_empty());
    assert!(asked(&federation, SLEEPER).is_empty());
    let heights = federation.nodes[SLEEPER].chain.iter();
    let heights: Vec<u64> = heights.map(|c| c.block.header().height.get()).collect();
    let last = federation.height().get();
    assert!(last >= 5 && heights == (1..=last).collect::<Vec<u64>>());
    assert_together(&mut federation);
}

/// FB-17, FB-19: the committee changed meanwhile, more than once.
#[test]
fn fb_19_committees_changed_while_it_slept() {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    federation.advance_to(1);
    federation.nodes[SLEEPER].is_down = true;
    let member = |id: u32, name: &str, weight: u64| GenesisMember {
        id: ReplicaId::new(id),
        name: name.to_owned(),
        key: if id == 4 {
            key("frey")
        } else {
            member_signer(id).public_key().clone()
        },
        weight: Weight::new(weight),
        fee_account: address("fees@thor"),
    };
    for change in [
        MemberChange::Set(member(4, "frey", 1)),
        MemberChange::Set(member(0, "thor", 1)),
    ] {
        let command = Command::ChangeCommittee {
            change: change.encode().unwrap(),
        };
        let transaction = federation.transaction("alice@thor", &["root"], vec![command]);
        federation.submit(0, &transaction);
        federation.settle(&transaction);
        let height = federation.height().get();
        federation.advance_to(height + 2 * EPOCH);
    }
    federation.nodes[SLEEPER].is_down = false;
    catch_up(&mut federation);
    assert_eq!(installed(&federation, SLEEPER).len(), 1);
    let chain = federation.nodes[SLEEPER].replica.chain();
    let next = federation.height().next();
    assert_eq!(chain.committee(next).members().len(), 5);
    assert_together(&mut federation);
}

/// FB-15, FB-19: wherever it stops, it goes on with the next chunk, and ends with the same state.
#[test]
fn fb_19_a_stop_at_any_record_is_survived() {
    let mut reference = slept_until(5 * EPOCH + 2);
    let before = reference.nodes[SLEEPER].journal.len();
    catch_up(&mut reference);
    let journal = reference.nodes[SLEEPER].journal.clone();
    let is_sync = |record: &Record| matches!(record, Record::Sync(_));
    let last = journal.iter().rposition(is_sync).unwrap();
    let mut chunks_before = BTreeSet::new();
    for stop in before..=last + 1 {
        let mut federation = slept_until(5 * EPOCH + 2);
        federation.nodes[SLEEPER].journal = journal[..stop].to_vec();
        federation.restart(SLEEPER);
        let replica = &federation.nodes[SLEEPER].replica;
        let has = replica.sync_progress().map_or(0, |(_, chunks)| chunks);
        chunks_before.insert(has);
        let is_installed = stop > last;
        assert_eq!(
            replica.tip().parent.height.get(),
            if is_installed { 5 * EPOCH } else { 1 }
        );
        catch_up(&mut federation);
        let expected: &[u64] = if is_installed { &[] } else { &[5 * EPOCH] };
        assert_eq!(installed(&federation, SLEEPER), expected);
        // What was there was not asked for again.
        let asked = asked(&federation, SLEEPER);
        assert!(asked.iter().all(|(_, index)| *index >= has), "{asked:?}");
        assert_together(&mut federation);
        // And the journal as a whole leads to the same place.
        let tip = federation.nodes[SLEEPER].replica.tip().clone();
        federation.restart(SLEEPER);
        assert_eq!(*federation.nodes[SLEEPER].replica.tip(), tip);
    }
    assert!(chunks_before.len() > 3, "{chunks_before:?}");
}

/// FB-19: restored by a snapshot is as good as replayed from the blocks.
#[test]
fn fb_19_a_snapshot_leads_where_the_blocks_lead() {
    let mut federation = slept_until(5 * EPOCH + 2);
    catch_up(&mut federation);
    let mut by_blocks = federation.restorer();
    for record in federation.nodes[0].journal.clone() {
        by_blocks.record(record).unwrap();
    }
    let mut by_snapshot = federation.restorer();
    let mut landed = Vec::new();
    for record in federation.nodes[SLEEPER].journal.clone() {
        if let Some(Replayed::Snapshot(meta)) = by_snapshot.record(record).unwrap() {
            landed.push(meta.height.get());
        }
    }
    assert_eq!(landed, [5 * EPOCH]);
    let mut a = by_blocks.finish(config(), member_signer(0)).unwrap();
    let mut b = by_snapshot
        .finish(config(), member_signer(SLEEPER as u32))
        .unwrap();
    // Certificates of one block are not unique.
    assert_eq!(a.tip().parent, b.tip().parent);
    assert_eq!(a.tip().roots, b.tip().roots);
    assert_eq!(a.tip().is_unrecorded, b.tip().is_unrecorded);
    assert_eq!(a.members(), b.members());
    assert_eq!(a.past_members(), b.past_members());
    assert_eq!(a.next_members(), b.next_members());
    assert_eq!(a.snapshot().chunks, b.snapshot().chunks);
}

/// FB-19: an end of a journal that names a snapshot which is not there is no journal.
#[test]
fn fb_19_a_jump_without_its_snapshot_is_refused() {
    let mut federation = slept_until(5 * EPOCH + 2);
    catch_up(&mut federation);
    let is_chunk = |record: &Record| matches!(record, Record::Sync(SyncRecord::Chunk(_)));
    let journal = &federation.nodes[SLEEPER].journal;
    let chunk = journal.iter().rposition(is_chunk).unwrap();
    let start = journal
        .iter()
        .position(|record| matches!(record, Record::Sync(SyncRecord::Started(_))))
        .unwrap();
    let height = Height::new(5 * EPOCH);
    let replay = |skipped: &dyn Fn(usize, &Record) -> bool| {
        let mut restorer = federation.restorer();
        let mut records = journal.iter().enumerate();
        records
            .try_for_each(|(place, record)| {
                if !skipped(place, record) {
                    restorer.record(record.clone())?;
                }
                Ok(())
            })
            .err()
    };
    let missing = Some(RestoreError::MissingSnapshot(height));
    assert_eq!(replay(&|place, _| place == chunk), missing);
    assert_eq!(replay(&|place, _| place == start), missing);
    let gap = RestoreError::Gap {
        expected: Height::new(2),
        found: height.next(),
    };
    let no_sync = |_: usize, record: &Record| matches!(record, Record::Sync(_));
    assert_eq!(replay(&no_sync), Some(gap));
    assert_eq!(replay(&|_, _| false), None);
}

/// One member lies about snapshots. Each lie is refused at its own step, nothing of it is believed,
/// and the sync ends with the others.
#[rstest]
#[case::chunk(change_chunk, Some(SyncError::ChunkProof))]
#[case::long_chunk(
    lengthen_chunk,
    Some(SyncError::ChunkLength(polity_ledger::CHUNK_LENGTH_MAX + 1))
)]
#[case::place(move_chunk, Some(SyncError::ChunkPlace))]
#[case::many_ends(repeat_ends, Some(SyncError::Page(ENDS_MAX + 1)))]
#[case::other_state(other_state, Some(SyncError::OtherState(Height::new(5 * EPOCH + 1))))]
#[case::no_chunks(no_chunks, Some(SyncError::Chunks(0)))]
#[case::too_many_chunks(too_many_chunks, Some(SyncError::Chunks(CHUNKS_MAX + 1)))]
#[case::no_start(no_epoch_start, Some(SyncError::NoEpochStart(Height::new(5 * EPOCH + 2))))]
#[case::other_parent(other_parent, Some(SyncError::OtherParent(Height::new(5 * EPOCH + 1))))]
#[case::silent(no_chunk, None)]
#[case::empty(empty, None)]
#[case::gone(gone, None)]
#[case::other_index(other_index, None)]
fn fb_19_a_lie_is_refused_at_its_step(
    #[case] lie: fn(SyncAnswer) -> Vec<SyncAnswer>,
    #[case] expected: Option<SyncError>,
) {
    let mut federation = slept_until(5 * EPOCH + 2);
    federation.nodes[0].lie = Some(lie);
    // It is asked first: the others hear of the sleeper later.
    federation.run_until("the lie was told", |federation| {
        let replica = &federation.nodes[SLEEPER].replica;
        expected.is_none()
            || replica.sync_refused().1 > 0
            || !installed(federation, SLEEPER).is_empty()
    });
    if let Some(expected) = expected {
        let replica = &federation.nodes[SLEEPER].replica;
        assert_eq!(replica.sync_refused().0, Some(&expected));
        assert_eq!(expected.blame(), Blame::Sender);
        assert_eq!(excluded(&federation, SLEEPER), [0]);
    }
    catch_up(&mut federation);
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    assert_together(&mut federation);
}

fn change_chunk(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_chunk(answer, |bytes| bytes[9] ^= 1)
}

fn lengthen_chunk(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_chunk(answer, |bytes| {
        bytes.resize(polity_ledger::CHUNK_LENGTH_MAX + 1, 0);
    })
}

fn with_chunk(mut answer: SyncAnswer, change: impl FnOnce(&mut Vec<u8>)) -> Vec<SyncAnswer> {
    if let SyncAnswer::Chunk { bytes, .. } = &mut answer {
        let mut changed = bytes.as_slice().to_vec();
        change(&mut changed);
        *bytes = ChunkBytes::new(changed);
    }
    vec![answer]
}

fn move_chunk(mut answer: SyncAnswer) -> Vec<SyncAnswer> {
    if let SyncAnswer::Chunk { proof, .. } = &mut answer {
        proof.index += 1;
    }
    vec![answer]
}

fn other_index(mut answer: SyncAnswer) -> Vec<SyncAnswer> {
    if let SyncAnswer::Chunk { index, .. } = &mut answer {
        *index = u32::MAX;
    }
    vec![answer]
}

fn repeat_ends(mut answer: SyncAnswer) -> Vec<SyncAnswer> {
    if let SyncAnswer::Epochs { ends, .. } = &mut answer
        && let Some(end) = ends.first().cloned()
    {
        ends.resize(ENDS_MAX + 1, end);
    }
    vec![answer]
}

pub(crate) fn with_offer(
    mut answer: SyncAnswer,
    change: impl FnOnce(&mut polity_replica::sync::Offer),
) -> Vec<SyncAnswer> {
    if let SyncAnswer::Epochs {
        offer: Some(offer), ..
    } = &mut answer
    {
        change(offer);
    }
    vec![answer]
}

fn other_state(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_offer(answer, |offer| {
        offer.ledger_root = Sha256Digest::new([7; 32]);
    })
}

fn no_chunks(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_offer(answer, |offer| offer.chunks = 0)
}

fn too_many_chunks(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_offer(answer, |offer| offer.chunks = CHUNKS_MAX + 1)
}

fn no_epoch_start(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_offer(answer, |offer| {
        offer.first.header.height = offer.first.header.height.next();
    })
}

fn other_parent(answer: SyncAnswer) -> Vec<SyncAnswer> {
    with_offer(answer, |offer| {
        offer.first.header.parent = Sha256Digest::new([7; 32]);
    })
}

fn empty(answer: SyncAnswer) -> Vec<SyncAnswer> {
    vec![match answer {
        SyncAnswer::Epochs { .. } => SyncAnswer::Epochs {
            ends: Vec::new(),
            offer: None,
        },
        other => other,
    }]
}

pub(crate) fn no_chunk(answer: SyncAnswer) -> Vec<SyncAnswer> {
    match answer {
        SyncAnswer::Chunk { .. } => Vec::new(),
        other => vec![other],
    }
}

pub(crate) fn gone(answer: SyncAnswer) -> Vec<SyncAnswer> {
    vec![match answer {
        SyncAnswer::Chunk {
            height,
            chunks_root,
            proof,
            ..
        } => SyncAnswer::Gone {
            height,
            chunks: u32::try_from(proof.size).unwrap(),
            chunks_root,
        },
        other => other,
    }]
}

/// FB-19: chunks that are what was offered and make no state, or another one, exclude whoever
/// offered them; then the next offer is taken.
#[rstest]
#[case::of_another_state(|chunks: &mut Vec<Vec<u8>>| { chunks.pop(); })]
#[case::of_nothing(|chunks: &mut Vec<Vec<u8>>| chunks[1] = vec![0xff; 100])]
#[case::out_of_order(|chunks: &mut Vec<Vec<u8>>| chunks.swap(0, 1))]
fn fb_19_a_false_snapshot_excludes_who_offered_it(#[case] falsify: fn(&mut Vec<Vec<u8>>)) {
    let mut federation = slept_until(5 * EPOCH + 1);
    let shelves: Vec<Shelf> = (0..3).map(|n| federation.nodes[n].shelf.clone()).collect();
    // Nobody has blocks, and the only offer is false.
    let first = federation.nodes[0].chain[5 * EPOCH as usize].clone();
    let mut snapshot = at_epoch_end(&federation, 5 * EPOCH);
    falsify(&mut snapshot.chunks);
    for node in &mut federation.nodes[..3] {
        node.chain.clear();
        node.shelf.clear();
    }
    federation.nodes[0].shelf.keep(snapshot);
    federation.nodes[0].shelf.committed(&first);
    federation.run_until("the false snapshot was found out", |federation| {
        excluded(federation, SLEEPER) == [0]
    });
    let replica = &federation.nodes[SLEEPER].replica;
    assert_eq!(replica.tip().parent.height.get(), 1);
    assert!(replica.sync_progress().is_none());
    // The false records are in the journal, and change nothing.
    federation.restart(SLEEPER);
    assert_eq!(
        federation.nodes[SLEEPER].replica.tip().parent.height.get(),
        1
    );
    for (node, shelf) in federation.nodes.iter_mut().zip(shelves) {
        node.shelf = shelf;
    }
    federation.nodes[0].shelf.clear();
    federation.run_until("a true one is installed", |federation| {
        !installed(federation, SLEEPER).is_empty()
    });
    assert_eq!(installed(&federation, SLEEPER), [5 * EPOCH]);
    let (journal, tip) = {
        let node = &federation.nodes[SLEEPER];
        (node.journal.clone(), node.replica.tip().clone())
    };
    let mut restorer = federation.restorer();
    for record in journal {
        restorer.record(record).unwrap();
    }
    let again = restorer
        .finish(config(), member_signer(SLEEPER as u32))
        .unwrap();
    assert_eq!(*again.tip(), tip);
}

/// The snapshot after the last block of an epoch, from the journal of a member.
pub(crate) fn at_epoch_end(federation: &Federation, height: u64) -> Snapshot {
    let mut restorer = federation.restorer();
    for record in federation.nodes[0].journal.clone() {
        restorer.record(record).unwrap();
        if restorer.height().get() == height {
            break;
        }
    }
    let mut replica = restorer.finish(config(), member_signer(0)).unwrap();
    replica.snapshot()
}

/// R12, FB-19: a STATUS of 10^9 costs a few small messages, ever more seldom, and nothing stops.
#[test]
fn fb_19_a_high_status_costs_little() {
    let mut federation = federation();
    federation.advance_to(1);
    federation.nodes[0].is_down = true;
    let status = Status {
        height: Height::new(1_000_000_000),
        view: View::ZERO,
        last_decided: Sha256Digest::ZERO,
    };
    for _ in 0..300 {
        federation.receive(SLEEPER, 0, Message::Status(status));
        federation.run(1_000);
    }
    let is_sync = |effect: &&Effect| {
        matches!(
            effect,
            Effect::Send {
                frame: Frame::Sync(_),
                ..
            }
        )
    };
    let sent = federation.nodes[SLEEPER].effects.iter().filter(is_sync);
    assert!((1..=9).contains(&sent.count()));
    assert_eq!(federation.nodes[SLEEPER].replica.sync_progress(), None);
    federation.advance_to(5);
}

/// FB-19: nobody asked for it, so nothing is kept of it, whatever it is.
#[test]
fn fb_19_what_nobody_asked_for_is_dropped() {
    let mut federation = federation();
    federation.advance_to(2 * EPOCH + 1);
    let shelf = federation.nodes[0].shelf.clone();
    let epochs = answer(SyncRequest::Epochs { from: Epoch::ZERO }, &shelf);
    let SyncAnswer::Epochs {
        offer: Some(offer), ..
    } = &epochs
    else {
        panic!("an offer: {epochs:?}");
    };
    let (height, chunks, chunks_root) = (Height::new(2 * EPOCH), offer.chunks, offer.chunks_root);
    let chunk = answer(
        SyncRequest::Chunk {
            height,
            chunks,
            chunks_root,
            index: 0,
        },
        &shelf,
    );
    let gone = SyncAnswer::Gone {
        height,
        chunks,
        chunks_root,
    };
    for said in [epochs, chunk, gone] {
        let from = ReplicaId::new(0);
        let message = SyncMessage::Answer(said);
        federation.input(SLEEPER, Input::Sync { from, message });
        let replica = &federation.nodes[SLEEPER].replica;
        assert_eq!(replica.sync_refused().0, Some(&SyncError::Unsolicited));
        assert_eq!(replica.sync_holdings(), SyncHoldings::default());
        assert_eq!(excluded(&federation, SLEEPER).len(), 0);
    }
}

/// FB-19: a peer gets so many answers at once, and then so many a second.
#[test]
fn fb_19_serving_is_bounded() {
    let mut federation = federation();
    let served = |federation: &Federation| {
        let effects = federation.nodes[0].effects.iter();
        effects
            .filter(|effect| matches!(effect, Effect::ServeSync { .. }))
            .count()
    };
    let ask = |federation: &mut Federation, count: usize| {
        for _ in 0..count {
            let from = ReplicaId::new(1);
            let message = SyncMessage::Request(SyncRequest::Epochs { from: Epoch::ZERO });
            federation.input(0, Input::Sync { from, message });
        }
    };
    ask(&mut federation, 500);
    let at_once = served(&federation);
    assert_eq!(at_once, 32);
    federation.run(100);
    ask(&mut federation, 500);
    assert_eq!(served(&federation), at_once + 20);
}

/// FB-19, LG-4: what it promised before is answered if it is decided by now, or goes on waiting.
#[test]
fn fb_19_promises_are_kept_over_a_snapshot() {
    let mut federation = federation();
    federation.advance_to(1);
    let decided = federation.transfer("alice@thor", "bob@sprout", "1");
    let waiting = federation.transfer("alice@thor", "bob@sprout", "2");
    let network = std::mem::take(&mut federation.network);
    for transaction in [&decided, &waiting] {
        federation.submit(SLEEPER, transaction);
        assert_eq!(federation.answer(SLEEPER), Ok(Admission::Pending));
    }
    federation.network = network;
    federation.nodes[SLEEPER].is_down = true;
    federation.submit(0, &decided);
    federation.advance_to(5 * EPOCH + 2);
    federation.nodes[SLEEPER].is_down = false;
    catch_up(&mut federation);
    let mut effects = federation.nodes[SLEEPER].effects.iter();
    let receipts = effects.find_map(|effect| match effect {
        Effect::Installed(installed) => Some(installed.receipts.clone()),
        _ => None,
    });
    let receipt = federation.nodes[0].replica.ledger().receipt(&decided.id());
    assert_eq!(receipts, receipt.map(|receipt| vec![receipt]));
    federation.settle(&waiting);
}
