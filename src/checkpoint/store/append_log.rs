//! The append log of positions, and how one generation of it takes over from another.
//!
//! A generation begins with all that is known, in `checkpoints.new`, which is synced; then the present file gets the
//! second name `checkpoints.prev`, then the new one is renamed over `checkpoints`, then the folder is synced.
//! Only then is anything added to it. So a crash at any point leaves a whole generation at `checkpoints`, the old
//! or the new one, of which at most the end that was not synced is torn.
//!
//! After an error nothing is known of what the file holds (a failed `fsync` drops pages and is not reported twice):
//! nothing is added to it any more, and the next write begins a generation.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::progress::Checkpoint;

use super::format::{self, Place, TITLE, VERSION};

/// One change of what is known.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A source that is new, or of which more changed than position and size.
    Source {
        /// All of it.
        checkpoint: &'a Checkpoint,
        /// The serial numbers of what it takes the place of.
        replaces: &'a [u64],
    },
    /// A source whose position or size changed. The position that was written before becomes a mark.
    Moved(&'a Checkpoint),
    /// Nothing is known any more under this serial number.
    Gone(u64),
}

/// The log in a folder.
#[derive(Debug)]
pub(crate) struct Log<D: Disk> {
    disk: D,
    /// None: the next write begins a generation.
    generation: Option<Generation<D::File>>,
    /// For writing; kept for its room.
    text: String,
}

/// The generation that is added to.
#[derive(Debug)]
struct Generation<F> {
    file: F,
    place: Place,
    /// How long it may become.
    most_bytes: u64,
    is_synced: bool,
}

impl<D: Disk> Log<D> {
    /// A log in this folder, of which nothing is known.
    pub(crate) fn new(disk: D) -> Self {
        Log {
            disk,
            generation: None,
            text: String::new(),
        }
    }

    /// Whether there is a generation to add to.
    pub(crate) fn can_append(&self) -> bool {
        self.generation.is_some()
    }

    /// Whether the next write should begin a generation.
    pub(crate) fn is_full(&self) -> bool {
        let is_within = |g: &Generation<D::File>| g.place.offset < g.most_bytes;
        !self.generation.as_ref().is_some_and(is_within)
    }

    /// Whether all that was written survives a power cut.
    pub(crate) fn is_synced(&self) -> bool {
        self.generation.as_ref().is_none_or(|g| g.is_synced)
    }

    /// Begins a generation with files of `sections` and these checkpoints. When this returns, they survive a power
    /// cut. When it fails before the new generation has taken over, the old one can still be added to.
    pub(crate) fn begin<'a>(
        &mut self,
        begun_ns: u64,
        sections: &[String],
        checkpoints: impl Iterator<Item = &'a Checkpoint>,
    ) -> io::Result<()> {
        let written = self.write_new(begun_ns, sections, checkpoints);
        let mut new = written.inspect_err(|_| {
            // What is left would only take the room that is wanting.
            let _ = self.disk.remove(NEW);
            if let Some(old) = &mut self.generation {
                old.most_bytes = old.place.offset.saturating_mul(2);
            }
        })?;
        self.generation = None;
        self.disk.remove(PREVIOUS)?;
        self.disk.link(FILE, PREVIOUS)?;
        self.disk.rename(NEW, FILE)?;
        self.disk.sync_folder()?;
        new.most_bytes = new.place.offset.saturating_mul(2).max(LEAST_BYTES);
        self.generation = Some(new);
        Ok(())
    }

    fn write_new<'a>(
        &mut self,
        begun_ns: u64,
        sections: &[String],
        checkpoints: impl Iterator<Item = &'a Checkpoint>,
    ) -> io::Result<Generation<D::File>> {
        let (disk, mut file) = (&self.disk, self.disk.create(NEW)?);
        let write = |text: &str| disk.append(&mut file, text.as_bytes());
        let place = render(begun_ns, sections, checkpoints, write)?;
        self.disk.sync(&mut file)?;
        Ok(Generation {
            file,
            place,
            most_bytes: 0,
            is_synced: true,
        })
    }

    /// Adds `entries`, in one write. When this returns, they survive the process, and a power cut once
    /// [`Log::sync`] has returned. An error ends the generation.
    pub(crate) fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> io::Result<()> {
        let Some(mut generation) = self.generation.take() else {
            return Err(io::Error::other("there is no generation to add to"));
        };
        let text = &mut self.text;
        text.clear();
        for entry in entries {
            let from = text.len();
            match entry {
                Entry::Source {
                    checkpoint,
                    replaces,
                } => format::write_source(text, checkpoint, replaces),
                Entry::Moved(checkpoint) => format::write_moved(text, checkpoint),
                Entry::Gone(serial) => format::write_gone(text, serial),
            }
            generation.place.seal(text, from);
        }
        if !text.is_empty() {
            generation.is_synced = false;
            self.disk.append(&mut generation.file, text.as_bytes())?;
            text.shrink_to(ROOM_BYTES);
        }
        self.generation = Some(generation);
        Ok(())
    }

    /// Makes all that was written survive a power cut, and says so in the file: what comes before was durable, so
    /// if it is not whole, that was no crash. An error ends the generation.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.is_synced() {
            return Ok(());
        }
        let Some(mut generation) = self.generation.take() else {
            return Ok(());
        };
        self.disk.sync(&mut generation.file)?;
        self.text.clear();
        format::write_synced(&mut self.text, generation.place);
        generation.place.seal(&mut self.text, 0);
        self.disk
            .append(&mut generation.file, self.text.as_bytes())?;
        generation.is_synced = true;
        self.generation = Some(generation);
        Ok(())
    }
}

/// Writes what a generation begins with in pieces; gives the place behind it.
pub(crate) fn render<'a>(
    begun_ns: u64,
    sections: &[String],
    checkpoints: impl Iterator<Item = &'a Checkpoint>,
    mut write: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<Place> {
    let mut text = format!("{TITLE}{VERSION}\n");
    let mut place = Place {
        generation: begun_ns,
        offset: text.len() as u64,
    };
    let from = text.len();
    format::write_generation(&mut text, begun_ns);
    place.seal(&mut text, from);
    for name in sections {
        let from = text.len();
        format::write_section(&mut text, name);
        place.seal(&mut text, from);
    }
    let mut count = 0;
    for checkpoint in checkpoints {
        if text.len() >= PIECE_BYTES {
            write(&text)?;
            text.clear();
        }
        let from = text.len();
        format::write_source(&mut text, checkpoint, &[]);
        place.seal(&mut text, from);
        count += 1;
    }
    let from = text.len();
    format::write_end(&mut text, count);
    place.seal(&mut text, from);
    write(&text)?;
    Ok(place)
}

/// The file.
pub(super) const FILE: &str = "checkpoints";
const NEW: &str = "checkpoints.new";
const PREVIOUS: &str = "checkpoints.prev";
/// A generation may become so long whatever it began with.
const LEAST_BYTES: u64 = 2 << 20;
/// How much of a generation's beginning is written at once.
const PIECE_BYTES: usize = 64 << 10;
/// How much room the text of a write keeps.
const ROOM_BYTES: usize = 64 << 10;

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
        file.sync_data()?;
        // What has no name is gone with the process, however durable it is until then.
        match file.metadata()?.nlink() {
            0 => Err(io::Error::other("somebody has deleted their file")),
            _ => Ok(()),
        }
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
