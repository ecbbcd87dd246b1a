//! Which events go: `keep`, `drop`, `drop.NAME`, `sample`.
//!
//! They are asked in this order, and the first that has an answer counts: an event that `keep` does not match is dropped, then
//! one that a `drop` matches, then one that `sample` does not pick. `^` and `$` are the ends of the whole event, those of its
//! lines with `(?m)`.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::packed::Searcher;

use crate::record::pattern::{Pattern, PatternError};

/// The filters of a section. Each file has a clone of its own, see [`Pattern`].
#[derive(Debug, Clone, Default)]
pub struct Filter {
    keep: Option<Pattern>,
    drops: Vec<Pattern>,
    sample: Option<Sample>,
    names: Vec<Arc<str>>,
    needs: Option<Needs>,
}

/// Texts without which rules cannot match, all looked for at once.
#[derive(Debug, Clone)]
struct Needs {
    searcher: Searcher,
    /// For each text, those rules of which a text may begin where it is found: a bit for each rule, `keep` and then the
    /// drops.
    rules: Vec<u64>,
    /// All rules that have such texts.
    all: u64,
    /// Each of the drops is among them.
    have_drops: bool,
}

/// Whether an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes.
    Goes,
    /// It does not, because of this rule.
    Dropped(Rule),
}

/// One of a filter's rules: the place in [`Filter::names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(usize);

impl Rule {
    /// The place in [`Filter::names`], for counters.
    pub fn index(self) -> usize {
        self.0
    }
}

impl Filter {
    /// Filters with these rules; the name of a drop is its key, `drop` or `drop.NAME`.
    pub fn new(
        keep: Option<Pattern>,
        drops: Vec<(Arc<str>, Pattern)>,
        sample: Option<Sample>,
    ) -> Self {
        let mut names: Vec<Arc<str>> = vec!["keep".into(), "sample".into()];
        let mut patterns = Vec::with_capacity(drops.len());
        for (name, pattern) in drops {
            names.push(name);
            patterns.push(pattern);
        }
        let needs = Needs::of(keep.as_ref(), &patterns);
        Self {
            keep,
            drops: patterns,
            sample,
            names,
            needs,
        }
    }

    /// The names of the rules, in the order of [`Rule::index`]: `keep` and `sample` whether set or not, then the drops.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Does every event go, so that none has to be looked at?
    pub fn is_empty(&self) -> bool {
        self.keep.is_none() && self.drops.is_empty() && self.sample.is_none()
    }

    /// Starts on the events of `buffer`.
    pub fn run<'a>(&'a self, buffer: &'a [u8]) -> Run<'a> {
        let mut run = Run {
            filter: self,
            buffer,
            found: usize::MAX,
            rules: 0,
            places: vec![0; 1 + self.drops.len()],
        };
        run.seek(0);
        run
    }

    /// Whether `event` goes, which begins at `offset` of the file with this `identity`.
    pub fn decide(&self, event: &[u8], identity: u64, offset: u64) -> Decision {
        if let Some(keep) = &self.keep
            && !keep.is_match(event)
        {
            return Decision::Dropped(KEEP);
        }
        // Each by itself: a RegexSet took twice as long, as it looks at every byte where these look for a text.
        if let Some(place) = self.drops.iter().position(|drop| drop.is_match(event)) {
            return Decision::Dropped(Rule(FIRST_DROP + place));
        }
        match &self.sample {
            Some(sample) => self.sampled(sample, event, identity, offset),
            None => Decision::Goes,
        }
    }

    fn sampled(&self, sample: &Sample, event: &[u8], identity: u64, offset: u64) -> Decision {
        match sample.picks(event, identity, offset) {
            true => Decision::Goes,
            false => Decision::Dropped(SAMPLE),
        }
    }
}

