//! Secret keys: in files, sealed with a passphrase if the operator wants it, or in a token (CR-5).
//!
//! * [`SecretKey`]: a key in memory, and how it is read and written.
//! * [`Cost`], [`Passphrase`], [`PassphraseSource`]: what seals a file.
//! * [`link_secret`]: what nodes of one operator prove on their links (tier 1).
//! * [`records`]: key records beside the keys, which say from when to when a key may sign (CR-7).
//!
//! A key file is for its own user alone, and one that others can read is refused: a secret that
//! somebody else may have copied is none. It is written in full or not at all, and never in place of
//! another one. What is in it stands in `format.rs` and `docs/KEYS.md`.
//!
//! # Invariants
//!
//! 1. No `Debug`, error or log line shows a seed, a passphrase or a PIN.
//! 2. Seeds and passphrases are wiped when their holder is dropped.

mod format;
pub mod link_secret;
mod passphrase;
mod place;
pub mod records;
pub mod ring;
#[cfg(test)]
mod tests;
pub mod token;
pub mod watch;

pub use format::{Cost, SUITES};
pub use passphrase::{
    PASSPHRASE_BYTES_MAX, PASSPHRASE_FILE_VARIABLE, Passphrase, PassphraseSource,
};

pub use place::{former_path, take_place};

use crate::signing::{NodeSigner, Provider, SuiteError};
use format::{Content, Refused, Sealed};
use polity_crypto::ed25519::Ed25519Signer;
use polity_crypto::{Preimage, PublicKey, Signer as _, Suite, bare, domain};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a key cannot be read or written. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refuses.
    #[error("cannot use the key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is a file already.
    #[error("{} exists already and is not overwritten; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// Others may read it.
    #[error(
        "the key file {} can be read by others; run `chmod 600` on it, or make a new key if somebody may have read it",
        .0.display()
    )]
    Permissions(PathBuf),
    /// It holds something else.
    #[error("{} holds no key: one line `ed25519-secret:` with 64 lower-case hexadecimal digits is wanted, or a sealed key; docs/KEYS.md has the format. If it was damaged, put back a copy", .0.display())]
    Format(PathBuf),
    /// Its costs are out of bounds.
    #[error("the key file {} asks for an argon2id of absurd cost; it was changed, so put back a copy", .0.display())]
    Cost(PathBuf),
    /// The passphrase is another one, or the file was changed.
    #[error("the key file {} does not open: the passphrase is another one, or the file was changed; try the passphrase again, or put back a copy of the file", .0.display())]
    Sealed(PathBuf),
    /// There is not enough memory to open it.
    #[error("there is not enough memory to open the key file {}; free some and try again", .0.display())]
    Memory(PathBuf),
    /// A passphrase is empty or too long.
    #[error("a passphrase has from 1 to {PASSPHRASE_BYTES_MAX} bytes")]
    Passphrase,
    /// Two passphrases that should be one.
    #[error("the two passphrases differ; try again")]
    Different,
    /// There is no terminal.
    #[error(
        "the key is sealed and nobody is there to type its passphrase; name a file that holds it in the environment variable {PASSPHRASE_FILE_VARIABLE}, in node.toml with `keys.passphrase_file`, or run this on a terminal"
    )]
    NobodyToAsk,
    /// The environment variable is not there.
    #[error(
        "the environment variable {0} should hold the passphrase and is missing or no text; set it, or correct `keys.passphrase_env` in node.toml"
    )]
    NoVariable(String),
    /// The key is in a token, and that cannot be used.
    #[error(transparent)]
    Token(Box<token::TokenError>),
    /// What is in a token stays there.
    #[error("the key is in a token, which does not give it away")]
    InToken,
    /// No key of this suite is a file.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// The system has no randomness.
    #[error("the system gives no randomness for a new key: {0}")]
    Randomness(getrandom::Error),
}

impl KeyFileError {
    /// Whether the file is missing or holds no key, so that nobody can sign with it.
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Format(_) => true,
            Self::Exists(_)
            | Self::Permissions(_)
            | Self::Cost(_)
            | Self::Sealed(_)
            | Self::Memory(_)
            | Self::Passphrase
            | Self::Different
            | Self::NobodyToAsk
            | Self::NoVariable(_)
            | Self::Suite(_)
            | Self::Token(_)
            | Self::InToken
            | Self::Randomness(_) => false,
        }
    }
}

/// A secret key of a suite that convinces strangers. Its bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    signer: NodeSigner,
}

impl SecretKey {
    /// A new Ed25519 key from the randomness of the operating system.
    pub fn generate() -> Result<Self, KeyFileError> {
        Self::generate_of(Suite::Ed25519)
    }

