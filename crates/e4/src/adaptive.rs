//! Adaptive verification: the level follows from the sender's trust, the rest follows later.

use crate::delta::Delta;
use crate::pco::{Context, Seen, Statement};
use crate::score::Score;
use crate::{Mode, Refusal};
use std::collections::VecDeque;

/// Deltas that wait for their follow-up.
pub const QUEUE_MAX: usize = 1_024;
/// Deltas of one follow-up, unless told otherwise.
pub const BATCH: usize = 32;

/// E4's answer to a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it is taken.
    pub is_accepted: bool,
    /// At which level that was said.
    pub level: u8,
    /// Whether a follow-up is to come.
    pub is_pending: bool,
    /// E4's words, empty if it is taken.
    pub reason: String,
}

impl Outcome {
    fn accept(level: u8, is_pending: bool) -> Self {
        Self {
            is_accepted: true,
            level,
            is_pending,
            reason: String::new(),
        }
    }

    fn reject(level: u8, reason: &str) -> Self {
        Self {
            is_accepted: false,
            level,
            is_pending: false,
            reason: reason.to_owned(),
        }
    }
}

/// The controller with its queue.
#[derive(Clone, Debug)]
pub struct Controller {
    queue: VecDeque<(Delta, u8)>,
    queue_max: usize,
    mode: Mode,
}

impl Default for Controller {
    fn default() -> Self {
        Self::new(QUEUE_MAX, Mode::Strict)
    }
}

impl Controller {
    /// A controller whose queue holds at most so many deltas.
    pub fn new(queue_max: usize, mode: Mode) -> Self {
        Self {
            queue: VecDeque::new(),
            queue_max,
            mode,
        }
    }

    /// Deltas that wait.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// E4's verification, bit-exact. `source` is the score of the delta's source, `None` without a
    /// lattice. A tripped breaker lets a quarantined sender through at level 2 (P6).
    ///
    /// # Errors
    ///
    /// Malformed clocks (P9), and in strict mode a full queue, from which E4 drops the oldest (B1).
    pub fn verify(
        &mut self,
        delta: &Delta,
        source: Option<&Score>,
        is_tripped: bool,
        context: &Context<'_>,
    ) -> Result<Outcome, Refusal> {
        let Some(source) = source else {
            return Ok(Outcome::reject(2, "no trust lattice available"));
        };
        let level = if is_tripped { 2 } else { source.level() };
        if level == 3 {
            return Ok(Outcome::reject(3, "sender quarantined"));
        }
        if !holds(delta, 0, context)? {
            return Ok(Outcome::reject(level, "signature verification failed"));
        }
        if level == 2 {
            return Ok(if holds(delta, 2, context)? {
                Outcome::accept(2, false)
            } else {
                Outcome::reject(2, "full PCO verification failed")
            });
        }
        if level == 1 && !holds(delta, 1, context)? {
            return Ok(Outcome::reject(1, "Merkle root inconsistency"));
        }
        self.enqueue(delta, level)?;
        Ok(Outcome::accept(level, true))
    }

    fn enqueue(&mut self, delta: &Delta, level: u8) -> Result<(), Refusal> {
        if self.queue.len() >= self.queue_max {
            if self.mode == Mode::Strict {
                return Err(Refusal::QueueFull);
            }
            self.queue.pop_front();
        }
        if self.queue_max > 0 {
            self.queue.push_back((delta.clone(), level));
        }
        Ok(())
    }

    /// Verifies up to `batch` waiting deltas in full. What was done on their account stays done.
    ///
    /// `context` gives what is known about the originator of each.
    ///
    /// # Errors
    ///
    /// Malformed clocks (P9); the delta is then out of the queue.
    pub fn follow_up<'a>(
        &mut self,
        batch: usize,
        context: impl Fn(&Delta) -> Context<'a>,
    ) -> Result<Vec<(Delta, Outcome)>, Refusal> {
        let mut results = Vec::new();
        while results.len() < batch {
            let Some((delta, level)) = self.queue.pop_front() else {
                break;
            };
            let outcome = if holds(&delta, 2, &context(&delta))? {
                Outcome::accept(2, false)
            } else {
                let reason = format!("async re-verify failed (was level {level})");
                Outcome::reject(2, &reason)
            };
            results.push((delta, outcome));
        }
        Ok(results)
    }
}

fn holds(delta: &Delta, level: u8, context: &Context<'_>) -> Result<bool, Refusal> {
    match &delta.operation {
        Some(operation) => operation.verify(level, context),
        None => Ok(false),
    }
}

/// Verifies a delta in full, before any effect, and says what of it is covered.
///
/// # Errors
///
/// A quarantined sender, whatever the breaker says (P6), a delta with contents (P1) or of another source
/// (P5), everything of [`Operation::verify_strict`](crate::pco::Operation::verify_strict), and a
/// delta that was taken before (P4).
pub fn verify_strict(
    delta: &Delta,
    source: &Score,
    context: &Context<'_>,
    seen: &mut Seen,
) -> Result<Statement, Refusal> {
    if source.level() == 3 {
        return Err(Refusal::Quarantined);
    }
    delta.check()?;
    let operation = delta.operation.as_ref().ok_or(Refusal::Unsigned)?;
    let statement = operation.verify_strict(context)?;
    seen.take(&operation.header)?;
    Ok(statement)
}
