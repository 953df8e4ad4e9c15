//! The simulated network: what becomes of a frame on its way.
//!
//! Links are directed and lose, delay, duplicate and reorder what they carry, or are cut. A filter
//! may look into a frame before it leaves and drop, delay or hold it: named schedules are written
//! that way.

use crate::moment::Moment;
use core::fmt;
use core::time::Duration;
use polity_consensus::fbpbft::{Message, VoteKind};
use polity_replica::Frame;
use polity_replica::sync::SyncMessage;
use polity_types::{Height, ReplicaId, Stream, View};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How links behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Shortest time a frame travels.
    pub latency: Duration,
    /// A frame travels up to this much longer.
    pub jitter: Duration,
    /// Frames lost, of a million.
    pub loss_per_million: u32,
    /// Frames that arrive twice, of a million.
    pub duplicate_per_million: u32,
    /// Frames of which one bit arrives as another one, of a million.
    pub corrupt_per_million: u32,
    /// Whether frames of one link arrive in the order in which they left.
    pub is_ordered: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss_per_million: 0,
            duplicate_per_million: 0,
            corrupt_per_million: 0,
            is_ordered: true,
        }
    }
}

impl Link {
    /// A link whose frames travel between these times, in any order.
    pub fn reordering(latency: Duration, jitter: Duration) -> Self {
        Self {
            latency,
            jitter,
            is_ordered: false,
            ..Self::default()
        }
    }

    /// The same link, which loses this many frames of a million.
    #[must_use]
    pub fn losing(self, loss_per_million: u32) -> Self {
        Self {
            loss_per_million,
            ..self
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {} ms{}, {} lost, {} doubled and {} corrupted of a million",
            self.latency.as_millis(),
            (self.latency + self.jitter).as_millis(),
            if self.is_ordered { "" } else { " in any order" },
            self.loss_per_million,
            self.duplicate_per_million,
            self.corrupt_per_million
        )
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// PRE-PREPARE with its block.
    Proposal,
    /// PREPARE.
    Prepare,
    /// COMMIT.
    Commit,
    /// VIEW-CHANGE.
    ViewChange,
    /// NEW-VIEW with its block.
    NewView,
    /// STATUS.
    Status,
    /// Asks for decided blocks.
    FetchDecided,
    /// A decided block.
    Decided,
    /// Asks for an undecided block.
    FetchBlock,
    /// An undecided block.
    Block,
    /// Proof of an offence.
    Evidence,
    /// Transactions.
    Transactions,
    /// Asks for a part of a snapshot.
    SyncRequest,
    /// A part of a snapshot.
    SyncAnswer,
}

impl Kind {
    /// The kind of a frame.
    pub fn of(frame: &Frame) -> Self {
        let message = match frame {
            Frame::Transactions(_) => return Self::Transactions,
            Frame::Sync(SyncMessage::Request(_)) => return Self::SyncRequest,
            Frame::Sync(SyncMessage::Answer(_)) => return Self::SyncAnswer,
            Frame::Consensus(message) => message,
        };
        match message {
            Message::Proposal(_) => Self::Proposal,
            Message::Vote(vote) => match vote.kind {
                VoteKind::Prepare => Self::Prepare,
                VoteKind::Commit => Self::Commit,
            },
            Message::ViewChange(_) => Self::ViewChange,
            Message::NewView(_) => Self::NewView,
            Message::Status(_) => Self::Status,
            Message::FetchDecided { .. } => Self::FetchDecided,
            Message::Decided(_) => Self::Decided,
            Message::FetchBlock { .. } => Self::FetchBlock,
            Message::Block(_) => Self::Block,
            Message::Evidence(_) => Self::Evidence,
        }
    }

    /// Whether frames of this kind decide a block in the normal case (FB-7).
    pub fn is_normal_case(self) -> bool {
        matches!(self, Self::Proposal | Self::Prepare | Self::Commit)
    }
}

/// A frame on its way, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it leaves.
    pub at: Moment,
    /// Who sends it.
    pub from: ReplicaId,
    /// Whom it is for.
    pub to: ReplicaId,
    /// What it is.
    pub frame: &'a Frame,
}

impl Packet<'_> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        Kind::of(self.frame)
    }

    /// The height that it is about; 0 for transactions.
    pub fn height(&self) -> u64 {
        position(self.frame).0.get()
    }

    /// The view that it is about; 0 where there is none.
    pub fn view(&self) -> u64 {
        position(self.frame).1.get()
    }
}

