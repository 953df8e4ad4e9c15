//! The thread that owns the replica.
//!
//! ```text
//! commands ──▶ handle, handle, tick ──▶ flush ──▶ frames to the transport
//!                                              ├─▶ answers to clients
//!                                              └─▶ blocks, evidence, snapshots to the archive
//! ```
//!
//! Whatever waits is taken as one batch, so that one flush of the disk serves many inputs: the more
//! there is to do, the larger the batches. Questions of clients are answered after the flush, about
//! a state that is durable.

use crate::archive::{Archive, ArchiveError, Task};
use crate::host::{Host, NodeReplica, Released};
use crate::journal::{FileLayer, JournalError};
use crate::keys::watch::Watch;
use crate::meters::{Meters, micros};
use crate::roster::Roster;
use crate::serve::Request;
use crate::transport::{Lane, Transport};
use polity_consensus::fbpbft::{Halt, Header, TransactionBytes, VoteCertificate};
use polity_crypto::Verified;
use polity_ledger::{SignedTransaction, TransactionId};
use polity_replica::sync::SyncRecord;
use polity_replica::{Admission, Effect, Frame, Input, Record, Refusal};
use polity_types::{Height, ReplicaId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Commands that wait for the driver, at most.
pub const COMMANDS_MAX: usize = 4_096;

/// Commands in one batch, at most: a flush must not wait for ever.
const BATCH_MAX: usize = 512;

/// Bytes of transactions in one frame, at most; the lane takes a little more.
const FRAME_TRANSACTION_BYTES: usize = 192 << 10;

/// A question about the replica; it sends its answer itself.
pub type Question = Box<dyn FnOnce(&mut View<'_>) + Send>;

/// What questions are about.
pub struct View<'a> {
    /// The replica.
    pub replica: &'a mut NodeReplica,
    /// Header and certificate of the last block.
    pub last: Option<&'a (Header, VoteCertificate)>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("View(..)")
    }
}

/// What became of a transaction that a client submitted.
pub type Submitted = Result<Admission, Refusal>;

/// Where the results of one request go: one for each transaction, in order.
pub type SubmitReply = oneshot::Sender<Vec<Submitted>>;

/// What the driver is told.
pub enum Command {
    /// A fact for the replica.
    Fact {
        /// The fact.
        input: Input,
        /// Its share of what may wait, given back when it is handled.
        budget: Option<OwnedSemaphorePermit>,
    },
    /// Transactions of a client, with signatures that hold.
    Submit {
        /// The transactions.
        transactions: Vec<Verified<SignedTransaction>>,
        /// Where the results go.
        reply: SubmitReply,
        /// Their share of what may wait, given back when they are handled.
        budget: Option<OwnedSemaphorePermit>,
    },
    /// A question.
    Ask(Question),
    /// Stop when everything before is done.
    Stop,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fact { .. } => "Fact(..)",
            Self::Submit { .. } => "Submit(..)",
            Self::Ask(_) => "Ask(..)",
            Self::Stop => "Stop",
        })
    }
}

/// Why the driver stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The replica must not go on.
    #[error("{0}")]
    Halt(Halt),
}

/// Everything the driver works with.
#[derive(Debug)]
pub struct Driver<F> {
    /// The replica with its journal.
    pub host: Host<F>,
    /// The links.
    pub transport: Arc<Transport>,
    /// Keeps them in step with the committees.
    pub roster: Roster,
    /// Where blocks go.
    pub archive: Archive,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Header and certificate of the last block, unless a snapshot took the place of later ones.
    pub last: Option<(Header, VoteCertificate)>,
    /// The height of the snapshot that is being fetched.
    pub syncing: Option<Height>,
    /// A snapshot is taken every so many blocks.
    pub snapshot_every: u64,
    /// When the keys of this node end.
    pub watch: Watch,
    /// Requests whose results are not complete.
    pub submissions: Submissions,
    /// The time.
    pub clock: Clock,
}

/// Requests whose results are not complete.
#[derive(Debug, Default)]
pub struct Submissions {
    next: u64,
    open: BTreeMap<u64, Submission>,
    /// Which request waits for the answer about a transaction, in the order of the answers.
    by_id: BTreeMap<TransactionId, VecDeque<(u64, usize)>>,
}

#[derive(Debug)]
struct Submission {
    results: Vec<Option<Submitted>>,
    missing: usize,
    reply: SubmitReply,
}

/// The time of the replica: milliseconds since the Unix epoch.
pub fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The clock of one driver. It follows the system's clock and never runs backwards: when that one
/// was set back, time goes on from where it was until the system's clock has caught up, so deadlines
/// still come.
#[derive(Debug)]
pub struct Clock {
    /// The last answer.
    last: Time,
    /// The last answer that came from the system's clock, and when it did.
    system: (Time, Instant),
}

