//! This process, as the kernel sees it.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The commit that it was built of, with a `+` where files differ from it: as `--version` has it, without the day. Empty
/// where it was not built by `scripts/build.sh`.
pub(crate) fn commit() -> &'static str {
    let built = option_env!("LOGAGENT_COMMIT").unwrap_or_default();
    built.split(' ').next().unwrap_or_default()
}

/// Resident memory in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Open descriptors.
pub(crate) fn open_descriptors() -> Option<u64> {
    let descriptors = fs::read_dir("/proc/self/fd").ok()?;
    // One of them reads this folder.
    Some((descriptors.count() as u64).saturating_sub(1))
}

/// Descriptors that the process may have; `None`: any number.
pub(crate) fn most_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
