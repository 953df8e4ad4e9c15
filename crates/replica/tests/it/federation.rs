//! A federation in memory: replicas that exchange encoded frames, a journal for each, and a clock
//! that a test moves.

use polity_consensus::fbpbft::{Block, Decided, Keyring, Message};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, PublicKey, Signer, Tier, Verified};
use polity_ledger::{
    Address, Authority, Command, GenesisAccount, GenesisPlatform, LockId, Parameters,
    SignedTransaction, Transaction, TransactionId,
};
use polity_replica::sync::{Shelf, SyncAnswer, SyncMessage, answer};
use polity_replica::{
    Admission, Committed, Config, ConsensusRules, Effect, Frame, Genesis, GenesisMember, Input,
    Purpose, Record, Refusal, Replica, Restorer, TierFloors, admit,
};
use polity_types::{Amount, Effects, Height, ReplicaId, Seed, StateMachine, Time, Weight};
use std::sync::Arc;

pub(crate) type TestReplica = Replica<StubSigner, StubVerifier>;

/// Largest frame that the network carries.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The signer with a name. Accounts are owned by the key of their address, platforms by the key of
/// their name, the authority is `root`.
pub(crate) fn signer(name: &str) -> StubSigner {
    let number = name.bytes().fold(17_u64, |sum, byte| {
        sum.wrapping_mul(257).wrapping_add(u64::from(byte))
    });
    StubSigner::new(number)
}

pub(crate) fn key(name: &str) -> PublicKey {
    signer(name).public_key().clone()
}

pub(crate) fn member_signer(id: u32) -> StubSigner {
    StubSigner::new(u64::from(id))
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(crate) fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

/// Four platforms with a member each. Alice has 1000 at thor and Bob 500 at sprout.
pub(crate) fn genesis() -> Genesis {
    let names = ["thor", "sprout", "legion", "platform2"];
    let account = |text: &str, balance: &str| GenesisAccount {
        address: address(text),
        owner: key(text),
        balance: amount(balance),
    };
    let fees = |name: &str| format!("fees@{name}");
    let mut accounts = vec![
        account("alice@thor", "1000"),
        account("bob@sprout", "500"),
        account("carol@thor", "0"),
    ];
    accounts.extend(names.iter().map(|name| account(&fees(name), "0")));
    Genesis {
        name: "test federation".to_owned(),
        start: Time::from_millis(1_000),
        tiers: TierFloors {
            votes: Tier::Stub,
            transactions: Tier::Stub,
            ..TierFloors::default()
        },
        consensus: ConsensusRules::default(),
        members: (0_u32..)
            .zip(names)
            .map(|(id, name)| GenesisMember {
                id: ReplicaId::new(id),
                name: name.to_owned(),
                key: member_signer(id).public_key().clone(),
                weight: Weight::new(1),
                fee_account: address(&fees(name)),
            })
            .collect(),
        ledger: polity_ledger::Genesis {
            parameters: Parameters::default(),
            authority: Authority {
                keys: vec![key("root")],
                threshold: 1,
            },
            platforms: names
                .iter()
                .map(|name| GenesisPlatform {
                    name: name.parse().unwrap(),
                    key: key(name),
                    quota: 10,
                })
                .collect(),
            accounts,
        },
    }
}

/// One replica and what its host keeps.
pub(crate) struct Node {
    pub(crate) replica: TestReplica,
    pub(crate) journal: Vec<Record>,
    pub(crate) chain: Vec<Committed>,
    /// What it serves to those who are behind.
    pub(crate) shelf: Shelf,
    /// Changes its answers about snapshots, if it lies.
    pub(crate) lie: Option<Lie>,
    pub(crate) answers: Vec<(TransactionId, Result<Admission, Refusal>)>,
    /// Everything it ever asked for, in order.
    pub(crate) effects: Vec<Effect>,
    pub(crate) is_down: bool,
}

impl Node {
    fn new(replica: TestReplica) -> Self {
        Self {
            replica,
            journal: Vec::new(),
            chain: Vec::new(),
            shelf: Shelf::default(),
            lie: None,
            answers: Vec::new(),
            effects: Vec::new(),
            is_down: false,
        }
    }

    /// The batches of transactions that it sent to all.
    pub(crate) fn forwarded(&self) -> Vec<usize> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Broadcast(Frame::Transactions(batch)) => Some(batch.len()),
                _ => None,
            })
            .collect()
    }
}

