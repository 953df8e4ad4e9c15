//! What honest members say, sign and keep: the values that targets change.
//!
//! A small simulated federation lives for some epochs. One member sleeps and wakes far behind, so there
//! are view changes, NEW-VIEWs and snapshots. The same seed gives the same values everywhere.

use polity_consensus::committee::Member;
use polity_consensus::fbpbft::{
    self, Chain, Decided, Header, Keyring, Message, Value, VoteCertificate, VoteKind,
};
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::{Sha256Digest, Signature};
use polity_ledger::{Ledger, Outcome, ReceiptProof, SignedTransaction, TransactionId};
use polity_replica::proof::{AccountProof, FinalityProof, LockProof, TransactionProof};
use polity_replica::{Config, Frame, Genesis, Record};
use polity_sim::{Fate, Federation, Kind, Options, Packet, Scheme, SimSigner, SimVerifier, World};
use polity_types::{Height, ReplicaId, Seed, View, wire};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const SEED: u64 = 20;
const EPOCH: u64 = 4;
/// The member that sleeps.
const SLEEPER: ReplicaId = ReplicaId::new(3);
/// A member that never does.
const WITNESS: ReplicaId = ReplicaId::new(0);
/// Frames of one kind that are kept.
const FRAMES_OF_KIND_MAX: usize = 6;
/// State of this height is proven.
const PROVEN_AFTER: u64 = 9;

/// Which vote: kind, height, view, block, NEW-VIEW and voter.
pub(crate) type Ballot = (VoteKind, Height, View, Value, ReplicaId);

/// A snapshot of the ledger, and what it has to be.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) height: Height,
    pub(crate) root: Sha256Digest,
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Honest {
    pub(crate) genesis: Genesis,
    chain: Chain,
    pub(crate) members: Vec<Member>,
    pub(crate) verifier: SimVerifier,
    /// Some frames of each kind.
    pub(crate) frames: Vec<Frame>,
    /// Every vote that anybody cast.
    pub(crate) votes: BTreeMap<Ballot, Signature>,
    /// Every claim of a VIEW-CHANGE that anybody signed, by its signature.
    pub(crate) view_changes: BTreeSet<Signature>,
    /// Every NEW-VIEW.
    pub(crate) new_views: BTreeSet<Sha256Digest>,
    /// Every decided block, the first one first.
    pub(crate) decided: Vec<Decided>,
    pub(crate) headers: BTreeSet<Sha256Digest>,
    pub(crate) ends: Vec<EpochEnd>,
    pub(crate) accounts: Vec<AccountProof>,
    pub(crate) locks: Vec<LockProof>,
    pub(crate) receipts: Vec<TransactionProof>,
    pub(crate) transactions: Vec<SignedTransaction>,
    pub(crate) transaction_ids: BTreeSet<TransactionId>,
    pub(crate) state: State,
    /// The journal of the witness.
    pub(crate) journal: Vec<Record>,
    /// The journal of the sleeper, with a snapshot in it.
    pub(crate) sync_journal: Vec<Record>,
    pub(crate) config: Config,
    signer: SimSigner,
}

impl Honest {
    /// The keys of the sleeper.
    pub(crate) fn keyring(&self) -> Keyring<SimSigner> {
        Keyring::new(SLEEPER, vec![self.signer.clone()])
    }

    /// The chain as somebody knows it who trusts the committee of that height.
    pub(crate) fn chain(&self, height: Height) -> Chain {
        let table = Arc::clone(self.chain.table(Height::ZERO.next()));
        self.chain.at(self.chain.epoch(height), table)
    }

    /// Whether every vote in a certificate was cast.
    pub(crate) fn has_cast(&self, certificate: &VoteCertificate) -> bool {
        let chain = self.chain(certificate.height);
        let parts = certificate.votes.parts(chain.committee(certificate.height));
        let VoteCertificate {
            kind,
            height,
            view,
            value,
            ..
        } = *certificate;
        parts.is_ok_and(|parts| {
            parts.into_iter().all(|(id, signature)| {
                self.votes.get(&(kind, height, view, value, id)) == Some(&signature)
            })
        })
    }

    pub(crate) fn is_decided(&self, header: &Header) -> bool {
        self.headers.contains(&header.digest())
    }
}

/// The values; made when they are first asked for.
pub(crate) fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(live)
}

/// Everything that went over the network.
#[derive(Default)]
struct Heard {
    frames: Vec<Frame>,
    of_kind: BTreeMap<String, usize>,
    votes: BTreeMap<Ballot, Signature>,
    view_changes: BTreeSet<Signature>,
    new_views: BTreeSet<Sha256Digest>,
    transactions: Vec<SignedTransaction>,
}

