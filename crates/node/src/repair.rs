//! The part of a repair that needs files and links; what is repaired, and why, is in [`crate::host::repair`].
//!
//! ```text
//! journal              damaged, only read, the node's own until the last step
//! journal.fetched      what a follower without keys decides, from the other members
//! journal.held         what a stopped repair fetched, while the follower verifies it once more
//! journal.repaired     written when it has decided enough
//! journal.damaged-…    the damaged one, kept for the operator
//! ```
//!
//! 1. The follower fetches.
//! 2. `journal.repaired` is written, and durable. It is read back, and has to start a replica.
//! 3. The index is told of it, and takes both for its own from then on.
//! 4. The damaged journal gets a second name.
//! 5. `journal.repaired` is renamed to `journal`.
//!
//! Wherever this stops, `journal` is the damaged one, and the next start goes on with what was fetched, or
//! it is the repaired one. The links that were made stay for the node that starts.

use crate::driver::{Clock, lane, now};
use crate::host::repair::{RepairError, Survey, assemble, check, examine, follower};
use crate::host::{Host, Released};
use crate::journal::{self, DiskFile, Journal, Piece, RECORD_BYTES_MAX, Reader};
use crate::keys::link_secret::LinkSecret;
use crate::meters::Meters;
use crate::node::{NodeError, Prepared, basis, open_store};
use crate::rejoin::{stamp, sync_directory};
use crate::roster;
use crate::transport::{self, Event, Events, Transport};
use polity_consensus::fbpbft::{self, Decided, Message};
use polity_replica::{Effect, Frame, Input, Record};
use polity_types::{Height, ReplicaId, Time, wire};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What the follower decides.
pub(crate) const FETCHED: &str = "journal.fetched";

/// What was fetched before.
pub(crate) const HELD: &str = "journal.held";

/// The journal to be.
pub(crate) const REPAIRED: &str = "journal.repaired";

/// How the names of damaged journals begin.
const DAMAGED: &str = "journal.damaged";

/// Events that are handled before the next flush, at most.
const BATCH_MAX: usize = 64;

/// Blocks that are taken back before the next flush, at most; then it is asked whether to stop.
const TAKE_BACK_BLOCKS_MAX: usize = 256;

/// Bytes of records that are taken back before the next flush, at most: until then their blocks stay in
/// memory.
const TAKE_BACK_BYTES_MAX: usize = 32 << 20;

/// The log says so often how far a repair is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// After so long without a block, and again after each such time, the operator is told.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Links that are up, for the node that starts.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) transport: Arc<Transport>,
    pub(crate) events: Events,
    /// Whom this node can send to.
    pub(crate) up: BTreeSet<ReplicaId>,
}

impl Linked {
    /// Links that were just made.
    pub(crate) fn new(transport: Transport, events: Events) -> Self {
        Self {
            transport: Arc::new(transport),
            events,
            up: BTreeSet::new(),
        }
    }
}

/// What became of a file of blocks that were fetched before.
enum TakenBack {
    /// It was read as far as it holds, and what it holds was decided again.
    Whole,
    /// Nobody is known who could have sent its blocks: it stays for a node that knows more members.
    Unread,
    /// Somebody wants the node to end: it stays for the next start.
    Stopped,
}

/// Tells the thread that works on a repair to stop.
type Stopped = oneshot::Receiver<()>;

/// What a repair works with.
pub(crate) struct Repair {
    prepared: Prepared,
    survey: Survey,
    /// The height that the follower has to decide.
    pub(crate) until: Height,
    pub(crate) follower: Host<DiskFile>,
}

