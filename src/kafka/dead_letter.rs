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
                closed => {
                    if let Some(folder) = name.parent() {
                        DirBuilder::new()
                            .recursive(true)
                            .mode(0o700)
                            .create(folder)?;
                    }
                    let options = &mut OpenOptions::new();
                    closed.insert(options.append(true).create(true).mode(0o600).open(name)?)
                }
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
