//! Secret keys in files.
//!
//! A key file is one line, `ed25519-secret:` and 64 hexadecimal digits, beside comments that start
//! with `#`. It is created for its own user alone, and a file that others can read is refused: a
//! secret that somebody else may have copied is none.

use crate::lock::private;
use polity_crypto::PublicKey;
use polity_crypto::Signer as _;
use polity_crypto::ed25519::Ed25519Signer;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What the line of a key starts with.
const PREFIX: &str = "ed25519-secret:";

/// Largest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4_096;

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
    #[error("{} holds no key: one line `ed25519-secret:` with 64 lower-case hexadecimal digits is wanted", .0.display())]
    Format(PathBuf),
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
            Self::Permissions(_) | Self::Randomness(_) => false,
        }
    }
}

/// A secret Ed25519 key. Its bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    signer: Ed25519Signer,
}

impl SecretKey {
    /// A new key from the randomness of the operating system.
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(KeyFileError::Randomness)?;
        Ok(Self::from_seed(seed))
    }

    /// The key of a seed.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let signer = Ed25519Signer::from_seed(&seed);
        Self { seed, signer }
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
        let digits = lines
            .next()
            .and_then(|line| line.strip_prefix(PREFIX))
            .ok_or_else(format)?;
        if lines.next().is_some() {
            return Err(format());
        }
        let seed = polity_types::decode_hex(digits).map_err(|_| format())?;
        Ok(Self::from_seed(Zeroizing::new(seed)))
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
            "# Secret key of {purpose}. Whoever reads it can sign in its name.\n# Public key: {}\n{PREFIX}{}\n",
            self.public_key(),
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
    pub fn signer(&self) -> &Ed25519Signer {
        &self.signer
    }

    /// The seed, for the handshake of links.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
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

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let directory = Scratch::new();
        let path = directory.path().join("key");
        let key = SecretKey::generate().unwrap();
        key.store(&path, "a test").unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), key.public_key());
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
