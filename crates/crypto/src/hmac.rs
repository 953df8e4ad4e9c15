//! Tier 1: HMAC-SHA256 with a key for each direction of each link.
//!
//! It convinces the other end of a link and nobody else, because the other end could have made
//! it. So it authenticates links and never votes, certificates, evidence or transactions (CR-6).
//!
//! Keys are derived with HKDF-SHA256 from a secret that the operator gives to both peers; the
//! sender, the receiver and the purpose are in the `info`, so a message cannot be reflected or
//! used for something else.

use crate::{KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Verifier, domain};
use ::hmac::{Hmac, KeyInit, Mac};
use core::fmt;
use hkdf::Hkdf;
use sha2::Sha256;
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

    fn authenticator(&self, preimage: &Preimage) -> [u8; 32] {
        authenticator(&self.keyed, preimage.as_slice())
    }
}

pub(crate) fn authenticator(keyed: &Hmac<Sha256>, message: &[u8]) -> [u8; 32] {
    let mut mac = keyed.clone();
    mac.update(message);
    mac.finalize().into_bytes().into()
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

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        if key.suite() != Suite::Hmac {
            return Err(Refusal::Suite);
        }
        if *key != self.label {
            return Err(Refusal::Key);
        }
        if signature.as_slice().len() != Suite::Hmac.signature_length() {
            return Err(Refusal::Length);
        }
        // Compared in constant time.
        let mut mac = self.keyed.clone();
        mac.update(preimage.as_slice());
        mac.verify_slice(signature.as_slice())
            .map_err(|_| Refusal::Equation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_link_key_works_for_its_direction_and_purpose_alone() {
        let secret = [3; 32];
        let forth = LinkKey::derive(&secret, b"thor", b"sprout", "request");
        let same = LinkKey::derive(&secret, b"thor", b"sprout", "request");
        let back = LinkKey::derive(&secret, b"sprout", b"thor", "request");
        let other = LinkKey::derive(&secret, b"thor", b"sprout", "answer");
        let preimage = Preimage::new(domain::TEST).u64(1);
        let signature = forth.sign(&preimage);
        assert!(
            same.verify(forth.public_key(), &preimage, &signature)
                .is_ok()
        );
        for wrong in [&back, &other] {
            assert!(
                wrong
                    .verify(wrong.public_key(), &preimage, &signature)
                    .is_err()
            );
            assert!(
                wrong
                    .verify(forth.public_key(), &preimage, &signature)
                    .is_err()
            );
        }
        let changed = Preimage::new(domain::TEST).u64(2);
        assert!(
            same.verify(forth.public_key(), &changed, &signature)
                .is_err()
        );
        let short = Signature::new(&signature.as_slice()[..31]);
        assert!(same.verify(forth.public_key(), &preimage, &short).is_err());
    }

    #[test]
    fn cr_5_a_link_key_is_wiped_when_it_is_dropped() {
        // The keyed state is two states of the hash, which wipe themselves with this feature.
        fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
        is_wiped::<Sha256>();
        assert!(core::mem::needs_drop::<Hmac<Sha256>>());
    }

    fn keyed(key: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(key).unwrap()
    }

    /// RFC 4231, section 4. Its fifth case is about truncation, which we never do.
    #[rstest]
    #[case::case_1(&[0x0b; 20], b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")]
    #[case::case_2(
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )]
    #[case::case_3(&[0xaa; 20], &[0xdd; 50],
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe")]
    #[case::case_4(&core::array::from_fn::<u8, 25, _>(|index| index as u8 + 1), &[0xcd; 50],
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b")]
    #[case::case_6(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")]
    #[case::case_7(&[0xaa; 131], b"This is a test using a larger than block-size key and a larger \
than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2")]
    fn agrees_with_rfc_4231(#[case] key: &[u8], #[case] message: &[u8], #[case] expected: &str) {
        let expected: [u8; 32] = polity_types::decode_hex(expected).unwrap();
        assert_eq!(authenticator(&keyed(key), message), expected);
    }

    #[test]
    fn a_link_key_is_hkdf_of_the_secret_with_both_ends_and_the_purpose() {
        let secret = [7; 32];
        let link = LinkKey::derive(&secret, b"thor", b"sprout", "request");
        // RFC 5869: extract with a salt of zeros, then one round of expansion.
        let extracted = authenticator(&keyed(&[0; 32]), &secret);
        let info = b"polity/link/v1\0\x04\0\0\0thor\x06\0\0\0sprout\x07\0\0\0request\x01";
        let key = authenticator(&keyed(&extracted), info);
        let preimage = Preimage::new(domain::TEST).u64(1);
        let expected = authenticator(&keyed(&key), preimage.as_slice());
        assert_eq!(link.sign(&preimage).as_slice(), expected);
    }
}
