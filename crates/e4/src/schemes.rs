//! E4's own signature schemes. **All of them can be forged from public data** (R1): they are here so that
//! old bytes can be reproduced and recognised, never to sign.

use crate::hash::sha256;
use crate::keys::public_hmac;
use crate::{Mode, Refusal};
use shake::{ExtendableOutput, Shake256, Update, XofReader};

/// A scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A code keyed by public bytes.
    HmacSha256,
    /// A sketch of lattice signatures from which one signature reveals the key.
    DilithiumLite,
    /// Both, one behind the other.
    Hybrid,
}

/// Private and public bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Not so private after the first signature.
    pub private: Vec<u8>,
    /// Public.
    pub public: Vec<u8>,
}

impl Scheme {
    /// E4's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::DilithiumLite => "dilithium-lite",
            Self::Hybrid => "hybrid(hmac-sha256+dilithium-lite)",
        }
    }

    /// The scheme of a label.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::HmacSha256, Self::DilithiumLite, Self::Hybrid]
            .into_iter()
            .find(|scheme| scheme.label() == label)
    }

    /// Whether a scheme may be used.
    ///
    /// # Errors
    ///
    /// Always in strict mode (R1).
    pub fn check(self, mode: Mode) -> Result<(), Refusal> {
        match mode {
            Mode::Strict => Err(Refusal::ForgeableScheme),
            Mode::Compatible => Ok(()),
        }
    }

    /// Keys from a seed.
    pub fn generate(self, seed: &[u8]) -> Pair {
        match self {
            Self::HmacSha256 => Pair {
                private: seed.to_vec(),
                public: sha256([seed]).to_vec(),
            },
            Self::DilithiumLite => {
                let private = shake256::<64>([seed]);
                Pair {
                    private: private.to_vec(),
                    public: shake256::<64>([&private]).to_vec(),
                }
            }
            Self::Hybrid => {
                let (classical, quantum) = seed.split_at(seed.len().min(32));
                let a = Self::HmacSha256.generate(classical);
                let b = Self::DilithiumLite.generate(quantum);
                Pair {
                    private: framed(&a.private, &b.private),
                    public: framed(&a.public, &b.public),
                }
            }
        }
    }

    /// E4's signature.
    ///
    /// # Errors
    ///
    /// If the private bytes are not of the scheme.
    pub fn sign(self, private: &[u8], message: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::HmacSha256 => Ok(public_hmac(&sha256([private]), message).to_vec()),
            Self::DilithiumLite => {
                let private: &[u8; 64] = private.try_into().map_err(|_| Refusal::KeyLength)?;
                let commitment = shake256::<64>([&private[..32], message]);
                let challenge = shake256::<32>([&commitment, message]);
                Ok([commitment, masked(private, &challenge)].concat())
            }
            Self::Hybrid => {
                let (a, b) = unframed(private)?;
                Ok(framed(
                    &Self::HmacSha256.sign(a, message)?,
                    &Self::DilithiumLite.sign(b, message)?,
                ))
            }
        }
    }

    /// E4's check.
    pub fn verify(self, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::HmacSha256 => signature == public_hmac(public, message),
            Self::DilithiumLite => {
                let Some((commitment, response)) = signature.split_first_chunk::<64>() else {
                    return false;
                };
                let Ok(response) = <&[u8; 64]>::try_from(response) else {
                    return false;
                };
                let challenge = shake256::<32>([commitment, message]);
                let private = masked(response, &challenge);
                public.first_chunk::<32>() == shake256::<64>([&private]).first_chunk()
            }
            Self::Hybrid => match (unframed(public), unframed(signature)) {
                (Ok((a_key, b_key)), Ok((a, b))) => {
                    Self::HmacSha256.verify(a_key, message, a)
                        && Self::DilithiumLite.verify(b_key, message, b)
                }
                _ => false,
            },
        }
    }
}

fn masked(bytes: &[u8; 64], challenge: &[u8; 32]) -> [u8; 64] {
    let mut masked = *bytes;
    for (byte, mask) in masked.iter_mut().zip(challenge.iter().cycle()) {
        *byte ^= mask;
    }
    masked
}

fn framed(a: &[u8], b: &[u8]) -> Vec<u8> {
    // Keys and signatures of the classical half are 32 bytes.
    let length = u16::try_from(a.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), a, b].concat()
}

fn unframed(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Refusal::Truncated)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(Refusal::Truncated)
}

fn shake256<const N: usize>(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> [u8; N] {
    let mut hasher = Shake256::default();
    for part in parts {
        hasher.update(part.as_ref());
    }
    let mut output = [0; N];
    hasher.finalize_xof().read(&mut output);
    output
}
