//! The files that `[agent] include` names, and what the sections of all files are together.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern, glob_with};

use super::environment::{Env, expand};
use super::error::{ConfigError, Escaped, Line, Problem};
use super::syntax::{self, RawSection};
use super::text::{self, Text};
use super::{keys, value_types};

/// What all files say, before any of it is understood.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) sections: Vec<RawSection>,
    pub(super) errors: Vec<ConfigError>,
    /// What was wrong with bytes; what their lines seem to say is no news.
    pub(super) damage: Vec<ConfigError>,
    pub(super) damaged: Vec<Line>,
    /// Files that were included, sorted.
    pub(super) files: Vec<PathBuf>,
    /// Folders in which a new file may be one of them.
    pub(super) folders: Vec<PathBuf>,
}

impl Raw {
    /// Reads `bytes` of the ini at `file`, and the files that it includes.
    pub(super) fn read(bytes: &[u8], file: &Path, env: Env<'_>) -> Result<Raw, Problem> {
        let mut raw = Raw::default();
        raw.sections = raw.parse(bytes, file, None)?;
        for path in raw.included(file, env) {
            let own: Arc<Path> = path.as_path().into();
            let sections = text::read(&path).and_then(|bytes| raw.parse(&bytes, &path, Some(&own)));
            match sections {
                Ok(sections) => sections.into_iter().for_each(|one| raw.add(one, file)),
                Err(problem) => {
                    let error = ConfigError::in_file(problem).of_file(Some(&own));
                    raw.errors.push(error);
                }
            }
            raw.files.push(path);
        }
        Ok(raw)
    }

    fn parse(
        &mut self,
        bytes: &[u8],
        path: &Path,
        file: Option<&Arc<Path>>,
    ) -> Result<Vec<RawSection>, Problem> {
        let text = Text::decode(bytes, path)?;
        let sections = syntax::parse(&text.text, file, keys::is_key, &mut self.errors);
        let damaged = text.damaged.into_iter().map(|number| Line {
            number,
            file: file.cloned(),
        });
        self.damaged.extend(damaged);
        let damage = text.errors.into_iter().map(|error| error.of_file(file));
        self.damage.extend(damage);
        Ok(sections)
    }

    /// Takes over a section of a file that the `ini` includes.
    fn add(&mut self, section: RawSection, ini: &Path) {
        if let Some(include) = section
            .entries
            .iter()
            .find(|one| is_include(&section, &one.key))
        {
            let line = include.line.clone();
            let error = ConfigError::at(line, Problem::IncludeInIncluded);
            self.errors.push(error);
        }
        let mut known = self.sections.iter();
        match known.find(|known| known.name == section.name) {
            Some(first) => {
                let mut first_line = first.line.clone();
                // The error is about a line of another file.
                first_line.file.get_or_insert_with(|| ini.into());
                let problem = Problem::DuplicateSection {
                    section: Escaped::bare(&section.name),
                    first_line,
                };
                self.errors.push(ConfigError::at(section.line, problem));
            }
            None => self.sections.push(section),
        }
    }

    /// The files that the ini includes, sorted. What is wrong with `${NAME}` is said by whoever reads the key.
    fn included(&mut self, ini: &Path, env: Env<'_>) -> Vec<PathBuf> {
        let agent = self.sections.iter().find(|one| one.name == "agent");
        let entry =
            agent.and_then(|agent| agent.entries.iter().find(|e| is_include(agent, &e.key)));
        let Some((line, text)) = entry.and_then(|entry| {
            let text = expand(&entry.value, env).ok()?;
            (!text.is_empty()).then(|| (entry.line.clone(), text))
        }) else {
            return Vec::new();
        };
        let home = ini.parent().unwrap_or(Path::new("")).as_os_str();
        let home = PathBuf::from(Pattern::escape(&home.to_string_lossy()));
        let mut files = Vec::new();
        for item in value_types::items(&text).unwrap_or_default() {
            let pattern = home.join(item);
            let text = pattern.to_string_lossy();
            let found = glob_with(&text, OPTIONS).map(|found| found.flatten().collect());
            let found: Vec<PathBuf> = found.unwrap_or_default();
            if found.is_empty() && Pattern::escape(item) == item {
                let problem = Problem::Invalid {
                    setting: format!("include = {}", Escaped::bare(item)),
                    why: "names no file".to_owned(),
                };
                self.errors.push(ConfigError::at(line.clone(), problem));
            }
            let folders = found
                .iter()
                .map(PathBuf::as_path)
                .chain([pattern.as_path()]);
            let folders = folders.filter_map(Path::parent).map(|folder| match folder {
                here if here.as_os_str() == OsStr::new("") => PathBuf::from("."),
                folder => folder.to_owned(),
            });
            self.folders.extend(folders);
            files.extend(found);
        }
        files.sort();
        files.dedup();
        self.folders.sort();
        self.folders.dedup();
        files
    }
}

