//! ML-DSA of FIPS 204: the parameter sets 65 and 87, each as a suite of its own.
//!
//! The message is the preimage, the context its domain: a signature of one domain holds in no other,
//! even for a verifier that is handed the bytes alone.
//!
//! Signing is deterministic (FIPS 204, section 3.4, with `rnd` = zeros), because a replica that
//! restarts must say the same. Who has randomness and no such duty may hand it in with
//! [`MlDsaSigner::sign_hedged`].

use crate::parsed::ParsedKeys;
use crate::{KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Verifier};
use ::ml_dsa::{
    B32, EncodedVerifyingKey, KeyExport as _, MlDsa65, MlDsa87, MlDsaParams, Seed, SigningKey,
    VerifyingKey,
};
use core::fmt;

/// Signs with ML-DSA alone. The secret is wiped when the signer is dropped.
#[derive(Clone)]
pub struct MlDsaSigner {
    secret: Secret,
    public: PublicKey,
}

/// The library keeps the expanded keys on the heap.
#[derive(Clone)]
enum Secret {
    Of65(SigningKey<MlDsa65>),
    Of87(SigningKey<MlDsa87>),
}

impl MlDsaSigner {
    /// ML-DSA-65 from the 32-byte seed of FIPS 204, section 5.1. The caller wipes its own copy.
    pub fn from_seed_65(seed: &[u8; 32]) -> Self {
        let (secret, public) = generate::<MlDsa65>(seed);
        Self {
            secret: Secret::Of65(secret),
            public: PublicKey::new(Suite::MlDsa65, &public).expect("the length of the suite"),
        }
    }

    /// ML-DSA-87 from the 32-byte seed of FIPS 204, section 5.1. The caller wipes its own copy.
    pub fn from_seed_87(seed: &[u8; 32]) -> Self {
        let (secret, public) = generate::<MlDsa87>(seed);
        Self {
            secret: Secret::Of87(secret),
            public: PublicKey::new(Suite::MlDsa87, &public).expect("the length of the suite"),
        }
    }

    /// Signs with fresh randomness from the caller, which makes faults and side channels harder to
    /// use. The same preimage then gets another signature each time, so this is not for votes.
    pub fn sign_hedged(&self, preimage: &Preimage, randomness: &[u8; 32]) -> Signature {
        let context = preimage.domain().as_str().as_bytes();
        let message = preimage.as_slice();
        match &self.secret {
            Secret::Of65(secret) => Signature::new(&sign(secret, message, context, randomness)),
            Secret::Of87(secret) => Signature::new(&sign(secret, message, context, randomness)),
        }
    }
}

impl fmt::Debug for MlDsaSigner {
    /// Shows the suite and the key id alone; the key is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MlDsaSigner({} {})",
            self.public.suite().name(),
            self.public.key_id()
        )
    }
}

impl Signer for MlDsaSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        self.sign_hedged(preimage, &[0; 32])
    }
}

/// Verifies ML-DSA-65 and ML-DSA-87. Keys named in advance are expanded once.
#[derive(Clone, Debug, Default)]
pub struct MlDsaVerifier {
    parsed: ParsedKeys<Parsed>,
}

enum Parsed {
    Of65(VerifyingKey<MlDsa65>),
    Of87(VerifyingKey<MlDsa87>),
}

impl Parsed {
    fn new(key: &PublicKey) -> Result<Self, KeyError> {
        match key.suite() {
            Suite::MlDsa65 => parse(key.key_bytes()).map(Self::Of65),
            Suite::MlDsa87 => parse(key.key_bytes()).map(Self::Of87),
            Suite::Stub | Suite::Hmac | Suite::Ed25519 | Suite::Hybrid => {
                Err(KeyError::UnknownSuite)
            }
        }
    }

    fn judge(&self, preimage: &Preimage, signature: &Signature) -> Result<(), Refusal> {
        let context = preimage.domain().as_str().as_bytes();
        let (message, signature) = (preimage.as_slice(), signature.as_slice());
        match self {
            Self::Of65(key) => judge(key, message, context, signature),
            Self::Of87(key) => judge(key, message, context, signature),
        }
    }
}

impl MlDsaVerifier {
    /// A verifier that has expanded `keys`, at most [`PARSED_KEYS_MAX`](crate::PARSED_KEYS_MAX) of
    /// them. Keys of other suites and weak ones are left out; they verify nothing.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self {
            parsed: ParsedKeys::new(keys, Parsed::new),
        }
    }
}

impl Verifier for MlDsaVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        Parsed::new(key).map(|_| ())
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        self.parsed
            .with(key, Parsed::new, |parsed| parsed.judge(preimage, signature))
    }
}

/// A secret key and the bytes of its public half.
pub(crate) fn generate<P: MlDsaParams>(seed: &[u8; 32]) -> (SigningKey<P>, EncodedVerifyingKey<P>) {
    // Borrowed as the library's array: no second copy of the seed to wipe.
    let secret = SigningKey::<P>::from_seed(<&Seed>::from(seed));
    let public = AsRef::<VerifyingKey<P>>::as_ref(&secret).to_bytes();
    (secret, public)
}

/// ML-DSA.Sign of FIPS 204, algorithm 2, with the randomness of the caller.
pub(crate) fn sign<P: MlDsaParams>(
    secret: &SigningKey<P>,
    message: &[u8],
    context: &[u8],
    randomness: &[u8; 32],
) -> ::ml_dsa::EncodedSignature<P> {
    let length = u8::try_from(context.len()).expect("domains and labels are short");
    let parts = [&[0, length][..], context, message];
    // The library gives up after thousands of rejections, which no message reaches by chance.
    secret
        .expanded_key()
        .sign_internal(&parts, <&B32>::from(randomness))
        .encode()
}

/// Expands a key. A key with `t1` = 0 is refused: the message drops out of its equation, so anybody
/// can sign with it. An honest key has it with probability 2^-10000.
pub(crate) fn parse<P: MlDsaParams>(bytes: &[u8]) -> Result<VerifyingKey<P>, KeyError> {
    /// Length in bytes of the seed that stands before `t1`.
    const RHO: usize = 32;
    let encoded = EncodedVerifyingKey::<P>::try_from(bytes).map_err(|_| KeyError::Length {
        expected: EncodedVerifyingKey::<P>::default().len(),
        found: bytes.len(),
    })?;
    if encoded[RHO..].iter().all(|byte| *byte == 0) {
        return Err(KeyError::Weak);
    }
    Ok(VerifyingKey::decode(&encoded))
}

/// ML-DSA.Verify of FIPS 204, algorithm 3.
pub(crate) fn judge<P: MlDsaParams>(
    key: &VerifyingKey<P>,
    message: &[u8],
    context: &[u8],
    signature: &[u8],
) -> Result<(), Refusal> {
    let encoded =
        ::ml_dsa::EncodedSignature::<P>::try_from(signature).map_err(|_| Refusal::Length)?;
    let signature = ::ml_dsa::Signature::decode(&encoded).ok_or(Refusal::Malformed)?;
    if key.verify_with_context(message, context, &signature) {
        Ok(())
    } else {
        Err(Refusal::Equation)
    }
}
