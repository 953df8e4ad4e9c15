//! The host does what a bare replica asks for, and forgets nothing that it said.

mod jumps;
mod repair;
mod sync;

use super::*;
use crate::driver::now;
use crate::federation::{Founded, Funded, KEY_FILE, Plan, found};
use crate::keys::SecretKey;
use crate::scratch::Scratch;
use crate::store::Store;
use polity_consensus::fbpbft::{self, Message, VoteKind};
use polity_consensus::light::LightClient;
use polity_crypto::{Checker, Sha256Digest};
use polity_ledger::{Address, Command, SignedTransaction, Transaction};
use polity_replica::{
    Admission, Config, Frame, Purpose, Record, Restorer, admit, application_root,
};
use polity_types::{Amount, Epoch, Height, ReplicaId, Seed, View};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The replica whose host this is.
const OWN: ReplicaId = ReplicaId::new(0);

/// Heights of one epoch.
const EPOCH: u64 = 2;

/// Something that happened to the first replica.
#[derive(Clone, Debug)]
enum Step {
    Tick,
    Input(Input),
}

/// A federation of four, and everything that happened to its first replica while it decided.
struct Story {
    _scratch: Scratch,
    founded: Founded,
    keys: Vec<SecretKey>,
    steps: Vec<(Time, Step)>,
}

fn account(agent: &str, platform: &str) -> Address {
    Address::new(agent, platform).unwrap()
}

impl Story {
    /// Four replicas in memory decide some transfers, over links that take a few milliseconds.
    fn new() -> Self {
        Self::with(|_| Vec::new())
    }

    /// The same, and the first replica gets more transactions.
    fn with(more: impl FnOnce(&Self) -> Vec<Verified>) -> Self {
        let scratch = Scratch::new();
        let members = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let mut plan = Plan::local(members, 1, Time::from_millis(1_000)).unwrap();
        plan.epoch_length = EPOCH;
        for (agent, platform) in [("alice", "a"), ("bob", "b")] {
            plan.accounts.push(Funded {
                address: account(agent, platform),
                balance: Amount::from_atp(100),
            });
        }
        let founded = found(&scratch.path().join("fed"), &plan).unwrap();
        let keys = founded
            .nodes
            .iter()
            .map(|node| SecretKey::load(&node.join(KEY_FILE)).unwrap())
            .collect();
        let mut story = Self {
            _scratch: scratch,
            founded,
            keys,
            steps: Vec::new(),
        };
        let more = more(&story);
        story.steps = story.play(more);
        story
    }

    fn replica(&self, index: usize) -> NodeReplica {
        Replica::new(
            &self.founded.genesis,
            Purpose::Production,
            Config::default(),
            self.keys[index].signer().clone(),
            Ed25519Verifier::default(),
            Seed::from_number(7),
        )
        .unwrap()
    }

    /// Fingerprint of the first replica's key.
    fn own_key(&self) -> Sha256Digest {
        self.keys[0].public_key().fingerprint()
    }

    fn transfer(&self, nonce: u64) -> Verified {
        self.transfer_of(1, nonce)
    }

    fn transfer_of(&self, atp: u64, nonce: u64) -> Verified {
        let genesis = &self.founded.genesis;
        let alice = account("alice", "a");
        let key = self.founded.owner(&alice).unwrap();
        let transaction = Transaction {
            chain: genesis.chain().unwrap().id(),
            signer: alice.clone(),
            keys: vec![key.public_key().clone()],
            commands: vec![Command::Transfer {
                from: alice,
                to: account("bob", "b"),
                amount: Amount::from_atp(atp),
            }],
            valid_until: Height::new(100),
            nonce,
        };
        let signed = transaction.sign(&[key.signer()]).unwrap();
        self.verify(&signed.encode())
    }

    fn verify(&self, bytes: &[u8]) -> Verified {
        let chain = self.founded.genesis.chain().unwrap().id();
        let mut checker = Checker::new(Ed25519Verifier::default(), 0);
        let floor = polity_crypto::Tier::Ed25519;
        admit(bytes, chain, floor, &mut checker).unwrap()
    }

