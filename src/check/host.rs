//! This host: the state folder, and the limits of the system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock, inotify, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

use super::report::Level::{Failure, Good, Warning};
use super::report::{Level, Report};
use crate::agent::MemoryLimit;
use crate::checkpoint::store;
use crate::command_line::CheckOptions;
use crate::config::Config;
use crate::control;
use crate::progress::Saved;
use crate::shown::{Lasts, ShownPath, Size};
use crate::tail::descriptor_permits::DescriptorPermits;
use crate::users::user_name;

/// Looks at the state folder and reads the positions, which are none where they cannot be read.
pub(super) fn state(config: &Config, report: &mut Report) -> Saved {
    let folder = &config.agent.state_dir;
    let shown = ShownPath(folder);
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (level, words) = missing(folder, config.agent.user.as_deref());
            report.add(level, "state", words);
            return Saved::default();
        }
        Err(error) => {
            report.add(Failure, "state", format!("{shown}: {error}"));
            return Saved::default();
        }
    };
    let (me, owner) = (geteuid(), metadata.uid());
    if let Err(error) = try_to_write(folder) {
        let words = unwritable(folder, &metadata, &error);
        report.add(Failure, "state", words);
    } else if let Some((level, words)) = room(folder) {
        report.add(level, "state", format!("{shown}: {words}"));
    } else if me.is_root() && owner != 0 {
        let name = user_name(owner);
        let words = format!(
            "{shown} belongs to {name}, and this is root, who may read everything: run check as {name}"
        );
        report.add(Warning, "state", words);
    }
    match store::load(folder) {
        Ok(saved) => {
            let open = saved.checkpoints.iter().filter(|one| one.is_unfinished());
            let agent = match running_agent(folder) {
                Some(agent) => format!("in use by {agent}"),
                None => "no agent runs with it".to_owned(),
            };
            if report.level() != Failure {
                let positions = match open.count() {
                    1 => "1 position".to_owned(),
                    count => format!("{count} positions"),
                };
                let words = format!("{shown}: writable, {positions}, {agent}");
                report.add(Good, "state", words);
            }
            saved
        }
        Err(error) => {
            report.add(Failure, "state", error.to_string().replace('\n', "; "));
            Saved::default()
        }
    }
}

/// Whether the agent that runs with this ini has another state folder.
pub(super) fn other_state(options: &CheckOptions, config: &Config, report: &mut Report) {
    let folder = &config.agent.state_dir;
    if let Some(other) = control::other_state_dir(&options.config, folder) {
        let (shown, other) = (ShownPath(folder), ShownPath(&other));
        let words = format!(
            "the agent runs with {other}, and {shown} counts from its next start on: all would be sent again; stop it, \
             move the folder there, start it"
        );
        report.add(Warning, "state", words);
    }
}

/// What is said of a folder in which nothing can be written.
fn unwritable(folder: &Path, metadata: &fs::Metadata, error: &io::Error) -> String {
    let shown = ShownPath(folder);
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{shown}: permission denied (owner {}, mode {:04o}): chown -R {} {shown}",
            user_name(metadata.uid()),
            metadata.mode() & 0o7777,
            user_name(geteuid().as_raw()),
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("{shown}: the file system is full: positions cannot be written")
        }
        _ => format!("{shown}: cannot be written: {error}"),
    }
}

/// What is said of a folder that the agent has to make, as root where it becomes another `user` then.
fn missing(folder: &Path, user: Option<&str>) -> (Level, String) {
    let shown = ShownPath(folder);
    let there = folder.ancestors().find(|folder| folder.exists());
    let parent = there.unwrap_or(Path::new("/"));
    match accessat(CWD, parent, Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) => (Good, format!("{shown}: will be made at the start")),
        Err(error) => not_made_by_us(folder, parent, user, error),
    }
}

fn not_made_by_us(
    folder: &Path,
    parent: &Path,
    user: Option<&str>,
    error: Errno,
) -> (Level, String) {
    let shown = ShownPath(folder);
    if let Some(user) = user {
        let words = format!("{shown}: will be made for {user} if root starts the agent");
        return (Good, words);
    }
    let name = user_name(geteuid().as_raw());
    let words = format!(
        "{shown} is not there and cannot be made ({}: {error}): install -d -m 0700 -o {name} {shown}",
        ShownPath(parent)
    );
    (Failure, words)
}

/// Writes a file of one page, and removes it.
fn try_to_write(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!("check-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            file.sync_all()
        });
    match fs::remove_file(&file) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

/// What is said of a file system that has little room.
fn room(folder: &Path) -> Option<(Level, String)> {
    let stat = statvfs(folder).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let has_inodes = stat.f_files == 0 || stat.f_favail > 0;
    too_little(free, has_inodes)
}