impl Default for Clock {
    fn default() -> Self {
        let start = now();
        Self {
            last: start,
            system: (start, Instant::now()),
        }
    }
}

impl Clock {
    /// The time.
    pub fn now(&mut self) -> Time {
        self.advance(now(), Instant::now())
    }

    /// The time when the system's clock says `system`, at the moment `at`.
    fn advance(&mut self, system: Time, at: Instant) -> Time {
        if system >= self.last {
            self.system = (system, at);
            self.last = system;
        } else {
            let (time, since) = self.system;
            let elapsed = at.saturating_duration_since(since);
            self.last = self.last.max(time.saturating_add(elapsed));
        }
        self.last
    }
}

impl<F: FileLayer> Driver<F> {
    /// The time, and what it does to the keys: one that ended signs nothing from here on (CR-7).
    fn time(&mut self) -> Time {
        let now = self.clock.now();
        if self.watch.is_due(now) {
            let look = self.watch.look(now);
            let ends = look.ends.map_or(0, |ends| ends.as_millis() / 1_000);
            self.meters.key_ends.set(ends);
            if look.ended > 0 {
                self.meters.keys_ended.add(look.ended as u64);
                self.host.retain_keys(|key| look.good.contains(key));
            }
        }
        now
    }

    /// Runs until it is told to stop or cannot go on. Whatever it released is durable.
    pub fn run(
        mut self,
        runtime: &Handle,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<(), DriverError> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        // The first deadline is due at once and starts the replica.
        let start = self.time();
        self.host.tick(start)?;
        self.release()?;
        loop {
            let now = self.time();
            let wait = self
                .host
                .deadline()
                .map_or(Duration::from_secs(1), |at| at.saturating_since(now));
            let received = runtime.block_on(async {
                tokio::time::timeout(wait, commands.recv_many(&mut batch, BATCH_MAX)).await
            });
            // No sender is left: the rest of the node is gone.
            if matches!(received, Ok(0)) {
                break;
            }
            let start = Instant::now();
            self.meters.batches.add(1);
            self.meters.inputs.add(batch.len() as u64);
            let is_last = self.work(&mut batch)?;
            self.meters.busy_us.add(micros(start.elapsed()));
            if is_last {
                break;
            }
        }
        self.archive.finish()?;
        Ok(())
    }

    /// Handles one batch. Says whether it was the last.
    fn work(&mut self, batch: &mut Vec<Command>) -> Result<bool, DriverError> {
        let mut questions = Vec::new();
        let mut is_last = false;
        for command in batch.drain(..) {
            match command {
                Command::Fact { input, budget } => {
                    let now = self.time();
                    self.host.handle(now, input)?;
                    drop(budget);
                }
                Command::Submit {
                    transactions,
                    reply,
                    budget,
                } => {
                    self.submit(transactions, reply)?;
                    drop(budget);
                }
                Command::Ask(question) => questions.push(question),
                Command::Stop => is_last = true,
            }
        }
        let now = self.time();
        if self.host.deadline().is_some_and(|at| at <= now) {
            self.host.tick(now)?;
        }
        self.release()?;
        self.watch_sync();
        for question in questions {
            let journal_bytes = self.host.journal_bytes();
            question(&mut View {
                replica: self.host.replica_mut(),
                last: self.last.as_ref(),
                journal_bytes,
            });
        }
        Ok(is_last)
    }

    fn submit(
        &mut self,
        transactions: Vec<Verified<SignedTransaction>>,
        reply: SubmitReply,
    ) -> Result<(), DriverError> {
        let number = self.submissions.next;
        self.submissions.next += 1;
        if transactions.is_empty() {
            let _ = reply.send(Vec::new());
            return Ok(());
        }
        for (position, transaction) in transactions.iter().enumerate() {
            let waiting = self.submissions.by_id.entry(transaction.id());
            waiting.or_default().push_back((number, position));
        }
        self.submissions.open.insert(
            number,
            Submission {
                missing: transactions.len(),
                results: vec![None; transactions.len()],
                reply,
            },
        );
        let now = self.time();
        self.host.handle(now, Input::Submitted(transactions))?;
        Ok(())
    }