/// What becomes of an honest answer.
pub(crate) type Lie = fn(SyncAnswer) -> Vec<SyncAnswer>;

/// A frame under way.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

/// All replicas, the network between them, and the clock.
pub(crate) struct Federation {
    pub(crate) genesis: Genesis,
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Vec<Envelope>,
    pub(crate) now: Time,
    nonce: u64,
}

impl Federation {
    pub(crate) fn new() -> Self {
        Self::of(genesis())
    }

    pub(crate) fn of(genesis: Genesis) -> Self {
        Self::with(genesis, Config::default())
    }

    pub(crate) fn with(genesis: Genesis, config: Config) -> Self {
        let nodes = genesis
            .members
            .iter()
            .map(|member| {
                let id = member.id.get();
                let replica = Replica::new(
                    &genesis,
                    Purpose::Simulation,
                    config.clone(),
                    member_signer(id),
                    StubVerifier,
                    // Every replica has its own, and nothing may depend on it.
                    Seed::from_number(u64::from(id)),
                );
                Node::new(replica.expect("members start"))
            })
            .collect();
        Self {
            now: genesis.start,
            genesis,
            config,
            nodes,
            network: Vec::new(),
            nonce: 0,
        }
    }

    /// Adds a replica that follows, with the next free number.
    pub(crate) fn follow(&mut self, signers: Vec<StubSigner>) -> usize {
        let index = self.nodes.len();
        let keys = Keyring::new(ReplicaId::new(index as u32), signers);
        let replica = Replica::with_keys(
            &self.genesis,
            Purpose::Simulation,
            self.config.clone(),
            keys,
            StubVerifier,
            Seed::from_number(index as u64),
        );
        self.nodes
            .push(Node::new(replica.expect("anybody may follow")));
        index
    }

    /// Decides small transfers until everybody has reached a height.
    pub(crate) fn advance_to(&mut self, height: u64) {
        while self.height().get() < height {
            let up = (0..self.nodes.len()).find(|index| !self.nodes[*index].is_down);
            let transfer = self.transfer("alice@thor", "bob@sprout", "0.000001");
            self.submit(up.expect("somebody is up"), &transfer);
            let id = transfer.id();
            self.run_until("a block is applied", |federation| {
                let mut up = federation.nodes.iter().filter(|node| !node.is_down);
                up.all(|node| node.replica.ledger().receipt(&id).is_some())
            });
        }
    }

    /// The height of the replica that is least far.
    pub(crate) fn height(&self) -> Height {
        let up = self.nodes.iter().filter(|node| !node.is_down);
        up.map(|node| node.replica.tip().parent.height)
            .min()
            .unwrap()
    }

    /// The replica that leads the next height in view 0.
    pub(crate) fn next_leader(&self) -> usize {
        let replica = &self.nodes[0].replica;
        let next = replica.tip().parent.height.next();
        let view = polity_types::View::ZERO;
        replica.chain().leader(next, view).get() as usize
    }

    /// A transaction for the account `payer`, signed with the keys of these names.
    pub(crate) fn transaction(
        &mut self,
        payer: &str,
        keys: &[&str],
        commands: Vec<Command>,
    ) -> SignedTransaction {
        self.nonce += 1;
        let transaction = Transaction {
            chain: self.nodes[0].replica.chain().id(),
            signer: address(payer),
            keys: keys.iter().map(|name| key(name)).collect(),
            commands,
            valid_until: self.nodes[0]
                .replica
                .tip()
                .parent
                .height
                .saturating_add(100),
            nonce: self.nonce,
        };
        sign(transaction, keys)
    }

    /// A transfer that its payer signs.
    pub(crate) fn transfer(&mut self, from: &str, to: &str, units: &str) -> SignedTransaction {
        self.transaction(from, &[from], vec![transfer(from, to, units)])
    }

    pub(crate) fn verified(&self, transaction: &SignedTransaction) -> Verified<SignedTransaction> {
        let chain = self.nodes[0].replica.chain().id();
        admit(
            &transaction.encode(),
            chain,
            Tier::Stub,
            &mut Checker::new(StubVerifier, 0),
        )
        .expect("signed for this chain")
    }

    /// A client of a replica submits a transaction.
    pub(crate) fn submit(&mut self, index: usize, transaction: &SignedTransaction) {
        let verified = self.verified(transaction);
        self.input(index, Input::Submitted(vec![verified]));
    }

