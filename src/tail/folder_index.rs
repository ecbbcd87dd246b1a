//! interim
use super::rotated_names::RotatedName;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
/// interim
#[derive(Debug, Default)]
pub struct FolderIndex;
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) name: RotatedName,
}
impl FolderIndex {
    /// interim
    pub fn new() -> Self {
        FolderIndex
    }
    pub(super) fn rotated_beside(
        &self,
        folder: &Path,
        base: &OsStr,
        _: Instant,
    ) -> io::Result<Vec<Listed>> {
        let mut all = Vec::new();
        for e in std::fs::read_dir(folder)? {
            let e = e?;
            if let Some(name) = RotatedName::parse(
                std::os::unix::ffi::OsStrExt::as_bytes(base),
                std::os::unix::ffi::OsStrExt::as_bytes(&*e.file_name()),
            ) {
                all.push(Listed {
                    path: e.path(),
                    inode: e.ino(),
                    name,
                });
            }
        }
        Ok(all)
    }
    pub(super) fn by_inode(
        &self,
        folder: &Path,
        inode: u64,
        _: Instant,
    ) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for e in std::fs::read_dir(folder)? {
            let e = e?;
            if e.ino() == inode {
                all.push(e.path());
            }
        }
        Ok(all)
    }
}
