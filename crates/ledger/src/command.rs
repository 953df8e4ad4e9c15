//! What a transaction asks for (LG-5).

use crate::address::checked_text;
use crate::{Address, LockId, PlatformName};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use polity_crypto::{Preimage, PublicKey};
use polity_types::{Amount, Time};

/// One change of the ledger.
///
/// A transaction holds one command, or several that happen together or not at all. There is no
/// command that sets a balance: the genesis does that once (LG-11).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Opens an account. Signed by its platform.
    OpenAccount {
        /// The new account.
        account: Address,
        /// The key that may spend from it.
        owner: PublicKey,
    },
    /// Closes an empty account for ever. Signed by its platform.
    CloseAccount {
        /// The account.
        account: Address,
    },
    /// Moves an amount at once. Signed by the payer.
    Transfer {
        /// The payer.
        from: Address,
        /// The payee.
        to: Address,
        /// What is moved.
        amount: Amount,
    },
    /// Reserves an amount for the payee. Signed by the payer.
    Lock {
        /// The payer.
        from: Address,
        /// The payee.
        to: Address,
        /// What is reserved.
        amount: Amount,
        /// From this block time on the lock can only expire.
        expires: Time,
    },
    /// Pays a lock. Signed by the payee's platform, or by the payer for the whole amount.
    Commit {
        /// The lock.
        lock: LockId,
        /// What is paid; the rest of the lock returns to the payer.
        amount: Amount,
    },
    /// Gives a lock back to the payer. Signed by the payee's platform.
    Rollback {
        /// The lock.
        lock: LockId,
        /// Why, for people.
        reason: Reason,
    },
    /// Replaces the owner's key. Signed with the key so far.
    RotateKey {
        /// The account.
        account: Address,
        /// The new key.
        key: PublicKey,
    },
    /// Stops an account from paying, or lets it pay again. Signed by the authority.
    FreezeAccount {
        /// The account.
        account: Address,
        /// Whether the account is frozen from now on.
        frozen: bool,
    },
    /// Adds a platform. Signed by the authority.
    RegisterPlatform {
        /// Its name.
        platform: PlatformName,
        /// The key that opens accounts and settles locks of its agents.
        key: PublicKey,
        /// How many accounts it may open without paying for them.
        quota: u64,
    },
    /// Creates ATP. Signed by the authority.
    Mint {
        /// Who gets it.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Destroys ATP. Signed by the authority.
    Burn {
        /// Who loses it.
        from: Address,
        /// How much.
        amount: Amount,
    },
    /// Records a change of the committee for the next epoch. Signed by the authority.
    ChangeCommittee {
        /// The change, as consensus encodes it.
        change: CommitteeChange,
    },
}

impl Command {
    /// Appends the fixed layout: a tag, then the fields in order.
    pub(crate) fn layout(&self, preimage: Preimage) -> Preimage {
        let text = |preimage: Preimage, tag: u8, address: &Address| {
            preimage.u8(tag).bytes(address.as_str().as_bytes())
        };
        match self {
            Self::OpenAccount { account, owner } => key(text(preimage, 1, account), owner),
            Self::CloseAccount { account } => text(preimage, 2, account),
            Self::Transfer { from, to, amount } => text(preimage, 3, from)
                .bytes(to.as_str().as_bytes())
                .u128(amount.units()),
            Self::Lock {
                from,
                to,
                amount,
                expires,
            } => text(preimage, 4, from)
                .bytes(to.as_str().as_bytes())
                .u128(amount.units())
                .u64(expires.as_millis()),
            Self::Commit { lock, amount } => {
                preimage.u8(5).array(lock.as_bytes()).u128(amount.units())
            }
            Self::Rollback { lock, reason } => preimage
                .u8(6)
                .array(lock.as_bytes())
                .bytes(reason.as_str().as_bytes()),
            Self::RotateKey { account, key: new } => key(text(preimage, 7, account), new),
            Self::FreezeAccount { account, frozen } => {
                text(preimage, 8, account).u8(u8::from(*frozen))
            }
            Self::RegisterPlatform {
                platform,
                key: new,
                quota,
            } => key(preimage.u8(9).bytes(platform.as_str().as_bytes()), new).u64(*quota),
            Self::Mint { to, amount } => text(preimage, 10, to).u128(amount.units()),
            Self::Burn { from, amount } => text(preimage, 11, from).u128(amount.units()),
            Self::ChangeCommittee { change } => preimage.u8(12).bytes(change.as_slice()),
        }
    }
}

/// Suite and key, with the length of the key.
pub(crate) fn key(preimage: Preimage, key: &PublicKey) -> Preimage {
    preimage.u8(key.suite().number()).bytes(key.key_bytes())
}

/// Why a lock is given back, for people: at most 64 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(Box<str>);

/// A text is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason has at most {max} printable ASCII characters", max = Reason::LENGTH_MAX)]
pub struct ReasonError;

impl Reason {
    /// Longest reason in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let is_allowed = |c: u8| c == b' ' || c.is_ascii_graphic();
        if text.len() > Self::LENGTH_MAX || !text.bytes().all(is_allowed) {
            return Err(ReasonError);
        }
        Ok(Self(text.into()))
    }
}

checked_text!(Reason, "a short printable text");

/// A committee change as consensus encodes it. The ledger orders and keeps it and reads nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct CommitteeChange(#[serde(with = "polity_types::hex_bytes")] Vec<u8>);

/// Bytes are too long for a committee change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a committee change has at most {max} bytes", max = CommitteeChange::LENGTH_MAX)]
pub struct CommitteeChangeError;

impl CommitteeChange {
    /// Longest change in bytes.
    pub const LENGTH_MAX: usize = 4096;

    /// Wraps the bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, CommitteeChangeError> {
        if bytes.len() > Self::LENGTH_MAX {
            return Err(CommitteeChangeError);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CommitteeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitteeChange({} bytes)", self.0.len())
    }
}

impl<'de> serde::Deserialize<'de> for CommitteeChange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = polity_types::hex_bytes::deserialize(deserializer)?;
        Self::new(&bytes).map_err(serde::de::Error::custom)
    }
}
