//! Catching up by a certified snapshot (FB-14, FB-19).
//!
//! A replica that is thousands of blocks behind takes the state after the last block of an epoch. That
//! state is certified by the first block of the next epoch, whose header names its root.
//!
//! ```text
//!  own epoch                                     H          H + 1
//!  ... h │ end ──▶ end ──▶ end ──▶ ... ──▶ end of epoch │ first block: names the state after H
//!        └─ walk: headers and certificates alone ───────┘          │
//!                                                        chunks of the ledger, from many peers
//! ```
//!
//! 1. A STATUS says that somebody is at least `snapshot_after` heights ahead. Those are asked for the
//!    ends of epochs, one peer at a time, and each end is verified by the committee before it.
//! 2. Then all of them are asked for their newest snapshot. An [`Offer`] shows the first block of the
//!    epoch after it, which is verified, and the root of the ledger, which that block names. How many
//!    chunks there are and what the root of their log is, is the word of the peer. An offer of
//!    members that weigh more than F is taken at once; after a while, the one with the most weight.
//! 3. Chunks are asked for from many peers, one each at a time, and each comes with a proof that it
//!    stands at its place in the log. Whatever is late is asked for elsewhere, and whoever has another
//!    log, or one of another length, says so and is asked no more for this one.
//! 4. The finished ledger has the certified root, or everybody who offered the snapshot is asked no
//!    more. Then the replica goes on from there as if it had applied the blocks.
//!
//! # What it is not
//!
//! It brings no blocks and no receipts below the snapshot. It proves nothing to a replica that does
//! not know the committee of its own epoch.
//!
//! # Invariants
//!
//! 1. Nothing is believed that is not under a certificate. The word of peers decides who is asked for
//!    what, and never what the state is.
//! 2. Everything has a size: pages, offers, chunks, peers; see the constants of this module. A liar
//!    costs a few small messages, and is asked ever more seldom.
//! 3. Blocks are fetched all the while, except while members of weight above F vouch for the snapshot
//!    that comes and answer in time: one of them is honest and has it. Any other one has a bounded time
//!    and size, and whoever vouches for too many that come to nothing vouches no more.
//! 4. What is verified is persisted as it comes. A replica that stops goes on with the next chunk. A
//!    snapshot that was given up leaves records that change nothing: the next start or the blocks
//!    supersede them.
//!
//! # Why it never contradicts itself (FB-15)
//!
//! A snapshot of height H is given up as soon as the replica has applied H by blocks. So when it is
//! installed, the replica worked on a height of at most H, and everything it ever signed is about such
//! heights. Afterwards it signs for H + 1 and above only. The record that installs is durable before
//! anything is said about these heights, and a replica restored from the journal jumps at the same
//! place. So no height has words of both.
//!
//! # What the host must do
//!
//! Keep [`Committed::epoch_end`](crate::Committed::epoch_end) of each epoch, take a
//! [snapshot](crate::Replica::snapshot) after the last block of each, keep the last two, and answer
//! [`Effect::ServeSync`](crate::Effect::ServeSync) with [`answer`] from a [`SyncSource`]. [`Shelf`] does
//! so in memory.

mod asking;
mod error;
mod judging;
mod loading;
mod message;
mod shelf;
mod source;
mod syncer;
mod walk;

pub use error::{Blame, SyncError};
pub(crate) use loading::Partial;
pub use message::{ChunkBytes, Offer, SyncAnswer, SyncMessage, SyncRecord, SyncRequest, Target};
pub use shelf::Shelf;
pub use source::{ChunkLog, SyncSource, answer};
pub use syncer::SyncHoldings;
pub(crate) use syncer::{Here, SyncEffect, Syncer};
pub(crate) use walk::Walk;

use core::time::Duration;
use polity_consensus::committee::CommitteeTable;

/// Ends of epochs in one page, at most.
pub const ENDS_MAX: usize = 64;

/// Bytes of them, at most; one is always sent.
pub const ENDS_BYTES_MAX: usize = 256 * 1024;

/// Ends of epochs that a replica keeps to check offers with: those in front of the newest
/// snapshots.
pub const RECENT_MAX: usize = 4;

/// Chunks of a snapshot, at most.
pub const CHUNKS_MAX: u32 = 1 << 20;

/// Chunks of a snapshot for which members of no more than F vouch, at most: 256 MiB in the journal that
/// may be for nothing.
pub const UNBACKED_CHUNKS_MAX: u32 = 1_024;

/// Snapshots that may come to nothing of each member that vouched. Then its offers count no more, until a
/// snapshot is installed, or blocks have led to the height of one for which more than F vouched.
///
/// So up to F members that collude begin at most `F * UNFINISHED_MAX` snapshots of their own, of
/// [`UNBACKED_CHUNKS_MAX`] chunks each.
pub const UNFINISHED_MAX: u32 = 4;

/// Chunks that are asked for at a time, one of each peer. As many may wait for one in front of them.
pub const IN_FLIGHT_MAX: usize = 8;

/// Peers of whom something is remembered: members, and those who were or will be.
pub const PEERS_MAX: usize = 3 * CommitteeTable::MEMBERS_MAX;

/// An answer that takes longer is looked for elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Offers are gathered for this long after the last verified end of an epoch.
const OFFERS_WITHIN: Duration = Duration::from_secs(3);

/// A snapshot of which no chunk comes for this long is given up for a while.
const STALL_AFTER: Duration = Duration::from_secs(10);

/// A snapshot is given up after so many stalls in a row in which somebody said not to have it.
const DENIALS_MAX: u32 = 4;

/// A snapshot that nobody honest need have is fetched for this long; blocks come meanwhile.
const UNBACKED_WITHIN: Duration = Duration::from_secs(120);

/// The first pause of a peer that did not keep what it said, and of an attempt that failed. Each
/// further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// A peer gets an answer this often.
const SERVE_EVERY: Duration = Duration::from_millis(5);

/// Answers in advance: 32.
const SERVE_BURST: Duration = Duration::from_millis(155);
