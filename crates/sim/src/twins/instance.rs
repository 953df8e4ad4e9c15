//! One instance of a member: honest code, a disk of its own and an application that only remembers.

use super::world::ROUND;
use crate::oracle::SigningWatch;
use core::time::Duration;
use polity_consensus::fbpbft::{
    Chain, Config, Decided, Engine, Extent, Halt, Keyring, Machine, NewView, Payload, Record,
    Roots, SealedBlock, StartError, Tip, TransactionBytes, VoteCertificate,
};
use polity_crypto::Sha256Digest;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::{Height, ReplicaId, StateMachine as _, Time, wire};
use std::collections::VecDeque;

/// A request for a proposal that waits until there is something to decide.
#[derive(Clone, Debug)]
pub(super) struct Asked(pub(super) Payload);

/// An instance and what belongs to it alone.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) number: usize,
    pub(super) id: ReplicaId,
    pub(super) engine: Engine<StubSigner, StubVerifier>,
    /// Encoded records, in order.
    pub(super) disk: Vec<Vec<u8>>,
    /// Decided blocks, from height 1 on.
    pub(super) store: Vec<Decided>,
    /// The rounds whose transaction stands in a block, one bit each.
    pub(super) applied: u16,
    /// Digest of all blocks applied, one after the other.
    pub(super) state: Sha256Digest,
    pub(super) asked: Option<Asked>,
    pub(super) halted: Option<Halt>,
    /// Each instance for itself is honest code.
    pub(super) watch: SigningWatch,
}

/// One timeout for all views, and everything that is repeated is repeated once a round.
pub(super) fn config() -> Config {
    Config {
        timeout_base: ROUND,
        timeout_max: ROUND,
        retransmit_after: ROUND,
        status_every: ROUND,
        fetch_timeout: Duration::from_millis(ROUND.as_millis() as u64 / 4),
        ..Config::default()
    }
}

fn signer(id: ReplicaId) -> StubSigner {
    StubSigner::new(u64::from(id.get()))
}

/// Key of a member.
pub(super) fn key(id: ReplicaId) -> polity_crypto::PublicKey {
    use polity_crypto::Signer as _;
    signer(id).public_key().clone()
}

/// The root never changes, so that no block is due only to record it, and a round decides one block
/// and not two. What was applied is compared by the world.
fn tip(chain: &Chain) -> Tip {
    Tip::genesis(chain, Time::ZERO, Sha256Digest::ZERO)
}

impl Instance {
    pub(super) fn new(number: usize, id: ReplicaId, chain: &Chain) -> Result<Self, StartError> {
        let machine = Machine::new(
            config(),
            chain.clone(),
            signer(id),
            StubVerifier,
            tip(chain),
        )?;
        Ok(Self {
            number,
            id,
            engine: Engine::new(machine),
            disk: Vec::new(),
            store: Vec::new(),
            applied: 0,
            state: Sha256Digest::ZERO,
            asked: None,
            halted: None,
            watch: SigningWatch::default(),
        })
    }

    /// Transactions that are due and stand in no block of this instance's chain.
    pub(super) fn waiting(&self, due: u16) -> u16 {
        due & !self.applied
    }

    /// The transactions of the rounds in `waiting`, in this instance's own words: two instances
    /// never propose one block.
    pub(super) fn transactions(&self, waiting: u16) -> Vec<TransactionBytes> {
        (0..16_u8)
            .filter(|round| waiting >> round & 1 == 1)
            .map(|round| TransactionBytes::new(vec![round, self.number as u8, 0]))
            .collect()
    }

    /// The rounds whose transactions stand in a block, if they may stand there.
    fn rounds(block: &SealedBlock) -> Option<u16> {
        let mut rounds = 0_u16;
        for transaction in &block.body().transactions {
            match transaction.as_slice() {
                [round @ 0..16, _, 0] if rounds >> round == 0 => rounds |= 1 << round,
                _ => return None,
            }
        }
        Some(rounds)
    }

    /// Whether a block may follow what was applied.
    pub(super) fn is_valid(&self, block: &SealedBlock, extent: Extent, due: u16) -> bool {
        match (Self::rounds(block), extent) {
            (None, _) => false,
            (Some(_), Extent::Authorisations) => true,
            (Some(rounds), Extent::Whole) => rounds & !self.waiting(due) == 0,
        }
    }

    /// Applies a decided block.
    pub(super) fn apply(&mut self, block: &SealedBlock, certificate: VoteCertificate) -> Roots {
        let chain = self.engine.machine().chain();
        let start = tip(chain).roots;
        self.applied |= Self::rounds(block).unwrap_or(0);
        self.state = polity_crypto::Preimage::new(polity_crypto::domain::TEST)
            .array(self.state.as_bytes())
            .array(block.digest().as_bytes())
            .sha256();
        self.asked = None;
        self.store.push(Decided {
            block: block.block().clone(),
            certificate,
        });
        Roots {
            height: block.header().height,
            ..start
        }
    }

    /// Decided blocks from a height on.
    pub(super) fn served(&self, from: Height, count_max: u64) -> VecDeque<Decided> {
        let skipped = from.get().saturating_sub(1) as usize;
        self.store
            .iter()
            .skip(skipped)
            .take(count_max as usize)
            .cloned()
            .collect()
    }

    /// Every record, as the disk has it.
    pub(super) fn records(&self) -> Result<Vec<Record>, wire::DecodeError> {
        let limit = self.engine.machine().config().message_bytes_max();
        self.disk
            .iter()
            .map(|bytes| wire::decode(bytes, limit))
            .collect()
    }

    /// NEW-VIEWs that this instance sent or accepted at a height.
    pub(super) fn new_views(&self, height: u64) -> Vec<NewView> {
        self.records()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|record| match record {
                Record::NewView(new_view) if new_view.height.get() == height => Some(new_view),
                _ => None,
            })
            .collect()
    }

    /// FB-15: a machine restored from this disk alone, compared with the one that runs.
    pub(super) fn check_disk(&self) -> Result<(), String> {
        let machine = self.engine.machine();
        let records = self.records().map_err(|error| error.to_string())?;
        let mut start = tip(machine.chain());
        if let Some(last) = self.store.last() {
            start.parent = *machine.parent();
            start.certificate = Some(last.certificate.clone());
            start.roots.height = last.block.header.height;
        }
        let restored = Machine::restore(
            config(),
            machine.chain().clone(),
            Keyring::new(self.id, vec![signer(self.id)]),
            StubVerifier,
            start,
            records,
        )
        .map_err(|error| error.to_string())?;
        let place = |machine: &Machine<StubSigner, StubVerifier>| {
            (machine.height(), machine.view(), machine.view_floor())
        };
        if place(&restored) == place(machine) {
            Ok(())
        } else {
            Err(format!(
                "the disk leads to {:?}, the instance is at {:?}",
                place(&restored),
                place(machine)
            ))
        }
    }

    /// When it has to act.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.engine.deadline()
    }
}
