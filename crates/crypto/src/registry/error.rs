//! Why a registry refuses.

use super::{KEYS_PER_PEER_MAX, PEERS_MAX};
use crate::{KeyError, KeyId, PeerId, VerifyError};
use core::time::Duration;
use polity_types::Time;

/// Why a record or a revocation is not taken. The registry is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The window is empty or longer than the rules allow.
    #[error(
        "the key would be valid for {found:?}, which must be more than nothing and at most {max:?}"
    )]
    Window {
        /// Length of the window.
        found: Duration,
        /// The longest for this suite.
        max: Duration,
    },
    /// The window lies too far back.
    #[error(
        "the key would be valid from {not_before} until {not_after}, and it is {now}: a window begins at the earliest {overlap:?} before and ends later"
    )]
    BackDated {
        /// Beginning of the window.
        not_before: Time,
        /// Its end.
        not_after: Time,
        /// The agreed time.
        now: Time,
        /// How far back a record reaches.
        overlap: Duration,
    },
    /// The peer is none of those that may come.
    #[error("nobody expects the peer {0} here: have it admitted first")]
    NotAdmitted(PeerId),
    /// The key cannot be registered.
    #[error("the key cannot be registered: {0}")]
    Key(#[from] KeyError),
    /// The key id, or half of the key, was registered before, under whatever peer.
    #[error("the key {0} or a half of it was registered before: make a new key")]
    Duplicate(KeyId),
    /// A first record whose peer is not named by its key, or a peer that has keys already.
    #[error("a first record names its peer by its own key; a known peer rotates instead")]
    NotFirst,
    /// No record names this peer.
    #[error("the peer has no keys yet: send its first record")]
    UnknownPeer,
    /// The peer has no such key.
    #[error("the peer has no key {0}")]
    UnknownKey(KeyId),
    /// The previous key is not the newest one.
    #[error("only the newest key {newest} can introduce another")]
    NotNewest {
        /// The newest key of the peer.
        newest: KeyId,
    },
    /// The previous key was revoked. Whenever the new window began, whoever holds a stolen key could
    /// have written that.
    #[error("the key {0} was revoked and introduces nobody: a peer rotates first and then revokes")]
    PreviousRevoked(KeyId),
    /// The key that signed does not speak for the peer now, whatever time it wrote.
    #[error("the key {key} introduces and revokes nobody now: {reason}")]
    NotNow {
        /// The key that signed.
        key: KeyId,
        /// Why it does not speak now.
        reason: Invalid,
    },
    /// The new window does not begin within that of the previous key.
    #[error("the new key must begin after {after} and before {before}")]
    Start {
        /// Beginning of the previous key.
        after: Time,
        /// Its end.
        before: Time,
    },
    /// The signer of a revocation came before the key that it revokes.
    #[error("a key is revoked by itself or by a later key of its peer")]
    MayNotRevoke,
    /// The key was revoked before, and that is in effect.
    #[error("the key was revoked at {0}, which is final")]
    AlreadyRevoked(Time),
    /// The moment of revocation lies before the key's window.
    #[error("a key cannot be revoked before it begins at {0}")]
    RevokedBeforeStart(Time),
    /// The registry is full.
    #[error("the registry holds {PEERS_MAX} peers")]
    TooManyPeers,
    /// The peer is full.
    #[error("the peer had {KEYS_PER_PEER_MAX} keys: it continues under a new name")]
    TooManyKeys,
    /// A signature is missing, does not hold or should not be there.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

/// Why a key did not speak for a peer at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The peer has no such key.
    #[error("the peer has no such key")]
    Unknown,
    /// Signed later than it was seen: what a key will be is not known.
    #[error("signed later than it was seen")]
    Ahead,
    /// Signed before the window.
    #[error("signed before the key was valid")]
    NotYet,
    /// Signed after the window.
    #[error("signed after the key ended")]
    Expired,
    /// Signed after the key was revoked.
    #[error("signed after the key was revoked")]
    Revoked,
}
