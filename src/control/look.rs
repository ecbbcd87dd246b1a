//! `logagent tap`: records as they go.

use std::io::{self, BufRead, IsTerminal, Write};

use super::client::{AskError, open};
use super::measures::{clock_ms, cut, plain};
use super::wire;
use crate::command_line::TapOptions;
use crate::shown::ShownPath;
use crate::tap::TappedRecord;

/// Prints records of a section to `out`: so many as are asked for, or until the agent ends.
pub fn tap(options: &TapOptions, out: &mut impl Write) -> Result<(), AskError> {
    let count = options
        .count
        .map_or_else(String::new, |count| format!(" {count}"));
    let mut answer = open(&options.config, &format!("tap {}{count}", options.log))?;
    if !answer.is_ok {
        let mut why = String::new();
        answer.lines.read_line(&mut why)?;
        return Err(AskError::Refused(why.trim_end().to_owned()));
    }
    // A quiet log has nothing to show for any time.
    answer.lines.get_ref().set_read_timeout(None)?;
    let is_terminal = io::stdout().is_terminal();
    let mut line = String::new();
    let mut shown = 0;
    loop {
        line.clear();
        if answer.lines.read_line(&mut line)? == 0 {
            break;
        }
        let Some(record) = wire::from_json::<TappedRecord>(&line) else {
            continue;
        };
        shown += 1;
        match print(&record, is_terminal, out).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(AskError::Output(error)),
        }
    }
    match options.count {
        Some(count) if shown < count => Err(AskError::Silent(io::ErrorKind::UnexpectedEof.into())),
        None => Err(AskError::Silent(io::ErrorKind::UnexpectedEof.into())),
        Some(_) => Ok(()),
    }
}

/// A head, and the lines of the record behind it; on a terminal as much of them as is seen at a glance.
fn print(record: &TappedRecord, is_terminal: bool, out: &mut impl Write) -> io::Result<()> {
    let (width, most_lines) = match is_terminal {
        true => (WIDTH, GLANCE),
        false => (usize::MAX, usize::MAX),
    };
    if record.missed > 0 {
        writeln!(out, "... {} records that are not shown", record.missed)?;
    }
    let key = record
        .key
        .as_deref()
        .map_or_else(String::new, |key| format!(" key={}", plain(key)));
    let head = format!(
        "{}[{}]{key}  {}  {}:{}",
        record.topic,
        record.partition,
        clock_ms(record.time),
        ShownPath(&record.path),
        record.offset
    );
    writeln!(out, "{}", cut(&plain(&head), width))?;
    let lines = record.value.split('\n').count();
    for line in record.value.split('\n').take(most_lines) {
        // A terminal decides itself how wide a tab is.
        match is_terminal {
            true => writeln!(
                out,
                "  {}",
                cut(&plain(&line.replace('\t', "    ")), width - 2)
            )?,
            false => writeln!(out, "  {line}")?,
        }
    }
    match lines.saturating_sub(most_lines) {
        0 => {}
        1 => writeln!(out, "  (+1 line)")?,
        more => writeln!(out, "  (+{more} lines)")?,
    }
    match record.left_out {
        0 => Ok(()),
        bytes => writeln!(out, "  (+{bytes} bytes)"),
    }
}

/// Columns of a screen.
const WIDTH: usize = 80;
/// Lines of a record that are shown on one.
const GLANCE: usize = 2;