    /// What the replica answered last.
    pub(crate) fn answer(&self, index: usize) -> Result<Admission, Refusal> {
        self.nodes[index].answers.last().expect("an answer").1
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        let effects = self.nodes[index].replica.handle(self.now, input);
        self.carry_out(index, effects);
    }

    /// A message of consensus reaches a replica over the link of `from`.
    pub(crate) fn receive(&mut self, index: usize, from: u32, message: Message) {
        let from = ReplicaId::new(from);
        self.input(index, Input::Received { from, message });
    }

    fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, bytes } = envelope;
        if self.nodes[to].is_down {
            return;
        }
        let from = ReplicaId::new(from as u32);
        let frame = Frame::decode(&bytes, FRAME_BYTES_MAX).expect("replicas encode");
        match frame {
            Frame::Consensus(message) => self.input(to, Input::Received { from, message }),
            Frame::Transactions(batch) => {
                let chain = self.nodes[to].replica.chain().id();
                let mut checker = Checker::new(StubVerifier, 0);
                let transactions = batch
                    .iter()
                    .filter_map(|bytes| {
                        admit(bytes.as_slice(), chain, Tier::Stub, &mut checker).ok()
                    })
                    .collect();
                self.input(to, Input::Gossiped { from, transactions });
            }
            Frame::Sync(message) => self.input(to, Input::Sync { from, message }),
        }
    }

    fn carry_out(&mut self, index: usize, effects: Effects<Effect>) {
        for effect in effects {
            self.nodes[index].effects.push(effect.clone());
            match effect {
                Effect::Persist(record) => self.nodes[index].journal.push(record),
                Effect::Send { to, frame } => self.send(index, to.get() as usize, &frame),
                Effect::Broadcast(frame) => {
                    for to in (0..self.nodes.len()).filter(|to| *to != index) {
                        self.send(index, to, &frame);
                    }
                }
                Effect::Answer { id, result } => self.nodes[index].answers.push((id, result)),
                Effect::Committed(committed) => {
                    let node = &mut self.nodes[index];
                    node.shelf.committed(&committed);
                    let height = committed.block.header().height;
                    let is_here = node.replica.tip().parent.height == height;
                    if is_here && node.replica.chain().is_epoch_end(height) {
                        node.shelf.keep(node.replica.snapshot());
                    }
                    node.chain.push(committed);
                }
                Effect::ServeSync { to, request } => {
                    let node = &self.nodes[index];
                    let honest = answer(request, &node.shelf);
                    let said = match node.lie {
                        Some(lie) => lie(honest),
                        None => vec![honest],
                    };
                    for said in said {
                        let frame = Frame::Sync(SyncMessage::Answer(said));
                        self.send(index, to.get() as usize, &frame);
                    }
                }
                Effect::ServeDecided {
                    to,
                    from,
                    count_max,
                    ..
                } => {
                    let decided: Vec<Decided> = self.nodes[index]
                        .chain
                        .iter()
                        .filter(|committed| committed.block.header().height >= from)
                        .take(count_max as usize)
                        .map(decided)
                        .collect();
                    for decided in decided {
                        let frame = Frame::Consensus(Message::Decided(decided));
                        self.send(index, to.get() as usize, &frame);
                    }
                }
                Effect::Report(_) | Effect::Installed(_) => {}
                Effect::Halt(halt) => panic!("replica {index} halted: {halt}"),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: &Frame) {
        if !self.nodes[from].is_down {
            let bytes = frame.encode();
            self.network.push(Envelope { from, to, bytes });
        }
    }

    /// Lets a millisecond pass, or as long as nothing happens; then everything that is under way
    /// arrives.
    pub(crate) fn step(&mut self) {
        self.step_until(Time::MAX);
    }

    /// The same, and never beyond a moment.
    fn step_until(&mut self, end: Time) {
        let next = if self.network.is_empty() {
            let up = self.nodes.iter().filter(|node| !node.is_down);
            up.filter_map(|node| node.replica.deadline()).min()
        } else {
            None
        };
        let a_moment = Time::from_millis(self.now.as_millis() + 1);
        self.now = next.map_or(a_moment, |next| next.max(a_moment)).min(end);
        for envelope in std::mem::take(&mut self.network) {
            self.deliver(envelope);
        }
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let is_due = node.replica.deadline().is_some_and(|at| at <= self.now);
            if is_due && !node.is_down {
                let effects = node.replica.tick(self.now);
                self.carry_out(index, effects);
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = Time::from_millis(self.now.as_millis() + millis);
        while self.now < end {
            self.step_until(end);
        }
    }

    /// Lets time pass until something is so.
    pub(crate) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Time::from_millis(self.now.as_millis() + 600_000);
        while !is_so(self) {
            assert!(self.now < end, "not within ten minutes: {what}");
            self.step();
        }
    }

    /// Runs until every replica that is up has applied the transaction, and then until the chain
    /// rests.
    pub(crate) fn settle(&mut self, transaction: &SignedTransaction) {
        let id = transaction.id();
        self.run_until("a transaction is applied", |federation| {
            let mut up = federation.nodes.iter().filter(|node| !node.is_down);
            up.all(|node| node.replica.ledger().receipt(&id).is_some())
        });
        self.rest();
    }

    /// Runs until nobody has anything left to decide.
    pub(crate) fn rest(&mut self) {
        self.run_until("the chain rests", |federation| {
            let mut up = federation.nodes.iter().filter(|node| !node.is_down);
            let height = federation.height();
            up.all(|node| {
                let tip = node.replica.tip();
                tip.parent.height == height && !tip.is_unrecorded && node.replica.pool().is_idle()
            })
        });
    }

    /// Stops a replica and continues from its journal.
    pub(crate) fn restart(&mut self, index: usize) {
        self.restart_with(index, vec![member_signer(index as u32)]);
    }

    /// The same with these keys.
    pub(crate) fn restart_with(&mut self, index: usize, signers: Vec<StubSigner>) {
        let mut restorer = self.restorer();
        for record in self.nodes[index].journal.clone() {
            restorer.record(record).expect("its own records");
        }
        let keys = Keyring::new(ReplicaId::new(index as u32), signers);
        self.nodes[index].replica = restorer
            .finish_with(self.config.clone(), keys)
            .expect("its own records");
    }

    pub(crate) fn restorer(&self) -> Restorer<StubVerifier> {
        Restorer::new(
            &self.genesis,
            Purpose::Simulation,
            StubVerifier,
            Seed::from_number(99),
        )
        .expect("the genesis was good before")
    }

    /// Total, available and locked of an account at one replica.
    pub(crate) fn balance(&self, index: usize, account: &str) -> [String; 3] {
        let ledger = self.nodes[index].replica.ledger();
        let view = ledger.account(&address(account)).expect("an account");
        [view.total, view.available(), view.locked].map(|amount| amount.to_string())
    }
}

pub(crate) fn transfer(from: &str, to: &str, units: &str) -> Command {
    Command::Transfer {
        from: address(from),
        to: address(to),
        amount: amount(units),
    }
}

pub(crate) fn lock(from: &str, to: &str, units: &str, expires: Time) -> Command {
    Command::Lock {
        from: address(from),
        to: address(to),
        amount: amount(units),
        expires,
    }
}

pub(crate) fn commit(lock: LockId, units: &str) -> Command {
    Command::Commit {
        lock,
        amount: amount(units),
    }
}

pub(crate) fn sign(transaction: Transaction, keys: &[&str]) -> SignedTransaction {
    let signers: Vec<StubSigner> = keys.iter().map(|name| signer(name)).collect();
    let signers: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    transaction.sign(&signers).expect("a possible transaction")
}

/// The same transaction with a signature that does not hold.
pub(crate) fn with_junk_signature(transaction: &SignedTransaction) -> SignedTransaction {
    let junk = polity_crypto::Signature::new(&[0x5a; 64]);
    let signatures = vec![junk; transaction.signatures().len()];
    let other = SignedTransaction::new(transaction.transaction().clone(), signatures).unwrap();
    assert_eq!(other.id(), transaction.id(), "CR-3");
    other
}

/// A block as it is served to others.
pub(crate) fn decided(committed: &Committed) -> Decided {
    Decided {
        block: committed.block.block().clone(),
        certificate: committed.certificate.clone(),
    }
}

/// The block after a change of its content.
pub(crate) fn changed(block: &Arc<Block>, change: impl FnOnce(&mut Block)) -> Arc<Block> {
    let mut block = (**block).clone();
    change(&mut block);
    Arc::new(block)
}
