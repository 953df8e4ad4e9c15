//! FB-PBFT: federated Byzantine PBFT.
//!
//! Members of a committee agree on one block after another. With total weight `W`, at most
//! `F = (W - 1) / 3` may behave arbitrarily; a quorum is `Q = (W + F) / 2 + 1`
//! ([`quorum`](crate::quorum)). Safety holds always; progress holds once messages between honest
//! members arrive within a bound below the largest timeout.
//!
//! # What it is not
//!
//! It orders digests of blocks whose transactions it does not understand. It opens no socket,
//! reads no clock and writes no file. It does not choose its members: the table of the first epoch is
//! given, and those of later ones come from the application (FB-17).
//!
//! # One height, normal case
//!
//! ```text
//!   leader     PRE-PREPARE      PREPARE         COMMIT        decided
//!     0  ──●──────┬─────┬────────●──┬──────────────●───────────────▶
//!     1  ─────────▼─────│────────●──┼──────────────●───────────────▶
//!     2  ───────────────▼────────●──┼──────────────●───────────────▶
//!     3  ────────────────────────●──▼──────────────●───────────────▶
//!          persist       persist block     persist         persist
//!          the block     and vote          certificate     decision
//! ```
//!
//! 1. The leader of (height, view 0) persists a block and broadcasts PRE-PREPARE with it (FB-3).
//! 2. Who finds it valid persists block and vote and broadcasts PREPARE (FB-4).
//! 3. With PREPAREs of weight `Q` for one value, a replica persists the certificate and broadcasts
//!    COMMIT (FB-6).
//! 4. With COMMITs of weight `Q` of one view, the block is decided (FB-7).
//!
//! Without faults this is `(N - 1)(2N + 1)` messages in three one-way delays.
//!
//! # Changing the view
//!
//! A replica that waits too long leaves its view for good and broadcasts VIEW-CHANGE with the
//! highest certificate of PREPAREs it holds (FB-8, FB-9). With VIEW-CHANGEs of weight `Q` for
//! exactly one view, its leader broadcasts NEW-VIEW: it proposes the block of the highest
//! certificate among them, or a fresh one if there is none (FB-10, [`view_change`]). A proposal of a
//! view above 0 is accepted in no other way (FB-4).
//!
//! # Changing the committee
//!
//! Tables change between epochs of `E` heights. The application says who votes in the next epoch when
//! it has applied the last block but one of an epoch; the last block names that table, so its
//! certificate hands the chain over. Every vote covers epoch and table. A replica that is not in
//! the table follows: it verifies, decides and serves like the others, and signs nothing.
//!
//! # Why it is safe
//!
//! Let (h, v, d) be decided. Honest members of weight at least `Q - F` sent COMMIT for it, hold its
//! certificate, and never again act below their floor. Any `Q` VIEW-CHANGEs for a later view contain
//! one of them, as `2Q - W - F > 0`. So the highest certificate in a NEW-VIEW is of a view from v
//! on; by induction it is for d.
//!
//! # Invariants
//!
//! 1. At most one PREPARE and one COMMIT in a view, restarts included (FB-15).
//! 2. Nothing is sent in a view below the floor, and the floor never sinks (FB-9).
//! 3. A COMMIT follows a stored certificate of its view (FB-6).
//! 4. Votes for different values are never counted together (FB-5).
//! 5. What is counted was verified; what was verified is not verified again (section 8).
//!
//! # What the host must do
//!
//! Carry out effects in order, nothing behind a [`Effect::Persist`] before that record is durable.
//! Hand in messages with the link they came over, authenticated. Answer
//! [`Effect::RequestProposal`], [`Effect::RequestValidation`] and [`Effect::Decide`]. Call `tick` at
//! the deadline. After a stop, restore from every record of the undecided height.
//!
//! # Departures from PBFT
//!
//! One height at a time instead of a window of sequence numbers; no checkpoints, since a decided
//! block with its certificate is one. The leader votes PREPARE too, so that its word counts like
//! any other. PREPAREs of a view above 0 name the NEW-VIEW they follow, so that a fork can be
//! attributed.
//!
//! Source: Castro and Liskov, "Practical Byzantine Fault Tolerance" (OSDI 1999); requirements in
//! `docs/spec/consensus.md`.

mod block;
mod chain;
mod config;
mod effect;
mod engine;
mod evidence;
mod input;
mod intake;
mod keyring;
mod machine;
mod message;
mod normal;
mod record;
mod restore;
mod rules;
mod sync;
mod tally;
pub mod view_change;
mod views;

pub use block::{
    ApplicationData, Block, Body, BodyError, Counts, Header, LateCommit, SealedBlock,
    TransactionBytes,
};
pub use chain::{Chain, TransactionIdOf};
pub use config::{Config, ConfigError};
pub use effect::{Effect, Extent, Halt};
pub use engine::{Engine, EngineInput};
pub use evidence::Evidence;
pub use input::{Input, Payload, Roots};
pub use intake::Intake;
pub use keyring::Keyring;
pub use machine::{DropReason, Machine, StartError, Tip};
pub use message::{
    Decided, Message, NewView, NewViewProposal, PrePrepare, PreparedClaim, Proposal, Status, Value,
    ViewChange, Vote, VoteCertificate, VoteKind,
};
pub use record::Record;
pub use rules::{HeaderError, Parent, fresh_timestamp, timeout};
pub use tally::{Counted, Tally};
