//! What a store asks of its folder, so that a test can be the disk that fails and the power that is cut.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A folder in which files are made, added to, and given other names.
pub(crate) trait Disk: Debug {
    /// A file that is open for adding to it.
    type File: Debug;

    /// Makes an empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Adds bytes. When this returns they survive the process, not a power cut.
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// When this returns, all that was added survives a power cut.
    fn sync(&self, file: &mut Self::File) -> io::Result<()>;
    /// Gives a file a second name. A file system without hard links does nothing.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file another name, at which no other file is then.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// When this returns, the names survive a power cut.
    fn sync_folder(&self) -> io::Result<()>;
}

/// A folder of the system.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Folder(path.to_owned())
    }
}

impl Disk for Folder {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        // What a crash has left may have been read-only or is still open elsewhere: it is another file.
        self.remove(name)?;
        OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.0.join(name))
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        match std::fs::hard_link(self.0.join(from), self.0.join(to)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // EPERM, EOPNOTSUPP: the generation before the last is a convenience only.
            Err(error) if matches!(error.raw_os_error(), Some(1 | 95)) => Ok(()),
            done => done,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
