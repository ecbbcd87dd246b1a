//! The connection thread: one per producer and broker, for as long as the connection lasts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};

use super::client::Client;
use super::error::ConnectionError;
use super::token::TokenSource;
use super::transport::{Hangup, Transport, check_correlation_id};
use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::protocol::api::{Api, METADATA, PRODUCE, Versions};
use crate::kafka::protocol::compression::Codec;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::Response;

/// ConnectionEvent a connection thread tells its producer.
#[derive(Debug)]
pub(crate) struct Event {
    /// Number of the connection.
    pub(crate) connection: u64,
    pub(crate) what: ConnectionEvent,
}

#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// Requests can be sent.
    Connected {
        versions: Versions,
        /// What was found there, for people: `Kafka 4.1, TLS 1.3, SCRAM-SHA-512`.
        about: String,
        hangup: Option<Hangup>,
    },
    /// The answer to the oldest unanswered request.
    Answered(Response),
    /// The oldest request that has no answer was written to the socket.
    Written,
    /// It is over, and requests without an answer will get none.
    Closed(ConnectionError),
}

/// The producer's end of a connection. Dropping it ends the thread, soon.
#[derive(Debug)]
pub(crate) struct Handle {
    requests: Option<Sender<Request>>,
    /// Wakes the thread, if there is one.
    wake: Option<Arc<OwnedFd>>,
    hangup: Option<Hangup>,
}

impl Handle {
    /// The end of a connection without a thread: whoever holds the other end of `requests` plays the broker.
    #[cfg(test)]
    pub(crate) fn unattended(requests: Sender<Request>) -> Self {
        Handle {
            requests: Some(requests),
            wake: None,
            hangup: None,
        }
    }

    /// Hands over a request; an event says how it went.
    pub(crate) fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // If the thread has ended, its last event is on the way and counts for this one too.
            let _ = requests.send(request);
        }
        self.signal();
    }

    /// So that dropping the handle ends a write that hangs.
    pub(crate) fn set_hangup(&mut self, hangup: Option<Hangup>) {
        self.hangup = hangup;
    }

    fn signal(&self) {
        if let Some(wake) = &self.wake {
            // It fails only if the counter is full, and then the thread is awake anyway.
            let _ = rustix::io::write(&**wake, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.requests = None;
        self.signal();
        if let Some(hangup) = &self.hangup {
            hangup.hang_up();
        }
    }
}

/// Runs on a `broker-<k>-<id>` thread.
///
/// It owns the socket. It ends when the producer drops its [`Handle`], or when the connection fails
/// or an answer is overdue, which the last event tells.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    address: BrokerAddress,
    config: Arc<KafkaConfig>,
    tokens: Arc<TokenSource>,
    requests: Receiver<Request>,
    wake: Arc<OwnedFd>,
    events: Sender<Event>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Unanswered {
    correlation_id: i32,
    api: Api,
    version: i16,
    due: Instant,
}

impl Connection {
    /// Starts the thread `name` that connects to `address`.
    pub(crate) fn spawn(
        name: String,
        number: u64,
        address: BrokerAddress,
        config: Arc<KafkaConfig>,
        tokens: Arc<TokenSource>,
        events: Sender<Event>,
    ) -> io::Result<Handle> {
        let (sender, requests) = unbounded();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let connection = Connection {
            number,
            address,
            config,
            tokens,
            requests,
            wake: wake.clone(),
            events,
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(move || connection.run())?;
        Ok(Handle {
            requests: Some(sender),
            wake: Some(wake),
            hangup: None,
        })
    }

    fn run(self) {
        let farewell = Farewell(&self);
        if let Err(error) = self.serve() {
            self.tell(ConnectionEvent::Closed(error));
        }
        drop(farewell);
    }

    /// Returns when the producer wants no more.
    fn serve(&self) -> Result<(), ConnectionError> {
        let mut client = Client::connect(&self.address, &self.config)?;
        if let Some(missing) = missing_feature(&client.versions, Codec::of(self.config.compression))
        {
            return Err(ConnectionError::Unsuitable(missing));
        }
        let mut renew_at = client.authenticate(&self.tokens)?;
        self.tell(ConnectionEvent::Connected {
            versions: client.versions.clone(),
            about: client.about(),
            hangup: Some(client.transport.hangup()?),
        });
        let mut unanswered: VecDeque<Unanswered> = VecDeque::new();
        let mut pause = Pause::new(self.config.request_timeout);
        loop {
            let mut renew = renew_at.is_some_and(|at| at <= Instant::now());
            if renew && unanswered.is_empty() {
                // Between two requests: what the producer sends meanwhile waits in the channel.
                renew_at = client.authenticate(&self.tokens)?;
                log::debug!("broker {}: session renewed", self.address);
                renew = false;
            }
            let transport = &mut client.transport;
            if !renew && !self.send_waiting(transport, &mut unanswered, &mut pause)? {
                return Ok(());
            }
            let mut left = match unanswered.front() {
                Some(oldest) => Some(self.left(oldest.due)?),
                None => None,
            };
            if let Some(at) = renew_at.filter(|_| !renew) {
                let until_renewal = at.saturating_duration_since(Instant::now());
                left = Some(left.map_or(until_renewal, |left| left.min(until_renewal)));
            }
            let (readable, woken) = transport.wait(self.wake.as_fd(), left)?;
            if woken {
                let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
            }
            if readable {
                self.read(transport, &mut unanswered)?;
                pause.ends(transport);
            }
        }
    }

    /// Reads what has come and tells the producer of the responses in it.
    fn read(
        &self,
        transport: &mut Transport,
        unanswered: &mut VecDeque<Unanswered>,
    ) -> Result<(), ConnectionError> {
        transport.read()?;
        while let Some(frame) = transport.frame()? {
            let asked = unanswered
                .pop_front()
                .ok_or(ConnectionError::CorrelationId)?;
            let body = check_correlation_id(&frame, asked.correlation_id)?;
            let answer = Response::read(asked.api, asked.version, body)
                .map_err(ConnectionError::Malformed)?;
            self.tell(ConnectionEvent::Answered(answer));
        }
        Ok(())
    }

    /// Sends what the producer has handed over. `false`: it wants no more.
    fn send_waiting(
        &self,
        transport: &mut Transport,
        unanswered: &mut VecDeque<Unanswered>,
        pause: &mut Pause,
    ) -> Result<bool, ConnectionError> {
        loop {
            let mut request = match self.requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            };
            pause.sends(transport);
            let correlation_id = transport.send(&mut request)?;
            if request.answered {
                unanswered.push_back(Unanswered {
                    correlation_id,
                    api: request.api,
                    version: request.version,
                    due: Instant::now() + self.config.request_timeout,
                });
            } else {
                // The producer takes the batches back for the next ones.
                drop(request);
                self.tell(ConnectionEvent::Written);
            }
        }
    }

    /// How long an answer that is due at `due` may still take.
    fn left(&self, due: Instant) -> Result<Duration, ConnectionError> {
        let timeout = self.config.request_timeout;
        due.checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| ConnectionError::overdue("answer", timeout, timeout))
    }

    fn tell(&self, what: ConnectionEvent) {
        // A producer that is gone does not care.
        let _ = self.events.send(Event {
            connection: self.number,
            what,
        });
    }
}

