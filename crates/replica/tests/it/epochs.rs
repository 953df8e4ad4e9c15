//! FB-17, FB-18: committees change between epochs, and nowhere else.

use crate::federation::{Federation, address, decided, genesis, member_signer, signer};
use polity_consensus::committee::{Committee as _, CommitteeTable, Member};
use polity_consensus::fbpbft::{self, Message, VoteKind};
use polity_consensus::light::{DecidedHeader, EpochEnd, LightClient, LightError, SkipRules};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Sha256Digest, Signer as _};
use polity_ledger::{Command, CommitteeChange, SignedTransaction};
use polity_replica::{
    Auditor, Config, Effect, Frame, GenesisMember, MemberChange, Purpose, Record, RestoreError,
    Restorer, StartError,
};
use polity_types::{Epoch, Height, ReplicaId, Seed, StateMachine as _, Time, View, Weight};
use rstest::rstest;
use std::sync::Arc;
use std::time::Duration;

/// Clocks differ by less than a story takes.
const RULES: SkipRules = SkipRules {
    trusting_period: Duration::from_secs(14 * 24 * 60 * 60),
    drift_max: Duration::from_millis(3),
};

/// Heights of an epoch in these tests.
const EPOCH: u64 = 6;

fn federation() -> Federation {
    let mut genesis = genesis();
    genesis.consensus.epoch_length = EPOCH;
    Federation::of(genesis)
}

fn member(id: u32, name: &str, signer: &StubSigner, weight: u64) -> GenesisMember {
    GenesisMember {
        id: ReplicaId::new(id),
        name: name.to_owned(),
        key: signer.public_key().clone(),
        weight: Weight::new(weight),
        fee_account: address("fees@thor"),
    }
}

/// A transaction of the authority with these changes.
fn change(federation: &mut Federation, changes: &[MemberChange]) -> SignedTransaction {
    let commands = changes
        .iter()
        .map(|change| Command::ChangeCommittee {
            change: change.encode().unwrap(),
        })
        .collect();
    federation.transaction("alice@thor", &["root"], commands)
}

/// Has everybody apply the changes now.
fn decide(federation: &mut Federation, changes: &[MemberChange]) -> Height {
    let transaction = change(federation, changes);
    federation.submit(0, &transaction);
    let id = transaction.id();
    federation.run_until("the change is applied", |federation| {
        let mut up = federation.nodes.iter().filter(|node| !node.is_down);
        up.all(|node| node.replica.ledger().receipt(&id).is_some())
    });
    let receipt = federation.nodes[0].replica.ledger().receipt(&id).unwrap();
    assert!(receipt.outcome.is_ok(), "{receipt:?}");
    receipt.height
}

fn committee_at(federation: &Federation, index: usize, height: u64) -> CommitteeTable {
    let chain = federation.nodes[index].replica.chain();
    chain.committee(Height::new(height)).clone()
}

/// The heights at which a replica voted.
fn voted(federation: &Federation, index: usize) -> Vec<u64> {
    let mut heights: Vec<u64> = federation.nodes[index]
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Broadcast(Frame::Consensus(Message::Vote(vote))) => Some(vote.height.get()),
            _ => None,
        })
        .collect();
    heights.dedup();
    heights
}

fn assert_agreement(federation: &Federation) {
    let longest = federation.nodes.iter().max_by_key(|node| node.chain.len());
    let longest = &longest.unwrap().chain;
    for node in &federation.nodes {
        for (own, other) in node.chain.iter().zip(longest) {
            assert_eq!(own.block.digest(), other.block.digest());
            assert_eq!(own.roots, other.roots);
        }
        assert_eq!(node.replica.evidence_seen(), 0);
    }
}

#[test]
fn fb_17_who_joins_votes_from_the_next_epoch_on() {
    let mut federation = federation();
    let joining = federation.follow(vec![signer("frey")]);
    federation.advance_to(2);
    let at = decide(
        &mut federation,
        &[MemberChange::Set(member(4, "frey", &signer("frey"), 1))],
    );
    assert!(at.get() < EPOCH, "decided in the first epoch");
    federation.advance_to(3 * EPOCH);
    // It followed from the start, and voted from the second epoch on.
    assert_agreement(&federation);
    let voted = voted(&federation, joining);
    assert_eq!(voted.first(), Some(&(EPOCH + 1)), "{voted:?}");
    let chain = &federation.nodes[0].chain;
    let last = chain[EPOCH as usize - 1].block.header();
    let table = committee_at(&federation, 0, 3 * EPOCH);
    assert_eq!(table.members().len(), 5);
    assert_eq!(last.next_committee, table.digest());
    let named = chain
        .iter()
        .filter(|c| c.block.header().next_committee != Sha256Digest::ZERO);
    let heights: Vec<u64> = named.map(|c| c.block.header().height.get()).collect();
    assert_eq!(heights, [EPOCH, 2 * EPOCH, 3 * EPOCH]);
    // Its vote counts: without one of the others, it is needed for a quorum of 4 of 5.
    federation.nodes[2].is_down = true;
    federation.advance_to(4 * EPOCH);
    let signers = federation.nodes[0]
        .chain
        .last()
        .unwrap()
        .certificate
        .votes
        .signers
        .clone();
    let signers = signers.members(&table).unwrap();
    assert!(signers.contains(&ReplicaId::new(4)), "{signers:?}");
}