    fn play(&self, more: Vec<Verified>) -> Vec<(Time, Step)> {
        let mut replicas: Vec<NodeReplica> = (0..4).map(|index| self.replica(index)).collect();
        let mut network: BTreeMap<Time, VecDeque<(usize, Step)>> = BTreeMap::new();
        let at = Time::from_millis;
        for index in 0..4 {
            network
                .entry(at(2_000))
                .or_default()
                .push_back((index, Step::Tick));
        }
        for nonce in 0..6 {
            let submitted = Step::Input(Input::Submitted(vec![self.transfer(nonce)]));
            let when = at(2_010 + 40 * nonce);
            let to = usize::try_from(nonce % 2).unwrap();
            network.entry(when).or_default().push_back((to, submitted));
        }
        for (place, transaction) in more.into_iter().enumerate() {
            let submitted = Step::Input(Input::Submitted(vec![transaction]));
            let when = at(2_025 + 40 * place as u64);
            network.entry(when).or_default().push_back((0, submitted));
        }
        let mut told = Vec::new();
        while let Some((time, mut due)) = network.pop_first() {
            if time > at(5_000) {
                break;
            }
            while let Some((index, step)) = due.pop_front() {
                if index == 0 {
                    told.push((time, step.clone()));
                }
                let effects = drive(&mut replicas[index], time, step);
                for effect in effects {
                    self.deliver(&mut network, time, index, effect);
                }
                if let Some(next) = replicas[index].deadline() {
                    let next = next.max(time.saturating_add(Duration::from_millis(1)));
                    let queue = network.entry(next).or_default();
                    let is_tick =
                        |(to, step): &(usize, Step)| *to == index && matches!(step, Step::Tick);
                    if !queue.iter().any(is_tick) {
                        queue.push_back((index, Step::Tick));
                    }
                }
            }
        }
        assert!(replicas[0].tip().parent.height >= Height::new(4));
        told
    }

    fn deliver(
        &self,
        network: &mut BTreeMap<Time, VecDeque<(usize, Step)>>,
        time: Time,
        from: usize,
        effect: Effect,
    ) {
        let mut send = |to: usize, frame: &Frame| {
            let id = ReplicaId::new(u32::try_from(from).unwrap());
            let input = match frame {
                Frame::Consensus(message) => Input::Received {
                    from: id,
                    message: message.clone(),
                },
                Frame::Sync(message) => Input::Sync {
                    from: id,
                    message: message.clone(),
                },
                Frame::Transactions(list) => Input::Gossiped {
                    from: id,
                    transactions: list.iter().map(|t| self.verify(t.as_slice())).collect(),
                },
            };
            let delay = u64::try_from(3 + (from + to) % 3).unwrap();
            let when = time.saturating_add(Duration::from_millis(delay));
            let queue = network.entry(when).or_default();
            queue.push_back((to, Step::Input(input)));
        };
        match effect {
            Effect::Send { to, frame } => send(to.get() as usize, &frame),
            Effect::Broadcast(frame) => {
                for to in (0..4).filter(|to| *to != from) {
                    send(to, &frame);
                }
            }
            _ => {}
        }
    }
}

type Verified = polity_crypto::Verified<SignedTransaction>;

fn drive(replica: &mut NodeReplica, time: Time, step: Step) -> Vec<Effect> {
    match step {
        Step::Tick => replica.tick(time).into_vec(),
        Step::Input(input) => replica.handle(time, input).into_vec(),
    }
}

/// A file in memory that breaks when it is told to.
#[derive(Debug, Default)]
struct Disk {
    durable: Vec<u8>,
    pending: Vec<u8>,
    /// Writes and flushes that still succeed.
    operations_left: Option<usize>,
    operations: usize,
}

impl Disk {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// What is left of what was not flushed.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Everything,
    Half,
    Nothing,
    /// The last bytes were written wrongly.
    Garbled,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile(Rc<RefCell<Disk>>);

impl MemoryFile {
    fn new(bytes: Vec<u8>) -> Self {
        let file = Self::default();
        file.0.borrow_mut().durable = bytes;
        file
    }