impl Needs {
    fn of(keep: Option<&Pattern>, drops: &[Pattern]) -> Option<Self> {
        let mut texts: Vec<(&[u8], u64)> = Vec::new();
        let mut all = 0;
        for (place, rule) in [keep].into_iter().chain(drops.iter().map(Some)).enumerate() {
            let needed = rule.map(Pattern::needed).unwrap_or_default();
            // A rule that there is no room for is asked about each event.
            if !needed.is_empty() && texts.len() + needed.len() <= MOST_TEXTS {
                all |= bit(place);
                texts.extend(needed.iter().map(|text| (&text[..], bit(place))));
            }
        }
        let searcher = Searcher::new(texts.iter().map(|(text, _)| text))?;
        // Of two texts that begin at one place one alone is found.
        let rules = texts.iter().map(|(text, _)| {
            let here = texts
                .iter()
                .filter(|(other, _)| other.starts_with(text) || text.starts_with(other));
            here.fold(0, |rules, (_, rule)| rules | rule)
        });
        Some(Needs {
            rules: rules.collect(),
            searcher,
            all,
            have_drops: (1..=drops.len()).all(|place| all & bit(place) != 0),
        })
    }
}

/// The events of one buffer, in their order.
///
/// The texts without which a rule cannot match are looked for in the buffer as a whole, from one find to the next: an event
/// without any costs a comparison, and a rule is asked only about those that have one, from there on.
#[derive(Debug)]
pub struct Run<'a> {
    filter: &'a Filter,
    buffer: &'a [u8],
    /// Where one of the texts is found, the first since the last event that was asked about began.
    found: usize,
    /// The rules that it is of.
    rules: u64,
    /// For each rule that may match, the place of its first text in the event.
    places: Vec<usize>,
}

impl Run<'_> {
    /// Whether the event at `event` of the buffer goes, see [`Filter::decide`].
    pub fn decide(&mut self, event: Range<usize>, identity: u64, offset: u64) -> Decision {
        let filter = self.filter;
        let may_match = self.look(&event);
        if let Some(keep) = &filter.keep
            && !self.is_match(0, keep, &event, may_match)
        {
            return Decision::Dropped(KEEP);
        }
        // Most events have nothing that a drop needs.
        let needs = filter.needs.as_ref();
        if may_match != 0 || !needs.is_some_and(|needs| needs.have_drops) {
            for (place, drop) in filter.drops.iter().enumerate() {
                if self.is_match(place + 1, drop, &event, may_match) {
                    return Decision::Dropped(Rule(FIRST_DROP + place));
                }
            }
        }
        match &filter.sample {
            Some(sample) => {
                let event = self.buffer.get(event).unwrap_or_default();
                filter.sampled(sample, event, identity, offset)
            }
            None => Decision::Goes,
        }
    }

    /// The rules of which the event has a text.
    #[inline]
    fn look(&mut self, event: &Range<usize>) -> u64 {
        let Some(needs) = &self.filter.needs else {
            return 0;
        };
        if self.found < event.start {
            self.seek(event.start);
        }
        let mut may_match = 0;
        while self.found < event.end {
            for (place, first) in self.places.iter_mut().enumerate() {
                if self.rules & !may_match & bit(place) != 0 {
                    *first = self.found - event.start;
                }
            }
            may_match |= self.rules;
            if may_match == needs.all {
                break;
            }
            self.seek(self.found + 1);
        }
        may_match
    }

    /// Looks for the next text from `at` on.
    fn seek(&mut self, at: usize) {
        let needs = self.filter.needs.as_ref();
        let rest = self.buffer.get(at..).unwrap_or_default();
        (self.found, self.rules) = match needs.and_then(|needs| needs.searcher.find(rest)) {
            Some(found) => {
                let rules = needs.and_then(|needs| needs.rules.get(found.pattern().as_usize()));
                (at + found.start(), rules.copied().unwrap_or_default())
            }
            None => (usize::MAX, 0),
        };
    }

    fn is_match(
        &self,
        place: usize,
        pattern: &Pattern,
        event: &Range<usize>,
        may_match: u64,
    ) -> bool {
        let has_texts = self
            .filter
            .needs
            .as_ref()
            .is_some_and(|needs| needs.all & bit(place) != 0);
        let event = self.buffer.get(event.clone()).unwrap_or_default();
        match has_texts {
            false => pattern.is_match(event),
            true if may_match & bit(place) == 0 => false,
            true => pattern.is_match_about(event, self.places.get(place).copied().unwrap_or(0)),
        }
    }
}

