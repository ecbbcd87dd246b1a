//! Uses go one way: the `use` lines under `src/`, and paths that begin with `crate::` or `super::`, held against
//! the storeys that DESIGN.md and `src/lib.rs` name. Code under `#[cfg(test)]` does not count.

mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use uses::{Use, uses_of};

/// The storeys, the highest first. A module uses what stands lower, and nothing beside it. What is named nowhere
/// stands on the ground, where modules use each other.
const STOREYS: [&[&str]; 4] = [
    &["main", "fuzz"],
    &["check"],
    &["agent", "verify"],
    &["tail", "output", "kafka", "checkpoint", "control", "cases"],
];
/// On one storey and yet allowed: the native output is one of the outputs, which do not know it.
const BESIDE: (&str, &str) = ("kafka", "output");
/// The storeys of `kafka`, as far as there are folders of these names.
const KAFKA_STOREYS: [&[&str]; 4] = [
    &["producer", "read"],
    &["cluster"],
    &["network"],
    &["protocol"],
];
/// Folders whose files use each other in no circle.
const WITHOUT_CIRCLES: [&str; 7] = [
    "budget",
    "checkpoint",
    "config",
    "kafka",
    "record",
    "resolve",
    "tail",
];
/// Uses that are not as they should be yet: who, and whom. One that has gone must go here too.
const NOT_YET: &[(&str, &str)] = &[];

/// What was found wrong, in words.
fn violations(files: &[(String, String)], not_yet: &[(&str, &str)]) -> Vec<String> {
    let mut uses = uses_of(files);
    let mut wrong = Vec::new();
    for &(from, to) in not_yet {
        let before = uses.len();
        uses.retain(|one| (one.from.as_str(), one.to.as_str()) != (from, to));
        if uses.len() == before {
            wrong.push(format!(
                "{from} does not use {to} any more: strike it out in NOT_YET"
            ));
        }
    }
    for one in &uses {
        let top = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
        let (from, to) = (top(&one.from), top(&one.to));
        let storey = |name: &str| STOREYS.iter().position(|names| names.contains(&name));
        let (high, low) = (storey(&from), storey(&to));
        let is_fine = from == to
            || (&*from, &*to) == BESIDE
            || match (high, low) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(high), Some(low)) => high < low,
            };
        if !is_fine {
            wrong.push(format!("{}: {from} must not use {to}", one.place));
        }
        let within = |module: &str| {
            let name = module
                .strip_prefix("kafka::")?
                .split("::")
                .next()?
                .to_owned();
            let at = KAFKA_STOREYS
                .iter()
                .position(|names| names.contains(&&*name))?;
            is_folder(files, &format!("src/kafka/{name}/")).then_some((at, name))
        };
        if let (Some((high, from)), Some((low, to))) = (within(&one.from), within(&one.to))
            && high > low
        {
            wrong.push(format!(
                "{}: kafka::{from} must not use kafka::{to}",
                one.place
            ));
        }
    }
    for folder in WITHOUT_CIRCLES {
        for circle in circles(folder, &uses) {
            let inside = |one: &&Use| circle.contains(&one.from) && circle.contains(&one.to);
            let places: Vec<&str> = uses.iter().filter(inside).map(|one| &*one.place).collect();
            let names: Vec<&str> = circle.iter().map(String::as_str).collect();
            wrong.push(format!(
                "{} use each other:\n    {}",
                names.join(", "),
                places.join("\n    ")
            ));
        }
    }
    wrong
}

fn is_folder(files: &[(String, String)], folder: &str) -> bool {
    files.iter().any(|(path, _)| path.starts_with(folder))
}

/// The circles among the modules of `folder`: sets of modules each of which reaches all others.
fn circles(folder: &str, uses: &[Use]) -> Vec<BTreeSet<String>> {
    let is_inside = |module: &str| module == folder || module.starts_with(&format!("{folder}::"));
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in uses {
        if is_inside(&one.from) && is_inside(&one.to) && one.from != one.to && !one.is_reexport {
            graph.entry(&one.from).or_default().insert(&one.to);
        }
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = graph.get(from).into_iter().flatten().copied().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|&from| (from, reached(from))).collect();
    let mut circles = BTreeSet::new();
    for (&from, seen) in &all {
        if seen.contains(from) {
            let back = |to: &&&str| all.get(**to).is_some_and(|seen| seen.contains(from));
            circles.insert(
                seen.iter()
                    .filter(back)
                    .map(|to| (*to).to_owned())
                    .collect(),
            );
        }
    }
    circles.into_iter().collect()
}

