//! The order of rotated files: by their names where these can be compared, by their last changes where not.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Counting, RotatedName, Scheme};

/// A file of those that are sorted.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    name: Option<&'a RotatedName>,
    modified_ns: i64,
    born_ns: i64,
    was_seen: Option<bool>,
    index: usize,
}

impl RotatedName {
    /// Sorts `items`, the one that was rotated first to the front. `facts` gives an item's name, when it was last
    /// changed, when it was made (0: unknown), and whether its content was seen before, where it has any: then it comes
    /// before those whose content was not.
    ///
    /// Names of one scheme are ordered by what they say, whatever the times of their files are. Files that names do
    /// not order against each other are ordered by their last changes; of a scheme only those times count that agree
    /// with the order of most of its names. The time of birth orders nothing: a copy and an archive are made later
    /// than what they hold.
    ///
    /// Whether a counter counts up or down is taken from the times of its files, pair by pair of neighbours. A
    /// pair whose times of birth contradict its last changes says nothing; where as many pairs are for the one as
    /// for the other, names are counted as usual ([`RotatedName::usual_counting`]). Times count only where it is
    /// not told by files that are known beside others that are not.
    pub(in crate::tail) fn sort_oldest_first<T>(
        items: &mut Vec<T>,
        facts: impl Fn(&T) -> (Option<&RotatedName>, i64, i64, Option<bool>),
    ) {
        let files: Vec<File<'_>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let (name, modified_ns, born_ns, was_seen) = facts(item);
                File {
                    name,
                    modified_ns,
                    born_ns,
                    was_seen,
                    index,
                }
            })
            .collect();
        let mut schemes: BTreeMap<Option<&Scheme>, Vec<File<'_>>> = BTreeMap::new();
        for file in files {
            let scheme = file.name.map(|name| &name.scheme);
            schemes.entry(scheme).or_default().push(file);
        }
        let mut places = Vec::new();
        for files in schemes.values_mut() {
            sort_scheme(files);
            places.extend(
                believable_times(files)
                    .into_iter()
                    .zip(files.iter().map(|f| (f.was_seen != Some(true), f.index))),
            );
        }
        // A stable sort: what is of one scheme and one time keeps its order.
        places.sort_by_key(|&(time, (is_new, _))| (is_new, time));
        let mut taken: Vec<Option<T>> = items.drain(..).map(Some).collect();
        items.extend(
            places
                .iter()
                .filter_map(|&(_, (_, index))| taken[index].take()),
        );
    }
}