/// The bit of a rule that has texts; nothing for those beyond the first 64.
fn bit(place: usize) -> u64 {
    1u64.checked_shl(place as u32).unwrap_or(0)
}

/// One event in so many, of all or of those that a regex matches.
///
/// By a hash of identity and offset: an event that is sent again after a restart is picked again, and an event's fate does
/// not hang on its neighbours'. It knows nothing of trace ids: of two lines of one request each has its own fate.
#[derive(Debug, Clone)]
pub struct Sample {
    one_in: NonZeroU32,
    of: Option<Pattern>,
}

impl Sample {
    /// Reads `1/N` or `1/N REGEX`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (fraction, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let number = fraction.strip_prefix("1/").filter(|number| {
            number.len() <= 10 && number.bytes().all(|digit| digit.is_ascii_digit())
        });
        let one_in = number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| PatternError {
                at: 0,
                words: format!(
                    "'{fraction}' is no sample: 1/10, or 1/10 and a regex for the events that it thins out"
                ),
            })?;
        let pattern = rest.trim_start();
        let of = match pattern.is_empty() {
            true => None,
            false => Some(Pattern::new(pattern).map_err(|error| PatternError {
                at: text.len() - pattern.len() + error.at,
                words: error.words,
            })?),
        };
        Ok(Self { one_in, of })
    }

    fn picks(&self, event: &[u8], identity: u64, offset: u64) -> bool {
        // The hash costs less than the regex, and settles most.
        is_picked(identity, offset, self.one_in)
            || self.of.as_ref().is_some_and(|of| !of.is_match(event))
    }
}

