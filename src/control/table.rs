//! A table for a terminal and for a browser.

use super::measures::{cut, plain};
use crate::shown::wrap;

#[derive(Debug)]
pub(super) struct Table {
    /// The first, or the last if the first is short, gives way when a line is too long.
    pub(super) columns: &'static [(&'static str, Column)],
    pub(super) rows: Vec<Row>,
    /// What stands below.
    pub(super) note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// To the right.
    Figure,
    /// To the left.
    Word,
    /// To the left, and never cut where a line holds it: it has a line of its own where the row has no room for it.
    Whole,
    /// To the left, takes what is left of a line, and is cut at its beginning.
    Path,
    /// To the left, takes what is left of a line, and goes on below; may have lines of its own.
    Text,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) is_bad: bool,
}

impl Table {
    pub(super) fn new(
        columns: &'static [(&'static str, Column)],
        rows: impl Iterator<Item = Row>,
    ) -> Table {
        Table {
            columns,
            rows: rows.collect(),
            note: String::new(),
        }
    }

    /// No more than the first rows, unless all are asked for.
    pub(super) fn first(mut self, most: usize) -> Table {
        if self.rows.len() > most {
            self.note = format!("... {} more (-a shows all)", self.rows.len() - most);
            self.rows.truncate(most);
        }
        self
    }

    pub(super) fn push_text(&self, text: &mut String, width: usize, has_colour: bool) {
        let head: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let own = self.rows.iter().map(|row| {
            let cells = row.cells.iter().map(|cell| plain_lines(cell));
            (cells.collect(), row.is_bad)
        });
        let rows: Vec<(Vec<String>, bool)> = std::iter::once((head, false)).chain(own).collect();
        let widths = self.widths(&rows, width);
        let rows = rows.iter().filter(|_| !self.rows.is_empty());
        for (cells, is_bad) in rows {
            for line in self.lines(cells, &widths, width) {
                push_line(text, &line, has_colour && *is_bad);
            }
        }
        if !self.note.is_empty() {
            wrap(text, "", &self.note);
        }
    }

    /// The lines of a row.
    fn lines(&self, cells: &[String], widths: &[usize], width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let (mut line, mut rest) = (String::new(), Vec::new());
        for (at, ((cell, (_, column)), width_of)) in
            cells.iter().zip(self.columns).zip(widths).enumerate()
        {
            if at > 0 {
                line.push_str("  ");
            }
            let shown = match column {
                Column::Path if cell.len() > *width_of => {
                    format!("...{}", &cell[cell.len() + 3 - width_of..])
                }
                Column::Whole if cell.len() > *width_of => {
                    lines.push(cut(cell, width));
                    String::new()
                }
                Column::Text if at > 0 => {
                    let mut more = wrapped_lines(cell, *width_of).into_iter();
                    let first = more.next().unwrap_or_default();
                    rest = more.collect();
                    first
                }
                _ => cut(cell, *width_of),
            };
            match column {
                Column::Figure => line.push_str(&format!("{shown:>width_of$}")),
                _ => line.push_str(&format!("{shown:<width_of$}")),
            }
        }
        lines.push(cut(line.trim_end(), width));
        let last = widths.last().copied().unwrap_or(0);
        let indent = widths.iter().sum::<usize>() + 2 * (widths.len() - 1) - last;
        lines.extend(rest.iter().map(|more| format!("{:indent$}{more}", "")));
        lines
    }

    /// How wide each column is, so that a line has at most `width`.
    fn widths(&self, rows: &[(Vec<String>, bool)], width: usize) -> Vec<usize> {
        let longest = |cell: &String| cell.split('\n').map(str::len).max().unwrap_or(0);
        let width_of = |at: usize| rows.iter().map(|(cells, _)| longest(&cells[at])).max();
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| width_of(at).unwrap_or(0))
            .collect();
        let room = width.saturating_sub(2 * (widths.len() - 1));
        // A text keeps what a few words need until names have given way; then it gives way, too.
        let comfort = |at: usize| match self.columns[at].1 {
            Column::Path | Column::Text => COMFORT,
            Column::Word => NAME,
            Column::Whole | Column::Figure => usize::MAX,
        };
        let least = |at: usize| match self.columns[at].1 {
            Column::Path | Column::Text => NARROWEST.max(self.columns[at].0.len().min(12)),
            Column::Word => NARROWEST,
            Column::Whole => self.columns[at].0.len(),
            Column::Figure => usize::MAX,
        };
        let mut order: Vec<usize> = (0..widths.len()).collect();
        order.sort_by_key(|at| match self.columns[*at].1 {
            Column::Path | Column::Text => 0,
            Column::Whole => 1,
            Column::Word | Column::Figure => 2,
        });
        let keeps: [&dyn Fn(usize) -> usize; 2] = [&comfort, &least];
        for keeps in keeps {
            for at in &order {
                let excess = widths.iter().sum::<usize>().saturating_sub(room);
                let can_give = widths[*at].saturating_sub(keeps(*at));
                widths[*at] -= excess.min(can_give);
            }
        }
        let left = room.saturating_sub(widths.iter().sum());
        if let Some(at) = (self.columns.iter()).position(|(_, kind)| *kind == Column::Path) {
            widths[at] += left;
        }
        widths
    }

    pub(super) fn push_html(&self, page: &mut String) {
        let class = |column: Column| {
            if column == Column::Figure {
                " class=n"
            } else {
                ""
            }
        };
        if !self.rows.is_empty() {
            page.push_str("<table><thead><tr>");
            for (name, column) in self.columns {
                for text in ["<th", class(*column), ">", name.trim()] {
                    page.push_str(text);
                }
            }
            page.push_str("</thead>\n");
            for row in &self.rows {
                page.push_str(if row.is_bad { "<tr class=bad>" } else { "<tr>" });
                for (cell, (name, column)) in row.cells.iter().zip(self.columns) {
                    let cell = escaped_lines(cell);
                    for text in [
                        "<td",
                        class(*column),
                        " data-n=\"",
                        name.trim(),
                        "\">",
                        &cell,
                    ] {
                        page.push_str(text);
                    }
                }
                page.push('\n');
            }
            page.push_str("</table>\n");
        }
        if !self.note.is_empty() {
            page.push_str("<p>");
            page.push_str(&escaped(self.note.trim_end_matches(" (-a shows all)")));
            page.push_str("</p>\n");
        }
    }
}

