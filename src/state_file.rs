//! Small files in the state folder that are written whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Has `name` in `folder` hold `content`. After a power cut it holds that or what it held before.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(new, folder.join(name))?;
    File::open(folder)?.sync_data()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["one", "two"] {
            replace(folder.path(), "file", content.as_bytes()).unwrap();
            let read = fs::read_to_string(folder.path().join("file")).unwrap();
            assert_eq!(read, content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("none"), "file", b"").is_err());
    }
}