    /// A new key of this suite from the randomness of the operating system.
    pub fn generate_of(suite: Suite) -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(KeyFileError::Randomness)?;
        Ok(Self::from_seed(suite, seed)?)
    }

    /// The key of a seed.
    ///
    /// # Errors
    ///
    /// If signatures of the suite convince nobody.
    pub fn from_seed(suite: Suite, seed: Zeroizing<[u8; 32]>) -> Result<Self, SuiteError> {
        let signer = NodeSigner::from_seed(suite, &seed, Provider::Rust)?;
        Ok(Self { seed, signer })
    }

    /// A key in a token. Links are proved with `link`, because their handshakes want a key in memory.
    pub fn of_token(signer: token::TokenSigner, link: &Self) -> Self {
        Self {
            seed: link.link_seed(),
            signer: NodeSigner::Token(signer),
        }
    }

    /// Reads a key file. A sealed one opens with the passphrase of [`PassphraseSource::Standard`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        Self::load_with(path, &PassphraseSource::Standard)
    }

    /// Reads a key file, and asks for a passphrase only if it is sealed.
    pub fn load_with(path: &Path, source: &PassphraseSource) -> Result<Self, KeyFileError> {
        match parse(path)? {
            Content::Open(suite, seed) => Ok(Self::from_seed(suite, seed.0)?),
            Content::Sealed(sealed) => {
                let passphrase = source.get(&path.display().to_string())?;
                let seed = sealed.open(&passphrase).map_err(named(path))?;
                let key = Self::from_seed(sealed.public.suite(), seed.0)?;
                // Sealed together, so only a writer that was wrong about its own key comes here.
                if *key.public_key() != sealed.public {
                    return Err(KeyFileError::Format(path.to_owned()));
                }
                Ok(key)
            }
        }
    }

    /// The public half of a key file. A sealed one is not opened for this, so it is what the file says.
    pub fn peek(path: &Path) -> Result<PublicKey, KeyFileError> {
        match parse(path)? {
            Content::Open(suite, seed) => Ok(Self::from_seed(suite, seed.0)?.public_key().clone()),
            Content::Sealed(sealed) => Ok(sealed.public),
        }
    }

    /// Whether a key file is sealed.
    pub fn is_sealed(path: &Path) -> Result<bool, KeyFileError> {
        Ok(matches!(parse(path)?, Content::Sealed(_)))
    }

    /// Writes a key file that does not exist yet, readable for its own user alone. `purpose` becomes
    /// a comment.
    pub fn store(&self, path: &Path, purpose: &str) -> Result<(), KeyFileError> {
        let line = format::open_line(self.suite(), self.stored_seed()?);
        self.write(path, purpose, &line)
    }

    /// The same, sealed with a passphrase.
    pub fn store_sealed(
        &self,
        path: &Path,
        purpose: &str,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<(), KeyFileError> {
        let (mut salt, mut nonce) = ([0; 16], [0; 24]);
        getrandom::fill(&mut salt).map_err(KeyFileError::Randomness)?;
        getrandom::fill(&mut nonce).map_err(KeyFileError::Randomness)?;
        let public = self.public_key().clone();
        let seed = self.stored_seed()?;
        let sealed = Sealed::seal(seed, public, passphrase, cost, (salt, nonce));
        self.write(path, purpose, &sealed.map_err(named(path))?.to_text())
    }

    /// The seed of the key itself, if it is in memory.
    fn stored_seed(&self) -> Result<&[u8; 32], KeyFileError> {
        match &self.signer {
            NodeSigner::Token(_) => Err(KeyFileError::InToken),
            NodeSigner::Ed25519(_)
            | NodeSigner::AwsLc(_)
            | NodeSigner::MlDsa(_)
            | NodeSigner::Hybrid(_) => Ok(&self.seed),
        }
    }

    fn write(&self, path: &Path, purpose: &str, lines: &str) -> Result<(), KeyFileError> {
        let text = Zeroizing::new(format!(
            "# Secret key of {}. Whoever reads it can sign in its name.\n# Public key: {}\n{lines}",
            purpose.replace('\n', " "),
            self.public_key(),
        ));
        place::create_private(path, text.as_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// Signs with the key.
    pub fn signer(&self) -> &NodeSigner {
        &self.signer
    }

    /// Signs with the key by the arithmetic of this library.
    pub fn signer_by(&self, provider: Provider) -> NodeSigner {
        match self.stored_seed() {
            Ok(seed) => NodeSigner::from_seed(self.suite(), seed, provider)
                .unwrap_or_else(|_| self.signer.clone()),
            Err(_) => self.signer.clone(),
        }
    }

    /// The suite of the key.
    pub fn suite(&self) -> Suite {
        self.public_key().suite()
    }

    /// The seed of the Ed25519 key with which links are proved: that of the key itself, if it is one.
    /// Halves of a hybrid are used for nothing else (CR-5), so its links have a key of their own.
    pub fn link_seed(&self) -> Zeroizing<[u8; 32]> {
        if self.suite() == Suite::Ed25519 {
            return self.seed.clone();
        }
        let label = Preimage::new(domain::LINK_KEY);
        Zeroizing::new(bare::hmac_sha256(&self.seed[..], label.as_slice()))
    }

    /// The public half of the key with which links are proved.
    pub fn link_key(&self) -> PublicKey {
        let signer = Ed25519Signer::from_seed(&self.link_seed());
        signer.public_key().clone()
    }
}

impl fmt::Debug for SecretKey {
    /// Shows suite and key id alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.public_key();
        write!(f, "SecretKey({} {})", key.suite().name(), key.key_id())
    }
}

fn parse(path: &Path) -> Result<Content, KeyFileError> {
    let text = place::read_private(path)?;
    format::parse(&text).map_err(named(path))
}

fn named(path: &Path) -> impl Fn(Refused) -> KeyFileError {
    move |refused| {
        let path = path.to_owned();
        match refused {
            Refused::Format => KeyFileError::Format(path),
            Refused::Cost => KeyFileError::Cost(path),
            Refused::Box => KeyFileError::Sealed(path),
            Refused::Memory => KeyFileError::Memory(path),
        }
    }
}