#[test]
fn fb_17_who_leaves_follows_and_signs_nothing() {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    federation.advance_to(1);
    let changes = [
        MemberChange::Set(member(4, "frey", &signer("frey"), 1)),
        MemberChange::Remove(ReplicaId::new(0)),
    ];
    decide(&mut federation, &changes);
    federation.advance_to(3 * EPOCH);
    assert_agreement(&federation);
    let heights = voted(&federation, 0);
    assert_eq!(heights.last(), Some(&EPOCH), "{heights:?}");
    assert!(!federation.nodes[0].replica.machine().has_vote());
    assert_eq!(
        federation.nodes[0].chain.len() as u64,
        federation.nodes[1].chain.len() as u64
    );
    let ids: Vec<u32> = federation.nodes[1]
        .replica
        .members()
        .iter()
        .map(|m| m.id.get())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

/// What the last block of an epoch decides cannot be named by that block, so it waits.
#[test]
fn fb_17_a_change_in_the_last_block_waits_an_epoch() {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    federation.advance_to(EPOCH - 3);
    federation.rest();
    assert_eq!(federation.height().get(), EPOCH - 2);
    // One leader proposes a transfer at once; the next one has the change by then, alone.
    let first = federation.next_leader();
    let transfer = federation.transfer("alice@thor", "bob@sprout", "1");
    let set = MemberChange::Set(member(4, "frey", &signer("frey"), 1));
    let transaction = change(&mut federation, &[set]);
    let chain = federation.nodes[0].replica.chain();
    let second = chain.leader(Height::new(EPOCH), View::ZERO).get() as usize;
    federation.submit(first, &transfer);
    federation.submit(second, &transaction);
    federation.settle(&transaction);
    let end = EPOCH;
    let receipt = federation.nodes[0]
        .replica
        .ledger()
        .receipt(&transaction.id());
    assert_eq!(
        receipt.unwrap().height.get(),
        end,
        "the case needs the last block"
    );
    federation.advance_to(end + EPOCH);
    assert_eq!(committee_at(&federation, 0, end + 1).members().len(), 4);
    federation.advance_to(end + EPOCH + 1);
    assert_eq!(
        committee_at(&federation, 0, end + EPOCH + 1)
            .members()
            .len(),
        5
    );
    assert_agreement(&federation);
}

#[test]
fn fb_17_a_replaced_key_counts_from_the_next_epoch_and_the_old_one_no_longer() {
    let mut federation = federation();
    let new = signer("second key of sprout");
    federation.restart_with(1, vec![member_signer(1), new.clone()]);
    federation.advance_to(1);
    let mut changed = federation.genesis.members[1].clone();
    changed.key = new.public_key().clone();
    decide(&mut federation, &[MemberChange::Set(changed)]);
    federation.advance_to(2 * EPOCH);
    assert_agreement(&federation);
    // It voted in both epochs, each with the key of its table.
    let heights = voted(&federation, 1);
    assert!(
        heights.contains(&EPOCH) && heights.contains(&(EPOCH + 1)),
        "{heights:?}"
    );
    let table = committee_at(&federation, 0, 2 * EPOCH);
    assert_eq!(table.key(ReplicaId::new(1)), Some(new.public_key()));
    // Stopped and started without the new key, it follows; with it, it votes again.
    federation.restart_with(1, vec![member_signer(1)]);
    assert!(!federation.nodes[1].replica.machine().has_vote());
    let before = voted(&federation, 1).len();
    federation.advance_to(2 * EPOCH + 3);
    assert_eq!(voted(&federation, 1).len(), before);
    federation.rest();
    federation.restart_with(1, vec![new]);
    federation.advance_to(3 * EPOCH);
    assert!(voted(&federation, 1).len() > before);
    assert_agreement(&federation);
}

/// A key that is not there any more cannot say again what the journal says it said.
#[test]
fn fb_15_own_votes_without_their_key_are_refused() {
    let federation = {
        let mut federation = federation();
        federation.advance_to(1);
        let transfer = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(1, &transfer);
        federation.run(2);
        federation
    };
    let journal = &federation.nodes[1].journal;
    let own = |record: &Record| {
        matches!(
            record,
            Record::Consensus(fbpbft::Record::PrepareSent { .. })
        )
    };
    let end = journal.iter().rposition(own).unwrap() + 1;
    let mut restorer = federation.restorer();
    for record in &journal[..end] {
        restorer.record(record.clone()).unwrap();
    }
    let keys = fbpbft::Keyring::new(ReplicaId::new(1), vec![signer("another")]);
    let refused = restorer.finish_with(Config::default(), keys).err();
    let height = federation.height().next();
    assert_eq!(
        refused,
        Some(RestoreError::Start(StartError::Consensus(
            fbpbft::StartError::KeyMissing(height)
        )))
    );
}

#[rstest]
#[case::dominant(vec![MemberChange::Set(member(3, "platform2", &member_signer(3), 9))])]
#[case::no_weight(vec![MemberChange::Set(member(3, "platform2", &member_signer(3), 0))])]
#[case::key_of_another(vec![MemberChange::Set(member(4, "frey", &member_signer(3), 1))])]
#[case::name_of_another(vec![MemberChange::Set(member(4, "thor", &signer("frey"), 1))])]
#[case::no_name(vec![MemberChange::Set(member(4, "", &signer("frey"), 1))])]
#[case::nobody_left((0..4).map(|id| MemberChange::Remove(ReplicaId::new(id))).collect())]
#[case::one_bad_change_spoils_its_transaction(vec![
    MemberChange::Set(member(4, "frey", &signer("frey"), 1)),
    MemberChange::Set(member(3, "platform2", &member_signer(3), 0)),
])]
fn fb_1_a_change_that_makes_no_committee_changes_nothing(#[case] changes: Vec<MemberChange>) {
    let mut federation = federation();
    federation.advance_to(1);
    decide(&mut federation, &changes);
    let good = MemberChange::Set(member(2, "legion", &member_signer(2), 1));
    decide(&mut federation, &[good]);
    federation.advance_to(EPOCH + 1);
    let table = committee_at(&federation, 0, EPOCH + 1);
    assert_eq!(table, federation.genesis.committee().unwrap());
    assert!(
        federation.nodes[0]
            .replica
            .ledger()
            .committee_changes()
            .is_empty()
    );
    assert_agreement(&federation);
}