fn too_little(free: u64, has_inodes: bool) -> Option<(Level, String)> {
    match free {
        _ if !has_inodes => Some((Failure, "the file system has no inode left".to_owned())),
        0..LEAST_FREE => Some((
            Warning,
            format!("{} are left on the file system", Size(free)),
        )),
        _ => None,
    }
}

/// Who holds the lock of the folder.
fn running_agent(folder: &Path) -> Option<String> {
    let lock = File::open(folder.join("lock")).ok()?;
    // Held for no longer than it takes to give it back.
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => {
            let text = io::read_to_string(lock).unwrap_or_default();
            Some(store::holder(&text))
        }
    }
}

/// What inotify has for `needed` files and folders.
pub(super) fn inotify(needed: usize, report: &mut Report) {
    let limit = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let instance = inotify::init(inotify::CreateFlags::CLOEXEC);
    let (level, words) = match (instance, limit("max_user_watches")) {
        (Err(error), _) => {
            let most = limit("max_user_instances").unwrap_or_default();
            let words = format!(
                "no instance left of {most} ({error}): changes are looked for every 0.5 s; \
                 sysctl fs.inotify.max_user_instances={}",
                2 * most
            );
            (Warning, words)
        }
        (Ok(_), Some(most)) => watches(needed, most),
        (Ok(_), None) => (Good, format!("{needed} watches")),
    };
    report.add(level, "inotify", words);
}

fn watches(needed: usize, most: usize) -> (Level, String) {
    match needed > most {
        true => {
            let words = format!(
                "{most} watches, {needed} needed: changes of the other files are looked for every 0.5 s; \
                 sysctl fs.inotify.max_user_watches={}",
                needed.next_power_of_two()
            );
            (Warning, words)
        }
        false => (Good, format!("{needed} of {most} watches")),
    }
}

/// How many descriptors the process may have, for `files` that are followed.
pub(super) fn descriptors(files: usize, report: &mut Report) {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let (level, words) = descriptors_of(files as u64, most);
    report.add(level, "files", words);
}

fn descriptors_of(files: u64, most: u64) -> (Level, String) {
    let needed = files + DescriptorPermits::reserve(most);
    match needed > most {
        true => {
            let words = format!(
                "limit {most}, up to {needed} needed: files will take turns; LimitNOFILE={} in the unit, minfds in \
                 supervisord.conf",
                needed.next_power_of_two()
            );
            (Warning, words)
        }
        false => (
            Good,
            format!("{files} to follow, the limit of descriptors is {most}"),
        ),
    }
}

/// How much memory lines may take.
pub(super) fn memory(config: &Config, report: &mut Report) {
    let limit = MemoryLimit::new(config.agent.memory_limit_bytes);
    report.add(Good, "memory", limit.to_string());
}

/// Whether the clock of this host can be right. Kafka tells no time to who sends it nothing, so it is held against the
/// newest of the files, each with its last change in ns since 1970.
pub(super) fn clock<'a>(
    files: impl Iterator<Item = (&'a Path, i64)>,
    now: SystemTime,
    report: &mut Report,
) {
    let now_ms = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let now_ns = i64::try_from(now_ms * 1_000_000).unwrap_or(i64::MAX);
    let newest = files.max_by_key(|(_, modified_ns)| *modified_ns);
    let ahead = newest.map_or(0, |(_, modified_ns)| modified_ns.saturating_sub(now_ns));
    let shown = humantime::format_rfc3339_seconds(now);
    let (level, words) = match newest {
        _ if now_ns < BUILT_NS => {
            let words = format!("{shown} is before this agent was written: set it");
            (Warning, words)
        }
        Some((path, _)) if ahead > MOST_AHEAD_NS => {
            let ahead = Lasts(Duration::from_nanos(ahead.unsigned_abs()));
            let path = ShownPath(path);
            let words = format!("{shown}, and {path} was changed {ahead} later: is it behind?");
            (Warning, words)
        }
        _ => (Good, format!("{shown}, and no file is from later")),
    };
    report.add(level, "clock", words);
}

/// Whether the metrics can be listened at, or are by the agent that runs with this state folder.
pub(super) fn metrics(options: &CheckOptions, config: &Config, report: &mut Report) {
    let Some(address) = config.agent.metrics_listen else {
        return;
    };
    let (level, words) = match TcpListener::bind(address) {
        Ok(_) => (Good, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let serves = serves_since(address);
            match serves {
                Some(_) if started(&options.config) == serves => {
                    (Good, format!("{address}, by the agent that runs"))
                }
                Some(_) => {
                    let words = format!(
                        "{address} is in use by a logagent with another ini and state folder: if that is the agent of \
                         these logs, all would be sent again with this state_dir"
                    );
                    (Warning, words)
                }
                None => {
                    let words = format!(
                        "{address} is in use by another program: there will be no metrics until it is free"
                    );
                    (Warning, words)
                }
            }
        }
        Err(error) => (Warning, format!("{address} cannot be listened at: {error}")),
    };
    report.add(level, "metrics", words);
}