    /// What a restart finds.
    fn after_crash(&self, loss: Loss) -> Self {
        let disk = self.0.borrow();
        let mut bytes = disk.durable.clone();
        let kept = match loss {
            Loss::Everything => 0,
            Loss::Half => disk.pending.len() / 2,
            Loss::Nothing | Loss::Garbled => disk.pending.len(),
        };
        bytes.extend_from_slice(&disk.pending[..kept]);
        if let (Loss::Garbled, true) = (loss, kept > 0) {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x55;
        }
        Self::new(bytes)
    }
}

impl FileLayer for MemoryFile {
    fn length(&mut self) -> io::Result<u64> {
        let disk = self.0.borrow();
        Ok((disk.durable.len() + disk.pending.len()) as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = self.0.borrow();
        let all: Vec<u8> = [disk.durable.as_slice(), &disk.pending].concat();
        let start = usize::try_from(offset).unwrap().min(all.len());
        let count = buffer.len().min(all.len() - start);
        buffer[..count].copy_from_slice(&all[start..start + count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let result = disk.operate();
        // Of a write that fails, anything may arrive.
        let count = if result.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 3
        };
        disk.pending.extend_from_slice(&bytes[..count]);
        result
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.operate()?;
        let pending = std::mem::take(&mut disk.pending);
        disk.durable.extend(pending);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let length = usize::try_from(length).unwrap();
        disk.durable.truncate(length);
        disk.pending.clear();
        Ok(())
    }
}

fn open(story: &Story, file: MemoryFile) -> Journal<MemoryFile> {
    let chain = story.founded.genesis.chain().unwrap().id();
    Journal::open(file, chain, &story.own_key(), |_, _| {})
        .unwrap()
        .0
}

/// The bytes of an empty journal, as `init` leaves it.
fn fresh_journal(story: &Story) -> Vec<u8> {
    let file = MemoryFile::default();
    open(story, file.clone());
    let disk = file.0.borrow();
    [disk.durable.as_slice(), &disk.pending].concat()
}

#[test]
fn the_host_gives_the_effects_of_a_bare_replica() {
    let story = Story::new();
    let mut replica = story.replica(0);
    let expected: Vec<Effect> = story
        .steps
        .iter()
        .flat_map(|(time, step)| drive(&mut replica, *time, step.clone()))
        .collect();
    let (persisted, rest): (Vec<Effect>, Vec<Effect>) = expected
        .into_iter()
        .partition(|effect| matches!(effect, Effect::Persist(_)));
    let lengths = (persisted.len(), rest.len());
    assert!(
        lengths.0 > 20 && lengths.1 > 20,
        "the story is too short: {lengths:?}"
    );

    // However the steps are cut into batches.
    for batch in [1, 2, 7, usize::MAX] {
        let file = MemoryFile::new(fresh_journal(&story));
        let journal = open(&story, file.clone());
        let mut host = Host::new(story.replica(0), journal, Places::default());
        let mut released = Vec::new();
        for (number, (time, step)) in story.steps.iter().enumerate() {
            match step.clone() {
                Step::Tick => host.tick(*time).unwrap(),
                Step::Input(input) => host.handle(*time, input).unwrap(),
            }
            if number % batch.min(story.steps.len()) == 0 {
                released.extend(host.flush().unwrap());
                assert!(
                    file.0.borrow().pending.is_empty(),
                    "released before it was durable"
                );
            }
        }
        released.extend(host.flush().unwrap());
        for released in &released {
            let is_block = matches!(released.effect, Effect::Committed(_));
            assert_eq!(released.entry.is_some(), is_block);
        }
        let effects: Vec<Effect> = released.into_iter().map(|r| r.effect).collect();
        assert_eq!(effects, rest, "batches of {batch}");

        let mut records = Vec::new();
        let chain = story.founded.genesis.chain().unwrap().id();
        Journal::open(
            file.after_crash(Loss::Everything),
            chain,
            &story.own_key(),
            |_, payload| {
                let record: Record = wire::decode(payload, 1 << 24).unwrap();
                records.push(Effect::Persist(record));
            },
        )
        .unwrap();
        assert_eq!(records, persisted, "batches of {batch}");
    }
}

/// What the replica said, as far as it could contradict itself.
#[derive(Default)]
struct Said(BTreeMap<(u8, Height, View), String>);

impl Said {
    fn hear(&mut self, own: ReplicaId, effect: &Effect) {
        let (Effect::Send { frame, .. } | Effect::Broadcast(frame)) = effect else {
            return;
        };
        let Frame::Consensus(message) = frame else {
            return;
        };
        let (kind, height, view, what) = match message {
            Message::Vote(vote) if vote.signer == own => {
                let kind = match vote.kind {
                    VoteKind::Prepare => 1,
                    VoteKind::Commit => 2,
                };
                (kind, vote.height, vote.view, format!("{:?}", vote.value))
            }
            Message::ViewChange(change) if change.signer == own => {
                let what = format!("{:?}", change.prepared);
                (3, change.height, change.view, what)
            }
            Message::Proposal(proposal) => {
                let part = &proposal.pre_prepare;
                (4, part.height, part.view, part.digest.to_string())
            }
            _ => return,
        };
        let before = self.0.entry((kind, height, view)).or_insert(what.clone());
        assert_eq!(*before, what, "the replica contradicted itself");
    }
}

#[test]
fn what_was_said_before_a_crash_survives_it() {
    let story = Story::new();
    let empty = fresh_journal(&story);
    let chain = story.founded.genesis.chain().unwrap();
    // How many writes and flushes the whole story takes.
    let all = {
        let file = MemoryFile::new(empty.clone());
        run_until_crash(&story, &file, None);

        file.0.borrow().operations
    };
    assert!(all > 60, "{all} operations are no test");
    let scratch = Scratch::new();
    for crash_at in 0..all {
        let loss = [Loss::Everything, Loss::Half, Loss::Nothing, Loss::Garbled][crash_at % 4];
        let file = MemoryFile::new(empty.clone());
        let (released, steps) = run_until_crash(&story, &file, Some(crash_at));

        // The index is gone, too: everything comes from the journal.
        let path = scratch.path().join(format!("index-{crash_at}"));
        let index = Store::open(&path, chain.id()).unwrap();
        let survived = file.after_crash(loss);
        let basis = Basis {
            genesis: &story.founded.genesis,
            config: Config::default(),
            own: OWN,
            signers: vec![story.keys[0].signer().clone()],
            verifier: Ed25519Verifier::default(),
            index_seed: Seed::from_number(8),
        };
        let recovered = recover(survived, &index, basis)
            .unwrap_or_else(|error| panic!("crash at {crash_at}, {loss:?}: {error}"));
        let replica = &recovered.replica;
        let mut said = Said::default();
        for effect in &released {
            said.hear(replica.id(), effect);
            match effect {
                Effect::Answer {
                    id,
                    result: Ok(Admission::Pending | Admission::Known),
                } => {
                    let is_kept =
                        replica.pool().contains(id) || replica.ledger().receipt(id).is_some();
                    assert!(
                        is_kept,
                        "crash at {crash_at}, {loss:?}: a promise was forgotten"
                    );
                }
                Effect::Committed(committed) => {
                    let height = committed.block.header().height;
                    assert!(replica.tip().parent.height >= height);
                    let entry = index.block(height).unwrap().unwrap();
                    assert_eq!(entry.digest, *committed.block.digest().as_bytes());
                    assert_eq!(
                        decode_receipts(&index.receipts(height).unwrap().unwrap()).unwrap(),
                        committed.receipts.to_vec()
                    );
                }
                _ => {}
            }
        }
        // It goes on with the rest of the story and contradicts nothing.
        let mut host = Host::new(recovered.replica, recovered.journal, recovered.places);
        let own = host.replica().id();
        for (time, step) in &story.steps[steps..] {
            match step.clone() {
                Step::Tick => host.tick(*time).unwrap(),
                Step::Input(input) => host.handle(*time, input).unwrap(),
            }
            for released in host.flush().unwrap() {
                said.hear(own, &released.effect);
            }
        }
    }
}

/// Runs the story on a disk that breaks after so many operations. Returns what was released before,
/// and how many steps were taken.
fn run_until_crash(
    story: &Story,
    file: &MemoryFile,
    crash_at: Option<usize>,
) -> (Vec<Effect>, usize) {
    let journal = open(story, file.clone());
    // Opening flushes once; the story counts from here.
    file.0.borrow_mut().operations = 0;
    file.0.borrow_mut().operations_left = crash_at;
    let mut host = Host::new(story.replica(0), journal, Places::default());
    let mut released = Vec::new();
    for (number, (time, step)) in story.steps.iter().enumerate() {
        let result = match step.clone() {
            Step::Tick => host.tick(*time),
            Step::Input(input) => host.handle(*time, input),
        };
        if let Ok(part) = result.and_then(|()| host.flush()) {
            released.extend(part.into_iter().map(|r| r.effect));
        } else {
            // Nothing leaves any more.
            assert!(host.flush().is_err());
            return (released, number);
        }
    }
    (released, story.steps.len())
}

#[test]
fn a_lost_journal_is_no_fresh_start() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let basis = Basis {
        genesis: &story.founded.genesis,
        config: Config::default(),
        own: OWN,
        signers: vec![story.keys[0].signer().clone()],
        verifier: Ed25519Verifier::default(),
        index_seed: Seed::from_number(8),
    };
    let result = recover(MemoryFile::default(), &index, basis);
    assert!(matches!(result, Err(RecoverError::JournalLost)));
}

impl Story {
    fn basis(&self, seed: u64) -> Basis<'_> {
        Basis {
            genesis: &self.founded.genesis,
            config: Config::default(),
            own: OWN,
            signers: vec![self.keys[0].signer().clone()],
            verifier: Ed25519Verifier::default(),
            index_seed: Seed::from_number(seed),
        }
    }
}

/// A host that lived through the whole story, with its files.
struct Lived {
    host: Host<MemoryFile>,
    file: MemoryFile,
    index: Store,
    _scratch: Scratch,
}

impl Lived {
    /// Takes a snapshot after the block at this height.
    fn through(story: &Story, snapshot_at: u64) -> Self {
        let chain = story.founded.genesis.chain().unwrap();
        let file = MemoryFile::new(fresh_journal(story));
        let journal = open(story, file.clone());
        let scratch = Scratch::new();
        let index = Store::open(&scratch.path().join("index"), chain.id()).unwrap();
        let mut lived = Self {
            host: Host::new(story.replica(0), journal, Places::default()),
            file,
            index,
            _scratch: scratch,
        };
        for (time, step) in &story.steps {
            lived.step(*time, step.clone(), snapshot_at);
        }
        lived
    }

