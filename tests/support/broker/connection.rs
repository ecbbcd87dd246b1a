//! The threads of a node: one that accepts, and two per connection.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::Shared;
use super::faults::Fault;
use super::state::{Answer, Node, State};

/// Requests that a broker's client may have unanswered on one connection: the broker remembers five
/// batches per producer, so with more the duplicate check would not hold.
const MAX_UNANSWERED: usize = 5;

/// Kafka's `socket.request.max.bytes`.
const MAX_FRAME_BYTES: i32 = 100 << 20;

/// Body of the accepting thread of node `node`: it owns the listener, and ends at the first
/// connection after the node went down.
pub(super) fn accept(shared: &Arc<Shared>, node: i32, listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let mut state = shared.state();
        if !state.nodes[&node].up {
            return;
        }
        let Ok(kept) = stream.try_clone() else { return };
        let number = state.next_connection;
        state.next_connection += 1;
        let open = state.nodes.get_mut(&node).expect("nodes are never removed");
        open.accepted += 1;
        open.connections.insert(number, kept);
        state.note(format!("node {node}: connection {number} accepted"));
        drop(state);
        let shared = shared.clone();
        thread::spawn(move || {
            Connection {
                shared,
                node,
                number,
                unanswered: AtomicUsize::new(0),
            }
            .serve(&stream);
        });
    }
}

/// A connection is open as long as its number is in its node's table.
struct Connection {
    shared: Arc<Shared>,
    node: i32,
    number: u64,
    unanswered: AtomicUsize,
}

/// An answer on its way to the writer.
struct Outgoing {
    answer: Answer,
    received: Instant,
}

impl Connection {
    /// Body of a connection's thread: reads and answers until one side closes.
    fn serve(self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let (sender, receiver) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.write_answers(stream, &receiver);
                self.close(stream);
            });
            let ended = self.read_requests(stream, sender);
            if let Err(error) = ended
                && error.kind() == io::ErrorKind::InvalidData
            {
                self.shared.state().violation(error.to_string());
            }
            self.close(stream);
        });
    }

    fn close(&self, stream: &TcpStream) {
        let _ = stream.shutdown(Shutdown::Both);
        let mut state = self.shared.state();
        let (node, number) = (self.node, self.number);
        let open = state.nodes.get_mut(&node).expect("nodes are never removed");
        if open.connections.remove(&number).is_some() {
            state.note(format!("node {node}: connection {number} closed"));
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn read_requests(&self, mut stream: &TcpStream, answers: Sender<Outgoing>) -> io::Result<()> {
        loop {
            self.wait_while(|node| node.deaf);
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            // It may have become deaf while the read waited.
            self.wait_while(|node| node.deaf);
            let length = i32::from_be_bytes(length);
            if !(0..=MAX_FRAME_BYTES).contains(&length) {
                let what = format!("request with a length of {length}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            let mut frame = vec![0; length as usize];
            if let Err(error) = stream.read_exact(&mut frame) {
                // Not a violation: the client may have been killed, or the node taken down.
                self.shared
                    .state()
                    .note(format!("node {}: request cut short: {error}", self.node));
                return Err(error);
            }
            let received = Instant::now();
            let unanswered = self.unanswered.fetch_add(1, Ordering::SeqCst) + 1;
            let mut state = self.shared.state();
            if !self.is_open(&state) {
                return Ok(());
            }
            state.most_unanswered = state.most_unanswered.max(unanswered);
            if unanswered > MAX_UNANSWERED {
                state.violation(format!("{unanswered} unanswered requests on a connection"));
            }
            let answer = state.answer(self.node, frame.into());
            drop(state);
            self.shared.changed.notify_all();
            if matches!(answer, Answer::Nothing) {
                self.unanswered.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            if answers.send(Outgoing { answer, received }).is_err() {
                return Ok(());
            }
        }
    }

    fn write_answers(
        &self,
        mut stream: &TcpStream,
        answers: &Receiver<Outgoing>,
    ) -> io::Result<()> {
        for Outgoing { answer, received } in answers {
            let Answer::Frame {
                frame,
                delay,
                fault,
            } = answer
            else {
                return Ok(());
            };
            self.wait_until(received + delay);
            self.wait_while(|node| node.mute);
            // Before the write: whoever has read the answer may send another request at once.
            self.unanswered.fetch_sub(1, Ordering::SeqCst);
            match fault {
                Some(Fault::CutAnswer) => return stream.write_all(&frame[..frame.len() / 2]),
                Some(Fault::Garbage) => stream.write_all(b"\0\0\0\x10-this-is-no-kafka")?,
                Some(Fault::Oversized) => stream.write_all(&i32::MAX.to_be_bytes())?,
                Some(Fault::NoAnswer) => {}
                _ => {
                    stream.write_all(&frame)?;
                    continue;
                }
            }
            // Nothing more comes; the client has to close.
            self.wait_while(|_| true);
        }
        Ok(())
    }

    fn is_open(&self, state: &State) -> bool {
        state.nodes[&self.node]
            .connections
            .contains_key(&self.number)
    }

    /// Waits while the node is so, or until the connection is closed.
    fn wait_while(&self, condition: impl Fn(&Node) -> bool) {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_while(state, |state| {
            self.is_open(state) && condition(&state.nodes[&self.node])
        });
        drop(waited);
    }

    fn wait_until(&self, at: Instant) {
        let mut state = self.shared.state();
        while self.is_open(&state)
            && let Some(left) = at.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// An unsigned token that is good from `from` to `to` (Unix time), as Kafka's validator for tests takes it.
pub(crate) fn token(from: u64, to: u64) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = part("{\"alg\":\"none\"}".to_owned());
    let claims = part(format!("{{\"sub\":\"agent\",\"iat\":{from},\"exp\":{to}}}"));
    format!("{head}.{claims}.")
}

/// For how long a token of [`token`] is still good; `None` if it is none, or not any more.
pub(crate) fn time_left(token: &str) -> Option<std::time::Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = String::from_utf8(claims).ok()?;
    let (_, end) = claims.split_once("\"exp\":")?;
    let end = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(end.trim_end_matches('}').parse().ok()?);
    let left = end.duration_since(std::time::SystemTime::now()).ok()?;
    // Less counts as nothing, which as the time of a session would be without end.
    (left >= std::time::Duration::from_millis(1)).then_some(left)
}
