//! What is counted about peers, for metrics.

use super::Lane;
use polity_types::ReplicaId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Everything that was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By peer.
    pub peers: BTreeMap<ReplicaId, PeerCounters>,
    /// Connections that were not let in, or not entered.
    pub refusals: Refusals,
}

/// What was counted about one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Whether this node can send to the peer now.
    pub is_connected: bool,
    /// Whether the peer can send to this node now.
    pub is_connected_to_us: bool,
    /// By [`Lane`], in the order of [`Lane::ALL`].
    pub lanes: [LaneCounters; 4],
    /// Links to the peer that were established.
    pub connects: u64,
    /// Links to the peer that broke.
    pub disconnects: u64,
    /// Attempts to dial the peer that failed.
    pub dial_failures: u64,
    /// Frames of the peer that were longer than their lane takes.
    pub oversized: u64,
    /// Frames of the peer whose authenticator did not hold (tier 1).
    pub forged: u64,
    /// Connections of the peer that were closed because it broke the rules.
    pub cut_off: u64,
    /// Connections of the peer that were refused during a penalty.
    pub refused_in_penalty: u64,
    /// Smoothed round trip of the link to the peer, in microseconds; 0 without a link.
    pub round_trip_us: u64,
}

/// What was counted about one lane of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Frames handed to the network.
    pub frames_out: u64,
    /// Bytes of frames handed to the network.
    pub bytes_out: u64,
    /// Frames that fell out of a full queue.
    pub dropped: u64,
    /// Frames that wait to be sent.
    pub waiting_frames: u64,
    /// Bytes of frames that wait to be sent.
    pub waiting_bytes: u64,
}

/// Handshakes that failed, by reason. Both ends count theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Somebody dialled us with a key that no member has.
    pub strangers: u64,
    /// We dialled a member and met another key.
    pub wrong_key: u64,
    /// The other end names another chain or another protocol.
    pub other_chain: u64,
    /// The other end lacks what links need: X25519MLKEM768 or a raw public key.
    pub incompatible: u64,
    /// Too many handshakes were in progress.
    pub busy: u64,
    /// The member we dialled does not accept our key.
    pub refused_by_peer: u64,
    /// One end did not prove that it holds the secret of the links (tier 1).
    pub link_secret: u64,
    /// Everything else: timeouts, damaged packets, other versions.
    pub other: u64,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn add(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed) + count
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct LaneMeters {
    pub(super) frames_in: Meter,
    pub(super) bytes_in: Meter,
    pub(super) frames_out: Meter,
    pub(super) bytes_out: Meter,
    pub(super) dropped: Meter,
}

#[derive(Debug, Default)]
pub(super) struct PeerMeters {
    lanes: [LaneMeters; 4],
    pub(super) is_connected: AtomicBool,
    pub(super) is_connected_to_us: AtomicBool,
    pub(super) connects: Meter,
    pub(super) disconnects: Meter,
    pub(super) dial_failures: Meter,
    pub(super) oversized: Meter,
    pub(super) forged: Meter,
    pub(super) cut_off: Meter,
    pub(super) refused_in_penalty: Meter,
    pub(super) round_trip_us: AtomicU64,
}

impl PeerMeters {
    pub(super) fn lane(&self, lane: Lane) -> &LaneMeters {
        &self.lanes[lane.index()]
    }

    /// Queue lengths stay zero: they are known elsewhere.
    pub(super) fn read(&self) -> PeerCounters {
        PeerCounters {
            is_connected: self.is_connected.load(Ordering::Relaxed),
            is_connected_to_us: self.is_connected_to_us.load(Ordering::Relaxed),
            lanes: Lane::ALL.map(|lane| {
                let meters = self.lane(lane);
                LaneCounters {
                    frames_in: meters.frames_in.read(),
                    bytes_in: meters.bytes_in.read(),
                    frames_out: meters.frames_out.read(),
                    bytes_out: meters.bytes_out.read(),
                    dropped: meters.dropped.read(),
                    waiting_frames: 0,
                    waiting_bytes: 0,
                }
            }),
            connects: self.connects.read(),
            disconnects: self.disconnects.read(),
            dial_failures: self.dial_failures.read(),
            oversized: self.oversized.read(),
            forged: self.forged.read(),
            cut_off: self.cut_off.read(),
            refused_in_penalty: self.refused_in_penalty.read(),
            round_trip_us: self.round_trip_us.load(Ordering::Relaxed),
        }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Stranger,
    WrongKey,
    OtherChain,
    Incompatible,
    Busy,
    RefusedByPeer,
    LinkSecret,
    Other,
}

impl Refusal {
    /// For the log, with what to do where there is something to do.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Stranger => "the key belongs to no member",
            Self::WrongKey => {
                "the node at this address has another key than the member table says; check address and key"
            }
            Self::OtherChain => {
                "the other end follows another chain; check that both have the same genesis, `tiers.links` included"
            }
            Self::Incompatible => "the other end offers no X25519MLKEM768 or no raw public key",
            Self::Busy => "too many handshakes are in progress",
            Self::RefusedByPeer => {
                "the member refused our key; this node may not be in the committee any more, or not yet, or with another key (`polity committee show`)"
            }
            Self::LinkSecret => {
                "the two nodes do not hold the same secret of links; compare `link-secret` in their data directories"
            }
            Self::Other => "the handshake failed",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct RefusalMeters {
    strangers: Meter,
    wrong_key: Meter,
    other_chain: Meter,
    incompatible: Meter,
    busy: Meter,
    refused_by_peer: Meter,
    link_secret: Meter,
    other: Meter,
}

impl RefusalMeters {
    /// Counts, and says how many there were of this kind.
    pub(super) fn count(&self, refusal: Refusal) -> u64 {
        match refusal {
            Refusal::Stranger => &self.strangers,
            Refusal::WrongKey => &self.wrong_key,
            Refusal::OtherChain => &self.other_chain,
            Refusal::Incompatible => &self.incompatible,
            Refusal::Busy => &self.busy,
            Refusal::RefusedByPeer => &self.refused_by_peer,
            Refusal::LinkSecret => &self.link_secret,
            Refusal::Other => &self.other,
        }
        .add(1)
    }

    pub(super) fn read(&self) -> Refusals {
        Refusals {
            strangers: self.strangers.read(),
            wrong_key: self.wrong_key.read(),
            other_chain: self.other_chain.read(),
            incompatible: self.incompatible.read(),
            busy: self.busy.read(),
            refused_by_peer: self.refused_by_peer.read(),
            link_secret: self.link_secret.read(),
            other: self.other.read(),
        }
    }
}

/// Whether the `count`-th event of a kind is logged: the first ones, then ever fewer, so that a
/// stranger cannot fill the disk with log lines.
pub(super) const fn is_logged(count: u64) -> bool {
    count.is_power_of_two()
}
