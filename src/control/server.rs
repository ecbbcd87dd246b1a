//! The `control` thread: lets clients in, puts what they ask to the main thread, and hands on its answers.
//!
//! Nothing here waits but `poll`: each connection stands at a step of its own and has a time by which the step must be
//! over, so a client that hangs holds up nobody.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{Shutdown, shutdown};

use super::{Answer, Request, socket};
use crate::log_writer::panic_message;
use crate::shown::ShownPath;
use crate::snapshot::Snapshot;

/// What makes a step of a request; the second argument is the rest of its line.
type Make = fn(&Server, &str) -> Step;

/// The words of requests on the socket.
const WORDS: &[(&str, Make)] = &[
    ("status", |server, _| {
        server.ask(Request::Snapshot, Asked::Snapshot)
    }),
    ("reload", |server, _| {
        server.ask(Request::Reload, Asked::Words)
    }),
];

/// The running `control` thread, owned by the main thread. Dropping it ends the thread and takes the socket away.
#[derive(Debug)]
pub struct Control {
    /// Its other end is what the thread polls.
    stop: Option<UnixStream>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    path: PathBuf,
}

impl Control {
    /// Listens in `state_dir`, whose lock the process holds, and at `metrics`. What cannot be had is said in the log:
    /// the agent does its work without it.
    pub fn start(
        state_dir: &Path,
        metrics: Option<SocketAddr>,
        inbox: Sender<Request>,
    ) -> Option<Control> {
        let path = state_dir.join(socket::NAME);
        let socket = socket::listen_in(state_dir);
        let socket = socket
            .inspect_err(|error| {
                log::warn!(
                    "'{}': {error}; 'logagent status' cannot ask this agent",
                    ShownPath(&path)
                );
            })
            .ok();
        if socket.is_none() && metrics.is_none() {
            return None;
        }
        let started = UnixStream::pair().and_then(|(stop, stopped)| {
            let (ends, ended) = bounded::<()>(0);
            let server = Server {
                socket,
                metrics: metrics.map(Endpoint::new),
                stopped,
                inbox,
                connections: Vec::new(),
            };
            let body = move || {
                let _ends = ends;
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| server.run())) {
                    log::error!(
                        "thread 'control' panicked: {}; status and metrics are not answered any more",
                        panic_message(&*panic)
                    );
                }
            };
            thread::Builder::new()
                .name("control".into())
                .stack_size(STACK_BYTES)
                .spawn(body)?;
            Ok(Control {
                stop: Some(stop),
                ended,
                path,
            })
        });
        started
            .inspect_err(|error| log::warn!("thread 'control' cannot be started: {error}"))
            .ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.ended.recv_timeout(LAST_STEP);
        let _ = fs::remove_file(&self.path);
    }
}

/// The body of the `control` thread. It owns the listeners and all connections, and ends when the other end of
/// `stopped` is closed.
struct Server {
    socket: Option<UnixListener>,
    metrics: Option<Endpoint>,
    stopped: UnixStream,
    inbox: Sender<Request>,
    connections: Vec<Connection>,
}

/// Where metrics are asked for.
struct Endpoint {
    address: SocketAddr,
    /// None: the address is taken, or not there.
    listener: Option<TcpListener>,
    /// When it is tried again.
    next: Instant,
    is_said: bool,
}

/// One client.
struct Connection {
    stream: OwnedFd,
    is_http: bool,
    step: Step,
    /// When it is given up.
    until: Instant,
}

/// Where a connection stands.
enum Step {
    /// Its request is read.
    Reading(Vec<u8>),
    /// The main thread was asked.
    Waiting(Asked),
    /// Its answer is written: how much of it was.
    Writing(Vec<u8>, usize),
    /// Everything is written. What it still sends is read, since to close before would take the answer from it.
    Ending,
}

/// What the main thread was asked.
enum Asked {
    /// For numbers.
    Snapshot(Receiver<Snapshot>),
    /// For something that it answers in words.
    Words(Receiver<Answer>),
}