/// Repairs the damaged journal of a data directory. Returns the links if some were made, and nothing if
/// `stop` was done before.
pub(crate) async fn repair(
    prepared: Prepared,
    runtime: &Handle,
    meters: &Meters,
    stop: impl Future<Output = ()>,
) -> Result<Option<(Prepared, Option<Linked>)>, NodeError> {
    tokio::pin!(stop);
    let work = move |stopped: &mut Stopped| Repair::begin(prepared, &mut || is_told(stopped));
    let (Some(mut repair), false) = unless_stopped(stop.as_mut(), work).await? else {
        return Ok(None);
    };
    let (before, until) = (repair.survey.before, repair.until);
    tracing::warn!("{}", repair.survey);
    let mut linked = None;
    if until > before {
        let mut links = repair.link()?;
        let runtime = runtime.clone();
        let work = move |stopped: &mut Stopped| {
            let is_done = repair.follow(&mut links, &runtime, stopped)?;
            Ok((repair, links, is_done))
        };
        let (is_done, is_stopped);
        ((repair, links, is_done), is_stopped) = Box::pin(unless_stopped(stop, work)).await?;
        // Who was told to stop once is not told again.
        if is_stopped || !is_done {
            links.transport.shutdown().await;
            return Ok(None);
        }
        linked = Some(links);
    }
    let lost = repair.survey.lost;
    let (prepared, kept) = blocking(move || repair.finish()).await?;
    meters.records_lost.add(lost);
    meters.heights_repaired.add(until.get() - before.get());
    tracing::warn!(
        records_lost = lost,
        heights = until.get() - before.get(),
        kept = %kept.display(),
        "the journal is repaired, and the damaged one is kept; no vote is lost. Transactions that were promised to clients in its damaged part were sent to all members, so they are lost only if nobody has them any more: clients that still wait should send theirs again"
    );
    Ok(Some((prepared, linked)))
}