/// Weights that are fine together only.
#[test]
fn fb_17_the_changes_of_one_transaction_count_together() {
    let mut federation = federation();
    federation.advance_to(1);
    let changes: Vec<MemberChange> = (0..4)
        .map(|id| {
            let mut member = federation.genesis.members[id].clone();
            member.weight = Weight::new(5);
            MemberChange::Set(member)
        })
        .collect();
    decide(&mut federation, &changes);
    federation.advance_to(EPOCH + 2);
    let table = committee_at(&federation, 2, EPOCH + 2);
    assert_eq!(table.total(), Weight::new(20));
    assert_agreement(&federation);
}

#[test]
fn bytes_that_are_no_change_change_nothing() {
    let mut federation = federation();
    federation.advance_to(1);
    let junk = Command::ChangeCommittee {
        change: CommitteeChange::new(b"junk").unwrap(),
    };
    let transaction = federation.transaction("alice@thor", &["root"], vec![junk]);
    federation.submit(0, &transaction);
    federation.settle(&transaction);
    federation.advance_to(EPOCH + 1);
    let table = committee_at(&federation, 0, EPOCH + 1);
    assert_eq!(table, federation.genesis.committee().unwrap());
}

#[test]
fn only_the_authority_changes_the_committee() {
    let mut federation = federation();
    federation.advance_to(1);
    let change = MemberChange::Remove(ReplicaId::new(3)).encode().unwrap();
    let command = Command::ChangeCommittee { change };
    let transaction = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
    federation.submit(0, &transaction);
    federation.settle(&transaction);
    let receipt = federation.nodes[0]
        .replica
        .ledger()
        .receipt(&transaction.id())
        .unwrap();
    assert_eq!(
        receipt.outcome,
        Err(polity_ledger::Rejection::NotAuthorised)
    );
}