    fn step(&mut self, time: Time, step: Step, snapshot_at: u64) {
        match step {
            Step::Tick => self.host.tick(time).unwrap(),
            Step::Input(input) => self.host.handle(time, input).unwrap(),
        }
        for released in self.host.flush().unwrap() {
            let Effect::Committed(committed) = released.effect else {
                continue;
            };
            let height = committed.block.header().height;
            let ids: Vec<[u8; 32]> = committed
                .receipts
                .iter()
                .map(|r| *r.id.as_bytes())
                .collect();
            let receipts = encode_receipts(&committed.receipts);
            if let Some(end) = committed.epoch_end() {
                let bytes = wire::encode(&end);
                self.index
                    .put_epoch_ends([(end.last.header.epoch, bytes.as_slice())])
                    .unwrap();
            }
            self.index
                .put_receipts([(height, receipts.as_slice())])
                .unwrap();
            self.index
                .put_block(height, &released.entry.unwrap(), &ids)
                .unwrap();
            if height.get() == snapshot_at {
                self.snapshot(|_| {});
            }
        }
    }

    /// Stores a snapshot of the present state with some changes.
    fn snapshot(&mut self, change: impl FnOnce(&mut polity_replica::SnapshotMeta)) {
        let mut snapshot = self.host.replica_mut().snapshot();
        change(&mut snapshot.meta);
        let height = snapshot.meta.height;
        self.index
            .put_snapshot(height, encode_snapshot(snapshot), false)
            .unwrap();
    }