impl Repair {
    /// Looks at the journal, and builds the follower if it can be repaired. Returns nothing if
    /// `is_stopped` before what was fetched is taken back.
    pub(crate) fn begin(
        prepared: Prepared,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>, NodeError> {
        let directory = prepared.lock.path();
        let mut journal = Reader::open_in(directory, prepared.chain.id())?;
        let basis = basis(prepared.home())?;
        let (survey, until) = examine(&mut journal, &open_store(prepared.home())?, &basis)?;
        let [held, fetched] = [HELD, FETCHED].map(|name| directory.join(name));
        // If both are there, the second one is not yet all of the first one.
        if !held.exists() && fetched.exists() {
            fs::rename(&fetched, &held).map_err(file_error(&fetched))?;
        }
        let fetched = fresh(&prepared, FETCHED)?;
        let follower = follower(&mut journal, &survey, basis, fetched)?;
        let mut repair = Self {
            prepared,
            survey,
            until,
            follower,
        };
        if held.exists() {
            match repair.take_back(&held, is_stopped)? {
                TakenBack::Whole => fs::remove_file(&held).map_err(file_error(&held))?,
                TakenBack::Unread => {}
                TakenBack::Stopped => return Ok(None),
            }
        }
        Ok(Some(repair))
    }

    /// Verifies what was fetched before as if a member sent it, and goes on from there. What does not hold
    /// is fetched again.
    fn take_back(
        &mut self,
        held: &Path,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> Result<TakenBack, NodeError> {
        let (own, key) = (self.prepared.own, self.prepared.ring.key.public_key());
        let network = &self.prepared.config.network;
        let members = roster::members(own, key, self.follower.replica(), network);
        let Some(from) = members.first().map(|member| member.id) else {
            return Ok(TakenBack::Unread);
        };
        let file = DiskFile::open_for_reading(held).map_err(file_error(held))?;
        // The file only saves time: where it does not hold, it ends.
        let Ok(mut reader) = Reader::open(file, self.prepared.chain.id()) else {
            return Ok(TakenBack::Whole);
        };
        let Ok(mut left) = reader.salvage() else {
            return Ok(TakenBack::Whole);
        };
        let mut blocks = BTreeMap::new();
        let (mut count, mut bytes) = (0, 0);
        if is_stopped() {
            return Ok(TakenBack::Stopped);
        }
        while let Ok(Some(Piece::Record { payload, .. })) = left.read() {
            bytes += payload.len();
            let certificate = match wire::decode(payload, RECORD_BYTES_MAX) {
                Ok(Record::Consensus(fbpbft::Record::Block(block))) => {
                    blocks.insert(block.header.digest(), block);
                    continue;
                }
                Ok(Record::Consensus(fbpbft::Record::Decided(certificate))) => certificate,
                Ok(_) => continue,
                Err(_) => break,
            };
            let tip = self.follower.replica().tip().parent.height;
            let Some(block) = blocks.remove(&certificate.value.digest) else {
                break;
            };
            blocks.clear();
            let message = Message::Decided(Decided { block, certificate });
            self.follower
                .handle(now(), Input::Received { from, message })?;
            if self.follower.replica().tip().parent.height != tip.next() {
                break;
            }
            count += 1;
            if count >= TAKE_BACK_BLOCKS_MAX || bytes >= TAKE_BACK_BYTES_MAX {
                (count, bytes) = (0, 0);
                self.flush_unheard()?;
                if is_stopped() {
                    return Ok(TakenBack::Stopped);
                }
            }
        }
        self.flush_unheard()?;
        let height = self.follower.replica().tip().parent.height;
        tracing::info!(%height, "going on with what was fetched before");
        Ok(TakenBack::Whole)
    }

    /// Flushes what the follower has to say while there are no links yet: nothing of it is sent.
    fn flush_unheard(&mut self) -> Result<(), NodeError> {
        for Released { effect, .. } in self.follower.flush()? {
            if let Effect::Halt(halt) = effect {
                return Err(RepairError::Halt(halt).into());
            }
        }
        Ok(())
    }

    /// Makes links to the members of the height in front of the damage.
    fn link(&self) -> Result<Linked, NodeError> {
        let Prepared {
            config,
            genesis,
            chain,
            own,
            ring,
            link_secret,
            ..
        } = &self.prepared;
        let replica = self.follower.replica();
        let members = roster::members(*own, ring.key.public_key(), replica, &config.network);
        if members.is_empty() {
            return Err(NodeError::NobodyToAsk(self.until));
        }
        let (transport, events) = Transport::start(transport::Config {
            own: *own,
            seed: ring.link(|key| roster::is_known(key, replica)).link_seed(),
            link_secret: link_secret.as_ref().map(LinkSecret::bytes),
            chain: chain.id(),
            members,
            listen: config.network.listen,
            limits: config.transport_limits(genesis),
        })?;
        Ok(Linked::new(transport, events))
    }

    /// Lets the follower catch up. Says whether it did, or was told to stop before.
    fn follow(
        &mut self,
        links: &mut Linked,
        runtime: &Handle,
        stopped: &mut Stopped,
    ) -> Result<bool, NodeError> {
        let mut clock = Clock::default();
        let mut position = roster::position(self.follower.replica());
        let mut said = Instant::now();
        let mut stall = Stall::new(clock.now());
        loop {
            let now = clock.now();
            if self.follower.deadline().is_some_and(|at| at <= now) {
                self.follower.tick(now)?;
            }
            self.release(links)?;
            let replica = self.follower.replica();
            let height = replica.tip().parent.height;
            if height >= self.until {
                return Ok(true);
            }
            if position != roster::position(replica) {
                position = roster::position(replica);
                let (own, key) = (self.prepared.own, self.prepared.ring.key.public_key());
                let network = &self.prepared.config.network;
                let members = roster::members(own, key, replica, network);
                links.transport.set_members(members)?;
            }
            if let Some(silence) = stall.look(now, height) {
                tracing::warn!(
                    linked = links.up.len(),
                    "no member delivered block {} for {} seconds. The repair waits for it: check that members that hold blocks {0} to {} run, and that their addresses in node.toml are right. If nobody holds them any more, stop the node, and restore its data directory from a copy made after it last voted, or give it up with `polity rejoin --force`",
                    height.next(),
                    silence.as_secs(),
                    self.until,
                );
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::info!(%height, until = %self.until, linked = links.up.len(), "repairing the journal");
            }
            let deadline = self.follower.deadline();
            let wait = deadline.map_or(SAY_EVERY, |at| at.saturating_since(now));
            let first = runtime.block_on(async {
                tokio::select! {
                    // If the other end is gone, so is the rest of the node.
                    _ = &mut *stopped => None,
                    event = tokio::time::timeout(wait.min(SAY_EVERY), links.events.recv()) => Some(event),
                }
            });
            let mut batch = match first {
                None | Some(Ok(None)) => return Ok(false),
                Some(Ok(Some(event))) => vec![event],
                Some(Err(_)) => Vec::new(),
            };
            batch.extend(std::iter::from_fn(|| links.events.try_recv()).take(BATCH_MAX));
            for event in batch {
                self.take(event, &mut links.up, clock.now())?;
            }
        }
    }

    fn take(
        &mut self,
        event: Event,
        up: &mut BTreeSet<ReplicaId>,
        now: Time,
    ) -> Result<(), NodeError> {
        match event {
            Event::Frame { from, lane, bytes } => {
                let limits = self
                    .prepared
                    .config
                    .transport_limits(&self.prepared.genesis);
                let limit = limits.lanes[lane as usize].frame_bytes_max;
                match Frame::decode(&bytes, limit) {
                    Ok(Frame::Consensus(message)) => {
                        let received = Input::Received { from, message };
                        self.follower.handle(now, received)?;
                    }
                    // Members send again what waits, and there is no snapshot for them here.
                    Ok(Frame::Transactions(_) | Frame::Sync(_)) => {}
                    Err(error) => {
                        tracing::debug!(peer = %from, lane = lane.name(), %error, "frame dropped");
                    }
                }
            }
            Event::Connected { peer } => {
                tracing::info!(%peer, "linked");
                up.insert(peer);
            }
            Event::Disconnected { peer, reason } => {
                tracing::info!(%peer, reason, "link lost");
                up.remove(&peer);
            }
        }
        Ok(())
    }

    fn release(&mut self, links: &Linked) -> Result<(), NodeError> {
        for Released { effect, .. } in self.follower.flush()? {
            let sent = match effect {
                Effect::Send { to, frame } => {
                    let bytes = frame.encode().into();
                    links.transport.send(to, lane(&frame), bytes)
                }
                Effect::Broadcast(frame) => {
                    let bytes = frame.encode().into();
                    links.transport.broadcast(lane(&frame), &bytes)
                }
                Effect::Halt(halt) => return Err(RepairError::Halt(halt).into()),
                // There is no index to serve blocks from, no client, and evidence is with the others.
                Effect::Persist(_)
                | Effect::Answer { .. }
                | Effect::Committed(_)
                | Effect::ServeDecided { .. }
                | Effect::ServeSync { .. }
                | Effect::Installed(_)
                | Effect::Report(_) => Ok(()),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "a frame cannot be sent");
            }
        }
        Ok(())
    }

    /// Writes the repaired journal and puts it in place. Returns where the damaged one is kept.
    pub(crate) fn finish(self) -> Result<(Prepared, PathBuf), NodeError> {
        let Self {
            prepared,
            survey,
            follower,
            ..
        } = self;
        let until = follower.replica().tip().parent.height;
        drop(follower);
        let directory = prepared.lock.path();
        let chain = prepared.chain.id();
        let [fetched, held, repaired, journal] =
            [FETCHED, HELD, REPAIRED, journal::FILE_NAME].map(|name| directory.join(name));
        let open = |path: &Path| {
            let file = DiskFile::open_for_reading(path).map_err(file_error(path))?;
            Ok::<_, NodeError>(Reader::open(file, chain)?)
        };
        assemble(
            &mut Reader::open_in(directory, chain)?,
            &survey,
            &mut open(&fetched)?,
            until,
            fresh(&prepared, REPAIRED)?,
        )?;
        let mut new = open(&repaired)?;
        check(&mut new, &survey, basis(prepared.home())?)?;
        let identity = new.identity();
        drop(new);
        open_store(prepared.home())?.announce(&identity)?;
        let kept = keep(directory, &journal)?;
        fs::rename(&repaired, &journal).map_err(file_error(&repaired))?;
        sync_directory(directory).map_err(file_error(directory))?;
        // Last: wherever this stops, the next start has what was fetched.
        fs::remove_file(&fetched).map_err(file_error(&fetched))?;
        // There if nobody could read it back, and of no use any more.
        remove(&held)?;
        Ok((prepared, kept))
    }
}

/// Notices that a repair does not get on.
struct Stall {
    height: Height,
    /// When that height was reached.
    since: Time,
    warned: Time,
}

impl Stall {
    fn new(now: Time) -> Self {
        Self {
            height: Height::ZERO,
            since: now,
            warned: now,
        }
    }