/// When something was sent last, and how long it may remain without a sign of having arrived.
///
/// While a connection is silent, a load balancer or a NAT on the way may forget it without a word. Then what is
/// sent next arrives nowhere, and TCP would try for a quarter of an hour. So the first request after a pause must
/// be acknowledged by the other kernel soon; that says nothing about how long the broker may think.
#[derive(Debug)]
struct Pause {
    sent: Instant,
    usual: Duration,
    is_short: bool,
}

impl Pause {
    fn new(usual: Duration) -> Self {
        Pause {
            sent: Instant::now(),
            usual,
            is_short: false,
        }
    }

    /// Something is about to be sent.
    fn sends(&mut self, transport: &Transport) {
        let now = Instant::now();
        if now.duration_since(self.sent) > PAUSE && !self.is_short {
            transport.set_unacknowledged(UNACKNOWLEDGED.min(self.usual));
            self.is_short = true;
        }
        self.sent = now;
    }

    /// Something was received: the connection is there.
    fn ends(&mut self, transport: &Transport) {
        if std::mem::take(&mut self.is_short) {
            transport.set_unacknowledged(self.usual);
        }
    }
}

/// After so long without a request a connection may have been forgotten.
const PAUSE: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// What a broker of these versions lacks to be of use.
fn missing_feature(versions: &Versions, codec: Codec) -> Option<&'static str> {
    let produce = versions
        .of(PRODUCE)
        .filter(|_| versions.of(METADATA).is_some());
    match produce {
        None => Some("it takes no record batches (Kafka before 0.11 needs protocol = legacy)"),
        Some(version) if version < codec.least_produce_version() => {
            Some("it takes no 'compression = zstd' (Kafka 2.1 and later do)")
        }
        Some(_) => None,
    }
}

/// Sees to it that the producer hears of a panic.
struct Farewell<'a>(&'a Connection);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .tell(ConnectionEvent::Closed(ConnectionError::Panicked));
        }
    }
}