impl Server {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            if let Some(endpoint) = &mut self.metrics {
                endpoint.listen(now);
            }
            let Some(ready) = self.wait(now) else { return };
            self.accept(ready);
            let now = Instant::now();
            let mut connections = std::mem::take(&mut self.connections);
            connections.retain_mut(|connection| self.serve(connection, now));
            self.connections = connections;
        }
    }

    /// Until something can be done; whether somebody knocks at the socket and for metrics. `None`: it is over.
    fn wait(&self, now: Instant) -> Option<[bool; 2]> {
        let mut until = self.connections.iter().map(|one| one.until).min();
        if let Some(endpoint) = self.metrics.as_ref().filter(|one| one.listener.is_none()) {
            until = Some(until.map_or(endpoint.next, |until| until.min(endpoint.next)));
        }
        let mut fds = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        for connection in &self.connections {
            match connection.step {
                Step::Reading(_) | Step::Ending => {
                    fds.push(PollFd::new(&connection.stream, PollFlags::IN))
                }
                Step::Writing(..) => fds.push(PollFd::new(&connection.stream, PollFlags::OUT)),
                // Channels cannot be polled, and answers come soon.
                Step::Waiting(_) => until = Some(now + LOOK),
            }
        }
        let listeners = [
            self.socket.as_ref().map(AsFd::as_fd),
            self.metrics
                .as_ref()
                .and_then(|endpoint| endpoint.listener.as_ref())
                .map(AsFd::as_fd),
        ];
        let places = [0, 1].map(|kind| {
            let of_kind = self.connections.iter();
            let of_kind = of_kind.filter(|one| one.is_http == (kind == 1)).count();
            // Others wait at the door.
            let listener = listeners[kind].filter(|_| of_kind < MOST_CONNECTIONS)?;
            fds.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
            Some(fds.len() - 1)
        });
        let timeout = until.map(|until| {
            // Rounded up, so that it is past then.
            let left = until.saturating_duration_since(now) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Out of memory: the next look may find some.
            Err(_) => thread::sleep(LOOK),
        }
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        match is_ready(0) {
            true => None,
            false => Some(places.map(|at| at.is_some_and(is_ready))),
        }
    }

    fn accept(&mut self, ready: [bool; 2]) {
        let until = Instant::now() + PATIENCE;
        let mut let_in = |stream: io::Result<OwnedFd>, is_http| {
            // A client that has gone already is none.
            let Ok(stream) = stream else { return };
            self.connections.push(Connection {
                stream,
                is_http,
                step: Step::Reading(Vec::new()),
                until,
            });
        };
        if let (true, Some(listener)) = (ready[0], &self.socket) {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            });
            let_in(accepted, false);
        }
        let endpoint = self.metrics.as_ref();
        let listener = endpoint.and_then(|endpoint| endpoint.listener.as_ref());
        if let (true, Some(listener)) = (ready[1], listener) {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            });
            let_in(accepted, true);
        }
    }

    /// Does what can be done for a client at once; false once it is over with it.
    fn serve(&self, connection: &mut Connection, now: Instant) -> bool {
        loop {
            let Connection { stream, step, .. } = connection;
            let next = match step {
                Step::Reading(head) => match read_some(stream, head) {
                    Ok(true) => self.take(head),
                    Ok(false) => break,
                    Err(_) => return false,
                },
                Step::Waiting(asked) => match self.look(asked) {
                    Some(next) => next,
                    None if now >= connection.until => failed("the agent is busy, or stopping"),
                    None => return true,
                },
                Step::Writing(bytes, written) => match write(&*stream, &bytes[*written..]) {
                    Ok(count) => {
                        *written += count;
                        if *written < bytes.len() {
                            connection.until = now + PATIENCE;
                            continue;
                        }
                        let _ = shutdown(&*stream, Shutdown::Write);
                        Step::Ending
                    }
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => break,
                    Err(_) => return false,
                },
                Step::Ending => match read_some(stream, &mut Vec::new()) {
                    Ok(_) => break,
                    Err(_) => return false,
                },
            };
            let patience = match &next {
                Step::Waiting(Asked::Words(_)) => LONG_PATIENCE,
                Step::Ending => LAST_STEP,
                _ => PATIENCE,
            };
            connection.until = now + patience;
            connection.step = next;
            if matches!(connection.step, Step::Reading(_)) {
                break;
            }
        }
        now < connection.until
    }

    /// The step that follows on what was read so far.
    fn take(&self, head: &mut Vec<u8>) -> Step {
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            return match head.len() < LONGEST_REQUEST {
                true => Step::Reading(std::mem::take(head)),
                false => failed("the request is too long"),
            };
        };
        let line = String::from_utf8_lossy(&head[..end]);
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match WORDS.iter().find(|(name, _)| *name == word) {
            Some((_, make)) => make(self, rest),
            None => failed("this agent does not know the request; is it of another version?"),
        }
    }

    /// Puts a request to the main thread.
    fn ask<T>(&self, request: fn(Sender<T>) -> Request, asked: fn(Receiver<T>) -> Asked) -> Step {
        let (sender, answer) = bounded(1);
        match self.inbox.try_send(request(sender)) {
            Ok(()) => Step::Waiting(asked(answer)),
            Err(TrySendError::Full(_)) => failed("the agent is busy"),
            Err(TrySendError::Disconnected(_)) => failed("the agent is stopping"),
        }
    }

    /// The step that follows on an answer; `None`: there is none yet.
    fn look(&self, asked: &Asked) -> Option<Step> {
        match asked {
            Asked::Snapshot(answer) => Some(match answer.try_recv() {
                Ok(snapshot) => said(true, &format!("{snapshot:?}\n")),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => failed("the agent is stopping"),
            }),
            Asked::Words(answer) => Some(match answer.try_recv() {
                Ok(answer) => said(answer.is_ok, &answer.text),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => failed("the agent is stopping"),
            }),
        }
    }
}

