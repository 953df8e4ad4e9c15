//! Names of accounts and platforms (LG-3).
//!
//! Both are ASCII: Unicode has several spellings of one text, and which of them are equal depends
//! on the tables of a build, so two replicas could disagree about which account is meant.

use alloc::boxed::Box;
use alloc::format;
use core::borrow::Borrow;
use core::str::FromStr;

/// Why a text names no account or platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or more than one.
    #[error("an address is written agent@platform, with one @")]
    Shape,
    /// The agent is empty or too long.
    #[error("an agent has 1 to {max} characters, not {length}", max = Address::AGENT_MAX)]
    AgentLength {
        /// Bytes that were given.
        length: usize,
    },
    /// The agent has a character that is not allowed.
    #[error("an agent has printable ASCII characters only, without space and @")]
    AgentCharacter,
    /// The platform is empty or too long.
    #[error("a platform has 1 to {max} characters, not {length}", max = PlatformName::LENGTH_MAX)]
    PlatformLength {
        /// Bytes that were given.
        length: usize,
    },
    /// The platform has a character that is not allowed.
    #[error("a platform has only the characters a-z 0-9 . _ -")]
    PlatformCharacter,
}

/// An account: `agent@platform`.
///
/// ```
/// use polity_ledger::Address;
///
/// let alice: Address = "alice@thor".parse()?;
/// assert_eq!((alice.agent(), alice.platform()), ("alice", "thor"));
/// assert!("alice@Thor".parse::<Address>().is_err());
/// # Ok::<(), polity_ledger::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Box<str>);

impl Address {
    /// Longest agent in bytes.
    pub const AGENT_MAX: usize = 128;
    /// Longest address in bytes, the `@` included.
    pub const LENGTH_MAX: usize = Self::AGENT_MAX + 1 + PlatformName::LENGTH_MAX;

    /// The account of `agent` on `platform`.
    pub fn new(agent: &str, platform: &str) -> Result<Self, AddressError> {
        format!("{agent}@{platform}").parse()
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`.
    pub fn agent(&self) -> &str {
        self.parts().0
    }

    /// The part after the `@`.
    pub fn platform(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('@').unwrap_or((&self.0, ""))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (agent, platform) = text.split_once('@').ok_or(AddressError::Shape)?;
        if platform.contains('@') {
            return Err(AddressError::Shape);
        }
        let length = agent.len();
        if length == 0 || length > Self::AGENT_MAX {
            return Err(AddressError::AgentLength { length });
        }
        if !agent.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(AddressError::AgentCharacter);
        }
        check_platform(platform)?;
        Ok(Self(text.into()))
    }
}

/// The name of a platform.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformName(Box<str>);

impl PlatformName {
    /// Longest name in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Maps by platform are asked with the platform of an address, which is a piece of text.
impl Borrow<str> for PlatformName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlatformName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        check_platform(text)?;
        Ok(Self(text.into()))
    }
}

fn check_platform(name: &str) -> Result<(), AddressError> {
    let length = name.len();
    if length == 0 || length > PlatformName::LENGTH_MAX {
        return Err(AddressError::PlatformLength { length });
    }
    let is_allowed =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-');
    if !name.bytes().all(is_allowed) {
        return Err(AddressError::PlatformCharacter);
    }
    Ok(())
}

/// Text, debug and serde forms of a checked text.
macro_rules! checked_text {
    ($name:ident, $expecting:literal) => {
        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct Visitor;
                impl ::serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}
pub(crate) use checked_text;

checked_text!(Address, "an address agent@platform");
checked_text!(PlatformName, "the name of a platform");
