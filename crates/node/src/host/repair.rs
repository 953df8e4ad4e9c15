//! Repairing a journal that is damaged in its middle (FB-15).
//!
//! # Why a node may go on
//!
//! A node that forgot a vote could sign the contrary, so what counts is which votes are lost. Records
//! stand in the order of their heights, and each says its sequence, so for every damaged stretch:
//!
//! ```text
//! … Decided(h0) votes of h0+1 │ damage │ a record of h1 … Decided(h1) … votes of the height at hand
//!                             └ lost: heights from h0 to h1, no others
//! ```
//!
//! * If a decision of `h1` stands behind the last damage, every lost record concerns a decided height.
//!   A node signs only for the height above its last decision, and once it holds these decisions again
//!   it never comes back to them. All its votes of heights above `h1` are there. It may go on.
//! * If not, or if the end of the file does not hold either, the lost votes may be those of a
//!   height that is still open. They cannot be fetched: nobody else knows what this key signed. The node
//!   must not vote under it again, see `rejoin`. (Otherwise such an end is an interrupted write, and
//!   nothing in it was spoken. But a disk that damaged one place may have damaged this one, too.)
//!
//! A snapshot that was installed took the place of blocks. If a record of it is lost, or the end of an
//! epoch that leads to it, nobody could start from it or verify it, so the blocks up to its height are
//! fetched instead (FB-19).
//!
//! The decisions themselves are lost with their certificates, and come from the other members: a replica
//! without keys starts from `h0`, verifies and decides as every follower does, and says nothing that a
//! vote could contradict.
//!
//! # How
//!
//! ```text
//! Survey::of     what is lost, and whether that can be repaired
//! follower       a replica without keys, in the state after h0; its journal is a file of its own
//! assemble       intact prefix ‖ heights that the follower decided ‖ intact records above them
//! check          the new journal leads from the genesis to where the damaged one ended
//! ```
//!
//! The damaged file is only read. Promised transactions of every intact stretch stay, in front of the
//! height that was being decided when they were promised; those of damaged stretches are lost here, but
//! had been sent to all members.
//!
//! # Invariants
//!
//! 1. Every intact record of a height above those that the follower decided is in the new journal.
//! 2. A decision that stands in the damaged journal is the one of the new journal, or there is no new
//!    journal.
//! 3. A journal from which no replica starts takes nobody's place.
//! 4. Records of the new journal are durable in small batches, so that later damage to it is noticed.

use super::{Basis, Host, Places, RecoverError};
use crate::journal::{
    Damage, FileLayer, Journal, JournalError, Piece, RECORD_BYTES_MAX, Reader, Salvage,
};
use crate::store::Store;
use polity_consensus::fbpbft::{self, Chain, Halt, Keyring};
use polity_crypto::Sha256Digest;
use polity_replica::sync::SyncRecord;
use polity_replica::{Config, Purpose, Record, RestoreError, Restorer};
use polity_types::{Epoch, Height, wire};
use std::collections::BTreeMap;
use std::fmt;

/// Damaged stretches that are listed, at most; further ones are only counted.
pub const STRETCHES_MAX: usize = 16;

/// Records of the new journal that are made durable with one flush.
const SYNC_EVERY: usize = 256;

/// Why a damaged journal is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The files are not this node's, or cannot be used.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// Votes of an undecided height may be lost.
    #[error("{0}")]
    VotesLost(Survey),
    /// Two decisions for one height.
    #[error(
        "the damaged journal decides block {ours} at height {height}, but the other members delivered block {theirs} with a certificate: either the journal is not this node's, or members above the tolerated weight signed both; nothing was changed, so keep all files and ask the other operators"
    )]
    Contradiction {
        /// Height.
        height: Height,
        /// The block that the journal decides.
        ours: Sha256Digest,
        /// The block that the members delivered.
        theirs: Sha256Digest,
    },
    /// No replica could start from the new journal.
    #[error(
        "the repaired journal would not start ({0}), so the damaged one stays as it is; restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin --force` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    Useless(RestoreError),
    /// The follower must not go on.
    #[error("while the journal was being repaired: {0}")]
    Halt(Halt),
    /// What was fetched cannot be read back.
    #[error("what was fetched to repair the journal does not hold; check the disk and start again")]
    Fetched,
}

impl From<JournalError> for RepairError {
    fn from(error: JournalError) -> Self {
        Self::Recover(error.into())
    }
}

impl From<RestoreError> for RepairError {
    fn from(error: RestoreError) -> Self {
        Self::Recover(error.into())
    }
}

