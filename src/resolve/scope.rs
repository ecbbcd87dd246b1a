//! Addresses as files and people write them: an IPv6 address may name the interface behind a percent sign.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

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
