//! Tier 1: HMAC-SHA256 with a key for each direction of each link.
//!
//! It convinces the other end of a link and nobody else, because the other end could have made
//! it. So it authenticates links and never votes, certificates, evidence or transactions (CR-6).
//!
//! Keys are derived with HKDF-SHA256 from a secret that the operator gives to both peers; the
//! sender, the receiver and the purpose are in the `info`, so a message cannot be reflected or
//! used for something else.

use crate::{
    KeyError, Preimage, PublicKey, Signature, Signer, Suite, Verifier, VerifyError, domain,
};
use alloc::vec::Vec;
use core::fmt;
use ::hmac::{Hmac, KeyInit, Mac};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// One direction of one link: signs at one end and verifies at the other.
#[derive(Clone)]
pub struct LinkKey {
    /// HMAC with the key already absorbed.
    keyed: Hmac<Sha256>,
    label: PublicKey,
}

impl LinkKey {
    /// Derives the key for messages of kind `purpose` that go from `from` to `to`.
    pub fn derive(secret: &[u8; 32], from: &[u8], to: &[u8], purpose: &str) -> Self {
        let info = Preimage::new(domain::LINK)
            .bytes(from)
            .bytes(to)
            .bytes(purpose.as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, secret)
            .expand(info.as_slice(), &mut *key)
            .expect("32 bytes are less than HKDF can give");
        let keyed = Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length");
        let label = PublicKey::new(Suite::Hmac, info.sha256().as_bytes())
            .expect("32 bytes are the length of the suite");
        Self { keyed, label }
    }

    fn authenticator(&self, preimage: &Preimage) -> Vec<u8> {
        let mut mac = self.keyed.clone();
        mac.update(preimage.as_slice());
        mac.finalize().into_bytes().to_vec()
    }
}

impl fmt::Debug for LinkKey {
    /// Shows the public label alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKey({})", self.label)
    }
}

impl Signer for LinkKey {
    /// The label of the link: a digest of who talks to whom about what.
    fn public_key(&self) -> &PublicKey {
        &self.label
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        Signature::new(&self.authenticator(preimage))
    }
}

impl Verifier for LinkKey {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        if *key == self.label {
            Ok(())
        } else {
            Err(KeyError::UnknownSuite)
        }
    }

    fn verify(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let expected = self.authenticator(preimage);
        let is_valid =
            *key == self.label && bool::from(expected.as_slice().ct_eq(signature.as_slice()));
        if is_valid { Ok(()) } else { Err(VerifyError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_key_works_for_its_direction_and_purpose_alone() {
        let secret = [3; 32];
        let forth = LinkKey::derive(&secret, b"thor", b"sprout", "request");
        let same = LinkKey::derive(&secret, b"thor", b"sprout", "request");
        let back = LinkKey::derive(&secret, b"sprout", b"thor", "request");
        let other = LinkKey::derive(&secret, b"thor", b"sprout", "answer");
        let preimage = Preimage::new(domain::TEST).u64(1);
        let signature = forth.sign(&preimage);
        assert!(same.verify(forth.public_key(), &preimage, &signature).is_ok());
        for wrong in [&back, &other] {
            assert!(wrong.verify(wrong.public_key(), &preimage, &signature).is_err());
            assert!(wrong.verify(forth.public_key(), &preimage, &signature).is_err());
        }
        let changed = Preimage::new(domain::TEST).u64(2);
        assert!(same.verify(forth.public_key(), &changed, &signature).is_err());
        let short = Signature::new(&signature.as_slice()[..31]);
        assert!(same.verify(forth.public_key(), &preimage, &short).is_err());
    }
}
