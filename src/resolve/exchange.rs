//! Asking name servers: one question over UDP or TCP after the other, until one of them knows.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dns::{Answer, Failure, Family, Name, Question};
use super::resolv_conf::ResolvConf;

/// What the name servers know of one name.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its addresses, at least one.
    Found(Vec<IpAddr>),
    /// The name exists, without an address.
    NoAddress,
    /// The name does not exist.
    NoSuchName,
    /// Nobody could tell.
    NoHelp(Vec<Silence>),
}

/// Why a server was of no help.
#[derive(Debug)]
pub(super) struct Silence {
    server: IpAddr,
    tries: u32,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Silent,
    Io(io::Error),
    Failed(Failure),
    Malformed,
}

impl Silence {
    /// Whether the server did answer, so that another name may fare better with it.
    pub(super) fn is_of_this_name(&self) -> bool {
        matches!(self.reason, Reason::Failed(_) | Reason::Malformed)
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "name server {} ", self.server)?;
        match &self.reason {
            Reason::Silent if self.tries == 1 => out.write_str("does not answer (tried once)"),
            Reason::Silent => write!(out, "does not answer (tried {} times)", self.tries),
            Reason::Io(error) => write!(out, "cannot be asked: {error}"),
            Reason::Failed(Failure::NotRecursive) => {
                out.write_str("does not look up names that are not its own")
            }
            Reason::Failed(Failure::Code(code)) => match code {
                1 => out.write_str("answers FORMERR"),
                2 => out.write_str("answers SERVFAIL"),
                4 => out.write_str("answers NOTIMP"),
                5 => out.write_str("answers REFUSED"),
                code => write!(out, "answers with error {code}"),
            },
            Reason::Malformed => out.write_str("sends an answer that cannot be read"),
        }
    }
}

/// The questions about one name, one for each family of addresses, and who was asked.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    conf: &'a ResolvConf,
    until: Instant,
    questions: Vec<(Question, Settled)>,
    servers: Vec<Server>,
    /// Sockets that may still bring an answer, those of earlier tries included: a server that is slow is
    /// heard while the next one is asked.
    open: Vec<Open>,
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    Not,
    Addresses(Vec<IpAddr>),
    NoSuchName,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    tries: u32,
    reason: Reason,
}

/// A socket of its own for each question: each has a source port that nobody can guess, and no firewall
/// takes two questions for one.
#[derive(Debug)]
struct Open {
    socket: UdpSocket,
    question: usize,
    server: usize,
}

impl<'a> Exchange<'a> {
    /// About `name`; whatever is not known by `until` is not known.
    pub(super) fn new(conf: &'a ResolvConf, port: u16, name: &Name, until: Instant) -> Self {
        let families: &[Family] = match conf.no_aaaa {
            true => &[Family::V4],
            false => &[Family::V4, Family::V6],
        };
        let question = |&family| {
            let name = name.clone();
            let id = random_id();
            (Question { id, name, family }, Settled::Not)
        };
        let server = |server: super::hosts::Scoped| Server {
            address: server.socket_address(port),
            tries: 0,
            reason: Reason::Silent,
        };
        let mut servers: Vec<Server> = conf
            .servers_or_localhost()
            .into_iter()
            .map(server)
            .collect();
        if conf.rotate {
            let first = fastrand::usize(..servers.len());
            servers.rotate_left(first);
        }
        Exchange {
            conf,
            until,
            questions: families.iter().map(question).collect(),
            servers,
            open: Vec::new(),
        }
    }

    /// Asks one server after the other, all over again up to the configured number of attempts.
    pub(super) fn run(mut self) -> Outcome {
        let count = self.servers.len();
        let tries = count * self.conf.attempts as usize;
        for done in 0..tries {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Each has its turn before the time is over.
            let share = left / u32::try_from(tries - done).unwrap_or(u32::MAX);
            self.ask(done % count);
            self.listen(done % count, Instant::now() + share.min(self.conf.timeout));
            if self.is_settled() {
                break;
            }
        }
        self.outcome()
    }

    fn is_settled(&self) -> bool {
        let mut questions = self.questions.iter();
        self.has_addresses() || questions.all(|(_, settled)| *settled != Settled::Not)
    }

    /// An address of either family is enough to connect to.
    fn has_addresses(&self) -> bool {
        let mut questions = self.questions.iter();
        questions
            .any(|(_, settled)| matches!(settled, Settled::Addresses(found) if !found.is_empty()))
    }

    fn outcome(self) -> Outcome {
        let (mut found, mut no_such_name, mut unknown) = (Vec::new(), false, false);
        for (_, settled) in self.questions {
            match settled {
                Settled::Addresses(addresses) => found.extend(addresses),
                Settled::NoSuchName => no_such_name = true,
                Settled::Not => unknown = true,
            }
        }
        match found.is_empty() {
            false => Outcome::Found(found),
            true if no_such_name => Outcome::NoSuchName,
            true if unknown => {
                Outcome::NoHelp(self.servers.into_iter().map(Silence::from).collect())
            }
            true => Outcome::NoAddress,
        }
    }

