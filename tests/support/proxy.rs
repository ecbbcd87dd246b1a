//! A proxy between the agent and a real Kafka, which makes the network fail.
//!
//! The broker must be told to advertise the proxy's address, or clients go past it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::kafka::RealKafka;

/// Passes whole frames on, both ways, until told otherwise. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// None: not known yet.
    broker: Option<String>,
    is_cut: bool,
    is_over: bool,
    /// Swallow the answer of the next produce request.
    swallow: bool,
    swallowed: usize,
    /// Both ends of every connection, to be cut.
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Takes a port. Connections are refused until [`Proxy::lead_to`].
    pub(crate) fn bind() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut now = lock(&shared);
                if now.is_over {
                    return;
                }
                let broker = now.broker.clone().filter(|_| !now.is_cut);
                let Some(Ok(upstream)) = broker.map(TcpStream::connect) else {
                    continue;
                };
                let _ = client.set_nodelay(true);
                let _ = upstream.set_nodelay(true);
                for stream in [&client, &upstream] {
                    now.streams.extend(stream.try_clone());
                }
                drop(now);
                pass(client, upstream, &shared);
            }
        });
        Proxy { address, state }
    }

    /// The address to give to clients, and to be advertised.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Leads to the broker at this address.
    pub(crate) fn lead_to(&self, broker: &str) {
        lock(&self.state).broker = Some(broker.to_owned());
    }

    /// Cuts every connection, and lets none come about.
    pub(crate) fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        state.hang_up();
    }

    /// Ends [`Proxy::cut`].
    pub(crate) fn restore(&self) {
        lock(&self.state).is_cut = false;
    }

    /// The next produce request is passed on; when the broker has answered it, its connection is cut
    /// instead of passing the answer on.
    pub(crate) fn swallow_a_produce_answer(&self) {
        lock(&self.state).swallow = true;
    }

    /// How many answers were swallowed.
    pub(crate) fn swallowed(&self) -> usize {
        lock(&self.state).swallowed
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        state.hang_up();
        drop(state);
        // The listening thread looks up once more.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl State {
    fn hang_up(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(client: TcpStream, upstream: TcpStream, state: &Arc<Mutex<State>>) {
    // Correlation id of the answer to be swallowed.
    let victim = Arc::new(Mutex::new(None));
    let clones = (client.try_clone(), upstream.try_clone());
    let (Ok(client_end), Ok(upstream_end)) = clones else {
        return;
    };
    let (shared, chosen) = (state.clone(), victim.clone());
    thread::spawn(move || {
        let _ = pass_frames(&client, &upstream, |frame| {
            const PRODUCE: &[u8] = &[0, 0];
            let mut state = lock(&shared);
            if state.swallow && frame.starts_with(PRODUCE) {
                state.swallow = false;
                *lock(&chosen) = frame.get(4..8).map(<[u8]>::to_vec);
            }
            true
        });
        hang_up(&client, &upstream);
    });
    let shared = state.clone();
    thread::spawn(move || {
        let _ = pass_frames(&upstream_end, &client_end, |frame| {
            let is_victim = lock(&victim)
                .as_deref()
                .is_some_and(|id| frame.starts_with(id));
            lock(&shared).swallowed += usize::from(is_victim);
            !is_victim
        });
        hang_up(&client_end, &upstream_end);
    });
}

fn hang_up(client: &TcpStream, upstream: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
}

/// Passes frames on until the end, or until `look` refuses one.
fn pass_frames(
    mut from: &TcpStream,
    mut to: &TcpStream,
    mut look: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    loop {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        from.take(u64::from(length)).read_to_end(&mut frame)?;
        if frame.len() as u64 != u64::from(length) + 4 || !look(&frame[4..]) {
            return Ok(());
        }
        to.write_all(&frame)?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The broker and its proxies.
#[derive(Debug)]
pub(crate) struct Proxied {
    pub(crate) kafka: RealKafka,
    proxies: Vec<Proxy>,
}

impl Proxied {
    /// Starts a Kafka 4 with `count` ways in. Each is a listener that advertises its proxy.
    pub(crate) fn start(name: &str, count: usize) -> Proxied {
        let proxies: Vec<Proxy> = (0..count).map(|_| Proxy::bind()).collect();
        // All are held until all are known, so that they differ.
        let held: Vec<TcpListener> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|held| held.local_addr().expect("it is bound").port())
            .collect();
        drop(held);
        let plain = "PLAINTEXT://127.0.0.1:{port}";
        let mut listeners = format!("listeners={plain},CONTROLLER://127.0.0.1:{{controller_port}}");
        let mut advertised = format!("advertised.listeners={plain}");
        let mut protocols =
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (number, (port, proxy)) in ports.iter().zip(&proxies).enumerate() {
            listeners += &format!(",WAY{number}://127.0.0.1:{port}");
            advertised += &format!(",WAY{number}://{}", proxy.address());
            protocols += &format!(",WAY{number}:PLAINTEXT");
        }
        let kafka = RealKafka::own(name, "4", &[&listeners, &advertised, &protocols]);
        for (port, proxy) in ports.iter().zip(&proxies) {
            proxy.lead_to(&format!("127.0.0.1:{port}"));
        }
        Proxied { kafka, proxies }
    }

    /// One way in: its proxy's address is what `[kafka] brokers` takes.
    pub(crate) fn way(&self, number: usize) -> &Proxy {
        &self.proxies[number]
    }
}