/// A federation whose committee changes at three boundaries in four ways.
fn eventful() -> Federation {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    let new = signer("second key of sprout");
    federation.restart_with(1, vec![member_signer(1), new.clone()]);
    federation.advance_to(2);
    let set = MemberChange::Set(member(4, "frey", &signer("frey"), 1));
    decide(&mut federation, &[set]);
    federation.advance_to(EPOCH + 1);
    let mut changed = federation.genesis.members[1].clone();
    changed.key = new.public_key().clone();
    decide(&mut federation, &[MemberChange::Set(changed)]);
    federation.advance_to(2 * EPOCH + 1);
    decide(&mut federation, &[MemberChange::Remove(ReplicaId::new(3))]);
    federation.advance_to(3 * EPOCH + 3);
    federation.rest();
    federation
}

fn signers_of(index: usize) -> Vec<StubSigner> {
    match index {
        1 => vec![member_signer(1), signer("second key of sprout")],
        4 => vec![signer("frey")],
        other => vec![member_signer(other as u32)],
    }
}

/// FB-15: wherever it stops, around every boundary, it continues and contradicts nothing.
#[test]
fn fb_15_a_stop_at_any_record_around_a_boundary_is_survived() {
    let story = eventful();
    let victim = 1;
    let total = story.nodes[victim].journal.len();
    let mut resaid = 0;
    for stop_at in 0..=total {
        let journal = &story.nodes[victim].journal[..stop_at];
        let mut restorer = story.restorer();
        for record in journal {
            restorer.record(record.clone()).unwrap();
        }
        let height = restorer.height();
        let keys = fbpbft::Keyring::new(ReplicaId::new(victim as u32), signers_of(victim));
        let mut replica = restorer.finish_with(Config::default(), keys).unwrap();
        assert!(replica.machine().has_vote(), "stopped at {stop_at}");
        let table = replica.chain().committee(height.next());
        assert_eq!(table.digest(), named_at(&story, height.next()));
        // What it says next about the open height is what it said, to the signature.
        let promised: Vec<VoteKind> = journal
            .iter()
            .filter_map(vote_sent(height.next()))
            .collect();
        let mut said: Vec<fbpbft::Vote> = Vec::new();
        for _ in 0..3 {
            let now = replica.deadline().unwrap();
            said.extend(votes(&replica.tick(now).into_iter().collect::<Vec<_>>()));
        }
        let before = votes(&story.nodes[victim].effects);
        for kind in promised {
            let is_it = |vote: &&fbpbft::Vote| vote.kind == kind && vote.height == height.next();
            let again: Vec<_> = said.iter().filter(is_it).collect();
            assert!(!again.is_empty(), "stopped at {stop_at}: {kind:?}");
            assert!(again.iter().all(|vote| before.contains(vote)), "{again:?}");
            resaid += 1;
        }
    }
    assert!(resaid > 20, "{resaid} votes were said again");
}

fn votes(effects: &[Effect]) -> Vec<fbpbft::Vote> {
    let vote = |effect: &Effect| match effect {
        Effect::Broadcast(Frame::Consensus(Message::Vote(vote))) => Some(vote.clone()),
        _ => None,
    };
    effects.iter().filter_map(vote).collect()
}

/// Which vote of a height a record stands for.
fn vote_sent(at: Height) -> impl Fn(&Record) -> Option<VoteKind> {
    move |record| match record {
        Record::Consensus(fbpbft::Record::PrepareSent { height, .. }) => {
            (*height == at).then_some(VoteKind::Prepare)
        }
        Record::Consensus(fbpbft::Record::CommitSent { height, .. }) => {
            (*height == at).then_some(VoteKind::Commit)
        }
        _ => None,
    }
}

/// Digest of the committee of a height, as the blocks before it name it.
fn named_at(story: &Federation, height: Height) -> Sha256Digest {
    let last = (height.get() - 1) / EPOCH * EPOCH;
    let Some(before) = (last as usize).checked_sub(1) else {
        return story.genesis.committee().unwrap().digest();
    };
    story.nodes[0].chain[before].block.header().next_committee
}