    /// Makes the batch durable and carries out what waited for it.
    fn release(&mut self) -> Result<(), DriverError> {
        let start = Instant::now();
        let released = self.host.flush()?;
        if !released.is_empty() {
            self.meters.flush(start.elapsed());
        }
        let mut wants_snapshot = false;
        let mut has_committed = false;
        for released in released {
            let Released {
                effect,
                entry,
                snapshot,
            } = released;
            match effect {
                // The host keeps all other records to itself.
                Effect::Persist(Record::Sync(record)) => self.follow_sync(record)?,
                Effect::Persist(_) => {}
                Effect::Send { to, frame } => self.send(Some(to), frame),
                Effect::Broadcast(frame) => self.send(None, frame),
                Effect::Answer { id, result } => self.submissions.answer(&id, result),
                Effect::Committed(committed) => {
                    let header = committed.block.header();
                    self.meters.blocks.add(1);
                    let applied = committed
                        .receipts
                        .iter()
                        .filter(|r| r.outcome.is_ok())
                        .count();
                    self.meters.applied.add(applied as u64);
                    self.meters
                        .refused
                        .add((committed.receipts.len() - applied) as u64);
                    tracing::debug!(
                        height = %header.height,
                        view = %header.view,
                        peer = %header.proposer,
                        transactions = committed.receipts.len(),
                        state_root = %committed.ledger_root,
                        "block committed"
                    );
                    has_committed = true;
                    wants_snapshot |= header.height.get() % self.snapshot_every == 0;
                    wants_snapshot &= snapshot.is_none();
                    self.last = Some((header.clone(), committed.certificate.clone()));
                    self.archive.put(Task::Block {
                        committed: Arc::new(committed),
                        entry,
                    })?;
                    if let Some(snapshot) = snapshot {
                        self.meters.snapshots.add(1);
                        self.archive.put(Task::Snapshot {
                            snapshot,
                            ends_epoch: true,
                        })?;
                    }
                }
                Effect::ServeDecided {
                    to,
                    from,
                    count_max,
                    bytes_max,
                } => {
                    let request = Request::Blocks {
                        from,
                        count_max,
                        bytes_max,
                    };
                    self.archive.serve(to, request);
                }
                Effect::ServeSync { to, request } => {
                    self.archive.serve(to, Request::Sync(request));
                }
                Effect::Installed(installed) => {
                    let height = installed.meta.height;
                    tracing::info!(
                        %height,
                        state_root = %installed.meta.ledger_root,
                        "sync: the snapshot is installed; the blocks before it are not held here"
                    );
                    self.meters.syncs_installed.add(1);
                    has_committed = true;
                    self.last = None;
                    self.archive.put(Task::Installed(height))?;
                    if let Some(snapshot) = snapshot {
                        self.archive.put(Task::Snapshot {
                            snapshot,
                            ends_epoch: true,
                        })?;
                    }
                }
                Effect::Report(evidence) => {
                    let chain = self.host.replica().chain();
                    let accused = evidence.accused(chain);
                    let (height, view) = evidence.position();
                    tracing::warn!(
                        %height, %view, peer = %accused, kind = evidence.kind(),
                        "a member provably broke the rules"
                    );
                    self.meters.evidence.add(1);
                    let id = *evidence.digest(chain).as_bytes();
                    self.archive.put(Task::Evidence {
                        id,
                        bytes: polity_types::wire::encode(&evidence),
                    })?;
                }
                Effect::Halt(halt) => {
                    if matches!(halt, Halt::Diverged { .. }) {
                        // A snapshot may be what led astray; the next start goes without.
                        self.archive.put(Task::ForgetSnapshots)?;
                        self.archive.finish()?;
                    }
                    return Err(DriverError::Halt(halt));
                }
            }
        }
        if has_committed {
            self.roster.follow(self.host.replica());
        }
        if wants_snapshot {
            self.meters.snapshots.add(1);
            let snapshot = self.host.replica_mut().snapshot();
            self.archive.put(Task::Snapshot {
                snapshot: Box::new(snapshot),
                ends_epoch: false,
            })?;
        }
        Ok(())
    }

    /// Tells log and counters what became of a sync beside its records.
    fn watch_sync(&mut self) {
        let replica = self.host.replica();
        let (error, count) = replica.sync_refused();
        let news = count.saturating_sub(self.meters.sync_refused.read());
        self.meters.sync_refused.add(news);
        // The first ones, then ever fewer: whoever lies must not fill the disk with log lines.
        if let Some(error) = error
            && news > 0
            && count.is_power_of_two()
        {
            let excluded: Vec<String> = replica.sync_excluded().map(|id| id.to_string()).collect();
            let excluded = excluded.join(",");
            tracing::warn!(%error, count, excluded, "sync: an answer is of no use");
        }
        let syncing = replica
            .sync_progress()
            .map(|(target, _)| target.meta.height);
        let before = std::mem::replace(&mut self.syncing, syncing);
        if let (Some(height), None) = (before, syncing)
            && height > replica.tip().parent.height
        {
            tracing::warn!(%height, "sync: the snapshot is given up for now");
            self.meters.syncs_failed.add(1);
        }
    }

