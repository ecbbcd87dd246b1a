//! Why the paths of a section find no file, in one sentence: for `check`, and for the log and the
//! status of a running agent.

use std::path::{Component, Path, PathBuf};

use crate::shown::ShownPath;

/// What keeps each of `paths`, which match no file, from finding one. Looks at the file system, which may hang.
pub(crate) fn why_none(paths: &[String]) -> String {
    let shown: Vec<String> = paths.iter().take(MOST).map(|text| why(text)).collect();
    let mut words = shown.join("; ");
    if let Some(more) = paths.len().checked_sub(MOST).filter(|more| *more > 0) {
        words.push_str(&format!("; and {more} more"));
    }
    words
}

fn why(text: &str) -> String {
    missing_folder(text).map_or_else(|| no_match(text), |folder| no_folder(&folder))
}

/// That a folder on the way is not there.
pub(crate) fn no_folder(folder: &Path) -> String {
    format!("there is no folder '{}' yet", ShownPath(folder))
}

/// That the folders are there, and no such file is.
pub(crate) fn no_match(text: &str) -> String {
    format!("no file matches '{}' yet", ShownPath(Path::new(text)))
}

/// The first folder on the way that is not there, as far as the folders have no wildcards.
fn missing_folder(text: &str) -> Option<PathBuf> {
    let folder = Path::new(text).parent()?;
    let mut way = PathBuf::new();
    for component in folder.components() {
        if let Component::Normal(name) = component
            && name.to_string_lossy().contains(['*', '?', '['])
        {
            return None;
        }
        way.push(component);
        let is_missing = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if way.metadata().is_err_and(is_missing) {
            return Some(way);
        }
    }
    None
}

/// So many paths are told of.
const MOST: usize = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_folder_is_told_from_one_without_such_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("{}/{name}", folder.path().display());
        let mut paths = vec![at("ngnix/sub/*.log")];
        let missing = format!("there is no folder '{}' yet", at("ngnix"));
        assert_eq!(why_none(&paths), missing);
        std::fs::create_dir(at("ngnix")).unwrap();
        assert_eq!(
            why_none(&paths),
            format!("there is no folder '{}' yet", at("ngnix/sub"))
        );
        paths = vec![at("*.log"), at("*/x/a.log")];
        let none = paths
            .iter()
            .map(|path| format!("no file matches '{path}' yet"));
        assert_eq!(why_none(&paths), none.collect::<Vec<_>>().join("; "));
        paths.extend([at("a"), at("b"), at("c")]);
        assert!(why_none(&paths).ends_with(" yet; and 2 more"));
    }
}
