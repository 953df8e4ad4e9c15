//! Evidence against a peer: its bytes, and E4's checks in E4's order.

use crate::hash::{encode_hex, hex_sha256, sha256};
use crate::keys::{Backend, Registry, verify_signature};
use crate::proof;
use crate::{Mode, Refusal};

/// How far a timestamp may be ahead, in seconds.
const SKEW_MAX: f64 = 60.0;

/// What a peer is accused of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Two statements with one number.
    Equivocation,
    /// A path that leads to another root than expected.
    MerkleDivergence,
    /// A clock that runs back.
    ClockRegression,
    /// A delta that is not what its hash says.
    InvalidDelta,
    /// Two states that differ.
    TrustManipulation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Equivocation,
        Self::MerkleDivergence,
        Self::ClockRegression,
        Self::InvalidDelta,
        Self::TrustManipulation,
    ];

    /// E4's name of the type.
    pub fn label(self) -> &'static str {
        match self {
            Self::Equivocation => "equivocation",
            Self::MerkleDivergence => "merkle_divergence",
            Self::ClockRegression => "clock_regression",
            Self::InvalidDelta => "invalid_delta",
            Self::TrustManipulation => "trust_manipulation",
        }
    }

    /// E4's name of the form of its proof.
    pub fn proof_label(self) -> &'static str {
        match self {
            Self::Equivocation => "attestation_pair",
            Self::MerkleDivergence => "merkle_path",
            Self::ClockRegression => "vector_clock_pair",
            Self::InvalidDelta => "delta_verification",
            Self::TrustManipulation => "trust_state_pair",
        }
    }

    /// The type of a name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// An accusation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Who accuses.
    pub observer: String,
    /// Who is accused.
    pub target: String,
    /// E4's name of the type; see [`Kind`].
    pub evidence_type: String,
    /// The dimension that is counted.
    pub dimension: String,
    /// What is added.
    pub amount: f64,
    /// The proof, in the form of its type.
    pub proof: Vec<u8>,
    /// E4's name of the form of the proof.
    pub proof_type: String,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// Signature of the observer, or nothing.
    pub signature: Vec<u8>,
    /// Key of the observer as the message has it, or nothing.
    pub public_key: Vec<u8>,
}

/// What the verifier knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Keys by observer; without one E4 takes unsigned evidence.
    pub registry: Option<&'a Registry>,
    /// Whether Ed25519 is there; E4 falls back to codes keyed by public bytes.
    pub backend: Backend,
    /// Whether a signature has to be there. Always so in strict mode.
    pub is_signature_required: bool,
    /// The root that a Merkle path must not lead to.
    pub expected_root: Option<&'a str>,
    /// Seconds an accusation may be old. E4's lattice never sets it.
    pub age_max: Option<f64>,
    /// Seconds since 1970.
    pub now: f64,
}

impl Evidence {
    /// Evidence without a signature; the form of the proof follows from the type.
    pub fn new(
        observer: &str,
        target: &str,
        kind: Kind,
        dimension: &str,
        amount: f64,
        proof: Vec<u8>,
        timestamp: f64,
    ) -> Self {
        Self {
            observer: observer.to_owned(),
            target: target.to_owned(),
            evidence_type: kind.label().to_owned(),
            dimension: dimension.to_owned(),
            amount,
            proof,
            proof_type: kind.proof_label().to_owned(),
            timestamp,
            signature: Vec::new(),
            public_key: Vec::new(),
        }
    }

    /// What the observer signs: four texts that end with NUL, two numbers, the proof. Ids with NUL
    /// have the payload of other ids (E3).
    pub fn signed_payload(&self) -> Vec<u8> {
        let texts = [
            &self.observer,
            &self.target,
            &self.evidence_type,
            &self.dimension,
        ];
        let mut bytes = terminated(texts);
        bytes.extend_from_slice(&self.amount.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.proof);
        bytes
    }

