//! The `control` thread: lets clients in, puts what they ask to the main thread, and hands on its answers.
//!
//! Nothing here waits but `poll`: each connection stands at a step of its own and has a time by which the step must be
//! over, so a client that hangs holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::exposition::Exposition;
use super::http::{self, Target};
use super::screen::{Screen, View};
use super::socket::Endpoint;
use super::stream::{Output, read_some};
use super::{Answer, Request, wire_json};
use crate::snapshot::Snapshot;
use crate::tap::{Looking, Tap};

/// What makes a step of a request; the second argument is the rest of its line.
type Make = fn(&mut Server, &str) -> Step;

/// The words of requests on the socket.
const WORDS: &[(&str, Make)] = &[
    ("status", |server, _| server.ask_for(Purpose::Json)),
    ("tap", |server, rest| {
        let (name, count) = rest.split_once(' ').unwrap_or((rest, ""));
        server.ask_for(Purpose::Tap {
            log: name.to_owned(),
            left: count.parse().ok(),
        })
    }),
    ("reload", |server, _| server.ask(Request::Reload)),
    ("why", |server, path| {
        server.ask(|answer| Request::Why(path.into(), answer))
    }),
];

/// The body of the `control` thread. It owns the listeners and all connections, and ends when the other end of
/// `stopped` is closed.
pub(super) struct Server {
    socket: Option<UnixListener>,
    metrics: Option<Endpoint>,
    stopped: UnixStream,
    inbox: Sender<Request>,
    tap: Arc<Tap>,
    exposition: Exposition,
    /// Since when parts of the agent have not answered the main thread.
    silent: Option<Instant>,
    connections: Vec<Connection>,
}

/// One client.
struct Connection {
    stream: OwnedFd,
    client: Client,
    step: Step,
    /// When it is given up.
    until: Instant,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// A command, on the socket.
    Command,
    /// Prometheus or a browser.
    Http { is_head: bool },
}

/// Where a connection stands.
enum Step {
    /// Its request is read.
    Reading(Vec<u8>),
    /// The main thread was asked.
    Waiting(Asked),
    /// Its answer is written.
    Writing(Output),
    /// Records are written as they go: how many are left.
    Tapping(Looking, Option<u64>, Output),
    /// Everything is written. What it still sends is read, since to close before would take the answer from it.
    Ending,
}

/// What the main thread was asked.
enum Asked {
    /// For numbers.
    Snapshot(Receiver<Snapshot>, Purpose),
    /// For something that it answers in words.
    Words(Receiver<Answer>),
}

/// What becomes of a snapshot.
#[derive(Clone)]
enum Purpose {
    Json,
    Tap { log: String, left: Option<u64> },
    Metrics,
    Health,
    Page,
}

