//! `logagent status`: how the running agent stands, once or again and again.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{self, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use super::client::{AskError, ask, other_ini};
use super::screen::{Order, Screen, View, WELL};
use super::table::WIDTH;
use super::wire_json;
use crate::command_line::StatusOptions;
use crate::shown::ShownPath;
use crate::snapshot::{NotFollowed, Snapshot};

/// How an operator's question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    Well,
    /// Somebody should look.
    Wrong,
}

/// Prints the status to `out`, until somebody has seen enough of it.
pub fn status(options: &StatusOptions, out: &mut impl Write) -> Result<Health, AskError> {
    let only = options.only.as_ref().map(|only| match only.contains('/') {
        // As it is followed.
        true => absolute(only),
        false => only.clone(),
    });
    let mut view = View {
        only,
        all: options.all,
        most_files: MOST_FILES,
        ..View::default()
    };
    if options.json {
        return print_json(options, &view, out);
    }
    let taken = Taken::of(&options.config, &view)?;
    if let Some(words) = other_ini(&options.config, &taken.snapshot.config.path) {
        let _ = writeln!(io::stderr(), "{words}");
    }
    let screen = taken.screen(&view);
    screen.check()?;
    if !options.watch {
        out.write_all(screen.text_of_width(width(), has_colour()).as_bytes())
            .and_then(|()| out.flush())
            .map_err(AskError::Output)?;
        return Ok(screen.health());
    }
    let keys = Keys::take();
    let mut pause = Duration::ZERO;
    let mut health = Health::Well;
    loop {
        let key = keys.wait(pause);
        pause = EACH;
        match key {
            Some(b'q' | CTRL_C) => return Ok(health),
            Some(b'a') => view.all = !view.all,
            Some(b'p') => view.order = Order::Path,
            Some(b'l') => view.order = Order::Lag,
            _ => {}
        }
        let text = match Taken::of(&options.config, &view) {
            Ok(now) => {
                let height = keys.height();
                view.most_files =
                    height.map_or(MOST_FILES, |height| height.saturating_sub(24).max(3));
                let screen = now.screen(&view);
                health = screen.health();
                screen.text_of_width(width(), has_colour())
            }
            // It may be started again.
            Err(error @ (AskError::NoAgent { .. } | AskError::NoIni(_))) => {
                health = Health::Wrong;
                format!("{error}\n")
            }
            Err(error) => return Err(error),
        };
        draw(&text, keys.height(), out).map_err(AskError::Output)?;
    }
}

pub(super) fn absolute(path: &str) -> String {
    path::absolute(path).map_or_else(|_| path.to_owned(), |path| ShownPath(&path).to_string())
}

/// Prints what the agent says as it says it, or the part that is asked for.
fn print_json(
    options: &StatusOptions,
    view: &View,
    out: &mut impl Write,
) -> Result<Health, AskError> {
    loop {
        let taken = Taken::of(&options.config, view)?;
        let screen = taken.screen(view);
        screen.check()?;
        out.write_all(&taken.json(view))
            .and_then(|()| out.flush())
            .map_err(AskError::Output)?;
        if !options.watch {
            return Ok(screen.health());
        }
        thread::sleep(EACH);
    }
}

/// What the agent says.
struct Taken {
    snapshot: Snapshot,
    /// As it came.
    json: String,
    /// Of the path that is asked for: that it is followed, or not, and why.
    why: Option<(bool, String)>,
}

impl Taken {
    fn of(ini: &Path, view: &View) -> Result<Taken, AskError> {
        let answer = ask(ini, "status")?;
        if !answer.is_ok {
            return Err(AskError::Refused(answer.text.trim_end().to_owned()));
        }
        let Some(snapshot) = wire_json::from_json::<Snapshot>(&answer.text) else {
            return Err(AskError::Refused("its answer is no JSON".to_owned()));
        };
        let mut taken = Taken {
            snapshot,
            json: answer.text,
            why: None,
        };
        if let Some(path) = taken.path_of(view) {
            let answer = ask(ini, &format!("why {path}"))?;
            let words = answer.text.trim_end().to_owned();
            if !answer.is_ok {
                taken.snapshot.not_followed = vec![taken.not_followed(&path, &words)];
            }
            taken.why = Some((answer.is_ok, words));
        }
        Ok(taken)
    }

    /// The path that is asked for, if it is one: a name without a slash may be that of a file here.
    fn path_of(&self, view: &View) -> Option<String> {
        let only = view.only.as_ref()?;
        let is_section = || self.snapshot.logs.iter().any(|log| log.name == *only);
        let is_shown = || self.snapshot.files.iter().any(|file| view.shows_file(file));
        match only.contains('/') {
            true => Some(only.clone()),
            false if is_section() || is_shown() || !Path::new(only).exists() => None,
            false => Some(absolute(only)),
        }
    }

    fn not_followed(&self, path: &str, reason: &str) -> NotFollowed {
        let all = &self.snapshot.not_followed;
        let known = all.iter().find(|one| one.path == Path::new(path));
        known.cloned().unwrap_or_else(|| NotFollowed {
            path: path.into(),
            reason: reason.to_owned(),
            ..NotFollowed::default()
        })
    }