/// LG-13: a snapshot at any height knows the committees that count then.
#[test]
fn lg_13_a_snapshot_around_a_boundary_continues_like_the_journal() {
    let story = eventful();
    let records = &story.nodes[0].journal;
    let is_decision =
        |record: &Record| matches!(record, Record::Consensus(fbpbft::Record::Decided(_)));
    let mut restorer = story.restorer();
    for (place, record) in records.iter().enumerate() {
        restorer.record(record.clone()).unwrap();
        if !is_decision(record) {
            continue;
        }
        let height = restorer.height();
        let mut before = story.restorer();
        for record in &records[..=place] {
            before.record(record.clone()).unwrap();
        }
        let mut replica = before.finish(Config::default(), member_signer(0)).unwrap();
        let snapshot = replica.snapshot();
        let mut after = Restorer::from_snapshot(
            &story.genesis,
            Purpose::Simulation,
            StubVerifier,
            Seed::from_number(3),
            snapshot,
        )
        .unwrap();
        for record in &records[place + 1..] {
            after.record(record.clone()).unwrap();
        }
        let last = story.nodes[0].replica.tip();
        let replica = after.finish(Config::default(), member_signer(0)).unwrap();
        assert_eq!(replica.tip(), last, "a snapshot at {height}");
        assert_eq!(replica.members(), story.nodes[0].replica.members());
    }
}

#[test]
fn an_audit_follows_the_committees() {
    let story = eventful();
    let auditor = || Auditor::new(&story.genesis, Purpose::Simulation, StubVerifier).unwrap();
    let mut honest = auditor();
    for committed in &story.nodes[2].chain {
        honest.block(decided(committed)).unwrap();
    }
    assert_eq!(honest.height(), story.height());
    // A certificate of the committee before does not hold in the epoch after.
    let mut forged = auditor();
    for committed in &story.nodes[2].chain[..EPOCH as usize] {
        forged.block(decided(committed)).unwrap();
    }
    let mut first = decided(&story.nodes[2].chain[EPOCH as usize]);
    first.certificate.votes = story.nodes[2].chain[0].certificate.votes.clone();
    assert!(forged.block(first).is_err());
}

fn light(story: &Federation) -> LightClient {
    LightClient::from_genesis(&story.genesis.chain().unwrap(), story.genesis.start)
}

fn header_at(story: &Federation, height: u64) -> DecidedHeader {
    let committed = &story.nodes[0].chain[height as usize - 1];
    DecidedHeader {
        header: committed.block.header().clone(),
        certificate: committed.certificate.clone(),
    }
}

/// The members of an epoch, from a replica that was there.
fn members_of(story: &Federation, epoch: u64) -> Vec<Member> {
    let mut restorer = story.restorer();
    for record in &story.nodes[0].journal {
        restorer.record(record.clone()).unwrap();
        if restorer.height().get() > epoch * EPOCH {
            break;
        }
    }
    let replica = restorer
        .finish(Config::default(), member_signer(0))
        .unwrap();
    let chain = replica.chain();
    chain
        .committee(Height::new(epoch * EPOCH + 1))
        .rows()
        .to_vec()
}

fn checker() -> Checker<StubVerifier> {
    Checker::new(StubVerifier, 0)
}

/// FB-18: a committee has one text. Rows in another order were taken once, and then stood in journals and
/// proofs as somebody else had put them.
#[test]
fn fb_18_members_in_another_order_are_no_committee() {
    let story = eventful();
    let mut next = members_of(&story, 1);
    next.reverse();
    let last = header_at(&story, EPOCH);
    let end = EpochEnd { last, next };
    let found = light(&story).advance(&end, &mut checker());
    assert!(matches!(found, Err(LightError::OtherCommittee(_))));
    let mut later = members_of(&story, 2);
    later.swap(0, 1);
    let there = header_at(&story, 2 * EPOCH + 1);
    let now = there.header.timestamp;
    let rules = SkipRules::default();
    let found = light(&story).skip(now, rules, &there, &later, &mut checker());
    assert!(matches!(found, Err(LightError::OtherCommittee(_))));
}

#[test]
fn fb_18_a_light_client_walks_from_epoch_to_epoch() {
    let story = eventful();
    let mut client = light(&story);
    client
        .verify(&header_at(&story, 3), &mut checker())
        .unwrap();
    for epoch in 0..3 {
        let end = EpochEnd {
            last: header_at(&story, (epoch + 1) * EPOCH),
            next: members_of(&story, epoch + 1),
        };
        // Each part matters, and a refusal changes nothing.
        let before = (client.epoch(), client.time());
        let mut other = end.clone();
        other.next.pop();
        assert!(matches!(
            client.advance(&other, &mut checker()),
            Err(LightError::OtherCommittee(_))
        ));
        let mut early = end.clone();
        early.last = header_at(&story, (epoch + 1) * EPOCH - 1);
        assert!(matches!(
            client.advance(&early, &mut checker()),
            Err(LightError::NoEpochEnd(_))
        ));
        let mut unsigned = end.clone();
        unsigned.last.certificate = header_at(&story, (epoch + 1) * EPOCH - 1).certificate;
        assert!(matches!(
            client.advance(&unsigned, &mut checker()),
            Err(LightError::Certificate(_))
        ));
        assert_eq!((client.epoch(), client.time()), before);
        client.advance(&end, &mut checker()).unwrap();
        assert_eq!(client.epoch(), Epoch::new(epoch + 1));
    }
    let last = story.height().get();
    client
        .verify(&header_at(&story, last), &mut checker())
        .unwrap();
    assert_eq!(
        client.verify(&header_at(&story, 2), &mut checker()),
        Err(LightError::OtherEpoch {
            trusted: Epoch::new(3),
            found: Epoch::ZERO
        })
    );
}

