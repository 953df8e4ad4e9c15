//! Passphrases, and where they come from.
//!
//! Never from an argument: the list of processes shows those to everybody on the machine.

use super::KeyFileError;
use super::place::read_private;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The environment variable that names a file with the passphrase of every sealed key.
pub const PASSPHRASE_FILE_VARIABLE: &str = "POLITY_PASSPHRASE_FILE";

/// Longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;

/// What seals key files. Its bytes are wiped when it is dropped, and nothing shows them.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase from its text.
    ///
    /// # Errors
    ///
    /// If it is empty or longer than [`PASSPHRASE_BYTES_MAX`].
    pub fn new(text: Zeroizing<String>) -> Result<Self, KeyFileError> {
        if text.is_empty() || text.len() > PASSPHRASE_BYTES_MAX {
            return Err(KeyFileError::Passphrase);
        }
        Ok(Self(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Where a passphrase comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassphraseSource {
    /// The file that [`PASSPHRASE_FILE_VARIABLE`] names, else the terminal.
    #[default]
    Standard,
    /// The first line of a file that only its owner can read.
    File(PathBuf),
    /// An environment variable with this name.
    Environment(String),
}

impl PassphraseSource {
    /// The passphrase of a key. `what` names the key where somebody is asked.
    pub fn get(&self, what: &str) -> Result<Passphrase, KeyFileError> {
        match self {
            Self::Standard => match std::env::var_os(PASSPHRASE_FILE_VARIABLE) {
                Some(path) => Self::File(path.into()).get(what),
                None => ask(&format!("Passphrase of {what}: ")),
            },
            Self::File(path) => {
                let text = read_private(path)?;
                let line = text.lines().next().unwrap_or_default();
                Passphrase::new(Zeroizing::new(line.to_owned()))
            }
            Self::Environment(name) => {
                let text = std::env::var(name)
                    .map_err(|_| KeyFileError::NoVariable(name.clone()))
                    .map(Zeroizing::new)?;
                Passphrase::new(text)
            }
        }
    }

    /// A passphrase for a key that is about to be sealed: whoever types it types it twice.
    pub fn choose(&self, what: &str) -> Result<Passphrase, KeyFileError> {
        let first = self.get(what)?;
        let is_typed =
            *self == Self::Standard && std::env::var_os(PASSPHRASE_FILE_VARIABLE).is_none();
        if is_typed && ask("The same again: ")?.as_bytes() != first.as_bytes() {
            return Err(KeyFileError::Different);
        }
        Ok(first)
    }
}

/// Asks on the terminal, which does not show what is typed.
fn ask(question: &str) -> Result<Passphrase, KeyFileError> {
    let terminal = console::Term::stderr();
    if !terminal.is_term() || !console::user_attended() && !console::user_attended_stderr() {
        return Err(KeyFileError::NobodyToAsk);
    }
    terminal
        .write_str(question)
        .map_err(|_| KeyFileError::NobodyToAsk)?;
    let line = terminal
        .read_secure_line()
        .map_err(|_| KeyFileError::NobodyToAsk)?;
    Passphrase::new(Zeroizing::new(line))
}
