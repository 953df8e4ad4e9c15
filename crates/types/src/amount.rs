//! Quantities of ATP (LG-2).

use core::fmt;
use core::str::FromStr;

/// A quantity of ATP, counted in millionths.
///
/// The text form is decimal with at most six places: `"12.5"` is 12,500,000 units. Signs,
/// exponents, blanks and further places are refused, so a text that parses is exact.
///
/// ```
/// use polity_types::Amount;
///
/// let amount: Amount = "12.5".parse()?;
/// assert_eq!(amount.units(), 12_500_000);
/// assert_eq!(amount.to_string(), "12.5");
/// assert!("1e3".parse::<Amount>().is_err());
/// # Ok::<(), polity_types::AmountError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Nothing stands before or after the decimal point.
    #[error("an amount needs at least one digit on each side of its decimal point")]
    NoDigits,
    /// A character other than a digit or the one decimal point.
    #[error("an amount has only digits and one decimal point: no sign, exponent or blank")]
    Character,
    /// More than six decimal places.
    #[error("an amount has at most six decimal places")]
    Places,
    /// Larger than 2^100 units, the largest supply (LG-2).
    #[error("the amount is larger than the largest supply of 2^100 units")]
    Overflow,
}

impl Amount {
    /// Decimal places of the text form.
    pub const PLACES: u32 = 6;
    /// Units of one ATP.
    pub const UNITS_PER_ATP: u128 = 1_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest supply, 2^100 units; every sum of balances fits (LG-2).
    pub const SUPPLY_MAX: Self = Self(1 << 100);

    /// From millionths of an ATP.
    pub const fn from_units(units: u128) -> Self {
        Self(units)
    }

    /// From whole ATP.
    pub const fn from_atp(atp: u64) -> Self {
        Self(atp as u128 * Self::UNITS_PER_ATP)
    }

    /// Millionths of an ATP.
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Sum, or nothing if it does not fit 128 bits.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Difference, or nothing if `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / Self::UNITS_PER_ATP;
        let mut part = self.0 % Self::UNITS_PER_ATP;
        if part == 0 {
            return write!(f, "{whole}");
        }
        let mut places = Self::PLACES as usize;
        while part.is_multiple_of(10) {
            part /= 10;
            places -= 1;
        }
        write!(f, "{whole}.{part:0places$}")
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ATP")
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        if whole.is_empty() || part.is_empty() {
            return Err(AmountError::NoDigits);
        }
        if !whole
            .bytes()
            .chain(part.bytes())
            .all(|c| c.is_ascii_digit())
        {
            return Err(AmountError::Character);
        }
        if part.len() > Self::PLACES as usize {
            return Err(AmountError::Places);
        }
        let padding = core::iter::repeat_n(b'0', Self::PLACES as usize - part.len());
        let mut units: u128 = 0;
        for digit in whole.bytes().chain(part.bytes()).chain(padding) {
            units = units
                .checked_mul(10)
                .and_then(|u| u.checked_add(u128::from(digit - b'0')))
                .ok_or(AmountError::Overflow)?;
        }
        if units > Self::SUPPLY_MAX.0 {
            return Err(AmountError::Overflow);
        }
        Ok(Self(units))
    }
}

impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u128(self.0)
        }
    }
}

impl<'de> serde::Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = alloc::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::whole("200", Ok(200_000_000))]
    #[case::places("0.000001", Ok(1))]
    #[case::leading_zero("007.50", Ok(7_500_000))]
    #[case::largest("1267650600228229401496703.205376", Ok(1 << 100))]
    #[case::above_largest("1267650600228229401496703.205377", Err(AmountError::Overflow))]
    #[case::far_above(
        "99999999999999999999999999999999999999999999",
        Err(AmountError::Overflow)
    )]
    #[case::empty("", Err(AmountError::NoDigits))]
    #[case::bare_point(".", Err(AmountError::NoDigits))]
    #[case::no_whole(".5", Err(AmountError::NoDigits))]
    #[case::no_part("5.", Err(AmountError::NoDigits))]
    #[case::sign("+5", Err(AmountError::Character))]
    #[case::minus("-5", Err(AmountError::Character))]
    #[case::exponent("1e3", Err(AmountError::Character))]
    #[case::not_a_number("NaN", Err(AmountError::Character))]
    #[case::two_points("1.2.3", Err(AmountError::Character))]
    #[case::blank(" 1", Err(AmountError::Character))]
    #[case::arabic_digits("١", Err(AmountError::Character))]
    #[case::seven_places("0.0000001", Err(AmountError::Places))]
    fn lg_2_text_form(#[case] text: &str, #[case] expected: Result<u128, AmountError>) {
        assert_eq!(text.parse::<Amount>().map(Amount::units), expected);
    }

    proptest! {
        #[test]
        fn lg_2_text_round_trips(units in 0..=Amount::SUPPLY_MAX.0) {
            let amount = Amount::from_units(units);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}