fn read_folder(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            read_folder(&path, root, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn uses_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read_folder(&root.join("src"), root, &mut files);
    assert!(uses_of(&files).len() > 100, "the use lines are not found");
    let wrong = violations(&files, NOT_YET);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn checked(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|&(path, text)| (path.to_owned(), text.to_owned()))
        .collect();
    violations(&files, &[])
}

#[test]
fn a_use_upwards_or_sideways_is_found_with_its_line() {
    let found = checked(&[
        ("src/tail/mod.rs", "mod a;\n"),
        (
            "src/tail/a.rs",
            "\nuse crate::{batch::Batch,\n    kafka::{self, Producer}};\n",
        ),
        (
            "src/kafka/mod.rs",
            "fn f() { crate::checkpoint::load(); }\n",
        ),
        ("src/checkpoint/mod.rs", "// use crate::agent::Agent;\n"),
        ("src/batch.rs", "use super::agent::Agent;\n"),
        (
            "src/agent.rs",
            "use crate::tail::Tailer;\nuse crate::batch::Batch;\n",
        ),
        ("src/main.rs", "use logagent::agent::Agent;\n"),
    ]);
    assert_eq!(
        found,
        [
            "src/batch.rs:1: use super::agent::Agent;: batch must not use agent",
            "src/kafka/mod.rs:1: fn f() { crate::checkpoint::load(); }: kafka must not use checkpoint",
            "src/tail/a.rs:2: use crate::{batch::Batch,kafka::{self, Producer}};: tail must not use kafka",
        ]
    );
}

#[test]
fn a_circle_is_found_and_a_parent_that_hands_on_is_none() {
    let parent = "mod a;\nmod b;\nmod c;\npub use a::A;\npub(crate) use c::C;\n";
    let one_way = [
        ("src/config.rs", parent),
        ("src/config/a.rs", "use super::b;\n"),
        ("src/config/b.rs", "use super::C;\n"),
        (
            "src/config/c.rs",
            "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::config::a::A;\n}\n",
        ),
    ];
    assert_eq!(checked(&one_way), [] as [&str; 0]);
    let mut circle = one_way;
    circle[3].1 = "use crate::config::A;\n";
    assert_eq!(
        checked(&circle),
        [
            "config::a, config::b, config::c use each other:\n    src/config/a.rs:1: use super::b;\n    \
          src/config/b.rs:1: use super::C;\n    src/config/c.rs:1: use crate::config::A;"
        ]
    );
}

#[test]
fn the_storeys_of_kafka_are_held_where_they_are_folders() {
    let found = checked(&[
        (
            "src/kafka/protocol/mod.rs",
            "use crate::kafka::network::Connection;\n",
        ),
        ("src/kafka/network/mod.rs", "use crate::batch::Batch;\n"),
        ("src/kafka/cluster.rs", "use super::producer::Producer;\n"),
        ("src/kafka/producer.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "src/kafka/protocol/mod.rs:1: use crate::kafka::network::Connection;: kafka::protocol must not use kafka::network"
        ]
    );
}

#[test]
fn an_exception_that_is_none_any_more_is_found() {
    let files = [("src/batch.rs".to_owned(), "use super::agent;\n".to_owned())];
    let agent = [("src/agent.rs".to_owned(), String::new())];
    let files = [files, agent].concat();
    let (true_one, stale) = (("batch", "agent"), ("batch", "tail"));
    assert!(violations(&files, &[true_one]).is_empty());
    assert_eq!(violations(&files, &[true_one, stale]).len(), 1);
}

#[test]
fn names_are_looked_up_by_the_resolver_and_by_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read_folder(&root.join("src"), root, &mut files);
    for (path, text) in files {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["ToSocketAddrs", "to_socket_addrs", "TcpStream::connect("] {
            assert!(!code.contains(call), "{path} has {call}");
        }
    }
}

/// The functions of `text` with more than `most` lines, tests aside: the line of each, and how many it has.
fn long_functions(text: &str, most: usize) -> Vec<(usize, usize)> {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "]
            .iter()
            .any(|start| words.starts_with(start));
        if !is_function {
            continue;
        }
        // rustfmt puts the end where the beginning is.
        let end = format!("{indent}}}");
        let length = lines[at..].iter().position(|line| *line == end);
        match length {
            Some(length) if length + 1 > most && !line.ends_with('}') => {
                found.push((at + 1, length + 1));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn no_function_is_too_long_and_no_file_has_more_than_five_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (folder, most) in [("src/kafka", 60), ("src/tail", 80)] {
        let mut files = Vec::new();
        read_folder(&root.join(folder), root, &mut files);
        assert!(files.len() > 30);
        files.retain(|(path, _)| folder != "src/tail" || !path.ends_with("tests.rs"));
        for (path, text) in files {
            for (line, length) in long_functions(&text, most) {
                wrong.push(format!("{path}:{line}: {length} lines"));
            }
            let length = text.lines().count();
            if length > 500 {
                wrong.push(format!("{path}: {length} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_long_function_is_found_with_its_line() {
    let body = "    let a = 1;\n".repeat(59);
    let text =
        format!("fn short() {{ }}\n\npub fn long() {{\n{body}}}\n\nfn other() {{\n{body}}}\n");
    assert_eq!(long_functions(&text, 60), [(3, 61), (65, 61)]);
    assert_eq!(long_functions(&text, 61), []);
}
