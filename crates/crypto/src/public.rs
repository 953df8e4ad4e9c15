//! One verifier for every suite whose signatures convince everybody.

use crate::ed25519::Ed25519Verifier;
use crate::hybrid::HybridVerifier;
use crate::ml_dsa::MlDsaVerifier;
use crate::{KeyError, Preimage, PublicKey, Refusal, Signature, Suite, Verifier};

/// Verifies Ed25519, ML-DSA and hybrid signatures; the key says which. Stub and link keys are
/// refused: whoever verifies with them could have signed.
///
/// Which tier a kind of message needs is the caller's to check (CR-6).
#[derive(Clone, Debug, Default)]
pub struct PublicVerifier {
    ed25519: Ed25519Verifier,
    ml_dsa: MlDsaVerifier,
    hybrid: HybridVerifier,
}

impl PublicVerifier {
    /// A verifier that has parsed `keys`, at most [`PARSED_KEYS_MAX`](crate::PARSED_KEYS_MAX) of
    /// each scheme. Weak ones are left out; they verify nothing.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey, IntoIter: Clone>) -> Self {
        let keys = keys.into_iter();
        Self {
            ed25519: Ed25519Verifier::with_keys(keys.clone()),
            ml_dsa: MlDsaVerifier::with_keys(keys.clone()),
            hybrid: HybridVerifier::with_keys(keys),
        }
    }
}

impl Verifier for PublicVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match key.suite() {
            Suite::Stub | Suite::Hmac => Err(KeyError::UnknownSuite),
            Suite::Ed25519 => self.ed25519.check_key(key),
            Suite::MlDsa65 | Suite::MlDsa87 => self.ml_dsa.check_key(key),
            Suite::Hybrid => self.hybrid.check_key(key),
        }
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        match key.suite() {
            Suite::Stub | Suite::Hmac => Err(Refusal::Suite),
            Suite::Ed25519 => self.ed25519.judge(key, preimage, signature),
            Suite::MlDsa65 | Suite::MlDsa87 => self.ml_dsa.judge(key, preimage, signature),
            Suite::Hybrid => self.hybrid.judge(key, preimage, signature),
        }
    }
}