/// Uniform over the events: the upper half of hash x N is the hash's place among N equal parts.
fn is_picked(identity: u64, offset: u64, one_in: NonZeroU32) -> bool {
    let hash = mix(mix(identity).wrapping_add(offset));
    (u128::from(hash) * u128::from(one_in.get())) >> 64 == 0
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit in changes half of those out.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const KEEP: Rule = Rule(0);
const SAMPLE: Rule = Rule(1);
const FIRST_DROP: usize = 2;
/// So many texts are looked for at once about as fast as one.
const MOST_TEXTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect(text)
    }

    fn dropped_by(filter: &Filter, event: &str) -> Option<String> {
        match filter.decide(event.as_bytes(), 7, 0) {
            Decision::Goes => None,
            Decision::Dropped(rule) => Some(filter.names()[rule.index()].to_string()),
        }
    }

    #[test]
    fn the_first_rule_that_has_an_answer_counts() {
        let drops = vec![
            ("drop".into(), pattern("DEBUG")),
            ("drop.health".into(), pattern("GET /(health|ready)")),
        ];
        let filter = Filter::new(Some(pattern("^[A-Z]")), drops, None);
        assert_eq!(dropped_by(&filter, "INFO GET /orders"), None);
        assert_eq!(dropped_by(&filter, "info DEBUG"), Some("keep".into()));
        assert_eq!(
            dropped_by(&filter, "DEBUG GET /health"),
            Some("drop".into())
        );
        assert_eq!(
            dropped_by(&filter, "INFO GET /ready"),
            Some("drop.health".into())
        );
        assert!(!filter.is_empty() && Filter::default().is_empty());
        assert_eq!(dropped_by(&Filter::default(), "x"), None);
    }

    #[test]
    fn a_run_decides_as_event_by_event() {
        let texts = [
            "GET /(health|ready)",
            "\" [45]\\d\\d ",
            "^a",
            "b$",
            "(?i)error",
            "x.*y",
            "\n",
            "aab|ba",
            "",
            "zzz",
            "ERROR",
            "(?-i:ERR)",
            "ERRORx?b",
            "(?:GET /|\" )h",
        ];
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut any = || match texts[random.usize(0..texts.len())] {
                "" => None,
                text => Some(pattern(text)),
            };
            let keep = any();
            let drops = [any(), any()].into_iter().flatten();
            let filter = Filter::new(
                keep,
                drops.map(|drop| ("drop".into(), drop)).collect(),
                None,
            );
            let parts = [
                "a", "b", "\n", "GET /", "health", "\" 40", "4 ", "ERROR", "x", "y", "zz", " ",
            ];
            let buffer: String = (0..60)
                .map(|_| parts[random.usize(0..parts.len())])
                .collect();
            let mut run = filter.run(buffer.as_bytes());
            let mut start = 0;
            while start < buffer.len() {
                let end = (start + random.usize(0..20)).min(buffer.len());
                let alone = filter.decide(&buffer.as_bytes()[start..end], 0, 0);
                assert_eq!(
                    run.decide(start..end, 0, 0),
                    alone,
                    "{seed} {start}..{end} {filter:?} {buffer}"
                );
                start = end + random.usize(0..3);
            }
        }
    }

    #[test]
    fn keep_of_an_error_keeps_its_frames_and_a_drop_takes_them_along() {
        let event = "ERROR order 7\njava.lang.Error\n\tat a.B(C.java:4)";
        let keeps = Filter::new(Some(pattern("ERROR")), Vec::new(), None);
        assert_eq!(dropped_by(&keeps, event), None);
        let drops = |text| Filter::new(None, vec![("drop".into(), pattern(text))], None);
        assert_eq!(dropped_by(&drops(r"^\tat"), event), None);
        assert!(dropped_by(&drops(r"(?m)^\tat"), event).is_some());
    }

    #[test]
    fn a_sample_is_uniform_and_picks_the_same_again() {
        for text in ["1/10", "1/7", "1/1000"] {
            let sample = Sample::parse(text).expect(text);
            let expected = 200_000 / usize::try_from(sample.one_in.get()).expect("fits");
            for (identity, step) in [(1, 100), (2, 1), (u64::MAX, 4096)] {
                let picked: Vec<u64> = (0..200_000_u64)
                    .map(|event| event * step)
                    .filter(|&offset| sample.picks(b"", identity, offset))
                    .collect();
                let again = picked
                    .iter()
                    .all(|&offset| sample.picks(b"", identity, offset));
                let deviation = (expected as f64).sqrt() * 4.0;
                let is_near = (picked.len() as f64 - expected as f64).abs() < deviation;
                assert!(again && is_near, "{text}: {}", picked.len());
            }
        }
        let all = Sample::parse("1/1").expect("all");
        assert!((0..1000).all(|offset| all.picks(b"", 3, offset)));
    }

    #[test]
    fn a_sample_with_a_regex_thins_out_its_events_alone() {
        let sample = Sample::parse("1/1000  \" 200 ").expect("a sample");
        let filter = Filter::new(None, Vec::new(), Some(sample));
        let went = |event: &[u8]| {
            let goes = |offset: &u64| filter.decide(event, 1, *offset) == Decision::Goes;
            (0..10_000).filter(goes).count()
        };
        assert_eq!(went(b"GET / HTTP/1.1\" 500 7"), 10_000);
        assert!((1..40).contains(&went(b"GET / HTTP/1.1\" 200 7")));
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for text in [
            "",
            "10",
            "2/10",
            "1/0",
            "1/",
            "1/x",
            "1/-5",
            "1/+5",
            "10%",
            "1/99999999999",
            "1 /10",
        ] {
            let error = Sample::parse(text).expect_err(text);
            assert!(error.words.contains("is no sample"), "{text}: {error}");
        }
        let error = Sample::parse("1/10  GET (").expect_err("open");
        assert_eq!(
            (error.at, error.words.as_str()),
            (10, "the regex does not end: '(' has no ')'")
        );
    }
}
