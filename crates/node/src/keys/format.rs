//! The text of a key file (CR-5).
//!
//! Lines that start with `#` are comments. A key in the open is one line, the suite and the seed:
//!
//! ```text
//! ed25519-secret:SEED          also ml-dsa-65-secret:, ml-dsa-87-secret: and hybrid-secret:
//! ```
//!
//! A sealed one is four lines:
//!
//! ```text
//! polity-sealed-key:1
//! public:SUITE:KEY
//! argon2id:m=65536,t=3,p=4:SALT
//! xchacha20poly1305:NONCE:BOX
//! ```
//!
//! Bytes are lower-case hexadecimal digits: 32 of the seed, 16 of the salt, 24 of the nonce, 48 of the
//! box, which is the sealed seed and its tag. `m` is KiB of memory, `t` passes over it, `p` lanes. The
//! box is bound to `"polity/node/key-file/v1" ‖ 00 ‖ fingerprint ‖ m ‖ t ‖ p ‖ salt`, with the fingerprint of
//! the public key and the costs in four bytes each, so nothing in the file can be exchanged.

use super::passphrase::Passphrase;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use polity_crypto::{Preimage, PublicKey, Suite, domain};
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// Suites of key files. The others have no secret of their own.
pub const SUITES: [Suite; 4] = [
    Suite::Ed25519,
    Suite::MlDsa65,
    Suite::MlDsa87,
    Suite::Hybrid,
];

const SEALED: &str = "polity-sealed-key:1";
const PUBLIC: &str = "public:";
const KDF: &str = "argon2id:";
const BOX: &str = "xchacha20poly1305:";

const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const BOX_BYTES: usize = 32 + 16;

/// What guessing a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, which are worked on one after the other here.
    pub lanes: u32,
}

impl Default for Cost {
    /// The second choice of RFC 9106, section 4: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self {
            memory_kib: 65_536,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Cost {
    /// Costs that are accepted in a file: less is no protection, more is a trap for whoever opens it.
    const MEMORY_KIB: RangeInclusive<u32> = 8_192..=1_048_576;
    const PASSES: RangeInclusive<u32> = 1..=10;
    const LANES: RangeInclusive<u32> = 1..=8;

    fn is_sensible(self) -> bool {
        Self::MEMORY_KIB.contains(&self.memory_kib)
            && Self::PASSES.contains(&self.passes)
            && Self::LANES.contains(&self.lanes)
    }
}

/// Why a text is no key file, or does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is written in another way.
    Format,
    /// Its costs are out of bounds.
    Cost,
    /// The passphrase is another one, or the file was changed.
    Box,
    /// There is not enough memory for its costs.
    Memory,
}

/// What is in a key file.
#[derive(Debug)]
pub(super) enum Content {
    Open(Suite, Seed),
    Sealed(Sealed),
}

/// A seed that nothing shows.
pub(super) struct Seed(pub(super) Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A sealed seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) public: PublicKey,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    secret: [u8; BOX_BYTES],
}