impl Server {
    pub(super) fn new(
        socket: Option<UnixListener>,
        metrics: Option<SocketAddr>,
        stopped: UnixStream,
        inbox: Sender<Request>,
        tap: Arc<Tap>,
    ) -> Server {
        Server {
            socket,
            metrics: metrics.map(Endpoint::new),
            stopped,
            inbox,
            tap,
            exposition: Exposition::default(),
            silent: None,
            connections: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
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
            self.connections.append(&mut connections);
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
            let flags = match &connection.step {
                Step::Reading(_) | Step::Ending => PollFlags::IN,
                Step::Writing(_) => PollFlags::OUT,
                // Its end is seen.
                Step::Tapping(.., output) if output.is_empty() => PollFlags::IN,
                Step::Tapping(..) => PollFlags::IN | PollFlags::OUT,
                Step::Waiting(_) => PollFlags::empty(),
            };
            if !flags.is_empty() {
                fds.push(PollFd::new(&connection.stream, flags));
            }
            // Channels cannot be polled, and answers come soon.
            let look = match &connection.step {
                Step::Waiting(_) => LOOK,
                Step::Tapping(.., output) if output.is_empty() => LOOK_AT_RECORDS,
                _ => continue,
            };
            until = Some(until.map_or(now + look, |until| until.min(now + look)));
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
            let of_kind = of_kind
                .filter(|one| (one.client != Client::Command) == (kind == 1))
                .count();
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
        let mut let_in = |stream: io::Result<OwnedFd>, client| {
            // A client that has gone already is none.
            let Ok(stream) = stream else { return };
            self.connections.push(Connection {
                stream,
                client,
                step: Step::Reading(Vec::new()),
                until,
            });
        };
        if let (true, Some(listener)) = (ready[0], &self.socket) {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            });
            let_in(accepted, Client::Command);
        }
        let endpoint = self.metrics.as_ref();
        let listener = endpoint.and_then(|endpoint| endpoint.listener.as_ref());
        if let (true, Some(listener)) = (ready[1], listener) {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            });
            let_in(accepted, Client::Http { is_head: false });
        }
    }

    /// Does what can be done for a client at once; false once it is over with it.
    fn serve(&mut self, connection: &mut Connection, now: Instant) -> bool {
        loop {
            let Connection {
                stream,
                client,
                step,
                until,
            } = connection;
            let next = match step {
                Step::Reading(head) => match read_some(stream, head) {
                    Ok(true) => self.take(client, head),
                    Ok(false) => break,
                    Err(_) => return false,
                },
                Step::Waiting(asked) => match self.look(*client, asked) {
                    Some(next) => next,
                    None if now >= *until => client.failed(SILENT),
                    None => return true,
                },
                Step::Writing(output) => match output.write(stream) {
                    Ok(true) => {
                        let _ = shutdown(&*stream, Shutdown::Write);
                        Step::Ending
                    }
                    Ok(false) => break,
                    Err(_) => return false,
                },
                Step::Tapping(looking, left, output) => {
                    if read_some(stream, &mut Vec::new()).is_err() {
                        return false;
                    }
                    output.take_records(looking, left);
                    match output.write(stream) {
                        Ok(true) if *left == Some(0) => Step::Writing(Output::default()),
                        Ok(true) => {
                            *until = now + PATIENCE;
                            return true;
                        }
                        Ok(false) => break,
                        Err(_) => return false,
                    }
                }
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
            // A request is not given more time by each of its bytes.
            if !matches!(
                (&connection.step, &next),
                (Step::Reading(_), Step::Reading(_))
            ) {
                connection.until = now + patience;
            }
            connection.step = next;
            if matches!(connection.step, Step::Reading(_)) {
                break;
            }
        }
        now < connection.until
    }

    /// The step that follows on what was read so far.
    fn take(&mut self, client: &mut Client, head: &mut Vec<u8>) -> Step {
        if let Client::Http { is_head } = client {
            let Some(asked) = http::parse(head) else {
                return Step::Reading(std::mem::take(head));
            };
            *is_head = asked.is_head;
            return match asked.target {
                Ok(Target::Metrics) => self.ask_for(Purpose::Metrics),
                Ok(Target::Health) => self.ask_for(Purpose::Health),
                Ok(Target::Page) => self.ask_for(Purpose::Page),
                Err(status) => client.said(status, http::TEXT, &format!("{status}\n")),
            };
        }
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            return match head.len() < LONGEST_REQUEST {
                true => Step::Reading(std::mem::take(head)),
                false => client.failed("the request is too long"),
            };
        };
        let line = String::from_utf8_lossy(&head[..end]);
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match WORDS.iter().find(|(name, _)| *name == word) {
            Some((_, make)) => make(self, rest),
            None => {
                client.failed("this agent does not know the request; is it of another version?")
            }
        }
    }

    fn ask_for(&mut self, purpose: Purpose) -> Step {
        let (sender, answer) = bounded(1);
        // Where it finds no room the answer never comes, as where nobody looks.
        let _ = self.inbox.try_send(Request::Snapshot(sender));
        Step::Waiting(Asked::Snapshot(answer, purpose))
    }

    /// Puts to the main thread what it answers in words.
    fn ask(&mut self, request: impl FnOnce(Sender<Answer>) -> Request) -> Step {
        let (sender, answer) = bounded(1);
        let _ = self.inbox.try_send(request(sender));
        Step::Waiting(Asked::Words(answer))
    }

    /// The step that follows on an answer; `None`: there is none yet.
    fn look(&mut self, client: Client, asked: &Asked) -> Option<Step> {
        let found = match asked {
            Asked::Snapshot(answer, purpose) => answer
                .try_recv()
                .map(|snapshot| self.use_snapshot(client, snapshot, purpose.clone())),
            Asked::Words(answer) => answer.try_recv().map(|answer| {
                let word = if answer.is_ok { "ok" } else { "failed" };
                client.said(word, http::TEXT, &answer.text)
            }),
        };
        match found {
            Ok(step) => Some(step),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(client.failed(SILENT)),
        }
    }

    fn use_snapshot(&mut self, client: Client, mut snapshot: Snapshot, purpose: Purpose) -> Step {
        let now = SystemTime::now();
        let ok = client.ok();
        match snapshot.unanswered.is_empty() {
            true => self.silent = None,
            false => drop(self.silent.get_or_insert_with(Instant::now)),
        }
        let silent = self.silent.map_or(Duration::ZERO, |since| since.elapsed());
        match purpose {
            Purpose::Json => {
                let mut json = wire_json::to_json(&mut snapshot);
                json.push(b'\n');
                client.said(ok, http::TEXT, &String::from_utf8_lossy(&json))
            }
            Purpose::Metrics => {
                client.said(ok, http::METRICS, &self.exposition.text(&snapshot, now))
            }
            Purpose::Health => match http::complaints(&snapshot, silent, now) {
                text if text.is_empty() => client.said(ok, http::TEXT, "ok\n"),
                text => client.said(http::UNAVAILABLE, http::TEXT, &text),
            },
            Purpose::Page => {
                let view = View {
                    most_files: 100,
                    ..View::default()
                };
                let screen = Screen::new(&snapshot, now, &view);
                client.said(ok, http::HTML, &screen.html())
            }
            Purpose::Tap { log, left } => {
                if !snapshot.logs.iter().any(|known| known.name == log) {
                    let names = snapshot.logs.iter().map(|known| &*known.name);
                    let names: Vec<&str> = names.collect();
                    let names = names.join(", ");
                    return client.failed(&format!("there is no [log:{log}]; there are: {names}"));
                }
                match self.tap.look_on(&log) {
                    Some(looking) => Step::Tapping(looking, left, Output::new(b"ok\n".to_vec())),
                    None => client.failed("too many look on already"),
                }
            }
        }
    }
}

