//! What can be tuned, and what is bounded.

use super::{Lane, Member, TransportError};
use polity_types::{ChainId, ReplicaId};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// How to take part.
pub struct Config {
    /// Number of this node in the member table.
    pub own: ReplicaId,
    /// Seed of this node's Ed25519 key. It is wiped when the transport has its signing key.
    pub seed: Zeroizing<[u8; 32]>,
    /// The secret of the links (tier 1), if frames bear authenticators; both ends must have the same.
    pub link_secret: Option<Zeroizing<[u8; 32]>>,
    /// The chain; both ends must name the same.
    pub chain: ChainId,
    /// The first member table, with or without this node.
    pub members: Vec<Member>,
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Bounds and intervals.
    pub limits: Limits,
}

impl fmt::Debug for Config {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("own", &self.own)
            .field("chain", &self.chain)
            .field("members", &self.members)
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What one lane may hold.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Largest frame in bytes, without its length.
    pub frame_bytes_max: usize,
    /// Frames that wait to be sent to one peer.
    pub queue_frames_max: usize,
    /// Bytes that wait to be sent to one peer; at least one frame.
    pub queue_bytes_max: usize,
    /// Bytes received from one peer that nobody has taken yet; at least one frame.
    pub inbox_bytes_max: usize,
}

/// Bounds and intervals. The defaults suit up to a hundred members.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// By [`Lane`], in the order of [`Lane::ALL`].
    pub lanes: [LaneLimits; 4],
    /// How often an idle link shows that it is alive.
    pub keep_alive: Duration,
    /// Silence after which a link counts as broken. Several keep-alives long.
    pub idle_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Handshakes of others in progress at the same time. Above half of it, addresses have to be
    /// proven first.
    pub handshakes_max: usize,
    /// First pause before a peer is dialled again.
    pub redial_min: Duration,
    /// Longest pause before a peer is dialled again.
    pub redial_max: Duration,
    /// Offences on one connection (such as frames that are too long) after which it is closed.
    pub offences_max: u32,
    /// First pause in which an offender is not let in; it doubles with each repetition.
    pub penalty_min: Duration,
    /// Longest such pause.
    pub penalty_max: Duration,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        let lane =
            |frame_bytes_max, queue_frames_max, queue_bytes_max, inbox_bytes_max| LaneLimits {
                frame_bytes_max,
                queue_frames_max,
                queue_bytes_max,
                inbox_bytes_max,
            };
        Self {
            lanes: [
                // A NEW-VIEW of a hundred members carries that many certificates.
                lane(2 * MIB, 4_096, 8 * MIB, 4 * MIB),
                // Bodies have at most 2 MiB.
                lane(4 * MIB, 64, 16 * MIB, 8 * MIB),
                lane(MIB / 4, 8_192, 8 * MIB, 2 * MIB),
                lane(4 * MIB, 64, 16 * MIB, 8 * MIB),
            ],
            keep_alive: Duration::from_millis(700),
            idle_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 128,
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(5),
            offences_max: 3,
            penalty_min: Duration::from_secs(1),
            penalty_max: Duration::from_mins(1),
        }
    }
}

impl Limits {
    pub(super) fn lane(&self, lane: Lane) -> &LaneLimits {
        &self.lanes[lane.index()]
    }

    pub(super) fn check(&self) -> Result<(), TransportError> {
        for lane in Lane::ALL {
            let limits = self.lane(lane);
            let is_sound = limits.frame_bytes_max > 0
                && u32::try_from(limits.frame_bytes_max).is_ok()
                && limits.queue_frames_max > 0
                && limits.queue_bytes_max >= limits.frame_bytes_max
                && limits.inbox_bytes_max >= limits.frame_bytes_max
                && u32::try_from(limits.inbox_bytes_max).is_ok();
            if !is_sound {
                return Err(TransportError::LaneLimits(lane.name()));
            }
        }
        if self.keep_alive.is_zero() || self.idle_timeout < self.keep_alive * 2 {
            return Err(TransportError::Timeouts);
        }
        if self.handshakes_max == 0
            || self.redial_min.is_zero()
            || self.redial_max < self.redial_min
        {
            return Err(TransportError::Timeouts);
        }
        Ok(())
    }
}