#[test]
fn fb_18_a_light_client_skips_within_the_trusting_period() {
    let story = eventful();
    let target = header_at(&story, 3 * EPOCH + 1);
    let members = members_of(&story, 3);
    let now = target.header.timestamp;
    // From the second epoch: of members 0, 1, 2 and 4 all but one have the keys that they had, so
    // any three of them weigh more than F = 1 of that committee.
    let trusted = || {
        let table = CommitteeTable::new(members_of(&story, 1)).unwrap();
        let chain = story.genesis.chain().unwrap();
        LightClient::from_trusted(&chain, Epoch::new(1), Arc::new(table), story.genesis.start)
    };
    let mut client = trusted();
    client
        .skip(now, RULES, &target, &members, &mut checker())
        .unwrap();
    assert_eq!((client.epoch(), client.time()), (Epoch::new(3), now));
    let again = client.skip(now, RULES, &target, &members, &mut checker());
    assert_eq!(again, Err(LightError::Older));

    let skip = |now, rules, target: &DecidedHeader, members: &[Member]| {
        trusted().skip(now, rules, target, members, &mut checker())
    };
    let late = now.saturating_add(RULES.trusting_period);
    assert_eq!(
        skip(late, RULES, &target, &members),
        Err(LightError::Expired)
    );
    let behind = Time::from_millis(now.as_millis() - RULES.drift_max.as_millis() as u64);
    assert!(skip(behind, RULES, &target, &members).is_ok());
    let too_far = Time::from_millis(behind.as_millis() - 1);
    assert_eq!(
        skip(too_far, RULES, &target, &members),
        Err(LightError::FromTheFuture)
    );
    let mut other = members.clone();
    other[0].weight = Weight::new(2);
    assert!(skip(now, RULES, &target, &other).is_err());
    let mut unsigned = target.clone();
    unsigned.certificate = header_at(&story, 3 * EPOCH + 2).certificate;
    assert_eq!(
        skip(now, RULES, &unsigned, &members),
        Err(LightError::Certificate(target.header.height))
    );
    let mut elsewhere = target;
    elsewhere.header.chain = polity_types::ChainId::new([9; 32]);
    assert_eq!(
        skip(now, RULES, &elsewhere, &members),
        Err(LightError::OtherChain)
    );
}

/// A committee in which everybody is somebody else cannot be skipped to, however it signed.
#[test]
fn fb_18_a_skip_needs_identical_keys() {
    let mut federation = federation();
    let new: Vec<StubSigner> = (0..4).map(|id| signer(&format!("new {id}"))).collect();
    for (id, new) in new.iter().enumerate() {
        federation.restart_with(id, vec![member_signer(id as u32), new.clone()]);
    }
    federation.advance_to(1);
    let changes: Vec<MemberChange> = (0..3)
        .map(|id| {
            let mut member = federation.genesis.members[id].clone();
            member.key = new[id].public_key().clone();
            MemberChange::Set(member)
        })
        .collect();
    decide(&mut federation, &changes);
    federation.advance_to(EPOCH + 2);
    let committed = &federation.nodes[0].chain[EPOCH as usize];
    let target = DecidedHeader {
        header: committed.block.header().clone(),
        certificate: committed.certificate.clone(),
    };
    let members = committee_at(&federation, 0, EPOCH + 1).rows().to_vec();
    let now = target.header.timestamp;
    let mut client = light(&federation);
    let refused = client.skip(now, RULES, &target, &members, &mut checker());
    // At most the one who kept its key signed.
    let Err(LightError::TooFewTrusted { found, needed }) = refused else {
        panic!("{refused:?}");
    };
    assert!(found <= needed && needed == Weight::new(1));
    // Walking works all the same.
    let end = EpochEnd {
        last: {
            let committed = &federation.nodes[0].chain[EPOCH as usize - 1];
            DecidedHeader {
                header: committed.block.header().clone(),
                certificate: committed.certificate.clone(),
            }
        },
        next: members,
    };
    client.advance(&end, &mut checker()).unwrap();
    client.verify(&target, &mut checker()).unwrap();
}

