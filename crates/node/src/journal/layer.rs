//! The file below a journal, narrow enough that a test can break it in every way a disk does.

use crate::lock::private;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// A file that grows at its end.
///
/// The implementer owes: after [`sync_data`](Self::sync_data) succeeded, everything appended before
/// survives a crash. Before that, any part of it may survive or be lost.
pub trait FileLayer {
    /// Length in bytes.
    fn length(&mut self) -> io::Result<u64>;

    /// Fills the start of `buffer` from `offset` on, and says how many bytes there were: fewer than
    /// asked for only at the end of the file.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at the end. After an error any part of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything durable.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file on disk.
#[derive(Debug)]
pub struct DiskFile(File);

impl DiskFile {
    /// Opens the file for appending. A missing one is created for the own user alone, and its
    /// directory entry is made durable.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        let is_missing = !path.try_exists()?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        private(&mut options);
        let file = options.open(path)?;
        if is_missing {
            let parent = path.parent().unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        Ok(Self(file))
    }

    /// Opens an existing file for reading alone.
    pub(crate) fn open_for_reading(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl FileLayer for DiskFile {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // The position is ours: appending goes to the end wherever it stands.
        self.0.seek(SeekFrom::Start(offset))?;
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