    /// The form that is hashed: without signature and key (E5).
    ///
    /// # Errors
    ///
    /// If the proof is longer than its length field can say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        let texts = [
            &self.observer,
            &self.target,
            &self.evidence_type,
            &self.dimension,
            &self.proof_type,
        ];
        let mut bytes = terminated(texts);
        bytes.extend_from_slice(&self.amount.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        let length = u32::try_from(self.proof.len()).map_err(|_| Refusal::TooLong("proof"))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.proof);
        Ok(bytes)
    }

    /// Reads [`Self::to_bytes`], for which E4 has no reader.
    ///
    /// # Errors
    ///
    /// Always in strict mode: the form carries no signature (E5). Otherwise if the bytes are not
    /// what the writer produces.
    pub fn from_bytes(bytes: &[u8], mode: Mode) -> Result<Self, Refusal> {
        if mode == Mode::Strict {
            return Err(Refusal::UnsignedForm);
        }
        let mut parts = bytes.splitn(6, |&byte| byte == 0);
        let mut text = || {
            let part = parts.next().ok_or(Refusal::Truncated)?;
            String::from_utf8(part.to_vec()).map_err(|_| Refusal::NotUtf8)
        };
        let (observer, target, evidence_type) = (text()?, text()?, text()?);
        let (dimension, proof_type) = (text()?, text()?);
        let rest = parts.next().ok_or(Refusal::Truncated)?;
        let (amount, rest) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
        let (timestamp, rest) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
        let (length, proof) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
        let evidence = Self {
            observer,
            target,
            evidence_type,
            dimension,
            proof_type,
            amount: f64::from_be_bytes(*amount),
            timestamp: f64::from_be_bytes(*timestamp),
            proof: proof.to_vec(),
            signature: Vec::new(),
            public_key: Vec::new(),
        };
        if u32::from_be_bytes(*length) as usize != proof.len() {
            return Err(Refusal::NotCanonical);
        }
        Ok(evidence)
    }

    /// Digest of [`Self::to_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn content_hash(&self) -> Result<String, Refusal> {
        Ok(hex_sha256([self.to_bytes()?.as_slice()]))
    }

    /// Whether E4 takes the evidence, bit-exact. Most of what it takes anybody can write (E1).
    pub fn verify(&self, context: &Context<'_>) -> bool {
        let Some(kind) = Kind::from_label(&self.evidence_type) else {
            return false;
        };
        if kind.proof_label() != self.proof_type || !is_amount(self.amount) {
            return false;
        }
        if let Some(age_max) = context.age_max {
            let age = context.now - self.timestamp;
            // A timestamp that is no number passes both comparisons (E4).
            if age > age_max || age < -SKEW_MAX {
                return false;
            }
        }
        let has_checkable_signature = !self.signature.is_empty() && context.registry.is_some();
        if (context.is_signature_required || has_checkable_signature)
            && !self.is_signed(context.registry, context.backend)
        {
            return false;
        }
        self.has_proof(kind, context.expected_root)
    }

    fn is_signed(&self, registry: Option<&Registry>, backend: Backend) -> bool {
        let registered = registry.and_then(|registry| registry.get(&self.observer));
        let key = match registered {
            Some(key) if !key.is_empty() => key,
            // The key inside of the message speaks for itself (E2).
            _ => &self.public_key,
        };
        verify_signature(key, &self.signed_payload(), &self.signature, backend)
    }

    fn has_proof(&self, kind: Kind, expected_root: Option<&str>) -> bool {
        let target = self.target.as_bytes();
        match kind {
            Kind::Equivocation => proof::is_equivocation(&self.proof),
            Kind::MerkleDivergence => match (expected_root, proof::path_root(&self.proof)) {
                (Some(expected), Ok(root)) => root != expected,
                _ => false,
            },
            Kind::ClockRegression => proof::is_regression(&self.proof),
            Kind::InvalidDelta => match self.proof.split_first_chunk::<32>() {
                Some((claimed, delta)) if !delta.is_empty() => {
                    contains(delta, target) && sha256([delta]) != *claimed
                }
                _ => false,
            },
            Kind::TrustManipulation => match proof::parse_pair(&self.proof) {
                Ok((a, b)) => {
                    a.len() >= 16
                        && b.len() >= 16
                        && contains(a, target)
                        && contains(b, target)
                        && a != b
                }
                Err(_) => false,
            },
        }
    }

    /// Verifies what can be verified about a peer, and refuses the rest.
    ///
    /// Of E4's types only equivocation can carry statements that the accused signed; both have to
    /// verify under the accused's registered Ed25519 key, over the text in front of the signature.
    ///
    /// # Errors
    ///
    /// The first of the reasons for which E4's check would have been too kind (E1–E6).
    pub fn verify_strict(&self, context: &Context<'_>) -> Result<(), Refusal> {
        let texts = [
            &self.observer,
            &self.target,
            &self.evidence_type,
            &self.dimension,
            &self.proof_type,
        ];
        if texts.iter().any(|text| text.is_empty()) {
            return Err(Refusal::EmptyId);
        }
        if texts.iter().any(|text| text.contains('\0')) {
            return Err(Refusal::NulInText);
        }
        if !crate::score::DIMENSIONS.contains(&self.dimension.as_str()) {
            return Err(Refusal::UnknownDimension);
        }
        if self.observer == self.target {
            return Err(Refusal::SelfAccusation);
        }
        if !self.timestamp.is_finite() {
            return Err(Refusal::TimestampNotFinite);
        }
        if context.age_max.is_none() {
            return Err(Refusal::AgeUnchecked);
        }
        if self.signature.is_empty() {
            return Err(Refusal::Unsigned);
        }
        let registry = context.registry.ok_or(Refusal::UnknownKey)?;
        let payload = self.signed_payload();
        registry.verify_strict(&self.observer, &payload, &self.signature)?;
        if !self.verify(context) {
            return Err(Refusal::EvidenceInvalid);
        }
        if self.evidence_type != Kind::Equivocation.label() {
            return Err(Refusal::Unattributable);
        }
        let (a, b) = proof::parse_pair(&self.proof)?;
        for blob in [a, b] {
            let (text, signature) =
                proof::split_attestation(blob).ok_or(Refusal::EvidenceInvalid)?;
            if text.split(|&byte| byte == 0).next() != Some(self.target.as_bytes()) {
                return Err(Refusal::NotSignedByTarget);
            }
            registry
                .verify_strict(&self.target, text, signature)
                .map_err(|_| Refusal::NotSignedByTarget)?;
        }
        Ok(())
    }

    /// The id under which strict lattices count an accusation once (L2).
    pub fn id(&self) -> String {
        encode_hex(&sha256([self.signed_payload().as_slice()]))
    }
}

fn is_amount(amount: f64) -> bool {
    amount.is_finite() && amount > 0.0 && amount <= 1.0
}

fn terminated<const N: usize>(texts: [&String; N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
