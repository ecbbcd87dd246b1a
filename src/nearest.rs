//! The name that a misspelt one was probably meant to be.

/// The known name nearest to `name`, if one is near enough to be meant: one slip in a short name,
/// one in four letters of a long one. Case and `-` for `_` do not count as slips, and a name that
/// goes on after `_` (`linger_ms`) is near the one it begins with.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing so long is a slip of a known name, and comparing it would take time.
    if name.len() > 64 {
        return None;
    }
    let name: Vec<char> = name.to_lowercase().replace('-', "_").chars().collect();
    known
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().collect();
            let goes_on = name
                .strip_prefix(letters.as_slice())
                .is_some_and(|rest| rest.first() == Some(&'_'));
            let allowed = match goes_on {
                true => usize::MAX,
                false => (letters.len() / 4).max(1),
            };
            // Lengths alone rule out most names, at no cost.
            if name.len().abs_diff(letters.len()) > allowed {
                return None;
            }
            let slips = distance(&name, &letters);
            (slips <= allowed).then_some((slips, candidate))
        })
        .min_by_key(|&(slips, _)| slips)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_with_swaps_as_one() {
        let slips = |a: &str, b: &str| {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            distance(&letters(a), &letters(b))
        };
        assert_eq!(slips("", ""), 0);
        assert_eq!(slips("acks", ""), 4);
        assert_eq!(slips("brokrs", "brokers"), 1);
        assert_eq!(slips("kakfa", "kafka"), 1);
        assert_eq!(slips("partioner", "partitioner"), 2);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["brokers", "topic", "acks", "linger", "exclude"];
        let suggested = |name| nearest(name, known);
        assert_eq!(suggested("brokrs"), Some("brokers"));
        assert_eq!(suggested("Topic"), Some("topic"));
        assert_eq!(suggested("topics"), Some("topic"));
        assert_eq!(suggested("linger_ms"), Some("linger"));
        assert_eq!(suggested("include"), None, "the opposite of exclude");
        assert_eq!(suggested("tls"), None);
        assert_eq!(suggested(""), None);
        assert_eq!(suggested(&"a".repeat(100_000)), None);
    }
}
