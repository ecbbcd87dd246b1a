//! The byte stream to a broker, from the TCP connect to the point where requests can be sent.
//!
//! With TLS the stream is wrapped around the socket (`tls.rs`); with SASL there is a second step after
//! the versions are known (`sasl.rs`). A token endpoint is reached the same way (`token.rs`).

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt;

use super::error::ConnectionError;
use super::tls::TlsStream;
use crate::config::{BrokerAddress, TlsConfig};
use crate::kafka::protocol::request::Request;
use crate::resolve;

/// A connected stream and what was read of it but not yet used.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    received: Vec<u8>,
    next_id: i32,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// Ends the transport from another thread, also when it hangs in a write.
#[derive(Debug)]
pub(crate) struct Hangup(TcpStream);

impl Hangup {
    pub(crate) fn hang_up(&self) {
        // Not being connected any more is all the better.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Transport {
    /// Connects. No later write waits longer than `timeout` to get on.
    pub(crate) fn connect(
        address: &BrokerAddress,
        tls: Option<&TlsConfig>,
        timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let until = Self::deadline(timeout);
        let within = Self::within(timeout);
        let socket = Self::connect_socket(address, timeout, until)
            .map_err(|e| ConnectionError::from(e).waiting_for("connection", within, timeout))?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let until = Self::deadline(timeout);
                let stream = TlsStream::connect(socket, tls, &address.host, until);
                let within = Self::within(timeout);
                let late = |e: ConnectionError| e.waiting_for("TLS handshake", within, timeout);
                Stream::Tls(Box::new(stream.map_err(late)?))
            }
        };
        Ok(Transport {
            stream,
            received: Vec::new(),
            next_id: 0,
        })
    }

    fn connect_socket(
        address: &BrokerAddress,
        timeout: Duration,
        until: Instant,
    ) -> io::Result<TcpStream> {
        let socket = resolve::connect(&address.host, address.port, until)?;
        socket.set_nodelay(true)?;
        keep_alive(&socket);
        socket.set_read_timeout(Some(CONNECT_TIMEOUT.min(timeout)))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(socket)
    }

    /// Until when the broker's certificate is valid, if there is one.
    pub(crate) fn certificate_end(&self) -> Option<SystemTime> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.certificate_end(),
        }
    }

    /// The version of TLS, if there is any.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.version()),
        }
    }

    /// A handle that ends this transport.
    pub(crate) fn hangup(&self) -> io::Result<Hangup> {
        self.stream.socket().try_clone().map(Hangup)
    }

    /// Sends a request and waits for its answer. Nothing else may be unanswered.
    pub(crate) fn ask(
        &mut self,
        mut request: Request,
        until: Instant,
    ) -> Result<Vec<u8>, ConnectionError> {
        let id = self.send(&mut request)?;
        loop {
            match self.frame()? {
                Some(frame) => return check_correlation_id(&frame, id).map(<[u8]>::to_vec),
                None if Instant::now() >= until => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                None => self.read()?,
            }
        }
    }

    /// Sends a request and returns its correlation id.
    pub(crate) fn send(&mut self, request: &mut Request) -> Result<i32, ConnectionError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        request.set_correlation_id(id);
        self.write(request)?;
        Ok(id)
    }

    /// When the connect or the handshake, beginning now, must be done.
    pub(crate) fn deadline(timeout: Duration) -> Instant {
        Instant::now() + Self::within(timeout)
    }

    /// How long the connect or the handshake may take.
    pub(crate) fn within(timeout: Duration) -> Duration {
        CONNECT_TIMEOUT.min(timeout)
    }

    /// How long what was sent may remain without a sign of having arrived before the connection is given up
    /// (TCP_USER_TIMEOUT of tcp(7)).
    pub(crate) fn set_unacknowledged(&self, most: Duration) {
        let ms = u32::try_from(most.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = sockopt::set_tcp_user_timeout(self.stream.socket(), ms) {
            log::debug!("TCP_USER_TIMEOUT: {error}");
        }
    }

    /// Writes a whole request.
    fn write(&mut self, request: &Request) -> Result<(), ConnectionError> {
        let mut slices = Vec::with_capacity(2 * request.batches.len() + 1);
        let mut from = 0;
        for (to, batch) in &request.batches {
            slices.push(IoSlice::new(&request.head[from..*to]));
            slices.push(IoSlice::new(batch));
            from = *to;
        }
        if from < request.head.len() {
            slices.push(IoSlice::new(&request.head[from..]));
        }
        match &mut self.stream {
            Stream::Plain(socket) => Ok(write_all(socket, &mut slices)?),
            Stream::Tls(stream) => stream.write(&slices),
        }
    }

    /// Writes bytes that are no request to a broker.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let slice = IoSlice::new(bytes);
        match &mut self.stream {
            Stream::Plain(socket) => Ok(write_all(socket, &mut [slice])?),
            Stream::Tls(stream) => stream.write(&[slice]),
        }
    }

    /// What was read and not taken as a frame.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Reads once from the socket, until `until` at most. The end of the stream is an error.
    pub(crate) fn read_until(&mut self, until: Instant) -> Result<(), ConnectionError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        self.stream.socket().set_read_timeout(Some(left))?;
        self.read()
    }

    /// Reads once from the socket. The end of the stream is an error.
    pub(crate) fn read(&mut self) -> Result<(), ConnectionError> {
        let socket = match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => return stream.read(&mut self.received),
        };
        let have = self.received.len();
        self.received.resize(have + READ_BYTES, 0);
        let result = socket.read(&mut self.received[have..]);
        self.received
            .truncate(have + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the broker").into())
            }
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The next frame without its length field, if it has arrived in full.
    pub(crate) fn frame(&mut self) -> Result<Option<Vec<u8>>, ConnectionError> {
        take_frame(&mut self.received)
    }

    /// Waits until there is something to read, or `wake` is signalled, or the time is over.
    /// Returns whether there is something to read and whether `wake` was signalled.
    pub(crate) fn wait(
        &self,
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<(bool, bool)> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.stream.socket().as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
        ];
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        // An error or a hang-up is found out by reading.
        Ok((
            !fds[0].revents().is_empty(),
            fds[1].revents().contains(PollFlags::IN),
        ))
    }
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.socket(),
        }
    }
}

