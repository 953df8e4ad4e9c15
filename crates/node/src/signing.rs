//! With what a node signs and verifies: one signer and one verifier for every suite that convinces
//! strangers, and the library behind them (CR-6, CR-8).
//!
//! ```text
//!                    rust (polity-crypto)      aws-lc
//!  Ed25519           ed25519-dalek             aws-lc-rs, with the checks of CR-1 in front
//!  ML-DSA, hybrid    ml-dsa                    ml-dsa
//! ```
//!
//! ML-DSA stays with `ml-dsa` under both: every signature of ours has a context, and aws-lc-rs offers
//! none. A verifier that answers differently is a fork, so what cannot be the same is not taken.

use crate::keys::token::TokenSigner;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, ParsedPublicKey};
use polity_crypto::ed25519::Ed25519Signer;
use polity_crypto::hybrid::{COMPOSITE_PREFIX, HybridSigner};
use polity_crypto::ml_dsa::MlDsaSigner;
use polity_crypto::{
    KeyError, PARSED_KEYS_MAX, Preimage, PublicKey, PublicVerifier, Refusal, Signature, Signer,
    Suite, Tier, Verifier,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The library that does the arithmetic. No answer depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Pure Rust.
    #[default]
    Rust,
    /// aws-lc-rs where it gives the same answers, which is Ed25519.
    AwsLc,
}

impl Provider {
    /// Name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::AwsLc => "aws-lc",
        }
    }
}

/// Reads a provider from a command line.
///
/// # Errors
///
/// A sentence that says which ones there are.
pub fn parse_provider(text: &str) -> Result<Provider, String> {
    [Provider::Rust, Provider::AwsLc]
        .into_iter()
        .find(|provider| provider.name() == text)
        .ok_or_else(|| "the providers are rust and aws-lc".to_owned())
}

/// A suite with which a node does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node signs with {}: whoever can verify it could have made it; use ed25519 or hybrid", .0.name())]
pub struct SuiteError(pub Suite);

/// The suite of new keys that reach a tier.
///
/// # Errors
///
/// If signatures of the tier convince nobody.
pub fn suite_of(tier: Tier) -> Result<Suite, SuiteError> {
    match tier {
        Tier::Stub => Err(SuiteError(Suite::Stub)),
        Tier::Hmac => Err(SuiteError(Suite::Hmac)),
        Tier::Ed25519 => Ok(Suite::Ed25519),
        Tier::Hybrid => Ok(Suite::Hybrid),
    }
}

/// Reads the tier of a federation from a command line.
///
/// # Errors
///
/// A sentence that says why the tier is none for a federation, or which ones there are.
pub fn parse_tier(text: &str) -> Result<Tier, String> {
    match text {
        "ed25519" => Ok(Tier::Ed25519),
        "hybrid" => Ok(Tier::Hybrid),
        // Links alone: an authenticator convinces nobody but its receiver, so votes and payments are signed.
        "hmac" => Ok(Tier::Hmac),
        "stub" => Err("anybody can make the checksums of this tier, so it is for `polity sim` alone; take hmac, ed25519 or hybrid".to_owned()),
        _ => Err("the tiers are hmac, ed25519 and hybrid".to_owned()),
    }
}

/// Signs with a key of any suite that convinces strangers.
#[derive(Clone)]
pub enum NodeSigner {
    /// Ed25519.
    Ed25519(Ed25519Signer),
    /// Ed25519 by aws-lc-rs.
    AwsLc(AwsLcSigner),
    /// ML-DSA-65 or ML-DSA-87 alone.
    MlDsa(MlDsaSigner),
    /// Both schemes.
    Hybrid(HybridSigner),
    /// Ed25519 in a token.
    Token(TokenSigner),
}

impl NodeSigner {
    /// The key of this suite and seed. The caller wipes its own copy of the seed.
    ///
    /// # Errors
    ///
    /// If signatures of the suite convince nobody.
    pub fn from_seed(
        suite: Suite,
        seed: &[u8; 32],
        provider: Provider,
    ) -> Result<Self, SuiteError> {
        match (suite, provider) {
            (Suite::Ed25519, Provider::Rust) => Ok(Self::Ed25519(Ed25519Signer::from_seed(seed))),
            (Suite::Ed25519, Provider::AwsLc) => Ok(Self::AwsLc(AwsLcSigner::from_seed(seed))),
            (Suite::MlDsa65, _) => Ok(Self::MlDsa(MlDsaSigner::from_seed_65(seed))),
            (Suite::MlDsa87, _) => Ok(Self::MlDsa(MlDsaSigner::from_seed_87(seed))),
            (Suite::Hybrid, _) => Ok(Self::Hybrid(HybridSigner::from_seed(seed))),
            (Suite::Stub | Suite::Hmac, _) => Err(SuiteError(suite)),
        }
    }
}

impl fmt::Debug for NodeSigner {
    /// Shows the suite and the key id alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.public_key();
        write!(f, "NodeSigner({} {})", key.suite().name(), key.key_id())
    }
}

impl Signer for NodeSigner {
    fn public_key(&self) -> &PublicKey {
        match self {
            Self::Ed25519(signer) => signer.public_key(),
            Self::AwsLc(signer) => signer.public_key(),
            Self::MlDsa(signer) => signer.public_key(),
            Self::Hybrid(signer) => signer.public_key(),
            Self::Token(signer) => signer.public_key(),
        }
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        match self {
            Self::Ed25519(signer) => signer.sign(preimage),
            Self::AwsLc(signer) => signer.sign(preimage),
            Self::MlDsa(signer) => signer.sign(preimage),
            Self::Hybrid(signer) => signer.sign(preimage),
            Self::Token(signer) => signer.sign(preimage),
        }
    }
}

