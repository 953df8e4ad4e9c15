//! The one place where thresholds are computed (FB-1).
//!
//! With total weight `W`, at most `F = (W - 1) / 3` may be faulty and a quorum needs
//! `Q = (W + F) / 2 + 1`, both rounded down. Then two quorums share more than `F`
//! (`2Q - W > F`), and the honest alone can form one (`Q <= W - F`). A formula such as `2F + 1`
//! has the first property only where `W = 3F + 1`: at six members of weight 1 it lets one faulty
//! leader decide twice.

use polity_types::Weight;

/// What counts as enough in a committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    total: Weight,
    faulty_max: Weight,
    quorum: Weight,
}

impl Thresholds {
    /// Largest total weight for which no sum overflows.
    pub const TOTAL_MAX: Weight = Weight::new((1 << 62) - 1);

    /// Thresholds of a committee of weight `total`, at least 1 and at most
    /// [`TOTAL_MAX`](Self::TOTAL_MAX).
    ///
    /// # Panics
    ///
    /// Outside of that range: committee tables are checked before.
    #[expect(
        clippy::manual_midpoint,
        reason = "the formula as the specification writes it; sums stay below 2^63"
    )]
    pub fn new(total: Weight) -> Self {
        assert!(
            total > Weight::ZERO && total <= Self::TOTAL_MAX,
            "a committee of weight {total} has no quorum"
        );
        let w = total.get();
        let f = (w - 1) / 3;
        let q = (w + f) / 2 + 1;
        // FB-1: every decision rests on these two.
        assert!(2 * q - w > f && q <= w - f, "W = {w}, F = {f}, Q = {q}");
        Self {
            total,
            faulty_max: Weight::new(f),
            quorum: Weight::new(q),
        }
    }

    /// `W`, the weight of all members.
    pub const fn total(self) -> Weight {
        self.total
    }

    /// `F`, the largest weight that may be faulty.
    pub const fn faulty_max(self) -> Weight {
        self.faulty_max
    }

    /// `Q`, the weight that decides.
    pub const fn quorum(self) -> Weight {
        self.quorum
    }

    /// Whether `weight` decides.
    pub fn is_quorum(self, weight: Weight) -> bool {
        weight >= self.quorum
    }

    /// Whether at least one honest member is among members of this weight.
    pub fn has_honest(self, weight: Weight) -> bool {
        weight > self.faulty_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(1, 1)]
    #[case(2, 2)]
    #[case(3, 2)]
    #[case(4, 3)]
    #[case(5, 4)]
    #[case(6, 4)]
    #[case(7, 5)]
    #[case(10, 7)]
    #[case(20, 14)]
    fn fb_1_quorum_of_equal_members(#[case] members: u64, #[case] quorum: u64) {
        assert_eq!(
            Thresholds::new(Weight::new(members)).quorum(),
            Weight::new(quorum)
        );
    }

    fn check(w: u64) {
        let t = Thresholds::new(Weight::new(w));
        let (f, q) = (t.faulty_max().get(), t.quorum().get());
        // Written with additions, so that it is another computation than the one under test.
        assert!(
            3 * f < w && w <= 3 * f + 3,
            "F is the largest below a third of {w}"
        );
        assert!(q + q > w + f, "two quorums of {w} share more than F");
        assert!(q + f <= w, "the honest of {w} are a quorum");
        assert!(
            2 * (q - 1) <= w + f,
            "Q is the smallest such weight for {w}"
        );
    }

    #[test]
    fn fb_1_holds_for_every_weight_to_100_000() {
        (1..=100_000).for_each(check);
    }

    proptest! {
        #[test]
        fn fb_1_holds_for_any_weight(w in 1..=Thresholds::TOTAL_MAX.get()) {
            check(w);
        }
    }

    #[test]
    fn fb_1_holds_at_the_largest_weight() {
        check(Thresholds::TOTAL_MAX.get());
    }

    #[test]
    #[should_panic(expected = "has no quorum")]
    fn a_committee_without_weight_is_refused() {
        let _ = Thresholds::new(Weight::ZERO);
    }
}
