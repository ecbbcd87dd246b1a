//! Positions that no section follows any more, with bytes that were not sent: a section was removed, or has another
//! `path`, and a stop came before all that it had was sent.

use std::path::Path;
use std::sync::Arc;

use crate::shown::{ShownPath, Size};
use crate::snapshot::Unfollowed;
use crate::tail::Shared;

/// Looks for them, which may hang. Of a file that is gone nothing can be sent.
pub(super) fn look(shared: &Shared) -> Unfollowed {
    let discovery = shared.discovery();
    let mut behind = shared.registry.behind();
    behind.retain(|(path, _)| !shared.watches.is_followed(path));
    behind.truncate(MOST);
    behind.retain(|(path, _)| discovery.wanted(path).is_none() && path.exists());
    sum_up(behind)
}

fn sum_up(mut behind: Vec<(Arc<Path>, u64)>) -> Unfollowed {
    behind.sort_by(|(a, more), (b, less)| (less, a).cmp(&(more, b)));
    let shown =
        |(path, bytes): &(Arc<Path>, u64)| format!("{} ({})", ShownPath(path), Size(*bytes));
    Unfollowed {
        files: behind.len() as u64,
        bytes: behind.iter().map(|(_, bytes)| bytes).sum(),
        first: behind.iter().take(MOST_NAMED).map(shown).collect(),
    }
}

/// So many are looked at.
const MOST: usize = 1000;
/// So many are named.
const MOST_NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_the_most_bytes_are_named_and_all_are_counted() {
        let one = |path: &str, bytes| (Path::new(path).into(), bytes);
        let behind = vec![one("/d", 1), one("/b", 5), one("/c", 2000), one("/a", 5)];
        let first = ["/c (2.0 KiB)", "/a (5 B)", "/b (5 B)"];
        let expected = Unfollowed {
            files: 4,
            bytes: 2011,
            first: first.map(str::to_owned).into(),
        };
        assert_eq!(sum_up(behind), expected);
        assert_eq!(sum_up(Vec::new()), Unfollowed::default());
    }
}
