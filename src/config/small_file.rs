//! Reads the ini, and the files that it names: regular files of bounded size.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::Problem;

/// The bytes of the file at `path`. Never waits: a fifo or a device is refused unread.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Io {
            verb: "opened",
            error,
        },
    })?;
    regular(found.file_type())?;
    // It may be another file by now, so: open it without waiting for a writer, and look again.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Problem::Io {
        verb: "opened",
        error: error.into(),
    })?;
    let file = File::from(opened);
    let unreadable = |error| Problem::Io {
        verb: "read",
        error,
    };
    regular(file.metadata().map_err(unreadable)?.file_type())?;
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Problem::TooLarge {
            limit_bytes: LIMIT_BYTES,
        });
    }
    Ok(bytes)
}

fn regular(found: FileType) -> Result<(), Problem> {
    if found.is_file() {
        Ok(())
    } else if found.is_dir() {
        Err(Problem::NotRegular("folder"))
    } else if found.is_fifo() {
        Err(Problem::NotRegular("fifo"))
    } else if found.is_socket() {
        Err(Problem::NotRegular("socket"))
    } else {
        Err(Problem::NotRegular("device"))
    }
}

/// The same, with an error in words that go on from the name of the file.
pub(crate) fn read_small_file(path: &Path) -> Result<Vec<u8>, String> {
    read(path).map_err(|problem| match problem {
        Problem::Missing => "no such file".to_owned(),
        Problem::NotRegular(what) => format!("a {what}, not a regular file"),
        problem => problem.to_string(),
    })
}

/// No ini is larger; a log that is named by mistake is not read into memory.
const LIMIT_BYTES: u64 = 1 << 20;
