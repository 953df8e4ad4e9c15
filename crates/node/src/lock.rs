//! One process per data directory.
//!
//! Two processes with the same keys would contradict each other, which is the offence that
//! consensus punishes. So a process takes an exclusive lock before it reads its journal. The
//! operating system releases the lock when the process ends, however it ends; the file stays.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Name of the lock file in the data directory.
const FILE_NAME: &str = "lock";

/// The right to use a data directory, until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    /// Holds the lock while it is open.
    _file: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else was first.
    #[error("another process{} uses {}; stop it, or choose another data directory", holder(*.process), path.display())]
    Held {
        /// The data directory.
        path: PathBuf,
        /// Its process id, if it left one.
        process: Option<u32>,
    },
    /// The directory is missing, or we may not write there.
    #[error("cannot lock the data directory {}: {source}", path.display())]
    Io {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}

impl DirectoryLock {
    /// Locks a directory that exists.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let error = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let mut file = options.open(path.join(FILE_NAME)).map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The process id is a courtesy; without it the message is merely shorter.
                let process = match file.read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(LockError::Held {
                    path: path.to_owned(),
                    process,
                });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        file.set_len(0).map_err(error)?;
        writeln!(file, "{}", std::process::id()).map_err(error)?;
        Ok(Self {
            path: path.to_owned(),
            _file: file,
        })
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Files of a node are for its own user (mode 0600), where the system knows such modes.
pub(crate) fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let directory = Scratch::new();
        let first = DirectoryLock::acquire(directory.path()).unwrap();
        let error = DirectoryLock::acquire(directory.path()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LockError::Held { .. }));
        assert!(
            text.contains(&directory.path().display().to_string()),
            "{text}"
        );
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        DirectoryLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = Scratch::new();
        let missing = directory.path().join("missing");
        let error = DirectoryLock::acquire(&missing).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