/// Whether the loss can be made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything lost concerns decided heights, at most this one.
    Repairable(Height),
    /// Votes of an undecided height may be lost.
    VotesLost,
    /// The records do not stand in the order of their heights, so nothing can be said about what is
    /// lost.
    Disorder,
}

/// What is left of a damaged journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The damaged stretches, the first [`STRETCHES_MAX`] of them.
    pub stretches: Vec<Damage>,
    /// How many there are.
    pub count: u64,
    /// Records that are lost.
    pub lost: u64,
    /// Bytes at the end that do not hold.
    pub torn_tail_bytes: u64,
    /// The last height decided in front of the first lost record.
    pub before: Height,
    /// The last height decided anywhere.
    pub last: Height,
    /// What follows from that.
    pub verdict: Verdict,
}

impl Survey {
    /// Looks at all that is left of a journal of this chain.
    pub fn of<F: FileLayer>(journal: &mut Reader<F>, chain: &Chain) -> Result<Self, RecoverError> {
        let mut survey = Self {
            stretches: Vec::new(),
            count: 0,
            lost: 0,
            torn_tail_bytes: 0,
            before: Height::ZERO,
            last: Height::ZERO,
            verdict: Verdict::Repairable(Height::ZERO),
        };
        let mut left = journal.salvage()?;
        // The height of the last record, and whether something is lost since.
        let (mut height, mut is_open) = (Height::ZERO, false);
        // The height up to which lost records may be.
        let mut until = Height::ZERO;
        let mut is_ordered = true;
        // The height of the snapshot at hand, if nothing is lost since it was started.
        let mut started = None;
        // The first epoch whose end is not known.
        let mut epoch = Epoch::ZERO;
        while let Some(piece) = left.read()? {
            let (offset, payload) = match piece {
                Piece::Record { offset, payload } => (offset, payload),
                Piece::Damage(damage) => {
                    survey.note(damage);
                    if damage.lost > 0 {
                        (is_open, started) = (true, None);
                    }
                    continue;
                }
            };
            let (at, is_decision) = match decode(offset, payload)? {
                Record::Consensus(record) => {
                    let is_decision = matches!(record, fbpbft::Record::Decided(_));
                    (record.height(), is_decision)
                }
                // From here on the node was at this height, whose state it got without the blocks.
                Record::Sync(SyncRecord::Installed { height }) => {
                    let is_led_to = chain.epoch(height) < epoch;
                    if started.take() != Some(height) || !is_led_to {
                        until = until.max(height);
                    }
                    (height, true)
                }
                Record::Sync(SyncRecord::Started(target)) => {
                    started = Some(target.meta.height);
                    continue;
                }
                Record::Sync(SyncRecord::Epoch(end)) => {
                    if end.last.header.epoch == epoch {
                        epoch = epoch.next();
                    }
                    continue;
                }
                Record::Sync(SyncRecord::Chunk(_)) | Record::Pooled(_) => continue,
            };
            is_ordered &= at >= height && at > survey.last;
            height = at;
            if std::mem::take(&mut is_open) {
                until = until.max(height);
            }
            if is_decision {
                survey.last = height;
                epoch = epoch.max(chain.epoch(height.next()));
                if survey.lost == 0 {
                    survey.before = height;
                }
            }
        }
        survey.torn_tail_bytes = left.torn_tail_bytes();
        let is_end_lost = survey.count > 0 && survey.torn_tail_bytes > 0;
        survey.verdict = if !is_ordered {
            Verdict::Disorder
        } else if is_open || is_end_lost || until > survey.last {
            Verdict::VotesLost
        } else {
            Verdict::Repairable(until.max(survey.before))
        };
        Ok(survey)
    }

    fn note(&mut self, damage: Damage) {
        self.count += 1;
        self.lost += damage.lost;
        if self.stretches.len() < STRETCHES_MAX {
            self.stretches.push(damage);
        }
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the journal is damaged and {} lost,",
            match self.lost {
                1 => "1 record is".to_owned(),
                lost => format!("{lost} records are"),
            }
        )?;
        for (number, stretch) in self.stretches.iter().enumerate() {
            let and = if number > 0 { " and" } else { "" };
            write!(
                f,
                "{and} from byte {} to byte {}",
                stretch.offset, stretch.end
            )?;
        }
        if self.count > self.stretches.len() as u64 {
            write!(f, " and in other places, {} in all", self.count)?;
        }
        if self.torn_tail_bytes > 0 {
            write!(
                f,
                ", and its last {} bytes do not hold",
                self.torn_tail_bytes
            )?;
        }
        match self.verdict {
            Verdict::Repairable(until) if until > self.before => write!(
                f,
                "; all of them concern decided heights: the node repairs its journal when it starts, and fetches heights {} to {until} from the other members",
                self.before.next()
            ),
            Verdict::Repairable(_) => {
                f.write_str("; nothing is missing: the node repairs its journal when it starts")
            }
            Verdict::VotesLost => write!(
                f,
                "; votes of height {} or above may be lost, and a node that forgets may contradict its votes",
                self.last.next()
            ),
            Verdict::Disorder => f.write_str(
                "; the others do not stand in their order, so nobody can say which votes are among them, and a node that forgets may contradict its votes",
            ),
        }?;
        match self.verdict {
            Verdict::Repairable(_) => Ok(()),
            Verdict::VotesLost | Verdict::Disorder => f.write_str(
                "; restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on",
            ),
        }
    }
}

