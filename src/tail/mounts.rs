//! Which file system a path leads to, told without asking that file system.
//!
//! /proc/self/mountinfo (proc(5)) lists the mounts; the kernel answers it from memory. A link on the way is
//! read only where it lies on a file system that is in use anyway.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lanes::Lane;

/// The mounts at one time.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// The number of what is mounted at a path.
    by_point: HashMap<PathBuf, u64>,
}

impl Mounts {
    fn read() -> Mounts {
        // Without /proc every path is in the same lane.
        Mounts::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Mounts {
        let mut by_point = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ');
            let number = fields
                .next()
                .and_then(|f| str::from_utf8(f).ok()?.parse().ok());
            if let (Some(number), Some(point)) = (number, fields.nth(3)) {
                // Of two mounts at one point the later one covers the other.
                by_point.insert(unescaped(point), number);
            }
        }
        Mounts { by_point }
    }

    /// The lane of what is mounted at this very path.
    pub(super) fn at(&self, path: &Path) -> Option<Lane> {
        self.by_point.get(path).copied().map(Lane::Mount)
    }

    /// The lane of `path`, links not followed.
    pub(super) fn of(&self, path: &Path) -> Lane {
        path.ancestors()
            .find_map(|path| self.at(path))
            .unwrap_or(Lane::Unknown)
    }

    /// The lane of what `path` leads to, links followed, asked on a thread of the lane `home`: links are read on
    /// that file system, on those that `path` itself passes through, and in lanes that were `asked` before. The first
    /// other one ends the way.
    pub(super) fn lane_from(&self, home: Lane, asked: &[Lane], path: &Path) -> Lane {
        let on_the_way = path.ancestors().filter_map(|path| self.at(path));
        let passed: Vec<Lane> = on_the_way.chain(asked.iter().copied()).collect();
        let mut rest = parts(path);
        let mut resolved = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == OsStr::new("..") {
                resolved.pop();
                continue;
            }
            resolved.push(part);
            let lane = self.of(&resolved);
            if lane != home && !passed.contains(&lane) {
                return lane;
            }
            if self.at(&resolved).is_some() {
                // A mount point is a folder or a file.
                continue;
            }
            let Ok(target) = std::fs::read_link(&resolved) else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                break;
            }
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            } else {
                resolved.pop();
            }
            let mut parts = parts(&target);
            parts.append(&mut rest);
            rest = parts;
        }
        home
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

/// A field in which space, tab, newline and backslash are octal (`\040`).
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// The mounts as they were a moment ago.
#[derive(Debug, Default)]
pub(super) struct MountTable(Mutex<Option<(Instant, Arc<Mounts>)>>);

impl MountTable {
    /// The mounts, read again when what is known is a few seconds old.
    pub(super) fn now(&self) -> Arc<Mounts> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((at, mounts)) if at.elapsed() < FRESH_FOR => mounts.clone(),
            _ => {
                let mounts = Arc::new(Mounts::read());
                *known = Some((Instant::now(), mounts.clone()));
                mounts
            }
        }
    }
}

const FRESH_FOR: Duration = Duration::from_secs(5);
/// As the kernel follows at most.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_belongs_to_the_mount_that_lies_deepest_on_its_way() {
        let mounts = Mounts::parse(
            b"21 1 8:1 / / rw - ext4 /dev/sda rw\n30 21 0:5 / /var/log rw shared:1 - nfs a:/b rw\n\
              31 21 0:6 / /mnt/a\\040b\\134 rw - tmpfs x rw\nnonsense\n",
        );
        let of = |path: &str| mounts.of(Path::new(path));
        assert_eq!(of("/var/log/app/a.log"), Lane::Mount(30));
        assert_eq!(of("/var/logs/a.log"), Lane::Mount(21));
        assert_eq!(of("/mnt/a b\\/x"), Lane::Mount(31));
        assert_eq!(mounts.at(Path::new("/var/log")), Some(Lane::Mount(30)));
        assert_eq!(mounts.at(Path::new("/var")), None);
        assert_eq!(Mounts::parse(b"").of(Path::new("/x")), Lane::Unknown);
    }

    #[test]
    fn links_lead_to_another_lane_and_circles_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let text = format!("1 0 8:1 / / rw\n2 1 0:5 / {} rw\n", at("far").display());
        let mounts = Mounts::parse(text.as_bytes());
        let home = Lane::Mount(1);
        symlink("far/logs", at("link")).expect("is made");
        symlink(at("link"), at("again")).expect("is made");
        symlink("circle", at("circle")).expect("is made");
        for (name, lane) in [
            ("near/a.log", home),
            ("link/a.log", Lane::Mount(2)),
            ("again", Lane::Mount(2)),
            ("circle/a.log", home),
        ] {
            assert_eq!(mounts.lane_from(home, &[], &at(name)), lane, "{name}");
        }
        let far = Lane::Mount(2);
        assert_eq!(mounts.lane_from(far, &[], &at("link/a.log")), far);
    }

    #[test]
    fn a_link_that_passes_through_a_third_mount_comes_to_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let (dev, shm) = (at("dev"), at("dev/shm"));
        let text = format!(
            "1 0 8:1 / / rw\n2 1 0:5 / {} rw\n3 2 0:6 / {} rw\n",
            dev.display(),
            shm.display()
        );
        let mounts = Mounts::parse(text.as_bytes());
        symlink(at("dev/shm/logs"), at("link")).expect("is made");
        let mut asked = Vec::new();
        let mut lane = Lane::Mount(1);
        for next in [2, 3, 3] {
            let before = lane;
            lane = mounts.lane_from(lane, &asked, &at("link/a.log"));
            asked.push(before);
            assert_eq!(lane, Lane::Mount(next));
        }
    }
}
