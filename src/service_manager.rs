//! What systemd is told about this process, without its library: datagrams to the socket that NOTIFY_SOCKET names
//! (sd_notify(3)). Without such a socket nothing is said.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager of this process, if it has one that wants to know.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment names it.
    pub fn of_this_process() -> Self {
        Self::named(|name| std::env::var_os(name), std::process::id())
    }

    fn named(environment: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(name) = environment("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return ServiceManager::default();
        };
        let socket = match connected(&name) {
            Ok(socket) => socket,
            Err(error) => {
                log::warn!("NOTIFY_SOCKET {}: {error}", name.display());
                return ServiceManager::default();
            }
        };
        let number = |name| environment(name)?.to_str()?.parse::<u64>().ok();
        // It is for another process if it names one.
        let is_ours = number("WATCHDOG_PID").is_none_or(|named| named == u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|us| is_ours && *us > 1);
        ServiceManager {
            socket: Some(socket),
            // Twice in the time in which it must be said once.
            watchdog: watchdog.map(|us| Duration::from_micros(us / 2)),
        }
    }

    /// How often [`ServiceManager::alive`] is to be called.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The agent does its work: after the start, and after a reload.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The agent reads its ini again. [`ServiceManager::ready`] ends it, with the old ini as well.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// The agent stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The main thread works.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    fn tell(&self, state: &str) {
        // It is full only if the manager stands still, and nobody waits for it.
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            log::debug!("NOTIFY_SOCKET: {error}");
        }
    }
}

/// A socket to `name`: a path, or one of the abstract namespace with `@` for the NUL at its beginning.
fn connected(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn manager(name: &str, more: &[(&str, &str)]) -> ServiceManager {
        let environment = |wanted: &str| {
            let all = [("NOTIFY_SOCKET", name)];
            let mut all = all.iter().chain(more);
            Some(all.find(|(name, _)| *name == wanted)?.1.into())
        };
        ServiceManager::named(environment, 7)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn what_is_told_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("logagent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (name, socket) in [
            (path.display().to_string(), UnixDatagram::bind(&path)),
            (
                format!("@{abstract_name}"),
                UnixDatagram::bind_addr(&address),
            ),
        ] {
            let socket = socket.unwrap();
            let manager = manager(&name, &[]);
            manager.ready();
            manager.status("follows 3 files");
            manager.reloading();
            manager.stopping();
            assert_eq!(received(&socket), "READY=1");
            assert_eq!(received(&socket), "STATUS=follows 3 files");
            let reloading = received(&socket);
            let since = reloading
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .unwrap();
            assert!(since.parse::<u64>().unwrap() > 0);
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_if_it_watches_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let watchdog = |more: &[(&str, &str)]| manager(path.to_str().unwrap(), more).watchdog();
        let half = Some(Duration::from_secs(15));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "30000000")]), half);
        let pid = |pid| [("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", pid)];
        assert_eq!(watchdog(&pid("7")), half);
        assert_eq!(watchdog(&pid("8")), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "x")]), None);
        assert_eq!(watchdog(&[]), None);
        assert_eq!(
            manager("", &[("WATCHDOG_USEC", "30000000")]).watchdog(),
            None
        );
    }
}