/// Has the kernel ask from time to time whether the other side is there: what lies between forgets connections
/// that are silent, a home router after 60 s, Azure's load balancer after 240 s, and says nothing.
fn keep_alive(socket: &TcpStream) {
    let set = || -> rustix::io::Result<()> {
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
        sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)
    };
    if let Err(error) = set() {
        log::debug!("keepalive: {error}");
    }
}

fn write_all(socket: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match socket.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Takes a frame from the front of `received`, if it is there in full.
pub(crate) fn take_frame(received: &mut Vec<u8>) -> Result<Option<Vec<u8>>, ConnectionError> {
    let Some((length, rest)) = received.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if matches!(length, [0x15..=0x17, 3, 0..=4, _]) {
        // A record of TLS: an alert, a handshake, or data.
        return Err(ConnectionError::SpeaksTls);
    }
    let length = i32::from_be_bytes(*length);
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| (4..=MAX_FRAME_BYTES).contains(bytes))
        .ok_or(ConnectionError::FrameSize(length))?;
    let Some(frame) = rest.get(..bytes) else {
        return Ok(None);
    };
    let frame = frame.to_vec();
    received.drain(..4 + bytes);
    Ok(Some(frame))
}

/// The part of a frame after the correlation id, which must be `expected`.
pub(crate) fn check_correlation_id(frame: &[u8], expected: i32) -> Result<&[u8], ConnectionError> {
    match frame.split_first_chunk::<4>() {
        Some((id, body)) if i32::from_be_bytes(*id) == expected => Ok(body),
        _ => Err(ConnectionError::CorrelationId),
    }
}

/// No longer than this for the connect and for the handshake, so that the next broker gets its turn.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: metadata of tens of thousands of partitions.
const MAX_FRAME_BYTES: usize = 8 << 20;
const READ_BYTES: usize = 16 << 10;
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_is_silent_is_kept_alive_and_one_that_is_forgotten_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = BrokerAddress {
            host: "127.0.0.1".into(),
            port: listener.local_addr().expect("bound").port(),
        };
        let timeout = Duration::from_secs(5);
        let transport = Transport::connect(&address, None, timeout).expect("it listens");
        let socket = transport.stream.socket();
        assert_eq!(sockopt::socket_keepalive(socket), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(socket), Ok(KEEPALIVE_AFTER));
        transport.set_unacknowledged(Duration::from_secs(4));
        assert_eq!(sockopt::tcp_user_timeout(socket), Ok(4_000));
    }

    #[test]
    fn the_first_bytes_of_tls_are_known() {
        for first in [[0x15, 3, 3, 0], [0x15, 3, 1, 0], [0x16, 3, 3, 1]] {
            let mut received = [&first[..], &[2, 2, 40]].concat();
            let taken = take_frame(&mut received);
            assert!(
                matches!(taken, Err(ConnectionError::SpeaksTls)),
                "{first:?}"
            );
        }
        let taken = take_frame(&mut vec![0x15, 9, 3, 0]);
        assert!(matches!(taken, Err(ConnectionError::FrameSize(_))));
    }
}
