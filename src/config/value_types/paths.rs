//! Values that name files and folders.
//!
//! All of them come out absolute: what is relative starts at the current directory, whose name is
//! taken literally even if it holds `*` or `[`.

use std::path::{self, Path, PathBuf};

use glob::Pattern;

use super::{BadValue, ValueType, items};
use crate::record::path_pattern::{PathPattern, escape_braces};
use crate::shown::printable;

/// One folder; need not exist.
pub(crate) struct Folder;

impl ValueType for Folder {
    type Value = PathBuf;

    fn accepted(&self) -> String {
        "a folder".to_owned()
    }

    fn read(&self, text: &str) -> Result<PathBuf, BadValue> {
        if text.is_empty() {
            return Err(BadValue::default());
        }
        refuse_shell_syntax(text)?;
        path::absolute(text).map_err(|error| BadValue::part(text).hint(error.to_string()))
    }
}

/// Files that are included: paths and globs. They are looked for before any key is read.
pub(crate) struct Includes;

impl ValueType for Includes {
    type Value = ();

    fn accepted(&self) -> String {
        "paths or globs (*, ?, [...]), comma separated".to_owned()
    }

    fn read(&self, text: &str) -> Result<(), BadValue> {
        for item in items(text)? {
            refuse_shell_syntax(item)?;
            Pattern::new(item).map_err(|error| BadValue::part(item).hint(error.msg))?;
        }
        Ok(())
    }
}

/// Files to follow: a list of paths and globs, at least one.
pub(crate) struct Paths;

impl ValueType for Paths {
    type Value = Vec<PathPattern>;

    fn accepted(&self) -> String {
        "paths or globs (*, ?, [...], **), comma separated; {name} is a placeholder".to_owned()
    }

    fn read(&self, text: &str) -> Result<Vec<PathPattern>, BadValue> {
        if text.is_empty() {
            return Err(BadValue::default());
        }
        items(text)?
            .into_iter()
            .map(|item| {
                if item.ends_with('/') {
                    let shown = printable(item);
                    let hint = format!("a folder; name its files, for example {shown}*.log");
                    return Err(BadValue::part(item).hint(hint));
                }
                if item.ends_with("**") {
                    let shown = printable(item);
                    let hint = format!("** stands for folders; their files are {shown}/*");
                    return Err(BadValue::part(item).hint(hint));
                }
                path_pattern(item)
            })
            .collect()
    }
}

/// Files to leave out: a list of globs, which may be empty. One without `/` is about the file name
/// in any folder and stays as it is.
pub(crate) struct Excludes;

impl ValueType for Excludes {
    type Value = Vec<String>;

    fn accepted(&self) -> String {
        "globs, comma separated, or nothing; one without / is about file names".to_owned()
    }

    fn read(&self, text: &str) -> Result<Vec<String>, BadValue> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        items(text)?
            .into_iter()
            .map(|item| match item.contains('/') {
                _ if has_placeholder(item) => Err(no_placeholder(item)),
                true => absolute_glob(item),
                false => checked_glob(item, item.to_owned()),
            })
            .collect()
    }
}

/// Globs of the places that rotation moves files to, or nothing.
pub(crate) struct RotatedGlobs;

impl ValueType for RotatedGlobs {
    type Value = Vec<String>;

    fn accepted(&self) -> String {
        "paths or globs, comma separated, or nothing".to_owned()
    }

    fn read(&self, text: &str) -> Result<Vec<String>, BadValue> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        items(text)?
            .into_iter()
            .map(|item| match has_placeholder(item) {
                true => Err(no_placeholder(item)),
                false => absolute_glob(item),
            })
            .collect()
    }
}

/// Whether there is `{name}` in it, as `path` has it.
fn has_placeholder(item: &str) -> bool {
    let inside = item
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    inside.is_some_and(|(name, _)| !name.contains(['[', ']']))
}

/// A glob of files that are not those of `path` has no names.
fn no_placeholder(item: &str) -> BadValue {
    BadValue::part(item)
        .hint("{name} is known in path only; write * here, or [{] for a brace itself")
}

/// `item` as an absolute pattern.
fn path_pattern(item: &str) -> Result<PathPattern, BadValue> {
    if !item.contains(['{', '}']) {
        let glob = absolute_glob(item)?;
        return PathPattern::parse(&escape_braces(&glob))
            .map_err(|error| BadValue::part(item).hint(error.words));
    }
    refuse_shell_syntax(item)?;
    let text = absolute(item, |here| escape_braces(&Pattern::escape(here)))?;
    let pattern =
        PathPattern::parse(&text).map_err(|error| BadValue::part(item).hint(error.words))?;
    checked_glob("", pattern.glob().to_owned()).map_err(|_| BadValue::part(item))?;
    Ok(pattern)
}

/// `item` as an absolute glob in one spelling: without `.` components and double slashes.
fn absolute_glob(item: &str) -> Result<String, BadValue> {
    let glob = absolute(item, Pattern::escape)?;
    checked_glob(item, glob)
}