/// A vote under a key of another epoch is no vote.
#[test]
fn fb_17_a_vote_under_the_key_of_another_epoch_does_not_count() {
    let story = eventful();
    let chain = story.nodes[0].replica.chain().clone();
    let vote = story.nodes[1]
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Broadcast(Frame::Consensus(Message::Vote(vote))) => Some(vote.clone()),
            _ => None,
        })
        .rfind(|vote| vote.kind == VoteKind::Commit)
        .unwrap();
    let verify = |vote: &fbpbft::Vote| {
        polity_crypto::Verified::check(vote.clone(), &chain, &mut checker()).is_ok()
    };
    assert!(verify(&vote));
    let preimage = chain
        .scope(polity_crypto::domain::COMMIT, vote.height, vote.view)
        .array(vote.value.digest.as_bytes());
    let forged = fbpbft::Vote {
        signature: member_signer(1).sign(&preimage),
        ..vote
    };
    assert!(!verify(&forged), "the key that was replaced");
}

#[test]
fn replicas_and_their_names_are_told() {
    let story = eventful();
    let replica = &story.nodes[2].replica;
    let names: Vec<&str> = replica.members().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["thor", "sprout", "legion", "frey"]);
    assert_eq!(replica.members(), replica.next_members());
}

/// FB-14: those who are ahead may be no members of the height at which a replica still stands.
#[test]
fn fb_14_a_boundary_is_crossed_with_the_help_of_those_behind_it() {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    federation.follow(vec![signer("odin")]);
    federation.advance_to(1);
    let changes = [
        MemberChange::Set(member(4, "frey", &signer("frey"), 1)),
        MemberChange::Set(member(5, "odin", &signer("odin"), 1)),
        MemberChange::Remove(ReplicaId::new(0)),
        MemberChange::Remove(ReplicaId::new(1)),
    ];
    decide(&mut federation, &changes);
    federation.advance_to(EPOCH - 1);
    // One member of both epochs misses the end of the first; then those who left are switched off,
    // and so is one more.
    federation.nodes[3].is_down = true;
    federation.advance_to(EPOCH);
    for index in [0, 1, 2] {
        federation.nodes[index].is_down = true;
    }
    federation.nodes[3].is_down = false;
    federation.advance_to(EPOCH + 3);
    assert_agreement(&federation);
    let last = federation.nodes[3].chain.last().unwrap();
    assert!(last.block.header().height.get() >= EPOCH + 3);
}

#[test]
fn fb_14_who_joins_catches_up_although_all_of_the_genesis_are_gone() {
    let mut federation = federation();
    let names = ["frey", "odin", "loki", "hel"];
    for name in names {
        federation.follow(vec![signer(name)]);
    }
    let late = federation.follow(vec![signer("late")]);
    federation.nodes[late].is_down = true;
    federation.advance_to(1);
    let mut changes: Vec<MemberChange> = (0..4)
        .map(|id| MemberChange::Remove(ReplicaId::new(id)))
        .collect();
    for (id, name) in (4..).zip(names) {
        changes.push(MemberChange::Set(member(id, name, &signer(name), 1)));
    }
    decide(&mut federation, &changes);
    federation.advance_to(2 * EPOCH + 2);
    for index in 0..4 {
        federation.nodes[index].is_down = true;
    }
    federation.nodes[late].is_down = false;
    let height = federation.nodes[4].replica.tip().parent.height;
    federation.run_until("the late one has caught up", |federation| {
        federation.nodes[late].replica.tip().parent.height >= height
    });
    federation.advance_to(height.get() + 2);
    assert_agreement(&federation);
}

/// A follower that gets no proposal still decides: it asks for the block of a decision.
#[test]
fn fb_14_who_follows_gets_blocks_without_proposals() {
    let mut federation = federation();
    let follower = federation.follow(vec![signer("frey")]);
    for _ in 0..20 {
        let transfer = federation.transfer("alice@thor", "bob@sprout", "0.000001");
        federation.submit(0, &transfer);
        for _ in 0..60 {
            federation.network.retain(|envelope| {
                let frame = Frame::decode(&envelope.bytes, 1 << 22).unwrap();
                let is_proposal = matches!(
                    frame,
                    Frame::Consensus(Message::Proposal(_) | Message::NewView(_))
                );
                !(is_proposal && envelope.to == follower)
            });
            federation.step();
        }
    }
    federation.run_until("the follower has what the others have", |federation| {
        let tip = |index: usize| federation.nodes[index].replica.tip().parent.height;
        tip(follower) >= tip(0)
    });
    assert_agreement(&federation);
    assert!(federation.height().get() > EPOCH);
}

