//! A name server on loopback, over UDP and TCP, that answers as the test says. It reads and writes messages by
//! itself, so that a mistake of the agent's own code is not made here, too.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Dotted, without a dot at the end, as it was written.
    pub(crate) name: String,
    /// Whether it is for IPv6 addresses.
    pub(crate) is_aaaa: bool,
    /// Whether it came over TCP.
    pub(crate) over_tcp: bool,
    /// The number that ties the answer to it.
    pub(crate) id: u16,
    /// The port that it came from.
    pub(crate) port: u16,
    message: Vec<u8>,
}

/// What the server does about it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These addresses, of those the ones of the family that is asked for.
    Addresses(Vec<IpAddr>),
    /// An alias, and the addresses of what it stands for.
    Alias(String, Vec<IpAddr>),
    /// An error: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// Nothing comes back.
    Silence,
    /// The answer is cut off, and nothing is left of it. Over TCP this means nothing: the connection is closed.
    CutOff,
    /// After a time this.
    After(Duration, Box<Reply>),
    /// These messages, as they are.
    Raw(Vec<Vec<u8>>),
}

/// A running server. Dropping it ends its threads.
pub(crate) struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// On `address`, whose port may be 0.
    pub(crate) fn start(
        address: SocketAddr,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<NameServer> {
        let (udp, tcp) = bind_both(address)?;
        let address = udp.local_addr()?;
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let reply = Arc::new(reply);
        let (asked_udp, asked_tcp) = (asked.clone(), asked.clone());
        let (stop_udp, stop_tcp) = (stop.clone(), stop.clone());
        let reply_tcp = reply.clone();
        let udp = thread::spawn(move || serve_udp(&udp, &stop_udp, &asked_udp, &reply));
        let tcp = thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                if stop_tcp.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever hangs up early has what it wanted.
                let _ = serve_tcp(stream, &asked_tcp, &*reply_tcp);
            }
        });
        Ok(NameServer {
            address,
            asked,
            stop,
            threads: vec![udp, tcp],
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics").clone()
    }

    /// The names that were asked for, each once, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.asked().into_iter().map(|asked| asked.name).collect();
        names.dedup();
        names
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Both on the same port, which somebody else may have taken for one of them.
fn bind_both(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries < 20 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn serve_udp(
    socket: &UdpSocket,
    stop: &AtomicBool,
    asked: &Mutex<Vec<Asked>>,
    reply: &Arc<impl Fn(&Asked) -> Reply + Send + Sync + 'static>,
) {
    let wait = Some(Duration::from_millis(20));
    socket.set_read_timeout(wait).expect("not zero");
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((bytes, from)) = socket.recv_from(&mut packet) else {
            continue;
        };
        let Some(question) = read(&packet[..bytes], false, from.port()) else {
            continue;
        };
        asked
            .lock()
            .expect("no thread panics")
            .push(question.clone());
        let (reply, socket) = (reply.clone(), socket.try_clone().expect("a descriptor"));
        // An answer that takes its time holds up no other.
        let answer = move || {
            for message in messages(reply(&question), &question) {
                let _ = socket.send_to(&message, from);
            }
        };
        drop(thread::spawn(answer));
    }
}

fn serve_tcp(
    mut stream: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    reply: &impl Fn(&Asked) -> Reply,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    let port = stream.peer_addr()?.port();
    let Some(question) = read(&message, true, port) else {
        return Ok(());
    };
    asked
        .lock()
        .expect("no thread panics")
        .push(question.clone());
    for message in messages(reply(&question), &question) {
        let length = u16::try_from(message.len()).expect("a short answer");
        // In two pieces, as it may come.
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&message)?;
    }
    Ok(())
}

fn read(message: &[u8], over_tcp: bool, port: u16) -> Option<Asked> {
    let header = message.get(..12)?;
    // A question, recursion wished for, one of them and nothing else.
    assert_eq!(header[2..], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0], "the header");
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
    let is_aaaa = match message.get(at..)? {
        [0, 1, 0, 1] => false,
        [0, 28, 0, 1] => true,
        other => panic!("type and class {other:?}"),
    };
    Some(Asked {
        name: labels.join("."),
        is_aaaa,
        over_tcp,
        id: u16::from_be_bytes([header[0], header[1]]),
        port,
        message: message.to_vec(),
    })
}

fn messages(reply: Reply, asked: &Asked) -> Vec<Vec<u8>> {
    match reply {
        Reply::Addresses(addresses) => vec![asked.answer(&addresses)],
        Reply::Alias(target, addresses) => {
            let target = wire_name(&target);
            let mut records = vec![record(&[0xc0, 12], 5, &target)];
            records.extend(asked.addresses(&target, &addresses));
            vec![asked.message_with(0, &records)]
        }
        Reply::Code(code) => vec![asked.message_with(code.into(), &[])],
        Reply::Silence => Vec::new(),
        Reply::CutOff if asked.over_tcp => Vec::new(),
        Reply::CutOff => vec![asked.message_with(0x0200, &[])],
        Reply::After(time, reply) => {
            thread::sleep(time);
            messages(*reply, asked)
        }
        Reply::Raw(messages) => messages,
    }
}

impl Asked {
    /// An answer with these addresses.
    pub(crate) fn answer(&self, addresses: &[IpAddr]) -> Vec<u8> {
        self.message_with(0, &self.addresses(&[0xc0, 12], addresses))
    }

    fn addresses(&self, owner: &[u8], addresses: &[IpAddr]) -> Vec<Vec<u8>> {
        let of_the_family = addresses
            .iter()
            .filter(|address| address.is_ipv6() == self.is_aaaa);
        let records = of_the_family.map(|address| match address {
            IpAddr::V4(address) => record(owner, 1, &address.octets()),
            IpAddr::V6(address) => record(owner, 28, &address.octets()),
        });
        records.collect()
    }

    /// `flags` on top of those that say that it is an answer.
    fn message_with(&self, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut message = self.message.clone();
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        let count = u16::try_from(records.len()).expect("some records");
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message.extend(records.concat());
        message
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).expect("a short label"));
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

fn record(owner: &[u8], record_type: u16, data: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(record_type.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 60]);
    record.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    record.extend(data);
    record
}
