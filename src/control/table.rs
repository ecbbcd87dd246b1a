//! A table for a terminal of 80 columns and for a browser.

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
    /// To the left, takes what is left of a line, and is cut at its beginning.
    Path,
    /// To the left, takes what is left of a line, and is cut at its end.
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

    pub(super) fn push_text(&self, text: &mut String, has_colour: bool) {
        let head: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let rows: Vec<(Vec<String>, bool)> = std::iter::once((head, false))
            .chain(self.rows.iter().map(|row| {
                (
                    row.cells.iter().map(|cell| plain(cell)).collect(),
                    row.is_bad,
                )
            }))
            .collect();
        let widths = self.widths(&rows);
        let rows = rows.iter().filter(|_| !self.rows.is_empty());
        for (cells, is_bad) in rows {
            let mut line = String::new();
            let mut rest = "";
            for ((cell, (_, column)), width) in cells.iter().zip(self.columns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let shown = match column {
                    Column::Path if cell.len() > *width => {
                        format!("...{}", &cell[cell.len() + 3 - width..])
                    }
                    Column::Text if line.len() > 2 => {
                        let (first, more) = wrapped(cell, *width);
                        rest = more;
                        first.to_owned()
                    }
                    _ => cut(cell, *width),
                };
                match column {
                    Column::Figure => line.push_str(&format!("{shown:>width$}")),
                    _ => line.push_str(&format!("{shown:<width$}")),
                }
            }
            let last = widths.last().copied().unwrap_or(0);
            let indent = widths.iter().sum::<usize>() + 2 * (widths.len() - 1) - last;
            push_line(text, &cut(line.trim_end(), WIDTH), has_colour && *is_bad);
            for n in 1..=MOST_MORE {
                let (more, left) = wrapped(rest, last);
                rest = left;
                let more = match n {
                    MOST_MORE => cut(&format!("{more}{left}"), last),
                    _ => more.to_owned(),
                };
                if !more.is_empty() {
                    let line = format!("{:indent$}{more}", "");
                    push_line(text, &line, has_colour && *is_bad);
                }
            }
        }
        if !self.note.is_empty() {
            wrap(text, "", &self.note);
        }
    }

    /// How wide each column is, so that a line has at most 80.
    fn widths(&self, rows: &[(Vec<String>, bool)]) -> Vec<usize> {
        let width_of = |at: usize| rows.iter().map(|(cells, _)| cells[at].len()).max();
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| width_of(at).unwrap_or(0))
            .collect();
        let room = WIDTH.saturating_sub(2 * (widths.len() - 1));
        let is_flexible = |column: Column| matches!(column, Column::Path | Column::Text);
        // First what gives way, then names, until it fits.
        let mut order: Vec<usize> = (0..widths.len())
            .filter(|at| self.columns[*at].1 != Column::Figure)
            .collect();
        order.sort_by_key(|at| !is_flexible(self.columns[*at].1));
        for at in order {
            let others = widths.iter().sum::<usize>() - widths[at];
            let keeps = match is_flexible(self.columns[at].1) {
                true => NARROWEST.max(self.columns[at].0.len().min(12)),
                false => NARROWEST,
            };
            let left = room.saturating_sub(others).max(keeps);
            widths[at] = match self.columns[at].1 {
                Column::Path => left,
                _ => widths[at].min(left),
            };
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
                    let cell = escaped(cell);
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

/// Columns of a screen.
pub(super) const WIDTH: usize = 80;
/// What a column that gives way keeps.
const NARROWEST: usize = 4;

/// Lines that a text at the end of a row may go on for.
const MOST_MORE: usize = 4;

pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const RESET: &str = "\x1b[0m";