/// Height and view that a frame is about.
pub(crate) fn position(frame: &Frame) -> (Height, View) {
    let message = match frame {
        Frame::Transactions(_) | Frame::Sync(_) => return (Height::ZERO, View::ZERO),
        Frame::Consensus(message) => message,
    };
    match message {
        Message::Proposal(proposal) => (proposal.pre_prepare.height, proposal.pre_prepare.view),
        Message::Vote(vote) => (vote.height, vote.view),
        Message::ViewChange(view_change) => (view_change.height, view_change.view),
        Message::NewView(proposal) => (proposal.new_view.height, proposal.new_view.view),
        Message::Status(status) => (status.height, status.view),
        Message::FetchDecided { from } => (*from, View::ZERO),
        Message::Decided(decided) => (decided.certificate.height, decided.certificate.view),
        Message::FetchBlock { height, .. } => (*height, View::ZERO),
        Message::Block(block) => (block.header.height, block.header.view),
        Message::Evidence(evidence) => evidence.position(),
    }
}

/// What a filter decides about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes its way.
    Pass,
    /// It is lost.
    Drop,
    /// It travels this much longer, past others.
    Delay(Duration),
    /// It waits until [`World::release`](crate::World::release).
    Hold,
}

type Filter = Box<dyn FnMut(&Packet<'_>) -> Fate>;

/// A frame that waits for its release.
#[derive(Clone, Debug)]
struct Held {
    from: ReplicaId,
    to: ReplicaId,
    bytes: Rc<[u8]>,
}

/// A frame that will arrive.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Moment,
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) bytes: Rc<[u8]>,
    /// It is not what was sent.
    pub(crate) is_corrupted: bool,
}

/// The network.
pub(crate) struct Network {
    link: Link,
    /// Cut directions, and how many faults cut them.
    cut: BTreeMap<(ReplicaId, ReplicaId), u32>,
    /// Clogged directions, and how many faults clog them: frames get stuck there.
    clogged: BTreeMap<(ReplicaId, ReplicaId), u32>,
    filter: Option<Filter>,
    held: Vec<Held>,
    stuck: Vec<Held>,
    /// When the last frame of an ordered link arrives.
    last: BTreeMap<(ReplicaId, ReplicaId), Moment>,
    random: Stream,
    sent: BTreeMap<Kind, Traffic>,
    mishaps: Mishaps,
}

