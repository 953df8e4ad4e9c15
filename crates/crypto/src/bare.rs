//! The predicates over bytes that carry no domain.
//!
//! They are for known answers of standards and for foreign formats, whose messages are not ours to
//! frame. Nothing here signs, and no protocol of this workspace verifies with it: see
//! [`Preimage`](crate::Preimage).

use crate::hmac::authenticator;
use crate::{KeyError, PublicKey, Refusal, Suite, ed25519, ml_dsa};
use ::hmac::{Hmac, KeyInit as _};
use ::ml_dsa::{MlDsa65, MlDsa87};

/// HMAC-SHA256 of the message.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
    authenticator(&keyed, message)
}

/// Strict Ed25519 or ML-DSA, as the suite of the key says. Ed25519 has no context; there it must be
/// empty.
pub fn verify(
    key: &PublicKey,
    message: &[u8],
    context: &[u8],
    signature: &[u8],
) -> Result<(), Refusal> {
    match key.suite() {
        Suite::Ed25519 if context.is_empty() => {
            ed25519::judge(&ed25519::parse_bytes(key.key_bytes())?, message, signature)
        }
        Suite::MlDsa65 => {
            let key = ml_dsa::parse::<MlDsa65>(key.key_bytes())?;
            ml_dsa::judge(&key, message, context, signature)
        }
        Suite::MlDsa87 => {
            let key = ml_dsa::parse::<MlDsa87>(key.key_bytes())?;
            ml_dsa::judge(&key, message, context, signature)
        }
        Suite::Stub | Suite::Hmac | Suite::Ed25519 | Suite::Hybrid => {
            Err(KeyError::UnknownSuite.into())
        }
    }
}