    fn height(&self) -> u64 {
        self.host.replica().tip().parent.height.get()
    }

    /// Bytes of the journal, and where each of its records starts.
    fn journal(&self, story: &Story) -> (Vec<u8>, Vec<(u64, Record)>) {
        let chain = story.founded.genesis.chain().unwrap().id();
        let file = self.file.after_crash(Loss::Nothing);
        let bytes = file.0.borrow().durable.clone();
        let mut records = Vec::new();
        Journal::open(file, chain, &story.own_key(), |offset, payload| {
            records.push((offset, wire::decode(payload, 1 << 24).unwrap()));
        })
        .unwrap();
        (bytes, records)
    }
}

#[test]
fn a_snapshot_and_the_rest_of_the_journal_make_the_same_replica() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap();
    let mut lived = Lived::through(&story, 3);
    let mut recovered = recover(
        lived.file.after_crash(Loss::Nothing),
        &lived.index,
        story.basis(9),
    )
    .unwrap();
    assert_eq!(
        recovered.replayed,
        lived.height() - 3,
        "the snapshot was not used"
    );
    assert_eq!(recovered.replica.tip(), lived.host.replica().tip());
    assert_eq!(
        recovered.replica.ledger_mut().root(),
        lived.host.replica_mut().ledger_mut().root()
    );
    // And from nothing but the journal.
    let mut restorer = Restorer::new(
        &story.founded.genesis,
        Purpose::Production,
        Ed25519Verifier::default(),
        Seed::from_number(1),
    )
    .unwrap();
    let file = lived.file.after_crash(Loss::Nothing);
    Journal::open(file, chain.id(), &story.own_key(), |_, payload| {
        restorer
            .record(wire::decode(payload, 1 << 24).unwrap())
            .unwrap();
    })
    .unwrap();
    let again = restorer
        .finish(Config::default(), story.keys[0].signer().clone())
        .unwrap();
    assert_eq!(again.tip(), lived.host.replica().tip());
}

