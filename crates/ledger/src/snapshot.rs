//! The whole state as a stream of chunks, and back (LG-13).
//!
//! The stream is canonical: one state has one stream. What is not in it is what both sides know
//! anyway, the genesis, the chain and the height. A restored ledger is handed out only if its
//! recomputed root is the expected one, so a chunk that was changed, dropped, repeated or moved is
//! found out, whoever sent it.
//!
//! ```text
//! head  platforms  accounts by slot  locks by slot  recent ids  offences  committee changes  committee
//! ```

use crate::state::{
    Account, AuthorityKeys, Balance, CHANGES_MAX, COMMITTEE_ROWS_MAX, Entry, Lock, LockState,
    OFFENCES_MAX, PLATFORMS_MAX, PendingChange, Platform, State, Supply, Wide,
};
use crate::{Address, CommitteeChange, Genesis, GenesisError, Ledger, LockId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use polity_crypto::{PublicKey, Sha256Digest};
use polity_types::wire::{self, DecodeError};
use polity_types::{Amount, ChainId, Height, Seed, Time};

/// Largest chunk in bytes.
pub const CHUNK_LENGTH_MAX: usize = 256 * 1024;

/// Room that the count in front of the records takes at most.
const COUNT_LENGTH_MAX: usize = 10;

/// One piece of the state. The variants stand in the order of the stream.
#[derive(serde::Serialize, serde::Deserialize)]
enum Record {
    Head {
        supply: Supply,
        sequence: u64,
    },
    Platform(Platform),
    Account {
        address: Address,
        owner: Sha256Digest,
        total: Amount,
        locked: Amount,
        outgoing: u32,
        incoming: u32,
        flags: u8,
        changed: u64,
    },
    Lock {
        id: LockId,
        from: u32,
        to: u32,
        amount: Amount,
        paid: Amount,
        expires: Time,
        state: LockState,
        settled_at: u64,
        sequence: u64,
    },
    Recent {
        until: Height,
        entry: Entry,
    },
    Offence(Sha256Digest),
    Change(PendingChange),
    Committee(CommitteeChange),
}

impl Record {
    fn rank(&self) -> u8 {
        match self {
            Self::Head { .. } => 0,
            Self::Platform(_) => 1,
            Self::Account { .. } => 2,
            Self::Lock { .. } => 3,
            Self::Recent { .. } => 4,
            Self::Offence(_) => 5,
            Self::Change(_) => 6,
            Self::Committee(_) => 7,
        }
    }
}

/// The chunks of a snapshot, in order.
pub struct Snapshot<'a> {
    records: Box<dyn Iterator<Item = Record> + 'a>,
    /// The record that did not fit into the last chunk, with its length.
    next: Option<(Record, usize)>,
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot(..)")
    }
}

impl Iterator for Snapshot<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        let mut length = COUNT_LENGTH_MAX;
        loop {
            let next = self.next.take().or_else(|| {
                let record = self.records.next()?;
                let length = wire::encode(&record).len();
                Some((record, length))
            });
            match next {
                Some((record, more)) if length + more <= CHUNK_LENGTH_MAX => {
                    length += more;
                    chunk.push(record);
                }
                rest => {
                    self.next = rest;
                    break;
                }
            }
        }
        (!chunk.is_empty()).then(|| wire::encode(&chunk))
    }
}

impl Ledger {
    /// The state after the last block, chunk by chunk.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let state = &self.state;
        let head = Record::Head {
            supply: state.supply,
            sequence: state.locks.sequence,
        };
        let platforms = state.platforms.iter().cloned().map(Record::Platform);
        let accounts = (0..state.accounts.len() as u32).map(|slot| account_record(state, slot));
        let locks = (0..state.locks.len() as u32).map(|slot| lock_record(state, slot));
        let recent = state.recent.iter().map(|(until, entry)| Record::Recent {
            until,
            entry: *entry,
        });
        let offences = state.offences.iter().copied().map(Record::Offence);
        let changes = state.committee_changes.iter().cloned().map(Record::Change);
        let committee = state.committee.iter().cloned().map(Record::Committee);
        let records = core::iter::once(head)
            .chain(platforms)
            .chain(accounts)
            .chain(locks)
            .chain(recent)
            .chain(offences)
            .chain(changes)
            .chain(committee);
        Snapshot {
            records: Box::new(records),
            next: None,
        }
    }
}

