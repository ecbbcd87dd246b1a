//! From a host's name to its addresses, without the C library.
//!
//! The agent is linked statically, and `getaddrinfo` of a static glibc program loads the host's own NSS modules
//! into it, and with them the host's C library. Where that is another version than the one linked in, the program
//! dies by SIGFPE or SIGSEGV at the first name, on every host whose nsswitch.conf names `mdns4_minimal`,
//! `myhostname`, `resolve` or `mymachines`. So nothing in here reads nsswitch.conf: the order is always
//! `files dns`.
//!
//! ```text
//! address? ------> itself
//! /etc/hosts ----> all addresses of the name, if it is there          hosts.rs
//! localhost -----> 127.0.0.1 and ::1
//! /etc/resolv.conf: servers, search list, options                     resolv_conf.rs
//! for each name of the search list, until one is known:
//!     A and AAAA at once, UDP, TCP where the answer is cut off        exchange.rs, dns.rs
//! ```
//!
//! - An address of either family is enough; a server that has one and is silent about the other is waited for
//!   half a second more.
//! - A server that fails or is silent gives its turn to the next one; `NXDOMAIN` is an answer.
//! - Nothing is remembered from one call to the next: connections are made rarely, and what caches are there
//!   (systemd-resolved, dnsmasq, nscd's place) sit behind resolv.conf.
//! - Every call ends at its deadline.

mod connect;
mod dns;
mod exchange;
mod hosts;
mod resolv_conf;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use connect::connect;
use exchange::{Exchange, Outcome, Silence};
use hosts::Scoped;
use resolv_conf::ResolvConf;

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct Resolver {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// The name servers' port.
    port: u16,
    /// Its domain is searched if resolv.conf names none.
    host_name: String,
    environment: fn(&str) -> Option<String>,
}

impl Resolver {
    /// As this host has it.
    pub fn of_this_host() -> Self {
        let uname = rustix::system::uname();
        Resolver {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            port: 53,
            host_name: uname.nodename().to_string_lossy().into_owned(),
            environment: |name| std::env::var(name).ok(),
        }
    }

    /// All addresses of `host`, which is a name or an address, with `port`; at least one, known by `until`.
    pub fn addresses(
        &self,
        host: &str,
        port: u16,
        until: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let with_port = |scoped: Scoped| scoped.socket_address(port);
        if let Some(address) = Scoped::parse(host) {
            return Ok(vec![with_port(address)]);
        }
        let mut notes = Vec::new();
        let listed = hosts::lookup(&self.hosts, host).unwrap_or_else(|error| {
            notes.push(unreadable(&self.hosts, &error));
            Vec::new()
        });
        if !listed.is_empty() {
            return Ok(listed.into_iter().map(with_port).collect());
        }
        if hosts::is_localhost(host) {
            let itself = hosts::localhost().into_iter().map(Scoped::from);
            return Ok(itself.map(with_port).collect());
        }
        let conf = self.conf(&mut notes);
        match self.ask(&conf, host, until) {
            Ok(found) => Ok(found.into_iter().map(with_port).collect()),
            Err(why) => Err(ResolveError {
                host: host.to_owned(),
                why,
                notes,
            }),
        }
    }

    fn conf(&self, notes: &mut Vec<String>) -> ResolvConf {
        let text = read_text(&self.resolv_conf).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                notes.push(unreadable(&self.resolv_conf, &error));
            }
            String::new()
        });
        let conf = ResolvConf::parse(&text, &self.host_name).with_environment(self.environment);
        if conf.servers.is_empty() {
            notes.push(format!("no name server in {}", self.resolv_conf.display()));
        }
        conf
    }

    fn ask(&self, conf: &ResolvConf, host: &str, until: Instant) -> Result<Vec<Scoped>, Why> {
        let mut tried = Vec::new();
        let (mut exists, mut silence) = (false, None);
        for (text, name) in conf.candidates(host) {
            match Exchange::new(conf, self.port, &name, until).run() {
                Outcome::Found(found) => return Ok(found.into_iter().map(Scoped::from).collect()),
                Outcome::NoAddress => exists = true,
                Outcome::NoSuchName => {}
                Outcome::NoHelp(servers) => {
                    // Another name of the list may have another answer, but not from who is silent.
                    let go_on = servers.iter().any(Silence::is_of_this_name);
                    silence = Some(servers);
                    if !go_on {
                        break;
                    }
                }
            }
            tried.push(text);
        }
        Err(match silence {
            Some(servers) => Why::NoHelp(servers),
            None if tried.is_empty() => Why::NotAName,
            None => Why::Unknown { tried, exists },
        })
    }
}

/// Why a name has no address.
#[derive(Debug)]
pub struct ResolveError {
    host: String,
    why: Why,
    /// What else may have to do with it.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Why {
    NotAName,
    Unknown { tried: Vec<String>, exists: bool },
    NoHelp(Vec<Silence>),
}

impl std::error::Error for ResolveError {}

impl fmt::Display for ResolveError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "'{}' does not resolve: ", self.host.escape_debug())?;
        match &self.why {
            Why::NotAName => out.write_str("no host can have such a name")?,
            Why::Unknown { tried, exists } => {
                out.write_str(match exists {
                    true => "the name has no address (neither A nor AAAA)",
                    false => "no such name (NXDOMAIN)",
                })?;
                if *tried != [self.host.trim_end_matches('.')] {
                    write!(out, ", tried {}", tried.join(", "))?;
                }
            }
            Why::NoHelp(servers) => {
                let servers: Vec<String> = servers.iter().map(Silence::to_string).collect();
                out.write_str(&servers.join(", "))?;
            }
        }
        self.notes
            .iter()
            .try_for_each(|note| write!(out, "; {note}"))
    }
}

impl From<ResolveError> for io::Error {
    /// Of no kind that means something for a socket: it must not be taken for a broker's time-out.
    fn from(error: ResolveError) -> Self {
        io::Error::other(error)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_CONF_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The rest of a larger resolv.conf is not read.
const MAX_CONF_BYTES: u64 = 64 << 10;