/// A follower checks a proposal once, however often it comes.
#[test]
fn fb_12_a_follower_pays_once_for_a_repeated_proposal() {
    let mut federation = federation();
    let follower = federation.follow(vec![signer("frey")]);
    federation.advance_to(2);
    federation.rest();
    let leader = federation.next_leader();
    let transfer = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(leader, &transfer);
    let proposal = |federation: &Federation| {
        let next = federation.nodes[follower]
            .replica
            .tip()
            .parent
            .height
            .next();
        federation.nodes[leader]
            .effects
            .iter()
            .find_map(|effect| match effect {
                Effect::Broadcast(Frame::Consensus(message @ Message::Proposal(proposal))) => {
                    (proposal.pre_prepare.height == next).then(|| message.clone())
                }
                _ => None,
            })
    };
    federation.run_until("a proposal", |federation| proposal(federation).is_some());
    let message = proposal(&federation).unwrap();
    // Nothing else reaches it meanwhile.
    federation.nodes[follower].is_down = true;
    let state = |federation: &Federation| {
        let machine = federation.nodes[follower].replica.machine();
        let known = machine.drops().get(&fbpbft::DropReason::Known).copied();
        (machine.signatures_checked(), known.unwrap_or(0))
    };
    federation.receive(follower, leader as u32, message.clone());
    let (checked, known) = state(&federation);
    for copies in 1..=3 {
        federation.receive(follower, leader as u32, message.clone());
        assert_eq!(state(&federation), (checked, known + copies));
    }
}

/// Epochs of one height: every block ends one.
#[test]
fn fb_17_an_epoch_may_have_one_height() {
    let mut genesis = genesis();
    genesis.consensus.epoch_length = 1;
    let mut federation = Federation::of(genesis);
    let joining = federation.follow(vec![signer("frey")]);
    federation.advance_to(3);
    let at = decide(
        &mut federation,
        &[MemberChange::Set(member(4, "frey", &signer("frey"), 1))],
    );
    federation.advance_to(at.get() + 6);
    assert_agreement(&federation);
    // Decided in block h, named by block h + 1, counting from h + 2.
    assert_eq!(voted(&federation, joining).first(), Some(&(at.get() + 2)));
    federation.restart_with(joining, vec![signer("frey")]);
    federation.nodes[1].is_down = true;
    federation.advance_to(at.get() + 10);
    federation.nodes[1].is_down = false;
    federation.advance_to(at.get() + 14);
    assert_agreement(&federation);
}

/// Changes of one member in separate transactions: the last one counts.
#[test]
fn fb_17_later_changes_of_a_member_replace_earlier_ones() {
    let mut federation = federation();
    federation.follow(vec![signer("frey")]);
    federation.advance_to(1);
    let set = |weight| MemberChange::Set(member(4, "frey", &signer("frey"), weight));
    decide(&mut federation, &[set(1)]);
    decide(
        &mut federation,
        &[MemberChange::Remove(ReplicaId::new(4)), set(2)],
    );
    // Nobody may weigh more than F, and F is 1 here: the second transaction changes nothing.
    federation.advance_to(EPOCH + 1);
    let table = committee_at(&federation, 0, EPOCH + 1);
    assert_eq!(table.weight(ReplicaId::new(4)), Weight::new(1));
    assert_agreement(&federation);
}

/// FB-17: whoever got hold of a key that was replaced convicts nobody with it in a later epoch.
#[test]
fn fb_17_a_key_of_another_epoch_convicts_nobody() {
    let chain = federation().genesis.chain().unwrap();
    let two_votes = |height: u64| {
        let vote = |byte: u8| {
            let height = Height::new(height);
            let digest = Sha256Digest::new([byte; 32]);
            let preimage = chain
                .scope(polity_crypto::domain::COMMIT, height, View::ZERO)
                .array(digest.as_bytes());
            fbpbft::Vote {
                kind: VoteKind::Commit,
                height,
                view: View::ZERO,
                value: fbpbft::Value::of_block(digest),
                signer: ReplicaId::new(1),
                signature: member_signer(1).sign(&preimage),
            }
        };
        fbpbft::Evidence::TwoVotes(vote(1), vote(2))
    };
    let holds = |evidence: fbpbft::Evidence| {
        polity_crypto::Verified::check(evidence, &chain, &mut checker()).is_ok()
    };
    assert!(holds(two_votes(EPOCH)), "the epoch whose key it is");
    assert!(!holds(two_votes(EPOCH + 1)), "an epoch that is not known");
}