    fn screen(&self, view: &View) -> Screen {
        let mut screen = Screen::new(&self.snapshot, SystemTime::now(), view);
        if let Some((true, words)) = &self.why {
            screen.sum.push('\n');
            screen.sum.push_str(words);
        }
        screen
    }

    /// What came, or the part of it that is asked for.
    fn json(self, view: &View) -> Vec<u8> {
        let Some(only) = &view.only else {
            return self.json.into_bytes();
        };
        let mut snapshot = self.snapshot;
        snapshot.files.retain(|file| view.shows_file(file));
        snapshot
            .not_followed
            .retain(|one| view.shows(&one.path, &one.log));
        let files = &snapshot.files;
        let logs = &mut snapshot.logs;
        logs.retain(|log| log.name == *only || files.iter().any(|file| file.log == log.name));
        let mut json = wire_json::to_json(&mut snapshot);
        json.push(b'\n');
        json
    }
}

impl Screen {
    fn health(&self) -> Health {
        match self.word == WELL {
            true => Health::Well,
            false => Health::Wrong,
        }
    }

    /// That what was asked for is there.
    fn check(&self) -> Result<(), AskError> {
        match &self.missing {
            None => Ok(()),
            Some(missing) => Err(AskError::Refused(missing.clone())),
        }
    }
}

/// On a terminal from its top line on, as far as it reaches; elsewhere the first two lines.
fn draw(text: &str, height: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    match height {
        None => {
            for line in text.lines().take(2) {
                writeln!(out, "{line}")?;
            }
        }
        Some(height) => {
            out.write_all(b"\x1b[H")?;
            for (at, line) in text.lines().take(height).enumerate() {
                // No newline behind the last line, which would push out the first.
                let end = if at == 0 { "" } else { "\r\n" };
                write!(out, "{end}{line}\x1b[K")?;
            }
            out.write_all(b"\x1b[J")?;
        }
    }
    out.flush()
}

/// A terminal that obeys more than newlines.
fn is_able() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Columns of a screen: those of the terminal, if it has more than is usual.
fn width() -> usize {
    let size = io::stdout()
        .is_terminal()
        .then(|| tcgetwinsize(io::stdout()));
    let columns = size
        .and_then(Result::ok)
        .map_or(WIDTH, |size| size.ws_col.into());
    columns.clamp(WIDTH, MOST_COLUMNS)
}

fn has_colour() -> bool {
    is_able() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The keyboard, one key at a time, until it is dropped.
struct Keys {
    /// As it was before; `None`: this is no terminal.
    before: Option<Termios>,
    is_able: bool,
}

impl Keys {
    fn take() -> Keys {
        let input = io::stdin();
        let is_able = is_able();
        let mut before = None;
        if is_able && let Ok(modes) = tcgetattr(&input) {
            let _ = give_back_at_the_end(modes.clone());
            let mut raw = modes.clone();
            // Ctrl-C comes as a key: who ends this way leaves the terminal as it was, too.
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            before = tcsetattr(&input, OptionalActions::Now, &raw)
                .is_ok()
                .then_some(modes);
        }
        Keys { before, is_able }
    }

    /// The next key, if there is one soon enough.
    fn wait(&self, pause: Duration) -> Option<u8> {
        if self.before.is_none() {
            thread::sleep(pause);
            return None;
        }
        let input = io::stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        let pause = Timespec::try_from(pause).ok();
        let is_ready = poll(&mut fds, pause.as_ref()).is_ok_and(|ready| ready > 0);
        let mut key = [0];
        match is_ready.then(|| rustix::io::read(&input, &mut key)) {
            Some(Ok(1)) => Some(key[0]),
            // The terminal is gone.
            Some(_) => Some(CTRL_C),
            None => None,
        }
    }

    /// Lines of the terminal, if it is one that is drawn on.
    fn height(&self) -> Option<usize> {
        let size = self.is_able.then(|| tcgetwinsize(io::stdout()))?;
        match size {
            Ok(size) if size.ws_row > 0 => Some(size.ws_row.into()),
            _ => Some(24),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
            println!();
        }
    }
}

/// Has the terminal be as it was when a signal ends the process, whatever that waits for: a thread that waits for the
/// signal does it.
fn give_back_at_the_end(modes: Termios) -> io::Result<()> {
    let (mut signalled, write) = UnixStream::pair()?;
    let number = Arc::new(AtomicUsize::new(0));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        let value = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, number.clone(), value)?;
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    thread::Builder::new().spawn(move || {
        while signalled.read_exact(&mut [0]).is_ok() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
            let signal = number.load(Ordering::Relaxed);
            let _ = emulate_default_handler(i32::try_from(signal).unwrap_or(SIGTERM));
        }
    })?;
    Ok(())
}

/// How often a status that is watched is drawn.
const EACH: Duration = Duration::from_secs(2);
/// Files that are behind and are shown.
const MOST_FILES: usize = 20;
/// No screen is wider.
const MOST_COLUMNS: usize = 200;
const CTRL_C: u8 = 3;
