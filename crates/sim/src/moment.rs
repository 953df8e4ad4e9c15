//! Simulated time, finer than the milliseconds that replicas see.

use core::fmt;
use core::time::Duration;
use polity_types::Time;

/// A moment of a simulation, in microseconds since its start.
///
/// Frames travel in microseconds, so that two of them rarely arrive together; replicas are told
/// whole milliseconds, as a node tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// From microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// In microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `span` later.
    pub fn after(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// What a clock shows that is `skew` ahead of the simulation.
    pub fn shown(self, skew: Duration) -> Time {
        Time::from_millis(self.0 / 1_000).saturating_add(skew)
    }

    /// When a clock that is `skew` ahead shows `time`; at the earliest the start.
    pub fn of_clock(time: Time, skew: Duration) -> Self {
        let millis = time.saturating_since(Time::ZERO.saturating_add(skew));
        Self::ZERO.after(millis)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_moments_agree() {
        let skew = Duration::from_millis(7);
        let moment = Moment::from_micros(12_345);
        assert_eq!(moment.to_string(), "12.345");
        assert_eq!(moment.shown(skew), Time::from_millis(19));
        assert_eq!(
            Moment::of_clock(Time::from_millis(19), skew),
            Moment::from_millis(12)
        );
        assert_eq!(Moment::of_clock(Time::from_millis(3), skew), Moment::ZERO);
        assert_eq!(
            moment.since(Moment::from_millis(12)),
            Duration::from_micros(345)
        );
    }
}
