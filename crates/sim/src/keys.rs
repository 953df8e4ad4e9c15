//! Signers and verifiers of a simulation: checksums for speed, or real signatures.

use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{
    KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Tier, Verifier,
};
use polity_types::Seed;

/// Which signatures a federation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Checksums: a run spends its time on the protocol.
    #[default]
    Stub,
    /// Real signatures.
    Ed25519,
}

impl Scheme {
    /// The weakest tier that a federation of this scheme accepts.
    pub fn tier(self) -> Tier {
        match self {
            Self::Stub => Tier::Stub,
            Self::Ed25519 => Tier::Ed25519,
        }
    }

    /// The signer for a purpose, which also names it.
    pub fn signer(self, seed: &Seed, purpose: &str) -> SimSigner {
        let seed = seed.fork(purpose);
        match self {
            Self::Stub => SimSigner::Stub(StubSigner::new(seed.stream().next_u64())),
            Self::Ed25519 => SimSigner::Ed25519(Ed25519Signer::from_seed(seed.as_bytes())),
        }
    }
}

/// A signer of either scheme.
#[derive(Clone, Debug)]
pub enum SimSigner {
    /// Makes checksums.
    Stub(StubSigner),
    /// Signs.
    Ed25519(Ed25519Signer),
}

impl Signer for SimSigner {
    fn public_key(&self) -> &PublicKey {
        match self {
            Self::Stub(signer) => signer.public_key(),
            Self::Ed25519(signer) => signer.public_key(),
        }
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        match self {
            Self::Stub(signer) => signer.sign(preimage),
            Self::Ed25519(signer) => signer.sign(preimage),
        }
    }
}

/// Verifies what either signer makes; the key says which. Floors of the genesis keep checksums out
/// of federations with real signatures.
#[derive(Clone, Debug, Default)]
pub struct SimVerifier {
    stub: StubVerifier,
    ed25519: Ed25519Verifier,
}

impl SimVerifier {
    /// A verifier that has parsed the keys of members.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self {
            stub: StubVerifier,
            ed25519: Ed25519Verifier::with_keys(keys),
        }
    }
}

impl Verifier for SimVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match key.suite() {
            Suite::Stub => self.stub.check_key(key),
            Suite::Hmac | Suite::Ed25519 | Suite::MlDsa65 | Suite::Hybrid | Suite::MlDsa87 => {
                self.ed25519.check_key(key)
            }
        }
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        match key.suite() {
            Suite::Stub => self.stub.judge(key, preimage, signature),
            Suite::Hmac | Suite::Ed25519 | Suite::MlDsa65 | Suite::Hybrid | Suite::MlDsa87 => {
                self.ed25519.judge(key, preimage, signature)
            }
        }
    }
}
