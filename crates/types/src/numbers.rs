//! Counters and weights. Each is a `u64` (or `u32`) with the few operations that make sense for it.

/// Full trust, in millionths: trust is a `u32` from 0 to this.
pub const TRUST_MAX: u32 = 1_000_000;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident, $inner:ty) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// Wraps a plain number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! counter {
    ($($name:ident),*) => {$(
        impl $name {
            /// The following value; the largest value stays where it is.
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The value before, if there is one.
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// How far `self` is above `other`, if it is not below.
            pub const fn checked_sub(self, other: Self) -> Option<u64> {
                self.0.checked_sub(other.0)
            }

            /// The value `steps` further, or the largest.
            pub const fn saturating_add(self, steps: u64) -> Self {
                Self(self.0.saturating_add(steps))
            }
        }
    )*};
}

number!(
    /// Position of a block in its chain. The genesis stands at 0, the first block at 1.
    Height,
    u64
);
number!(
    /// Attempt to decide one height. The first is 0.
    View,
    u64
);
number!(
    /// Span of heights with one committee: `epoch(h) = (h - 1) / E` (FB-17).
    Epoch,
    u64
);
number!(
    /// Share of a member in votes. Sums stay below 2^62 (FB-PBFT, section 1).
    Weight,
    u64
);
number!(
    /// A member of a committee, by its number in the committee table.
    ReplicaId,
    u32
);
counter!(Height, View, Epoch);

impl Weight {
    /// Sum, or nothing if it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Sum of parts of one committee.
    ///
    /// The total of a committee is below 2^62 by construction, so this cannot saturate for
    /// distinct members.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl core::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Self::saturating_add)
    }
}
