//! Tier 0: a checksum in the place of a signature. **For simulations and tests only.**
//!
//! Anybody can make these signatures. They cost a fraction of a microsecond, so a simulation
//! spends its time on the protocol. The node refuses keys of this suite.

use crate::{KeyError, Preimage, PublicKey, Signature, Signer, Suite, Verifier, VerifyError};

/// Signs with a checksum.
#[derive(Clone, Debug)]
pub struct StubSigner {
    key: PublicKey,
}

impl StubSigner {
    /// The signer with the given number.
    pub fn new(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let key =
            PublicKey::new(Suite::Stub, &bytes).expect("32 bytes are the length of the suite");
        Self { key }
    }
}

impl Signer for StubSigner {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        Signature::new(&checksum(&self.key, preimage))
    }
}

/// Accepts what a [`StubSigner`] makes, and nothing of another suite.
#[derive(Clone, Copy, Debug, Default)]
pub struct StubVerifier;

impl Verifier for StubVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match key.suite() {
            Suite::Stub => Ok(()),
            Suite::Hmac | Suite::Ed25519 => Err(KeyError::UnknownSuite),
        }
    }

    fn verify(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let is_valid =
            key.suite() == Suite::Stub && signature.as_slice() == checksum(key, preimage);
        if is_valid { Ok(()) } else { Err(VerifyError) }
    }
}

fn checksum(key: &PublicKey, preimage: &Preimage) -> [u8; 64] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"simulation only\0");
    hasher.update(key.key_bytes());
    hasher.update(preimage.as_slice());
    let mut out = [0; 64];
    hasher.finalize_xof().fill(&mut out);
    out
}