    /// Puts to a server what is not settled yet.
    fn ask(&mut self, server: usize) {
        let address = self.servers[server].address;
        self.servers[server].tries += 1;
        for question in 0..self.questions.len() {
            if self.questions[question].1 != Settled::Not {
                continue;
            }
            if self.conf.use_tcp {
                self.ask_over_tcp(server, question);
                continue;
            }
            match send(address, &self.questions[question].0) {
                Ok(socket) => self.open.push(Open {
                    socket,
                    question,
                    server,
                }),
                Err(error) => self.servers[server].reason = Reason::Io(error),
            }
        }
    }

    /// Takes what comes until everything is settled, the server has no more to say, or the time is over.
    fn listen(&mut self, server: usize, until: Instant) {
        let mut until = until;
        let mut has_addresses = false;
        while !self
            .questions
            .iter()
            .all(|(_, settled)| *settled != Settled::Not)
        {
            if !has_addresses && self.has_addresses() {
                has_addresses = true;
                until = until.min(Instant::now() + OTHER_FAMILY_WAIT);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.open.iter().any(|open| open.server == server) {
                return;
            }
            match self.ready(left) {
                Ok(Some(at)) => self.receive(at),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Which socket has something to read, the first of them if there are several.
    fn ready(&self, timeout: Duration) -> io::Result<Option<usize>> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let sockets = self.open.iter().map(|open| &open.socket);
        let mut fds: Vec<_> = sockets
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(fds.iter().position(|fd| !fd.revents().is_empty()))
    }

    fn receive(&mut self, at: usize) {
        let Open {
            socket,
            question,
            server,
        } = &self.open[at];
        let (question, server) = (*question, *server);
        let mut packet = [0; MAX_PACKET_BYTES];
        match socket.recv(&mut packet) {
            Ok(bytes) => {
                let message = packet.get(..bytes).unwrap_or_default();
                // Something else than the answer: the right one may still come.
                let Some(answer) = self.questions[question].0.answer(message) else {
                    return;
                };
                self.open.swap_remove(at);
                match answer {
                    Answer::Truncated => self.ask_over_tcp(server, question),
                    answer => self.take(server, question, answer),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.open.swap_remove(at);
                self.servers[server].reason = Reason::Io(error);
            }
        }
    }

    fn ask_over_tcp(&mut self, server: usize, question: usize) {
        let until = self.until.min(Instant::now() + self.conf.timeout);
        let address = self.servers[server].address;
        match exchange_over_tcp(address, &self.questions[question].0, until) {
            Ok(Some(Answer::Truncated) | None) => self.servers[server].reason = Reason::Malformed,
            Ok(Some(answer)) => self.take(server, question, answer),
            Err(error) => self.servers[server].reason = Reason::Io(error),
        }
    }

    fn take(&mut self, server: usize, question: usize, answer: Answer) {
        let settled = match answer {
            Answer::Addresses(found) => Settled::Addresses(found),
            Answer::NoSuchName => Settled::NoSuchName,
            Answer::Failed(failure) => {
                self.servers[server].reason = Reason::Failed(failure);
                return;
            }
            Answer::Malformed | Answer::Truncated => {
                self.servers[server].reason = Reason::Malformed;
                return;
            }
        };
        self.questions[question].1 = settled;
        self.open.retain(|open| open.question != question);
    }
}

impl From<Server> for Silence {
    fn from(server: Server) -> Self {
        Silence {
            server: server.address.ip(),
            tries: server.tries,
            reason: server.reason,
        }
    }
}

/// A packet that asks, from a port that the kernel draws. Only the server's own packets come back on it.
fn send(server: SocketAddr, question: &Question) -> io::Result<UdpSocket> {
    let from: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    socket.send(&question.message())?;
    Ok(socket)
}

/// `None`: what came is no answer to the question.
fn exchange_over_tcp(
    server: SocketAddr,
    question: &Question,
    until: Instant,
) -> io::Result<Option<Answer>> {
    let left = || {
        until
            .saturating_duration_since(Instant::now())
            .max(LEAST_WAIT)
    };
    let mut stream = TcpStream::connect_timeout(&server, left())?;
    stream.set_write_timeout(Some(left()))?;
    let message = question.message();
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), &*message].concat())?;
    let mut received = Vec::new();
    loop {
        if let Some((length, rest)) = received.split_first_chunk::<2>()
            && let Some(message) = rest.get(..u16::from_be_bytes(*length).into())
        {
            return Ok(question.answer(message));
        }
        // A byte now and then must not hold the thread for ever.
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left()))?;
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => received.extend(some.iter().take(bytes)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Nobody who cannot see the question can guess it.
fn random_id() -> u16 {
    let mut id = [0; 2];
    match SystemRandom::new().fill(&mut id) {
        Ok(()) => u16::from_be_bytes(id),
        Err(_) => fastrand::u16(..),
    }
}

/// Once there are addresses of one family, those of the other one are waited for no longer than this.
const OTHER_FAMILY_WAIT: Duration = Duration::from_millis(500);
/// A time-out of 0 means none at all.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// More does not come over UDP unless it is asked for.
const MAX_PACKET_BYTES: usize = 4096;