/// Makes sure that a damaged journal is this node's, as new as its index says, and can be repaired.
/// Returns what is lost, and the height up to which decisions are to be fetched.
pub fn examine<F: FileLayer>(
    journal: &mut Reader<F>,
    store: &Store,
    basis: &Basis<'_>,
) -> Result<(Survey, Height), RepairError> {
    journal.check_owner(basis.owners())?;
    let indexed = || {
        store.check_bound(&journal.identity())?;
        let snapshot = store.latest_snapshot()?.map(|snapshot| snapshot.height);
        Ok(store.last_height()?.max(snapshot).unwrap_or(Height::ZERO))
    };
    let indexed = indexed().map_err(RecoverError::Store)?;
    let survey = Survey::of(journal, &basis.chain()?)?;
    // Blocks that are fetched must not hide that the end of the journal is missing.
    if survey.last < indexed {
        let found = survey.last;
        return Err(RecoverError::JournalOlder { found, indexed }.into());
    }
    match survey.verdict {
        Verdict::Repairable(until) => Ok((survey, until)),
        Verdict::VotesLost | Verdict::Disorder => Err(RepairError::VotesLost(survey)),
    }
}

/// A replica without keys in the state before the damage. What it decides goes into `fetched`, a
/// journal of its own. It takes blocks and no snapshot, however many are missing.
pub fn follower<F: FileLayer, G: FileLayer>(
    journal: &mut Reader<F>,
    survey: &Survey,
    basis: Basis<'_>,
    fetched: Journal<G>,
) -> Result<Host<G>, RepairError> {
    let mut restorer = Restorer::new(
        basis.genesis,
        Purpose::Production,
        basis.verifier,
        basis.index_seed,
    )?;
    let mut left = journal.salvage()?;
    while let Some(piece) = left.read()? {
        let (offset, payload) = match piece {
            Piece::Record { offset, payload } => (offset, payload),
            Piece::Damage(damage) if damage.lost == 0 => continue,
            Piece::Damage(_) => break,
        };
        match decode(offset, payload)? {
            // Votes of the height that comes next are words of a key that the follower does not have.
            Record::Consensus(record) if record.height() > survey.before => break,
            record @ (Record::Consensus(_) | Record::Sync(_)) => {
                restorer.record(record)?;
            }
            Record::Pooled(_) => {}
        }
    }
    let keys = Keyring::new(basis.own, Vec::new());
    let config = Config {
        snapshot_after: u64::MAX,
        ..basis.config
    };
    let replica = restorer.finish_with(config, keys)?;
    Ok(Host::new(replica, fetched, Places::default()))
}

/// Writes the repaired journal into `new`, which is empty, and makes it durable. `until` is the last
/// height that the follower decided.
pub fn assemble<F: FileLayer, G: FileLayer, H: FileLayer>(
    journal: &mut Reader<F>,
    survey: &Survey,
    fetched: &mut Reader<G>,
    until: Height,
    new: Journal<H>,
) -> Result<Journal<H>, RepairError> {
    let mut out = Writer {
        journal: new,
        last: None,
        unsynced: 0,
    };
    let mut fetched = Fetched {
        left: fetched.salvage()?,
        height: survey.before,
        digest: Sha256Digest::ZERO,
    };
    let mut left = journal.salvage()?;
    let mut is_intact = true;
    // Whether all records of the snapshot at hand are there, and no fetched block overtakes it.
    let mut is_snapshot_whole = false;
    while let Some(piece) = left.read()? {
        let (offset, payload) = match piece {
            Piece::Record { offset, payload } => (offset, payload),
            Piece::Damage(damage) => {
                if damage.lost > 0 {
                    (is_intact, is_snapshot_whole) = (false, false);
                }
                continue;
            }
        };
        let record = match decode(offset, payload)? {
            Record::Consensus(record) => record,
            Record::Pooled(_) => {
                out.put(payload)?;
                continue;
            }
            Record::Sync(record) => {
                if let SyncRecord::Started(target) = &record {
                    is_snapshot_whole = !is_intact && target.meta.height > until;
                }
                if is_intact || is_snapshot_whole || matches!(record, SyncRecord::Epoch(_)) {
                    if is_snapshot_whole {
                        fetched.copy(until, &mut out)?;
                    }
                    out.put(payload)?;
                }
                continue;
            }
        };
        let height = record.height();
        if is_intact || height > until {
            if !is_intact {
                fetched.copy(until, &mut out)?;
            }
            out.put(payload)?;
        } else if let fbpbft::Record::Decided(certificate) = record {
            fetched.copy(height, &mut out)?;
            let (ours, theirs) = (certificate.value.digest, fetched.digest);
            if ours != theirs {
                return Err(RepairError::Contradiction {
                    height,
                    ours,
                    theirs,
                });
            }
        } else if let Some(below) = height.get().checked_sub(1) {
            // Whatever was promised from here on stands behind the heights below.
            fetched.copy(Height::new(below), &mut out)?;
        }
    }
    fetched.copy(until, &mut out)?;
    out.finish()
}

