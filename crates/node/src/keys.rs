//! Secret keys in files.
//!
//! A key file is one line, `ed25519-secret:` or another suite's name and 64 hexadecimal digits, beside
//! comments that start with `#`. It is created for its own user alone, and a file that others can read is refused: a
//! secret that somebody else may have copied is none.

use crate::lock::private;
use crate::signing::{NodeSigner, Provider, SuiteError};
use polity_crypto::{Preimage, PublicKey, Signer as _, Suite, bare, domain};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What stands between the suite and the digits.
const MARK: &str = "-secret:";

/// Largest key file that is read, in bytes: the longest public key stands in a comment, in digits.
const FILE_BYTES_MAX: u64 = 16_384;

/// Why a key cannot be read or written.
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
    /// Others may read it.
    #[error(
        "the key file {} can be read by others; run `chmod 600` on it, or make a new key if somebody may have read it",
        .0.display()
    )]
    Permissions(PathBuf),
    /// It holds something else.
    #[error("{} holds no key: one line `ed25519-secret:` (or `hybrid-secret:`) with 64 lower-case hexadecimal digits is wanted", .0.display())]
    Format(PathBuf),
    /// The system has no randomness.
    #[error("the system gives no randomness for a new key: {0}")]
    Randomness(getrandom::Error),
    /// No key of this suite signs for a node.
    #[error(transparent)]
    Suite(#[from] SuiteError),
}

impl KeyFileError {
    /// Whether the file is missing or holds no key, so that nobody can sign with it.
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Format(_) => true,
            Self::Permissions(_) | Self::Randomness(_) | Self::Suite(_) => false,
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

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if is_open_to_others(&file).map_err(io)? {
            return Err(KeyFileError::Permissions(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(io)?;
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let format = || KeyFileError::Format(path.to_owned());
        let (suite, digits) = lines
            .next()
            .and_then(|line| line.split_once(MARK))
            .ok_or_else(format)?;
        let suite = Suite::ALL
            .into_iter()
            .find(|known| known.name() == suite)
            .ok_or_else(format)?;
        if lines.next().is_some() {
            return Err(format());
        }
        let seed = polity_types::decode_hex(digits).map_err(|_| format())?;
        Self::from_seed(suite, Zeroizing::new(seed)).map_err(|_| format())
    }

    /// Writes a key file that does not exist yet, readable for its own user alone. `purpose` becomes
    /// a comment.
    pub fn store(&self, path: &Path, purpose: &str) -> Result<(), KeyFileError> {
        let io = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        let mut file = options.open(path).map_err(io)?;
        let mut digits = Zeroizing::new(String::with_capacity(64));
        // Writing into a string does not fail.
        let _ = polity_types::write_hex(&self.seed[..], &mut *digits);
        let text = Zeroizing::new(format!(
            "# Secret key of {purpose}. Whoever reads it can sign in its name.\n# Public key: {}\n{}{MARK}{}\n",
            self.public_key(),
            self.suite().name(),
            *digits
        ));
        file.write_all(text.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)
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
        NodeSigner::from_seed(self.suite(), &self.seed, provider)
            .unwrap_or_else(|_| self.signer.clone())
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
        let signer = polity_crypto::ed25519::Ed25519Signer::from_seed(&self.link_seed());
        signer.public_key().clone()
    }
}

impl fmt::Debug for SecretKey {
    /// Shows the public key alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public_key())
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use rstest::rstest;

    #[rstest]
    fn a_key_survives_its_file_and_is_never_overwritten(
        #[values(Suite::Ed25519, Suite::MlDsa65, Suite::Hybrid, Suite::MlDsa87)] suite: Suite,
    ) {
        let directory = Scratch::new();
        let path = directory.path().join("key");
        let key = SecretKey::generate_of(suite).unwrap();
        key.store(&path, "a test").unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), key.public_key());
        assert_eq!(loaded.suite(), suite);
        assert_eq!(loaded.link_key(), key.link_key());
        assert_eq!(
            loaded.link_key() == *loaded.public_key(),
            suite == Suite::Ed25519
        );
        assert!(matches!(
            key.store(&path, "a test"),
            Err(KeyFileError::Io { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = Scratch::new();
        let path = directory.path().join("key");
        SecretKey::generate()
            .unwrap()
            .store(&path, "a test")
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            SecretKey::load(&path),
            Err(KeyFileError::Permissions(_))
        ));
    }

    #[rstest]
    #[case::empty("")]
    #[case::comment_only("# nothing\n")]
    #[case::no_prefix("00")]
    #[case::short("ed25519-secret:00\n")]
    #[case::stub("stub-secret:0000000000000000000000000000000000000000000000000000000000000001\n")]
    #[case::link("hmac-secret:0000000000000000000000000000000000000000000000000000000000000001\n")]
    #[case::upper_case(
        "ed25519-secret:AA00000000000000000000000000000000000000000000000000000000000000\n"
    )]
    #[case::two_keys(
        "ed25519-secret:0000000000000000000000000000000000000000000000000000000000000001\ned25519-secret:0000000000000000000000000000000000000000000000000000000000000002\n"
    )]
    fn refuses_other_content(#[case] text: &str) {
        let directory = Scratch::new();
        let path = directory.path().join("key");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        options
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(matches!(
            SecretKey::load(&path),
            Err(KeyFileError::Format(_))
        ));
    }
}