impl Heard {
    fn hear(&mut self, packet: &Packet<'_>) {
        let frame = packet.frame;
        match frame {
            Frame::Consensus(message) => self.message(message),
            Frame::Transactions(list) => {
                let decoded = list.iter().map(fbpbft::TransactionBytes::as_slice);
                self.transactions
                    .extend(decoded.filter_map(|bytes| SignedTransaction::decode(bytes).ok()));
            }
            Frame::Sync(_) => {}
        }
        if self.frames.contains(frame) {
            return;
        }
        // Large sync answers apart from small ones, VIEW-CHANGEs with certificates from those without.
        let size = frame.encode().len().ilog2();
        let kind = format!("{:?} {size}", packet.kind());
        let count = self.of_kind.entry(kind).or_default();
        if *count < FRAMES_OF_KIND_MAX {
            *count += 1;
            self.frames.push(frame.clone());
        }
    }

    fn message(&mut self, message: &Message) {
        if let Message::Vote(vote) = message {
            let ballot = (vote.kind, vote.height, vote.view, vote.value, vote.signer);
            self.votes.insert(ballot, vote.signature.clone());
        }
        let mut view_changes = Vec::new();
        if let Message::ViewChange(view_change) = message {
            view_changes.push(view_change);
        }
        if let Message::NewView(proposal) = message {
            self.new_views.insert(proposal.new_view.digest());
            view_changes.extend(&proposal.new_view.view_changes);
        }
        for view_change in view_changes {
            self.view_changes.insert(view_change.signature.clone());
        }
    }
}

fn live() -> Honest {
    let seed = Seed::from_number(SEED);
    let federation = Federation::new(&seed, Scheme::Stub, &[1; 4], EPOCH).with_accounts(12);
    let federation = Rc::new(federation);
    let options = Options {
        config: config(),
        ..Options::default()
    };
    let mut world = World::new(Rc::clone(&federation), &seed, options, false).expect("a world");
    let heard = Rc::new(RefCell::new(Heard::default()));
    let ear = Rc::clone(&heard);
    world.filter(move |packet| {
        ear.borrow_mut().hear(packet);
        // Whoever wakes gets a snapshot.
        if packet.to == SLEEPER && packet.kind() == Kind::Decided {
            Fate::Drop
        } else {
            Fate::Pass
        }
    });
    world.load(Duration::from_millis(60), 2);
    reach(&mut world, 2);
    world.crash(SLEEPER);
    let lock = Duration::from_hours(1);
    let _ = world.submit_lock(WITNESS, lock, false).expect("a member");
    reach(&mut world, PROVEN_AFTER);
    let ledger = ledger(&world);
    reach(&mut world, 4 * EPOCH + 2);
    world.restart(SLEEPER).expect("its own journal");
    let limit = Duration::from_mins(10);
    let is_done = |world: &World| !world.installed(SLEEPER).is_empty();
    assert!(world.run_until(limit, is_done).expect("nobody lies"));
    let heard = heard.take();
    // The sleeper said some of it before the filter heard it again.
    let decided = world.store(WITNESS).to_vec();
    gather(&federation, heard, decided, ledger, &world)
}

fn config() -> Config {
    Config {
        snapshot_after: 2 * EPOCH,
        ..Config::default()
    }
}

fn reach(world: &mut World, height: u64) {
    let limit = Duration::from_mins(10);
    let is_there = |world: &World| world.height(WITNESS) >= height;
    let reached = world.run_until(limit, is_there).expect("nobody lies");
    assert!(reached, "height {height} is not reached");
}

fn ledger(world: &World) -> Ledger {
    let replica = world.replica(WITNESS).expect("it is up");
    replica.ledger().clone()
}