/// When the agent was started that runs with this ini, in s since 1970.
fn started(ini: &Path) -> Option<u64> {
    let answer = control::ask(ini, "status").ok()?;
    let (_, rest) = answer.text.split_once("\"started_ms\":")?;
    let ms = rest.split(',').next()?.parse::<u64>().ok()?;
    Some(ms / 1000)
}

/// When the agent was started that serves metrics there, in s since 1970.
fn serves_since(address: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = Vec::new();
    // What else listens there may never end.
    stream.take(MOST_METRICS).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("logagent_start_time_seconds "))?;
    line.split('.').next()?.parse().ok()
}

/// A file may be changed so much later than now: on a server with a clock of its own.
const MOST_AHEAD_NS: i64 = 60_000_000_000;
/// 2024-01-01: no host that is set right is before it.
const BUILT_NS: i64 = 1_704_067_200_000_000_000;
/// How long who listens may take.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_METRICS: u64 = 1 << 20;
/// With less than this left, somebody should know.
const LEAST_FREE: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_room_and_one_without_inodes_are_told_from_one_that_has_both() {
        assert_eq!(too_little(1 << 30, true), None);
        let (level, words) = too_little(3 << 20, true).expect("too little");
        assert_eq!(
            (level, &*words),
            (Warning, "3.0 MiB are left on the file system")
        );
        assert_eq!(
            too_little(1 << 30, false).map(|found| found.0),
            Some(Failure)
        );
    }

    #[test]
    fn a_folder_that_only_root_can_make_is_well_where_root_becomes_another_user() {
        let (folder, parent) = (Path::new("/var/lib/x"), Path::new("/var/lib"));
        let said = |user| not_made_by_us(folder, parent, user, Errno::ACCESS);
        assert_eq!(
            said(Some("log")),
            (
                Good,
                "/var/lib/x: will be made for log if root starts the agent".to_owned()
            )
        );
        let (level, words) = said(None);
        assert_eq!(level, Failure);
        assert!(words.contains("cannot be made (/var/lib: "), "{words}");
    }

    #[test]
    fn a_full_file_system_is_told_from_a_folder_of_somebody_else() {
        let folder = Path::new("/var");
        let metadata = fs::metadata(folder).expect("it is there");
        let words = |kind: io::ErrorKind| unwritable(folder, &metadata, &kind.into());
        let full = "/var: the file system is full: positions cannot be written";
        assert_eq!(words(io::ErrorKind::StorageFull), full);
        let denied = words(io::ErrorKind::PermissionDenied);
        assert!(
            denied.starts_with("/var: permission denied (owner root, mode 0"),
            "{denied}"
        );
        assert!(denied.contains(": chown -R "), "{denied}");
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_a_warning() {
        let said = |now_s: u64, modified_s: i64| {
            let mut report = Report::default();
            let files = [(Path::new("/a.log"), modified_s * 1_000_000_000)];
            let now = UNIX_EPOCH + Duration::from_secs(now_s);
            clock(files.into_iter(), now, &mut report);
            let found = report.findings.remove(0);
            (found.level, found.words)
        };
        let (level, words) = said(0, 0);
        assert_eq!(level, Warning);
        assert!(
            words.starts_with("1970-01-01T00:00:00Z is before"),
            "{words}"
        );
        let now = 1_800_000_000;
        let (level, words) = said(now, 1_800_007_200);
        assert_eq!(level, Warning);
        assert!(words.contains("/a.log was changed 2h later"), "{words}");
        assert_eq!(said(now, 1_800_000_059).0, Good);
    }

    #[test]
    fn too_few_watches_are_a_warning_that_names_the_sysctl() {
        let (level, words) = watches(1300, 1024);
        assert_eq!(level, Warning);
        assert!(words.starts_with("1024 watches, 1300 needed"), "{words}");
        assert!(
            words.ends_with("fs.inotify.max_user_watches=2048"),
            "{words}"
        );
        assert_eq!(
            watches(41, 190_312),
            (Good, "41 of 190312 watches".to_owned())
        );
    }

    #[test]
    fn too_few_descriptors_are_a_warning_that_names_both_settings() {
        let (level, words) = descriptors_of(1000, 1024);
        assert_eq!(level, Warning);
        assert!(
            words.contains("LimitNOFILE=2048") && words.contains("minfds"),
            "{words}"
        );
        assert_eq!(descriptors_of(19, 1024).0, Good);
    }
}