/// FB-19: the state after the last block of an epoch is that which the first block of the next names.
#[test]
fn fb_19_the_state_at_the_end_of_an_epoch_is_certified_by_the_next_header() {
    let story = Story::new();
    let file = MemoryFile::new(fresh_journal(&story));
    let mut host = Host::new(story.replica(0), open(&story, file), Places::default());
    let mut snapshots = BTreeMap::new();
    let mut headers = Vec::new();
    for (time, step) in &story.steps {
        match step.clone() {
            Step::Tick => host.tick(*time).unwrap(),
            Step::Input(input) => host.handle(*time, input).unwrap(),
        }
        for released in host.flush().unwrap() {
            let Effect::Committed(committed) = released.effect else {
                assert!(released.snapshot.is_none());
                continue;
            };
            let header = committed.block.header().clone();
            let ends_epoch = header.height.get().is_multiple_of(EPOCH);
            assert_eq!(released.snapshot.is_some(), ends_epoch, "{}", header.height);
            snapshots.extend(released.snapshot.map(|snapshot| (header.height, snapshot)));
            headers.push(header);
        }
    }
    assert!(snapshots.len() >= 2);
    for pair in headers.windows(2) {
        let Some(snapshot) = snapshots.get(&pair[0].height) else {
            continue;
        };
        assert_eq!(snapshot.meta.digest, pair[0].digest());
        let root = application_root(&snapshot.meta.ledger_root);
        assert_eq!(root, pair[1].application_root);
        assert_eq!(snapshot.meta.receipts, pair[1].receipts_root);
    }
}

