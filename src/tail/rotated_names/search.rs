//! Where in a sorted listing the rotated names of a log can be, so that not all of it is read.

use super::{CURRENT, Place, Stamp, extension_starts};

/// Each rotated name of `base` begins with one of these, or with a date before it (see [`starts_after_date`]), and
/// so does `base` itself.
pub(in crate::tail) fn prefixes(base: &[u8]) -> Vec<Vec<u8>> {
    let mut dots = extension_starts(base);
    let stem = dots.next().map_or(base, |dot| &base[..dot]);
    let mut prefixes = vec![stem.to_vec()];
    // Before an extension of two parts stands a full date or nothing.
    for dot in dots {
        for separator in ["", ".", "-", "_"] {
            for century in ["19", "20"] {
                let added = [separator.as_bytes(), century.as_bytes()].concat();
                prefixes.push([&base[..dot], &added].concat());
            }
        }
    }
    if base == CURRENT {
        prefixes.extend([b"@".to_vec(), b"previous".to_vec()]);
    }
    prefixes
}

/// Where in `name` that of the log may start, if a date stands before it.
pub(in crate::tail) fn starts_after_date(name: &[u8]) -> impl Iterator<Item = usize> {
    let is_dated = name.first().is_some_and(u8::is_ascii_digit);
    let ends = 1..if is_dated { name.len() } else { 1 };
    ends.filter(|&at| {
        b"-_.".contains(&name[at]) && Stamp::parse(&name[..at], Place::Before).is_some()
    })
    .map(|at| at + 1)
}