impl Client {
    /// What begins an answer.
    fn ok(self) -> &'static str {
        match self {
            Client::Command => "ok",
            Client::Http { .. } => "200 OK",
        }
    }

    fn failed(self, why: &str) -> Step {
        let word = match self {
            Client::Command => "failed",
            Client::Http { .. } => http::UNAVAILABLE,
        };
        self.said(word, http::TEXT, &format!("{why}\n"))
    }

    fn said(self, status: &str, kind: &str, text: &str) -> Step {
        Step::Writing(Output::new(match self {
            Client::Command => format!("{status}\n{text}").into_bytes(),
            Client::Http { is_head } => http::response(status, kind, text, is_head),
        }))
    }
}

/// Connections of each kind at the same time.
pub(super) const MOST_CONNECTIONS: usize = 16;
/// How long a client may take for its request, and for any part of the answer; and the main thread for a snapshot.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 5 });
/// How long the main thread may take for what it answers in words.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// How often records are looked for.
const LOOK_AT_RECORDS: Duration = Duration::from_millis(20);
const SILENT: &str = "the agent is busy, or stopping: its main thread does not answer";
/// How often an answer is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long the end of the agent waits for the thread, and a connection's for the client.
pub(super) const LAST_STEP: Duration = Duration::from_millis(500);
/// Bytes of a request.
pub(super) const LONGEST_REQUEST: usize = 8 << 10;