/// Signs Ed25519 with aws-lc-rs, which wipes the secret when the last clone is dropped.
#[derive(Clone)]
pub struct AwsLcSigner {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl AwsLcSigner {
    fn from_seed(seed: &[u8; 32]) -> Self {
        use aws_lc_rs::signature::KeyPair as _;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let public = PublicKey::new(Suite::Ed25519, pair.public_key().as_ref())
            .expect("32 bytes are the length of the suite");
        Self {
            pair: Arc::new(pair),
            public,
        }
    }
}

impl fmt::Debug for AwsLcSigner {
    /// Shows the public key alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsLcSigner({})", self.public)
    }
}

impl Signer for AwsLcSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        // Ed25519 draws no randomness, so the signature is that of any other library.
        Signature::new(self.pair.sign(preimage.as_slice()).as_ref())
    }
}

/// Verifies every suite that convinces strangers.
#[derive(Clone, Debug)]
pub enum NodeVerifier {
    /// Pure Rust.
    Rust(PublicVerifier),
    /// aws-lc-rs for Ed25519, pure Rust for the rest.
    AwsLc(AwsLcVerifier),
}

impl NodeVerifier {
    /// A verifier that has parsed `keys`, as far as there is room for them.
    pub fn with_keys<'a>(
        provider: Provider,
        keys: impl IntoIterator<Item = &'a PublicKey, IntoIter: Clone>,
    ) -> Self {
        match provider {
            Provider::Rust => Self::Rust(PublicVerifier::with_keys(keys)),
            Provider::AwsLc => Self::AwsLc(AwsLcVerifier::with_keys(keys)),
        }
    }

    /// A verifier that parses keys as they come.
    pub fn new(provider: Provider) -> Self {
        Self::with_keys(provider, [])
    }
}

impl Default for NodeVerifier {
    fn default() -> Self {
        Self::new(Provider::Rust)
    }
}

impl Verifier for NodeVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match self {
            Self::Rust(verifier) => verifier.check_key(key),
            Self::AwsLc(verifier) => verifier.rust.check_key(key),
        }
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        match self {
            Self::Rust(verifier) => verifier.judge(key, preimage, signature),
            Self::AwsLc(verifier) => verifier.judge(key, preimage, signature),
        }
    }
}

/// The predicate of [`PublicVerifier`], with aws-lc-rs for the equation of Ed25519.
#[derive(Clone)]
pub struct AwsLcVerifier {
    rust: PublicVerifier,
    /// At most [`PARSED_KEYS_MAX`], all of them sound (CR-1).
    parsed: Arc<BTreeMap<PublicKey, ParsedPublicKey>>,
}

impl AwsLcVerifier {
    fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey, IntoIter: Clone>) -> Self {
        let keys = keys.into_iter();
        let rust =
            PublicVerifier::with_keys(keys.clone().filter(|key| key.suite() != Suite::Ed25519));
        let mut parsed = BTreeMap::new();
        for key in keys.filter(|key| key.suite() == Suite::Ed25519) {
            if parsed.len() == PARSED_KEYS_MAX {
                break;
            }
            if let Ok(value) = parse(&rust, key) {
                parsed.insert(key.clone(), value);
            }
        }
        Self {
            rust,
            parsed: Arc::new(parsed),
        }
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        if key.suite() != Suite::Ed25519 {
            return self.rust.judge(key, preimage, signature);
        }
        match self.parsed.get(key) {
            Some(parsed) => strict(parsed, preimage.as_slice(), signature.as_slice()),
            None => strict(
                &parse(&self.rust, key)?,
                preimage.as_slice(),
                signature.as_slice(),
            ),
        }
    }
}

impl fmt::Debug for AwsLcVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsLcVerifier({} keys)", self.parsed.len())
    }
}

/// Refuses what the Rust predicate refuses: a key that is no point, a second spelling, or weak.
fn parse(rust: &PublicVerifier, key: &PublicKey) -> Result<ParsedPublicKey, KeyError> {
    rust.check_key(key)?;
    ParsedPublicKey::new(&ED25519, key.key_bytes()).map_err(|_| KeyError::Weak)
}

/// The eight points of small order, as they are written. A second spelling of one cannot be the `R` of a
/// signature that holds: aws-lc-rs compares `R` with the bytes of the point that it computes.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const ORDER_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const OTHER_8: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut order_2 = [0xff; 32];
    order_2[0] = 0xec;
    order_2[31] = 0x7f;
    [
        identity,
        order_2,
        [0; 32],
        negative([0; 32]),
        ORDER_8,
        negative(ORDER_8),
        OTHER_8,
        negative(OTHER_8),
    ]
};

/// The same `y` with the other sign of `x`.
const fn negative(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

/// The strict predicate of CR-1 for a key that [`parse`] let through.
fn strict(key: &ParsedPublicKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    if message.starts_with(COMPOSITE_PREFIX) {
        return Err(Refusal::Composite);
    }
    let (r, _) = signature
        .split_first_chunk::<32>()
        .filter(|_| signature.len() == Suite::Ed25519.signature_length())
        .ok_or(Refusal::Length)?;
    if SMALL_ORDER.contains(r) {
        return Err(Refusal::Equation);
    }
    key.verify_sig(message, signature)
        .map_err(|_| Refusal::Equation)
}

#[cfg(test)]
mod tests;