fn gather(
    federation: &Federation,
    heard: Heard,
    decided: Vec<Decided>,
    mut ledger: Ledger,
    world: &World,
) -> Honest {
    let chain = federation.chain.clone();
    let table = Arc::clone(chain.table(Height::ZERO.next()));
    let members = table.rows().to_vec();
    let at = |height: Height| decided.iter().find(|d| d.block.header.height == height);
    let after = ledger.height();
    let next = at(after.next()).expect("the world went on");
    let finality = FinalityProof {
        header: next.block.header.clone(),
        certificate: next.certificate.clone(),
    };
    let accounts = federation.clients.iter().take(4).filter_map(|client| {
        let state = ledger.prove_account(&client.address)?;
        let finality = finality.clone();
        Some(AccountProof { finality, state })
    });
    let accounts: Vec<_> = accounts.collect();
    let ids: Vec<_> = ledger.locks().map(|lock| lock.id).take(4).collect();
    let locks = ids.iter().filter_map(|id| {
        let state = ledger.prove_lock(id)?;
        let finality = finality.clone();
        Some(LockProof { finality, state })
    });
    let locks: Vec<_> = locks.collect();
    let receipts = receipts(&ledger, &decided, &chain, &federation.verifier);
    let ends = decided.iter().filter(|decided| {
        let height = decided.block.header.height;
        chain.is_epoch_end(height)
    });
    let ends = ends.map(|decided| EpochEnd {
        last: decided_header(decided),
        next: members.clone(),
    });
    let ends = ends.collect();
    let state = State {
        height: after,
        root: ledger.root(),
        chunks: ledger.snapshot().collect(),
    };
    let journal = world.journal(WITNESS);
    let sync_journal = world.journal(SLEEPER);
    let mut honest = Honest {
        genesis: federation.genesis.clone(),
        chain,
        members,
        verifier: federation.verifier.clone(),
        frames: heard.frames,
        votes: heard.votes,
        view_changes: heard.view_changes,
        new_views: heard.new_views,
        headers: decided.iter().map(|d| d.block.header.digest()).collect(),
        ends,
        accounts,
        locks,
        receipts,
        transaction_ids: heard
            .transactions
            .iter()
            .map(SignedTransaction::id)
            .collect(),
        transactions: heard.transactions,
        state,
        journal,
        sync_journal,
        decided,
        config: config(),
        signer: federation.signers[SLEEPER.get() as usize].clone(),
    };
    honest.transactions.truncate(12);
    honest.count_own_votes();
    honest
}

impl Honest {
    /// Members count votes of their own before these go out, and what a journal holds was said.
    fn count_own_votes(&mut self) {
        let journals = self.journal.iter().chain(&self.sync_journal);
        let mut certificates: Vec<VoteCertificate> = self
            .decided
            .iter()
            .map(|decided| decided.certificate.clone())
            .collect();
        for record in journals {
            if let Record::Consensus(
                fbpbft::Record::Prepared(certificate) | fbpbft::Record::Decided(certificate),
            ) = record
            {
                certificates.push(certificate.clone());
            }
        }
        for certificate in certificates {
            let chain = self.chain(certificate.height);
            let committee = chain.committee(certificate.height);
            let parts = certificate.votes.parts(committee).expect("it is honest");
            for (id, signature) in parts {
                let VoteCertificate {
                    kind,
                    height,
                    view,
                    value,
                    ..
                } = certificate;
                self.votes
                    .entry((kind, height, view, value, id))
                    .or_insert(signature);
            }
        }
    }
}

/// A decided header without its block.
pub(crate) fn decided_header(decided: &Decided) -> DecidedHeader {
    DecidedHeader {
        header: decided.block.header.clone(),
        certificate: decided.certificate.clone(),
    }
}

/// Proofs of receipts in blocks whose receipts the ledger still remembers.
fn receipts(
    ledger: &Ledger,
    decided: &[Decided],
    chain: &Chain,
    verifier: &SimVerifier,
) -> Vec<TransactionProof> {
    let mut proofs = Vec::new();
    for pair in decided.windows(2) {
        let [block, next] = pair else { continue };
        let transactions = block.block.body.transactions.iter();
        let receipts: Option<Vec<_>> = transactions
            .map(|bytes| {
                let id = SignedTransaction::decode(bytes.as_slice()).ok()?.id();
                ledger.receipt(&id)
            })
            .collect();
        let Some(receipts) = receipts else { continue };
        for index in 0..receipts.len() as u32 {
            let Some(receipt) = ReceiptProof::new(&receipts, index) else {
                continue;
            };
            let is_lock = matches!(receipt.receipt.outcome, Ok(Outcome::Locked(_)));
            let proof = TransactionProof {
                finality: FinalityProof {
                    header: next.block.header.clone(),
                    certificate: next.certificate.clone(),
                },
                receipt,
            };
            let height = next.block.header.height;
            let table = Arc::clone(chain.table(height));
            let there = chain.at(chain.epoch(height), table);
            let holds = proof.verify(&there, verifier).is_ok();
            if holds && (is_lock || proofs.len() < 6) {
                proofs.push(proof);
            }
        }
    }
    proofs
}

/// The encodings of some values.
pub(crate) fn encoded<T: serde::Serialize>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().map(wire::encode).collect()
}
