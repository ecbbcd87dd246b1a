//! A real Kafka of our own with several ways in, each through a proxy of its own: so that one broker serves many
//! agents and is away for one of them at a time.

use std::net::TcpListener;

use super::kafka::RealKafka;
use super::proxy::Proxy;

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
