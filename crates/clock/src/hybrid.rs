//! Hybrid logical clocks: close to physical time, and never backwards (TR-18).

use core::time::Duration;
use polity_types::Time;
use serde::{Deserialize, Serialize};

/// A moment: physical milliseconds, then a counter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct HybridTime {
    /// Milliseconds.
    pub time: Time,
    /// Number of the event within them.
    pub counter: u32,
}

/// Why there is no next moment. The clock is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HybridError {
    /// A peer's moment lies too far in the future.
    #[error("the moment is {ahead:?} ahead, more than the {max:?} that clocks may drift")]
    Ahead {
        /// How far.
        ahead: Duration,
        /// The bound.
        max: Duration,
    },
    /// The end of time.
    #[error("there is no later moment")]
    Exhausted,
}

/// Gives moments, each after all it gave or saw.
#[derive(Clone, Copy, Debug)]
pub struct HybridClock {
    last: HybridTime,
    drift_max: Duration,
}

impl HybridClock {
    /// A clock that takes moments of others up to `drift_max` ahead of its own physical time.
    pub fn new(drift_max: Duration) -> Self {
        Self {
            last: HybridTime::default(),
            drift_max,
        }
    }

    /// The last moment it gave.
    pub fn last(&self) -> HybridTime {
        self.last
    }

    /// The moment of an own event at physical time `now`.
    pub fn tick(&mut self, now: Time) -> Result<HybridTime, HybridError> {
        self.advance(now, self.last)
    }

    /// The moment at which `theirs` arrived, after both.
    pub fn observe(&mut self, now: Time, theirs: HybridTime) -> Result<HybridTime, HybridError> {
        let ahead = theirs.time.saturating_since(now);
        if ahead > self.drift_max {
            let max = self.drift_max;
            return Err(HybridError::Ahead { ahead, max });
        }
        self.advance(now, self.last.max(theirs))
    }

    fn advance(&mut self, now: Time, seen: HybridTime) -> Result<HybridTime, HybridError> {
        self.last = if now > seen.time {
            HybridTime {
                time: now,
                counter: 0,
            }
        } else if let Some(counter) = seen.counter.checked_add(1) {
            HybridTime {
                time: seen.time,
                counter,
            }
        } else if seen.time < Time::MAX {
            HybridTime {
                time: seen.time.saturating_add(Duration::from_millis(1)),
                counter: 0,
            }
        } else {
            return Err(HybridError::Exhausted);
        };
        Ok(self.last)
    }
}
