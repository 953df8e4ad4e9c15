//! The secret of the links of one operator's nodes: tier 1 (CR-6).
//!
//! ```text
//! link-secret-v1:SECRET        32 bytes in lower-case hexadecimal digits; lines with # are comments
//! ```

use super::{KeyFileError, place};
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Name of the secret in a node's directory.
pub const LINK_SECRET_FILE: &str = "link-secret";

const PREFIX: &str = "link-secret-v1:";

/// Why a secret of links cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LinkSecretError {
    /// The genesis wants one, and there is none.
    #[error(
        "`tiers.links` of the genesis is hmac, and {} is missing; copy it from another node of the federation, where nobody else can read it",
        .0.display()
    )]
    Missing(PathBuf),
    /// There is one, and the genesis wants none.
    #[error(
        "{} is there, and `tiers.links` of the genesis is not hmac, so no link would use it; take the genesis of the other nodes, or remove the file",
        .0.display()
    )]
    Unused(PathBuf),
    /// It holds something else.
    #[error(
        "{} holds no secret of links: one line `{PREFIX}` with 64 lower-case hexadecimal digits is wanted; copy it from another node of the federation",
        .0.display()
    )]
    Format(PathBuf),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// 32 bytes that every node of a federation holds, and nobody else. They are wiped when it is dropped.
#[derive(Clone)]
pub struct LinkSecret(Zeroizing<[u8; 32]>);

impl LinkSecret {
    /// A new one from the randomness of the operating system.
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut()).map_err(KeyFileError::Randomness)?;
        Ok(Self(bytes))
    }

    /// Reads the secret of a data directory, if the genesis wants one.
    pub fn open(directory: &Path, is_wanted: bool) -> Result<Option<Self>, LinkSecretError> {
        let path = directory.join(LINK_SECRET_FILE);
        match (is_wanted, path.symlink_metadata().is_ok()) {
            (true, true) => Self::load(&path).map(Some),
            (true, false) => Err(LinkSecretError::Missing(path)),
            (false, true) => Err(LinkSecretError::Unused(path)),
            (false, false) => Ok(None),
        }
    }

    fn load(path: &Path) -> Result<Self, LinkSecretError> {
        let format = || LinkSecretError::Format(path.to_owned());
        let text = match place::read_private(path) {
            Err(KeyFileError::Format(_)) => return Err(format()),
            read => read?,
        };
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(format());
        };
        let digits = line.strip_prefix(PREFIX).ok_or_else(format)?;
        let bytes = polity_types::decode_hex(digits).map_err(|_| format())?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// Writes it into a data directory that has none yet, readable for its own user alone.
    pub fn store(&self, directory: &Path) -> Result<(), KeyFileError> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        *text += "# Secret of the links of all nodes of this federation. Whoever reads it can make their frames.\n";
        *text += PREFIX;
        // Writing into a string does not fail.
        let _ = polity_types::write_hex(&self.0[..], &mut *text);
        text.push('\n');
        place::create_private(&directory.join(LINK_SECRET_FILE), text.as_bytes())
    }

    /// The bytes, for the links.
    pub fn bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }
}

impl fmt::Debug for LinkSecret {
    /// Shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use rstest::rstest;
    use std::fs;

    fn stored(scratch: &Scratch) -> (PathBuf, LinkSecret) {
        let secret = LinkSecret::generate().unwrap();
        secret.store(scratch.path()).unwrap();
        (scratch.path().join(LINK_SECRET_FILE), secret)
    }

    #[test]
    fn a_secret_is_read_as_it_was_written_and_never_overwritten() {
        let scratch = Scratch::new();
        let (path, secret) = stored(&scratch);
        let read = LinkSecret::open(scratch.path(), true).unwrap().unwrap();
        assert_eq!(read.bytes(), secret.bytes());
        assert_ne!(read.bytes(), LinkSecret::generate().unwrap().bytes());
        let again = secret.store(scratch.path());
        assert!(matches!(again, Err(KeyFileError::Exists(_))));
        assert_eq!(format!("{secret:?}"), "LinkSecret(..)");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let refused = LinkSecret::open(scratch.path(), true).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn genesis_and_directory_agree_on_whether_there_is_one() {
        let scratch = Scratch::new();
        assert!(LinkSecret::open(scratch.path(), false).unwrap().is_none());
        let missing = LinkSecret::open(scratch.path(), true).unwrap_err();
        stored(&scratch);
        let unused = LinkSecret::open(scratch.path(), false).unwrap_err();
        for error in [missing, unused] {
            let text = error.to_string();
            assert!(text.contains("`tiers.links`"), "{text}");
            assert!(text.contains(LINK_SECRET_FILE), "{text}");
        }
    }

    #[rstest]
    #[case::nothing("")]
    #[case::a_comment_alone("# nothing\n")]
    #[case::a_key("ed25519-secret:HEX\n")]
    #[case::another_version("link-secret-v2:HEX\n")]
    #[case::too_short("link-secret-v1:a7\n")]
    #[case::too_long("link-secret-v1:HEX00\n")]
    #[case::no_digits("link-secret-v1:zzHEX\n")]
    #[case::two_of_them("link-secret-v1:HEX\nlink-secret-v1:HEX\n")]
    #[case::a_space("link-secret-v1: HEX\n")]
    fn what_is_no_secret_is_refused_and_not_shown(#[case] text: &str) {
        let scratch = Scratch::new();
        let (path, _) = stored(&scratch);
        // In place, so that its mode stays.
        fs::write(&path, text.replace("HEX", &"a7".repeat(32))).unwrap();
        let refused = LinkSecret::open(scratch.path(), true).unwrap_err();
        assert!(matches!(refused, LinkSecretError::Format(_)), "{refused}");
        let shown = format!("{refused} {refused:?}");
        assert!(!shown.contains("a7a7"), "{shown}");
    }
}
