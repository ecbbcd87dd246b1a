//! `logagent tap`: records as they go.

use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::awaited::Announced;
use super::client::{AskError, ask, open};
use super::elsewhere;
use super::measures::{cut, plain};
use super::status::absolute;
use super::wire_json;
use crate::command_line::TapOptions;
use crate::config::Config;
use crate::shown::ShownPath;
use crate::tap::TappedRecord;
use crate::wall_clock::clock_with_ms;

/// Prints records of a section, or of a file, to `out`: so many as are asked for, or until the agent ends.
pub fn tap(options: &TapOptions, out: &mut impl Write) -> Result<(), AskError> {
    let mut left = options.count;
    let mut is_told = false;
    let mut announced = None;
    loop {
        if options.wait && announced.is_none() {
            announced = Announced::to_agent_in(&Config::state_dir(&options.config));
        }
        let ended = tap_one(options, &mut left, &mut announced, out);
        let is_away = match &ended {
            Err(AskError::NoAgent { error, .. }) => elsewhere::is_absent(error),
            Err(AskError::Silent(_)) => true,
            _ => false,
        };
        if !options.wait || !is_away {
            return ended;
        }
        if !std::mem::replace(&mut is_told, true) {
            let _ = writeln!(io::stderr(), "no agent runs: waits for it to start");
        }
        thread::sleep(AGAIN);
    }
}

/// The same of the agent that runs now; `left` are how many are still to be shown, and `announced` is dropped when it
/// looks on.
fn tap_one(
    options: &TapOptions,
    left: &mut Option<u64>,
    announced: &mut Option<Announced>,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let (log, path) = section_of(options)?;
    let mut answer = open(&options.config, &format!("tap {log}"))?;
    if !answer.is_ok {
        let mut why = String::new();
        answer.lines.read_line(&mut why)?;
        return Err(AskError::Refused(why.trim_end().to_owned()));
    }
    *announced = None;
    answer.lines.get_ref().set_read_timeout(Some(QUIET))?;
    if let Err(error) = answer.lines.fill_buf() {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let _ = writeln!(io::stderr(), "[log:{log}] is quiet: waits for lines");
            }
            _ => return Err(error.into()),
        }
    }
    // A quiet log has nothing to show for any time.
    answer.lines.get_ref().set_read_timeout(None)?;
    let is_terminal = io::stdout().is_terminal();
    let mut line = String::new();
    let (began, mut is_heard) = (Instant::now(), false);
    while *left != Some(0) {
        line.clear();
        if answer.lines.read_line(&mut line)? == 0 {
            return Err(AskError::Silent(io::ErrorKind::UnexpectedEof.into()));
        }
        let Some(record) = wire_json::from_json::<TappedRecord>(&line) else {
            continue;
        };
        let shown = ShownPath(&record.path).to_string();
        if let Some(path) = path.as_ref().filter(|path| **path != shown) {
            // Others of the section go on.
            if began.elapsed() > QUIET && !std::mem::replace(&mut is_heard, true) {
                let _ = writeln!(io::stderr(), "'{path}' is quiet: waits for lines");
            }
            continue;
        }
        is_heard = true;
        match print(&record, options.headers, is_terminal, out).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(AskError::Output(error)),
        }
        if let Some(left) = left {
            *left -= 1;
        }
    }
    Ok(())
}

/// The section that is asked for; of a path the one that follows it, and the path.
fn section_of(options: &TapOptions) -> Result<(String, Option<String>), AskError> {
    if !options.log.contains('/') {
        return Ok((options.log.clone(), None));
    }
    let path = absolute(&options.log);
    let answer = ask(&options.config, &format!("why {path}"))?;
    let words = answer.text.trim_end();
    let of = |words: &str| {
        let (name, behind) = words.strip_prefix("[log:")?.split_once(']')?;
        Some((name.to_owned(), behind.to_owned()))
    };
    // An agent that waits for this tap has read nothing yet.
    let unseen = of(words).filter(|(_, behind)| options.wait && behind.starts_with(UNSEEN));
    let followed = words.strip_prefix("followed by ").filter(|_| answer.is_ok);
    let found = followed.and_then(of).or(unseen);
    match found.map(|(name, _)| name) {
        Some(name) => Ok((name, Some(path))),
        None => Err(AskError::Refused(format!("'{path}': {words}"))),
    }
}

/// A head, headers if they are asked for, and the lines of the record behind them; on a terminal as much of them as is seen at a glance.
fn print(
    record: &TappedRecord,
    with_headers: bool,
    is_terminal: bool,
    out: &mut impl Write,
) -> io::Result<()> {
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
        clock_with_ms(record.time),
        ShownPath(&record.path),
        record.offset
    );
    writeln!(out, "{}", cut(&plain(&head), width))?;
    for header in record.headers.iter().filter(|_| with_headers) {
        writeln!(out, "  | {}", cut(&plain(header), width - 4))?;
    }
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

/// What the agent says of a file that it is about to follow.
const UNSEEN: &str = " names it and has not seen it yet";
/// After so long without a record it is said that there is none.
const QUIET: Duration = Duration::from_secs(2);
/// How often an agent that does not run is looked for.
const AGAIN: Duration = Duration::from_millis(50);
/// Columns of a screen.
const WIDTH: usize = 80;
/// Lines of a record that are shown on one.
const GLANCE: usize = 2;