    /// How long it has waited for the next block, if it is time to say so.
    fn look(&mut self, now: Time, height: Height) -> Option<Duration> {
        if height > self.height {
            (self.height, self.since, self.warned) = (height, now, now);
        }
        if now.saturating_since(self.warned) < WARN_EVERY {
            return None;
        }
        self.warned = now;
        Some(now.saturating_since(self.since))
    }
}

/// Gives a damaged journal a second name, durably.
fn keep(directory: &Path, journal: &Path) -> Result<PathBuf, NodeError> {
    let name = format!("{DAMAGED}-{}", stamp(now()));
    let mut kept = directory.join(&name);
    let mut number = 1;
    while kept.exists() {
        number += 1;
        kept = directory.join(format!("{name}-{number}"));
    }
    let place = kept.clone();
    let error = file_error(&place);
    if fs::hard_link(journal, &kept).is_err() {
        // Not every file system has second names.
        fs::copy(journal, &kept).map_err(&error)?;
        File::open(&kept)
            .and_then(|file| file.sync_all())
            .map_err(&error)?;
    }
    sync_directory(directory).map_err(&error)?;
    Ok(kept)
}

/// An empty journal of this node in a file of its own, in place of what an interrupted repair left.
fn fresh(prepared: &Prepared, name: &str) -> Result<Journal, NodeError> {
    let path = prepared.lock.path().join(name);
    remove(&path)?;
    let file = DiskFile::open_or_create(&path).map_err(file_error(&path))?;
    let owner = prepared.ring.key.public_key().fingerprint();
    let (journal, _) = Journal::open(file, prepared.chain.id(), &owner, |_, _| {})?;
    Ok(journal)
}

/// Removes a file that may be there.
fn remove(path: &Path) -> Result<(), NodeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> NodeError {
    move |source| NodeError::RepairFile {
        path: path.to_owned(),
        source,
    }
}

fn is_told(stopped: &mut Stopped) -> bool {
    // If the other end is gone, so is the rest of the node.
    !matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// Runs what waits for the disk or for members, and tells it when `stop` is done. Says whether that was so:
/// nobody may wait for `stop` again then.
async fn unless_stopped<T: Send + 'static>(
    stop: Pin<&mut impl Future<Output = ()>>,
    work: impl FnOnce(&mut Stopped) -> Result<T, NodeError> + Send + 'static,
) -> Result<(T, bool), NodeError> {
    let (tell_stop, mut stopped) = oneshot::channel();
    let mut work = tokio::task::spawn_blocking(move || work(&mut stopped));
    let (result, is_stopped) = tokio::select! {
        result = &mut work => (result, false),
        () = stop => {
            tracing::info!("stopping; the journal stays damaged until the next start");
            // It may be done already.
            let _ = tell_stop.send(());
            (work.await, true)
        }
    };
    let value = result.map_err(|_| NodeError::Contradiction)??;
    Ok((value, is_stopped))
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|_| NodeError::Contradiction)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_that_waits_warns_again_and_again() {
        let at = |second: u64| Time::from_millis(second * 1_000);
        let mut stall = Stall::new(at(100));
        let told: Vec<(u64, u64)> = (100..500)
            .filter_map(|second| {
                // One block comes.
                let height = Height::new(u64::from(second >= 250));
                Some((second, stall.look(at(second), height)?.as_secs()))
            })
            .collect();
        let expected = [
            (160, 60),
            (220, 120),
            (310, 60),
            (370, 120),
            (430, 180),
            (490, 240),
        ];
        assert_eq!(told, expected);
    }
}
