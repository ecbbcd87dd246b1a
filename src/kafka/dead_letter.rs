//! The one place where a record goes that Kafka will never take.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::Verdict;

/// Keeps refused records in a file, where a person finds them.
///
/// Each record is a line of text that names the topic, the source and the size, then the bytes as
/// they were in the file, then a newline.
#[derive(Debug)]
pub(super) struct DeadLetters {
    file: Option<PathBuf>,
    open: Option<File>,
    count: u64,
}

impl DeadLetters {
    /// Dead letters of producer `k` in `dir`; without one they are logged only.
    pub(super) fn new(k: usize, dir: Option<PathBuf>) -> Self {
        DeadLetters {
            file: dir.map(|dir| dir.join(format!("refused-{k}"))),
            open: None,
            count: 0,
        }
    }

    /// Takes a record. It is on disk when this returns `Ok`.
    pub(super) fn bury(
        &mut self,
        topic: &str,
        path: &Path,
        offset: u64,
        why: Verdict,
        record: &[u8],
    ) -> io::Result<()> {
        if let Some(name) = &self.file {
            let file = match &mut self.open {
                Some(file) => file,
                closed => closed.insert(open(name)?),
            };
            let head = format!(
                "{} bytes for topic {topic:?}, from offset {offset} of {path:?}, refused: {why}\n",
                record.len()
            );
            file.write_all(&[head.as_bytes(), record, b"\n"].concat())?;
            file.sync_data()?;
        }
        self.count += 1;
        log::error!(
            "topic '{topic}': the record at offset {offset} of {} ({} bytes) was refused: {why}; {} ({} so far)",
            path.display(),
            record.len(),
            match &self.file {
                Some(name) => format!("it is kept in {}", name.display()),
                None => "it is left out".to_owned(),
            },
            self.count
        );
        Ok(())
    }
}

/// Opens the file for appending, and makes it and its folder, readable by us alone, if need be.
fn open(name: &Path) -> io::Result<File> {
    let folder = name.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(name)?;
    // A new name is on disk once its folder is.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_record_is_kept_with_its_origin_in_a_folder_that_is_made_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("state/dead-letter");
        let why = Verdict::of(10);
        for start in [0, 1] {
            let mut letters = DeadLetters::new(start, Some(folder.clone()));
            for offset in [7, 90] {
                let record = b"bytes\0\xff\nas they were";
                let path = Path::new("/var/log/app.log");
                letters
                    .bury("t", path, offset, why, record)
                    .expect("a folder that can be made");
            }
            assert_eq!(letters.count, 2);
            let kept = std::fs::read(folder.join(format!("refused-{start}"))).expect("a file");
            let one = b"20 bytes for topic \"t\", from offset 7 of \"/var/log/app.log\", \
                refused: MESSAGE_TOO_LARGE (10)\nbytes\0\xff\nas they were\n20 bytes";
            assert!(kept.starts_with(one));
        }
    }
}
