//! Files of secrets on disk: who may read them, and how they come to be.

use super::KeyFileError;
use crate::lock::private;
use crate::rejoin::sync_directory;
use polity_crypto::KeyId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest file of a key, passphrase or PIN that is read, in bytes: an ML-DSA-87 key in digits, and
/// comments.
const FILE_BYTES_MAX: u64 = 32_768;

/// Reads a file that nobody but its owner can read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = io_error(path);
    let file = File::open(path).map_err(&io)?;
    if is_open_to_others(&file).map_err(&io)? {
        return Err(KeyFileError::Permissions(path.to_owned()));
    }
    // As large as the file from the beginning: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize + 1));
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= FILE_BYTES_MAX => Ok(text),
        Ok(_) => Err(KeyFileError::Format(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::Format(path.to_owned()))
        }
        Err(error) => Err(io(error)),
    }
}

/// Writes a file that does not exist yet, for its owner alone: afterwards it is there in full, and
/// durable, or it is not there.
pub(super) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let io = io_error(path);
    if path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists(path.to_owned()));
    }
    let fresh = write_beside(path, bytes).map_err(&io)?;
    // A second name is given to the file only if nobody has it.
    let named = fs::hard_link(&fresh, path);
    let removed = fs::remove_file(&fresh);
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists(path.to_owned()));
        }
        result => result.map_err(&io)?,
    }
    removed.map_err(&io)?;
    sync_directory(directory_of(path)).map_err(&io)
}

/// Where a key is kept under its own name: `key.0123456789abcdef` beside `key`.
pub fn former_path(path: &Path, id: KeyId) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{id}"));
    path.with_file_name(name)
}

/// Lets the key in `new` take the place of the one in `path`, which is kept as `former`. Done again after
/// an interruption, it goes on.
pub fn take_place(path: &Path, new: &Path, former: &Path) -> Result<(), KeyFileError> {
    match fs::hard_link(path, former) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error(former)(error));
        }
        // Who was interrupted has the name already.
        Ok(()) | Err(_) => {}
    }
    fs::rename(new, path).map_err(io_error(path))?;
    sync_directory(directory_of(path)).map_err(io_error(path))
}

/// Writes a file in place of the one that may be there: afterwards it is the old or the new one.
pub(super) fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = write_beside(path, bytes)?;
    fs::rename(&fresh, path)?;
    sync_directory(directory_of(path))
}

/// A new file beside `path`, durable, with a name of its own.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut number = [0; 8];
    getrandom::fill(&mut number)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{:016x}", u64::from_le_bytes(number)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut file = options.open(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What is incomplete helps nobody; the first error is the one to report.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(fresh)
}

/// The directory of a file.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
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