/// Frames that were sent, lost ones included, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// What the weather did to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mishaps {
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames that arrived with another bit.
    pub corrupted: u64,
    /// Frames that arrived before one that left earlier on their link.
    pub overtaken: u64,
    /// Frames lost on cut links.
    pub cut: u64,
    /// Frames that got stuck on clogged links.
    pub clogged: u64,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("link", &self.link)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl Network {
    pub(crate) fn new(link: Link, random: Stream) -> Self {
        Self {
            link,
            cut: BTreeMap::new(),
            clogged: BTreeMap::new(),
            filter: None,
            held: Vec::new(),
            stuck: Vec::new(),
            last: BTreeMap::new(),
            random,
            sent: BTreeMap::new(),
            mishaps: Mishaps::default(),
        }
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    pub(crate) fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
    }

    /// Cuts one direction of a link.
    pub(crate) fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        *self.cut.entry((from, to)).or_default() += 1;
    }

    /// Takes back one cut of one direction.
    pub(crate) fn uncut(&mut self, from: ReplicaId, to: ReplicaId) {
        release_one(&mut self.cut, (from, to));
    }

    /// Mends every cut.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    /// Frames in this direction get stuck from now on.
    pub(crate) fn clog(&mut self, from: ReplicaId, to: ReplicaId) {
        *self.clogged.entry((from, to)).or_default() += 1;
    }

    /// Takes back one clog. Returns what was stuck, if it was the last.
    pub(crate) fn unclog(&mut self, now: Moment, from: ReplicaId, to: ReplicaId) -> Vec<Arrival> {
        release_one(&mut self.clogged, (from, to));
        self.drain(now)
    }

    /// Takes back every clog, and returns what was stuck.
    pub(crate) fn unclog_all(&mut self, now: Moment) -> Vec<Arrival> {
        self.clogged.clear();
        self.drain(now)
    }

    fn drain(&mut self, now: Moment) -> Vec<Arrival> {
        let clogged = &self.clogged;
        let (stuck, free) = core::mem::take(&mut self.stuck)
            .into_iter()
            .partition(|frame| clogged.contains_key(&(frame.from, frame.to)));
        self.stuck = stuck;
        self.deliver(now, free)
    }

    /// What the weather did so far.
    pub(crate) fn mishaps(&self) -> Mishaps {
        self.mishaps
    }

    /// What was sent of each kind.
    pub(crate) fn sent(&self) -> &BTreeMap<Kind, Traffic> {
        &self.sent
    }

    /// Sends a frame. Returns its arrivals: none if it is lost or held, two if it is duplicated.
    pub(crate) fn send(&mut self, packet: &Packet<'_>, bytes: &Rc<[u8]>) -> Vec<Arrival> {
        let sent = self.sent.entry(packet.kind()).or_default();
        sent.frames += 1;
        sent.bytes += bytes.len() as u64;
        if self.cut.contains_key(&(packet.from, packet.to)) {
            self.mishaps.cut += 1;
            return Vec::new();
        }
        if self.clogged.contains_key(&(packet.from, packet.to)) {
            self.mishaps.clogged += 1;
            self.stuck.push(Held {
                from: packet.from,
                to: packet.to,
                bytes: bytes.clone(),
            });
            return Vec::new();
        }
        let fate = match &mut self.filter {
            Some(filter) => filter(packet),
            None => Fate::Pass,
        };
        let (from, to) = (packet.from, packet.to);
        let mut arrivals = Vec::new();
        match fate {
            Fate::Drop => {}
            Fate::Hold => self.held.push(Held {
                from,
                to,
                bytes: bytes.clone(),
            }),
            Fate::Delay(longer) => {
                let at = packet.at.after(self.link.latency).after(longer);
                arrivals.push(arrival(at, from, to, bytes));
            }
            Fate::Pass => {
                let link = self.link;
                if self.happens(link.loss_per_million) {
                    self.mishaps.lost += 1;
                } else {
                    let at = self.arrival_time(packet.at, from, to);
                    arrivals.push(self.carry(arrival(at, from, to, bytes)));
                }
                if self.happens(link.duplicate_per_million) {
                    self.mishaps.duplicated += 1;
                    let at = self.arrival_time(packet.at, from, to);
                    arrivals.push(self.carry(arrival(at, from, to, bytes)));
                }
            }
        }
        arrivals
    }

    /// Sends everything that was held.
    pub(crate) fn release(&mut self, now: Moment) -> Vec<Arrival> {
        let held = core::mem::take(&mut self.held);
        self.deliver(now, held)
    }

    fn deliver(&mut self, now: Moment, frames: Vec<Held>) -> Vec<Arrival> {
        frames
            .into_iter()
            .map(|frame| {
                let at = self.arrival_time(now, frame.from, frame.to);
                arrival(at, frame.from, frame.to, &frame.bytes)
            })
            .collect()
    }

    /// A frame as it arrives.
    fn carry(&mut self, arrival: Arrival) -> Arrival {
        if arrival.bytes.is_empty() || !self.happens(self.link.corrupt_per_million) {
            return arrival;
        }
        self.mishaps.corrupted += 1;
        let mut changed = arrival.bytes.to_vec();
        let place = self.random.below(changed.len() as u64) as usize;
        changed[place] ^= 1 << self.random.below(8);
        Arrival {
            bytes: Rc::from(changed),
            is_corrupted: true,
            ..arrival
        }
    }

    fn happens(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.random.chance(per_million)
    }

    fn arrival_time(&mut self, now: Moment, from: ReplicaId, to: ReplicaId) -> Moment {
        let jitter = u64::try_from(self.link.jitter.as_micros()).unwrap_or(u64::MAX);
        let extra = match jitter {
            0 => 0,
            jitter => self.random.below(jitter.saturating_add(1)),
        };
        let at = now
            .after(self.link.latency)
            .after(Duration::from_micros(extra));
        let last = self.last.entry((from, to)).or_default();
        if !self.link.is_ordered {
            self.mishaps.overtaken += u64::from(at < *last);
            *last = at.max(*last);
            return at;
        }
        *last = at.max(*last);
        *last
    }
}

