//! `logagent status`: how the running agent stands, once or again and again.

use std::io::{self, IsTerminal, Write};
use std::path::{self, Path};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::client::{AskError, ask};
use super::screen::{Order, Screen, View, WELL};
use super::wire;
use crate::command_line::StatusOptions;
use crate::shown::ShownPath;
use crate::snapshot::Snapshot;

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
        true => {
            path::absolute(only).map_or_else(|_| only.clone(), |path| ShownPath(&path).to_string())
        }
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
    let mut before = snapshot(&options.config)?;
    if !options.watch {
        thread::sleep(ONE_SECOND);
        let now = snapshot(&options.config)?;
        let screen = before.screen(&now, &view);
        screen.check()?;
        out.write_all(screen.text(has_colour()).as_bytes())
            .and_then(|()| out.flush())
            .map_err(AskError::Output)?;
        return Ok(screen.health());
    }
    before.screen(&before, &view).check()?;
    let keys = Keys::take();
    let mut pause = ONE_SECOND;
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
        let text = match snapshot(&options.config) {
            Ok(now) => {
                let height = keys.height();
                view.most_files =
                    height.map_or(MOST_FILES, |height| height.saturating_sub(24).max(3));
                let screen = before.screen(&now, &view);
                health = screen.health();
                // Keys do not make a rate of a moment.
                if now.at.duration_since(before.at) >= ONE_SECOND {
                    before = now;
                }
                screen.text(has_colour())
            }
            // It may be started again.
            Err(error @ AskError::NoAgent { .. }) => {
                health = Health::Wrong;
                format!("{error}\n")
            }
            Err(error) => return Err(error),
        };
        draw(&text, keys.height(), out).map_err(AskError::Output)?;
    }
}

/// Prints what the agent says as it says it, or the part that is asked for.
fn print_json(
    options: &StatusOptions,
    view: &View,
    out: &mut impl Write,
) -> Result<Health, AskError> {
    loop {
        let answer = ask(&options.config, "status")?;
        let mut taken = Taken::read(answer.is_ok, &answer.text)?;
        let screen = taken.screen(&taken, view);
        screen.check()?;
        let printed = match &view.only {
            None => out.write_all(answer.text.as_bytes()),
            Some(only) => {
                let snapshot = &mut taken.snapshot;
                snapshot.files.retain(|file| view.shows_file(file));
                let files = &snapshot.files;
                snapshot.logs.retain(|log| {
                    log.name == *only || files.iter().any(|file| file.log == log.name)
                });
                let mut json = wire::to_json(snapshot);
                json.push(b'\n');
                out.write_all(&json)
            }
        };
        printed
            .and_then(|()| out.flush())
            .map_err(AskError::Output)?;
        if !options.watch {
            return Ok(screen.health());
        }
        thread::sleep(EACH);
    }
}

/// A snapshot, and when it came.
struct Taken {
    snapshot: Snapshot,
    at: Instant,
}

fn snapshot(ini: &Path) -> Result<Taken, AskError> {
    let answer = ask(ini, "status")?;
    Taken::read(answer.is_ok, &answer.text)
}

impl Taken {
    fn read(is_ok: bool, text: &str) -> Result<Taken, AskError> {
        if !is_ok {
            return Err(AskError::Refused(text.trim_end().to_owned()));
        }
        match wire::from_json(text) {
            Some(snapshot) => Ok(Taken {
                snapshot,
                at: Instant::now(),
            }),
            None => Err(AskError::Refused("its answer is no JSON".to_owned())),
        }
    }

    fn screen(&self, now: &Taken, view: &View) -> Screen {
        let elapsed = now.at.duration_since(self.at);
        Screen::new(
            (&self.snapshot, &now.snapshot),
            elapsed,
            SystemTime::now(),
            view,
        )
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

const ONE_SECOND: Duration = Duration::from_secs(1);
/// How often a status that is watched is drawn.
const EACH: Duration = Duration::from_secs(2);
/// Files that are behind and are shown.
const MOST_FILES: usize = 20;
const CTRL_C: u8 = 3;
