//! Digests, signatures and the one door to verified values.
//!
//! * [`Domain`] and [`Preimage`]: what is hashed and signed is an ASCII domain, a zero byte and
//!   fields of fixed layout. Nothing can be hashed or signed without naming its domain (CR-2).
//! * [`Sha256Digest`], [`Blake3Digest`]: a digest's type says how it was made.
//! * [`Signer`], [`Verifier`]: one pair of traits for every tier. [`ed25519`] is the default,
//!   [`hybrid`] adds [`ml_dsa`] to it, [`hmac`] authenticates links, [`stub`] runs in simulations and
//!   tests only. [`PublicVerifier`] takes every suite that convinces strangers.
//! * [`Refusal`], [`Refusals`]: why, for the operator. A peer sees a [`VerifyError`] and no more.
//! * [`Registry`]: which key spoke for which peer at which time (CR-7, CR-10).
//! * [`Checker`]: a verifier with a bounded memory of what it already accepted (CR-9).
//! * [`Verify`], [`Verified`]: a `Verified<T>` exists only if a [`Checker`] accepted the `T`.
//!
//! # What it is not
//!
//! No key storage and no randomness: secrets come in as 32 bytes, the host decides from where, and
//! signing is deterministic unless the caller hands randomness in. No clock: times are handed in.
//!
//! # Invariants
//!
//! 1. Replicas agree on which signatures are valid: one predicate per suite, strict for Ed25519
//!    (CR-1).
//! 2. No domain is a prefix of another (CR-2).
//! 3. Ids never come from signature bytes (CR-3).
//! 4. The cache holds positive answers only (CR-9).
//! 5. Both halves of a hybrid are evaluated, and neither is worth anything alone (CR-4).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bare;
mod checker;
mod digest;
pub mod domain;
pub mod ed25519;
pub mod hmac;
pub mod hybrid;
mod key;
pub mod ml_dsa;
mod parsed;
mod preimage;
mod public;
mod record;
mod refusal;
mod registry;
mod signature;
pub mod stub;
mod verified;

pub use checker::Checker;
pub use digest::{Blake3Digest, Sha256Digest, fork_id, root_chain_id, root_fork_id};
pub use domain::Domain;
pub use key::{KeyError, KeyId, PUBLIC_KEY_BYTES_MAX, PublicKey, SIGNATURE_BYTES_MAX, Suite, Tier};
pub use parsed::PARSED_KEYS_MAX;
pub use preimage::Preimage;
pub use public::PublicVerifier;
pub use record::{KeyRecord, PeerId, RECORD_BYTES_MAX, Revocation, SignedRecord, SignedRevocation};
pub use refusal::{Refusal, Refusals};
pub use registry::{
    Admission, Invalid, KEYS_PER_PEER_MAX, KeyEntry, PEERS_MAX, Registry, RegistryError, Revoked,
    RotationRules, Valid,
};
pub use signature::{Signature, Signer, Verifier, VerifyError};
pub use verified::{Verified, Verify};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