    /// Tells log, counters and index of a sync. The record is durable.
    fn follow_sync(&mut self, record: SyncRecord) -> Result<(), DriverError> {
        match record {
            SyncRecord::Epoch(end) => {
                tracing::debug!(epoch = %end.last.header.epoch, "sync: the end of an epoch holds");
                self.archive.put(Task::EpochEnd(end))?;
            }
            SyncRecord::Started(target) => {
                let from: Vec<String> = target.vouched.iter().map(ToString::to_string).collect();
                tracing::info!(
                    height = %target.meta.height,
                    chunks = target.chunks,
                    from = from.join(","),
                    "sync: this node is far behind and fetches a snapshot"
                );
                self.meters.syncs_started.add(1);
            }
            SyncRecord::Chunk(_) => self.meters.sync_chunks.add(1),
            // What it means comes with its effect.
            SyncRecord::Installed { .. } => {}
        }
        Ok(())
    }

    fn send(&self, to: Option<ReplicaId>, frame: Frame) {
        for frame in split(frame) {
            let lane = lane(&frame);
            let bytes: Arc<[u8]> = frame.encode().into();
            let result = match to {
                Some(to) => self.transport.send(to, lane, bytes),
                None => self.transport.broadcast(lane, &bytes),
            };
            if let Err(error) = result {
                tracing::warn!(lane = lane.name(), %error, "a frame cannot be sent");
            }
        }
    }
}

impl Submissions {
    fn answer(&mut self, id: &TransactionId, result: Submitted) {
        let Some(waiting) = self.by_id.get_mut(id) else {
            return;
        };
        let place = waiting.pop_front();
        if waiting.is_empty() {
            self.by_id.remove(id);
        }
        let Some((number, position)) = place else {
            return;
        };
        let Some(submission) = self.open.get_mut(&number) else {
            return;
        };
        submission.results[position] = Some(result);
        submission.missing -= 1;
        if submission.missing == 0 {
            self.finish(number);
        }
    }

    fn finish(&mut self, number: u64) {
        if let Some(submission) = self.open.remove(&number) {
            let results = submission.results.into_iter().flatten().collect();
            // The client may have gone.
            let _ = submission.reply.send(results);
        }
    }
}

/// The lane of the transport for a frame.
pub fn lane(frame: &Frame) -> Lane {
    match frame.lane() {
        polity_replica::Lane::Votes => Lane::Votes,
        polity_replica::Lane::Blocks => Lane::Blocks,
        polity_replica::Lane::Transactions => Lane::Transactions,
        polity_replica::Lane::Sync => Lane::Sync,
    }
}

/// Cuts a frame of transactions into frames that their lane takes. Other frames fit by
/// configuration.
fn split(frame: Frame) -> Vec<Frame> {
    let transactions = match frame {
        Frame::Transactions(transactions) => transactions,
        other @ (Frame::Consensus(_) | Frame::Sync(_)) => return vec![other],
    };
    let mut frames = Vec::new();
    let mut current: Vec<TransactionBytes> = Vec::new();
    let mut bytes = 0;
    for transaction in transactions {
        let length = transaction.as_slice().len();
        if bytes + length > FRAME_TRANSACTION_BYTES && !current.is_empty() {
            frames.push(Frame::Transactions(std::mem::take(&mut current)));
            bytes = 0;
        }
        bytes += length;
        current.push(transaction);
    }
    frames.push(Frame::Transactions(current));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_time() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let ms = Time::from_millis;
        let mut clock = Clock {
            last: ms(1_000),
            system: (ms(1_000), start),
        };
        assert_eq!(clock.advance(ms(1_010), after(10)), ms(1_010));
        // An hour back, and time still goes on.
        assert_eq!(clock.advance(ms(0), after(20)), ms(1_020));
        assert_eq!(clock.advance(ms(15), after(35)), ms(1_035));
        // It follows the system's clock again when that has caught up, and not before.
        assert_eq!(clock.advance(ms(1_030), after(40)), ms(1_040));
        assert_eq!(clock.advance(ms(1_050), after(41)), ms(1_050));
        assert_eq!(clock.advance(ms(9_000), after(42)), ms(9_000));
    }

    #[test]
    fn frames_of_transactions_fit_their_lane() {
        let limits = crate::transport::Limits::default();
        let longest = SignedTransaction::LENGTH_MAX;
        let transactions: Vec<TransactionBytes> = (0..40)
            .map(|number: usize| TransactionBytes::new(vec![0; [300, longest][number % 2]]))
            .collect();
        let frames = split(Frame::Transactions(transactions.clone()));
        let mut seen = Vec::new();
        for frame in frames {
            let lane = lane(&frame);
            assert!(frame.encode().len() <= limits.lanes[lane as usize].frame_bytes_max);
            match frame {
                Frame::Transactions(part) => seen.extend(part),
                Frame::Consensus(_) | Frame::Sync(_) => {
                    panic!("transactions became something else")
                }
            }
        }
        assert_eq!(seen, transactions);
    }
}