fn release_one(
    faults: &mut BTreeMap<(ReplicaId, ReplicaId), u32>,
    direction: (ReplicaId, ReplicaId),
) {
    if let Some(count) = faults.get_mut(&direction) {
        *count -= 1;
        if *count == 0 {
            faults.remove(&direction);
        }
    }
}

fn arrival(at: Moment, from: ReplicaId, to: ReplicaId, bytes: &Rc<[u8]>) -> Arrival {
    Arrival {
        at,
        from,
        to,
        bytes: bytes.clone(),
        is_corrupted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_types::Seed;

    fn send(network: &mut Network, at: u64) -> Vec<Moment> {
        let frame = Frame::Transactions(Vec::new());
        let packet = Packet {
            at: Moment::from_millis(at),
            from: ReplicaId::new(0),
            to: ReplicaId::new(1),
            frame: &frame,
        };
        let arrivals = network.send(&packet, &Rc::from([].as_slice()));
        arrivals.into_iter().map(|arrival| arrival.at).collect()
    }

    fn network(link: Link) -> Network {
        Network::new(link, Seed::from_number(3).stream())
    }

    #[test]
    fn ordered_links_never_overtake_and_others_do() {
        let link = Link::reordering(Duration::from_millis(1), Duration::from_millis(50));
        let arrivals = |link| -> Vec<Moment> {
            let mut network = network(link);
            (0..200).flat_map(|at| send(&mut network, at)).collect()
        };
        let reordered = arrivals(link);
        assert!(!reordered.is_sorted());
        let ordered = arrivals(Link {
            is_ordered: true,
            ..link
        });
        assert!(ordered.is_sorted());
    }

    #[test]
    fn frames_are_lost_and_doubled_as_often_as_asked() {
        let mut network = network(Link {
            loss_per_million: 100_000,
            duplicate_per_million: 50_000,
            ..Link::default()
        });
        let arrived: usize = (0..10_000).map(|at| send(&mut network, at).len()).sum();
        assert!((9_300..9_700).contains(&arrived), "{arrived}");
        assert_eq!(network.sent()[&Kind::Transactions].frames, 10_000);
    }

    #[test]
    fn clogged_links_keep_what_they_carry_until_the_last_clog_is_gone() {
        let mut network = network(Link::default());
        let (from, to) = (ReplicaId::new(0), ReplicaId::new(1));
        network.clog(from, to);
        network.clog(from, to);
        assert_eq!(send(&mut network, 0), []);
        let at = Moment::from_millis(50);
        assert!(network.unclog(at, from, to).is_empty());
        assert_eq!(network.unclog(at, from, to).len(), 1);
        assert_eq!(send(&mut network, 60), [Moment::from_millis(70)]);
        assert_eq!(network.mishaps().clogged, 1);
    }

    #[test]
    fn corruption_changes_one_bit() {
        let mut network = network(Link {
            corrupt_per_million: 1_000_000,
            ..Link::default()
        });
        let frame = Frame::Transactions(Vec::new());
        let packet = Packet {
            at: Moment::ZERO,
            from: ReplicaId::new(0),
            to: ReplicaId::new(1),
            frame: &frame,
        };
        let sent: Rc<[u8]> = Rc::from([7; 40].as_slice());
        let arrived = network.send(&packet, &sent);
        let changed: u32 = sent
            .iter()
            .zip(&*arrived[0].bytes)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert_eq!(changed, 1);
    }

    #[test]
    fn cut_links_and_filters_stop_one_direction() {
        let mut network = network(Link::default());
        network.cut(ReplicaId::new(1), ReplicaId::new(0));
        assert_eq!(send(&mut network, 0), [Moment::from_millis(10)]);
        network.cut(ReplicaId::new(0), ReplicaId::new(1));
        assert_eq!(send(&mut network, 0), []);
        network.mend();
        network.set_filter(Some(Box::new(|packet| match packet.at.as_micros() {
            0 => Fate::Hold,
            1_000 => Fate::Delay(Duration::from_millis(5)),
            _ => Fate::Drop,
        })));
        assert_eq!(send(&mut network, 0), []);
        assert_eq!(send(&mut network, 1), [Moment::from_millis(16)]);
        assert_eq!(send(&mut network, 2), []);
        let released = network.release(Moment::from_millis(100));
        assert_eq!(released.len(), 1);
        assert_eq!(released[0].at, Moment::from_millis(110));
        assert!(network.release(Moment::from_millis(200)).is_empty());
    }
}
