//! Who has an agent's id: a record beside the positions, by which a clone of the agent finds out before it does harm.
//!
//! ```text
//! key:   1 AGENT /owner      value: machine=9f3c01d2 host=web1 pid=4711 started=MS seen=MS producers=2 state=running
//! ```
//! It is written in a transaction when an agent has begun, with others now and then, alone every few minutes, and at the
//! end with `state=stopped`. Of two agents with one id on different machines the second one finds a record that is young
//! and not its own, and does not start. On one machine, and where the record is old, the second one takes over, and the
//! first one is refused by the coordinator.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime};

/// An agent that has an id, or had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Names the machine, and tells nobody its machine-id.
    pub(crate) machine: String,
    host: String,
    pid: u32,
    /// When it began, in ms since 1970.
    started_ms: i64,
    /// When it was last there, by its own clock.
    seen_ms: i64,
    /// How many transactional ids it uses.
    pub(crate) producers: usize,
    /// It has ended, and somebody else may begin at once.
    is_stopped: bool,
}

impl Owner {
    /// This process.
    pub(crate) fn this_process(producers: usize, now_ms: i64) -> Self {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        Owner {
            machine: this_machine(),
            host: host.replace(char::is_whitespace, ""),
            pid: std::process::id(),
            started_ms: now_ms,
            seen_ms: now_ms,
            producers,
            is_stopped: false,
        }
    }

    /// The key of the record of an agent.
    pub(crate) fn key(agent: &str) -> Vec<u8> {
        format!("1{agent}/owner").into_bytes()
    }

    /// The value of the record now.
    pub(crate) fn value(&self, now_ms: i64, is_last: bool) -> Vec<u8> {
        let Owner {
            machine,
            host,
            pid,
            started_ms,
            producers,
            ..
        } = self;
        let state = if is_last { STOPPED } else { "running" };
        let value = format!(
            "machine={machine} host={host} pid={pid} started={started_ms} seen={now_ms} producers={producers} \
             state={state}"
        );
        value.into_bytes()
    }

    /// What `value` says. A field that a later version adds is passed over.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let field = |name: &str| {
            let mut fields = text.split(' ').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        Some(Owner {
            machine: field("machine")?.to_owned(),
            host: field("host")?.to_owned(),
            pid: field("pid")?.parse().ok()?,
            started_ms: field("started")?.parse().ok()?,
            seen_ms: field("seen")?.parse().ok()?,
            producers: field("producers")?.parse().ok()?,
            is_stopped: field("state") == Some(STOPPED),
        })
    }

    /// Whether `other` may not begin at this time.
    pub(crate) fn excludes(&self, other: &Owner, now_ms: i64) -> bool {
        // A clock that is ahead makes nobody older.
        let is_young = self.age(now_ms) < FRESH;
        !self.is_stopped && is_young && self.machine != other.machine
    }

    /// Whether both are one process.
    pub(crate) fn is(&self, other: &Owner) -> bool {
        let of = |one: &Owner| (one.pid, one.started_ms);
        self.machine == other.machine && of(self) == of(other)
    }

    fn age(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(now_ms.saturating_sub(self.seen_ms)).unwrap_or(0))
    }

    /// Who it is and when it was there, in words.
    pub(crate) fn at(&self, now_ms: i64) -> impl fmt::Display {
        let Owner {
            machine, host, pid, ..
        } = self;
        let age = Duration::from_secs(self.age(now_ms).as_secs());
        let age = humantime::format_duration(age);
        format!("process {pid} on machine {machine} ('{host}'), last seen {age} ago")
    }
}

/// The time by the clock of this machine.
pub(crate) fn unix_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since_1970.map_or(0, |time| time.as_millis());
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A name for this machine that it keeps over restarts; `LOGAGENT_MACHINE_ID` gives it one where the system has none, as
/// in some containers: then a boot of the system is taken for a machine.
fn this_machine() -> String {
    let given = std::env::var("LOGAGENT_MACHINE_ID").ok();
    let files = MACHINE_IDS
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let mut names = given.into_iter().chain(files);
    let name = names
        .find(|name| !name.trim().is_empty())
        .unwrap_or_default();
    format!("{:08x}", crc32c::crc32c(name.trim().as_bytes()))
}

const MACHINE_IDS: [&str; 3] = [
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/proc/sys/kernel/random/boot_id",
];
const STOPPED: &str = "stopped";
/// Who was not seen for so long has gone: three records were due.
const FRESH: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn on(machine: &str) -> Owner {
        Owner {
            machine: machine.to_owned(),
            ..Owner::this_process(2, 1_000)
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let owner = on("9f3c01d2");
        let read = |value: &[u8]| Owner::parse(value).expect("it is one");
        let now = read(&owner.value(5_000, false));
        assert_eq!((now.seen_ms, now.is_stopped), (5_000, false));
        assert!(now.is(&owner) && !now.is(&on("other")));
        assert!(read(&owner.value(5_000, true)).is_stopped);
        let mut newer = owner.value(5_000, false);
        newer.extend(b" zone=7");
        assert_eq!(read(&newer), now);
        assert_eq!(Owner::parse(b"machine=1 host=a"), None);
        assert_eq!(Owner::parse(b"\xff"), None);
    }

    #[test]
    fn another_machine_waits_until_the_owner_has_stopped_or_was_not_seen_for_long() {
        let (owner, me) = (on("a"), on("b"));
        let told =
            |now_ms, is_last| Owner::parse(&owner.value(now_ms, is_last)).expect("it is one");
        assert!(told(5_000, false).excludes(&me, 5_000 + 599_999));
        assert!(!told(5_000, false).excludes(&me, 5_000 + 600_000));
        assert!(!told(5_000, true).excludes(&me, 5_001), "it has stopped");
        assert!(!told(5_000, false).excludes(&on("a"), 5_001), "it is here");
        let ahead = told(90_000_000, false);
        assert!(ahead.excludes(&me, 5_000), "its clock is ahead");
        let words = told(5_000, false).at(9_000).to_string();
        assert!(
            words.contains("on machine a") && words.ends_with("last seen 4s ago"),
            "{words}"
        );
    }
}