fn account_record(state: &State, slot: u32) -> Record {
    let account = state.accounts.get(slot);
    Record::Account {
        address: state.accounts.address(slot),
        owner: account.owner,
        total: Amount::from_units(account.balance.total.get()),
        locked: Amount::from_units(account.balance.locked.get()),
        outgoing: account.balance.outgoing,
        incoming: account.balance.incoming,
        flags: account.flags & Account::SHOWN,
        changed: account.balance.changed,
    }
}

fn lock_record(state: &State, slot: u32) -> Record {
    let lock = state.locks.get(slot);
    Record::Lock {
        id: lock.id,
        from: lock.from,
        to: lock.to,
        amount: Amount::from_units(lock.amount.get()),
        paid: Amount::from_units(lock.paid.get()),
        expires: lock.expires,
        state: lock.state,
        settled_at: lock.settled_at,
        sequence: lock.sequence,
    }
}

/// Why a snapshot is not taken. Ask another peer for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The genesis is none.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The bytes are no chunk.
    #[error("the bytes are no chunk of a snapshot")]
    Decode(#[from] DecodeError),
    /// A chunk without records.
    #[error("a chunk of the snapshot is empty")]
    EmptyChunk,
    /// The stream does not start with its head, or has it twice.
    #[error("the snapshot does not have one head at its start")]
    Head,
    /// A record stands behind one that belongs after it.
    #[error("the records of the snapshot are out of order")]
    Order,
    /// One platform, account, lock, id or offence stands twice.
    #[error("the snapshot has something twice")]
    Duplicate,
    /// More records than the limits of the genesis allow.
    #[error("the snapshot is larger than the genesis allows")]
    TooLarge,
    /// A record names something that is not there, or a value that cannot be.
    #[error("the snapshot contradicts itself")]
    Contradiction,
    /// The state in the snapshot is another one.
    #[error("the snapshot has the state root {found}, not {expected}")]
    Root {
        /// The root that was asked for.
        expected: Sha256Digest,
        /// The root of what came.
        found: Sha256Digest,
    },
}