fn absolute(item: &str, escape: impl Fn(&str) -> String) -> Result<String, BadValue> {
    let glob = if item.starts_with('/') {
        item.to_owned()
    } else {
        let here = std::env::current_dir().map_err(|error| {
            BadValue::part(item).hint(format!("the current directory: {error}"))
        })?;
        let here = here.to_str().ok_or_else(|| {
            BadValue::part(item).hint("the name of the current directory is not UTF-8")
        })?;
        format!("{}/{item}", escape(here))
    };
    path::absolute(Path::new(&glob))
        .ok()
        .and_then(|glob| glob.into_os_string().into_string().ok())
        .ok_or_else(|| BadValue::part(item))
}

/// `glob`, which `item` became, if it can be matched.
fn checked_glob(item: &str, glob: String) -> Result<String, BadValue> {
    refuse_shell_syntax(item)?;
    match Pattern::new(&glob) {
        Ok(_) => Ok(glob),
        Err(error) => Err(BadValue::part(item).hint(error.msg)),
    }
}

/// What a shell would take out of the text is a part of it here, and surely not meant.
fn refuse_shell_syntax(item: &str) -> Result<(), BadValue> {
    let hint = if item.starts_with(['"', '\'']) {
        "values take no quotes"
    } else if item == "~" || item.starts_with("~/") {
        "~ is not known here; write the folder out, or ${HOME}"
    } else if item.contains('{') != item.contains('}') {
        "{a,b} is not known here; write one path for each, and {{ for a brace"
    } else {
        return Ok(());
    };
    Err(BadValue::part(item).hint(hint))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn globs_of(text: &str) -> Vec<String> {
        let patterns = Paths.read(text).unwrap().into_iter();
        patterns.map(|pattern| pattern.glob().to_owned()).collect()
    }

    fn hint_of(text: &str) -> String {
        Paths.read(text).unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn paths_come_out_absolute_and_in_one_spelling() {
        let here = std::env::current_dir().unwrap();
        let here = Pattern::escape(here.to_str().unwrap());
        assert_eq!(
            globs_of("/var//log/./a.log, logs/*.log,./b, /srv/**/c?[0-9].log"),
            [
                "/var/log/a.log".to_owned(),
                format!("{here}/logs/*.log"),
                format!("{here}/b"),
                "/srv/**/c?[0-9].log".to_owned(),
            ]
        );
        assert_eq!(
            Folder.read("state").unwrap(),
            std::env::current_dir().unwrap().join("state")
        );
    }

    #[test]
    fn a_path_keeps_every_character_that_an_ini_could_trip_over() {
        assert_eq!(
            globs_of("/var/log/p#q;r=s:t $u%v {{w}}.log"),
            ["/var/log/p#q;r=s:t $u%v {w}.log"]
        );
    }

    #[test]
    fn names_in_braces_are_any_part_of_one_name() {
        assert_eq!(globs_of("/srv/{tenant}/{app}.log"), ["/srv/?*/?*.log"]);
        let twice = hint_of("/srv/{app}/{app}.log");
        assert!(twice.contains("app"), "{twice}");
    }

    #[test]
    fn what_a_shell_would_expand_is_refused_with_the_way_out() {
        assert_eq!(hint_of("\"/var/log/a.log\""), "values take no quotes");
        assert_eq!(
            hint_of("~/a.log"),
            "~ is not known here; write the folder out, or ${HOME}"
        );
        assert_eq!(
            hint_of("/var/log/{a,b}.log"),
            "{a,b} is not known here; write one path for each, and {{ for a brace"
        );
        assert!(Folder.read("~/state").is_err());
        assert!(Folder.read("").is_err());
    }

    #[test]
    fn globs_that_cannot_match_a_file_are_refused() {
        assert_eq!(hint_of("/var/log/[a.log"), "invalid range pattern");
        assert_eq!(
            hint_of("/var/log/a**.log"),
            "recursive wildcards must form a single path component"
        );
        assert_eq!(
            hint_of("/var/log/"),
            "a folder; name its files, for example /var/log/*.log"
        );
        assert_eq!(
            hint_of("/var/log/**"),
            "** stands for folders; their files are /var/log/**/*"
        );
        assert_eq!(hint_of("/a,,/b"), "a comma has nothing before or after it");
        assert!(Paths.read("").is_err());
    }

    #[test]
    fn an_exclude_without_a_slash_is_handed_on_as_it_is() {
        let here = std::env::current_dir().unwrap();
        let here = Pattern::escape(here.to_str().unwrap());
        assert_eq!(
            Excludes.read("*.gz, /var/log/old/*,old/b"),
            Ok(vec![
                "*.gz".to_owned(),
                "/var/log/old/*".to_owned(),
                format!("{here}/old/b"),
            ])
        );
        assert_eq!(Excludes.read(""), Ok(vec![]));
        assert!(Excludes.read("[").is_err());
    }
}
