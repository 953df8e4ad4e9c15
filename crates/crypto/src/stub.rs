//! Tier 0: a checksum in the place of a signature. **For simulations and tests only.**
//!
//! Anybody can make these signatures. They cost a fraction of a microsecond, so a simulation
//! spends its time on the protocol. The node refuses keys of this suite.

use crate::{KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Verifier};

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
        if key.suite() == Suite::Stub {
            Ok(())
        } else {
            Err(KeyError::UnknownSuite)
        }
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        self.check_key(key)?;
        if signature.as_slice().len() != Suite::Stub.signature_length() {
            return Err(Refusal::Length);
        }
        if signature.as_slice() == checksum(key, preimage) {
            Ok(())
        } else {
            Err(Refusal::Equation)
        }
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
