//! Twins: misbehaviour made of honest code.
//!
//! Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, "Twins: BFT Systems Made Robust" (OPODIS
//! 2021). A member misbehaves by being there twice: two instances with one number and one key, each
//! running honest code with a memory and a disk of its own. What one of them says contradicts what
//! the other says, or forgets it. A script says, round by round, who leads and who hears whom; the
//! scripts are enumerated, not imagined.
//!
//! ```text
//!   round       0              1              2                ...   heal
//!   leader      A              C              A                      as drawn
//!   hear each   A B C          A' C D         A A' B C               A A' B C D
//!   other       A' D           A | B          D
//!   votes       COMMIT among   PREPARE is     COMMIT is
//!               A B | A' C D   heard by D     heard by A', B
//! ```
//!
//! # What it is not
//!
//! It has no ledger, no clients, no loss inside of a block of a partition and no crashes: the
//! [scenarios](crate::scenarios) have those. What it drives is the real
//! [`Engine`](polity_consensus::fbpbft::Engine), intake and machine, with checksums for signatures.
//! Every message is encoded and strictly decoded by each receiver; every record is encoded and on
//! the instance's own disk before anything behind it leaves; and at the end each instance is
//! restored from its disk and has to stand where it stood.
//!
//! # Rounds
//!
//! A round is the time of one view: all timeouts are one round long, so an instance that gets
//! nowhere asks for the next view as the next round begins, and sends again what was not heard. A
//! new transaction is due at the start of each round, so that there is something to decide in it. A
//! height that is decided and a view that is left both move height plus view by one, so instances
//! that keep up are at turn `r + 1` in round `r`, and instances that do not are behind: as in a real
//! network, both meet.
//!
//! A view of FB-PBFT has two rounds of votes, and what its safety is about lies between them:
//! prepared and not decided, or decided and hardly anybody knows. As all of a block hear the same,
//! blocks alone lead to little of that. So the script also says what becomes of the [votes](Votes):
//! COMMITs have a partition of their own, or of each block only one or two instances hear PREPAREs,
//! or only one or two hear COMMITs.
//!
//! # Leaders
//!
//! The paper scripts leaders at will; FB-PBFT draws them from the genesis. Members here have the
//! weights 3, 3, 3 and 4: as unequal weights they are drawn by a hash and not in turn, and still any
//! three are a quorum and any two exceed what may be faulty. The generator searches for a genesis
//! under which the turns of the script are led as the script wants: the code that runs is the code
//! that is shipped, and every order of leaders comes up.
//!
//! # What is a different scenario
//!
//! Partitions in which no block has a quorum are one, silence: nothing is decided in them and no
//! view starts. Scripts that become each other when instances change names are one, if the names
//! keep pairs together: [`Space`] counts and lists one of each. Weights tell one honest member
//! from another by nothing but the draw of leaders, which is scripted. [`Shuffle`] orders the space by a
//! seed, so any number of places are so many different scenarios.
//!
//! # What must hold
//!
//! With one pair, F members misbehave: one block at a height; after all blocks one state; no
//! instance contradicts itself; nobody without a twin is accused or stops; once the network heals,
//! everybody without a twin decides what is due in the time that the timeouts allow. With two pairs
//! more than F misbehave, so a height may fork. That is the control: the generator has to find
//! forks, and each has to be [attributed](judge::blame) to members that weigh more than F, and to
//! nobody without a twin.
//!
//! # Departures from the paper
//!
//! Its partitions cut by the round that a message is of, these by the time at which it is sent, and
//! votes apart: its votes go to the next leader alone, those of PBFT to everybody. Its twin hears its twin; here a member has no link to itself.

mod generator;
mod instance;
pub mod judge;
mod leaders;
mod partition;
mod shuffle;
mod world;

pub use generator::{Round, Script, Space, Votes};
pub use leaders::Leaders;
pub use partition::{Cast, Group, Partition};
pub use shuffle::Shuffle;

use crate::outcome::Verdict;
use polity_crypto::Blake3Digest;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Members of the committee: four, of which one may be faulty.
pub const MEMBERS: usize = 4;

/// What is scripted, and for how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Members with a twin: one, or two for the control.
    pub pairs: usize,
    /// Rounds with a script.
    pub views: usize,
}

/// A shape that is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// With one pair F misbehave, with two more than F, and no other number says anything.
    #[error("there are one or two pairs, not {0}")]
    Pairs(usize),
    /// Leaders are scripted by a search that takes four times as long for each view.
    #[error("there are 1 to 8 views, not {0}")]
    Views(usize),
}

impl Shape {
    /// Checks both numbers.
    pub fn validate(&self) -> Result<(), ShapeError> {
        if !(1..=2).contains(&self.pairs) {
            return Err(ShapeError::Pairs(self.pairs));
        }
        if !(1..=8).contains(&self.views) {
            return Err(ShapeError::Views(self.views));
        }
        Ok(())
    }

    /// Who speaks for whom.
    pub const fn cast(&self) -> Cast {
        Cast::new(self.pairs)
    }
}

/// What a script led to, beside the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The highest height that was decided before the network healed.
    pub decided_before: u64,
    /// The highest height that was decided at all.
    pub decided: u64,
    /// The highest view that was entered.
    pub view: u64,
    /// NEW-VIEWs that proposed a prepared block again.
    pub proposed_again: u64,
    /// Those of them that had to choose between different blocks.
    pub chosen: u64,
    /// Reports of offences.
    pub reports: u64,
    /// Heights with two decided blocks.
    pub forks: u64,
    /// Whether the lowest fork is between blocks decided in different views.
    pub is_fork_across_views: bool,
    /// Who is to blame for the lowest fork, one bit for each member.
    pub blamed: u8,
    /// Frames that were delivered.
    pub frames: u64,
    /// Records on all disks.
    pub records: u64,
    /// Time from the heal until everybody had decided what was due.
    pub recovery_ms: u64,
}

/// One script, played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// What it showed.
    pub verdict: Verdict,
    /// Digest of everything that happened: one script gives one digest.
    pub audit_hash: Blake3Digest,
    /// What it led to.
    pub findings: Findings,
    /// What happened, line by line; only if it was asked for.
    pub trace: Option<String>,
}

/// Plays a script.
pub fn play(script: &Script, leaders: &mut Leaders) -> Played {
    play_with(script, leaders, false)
}

/// Plays a script and writes down what happens.
pub fn play_traced(script: &Script, leaders: &mut Leaders) -> Played {
    play_with(script, leaders, true)
}

fn play_with(script: &Script, leaders: &mut Leaders, is_traced: bool) -> Played {
    let genesis = leaders.genesis_for(&script.leaders());
    let mut world = world::World::new(script, genesis, is_traced);
    // A machine that contradicts itself panics, which is a result like others; everything it
    // could have left in disorder is dropped here.
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let verdict = match result {
        Ok(Ok(())) => Verdict::SafeAndLive,
        Ok(Err(failure)) => failure.into(),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without a message".to_owned());
            Verdict::Crash(format!("{}: {reason}", world.speaker()))
        }
    };
    world.finish(verdict)
}
