//! Where the control groups of this process lie (cgroups(7), both versions), so that their limits can be read.
//!
//! A limit of a group binds everything below it, so those of all groups from the process's own up to the root
//! count.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// The folders of the groups of this process that have `controller`, its own first.
pub(super) fn own_folders(controller: &str) -> Vec<PathBuf> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    folders(
        controller,
        &read("/proc/self/cgroup"),
        &read("/proc/self/mountinfo"),
    )
}

/// The same from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn folders(controller: &str, groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (group, hierarchy) in groups.lines().filter_map(|line| group(line, controller)) {
        let mount = mounts
            .lines()
            .filter_map(Mount::of_line)
            .find(|mount| mount.holds(hierarchy, controller));
        if let Some(mount) = mount {
            mount.add_folders(group, &mut folders);
        }
    }
    folders
}

/// The version of a hierarchy of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    V1,
    V2,
}

/// The path of the group that a line of `/proc/self/cgroup` (`4:memory:/a/b`, `0::/a/b`) names, if `controller`
/// may be there.
fn group<'a>(line: &'a str, controller: &str) -> Option<(&'a Path, Hierarchy)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let hierarchy = match controllers {
        "" => Hierarchy::V2,
        _ if controllers.split(',').any(|name| name == controller) => Hierarchy::V1,
        _ => return None,
    };
    Some((Path::new(path), hierarchy))
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'a> {
    /// Which folder of the file system is mounted.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    /// Of the file system: for version 1, its controllers.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn of_line(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        Some(Mount {
            root: unescaped(root),
            point: unescaped(point),
            kind,
            options,
        })
    }

    fn holds(&self, hierarchy: Hierarchy, controller: &str) -> bool {
        match hierarchy {
            Hierarchy::V1 => {
                self.kind == "cgroup" && self.options.split(',').any(|name| name == controller)
            }
            Hierarchy::V2 => self.kind == "cgroup2",
        }
    }

    /// Adds the folder of `group` and of every group above it that is seen here. In a container the mount often
    /// shows the container's own group and nothing else, while the path is that of the host: then that is all.
    fn add_folders(&self, group: &Path, folders: &mut Vec<PathBuf>) {
        let is_outside = |path: &Path| path.components().any(|part| part == Component::ParentDir);
        let below = match group.strip_prefix(&self.root) {
            Ok(below) if !is_outside(below) => below,
            _ => Path::new(""),
        };
        folders.extend(below.ancestors().map(|part| match part.as_os_str() {
            name if name.is_empty() => self.point.clone(),
            _ => self.point.join(part),
        }));
    }
}

/// A field in which space, tab, newline and backslash are octal (`\040`).
fn unescaped(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part
            .split_at_checked(3)
            .map(|(code, rest)| (u8::from_str_radix(code, 8), rest))
        {
            Some((Ok(code), rest)) => {
                bytes.push(code);
                bytes.extend(rest.as_bytes());
            }
            _ => {
                bytes.push(b'\\');
                bytes.extend(part.as_bytes());
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(controller: &str, groups: &str, mounts: &str) -> Vec<String> {
        let folders = folders(controller, groups, mounts);
        folders
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    const V1: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        39 31 0:36 / /sys/fs/cgroup/cpu,pids rw,relatime - cgroup cgroup rw,cpu,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const V2: &str = "\
        22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_groups_up_to_the_root_are_found_in_version_2() {
        assert_eq!(
            shown("memory", "0::/system.slice/logagent.service\n", V2),
            [
                "/sys/fs/cgroup/system.slice/logagent.service",
                "/sys/fs/cgroup/system.slice",
                "/sys/fs/cgroup",
            ]
        );
        assert_eq!(shown("memory", "0::/\n", V2), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn the_groups_of_a_controller_are_found_in_version_1_and_beside_it_those_of_version_2() {
        let groups = "8:cpu,pids:/jobs\n4:memory:/a/b\n1:name=systemd:/x\n0::/\n";
        assert_eq!(
            shown("memory", groups, V1),
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/unified",
            ]
        );
        assert_eq!(
            shown("pids", groups, V1),
            [
                "/sys/fs/cgroup/cpu,pids/jobs",
                "/sys/fs/cgroup/cpu,pids",
                "/sys/fs/cgroup/unified",
            ]
        );
    }

    #[test]
    fn in_a_container_the_group_is_where_it_is_mounted() {
        // The path of the host, and of what is mounted its container alone.
        let mounts = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for groups in [
            "4:memory:/docker/ab\n",
            "4:memory:/elsewhere\n",
            "4:memory:/../cd\n",
        ] {
            assert_eq!(shown("memory", groups, mounts), ["/sys/fs/cgroup/memory"]);
        }
        assert_eq!(
            shown("memory", "4:memory:/docker/ab/job\n", mounts),
            ["/sys/fs/cgroup/memory/job", "/sys/fs/cgroup/memory"]
        );
        // A namespace in which the group lies outside of what is seen.
        assert_eq!(shown("memory", "0::/../../x\n", V2), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn a_mount_point_with_a_blank_is_read_and_nonsense_is_passed_over() {
        let mounts = "30 22 0:26 / /my\\040groups\\x rw - cgroup2 cgroup2 rw\n30 22\nnonsense\n";
        assert_eq!(
            shown("memory", "0::/a\n", mounts),
            ["/my groups\\x/a", "/my groups\\x"]
        );
        assert!(shown("memory", "nonsense\n0:\n", V2).is_empty());
        assert!(shown("memory", "0::/a\n", "").is_empty());
        assert!(shown("memory", "", V2).is_empty());
    }
}