fn is_include(section: &RawSection, key: &str) -> bool {
    section.name == "agent" && key == keys::INCLUDE.name
}

/// A file that begins with a dot is an editor's.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::fs;

    use crate::config::{Config, ConfigErrors};

    const INI: &str = "[agent]\ninclude = conf.d/*.ini\n[kafka]\nbrokers = a:1\ntopic = t\n";

    fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, ConfigErrors>) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = Config::load(&folder.path().join("a.ini"));
        (folder, config)
    }

    fn errors(files: &[(&str, &str)]) -> String {
        let (folder, config) = load(files);
        let home = format!("{}/", folder.path().display());
        config.unwrap_err().to_string().replace(&home, "")
    }

    #[test]
    fn the_sections_of_included_files_follow_in_the_order_of_their_names() {
        let (folder, config) = load(&[
            ("a.ini", INI),
            ("conf.d/20.ini", "[log:b]\npath = /b\n"),
            ("conf.d/10.ini", "[log:a]\npath = /a\n"),
            ("conf.d/.10.ini.swp", "half"),
            ("conf.d/.hidden.ini", "half"),
            ("conf.d/10.ini~", "half"),
        ]);
        let config = config.unwrap();
        let names: Vec<&str> = config.logs.iter().map(|log| &*log.name).collect();
        assert_eq!(names, ["a", "b"]);
        let at = |name: &str| folder.path().join(name);
        let watched = &config.origin.watched;
        for name in ["a.ini", "conf.d", "conf.d/10.ini", "conf.d/20.ini"] {
            assert!(watched.contains(&at(name)), "{name}: {watched:?}");
        }
    }

    #[test]
    fn an_error_of_an_included_file_carries_its_name_and_line() {
        let said = errors(&[
            ("a.ini", &INI.replace("brokers", "broker")),
            ("conf.d/a.ini", "[log:a]\npath = /a\nmultline = auto\n"),
            ("conf.d/b.ini", "[log:a]\npath = /b\n[agent]\ninclude = x\n"),
            ("conf.d/c.ini", "\u{feff}[log:c]\npath = /a\n"),
        ]);
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("    "))
            .collect();
        assert_eq!(
            lines,
            [
                "a.ini:4: unknown key 'broker' in [kafka]; did you mean 'brokers'?",
                "conf.d/a.ini:3: unknown key 'multline' in [log:a]; did you mean 'multiline'?",
                "conf.d/b.ini:1: duplicate section [log:a]; it begins on conf.d/a.ini:1",
                "conf.d/b.ini:3: duplicate section [agent]; it begins on a.ini:1",
                "conf.d/b.ini:4: 'include' stands in the ini itself; a file that is included cannot include others",
                "conf.d/c.ini:1: a UTF-8 byte order mark stands before the first line",
                "conf.d/c.ini:2: path '/a' is listed already in [log:a] on conf.d/a.ini:2",
            ],
            "{said}"
        );
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_a_glob_may_match_none() {
        let log = "[log:x]\npath = /x\n";
        let (_folder, config) = load(&[("a.ini", &format!("{INI}{log}"))]);
        assert!(config.unwrap().origin.files.is_empty());
        let named = format!("{}{log}", INI.replace("*", "more"));
        assert_eq!(
            errors(&[("a.ini", &named)]),
            "a.ini:2: 'include = conf.d/more.ini' names no file"
        );
        let (folder, _) = load(&[]);
        fs::create_dir(folder.path().join("conf.d/x.ini")).unwrap();
        fs::write(folder.path().join("a.ini"), format!("{INI}{log}")).unwrap();
        let said = Config::load(&folder.path().join("a.ini"))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("conf.d/x.ini: a folder, not a regular file"),
            "{said}"
        );
    }
}
