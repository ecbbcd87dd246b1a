//! Which module uses which, read from the text of the files.

use std::collections::{BTreeMap, BTreeSet};

/// One module's use of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) from: String,
    pub(super) to: String,
    /// File, number of the line, and its text.
    pub(super) place: String,
    /// A parent that hands on what a child has.
    pub(super) is_reexport: bool,
}

/// All uses of modules of this crate by others, tests aside.
pub(super) fn uses_of(files: &[(String, String)]) -> Vec<Use> {
    let mut sources = BTreeMap::new();
    for (path, text) in files {
        sources.insert(module_of(path), (path, statements(text)));
    }
    let only_tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|(module, (_, source))| source.test_modules.iter().map(|name| join(module, name)))
        .collect();
    let is_test = |module: &str| {
        only_tests
            .iter()
            .any(|test| module == test || module.starts_with(&format!("{test}::")))
    };
    sources.retain(|module, _| !is_test(module));
    let modules: BTreeSet<String> = sources
        .keys()
        .flat_map(|module| {
            let ends = module.match_indices("::").map(|(at, _)| at);
            ends.chain([module.len()])
                .map(|end| module[..end].to_owned())
        })
        .collect();

    // What a module hands on under its own name.
    let mut handed_on: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut uses = Vec::new();
    for (module, (path, source)) in &sources {
        for statement in &source.statements {
            for segments in &statement.paths {
                let Some((to, name)) = resolve(module, segments, &modules) else {
                    continue;
                };
                let is_reexport = statement.is_public && to.starts_with(&join(module, ""));
                if let (true, Some(name)) = (is_reexport, &name) {
                    handed_on.insert((module.clone(), name.clone()), to.clone());
                }
                let place = format!("{path}:{}: {}", statement.line, statement.text);
                uses.push((module.clone(), to, name, place, is_reexport));
            }
        }
    }
    let mut all: Vec<Use> = uses
        .into_iter()
        .map(|(from, to, name, place, is_reexport)| {
            // To where the thing is, not to the parent that hands it on.
            let thing = name.and_then(|name| handed_on.get(&(to.clone(), name)));
            let to = thing.cloned().unwrap_or(to);
            Use {
                from,
                to,
                place,
                is_reexport,
            }
        })
        .filter(|one| one.from != one.to)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// `src/a/b.rs` is `a::b`, `src/a/mod.rs` is `a`, and `src/lib.rs` is nothing.
fn module_of(path: &str) -> String {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    match inner {
        "lib" => String::new(),
        _ => inner.replace('/', "::"),
    }
}

fn join(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        _ => format!("{module}::{name}"),
    }
}

/// The module that a path in `module` leads to, and the first name in it; `None` if it leads to another crate.
fn resolve(
    module: &str,
    segments: &[String],
    modules: &BTreeSet<String>,
) -> Option<(String, Option<String>)> {
    let mut rest = segments;
    let mut at = module.to_owned();
    match rest.first().map(String::as_str) {
        Some("crate") => at = String::new(),
        Some("logagent") if module == "main" => at = String::new(),
        Some("self") => {}
        Some("super") => {
            while rest.first().is_some_and(|first| first == "super") {
                at = at
                    .rsplit_once("::")
                    .map_or(String::new(), |(parent, _)| parent.to_owned());
                rest = &rest[1..];
            }
            return Some(descend(at, rest, modules));
        }
        Some(child) if modules.contains(&join(module, child)) => {
            return Some(descend(at, rest, modules));
        }
        _ => return None,
    }
    Some(descend(at, &rest[1..], modules))
}

fn descend(
    mut at: String,
    segments: &[String],
    modules: &BTreeSet<String>,
) -> (String, Option<String>) {
    for segment in segments {
        let child = join(&at, segment);
        if !modules.contains(&child) {
            return (at, Some(segment.clone()));
        }
        at = child;
    }
    (at, None)
}

#[derive(Default)]
struct Source {
    statements: Vec<Statement>,
    /// Modules that are compiled for tests alone.
    test_modules: Vec<String>,
}

/// A `use`, or a line of code with paths in it.
struct Statement {
    line: usize,
    text: String,
    is_public: bool,
    paths: Vec<Vec<String>>,
}

/// Reads a file line by line; it is formatted, so an item ends where its indentation comes back.
fn statements(text: &str) -> Source {
    let mut source = Source::default();
    let mut lines = (1..).zip(text.lines());
    let mut is_for_tests = false;
    while let Some((number, line)) = lines.next() {
        let code = line.split("//").next().unwrap_or_default();
        let item = code.trim();
        if item == "#[cfg(test)]" {
            is_for_tests = true;
            continue;
        }
        if item.is_empty() || (is_for_tests && item.starts_with("#[")) {
            continue;
        }
        if std::mem::take(&mut is_for_tests) {
            let name = item.split("mod ").nth(1).unwrap_or_default();
            match name.strip_suffix(';') {
                Some(name) => source.test_modules.push(name.to_owned()),
                None if item.ends_with('{') => {
                    let end = format!("{}}}", &code[..code.len() - code.trim_start().len()]);
                    lines.by_ref().find(|(_, line)| *line == end);
                }
                None => {}
            }
            continue;
        }
        let without_pub = match item.strip_prefix("pub") {
            // How visible it is, no use.
            Some(rest) if rest.starts_with("(in ") => {
                rest.split_once(')').map_or(rest, |(_, rest)| rest).trim()
            }
            Some(rest) => rest.trim_start_matches(|c: char| c != ' ').trim_start(),
            None => item,
        };
        let (paths, text) = match without_pub.strip_prefix("use ") {
            Some(tree) => {
                let mut tree = tree.to_owned();
                while !tree.contains(';') {
                    let Some((_, more)) = lines.next() else {
                        break;
                    };
                    tree += more.split("//").next().unwrap_or_default().trim();
                }
                let mut paths = Vec::new();
                let tree = tree.replace(';', "");
                expand(&[], &tree, &mut paths);
                (paths, format!("use {tree};"))
            }
            None => (paths_in(without_pub), item.to_owned()),
        };
        source.statements.push(Statement {
            line: number,
            text,
            is_public: item.starts_with("pub"),
            paths,
        });
    }
    source
}

/// The paths of a tree such as `a::{b, c::{d, self}}`.
fn expand(before: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let segments = path.split("::").map(|segment| segment.trim().to_owned());
        let all: Vec<String> = before.iter().cloned().chain(segments).collect();
        let is_self = all.len() > 1 && all.last().is_some_and(|last| last == "self");
        paths.push(all[..all.len() - usize::from(is_self)].to_vec());
        return;
    };
    let segments = head
        .split("::")
        .map(str::trim)
        .filter(|segment| !segment.is_empty());
    let before: Vec<String> = before
        .iter()
        .cloned()
        .chain(segments.map(str::to_owned))
        .collect();
    let inner = inner.trim_end().trim_end_matches('}');
    let mut depth = 0;
    for part in inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    }) {
        // The braces of the last part may have gone with those of the tree.
        let open = part
            .matches('{')
            .count()
            .saturating_sub(part.matches('}').count());
        let part = format!("{part}{}", "}".repeat(open));
        if !part.trim().is_empty() {
            expand(&before, &part, paths);
        }
    }
}

/// The paths in a line of code that begin with `crate::` or `super::`.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = code[at..].split(|c| !is_part(c)).next().unwrap_or_default();
            let segments = path.split("::").filter(|segment| !segment.is_empty());
            paths.push(segments.map(str::to_owned).collect());
        }
    }
    paths
}
