//! A committee in memory for tests, benchmarks and examples: engines that exchange encoded messages
//! through one queue, with an application that only counts.

#![allow(
    dead_code,
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "tests, benchmarks and examples each use another part; calls stay short"
)]

use polity_consensus::committee::{CommitteeTable, Member};
use polity_consensus::fbpbft::{
    Chain, Config, Decided, Effect, Engine, EngineInput, Keyring, Machine, Message, Payload,
    Record, Roots, SealedBlock, Tip, TransactionBytes, VoteCertificate,
};
use polity_crypto::stub::StubSigner;
use polity_crypto::{Blake3Digest, Preimage, Sha256Digest, Signer, Verifier, domain};
use polity_types::{Effects, Height, ReplicaId, StateMachine, Time, Weight, wire};
use std::collections::VecDeque;

/// One replica and what its host would keep.
pub(crate) struct Node<S, V> {
    pub(crate) engine: Engine<S, V>,
    pub(crate) journal: Vec<Record>,
    pub(crate) decided: Vec<(SealedBlock, VoteCertificate)>,
    pub(crate) is_down: bool,
}

/// A frame under way.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) bytes: Vec<u8>,
    /// The message itself, where nothing is encoded.
    pub(crate) message: Option<Message>,
}

/// Committee, network and application.
pub(crate) struct Cluster<S, V> {
    pub(crate) nodes: Vec<Node<S, V>>,
    pub(crate) network: VecDeque<Frame>,
    pub(crate) now: Time,
    chain: Chain,
    pub(crate) config: Config,
    /// Frames sent so far.
    pub(crate) sent: u64,
    /// Who was accused, by anybody.
    pub(crate) reported: Vec<ReplicaId>,
    /// Whether messages travel as they are: the machine alone, without codec and journal.
    pub(crate) is_bare: bool,
    /// Transactions that leaders put into each block.
    pub(crate) transactions_per_block: usize,
    next_transaction: u64,
}

/// The id of a transaction is a hash of all but its last byte, which plays its signature.
pub(crate) fn transaction_id(bytes: &[u8]) -> Option<Sha256Digest> {
    let (_, content) = bytes.split_last()?;
    Some(Preimage::new(domain::TEST).bytes(content).sha256())
}

/// The state after a block is a digest of the block: enough to notice a difference.
pub(crate) fn state_after(block: &Sha256Digest) -> Sha256Digest {
    Preimage::new(domain::TEST).array(block.as_bytes()).sha256()
}

pub(crate) fn chain_of(keys: impl IntoIterator<Item = polity_crypto::PublicKey>) -> Chain {
    let members = keys.into_iter().enumerate().map(|(index, key)| Member {
        id: ReplicaId::new(index as u32),
        key,
        weight: Weight::new(1),
    });
    let committee = CommitteeTable::new(members).expect("distinct keys of equal weight");
    Chain::new(Blake3Digest::new([1; 32]), 1_000, committee, transaction_id)
}

/// The key of a replica with stub signatures.
pub(crate) fn keys(index: usize) -> Keyring<StubSigner> {
    let signer = StubSigner::new(index as u64);
    Keyring::new(ReplicaId::new(index as u32), vec![signer])
}

pub(crate) fn genesis_tip(chain: &Chain) -> Tip {
    Tip::genesis(chain, Time::ZERO, state_after(&chain.genesis_block()))
}

impl<S: Signer, V: Verifier> Cluster<S, V> {
    /// A committee of the given signers, started.
    pub(crate) fn new(signers: Vec<S>, verifier: impl Fn() -> V, config: Config) -> Self {
        let chain = chain_of(signers.iter().map(|signer| signer.public_key().clone()));
        let nodes = signers
            .into_iter()
            .map(|signer| {
                let tip = genesis_tip(&chain);
                let machine = Machine::new(config.clone(), chain.clone(), signer, verifier(), tip)
                    .expect("members start");
                Node {
                    engine: Engine::new(machine),
                    journal: Vec::new(),
                    decided: Vec::new(),
                    is_down: false,
                }
            })
            .collect();
        let mut cluster = Self {
            nodes,
            network: VecDeque::new(),
            now: Time::from_millis(1),
            chain,
            config,
            sent: 0,
            reported: Vec::new(),
            is_bare: false,
            transactions_per_block: 1,
            next_transaction: 0,
        };
        cluster.tick_all();
        // STATUS of the start is not part of any block.
        let limit = cluster.config.message_bytes_max();
        cluster
            .network
            .retain(|frame| !matches!(wire::decode(&frame.bytes, limit), Ok(Message::Status(_))));
        cluster.sent = cluster.network.len() as u64;
        cluster
    }

