//! Which part of the code may use which: uses go one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The storeys of the native output, the highest first. Each uses only those below it.
const STOREYS: [&str; 4] = ["producer", "cluster", "network", "protocol"];

/// These know `batch` and never each other.
const APART: [&str; 3] = ["tail", "kafka", "checkpoint"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The words after each `prefix` in the code of `folder`, with the file that has them.
fn used(folder: &str, prefix: &str) -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root.join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has no files");
    let mut used = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for rest in line.split(prefix).skip(1) {
                let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                let word: String = rest.chars().take_while(is_word).collect();
                used.insert((file.display().to_string(), word));
            }
        }
    }
    used
}

#[test]
fn each_storey_of_the_native_output_uses_only_those_below_it() {
    for (height, storey) in STOREYS.iter().enumerate() {
        let used = used(&format!("kafka/{storey}"), "crate::kafka::");
        assert!(!used.is_empty() || *storey == "protocol");
        for (file, word) in used {
            let allowed = &STOREYS[height..];
            assert!(
                allowed.contains(&&*word) || word == "testing",
                "{file} uses crate::kafka::{word}"
            );
        }
    }
}

#[test]
fn following_sending_and_remembering_do_not_know_each_other() {
    for part in APART {
        for (file, word) in used(part, "crate::") {
            let is_other = word != part && APART.contains(&&*word);
            assert!(!is_other, "{file} uses crate::{word}");
        }
    }
}

#[test]
fn the_native_output_is_one_of_the_outputs_and_nothing_below_knows_it() {
    for folder in ["output", "config", "checkpoint", "tail"] {
        for (file, word) in used(folder, "crate::") {
            assert!(
                word != "kafka" && word != "agent",
                "{file} uses crate::{word}"
            );
        }
    }
}