impl Endpoint {
    fn new(address: SocketAddr) -> Endpoint {
        Endpoint {
            address,
            listener: None,
            next: Instant::now(),
            is_said: false,
        }
    }

    /// Listens, if it does not and it is time to try.
    fn listen(&mut self, now: Instant) {
        if self.listener.is_some() || now < self.next {
            return;
        }
        let listener = TcpListener::bind(self.address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        match listener {
            Ok(listener) => {
                log::info!("metrics at http://{}/metrics", self.address);
                self.listener = Some(listener);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_said, true) {
                    log::warn!("metrics_listen = {}: {error}; retrying", self.address);
                }
                self.next = now + AGAIN;
            }
        }
    }
}

/// Reads what is there behind `head`; false if that is nothing.
fn read_some(stream: &OwnedFd, head: &mut Vec<u8>) -> Result<bool, Errno> {
    let mut buffer = [0; 1024];
    match read(stream, &mut buffer) {
        Ok(0) => Err(Errno::PIPE),
        Ok(count) => {
            head.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(why: &str) -> Step {
    said(false, &format!("{why}\n"))
}

/// An answer in words, as the socket has it.
fn said(is_ok: bool, text: &str) -> Step {
    let word = if is_ok { "ok" } else { "failed" };
    Step::Writing(format!("{word}\n{text}").into_bytes(), 0)
}

/// Connections of each kind at the same time.
const MOST_CONNECTIONS: usize = 16;
/// How long a client may take for its request, and for any part of the answer; and the main thread for a snapshot.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How long the main thread may take for what it answers in words.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// How often an answer is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// When an address that cannot be had is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the end of the agent waits for the thread, and a connection's for the client.
const LAST_STEP: Duration = Duration::from_millis(500);
/// Bytes of a request.
const LONGEST_REQUEST: usize = 8 << 10;
const STACK_BYTES: usize = 512 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::control::{AskError, ask};

    /// An ini whose state folder is `folder`.
    fn ini(folder: &Path) -> PathBuf {
        let ini = folder.join("a.ini");
        fs::write(
            &ini,
            format!(
                "[agent]\nstate_dir = {}\n[kafka]\nnonsense\n",
                folder.display()
            ),
        )
        .unwrap();
        ini
    }

    /// A main thread that answers until all senders are gone.
    fn main_thread() -> Sender<Request> {
        let (inbox, requests) = unbounded();
        thread::spawn(move || {
            for request in requests {
                match request {
                    Request::Snapshot(sender) => sender.send(Snapshot::default()).unwrap(),
                    Request::Reload(answer) => drop(answer),
                }
            }
        });
        inbox
    }

    #[test]
    fn the_socket_is_for_the_agents_user_alone_replaces_a_stale_one_and_goes_at_the_end() {
        for depth in [0, 3] {
            let folder = tempfile::tempdir().unwrap();
            // With a path that has no room in an address, too.
            let state = folder
                .path()
                .join("d/".to_owned() + &format!("{}/", "x".repeat(60)).repeat(depth));
            fs::create_dir_all(&state).unwrap();
            let path = state.join(socket::NAME);
            if depth == 0 {
                drop(UnixListener::bind(&path).unwrap());
                assert!(path.exists());
            }
            let control = Control::start(&state, None, main_thread()).unwrap();
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let answer = ask(&ini(&state), "status").unwrap();
            assert!(answer.is_ok, "{answer:?}");
            drop(control);
            assert!(!path.exists());
            let nobody = ask(&ini(&state), "status").unwrap_err().to_string();
            assert!(nobody.contains("no agent answers at"), "{nobody}");
            assert!(nobody.contains("control.sock"), "{nobody}");
        }
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(socket::NAME), "x").unwrap();
        assert!(Control::start(folder.path(), None, main_thread()).is_none());
        assert!(folder.path().join(socket::NAME).exists());
    }

    #[test]
    fn clients_that_hang_hold_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let ini = ini(folder.path());
        let _control = Control::start(folder.path(), None, main_thread()).unwrap();
        let silent: Vec<_> = (0..MOST_CONNECTIONS - 1)
            .map(|_| socket::connect_in(folder.path()).unwrap())
            .collect();
        let begin = Instant::now();
        assert!(ask(&ini, "status").unwrap().is_ok);
        assert!(begin.elapsed() < PATIENCE);
        // And are let go after a time.
        let mut first = &silent[0];
        let mut end = Vec::new();
        first.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        assert_eq!(first.read_to_end(&mut end).unwrap(), 0);
        assert!(begin.elapsed() >= PATIENCE);
    }

    #[test]
    fn a_request_that_is_unknown_too_long_or_comes_in_pieces_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let ini = ini(folder.path());
        let _control = Control::start(folder.path(), None, main_thread()).unwrap();
        let unknown = ask(&ini, "fly").unwrap();
        assert!(!unknown.is_ok && unknown.text.contains("does not know"));
        let long = ask(&ini, &"x".repeat(LONGEST_REQUEST)).unwrap();
        assert!(!long.is_ok && long.text.contains("too long"));
        let mut client = socket::connect_in(folder.path()).unwrap();
        for byte in b"status\n" {
            client.write_all(&[*byte]).unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("ok\n"), "{answer}");
    }

    #[test]
    fn an_agent_that_does_not_look_into_its_inbox_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let ini = ini(folder.path());
        let (inbox, _requests) = bounded(1);
        let _control = Control::start(folder.path(), None, inbox).unwrap();
        let first = thread::spawn({
            let ini = ini.clone();
            move || ask(&ini, "status")
        });
        let begin = Instant::now();
        while !ask(&ini, "status").unwrap().text.contains("is busy\n") {
            assert!(begin.elapsed() < 2 * PATIENCE);
        }
        let first = first.join().unwrap().unwrap();
        assert!(!first.is_ok && first.text.contains("busy"), "{first:?}");
        assert!(matches!(
            ask(Path::new("/nowhere.ini"), "status"),
            Err(AskError::NoAgent { .. })
        ));
    }
}