    /// Lets every replica act on its deadlines.
    pub(crate) fn tick_all(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].is_down {
                let effects = self.nodes[index].engine.tick(self.now);
                self.carry_out(index, effects);
            }
        }
    }

    /// Moves time to the nearest deadline and acts on it.
    pub(crate) fn advance(&mut self) {
        let up = self.nodes.iter().filter(|node| !node.is_down);
        if let Some(at) = up.filter_map(|node| node.engine.deadline()).min() {
            self.now = self.now.max(at);
            self.tick_all();
        }
    }

    /// Delivers everything under way, and what that causes.
    pub(crate) fn settle(&mut self) {
        while let Some(frame) = self.network.pop_front() {
            self.deliver(frame);
        }
    }

    /// Delivers at most `count` frames: a committee that never runs out of work never settles.
    pub(crate) fn settle_some(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.network.pop_front() else {
                break;
            };
            self.deliver(frame);
        }
    }

    /// Delivers one frame.
    pub(crate) fn deliver(&mut self, frame: Frame) {
        let index = frame.to.get() as usize;
        if self.nodes[index].is_down {
            return;
        }
        let limit = self.config.message_bytes_max();
        let message = frame
            .message
            .unwrap_or_else(|| wire::decode(&frame.bytes, limit).expect("replicas encode"));
        self.input(
            index,
            EngineInput::Received {
                from: frame.from,
                message,
            },
        );
    }

    /// Hands one input in.
    pub(crate) fn input(&mut self, index: usize, input: EngineInput) {
        let effects = self.nodes[index].engine.handle(self.now, input);
        self.carry_out(index, effects);
    }

    fn send(&mut self, from: usize, to: ReplicaId, bytes: Vec<u8>) {
        self.push(from, to, bytes, None);
    }

    fn push(&mut self, from: usize, to: ReplicaId, bytes: Vec<u8>, message: Option<Message>) {
        self.sent += 1;
        self.network.push_back(Frame {
            from: ReplicaId::new(from as u32),
            to,
            bytes,
            message,
        });
    }

    /// Carries out what a replica asks for that was driven by hand.
    pub(crate) fn follow(&mut self, index: usize, effects: Effects<Effect>) {
        self.carry_out(index, effects);
    }

    fn carry_out(&mut self, index: usize, effects: Effects<Effect>) {
        let mut queue: VecDeque<Effect> = effects.into_iter().collect();
        while let Some(effect) = queue.pop_front() {
            if let Some(answer) = self.carry_out_one(index, effect) {
                queue.extend(self.nodes[index].engine.handle(self.now, answer));
            }
        }
    }

    fn carry_out_one(&mut self, index: usize, effect: Effect) -> Option<EngineInput> {
        match effect {
            Effect::Persist(_) if self.is_bare => {}
            Effect::Persist(record) => self.nodes[index].journal.push(record),
            Effect::Send { to, message } => {
                let bytes = wire::encode(&message);
                self.send(index, to, bytes);
            }
            Effect::Broadcast(message) if self.is_bare => {
                for to in (0..self.nodes.len()).filter(|to| *to != index) {
                    let to = ReplicaId::new(to as u32);
                    self.push(index, to, Vec::new(), Some(message.clone()));
                }
            }
            Effect::Broadcast(message) => {
                let bytes = wire::encode(&message);
                for to in (0..self.nodes.len()).filter(|to| *to != index) {
                    self.send(index, ReplicaId::new(to as u32), bytes.clone());
                }
            }
            Effect::RequestProposal {
                height,
                view,
                evidence,
                ..
            } => {
                let payload = Payload {
                    height,
                    view,
                    transactions: self.transactions(),
                    evidence,
                    application: Vec::new(),
                };
                return Some(EngineInput::Proposed(payload));
            }
            Effect::RequestValidation { block, extent } => {
                // The last byte of a transaction plays its signature: zero holds.
                let is_valid = block
                    .body()
                    .transactions
                    .iter()
                    .all(|bytes| bytes.as_slice().last() == Some(&0));
                return Some(EngineInput::Validated {
                    digest: block.digest(),
                    extent,
                    is_valid,
                });
            }
            Effect::Decide { block, certificate } => {
                let roots = Roots {
                    height: block.header().height,
                    application: state_after(&block.digest()),
                    receipts: polity_merkle::empty_root(),
                };
                self.nodes[index].decided.push((block, certificate));
                return Some(EngineInput::Applied { roots, next: None });
            }
            Effect::ServeDecided {
                to,
                from,
                count_max,
                ..
            } => {
                let wanted: Vec<Decided> = self.nodes[index]
                    .decided
                    .iter()
                    .filter(|(block, _)| block.header().height >= from)
                    .take(count_max as usize)
                    .map(|(block, certificate)| Decided {
                        block: block.block().clone(),
                        certificate: certificate.clone(),
                    })
                    .collect();
                for decided in wanted {
                    let bytes = wire::encode(&Message::Decided(decided));
                    self.send(index, to, bytes);
                }
            }
            Effect::Report(evidence) => self.reported.push(evidence.accused(&self.chain)),
            Effect::Halt(_) => {}
        }
        None
    }

    fn transactions(&mut self) -> Vec<TransactionBytes> {
        (0..self.transactions_per_block)
            .map(|_| {
                self.next_transaction += 1;
                let mut bytes = vec![0; 200];
                bytes[..8].copy_from_slice(&self.next_transaction.to_le_bytes());
                TransactionBytes::new(bytes)
            })
            .collect()
    }

    /// The chain, for messages made by hand.
    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// A message from one member reaches one replica.
    pub(crate) fn receive(&mut self, index: usize, from: ReplicaId, message: Message) {
        let bytes = wire::encode(&message);
        let to = ReplicaId::new(index as u32);
        self.deliver(Frame {
            from,
            to,
            bytes,
            message: None,
        });
    }

    /// Takes out what a replica has sent and nobody received yet, each broadcast once.
    pub(crate) fn outbox(&mut self, index: usize) -> Vec<Message> {
        let limit = self.config.message_bytes_max();
        let from = ReplicaId::new(index as u32);
        let mut messages: Vec<Message> = Vec::new();
        self.network.retain(|frame| {
            if frame.from != from {
                return true;
            }
            let message = wire::decode(&frame.bytes, limit).expect("replicas encode");
            if messages.last() != Some(&message) {
                messages.push(message);
            }
            false
        });
        messages
    }

    /// Heights decided by the replica that has decided least.
    pub(crate) fn decided_by_all(&self) -> Height {
        let least = self.nodes.iter().map(|node| node.decided.len()).min();
        Height::new(least.unwrap_or(0) as u64)
    }
}
