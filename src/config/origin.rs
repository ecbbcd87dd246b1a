//! Where a configuration comes from.

use std::path::PathBuf;

use super::environment::{Env, expand};
use super::syntax::RawSection;

/// Where a configuration comes from. It is no part of what it says: two that say the same are equal.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Files that were included, sorted.
    pub files: Vec<PathBuf>,
    /// Files and folders whose change may change what it says: the ini and what it includes, certificates, keys and
    /// secrets.
    pub watched: Vec<PathBuf>,
    /// What was written, to name what is different: of a value, its checksum.
    pub(super) written: Vec<(String, Vec<(String, u32)>)>,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl Origin {
    pub(super) fn write(&mut self, sections: &[RawSection], env: Env<'_>) {
        for section in sections {
            let keys = section.entries.iter().map(|entry| {
                let value = expand(&entry.value, env).unwrap_or_default();
                (entry.key.clone(), crc32c::crc32c(value.as_bytes()))
            });
            self.written.push((section.name.clone(), keys.collect()));
        }
    }

    fn keys(&self, section: &str) -> &[(String, u32)] {
        let mut sections = self.written.iter();
        let found = sections.find(|(name, _)| name == section);
        found.map_or(&[], |(_, keys)| keys)
    }

    /// The keys of a section that are not written alike, in the order of the newer file, then those that went.
    pub(super) fn differing(&self, newer: &Origin, section: &str) -> Vec<String> {
        let (old, new) = (self.keys(section), newer.keys(section));
        let came = new.iter().filter(|key| !old.contains(key));
        let went = old
            .iter()
            .filter(|(key, _)| !new.iter().any(|(name, _)| name == key));
        came.chain(went).map(|(key, _)| key.clone()).collect()
    }
}
