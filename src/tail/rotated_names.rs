//! interim
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
#[derive(Debug, Clone)]
pub(super) struct RotatedName { count: Option<i64>, text: Vec<u8> }
impl RotatedName {
    pub(super) fn parse(base: &OsStr, name: &OsStr) -> Option<Self> {
        let (base, name) = (base.as_bytes(), strip(name.as_bytes()));
        let ok = if let Some(suffix) = name.strip_prefix(base) {
            matches!(suffix, b".old" | b".bak" | b".prev" | b"~") || count_or_date(suffix, 1)
        } else {
            let dot = base.iter().rposition(|&b| b == b'.').unwrap_or(base.len());
            let (stem, extension) = base.split_at(dot);
            name.strip_prefix(stem).and_then(|r| r.strip_suffix(extension)).is_some_and(|m| !stem.is_empty() && count_or_date(m, 6))
        };
        let count = name.strip_prefix(base).and_then(|s| s.strip_prefix(b".")).filter(|d| d.len() <= 6).and_then(|d| std::str::from_utf8(d).ok()?.parse().ok());
        ok.then(|| RotatedName { count, text: name.to_vec() })
    }
}
fn strip(name: &[u8]) -> &[u8] { for e in [".gz", ".zst", ".bz2", ".xz", ".Z"] { if let Some(n) = name.strip_suffix(e.as_bytes()) { return n; } } name }
fn count_or_date(s: &[u8], least: usize) -> bool { let d = s.iter().filter(|b| b.is_ascii_digit()).count(); matches!(s.first(), Some(b'.' | b'-' | b'_')) && d >= least && s.iter().all(|b| b.is_ascii_digit() || b".-_:TZ".contains(b)) }
pub(super) fn sort_oldest_first<T>(mut items: Vec<T>, of: impl Fn(&T) -> (Option<&RotatedName>, i64, i64)) -> Vec<T> {
    items.sort_by_cached_key(|i| { let (n, m, _) = of(i); (n.and_then(|n| n.count).map_or(0, |c| -c), m, n.map(|n| n.text.clone())) });
    items
}
