//! How much memory the agent takes for what it has read: what the ini says, or else half of what its control groups
//! leave it, so that a small container is not killed for what nobody has set.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::control_group;
use crate::config::LEAST_MEMORY;

/// The memory budget, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub(super) bytes: usize,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// The ini sets it.
    Set,
    /// No control group has less than twice the default.
    Default,
    /// The tightest limit of the control groups.
    Group(GroupLimit),
}

/// What a control group may take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GroupLimit {
    bytes: u64,
    file: PathBuf,
}

impl MemoryLimit {
    /// The limit that the ini sets, or the one that fits into the control groups of this process.
    pub(crate) fn new(set: Option<usize>) -> Self {
        if let Some(bytes) = set {
            let why = Why::Set;
            return MemoryLimit { bytes, why };
        }
        let read = |file: &Path| fs::read_to_string(file).ok();
        Self::in_group(tightest(&control_group::own_folders("memory"), read))
    }

    /// Half of what the group may take, since not all of it is for what was read: but no more than the default,
    /// and no less than what works.
    fn in_group(group: Option<GroupLimit>) -> Self {
        match group {
            Some(group) if group.bytes / 2 < DEFAULT as u64 => MemoryLimit {
                bytes: usize::try_from(group.bytes / 2)
                    .unwrap_or(DEFAULT)
                    .max(LEAST_MEMORY),
                why: Why::Group(group),
            },
            _ => MemoryLimit {
                bytes: DEFAULT,
                why: Why::Default,
            },
        }
    }

    /// How many threads may follow files. In a small control group they are few: what a thread takes besides what
    /// it reads (two stacks, what the allocator keeps for it) is not in the budget.
    pub(super) fn threads(&self) -> usize {
        match &self.why {
            Why::Group(_) => (self.bytes / PER_THREAD_BYTES).max(1),
            Why::Set | Why::Default => usize::MAX,
        }
    }

    /// What of it is for lines on their way. In a small control group the threads' part comes off it.
    pub(super) fn for_lines(&self) -> usize {
        match &self.why {
            Why::Group(_) => self.bytes - self.bytes / 4,
            Why::Set | Why::Default => self.bytes,
        }
    }

    /// Says it, where the group has too little.
    pub(super) fn say(&self) {
        if let Why::Group(group) = &self.why
            && group.bytes < 2 * LEAST_MEMORY as u64
        {
            log::warn!(
                "the control group may take {} only ({}): with less than {} the kernel may kill the agent",
                mib(group.bytes),
                group.file.display(),
                mib(2 * LEAST_MEMORY as u64)
            );
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory_limit {}", mib(self.bytes as u64))?;
        match &self.why {
            Why::Set => write!(f, " (set)"),
            Why::Default => write!(f, " (the default)"),
            Why::Group(group) => {
                let share = match self.bytes as u64 > group.bytes / 2 {
                    true => "the least, of",
                    false => "half of",
                };
                let (most, file) = (mib(group.bytes), group.file.display());
                write!(f, " ({share} {most}, {file})")
            }
        }
    }
}

/// The limit of the group that may take the least; `read` gives the text of a file.
fn tightest(folders: &[PathBuf], read: impl Fn(&Path) -> Option<String>) -> Option<GroupLimit> {
    folders
        .iter()
        .flat_map(|folder| LIMITS.map(|name| folder.join(name)))
        .filter_map(|file| {
            // Without a limit version 2 says `max`, and version 1 a number beyond all memory.
            let bytes = read(&file)?.trim().parse().ok()?;
            Some(GroupLimit { bytes, file })
        })
        .min_by_key(|limit| limit.bytes)
}

fn mib(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 20) {
        true => format!("{} MiB", bytes >> 20),
        false => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// The most that is taken where the ini says nothing.
const DEFAULT: usize = 64 << 20;
/// In a small control group there is one thread that follows files for so much of the budget.
const PER_THREAD_BYTES: usize = 1 << 20;
/// The files of a limit, in version 2 and in version 1.
const LIMITS: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit of nested groups `/g/a/b`, `/g/a`, `/g`, whose files have these texts.
    fn of_files(name: &str, texts: [Option<&str>; 3]) -> MemoryLimit {
        let folders = ["/g/a/b", "/g/a", "/g"].map(PathBuf::from);
        let read = |file: &Path| {
            let at = folders.iter().position(|folder| *file == folder.join(name));
            at.and_then(|at| texts[at]).map(str::to_owned)
        };
        MemoryLimit::in_group(tightest(&folders, read))
    }

    #[test]
    fn half_of_the_tightest_group_is_taken_in_both_versions() {
        for (name, none) in [
            ("memory.max", "max\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
        ] {
            let own = of_files(name, [Some("25165824\n"), Some("33554432\n"), None]);
            assert_eq!(
                own.to_string(),
                format!("memory_limit 12 MiB (half of 24 MiB, /g/a/b/{name})")
            );
            assert_eq!((own.threads(), own.for_lines()), (12, 9 << 20));
            let upper = of_files(name, [Some(none), Some("33554432\n"), Some("99999999\n")]);
            assert_eq!(upper.bytes, 16 << 20);
            let root = of_files(name, [Some(none), None, Some("20000001\n")]);
            assert_eq!(root.bytes, 10_000_000);
            assert_eq!(
                root.to_string(),
                format!("memory_limit 9.5 MiB (half of 19.1 MiB, /g/{name})")
            );
        }
    }

    #[test]
    fn without_a_limit_or_with_a_large_one_the_default_holds() {
        for text in [
            "max\n",
            "9223372036854771712\n",
            "134217728\n",
            "nonsense",
            "",
        ] {
            let limit = of_files("memory.max", [Some(text), None, Some("max\n")]);
            assert_eq!(
                limit.to_string(),
                "memory_limit 64 MiB (the default)",
                "{text}"
            );
        }
        assert_eq!(of_files("memory.max", [None; 3]).bytes, 64 << 20);
        assert_eq!(
            of_files("memory.max", [Some("134217726"), None, None]).bytes,
            (64 << 20) - 1
        );
    }

    #[test]
    fn there_is_always_as_much_as_works() {
        let limit = of_files("memory.max", [Some("12582912\n"), None, None]);
        assert_eq!(
            limit.to_string(),
            "memory_limit 8 MiB (the least, of 12 MiB, /g/a/b/memory.max)"
        );
        assert_eq!(
            of_files("memory.max", [Some("0"), None, None]).bytes,
            LEAST_MEMORY
        );
    }

    #[test]
    fn what_is_set_holds_whatever_the_groups_have() {
        let limit = MemoryLimit::new(Some(1 << 30));
        assert_eq!(limit.to_string(), "memory_limit 1024 MiB (set)");
        assert_eq!((limit.threads(), limit.for_lines()), (usize::MAX, 1 << 30));
    }
}