fn sort_scheme(files: &mut [File<'_>]) {
    let counting = counting(files);
    files.sort_by(|one, other| {
        let by_name = match (one.name, other.name) {
            (Some(name), Some(another)) => name.compare_in_scheme(another, counting),
            _ => Ordering::Equal,
        };
        by_name.then((one.modified_ns, one.born_ns).cmp(&(other.modified_ns, other.born_ns)))
    });
}

/// How the counters of `files`, which are of one scheme, are counted.
fn counting(files: &mut [File<'_>]) -> Counting {
    let Some(first) = files.first().and_then(|file| file.name) else {
        return Counting::Up;
    };
    let usual = first.usual_counting();
    if let Some(counting) = counting_to_new_ones(files) {
        return counting;
    }
    files.sort_by_key(|file| file.name.map(|name| (name.date, &name.numbers)));
    let (mut up, mut down) = (0, 0);
    for pair in files.windows(2) {
        let [one, other] = pair else { continue };
        let is_of_counters = match (one.name, other.name) {
            (Some(name), Some(another)) => name.differs_in_counter(another),
            _ => false,
        };
        let modified = one.modified_ns.cmp(&other.modified_ns);
        let born = match one.born_ns == 0 || other.born_ns == 0 {
            true => Ordering::Equal,
            false => one.born_ns.cmp(&other.born_ns),
        };
        match modified {
            _ if !is_of_counters || born == modified.reverse() => {}
            Ordering::Less => up += 1,
            Ordering::Greater => down += 1,
            Ordering::Equal => {}
        }
    }
    match up.cmp(&down) {
        Ordering::Greater => Counting::Up,
        Ordering::Less => Counting::Down,
        Ordering::Equal => usual,
    }
}

/// How the counters of `files` are counted, as those tell that were seen before beside those that were not.
fn counting_to_new_ones(files: &[File<'_>]) -> Option<Counting> {
    let known = files.iter().filter(|file| file.was_seen == Some(true));
    let new: Vec<_> = files
        .iter()
        .filter(|file| file.was_seen == Some(false))
        .collect();
    let (mut up, mut down) = (0, 0);
    for one in known.filter_map(|file| file.name) {
        for other in new.iter().filter_map(|file| file.name) {
            if !one.differs_in_counter(other) {
                continue;
            }
            match one.numbers.cmp(&other.numbers) {
                Ordering::Less => up += 1,
                Ordering::Greater => down += 1,
                Ordering::Equal => {}
            }
        }
    }
    // Where new ones lie between those that were seen, some of them have another reason to be unknown.
    match (up, down) {
        (1.., 0) => Some(Counting::Up),
        (0, 1..) => Some(Counting::Down),
        _ => None,
    }
}

/// The times of `files`, which are in their order, made to rise: those that do not fit to most of the others are
/// taken for that of the file before.
fn believable_times(files: &[File<'_>]) -> Vec<i64> {
    // The longest run of times that rise. `ends[n]` is where the run of n + 1 files with the earliest last time
    // ends; `before` leads back through a run.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let len = ends.partition_point(|&end| files[end].modified_ns <= file.modified_ns);
        before.push(len.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(len) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut is_believed = vec![false; files.len()];
    let mut next = ends.last().copied();
    let mut earliest = 0;
    while let Some(at) = next {
        is_believed[at] = true;
        earliest = files[at].modified_ns;
        next = before[at];
    }
    let mut last = earliest;
    let times = files.iter().zip(is_believed).map(|(file, is_believed)| {
        if is_believed {
            last = file.modified_ns;
        }
        last
    });
    times.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(base: &str, name: &str) -> Option<RotatedName> {
        RotatedName::parse(base.as_bytes(), name.as_bytes())
    }

    /// What `sort_oldest_first` makes of names of app.log with times of last change and of birth.
    fn sorted<'a>(files: &[(&'a str, i64, i64)]) -> Vec<&'a str> {
        let mut items: Vec<_> = files
            .iter()
            .map(|&(name, modified, born)| (name, parsed("app.log", name), modified, born))
            .collect();
        RotatedName::sort_oldest_first(&mut items, |(_, name, modified, born)| {
            (name.as_ref(), *modified, *born, Some(false))
        });
        items.into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn counters_go_down_or_up_as_most_times_say() {
        let down = [
            ("app.log.1", 30, 0),
            ("app.log.2.gz", 20, 0),
            ("app.log.10", 10, 0),
        ];
        assert_eq!(sorted(&down), ["app.log.10", "app.log.2.gz", "app.log.1"]);
        let up = [
            ("app.1.log", 10, 0),
            ("app.2.log", 20, 0),
            ("app.10.log", 30, 0),
        ];
        assert_eq!(sorted(&up), ["app.1.log", "app.2.log", "app.10.log"]);
        let two = [("app.2.log", 20, 20), ("app.1.log", 10, 10)];
        assert_eq!(sorted(&two), ["app.1.log", "app.2.log"]);
        let of_one_time = [("app.log.1", 10, 0), ("app.log.2", 10, 0)];
        assert_eq!(sorted(&of_one_time), ["app.log.2", "app.log.1"]);
    }

    #[test]
    fn a_time_that_was_set_back_does_not_change_the_order_of_names() {
        let three = [
            ("app.log.1", 5, 0),
            ("app.log.2", 20, 0),
            ("app.log.3", 10, 0),
        ];
        assert_eq!(sorted(&three), ["app.log.3", "app.log.2", "app.log.1"]);
        let two = [("app.log.1", 5, 30), ("app.log.2", 20, 20)];
        assert_eq!(sorted(&two), ["app.log.2", "app.log.1"]);
        let dated = [("app.log-20261126", 20, 0), ("app.log-20261127", 1, 0)];
        assert_eq!(sorted(&dated), ["app.log-20261126", "app.log-20261127"]);
    }

    #[test]
    fn what_was_seen_before_comes_before_what_was_not_whatever_the_times_are() {
        let sorted = |files: &[(&'static str, i64, Option<bool>)]| {
            let mut items: Vec<_> = files
                .iter()
                .map(|&(name, modified, is_known)| {
                    (name, parsed("app.log", name), modified, is_known)
                })
                .collect();
            RotatedName::sort_oldest_first(&mut items, |(_, name, modified, is_known)| {
                (name.as_ref(), *modified, 0, *is_known)
            });
            items.into_iter().map(|(name, ..)| name).collect::<Vec<_>>()
        };
        let restored = [
            ("app.log.1", 10, Some(false)),
            ("app.log.2", 20, Some(false)),
            ("app.log.3", 30, Some(true)),
        ];
        assert_eq!(sorted(&restored), ["app.log.3", "app.log.2", "app.log.1"]);
        let up = [
            ("app.1.log", 30, Some(true)),
            ("app.2.log", 20, Some(false)),
            ("app.3.log", 10, Some(false)),
        ];
        assert_eq!(sorted(&up), ["app.1.log", "app.2.log", "app.3.log"]);
        // A file that has always been empty is not known, and tells nothing.
        let empty_first = [
            ("app.log.1", 30, Some(true)),
            ("app.log.2", 20, Some(true)),
            ("app.log.3", 15, None),
            ("app.log.4", 10, None),
        ];
        assert_eq!(sorted(&empty_first)[..2], ["app.log.2", "app.log.1"]);
        let with_empty = [
            ("app.log.1", 30, Some(true)),
            ("app.log.2", 20, Some(true)),
            ("app.log.3", 15, Some(false)),
            ("app.log.4", 10, Some(true)),
        ];
        let known = sorted(&with_empty);
        assert_eq!(known[..3], ["app.log.4", "app.log.2", "app.log.1"]);
        let between = [
            ("app.log.1", 10, Some(false)),
            ("app.log.1.backup", 20, Some(true)),
        ];
        assert_eq!(sorted(&between), ["app.log.1.backup", "app.log.1"]);
    }

    #[test]
    fn names_of_two_schemes_are_ordered_by_last_change() {
        let mixed = [
            ("app.log.bak", 25, 0),
            ("app.log.1", 30, 0),
            ("app.log.2", 20, 0),
            ("unrelated", 35, 0),
            ("app.log.3", 10, 0),
            // Its time was set back: it still lies between .1 and .3, beside .2.
            ("app.log.4", 40, 0),
        ];
        assert_eq!(
            sorted(&mixed),
            [
                "app.log.4",
                "app.log.3",
                "app.log.2",
                "app.log.bak",
                "app.log.1",
                "unrelated"
            ]
        );
        let backup = [
            ("app.log-2026112710.backup", 21, 0),
            ("app.log-20261128", 30, 0),
            ("app.log-20261127", 20, 0),
        ];
        assert_eq!(
            sorted(&backup),
            [
                "app.log-20261127",
                "app.log-2026112710.backup",
                "app.log-20261128"
            ]
        );
    }

    type Way = fn(&str, &str, u64, u64) -> String;

    /// Ways of naming the files of a log, given the number of the rotation and how many there are.
    const WAYS: &[Way] = &[
        |stem, end, n, count| format!("{stem}{end}.{}", count - n),
        |stem, end, n, count| format!("{stem}{end}.{}.gz", count - n),
        |stem, end, n, _| format!("{stem}.{}{end}", n + 1),
        |stem, end, n, _| format!("{stem}_r{n:05}{end}"),
        |stem, end, n, _| format!("{stem}{end}-202611{:02}", n % 28 + 1),
        |stem, end, n, _| format!("{stem}-2026-11-{:02}.{}{end}.gz", n / 5 + 1, n % 5 + 7),
        |stem, end, n, _| format!("{stem}-2026-11-26T10-{:02}-00.000{end}", n % 60),
        |stem, end, n, _| format!("20261126-1015-{n:02}-{stem}{end}"),
        |stem, end, n, _| format!("{stem}{end}.2026-11-26_10-{:02}", n % 60),
        |stem, end, n, _| format!("{stem}{end}-{}", 1_732_700_000 + n * 3600),
    ];

    #[test]
    fn any_way_of_naming_is_sorted_whatever_one_file_says_of_its_time() {
        let mut random = fastrand::Rng::with_seed(9);
        for round in 0..4_000 {
            let way = WAYS[random.usize(..WAYS.len())];
            let stem = ["app", "a-b", "x8080", "über"][random.usize(..4)];
            let end = [".log", ".txt", ""][random.usize(..3)];
            let base = format!("{stem}{end}");
            let count = random.u64(4..28);
            let expected: Vec<String> = (0..count).map(|n| way(stem, end, n, count)).collect();
            let mut files: Vec<_> = expected
                .iter()
                .zip(1i64..)
                .map(|(name, n)| (name.clone(), parsed(&base, name), n * 1000, 0))
                .collect();
            for (name, parsed, ..) in &files {
                assert!(parsed.is_some(), "round {round}: {name} of {base}");
            }
            let odd = random.usize(..files.len());
            files[odd].2 = random.i64(..100_000);
            random.shuffle(&mut files);
            RotatedName::sort_oldest_first(&mut files, |(_, name, modified, born)| {
                (name.as_ref(), *modified, *born, Some(false))
            });
            let found: Vec<String> = files.into_iter().map(|(name, ..)| name).collect();
            assert_eq!(found, expected, "round {round}");
        }
    }
}