/// Builds a ledger from the chunks of a snapshot.
pub struct Restore {
    state: State,
    height: Height,
    root: Sha256Digest,
    rank: Option<u8>,
    sequence: u64,
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore")
            .field("height", &self.height)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Restore {
    /// Starts to build the state that has the root `root` after the block at `height`. Both come
    /// from a header that was decided, not from whoever sends the chunks.
    ///
    /// # Errors
    ///
    /// If the genesis is none.
    pub fn new(
        genesis: &Genesis,
        chain: ChainId,
        height: Height,
        root: Sha256Digest,
        index_seed: Seed,
    ) -> Result<Self, SnapshotError> {
        genesis.validate()?;
        let authority = AuthorityKeys {
            keys: genesis
                .authority
                .keys
                .iter()
                .map(PublicKey::fingerprint)
                .collect(),
            threshold: genesis.authority.threshold,
        };
        let nothing = Supply {
            genesis: Amount::ZERO,
            minted: Amount::ZERO,
            burned: Amount::ZERO,
        };
        let parameters = genesis.parameters.clone();
        Ok(Self {
            state: State::new(chain, parameters, authority, nothing, &index_seed),
            height,
            root,
            rank: None,
            sequence: 0,
        })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    ///
    /// If it cannot be part of a snapshot. The attempt is then over.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let records: Vec<Record> = wire::decode(chunk, CHUNK_LENGTH_MAX)?;
        if records.is_empty() {
            return Err(SnapshotError::EmptyChunk);
        }
        records.into_iter().try_for_each(|record| self.take(record))
    }

    /// The ledger, if everything came and has the expected root (LG-13).
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Root`] if the state is another one.
    pub fn finish(mut self) -> Result<Ledger, SnapshotError> {
        self.state.locks.finish(self.sequence);
        let found = self.state.sections().root();
        if found != self.root {
            return Err(SnapshotError::Root {
                expected: self.root,
                found,
            });
        }
        let ledger = Ledger {
            state: self.state,
            height: self.height,
        };
        // The root is the expected one, so this is about the chain itself.
        ledger.audit().map_err(|_| SnapshotError::Contradiction)?;
        Ok(ledger)
    }

    fn take(&mut self, record: Record) -> Result<(), SnapshotError> {
        let rank = record.rank();
        match (self.rank, rank) {
            (None, 0) => {}
            (None, _) | (Some(_), 0) => return Err(SnapshotError::Head),
            (Some(last), rank) if rank < last => return Err(SnapshotError::Order),
            (Some(_), _) => {}
        }
        self.rank = Some(rank);
        match record {
            Record::Head { supply, sequence } => {
                self.state.supply = supply;
                self.sequence = sequence;
                Ok(())
            }
            Record::Platform(platform) => self.take_platform(platform),
            Record::Account {
                address,
                owner,
                total,
                locked,
                outgoing,
                incoming,
                flags,
                changed,
            } => {
                let balance = Balance {
                    total: Wide::new(total.units()),
                    locked: Wide::new(locked.units()),
                    changed,
                    outgoing,
                    incoming,
                };
                self.take_account(&address, owner, flags, balance)
            }
            Record::Lock {
                id,
                from,
                to,
                amount,
                paid,
                expires,
                state,
                settled_at,
                sequence,
            } => self.take_lock(Lock {
                id,
                amount: Wide::new(amount.units()),
                paid: Wide::new(paid.units()),
                expires,
                settled_at,
                sequence,
                from,
                to,
                state,
                is_dirty: false,
            }),
            Record::Recent { until, entry } => self.take_recent(until, entry),
            Record::Offence(evidence) => self.take_offence(evidence),
            Record::Change(change) => self.take_change(change),
            Record::Committee(row) => self.take_committee(row),
        }
    }

    fn take_platform(&mut self, platform: Platform) -> Result<(), SnapshotError> {
        if self.state.platforms.len() >= PLATFORMS_MAX {
            return Err(SnapshotError::TooLarge);
        }
        if self.state.platforms.number(&platform.name).is_some() {
            return Err(SnapshotError::Duplicate);
        }
        self.state.platforms.push(platform);
        Ok(())
    }

    fn take_account(
        &mut self,
        address: &Address,
        owner: Sha256Digest,
        flags: u8,
        balance: Balance,
    ) -> Result<(), SnapshotError> {
        let accounts = &self.state.accounts;
        if !accounts.has_room(self.state.parameters.accounts_max) {
            return Err(SnapshotError::TooLarge);
        }
        if accounts.find(address).is_some() {
            return Err(SnapshotError::Duplicate);
        }
        let platform = self.state.platforms.number_of(address);
        let platform = platform.ok_or(SnapshotError::Contradiction)?;
        self.state
            .accounts
            .push(address, platform, owner, flags, balance);
        Ok(())
    }

    fn take_lock(&mut self, lock: Lock) -> Result<(), SnapshotError> {
        let locks = &self.state.locks;
        if locks.len() >= self.state.parameters.locks_max as usize {
            return Err(SnapshotError::TooLarge);
        }
        if locks.find(&lock.id).is_some() {
            return Err(SnapshotError::Duplicate);
        }
        let accounts = self.state.accounts.len();
        if lock.from as usize >= accounts || lock.to as usize >= accounts {
            return Err(SnapshotError::Contradiction);
        }
        self.state.locks.restore(lock);
        Ok(())
    }

    fn take_recent(&mut self, until: Height, entry: Entry) -> Result<(), SnapshotError> {
        let parameters = &self.state.parameters;
        let block = parameters.transactions_per_block_max as usize;
        let blocks = parameters.validity_horizon as usize + 1;
        if self.state.recent.len() >= block.saturating_mul(blocks) {
            return Err(SnapshotError::TooLarge);
        }
        let latest = self.height.saturating_add(parameters.validity_horizon);
        if until < self.height || until > latest {
            return Err(SnapshotError::Contradiction);
        }
        if self.state.recent.find(&entry.id).is_some() {
            return Err(SnapshotError::Duplicate);
        }
        self.state.recent.push(until, entry);
        Ok(())
    }

    fn take_offence(&mut self, evidence: Sha256Digest) -> Result<(), SnapshotError> {
        if self.state.offences.len() >= OFFENCES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        if self.state.offences.insert(evidence) {
            Ok(())
        } else {
            Err(SnapshotError::Duplicate)
        }
    }

    fn take_change(&mut self, change: PendingChange) -> Result<(), SnapshotError> {
        if self.state.committee_changes.len() >= CHANGES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        self.state.committee_changes.push(change);
        Ok(())
    }

    fn take_committee(&mut self, row: CommitteeChange) -> Result<(), SnapshotError> {
        if self.state.committee.len() >= COMMITTEE_ROWS_MAX {
            return Err(SnapshotError::TooLarge);
        }
        self.state.committee.push(row);
        Ok(())
    }
}
