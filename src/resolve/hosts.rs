//! The hosts file (hosts(5)): an address and its names on each line. Here and wherever people write one, an IPv6
//! address may name the interface behind a percent sign.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

/// All addresses of `name` in the file at `path`, in its order. A file that is not there has none.
pub(super) fn lookup(path: &Path, name: &str) -> io::Result<Vec<Scoped>> {
    match File::open(path) {
        Ok(file) => lookup_in(BufReader::new(file), name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Line by line: some hosts files have a million of them, against advertisements.
fn lookup_in(mut file: impl BufRead, name: &str) -> io::Result<Vec<Scoped>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = file.by_ref().take(MAX_LINE_BYTES);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.split('#').next().unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let is_named = |alias: &str| {
            alias
                .strip_suffix('.')
                .unwrap_or(alias)
                .eq_ignore_ascii_case(name)
        };
        if words.any(is_named)
            && let Some(address) = Scoped::parse(address)
            && !found.contains(&address)
            && found.len() < MAX_ADDRESSES
        {
            found.push(address);
        }
    }
}

/// Whether the name is the host itself by definition (RFC 6761, section 6.3), whatever the file says or lacks.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// What such a name stands for if no file says otherwise.
pub(super) fn localhost() -> [IpAddr; 2] {
    use std::net::{Ipv4Addr, Ipv6Addr};
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

/// The rest of a longer line is read as a line of its own.
const MAX_LINE_BYTES: u64 = 64 << 10;
const MAX_ADDRESSES: usize = 64;

/// An address, and for a link-local one the index of the interface it is on (RFC 4007, section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scoped {
    address: IpAddr,
    scope: u32,
}

impl Scoped {
    /// Reads `10.0.0.1`, `2001:db8::1`, `fe80::1%eth0` or `fe80::1%2`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((address, zone)) = text.split_once('%') {
            let address: Ipv6Addr = address.parse().ok()?;
            let scope = interface_index(zone)?;
            let address = address.into();
            return Some(Scoped { address, scope });
        }
        text.parse::<IpAddr>().ok().map(Scoped::from)
    }

    /// With a port.
    pub(super) fn socket_address(self, port: u16) -> SocketAddr {
        match self.address {
            IpAddr::V4(_) => SocketAddr::new(self.address, port),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, self.scope).into(),
        }
    }
}

impl From<IpAddr> for Scoped {
    fn from(address: IpAddr) -> Self {
        Scoped { address, scope: 0 }
    }
}

/// The index of an interface that is given by its name or its index.
fn interface_index(zone: &str) -> Option<u32> {
    if zone.is_empty() || zone.contains('/') || zone.starts_with('.') {
        return None;
    }
    zone.parse().ok().or_else(|| {
        let text = fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?;
        text.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(file: &[u8], name: &str) -> Vec<String> {
        let found = lookup_in(file, name).expect("memory can be read");
        found
            .iter()
            .map(|address| address.socket_address(9092).to_string())
            .collect()
    }

    const FILE: &[u8] = b"# comment\n\
        127.0.0.1\tlocalhost\n\
        ::1 localhost ip6-localhost\n\
        10.0.0.1  kafka1.example.com kafka1 # kafka9\r\n\
        \xff\xfe kafka1\n\
        10.0.0.999 kafka1\n\
        \n   2001:db8::1   Kafka1 \n\
        10.0.0.1 kafka1\n\
        10.0.0.3 kafka3.";

    #[test]
    fn names_and_aliases_have_all_their_addresses_in_order() {
        assert_eq!(
            addresses(FILE, "kafka1"),
            ["10.0.0.1:9092", "[2001:db8::1]:9092"]
        );
        assert_eq!(addresses(FILE, "KAFKA1.example.com."), ["10.0.0.1:9092"]);
        assert_eq!(
            addresses(FILE, "localhost"),
            ["127.0.0.1:9092", "[::1]:9092"]
        );
        assert_eq!(addresses(FILE, "kafka3"), ["10.0.0.3:9092"]);
    }

    #[test]
    fn comments_parts_of_names_and_addresses_are_no_names() {
        for name in ["kafka9", "kafka", "example.com", "10.0.0.1", "", "comment"] {
            assert_eq!(addresses(FILE, name), [""; 0], "'{name}'");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let file = [
            b"10.0.0.1 ".to_vec(),
            b"x ".repeat(1 << 20),
            b"\n10.0.0.2 y\n".to_vec(),
        ];
        assert_eq!(addresses(&file.concat(), "y"), ["10.0.0.2:9092"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_empty() {
        let none = lookup(Path::new("/nonexistent/hosts"), "kafka1").expect("no error");
        assert_eq!(none, []);
        lookup(Path::new("/"), "kafka1").expect_err("a folder is no hosts file");
    }

    #[test]
    fn localhost_and_names_below_it_are_the_host_itself() {
        for (name, is) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("a.localhost", true),
            ("localhost.localdomain", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(is_localhost(name), is, "{name}");
        }
    }

    fn written(text: &str) -> Option<String> {
        Scoped::parse(text).map(|scoped| scoped.socket_address(53).to_string())
    }

    #[test]
    fn addresses_of_all_kinds_are_read() {
        assert_eq!(written("10.0.0.1").as_deref(), Some("10.0.0.1:53"));
        assert_eq!(written("2001:db8::1").as_deref(), Some("[2001:db8::1]:53"));
        assert_eq!(written("fe80::1%7").as_deref(), Some("[fe80::1%7]:53"));
        for bad in [
            "",
            "10.0.0.1%1",
            "fe80::1%",
            "fe80::1%../lo",
            "kafka1",
            "[::1]",
            "fe80::1%none",
        ] {
            assert_eq!(written(bad), None, "'{bad}'");
        }
    }

    #[test]
    fn an_interface_has_a_number() {
        if fs::exists("/sys/class/net/lo/ifindex").is_ok_and(|is_there| is_there) {
            let index = interface_index("lo").expect("it has an index");
            assert!(index > 0);
        }
    }
}
