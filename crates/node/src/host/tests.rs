//! The host does what a bare replica asks for, and forgets nothing that it said.

mod effects;
mod jumps;
mod recovery;
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
            NodeVerifier::default(),
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
        let mut checker = Checker::new(NodeVerifier::default(), 0);
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

impl Story {
    fn basis(&self, seed: u64) -> Basis<'_> {
        Basis {
            genesis: &self.founded.genesis,
            config: Config::default(),
            own: OWN,
            signers: vec![self.keys[0].signer().clone()],
            former: Vec::new(),
            verifier: NodeVerifier::default(),
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