impl Sealed {
    /// Seals a seed with fresh salt and nonce.
    pub(super) fn seal(
        seed: &[u8; 32],
        public: PublicKey,
        passphrase: &Passphrase,
        cost: Cost,
        (salt, nonce): ([u8; SALT_BYTES], [u8; NONCE_BYTES]),
    ) -> Result<Self, Refused> {
        let mut sealed = Self {
            public,
            cost,
            salt,
            nonce,
            secret: [0; BOX_BYTES],
        };
        let cipher = sealed.cipher(passphrase)?;
        // In place, so that the seed itself is in one buffer alone, which is wiped.
        let mut text = Zeroizing::new(*seed);
        let tag = cipher
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                sealed.bound().as_slice(),
                text.as_mut_slice().into(),
            )
            .map_err(|_| Refused::Box)?;
        sealed.secret[..32].copy_from_slice(&text[..]);
        sealed.secret[32..].copy_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens it.
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Seed, Refused> {
        let cipher = self.cipher(passphrase)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&self.secret[..32]);
        let tag = Tag::try_from(&self.secret[32..]).map_err(|_| Refused::Box)?;
        cipher
            .decrypt_inout_detached(
                &XNonce::from(self.nonce),
                self.bound().as_slice(),
                seed.as_mut_slice().into(),
                &tag,
            )
            .map_err(|_| Refused::Box)?;
        Ok(Seed(seed))
    }

    fn cipher(&self, passphrase: &Passphrase) -> Result<XChaCha20Poly1305, Refused> {
        let Cost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        if !self.cost.is_sensible() {
            return Err(Refused::Cost);
        }
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| Refused::Cost)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, &mut key[..])
            .map_err(|_| Refused::Memory)?;
        XChaCha20Poly1305::new_from_slice(&key[..]).map_err(|_| Refused::Box)
    }

    fn bound(&self) -> Preimage {
        Preimage::new(domain::KEY_FILE)
            .array(self.public.fingerprint().as_bytes())
            .u32(self.cost.memory_kib)
            .u32(self.cost.passes)
            .u32(self.cost.lanes)
            .array(&self.salt)
    }

    /// Its four lines.
    pub(super) fn to_text(&self) -> String {
        let Cost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        format!(
            "{SEALED}\n{PUBLIC}{}\n{KDF}m={memory_kib},t={passes},p={lanes}:{}\n{BOX}{}:{}\n",
            self.public,
            *digits(&self.salt),
            *digits(&self.nonce),
            *digits(&self.secret),
        )
    }

    fn parse(lines: [&str; 3]) -> Result<Self, Refused> {
        let [public, kdf, sealed] = lines;
        let public: PublicKey = public
            .strip_prefix(PUBLIC)
            .and_then(|text| text.parse().ok())
            .filter(|key: &PublicKey| SUITES.contains(&key.suite()))
            .ok_or(Refused::Format)?;
        let (cost, salt) = kdf
            .strip_prefix(KDF)
            .and_then(|text| text.split_once(':'))
            .ok_or(Refused::Format)?;
        let (nonce, sealed) = sealed
            .strip_prefix(BOX)
            .and_then(|text| text.split_once(':'))
            .ok_or(Refused::Format)?;
        let cost = parse_cost(cost)?;
        if !cost.is_sensible() {
            return Err(Refused::Cost);
        }
        Ok(Self {
            public,
            cost,
            salt: bytes(salt)?,
            nonce: bytes(nonce)?,
            secret: bytes(sealed)?,
        })
    }
}

/// `m=65536,t=3,p=4`
fn parse_cost(text: &str) -> Result<Cost, Refused> {
    let mut fields = text.split(',');
    let mut field = |name: &str| {
        let value = fields.next().and_then(|field| field.strip_prefix(name));
        let value = value.and_then(|value| value.strip_prefix('='));
        value
            .and_then(|value| value.parse().ok())
            .ok_or(Refused::Format)
    };
    let cost = Cost {
        memory_kib: field("m")?,
        passes: field("t")?,
        lanes: field("p")?,
    };
    if fields.next().is_some() {
        return Err(Refused::Format);
    }
    Ok(cost)
}

/// Reads the text of a key file.
pub(super) fn parse(text: &str) -> Result<Content, Refused> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().ok_or(Refused::Format)?;
    let rest: Vec<&str> = lines.take(4).collect();
    if first == SEALED {
        let lines = <[&str; 3]>::try_from(rest).map_err(|_| Refused::Format)?;
        return Ok(Content::Sealed(Sealed::parse(lines)?));
    }
    if !rest.is_empty() {
        return Err(Refused::Format);
    }
    let (name, seed) = first.split_once(':').ok_or(Refused::Format)?;
    let suite = SUITES
        .into_iter()
        .find(|suite| name.strip_suffix("-secret") == Some(suite.name()))
        .ok_or(Refused::Format)?;
    Ok(Content::Open(suite, Seed(Zeroizing::new(bytes(seed)?))))
}

/// The line of a key in the open.
pub(super) fn open_line(suite: Suite, seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(format!("{}-secret:{}\n", suite.name(), *digits(seed)))
}

fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], Refused> {
    polity_types::decode_hex(digits).map_err(|_| Refused::Format)
}

fn digits(bytes: &[u8]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    // Writing into a string does not fail.
    let _ = polity_types::write_hex(bytes, &mut *digits);
    digits
}
