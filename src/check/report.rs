//! What was found, as a screen and as JSON.

use std::fmt::Write as _;

use crate::record::json_text::push_string;
use crate::shown::{Size, WIDTH, wrap};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// The agent works, and not as well as it could.
    Warning,
    /// The agent cannot do all of its work.
    Failure,
}

impl Level {
    fn mark(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Warning => "WARN",
            Level::Failure => "FAIL",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Level::Good => "",
            Level::Warning => "\x1b[33m",
            Level::Failure => "\x1b[31m",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What it is about; of a table, the first cell of a row.
    pub(super) subject: String,
    pub(super) words: String,
}

/// What stands in a row.
#[derive(Debug)]
pub(super) enum Cell {
    Text(String),
    Number(u64),
    Bytes(u64),
    /// It is not known.
    Nothing,
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Bytes(bytes) => Size(*bytes).to_string(),
            Cell::Nothing => "-".to_owned(),
        }
    }
}

/// A table of the screen.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// The names of the columns in JSON, and on the screen. A column of numbers begins with a blank there.
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) findings: Vec<Finding>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The ini, and what it is about.
    pub(super) title: String,
    pub(super) findings: Vec<Finding>,
    pub(super) tables: Vec<Table>,
}

impl Report {
    pub(super) fn add(&mut self, level: Level, subject: &str, words: impl Into<String>) {
        self.findings.push(Finding {
            level,
            subject: subject.to_owned(),
            words: words.into(),
        });
    }

    fn all(&self) -> impl Iterator<Item = &Finding> {
        let of_tables = self.tables.iter().flat_map(|table| &table.findings);
        self.findings.iter().chain(of_tables)
    }

    fn count(&self, level: Level) -> usize {
        self.all().filter(|finding| finding.level == level).count()
    }

    /// How bad the worst finding is.
    pub(super) fn level(&self) -> Level {
        let levels = self.all().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Good)
    }

    pub(super) fn screen(&self, is_coloured: bool) -> String {
        let mut text = String::new();
        wrap(&mut text, "", &self.title);
        text.push('\n');
        show_all(&self.findings, &mut text, is_coloured);
        for table in &self.tables {
            text.push('\n');
            table.show(&mut text);
            show_all(&table.findings, &mut text, is_coloured);
        }
        let plural = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let errors = plural(self.count(Level::Failure), "error");
        let warnings = plural(self.count(Level::Warning), "warning");
        let _ = writeln!(text, "\n{errors}, {warnings}");
        text
    }

    pub(super) fn json(&self) -> String {
        let mut text = String::from("{\"config\":");
        string(&mut text, self.title.split("  ").next().unwrap_or_default());
        let (errors, warnings) = (self.count(Level::Failure), self.count(Level::Warning));
        let _ = write!(text, ",\"errors\":{errors},\"warnings\":{warnings}");
        findings(&mut text, &self.findings);
        for table in &self.tables {
            let _ = write!(text, ",\"{}\":{{\"rows\":[", table.name);
            for (at, row) in table.rows.iter().enumerate() {
                text.push_str(if at == 0 { "{" } else { ",{" });
                for (at, ((name, _), cell)) in table.columns.iter().zip(row).enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}\"{name}\":");
                    match cell {
                        Cell::Text(words) => string(&mut text, words),
                        Cell::Number(number) | Cell::Bytes(number) => {
                            let _ = write!(text, "{number}");
                        }
                        Cell::Nothing => text.push_str("null"),
                    }
                }
                text.push('}');
            }
            text.push(']');
            findings(&mut text, &table.findings);
            text.push('}');
        }
        text.push_str("}\n");
        text
    }
}