/// Each line of a cell without anything that a terminal obeys.
fn plain_lines(cell: &str) -> String {
    let lines: Vec<String> = cell.trim_end().split('\n').map(plain).collect();
    lines.join("\n")
}

/// A cell in lines of `width`; of what is too long only the first lines.
fn wrapped_lines(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for mut rest in cell.split('\n') {
        for n in 1..=MOST_LINES {
            let (line, left) = wrapped(rest, width);
            let is_last = n == MOST_LINES || left.is_empty();
            lines.push(match is_last {
                true => cut(rest, width),
                false => line.to_owned(),
            });
            if is_last {
                break;
            }
            rest = left;
        }
    }
    lines
}

/// As much of `text` as fits into `width`, if possible to the end of a word, and the rest.
fn wrapped(text: &str, width: usize) -> (&str, &str) {
    if text.len() <= width {
        return (text, "");
    }
    match text[..=width].rfind(' ') {
        Some(at) if at > width / 2 => (&text[..at], &text[at + 1..]),
        _ => text.split_at(width),
    }
}

fn push_line(text: &mut String, line: &str, is_red: bool) {
    match is_red {
        true => text.push_str(&format!("{RED}{line}{RESET}\n")),
        false => text.push_str(&format!("{line}\n")),
    }
}

/// As [`escaped`], line by line.
fn escaped_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escaped).collect();
    lines.join("<br>")
}

/// For HTML, without anything that steers.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            _ => drop(crate::shown::escape(character, &mut out)),
        }
    }
    out
}

/// Columns of a screen, unless it is known to be wider.
pub(super) const WIDTH: usize = 80;
/// What a column that gives way keeps.
const NARROWEST: usize = 4;

/// What a text keeps as long as names can give way: `PARKED 12m34s, again in 5s`.
const COMFORT: usize = 26;
/// As much of a name is shown as long as texts can give way.
const NAME: usize = 20;
/// So many lines a line of a text may take.
const MOST_LINES: usize = 5;

pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const RESET: &str = "\x1b[0m";
