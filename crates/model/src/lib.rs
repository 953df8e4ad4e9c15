//! Every state of a small committee: the real handlers of FB-PBFT under a model checker.
//!
//! Four members of weight 1 decide one height in a few views; one of them is faulty. The honest ones run
//! [`polity_consensus::fbpbft::Engine`] as the node runs it, intake stage and signature checks included,
//! with the stub signature scheme. The search visits every state that any order of events can lead to, and
//! looks in each whether the promises of the protocol hold.
//!
//! # What it is not
//!
//! It is no proof for other committees, more heights or more views: it says what it visited, and where it
//! stopped. It says nothing about liveness. Long runs with many faults are for `polity-sim`.
//!
//! # State
//!
//! ```text
//!   state of the whole   =   honest replica  ×  honest replica  ×  honest replica
//!                             engine, journal,
//!                             what it sent ──────▶ the network: a set that only grows
//!                                                    │
//!                             what the faulty member can say: a function of that set
//! ```
//!
//! 1. A message that was sent can arrive at any time, in any order, at any replica, or never. So loss,
//!    delay and reordering are covered, and there is no network beside what was sent.
//! 2. The faulty member has no state. It may sign any proposal, any vote for any value, VIEW-CHANGEs with
//!    every claim that it can prove and some that it cannot, and as a leader NEW-VIEWs from every quorum of
//!    VIEW-CHANGEs with every value, justified or not. What it needs from others it takes from the network,
//!    so each of these is available to every replica at any time, different ones to different replicas.
//! 3. A replica is a deterministic machine. The handlers run once for each of its states and each step,
//!    and a state of the whole is a few numbers.
//!
//! # Steps
//!
//! A timeout, or the arrival of messages, of one replica. Its application answers at once, agrees with
//! every block, and puts no evidence into blocks. With `restarts`, a replica may also stop, after any record
//! that a step stores, and is restored from its journal.
//!
//! Time is left out. A timeout hands in the time of the deadline; everything else happens at one moment, so
//! a leader's fresh block is always the same. Retransmissions send again what the network holds for ever,
//! STATUS and fetches only cause that blocks are sent, and such blocks arrive with the step that needs them.
//! The timer of the last view is left out: what happens after it belongs to a view that is not searched.
//!
//! # The coarse search, and why it loses nothing
//!
//! Message by message, two views are out of reach: a replica's tally of votes has too many states. The
//! coarse search lets arrive what makes a replica **act**, that is store a record or send something:
//!
//! * a proposal or NEW-VIEW;
//! * PREPAREs that complete a certificate, if the replica can then send COMMIT, or claim it in a later
//!   VIEW-CHANGE; one step for every set of voters, as each makes another certificate;
//! * COMMITs that complete a quorum, or the decided block with its certificate;
//! * VIEW-CHANGEs that let the leader of a view open it: every pair of others, with each claim of the faulty
//!   member and with the blocks that are claimed, and every three;
//! * VIEW-CHANGEs that let another replica enter a view, where it can still leave that view again. In the last
//!   view entering shows nothing, and joining a view change is the same as a timeout, which may always happen.
//!
//! Sound, because a message that makes nobody act can arrive later just as well, up to the step that it is
//! counted in. It changes nothing but what is counted (FB-5), and nothing but the steps above looks at that.
//! A vote that occupies the place of a contradicting one only keeps a quorum from forming, as if it were
//! lost; the rest is evidence, which no vote depends on.
//!
//! A state of a replica is then what later actions can depend on: floor and entered view, what it sent,
//! certificates that it may still claim, VIEW-CHANGEs that it heard as a leader, its decision. Counted votes
//! are left out: a vote that was counted completed its quorum, and has no further effect. Redelivery is no
//! step for the same reason.
//!
//! The steps assume nothing of the protocol's silence. Proposals of every view and quorums of PREPAREs arrive
//! wherever a replica stands, after it left the view, voted or decided; a step in which it stores and sends
//! nothing leads back to the same state.
//!
//! **This argument is tested.** With [`Grain::Message`] a step is one message, and two states are equal only
//! if the engines are equal in everything they remember of the height. [`compare`] exhausts both searches and
//! compares all that the replicas can have said and decided together; [`compare_walks`] does so along
//! random walks where the fine search is too large. Only the signers of certificates may differ.
//!
//! # What is merged
//!
//! * A certificate that the faulty member shows has its own signature and those of two others; it could also
//!   show other signers. Nobody reads signers except to check them. They are under the digest of a NEW-VIEW,
//!   so two NEW-VIEWs that differ only there split votes that would otherwise count together.
//! * An honest leader proposes one block in each view, and proposes as soon as it may.
//! * Evidence is dropped: that the right member is accused is tested elsewhere.
//!
//! # Properties
//!
//! Judged from what the replicas stored, sent and decided, by code of this crate, with thresholds written
//! down here: agreement; validity; one vote of a kind in a view; nothing below the floor; a COMMIT after a
//! stored certificate; a VIEW-CHANGE that claims the highest one; votes of a quorum behind everything decided
//! or claimed; no halt and no failed assertion. Some states must show decisions in each view, of different
//! values, and of a block that a NEW-VIEW proposed again: a search in which nothing happens would fail.
//!
//! [`Fault`] breaks a rule on purpose; the search then has to find the fork.
#![forbid(unsafe_code)]

mod compare;
mod forge;
mod replica;
mod run;
mod scenario;
mod scene;
mod search;
mod table;
mod words;

pub use compare::{Comparison, compare, compare_walks};
pub use run::{Ending, Finding, Limits, Report, run};
pub use scenario::{Fault, Grain, MEMBERS, QUORUM, Scenario, Seat};
pub use search::{AGREEMENT, Action, ONE_VOTE, Search, State};
pub use words::{Parts, Word};