fn findings(text: &mut String, all: &[Finding]) {
    text.push_str(",\"findings\":[");
    for (at, one) in all.iter().enumerate() {
        let level = one.level.mark().to_lowercase();
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{{\"level\":\"{level}\",\"subject\":");
        string(text, &one.subject);
        text.push_str(",\"text\":");
        string(text, &one.words);
        text.push('}');
    }
    text.push(']');
}

/// Appends `words` as a JSON string.
fn string(text: &mut String, words: &str) {
    let mut bytes = Vec::new();
    push_string(&mut bytes, words.as_bytes());
    text.push_str(&String::from_utf8_lossy(&bytes));
}

fn show_all(findings: &[Finding], text: &mut String, is_coloured: bool) {
    let subjects = findings.iter().map(|one| one.subject.len());
    let width = subjects.max().unwrap_or_default().clamp(8, WIDEST_SUBJECT);
    for one in findings {
        one.show(text, width, is_coloured);
    }
}

impl Finding {
    fn show(&self, text: &mut String, width: usize, is_coloured: bool) {
        let (mark, subject) = (self.level.mark(), &self.subject);
        let from = text.len();
        let mut head = format!("  {mark:<4}  {subject:<width$}  ");
        if subject.len() > width {
            // The words go on below it, not behind it.
            let _ = writeln!(text, "{}", head.trim_end());
            head = format!("{:<1$}", "", 10 + width);
        }
        wrap(text, &head, &self.words);
        if is_coloured && self.level != Level::Good {
            // At its beginning stands the mark.
            let coloured = format!("{}{mark}\x1b[0m", self.level.colour());
            text.replace_range(from + 2..from + 2 + mark.len(), &coloured);
        }
    }
}

impl Table {
    fn show(&self, text: &mut String) {
        if self.rows.is_empty() {
            text.push_str(self.columns[0].1);
            return text.push('\n');
        }
        let headings = self
            .columns
            .iter()
            .map(|(_, heading)| heading.trim().to_owned());
        let cells = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::shown).collect());
        let lines: Vec<Vec<String>> = std::iter::once(headings.collect()).chain(cells).collect();
        let wide = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let mut widths: Vec<usize> = (0..self.columns.len()).filter_map(wide).collect();
        // What is too wide for the screen is cut where it is widest.
        while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > WIDTH
            && let Some(widest) = widths.iter_mut().max()
            && *widest > LEAST_WIDTH
        {
            *widest -= 1;
        }
        for line in &lines {
            let mut row = String::new();
            for ((cell, width), (_, heading)) in line.iter().zip(&widths).zip(self.columns) {
                let cut: String = match cell.chars().count() > *width {
                    true => cell.chars().take(width - 3).chain("...".chars()).collect(),
                    false => cell.clone(),
                };
                let _ = match heading.starts_with(' ') {
                    true => write!(row, "{cut:>width$}  "),
                    false => write!(row, "{cut:<width$}  "),
                };
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
    }
}

/// The words of all findings begin below each other, behind subjects of up to this length.
const WIDEST_SUBJECT: usize = 24;
/// No column is cut to less.
const LEAST_WIDTH: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let text = |text: &str| Cell::Text(text.to_owned());
        let mut report = Report {
            title: "/etc/a.ini  1 log".to_owned(),
            ..Report::default()
        };
        report.add(Level::Good, "state", "writable");
        report.add(
            Level::Warning,
            "files",
            "limit 1024, up to 1190 needed: files will take turns, which is slow",
        );
        let long =
            "a-name-of-a-log-that-is-longer-than-what-fits-on-a-screen-of-eighty-columns-at-all";
        report.tables.push(Table {
            name: "logs",
            columns: &[
                ("log", "LOG"),
                ("files", " FILES"),
                ("size_bytes", " SIZE"),
                ("start", "START"),
            ],
            rows: vec![
                vec![
                    text("web"),
                    Cell::Number(2),
                    Cell::Bytes(12_400),
                    text("position"),
                ],
                vec![text(long), Cell::Number(14), Cell::Nothing, text("end")],
            ],
            findings: vec![Finding {
                level: Level::Failure,
                subject: "web".to_owned(),
                words: "/var/log/\"x\": permission denied".to_owned(),
            }],
        });
        report
    }

    #[test]
    fn a_screen_has_eighty_columns_and_numbers_stand_under_each_other() {
        let screen = report().screen(false);
        let expected = "\
/etc/a.ini  1 log

  ok    state     writable
  WARN  files     limit 1024, up to 1190 needed: files will take turns, which
                  is slow

LOG                                                     FILES    SIZE  START
web                                                         2  12 KiB  position
a-name-of-a-log-that-is-longer-than-what-fits-on-a-...     14       -  end
  FAIL  web       /var/log/\"x\": permission denied

1 error, 1 warning
";
        assert_eq!(screen, expected);
        assert!(screen.lines().all(|line| line.len() < 80));
        let coloured = report().screen(true);
        assert!(
            coloured.contains("\n  \x1b[31mFAIL\x1b[0m  web       /var"),
            "{coloured}"
        );
        assert_eq!(report().level(), Level::Failure);
    }

    #[test]
    fn json_has_a_name_for_everything_and_plain_numbers() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).expect("JSON");
        assert_eq!(json["config"], "/etc/a.ini");
        assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
        assert_eq!(json["findings"][1]["level"], "warn");
        assert_eq!(json["findings"][0]["subject"], "state");
        let logs = &json["logs"];
        assert_eq!(logs["rows"][0]["size_bytes"], 12_400);
        assert!(logs["rows"][1]["size_bytes"].is_null());
        assert_eq!(
            logs["findings"][0]["text"],
            "/var/log/\"x\": permission denied"
        );
    }
}