/// The ends of epochs come back with the index, and lead from the genesis to the last of them.
#[test]
fn fb_18_ends_of_epochs_are_made_again_from_the_journal() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap();
    let lived = Lived::through(&story, 3);
    let expected = lived.index.epoch_ends(Epoch::ZERO, 100).unwrap();
    assert_eq!(expected.len() as u64, lived.height() / EPOCH);
    assert!(expected.len() >= 2);
    let scratch = Scratch::new();
    let fresh = Store::open(&scratch.path().join("index"), chain.id()).unwrap();
    // From nothing, and from a snapshot in the middle of an epoch.
    for index in [&fresh, &lived.index] {
        let file = lived.file.after_crash(Loss::Nothing);
        recover(file, index, story.basis(9)).unwrap();
        assert_eq!(index.epoch_ends(Epoch::ZERO, 100).unwrap(), expected);
    }
    let mut light = LightClient::from_genesis(&chain, story.founded.genesis.start);
    let mut checker = Checker::new(Ed25519Verifier::default(), 0);
    for (_, bytes) in &expected {
        let end = wire::decode(bytes, 1 << 20).unwrap();
        light.advance(&end, &mut checker).unwrap();
    }
    assert_eq!(light.epoch().get(), expected.len() as u64);
}

/// FB-15: the index has seen what the journal forgot, so the journal is an older one. It is left as
/// it is: it may be the right one with damage that only its owner can judge.
#[test]
fn fb_15_an_older_journal_beside_a_newer_index_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let (bytes, records) = lived.journal(&story);
    let is_decision =
        |record: &Record| matches!(record, Record::Consensus(fbpbft::Record::Decided(_)));
    let last = records.iter().rposition(|(_, r)| is_decision(r)).unwrap();
    // Cut at every record from the first on, and in the middle of the last decision.
    let cuts = records[1..=last].iter().map(|(offset, _)| *offset);
    for cut in cuts.chain([records[last].0 + 30]) {
        let cut = usize::try_from(cut).unwrap();
        let file = MemoryFile::new(bytes[..cut].to_vec());
        let result = recover(file.clone(), &lived.index, story.basis(9));
        match result {
            Err(RecoverError::JournalOlder { found, indexed }) => {
                assert!(found < indexed);
                assert_eq!(indexed.get(), lived.height());
            }
            other => panic!("cut at {cut}: {:?}", other.map(|r| r.records)),
        }
        assert_eq!(file.0.borrow().durable, bytes[..cut], "nothing was cut off");
    }
    // A snapshot alone says the same.
    let scratch = Scratch::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let snapshot = lived.host.replica().tip().parent.height;
    let stored = {
        let mut lived = lived;
        encode_snapshot(lived.host.replica_mut().snapshot())
    };
    index.put_snapshot(snapshot, stored, false).unwrap();
    let cut = usize::try_from(records[last].0).unwrap();
    let file = MemoryFile::new(bytes[..cut].to_vec());
    assert!(matches!(
        recover(file, &index, story.basis(9)),
        Err(RecoverError::JournalOlder { .. })
    ));
}

/// FB-15: the index belongs to one journal, and another one in its place is not believed.
#[test]
fn fb_15_a_foreign_journal_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let file = lived.file.after_crash(Loss::Nothing);
    recover(file, &lived.index, story.basis(9)).unwrap();
    // The same records in a file of its own, as another node would have written them.
    let other = MemoryFile::new(fresh_journal(&story));
    let mut journal = open(&story, other.clone());
    for (_, record) in lived.journal(&story).1 {
        journal.append(&wire::encode(&record)).unwrap();
    }
    journal.sync().unwrap();
    let result = recover(other, &lived.index, story.basis(9));
    assert!(matches!(
        result,
        Err(RecoverError::Store(crate::store::StoreError::OtherJournal))
    ));
}

/// An index that says where blocks are in another file than the journal beside it.
#[test]
fn fb_15_an_index_with_other_places_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let chain = story.founded.genesis.chain().unwrap().id();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let height = Height::new(1);
    let mut entry = lived.index.block(height).unwrap().unwrap();
    entry.block_offset += 1;
    index.put_block(height, &entry, &[]).unwrap();
    let file = lived.file.after_crash(Loss::Nothing);
    let result = recover(file, &index, story.basis(9));
    assert!(matches!(
        result,
        Err(RecoverError::Store(crate::store::StoreError::OtherJournal))
    ));
    // It was not bound to the journal that it does not fit.
    assert!(!index.check_bound(&[0; 16]).unwrap());
}