/// Makes sure that a replica starts from the new journal and gets as far as the damaged one did.
pub fn check<F: FileLayer>(
    new: &mut Reader<F>,
    survey: &Survey,
    basis: Basis<'_>,
) -> Result<(), RepairError> {
    let mut restorer = Restorer::new(
        basis.genesis,
        Purpose::Production,
        basis.verifier,
        basis.index_seed,
    )?;
    let mut failure = None;
    new.scan(|offset, payload| {
        if failure.is_some() {
            return;
        }
        let record = decode(offset, payload).map_err(RepairError::from);
        let taken = record.and_then(|record| {
            let taken = restorer.record(record);
            taken.map_err(RepairError::Useless)
        });
        failure = taken.err();
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (expected, found) = (restorer.height().next(), survey.last);
    if found >= expected {
        return Err(RepairError::Useless(RestoreError::Gap { expected, found }));
    }
    Ok(())
}

/// What the follower decided, in order.
struct Fetched<'f, F> {
    left: Salvage<'f, F>,
    /// The last height that was taken out.
    height: Height,
    /// Its block.
    digest: Sha256Digest,
}

impl<F: FileLayer> Fetched<'_, F> {
    /// Moves blocks and decisions up to a height into the new journal.
    fn copy<H: FileLayer>(
        &mut self,
        until: Height,
        out: &mut Writer<H>,
    ) -> Result<(), RepairError> {
        // Blocks of one height; the follower keeps a few at most.
        let mut blocks: BTreeMap<Sha256Digest, Vec<u8>> = BTreeMap::new();
        while self.height < until {
            let Some(Piece::Record { offset, payload }) = self.left.read()? else {
                return Err(RepairError::Fetched);
            };
            match decode(offset, payload)? {
                Record::Consensus(fbpbft::Record::Block(block)) => {
                    blocks.insert(block.header.digest(), payload.to_vec());
                }
                Record::Consensus(fbpbft::Record::Decided(certificate)) => {
                    let digest = certificate.value.digest;
                    let block = blocks.remove(&digest);
                    let block = block.filter(|_| certificate.height == self.height.next());
                    out.put(&block.ok_or(RepairError::Fetched)?)?;
                    out.put(payload)?;
                    (self.height, self.digest) = (certificate.height, digest);
                    blocks.clear();
                }
                // The views that it passed through concern nobody any more.
                Record::Consensus(_) | Record::Pooled(_) | Record::Sync(_) => {}
            }
        }
        Ok(())
    }
}

/// Writes a journal so that all of it has witnesses.
struct Writer<F> {
    journal: Journal<F>,
    /// Written in a batch of its own at the end: it shows that all others were durable.
    last: Option<Vec<u8>>,
    unsynced: usize,
}

impl<F: FileLayer> Writer<F> {
    fn put(&mut self, payload: &[u8]) -> Result<(), JournalError> {
        if let Some(before) = self.last.replace(payload.to_vec()) {
            self.journal.append(&before)?;
            self.unsynced += 1;
        }
        if self.unsynced >= SYNC_EVERY {
            self.journal.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Journal<F>, RepairError> {
        self.journal.sync()?;
        if let Some(last) = self.last {
            self.journal.append(&last)?;
            self.journal.sync()?;
        }
        Ok(self.journal)
    }
}

fn decode(offset: u64, payload: &[u8]) -> Result<Record, RecoverError> {
    wire::decode(payload, RECORD_BYTES_MAX).map_err(|_| RecoverError::Record { offset })
}