#[test]
fn fb_15_the_journal_of_another_member_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let file = lived.file.after_crash(Loss::Nothing);
    let mut basis = story.basis(9);
    basis.own = ReplicaId::new(1);
    basis.signers = vec![story.keys[1].signer().clone()];
    let scratch = Scratch::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let result = recover(file, &index, basis);
    assert!(matches!(
        result,
        Err(RecoverError::Journal(JournalError::OtherKey(_)))
    ));
}

/// What a killed process left with the system is durable before the index names it, so a power
/// failure during recovery takes nothing back.
#[test]
fn a_recovery_that_loses_power_can_be_repeated() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let lived = Lived::through(&story, 0);
    let (bytes, records) = lived.journal(&story);
    for (cut, _) in records.iter().skip(1).step_by(5) {
        let cut = usize::try_from(*cut).unwrap();
        let file = MemoryFile::new(bytes[..cut].to_vec());
        file.0.borrow_mut().pending = bytes[cut..].to_vec();
        let scratch = Scratch::new();
        let path = scratch.path().join("index");
        let index = Store::open(&path, chain).unwrap();
        recover(file.clone(), &index, story.basis(9)).unwrap();
        let survived = file.after_crash(Loss::Everything);
        assert_eq!(survived.0.borrow().durable, bytes);
        let again = recover(survived, &index, story.basis(9)).unwrap();
        assert_eq!(again.replica.tip(), lived.host.replica().tip());
    }
}

#[test]
fn lg_13_a_snapshot_of_another_block_is_not_used() {
    let story = Story::new();
    let changes: [fn(&mut polity_replica::SnapshotMeta); 4] = [
        |meta| meta.digest = Sha256Digest::ZERO,
        |meta| meta.timestamp = meta.timestamp.saturating_add(Duration::from_millis(1)),
        |meta| meta.header_application = Sha256Digest::ZERO,
        |meta| meta.certificate = None,
    ];
    for change in changes {
        let mut lived = Lived::through(&story, 0);
        lived.snapshot(change);
        let file = lived.file.after_crash(Loss::Nothing);
        let recovered = recover(file, &lived.index, story.basis(9)).unwrap();
        assert_eq!(recovered.replayed, lived.height(), "all of it was replayed");
        assert_eq!(recovered.replica.tip(), lived.host.replica().tip());
    }
}

/// A transaction that was refused for now, sent again and promised again waits after a restart,
/// although an earlier block holds it.
#[test]
fn fb_15_a_promise_after_a_refusal_survives_a_restart_from_a_snapshot() {
    let story = Story::with(|story| vec![story.transfer_of(1_000, 77)]);
    let overdraft = story.transfer_of(1_000, 77);
    let mut lived = Lived::through(&story, 0);
    let place = lived.index.transaction(overdraft.id().as_bytes()).unwrap();
    assert!(place.is_some(), "a block holds it, refused");
    assert!(!lived.host.replica().pool().contains(&overdraft.id()));
    let again = Step::Input(Input::Submitted(vec![overdraft.clone()]));
    lived.step(Time::from_millis(5_100), again, 0);
    assert!(lived.host.replica().pool().contains(&overdraft.id()));
    lived.snapshot(|_| {});
    let file = lived.file.after_crash(Loss::Everything);
    let recovered = recover(file, &lived.index, story.basis(9)).unwrap();
    assert_eq!(recovered.replayed, 0, "the snapshot was used");
    let pool = recovered.replica.pool();
    assert!(pool.contains(&overdraft.id()));
    assert_eq!(pool.len(), 1, "what was decided does not return");
}

#[test]
fn time_never_runs_backwards() {
    let story = Story::new();
    let file = MemoryFile::new(fresh_journal(&story));
    let mut host = Host::new(story.replica(0), open(&story, file), Places::default());
    host.tick(now()).unwrap();
    let before = host.deadline();
    // A clock that was set back does not bring deadlines forward.
    host.tick(Time::from_millis(1)).unwrap();
    assert_eq!(host.deadline(), before);
}
