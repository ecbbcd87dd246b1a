//! How much of a file goes in a second: `rate_limit`.
//!
//! The file is the buffer: what is beyond the rate waits there, unless `drop` says otherwise.

use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A rate, and what happens to what is beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many in a second.
    pub per_second: NonZeroU64,
    /// Of what.
    pub unit: Unit,
    /// What is beyond it.
    pub excess: Excess,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events.
    Events,
    /// Bytes of the file.
    Bytes,
}

/// What happens to events beyond the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// They wait in the file.
    Waits,
    /// They are dropped, and counted.
    Dropped,
}

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateError {
    /// What is wrong, and what to write instead.
    pub words: String,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for RateError {}

impl Rate {
    /// The largest rate that is taken; more is no limit.
    pub const MAX_PER_SECOND: u64 = 1 << 40;

    /// Reads `100/s` or `5MiB/s`, either followed by `drop`.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let error = |words: String| Err(RateError { words });
        let (amount, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let excess = match rest.trim_start() {
            "" => Excess::Waits,
            "drop" => Excess::Dropped,
            other => {
                return error(format!(
                    "'{other}' after the rate: only 'drop' can be there"
                ));
            }
        };
        let Some(amount) = amount.strip_suffix("/s") else {
            return error(format!("'{amount}' is no rate: {FORMS}"));
        };
        let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = amount.split_at_checked(digits).unwrap_or((amount, ""));
        if number.is_empty() {
            return error(format!("'{text}' is no rate: {FORMS}"));
        }
        let Some(&(_, unit, factor)) = UNITS.iter().find(|(name, ..)| *name == unit) else {
            return error(format!("unknown unit '{unit}': {FORMS}"));
        };
        let per_second = number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(factor));
        match per_second.and_then(NonZeroU64::new) {
            Some(per_second) if per_second.get() <= Self::MAX_PER_SECOND => Ok(Self {
                per_second,
                unit,
                excess,
            }),
            _ => error(format!("'{text}' is no rate: from 1/s to 1024GiB/s")),
        }
    }
}

/// What is left of a file's rate: a bucket that holds what one second gives.
///
/// An event larger than the bucket goes when the bucket is full, and what it took too much is waited for afterwards, so the
/// rate is kept over any length of time. All is counted in whole billionths, so nothing is lost by rounding.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// What lacks in the bucket, in billionths.
    missing: u128,
    as_of: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            missing: 0,
            as_of: now,
        }
    }

    /// The rate that it keeps to.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How much goes now, in what the rate counts: at least a tenth of what a second gives, so that it does not go in
    /// crumbs; otherwise how long to wait for that.
    pub fn available(&mut self, now: Instant) -> Result<u64, Duration> {
        let per_second = u128::from(self.rate.per_second.get());
        self.refill(now);
        let full = per_second * BILLION;
        let share = (per_second / 10).max(1) * BILLION;
        let room = full.saturating_sub(self.missing);
        match room < share {
            false => Ok(u64::try_from(room / BILLION).unwrap_or(u64::MAX)),
            true => {
                let beyond = (self.missing + share - full).div_ceil(per_second);
                Err(Duration::from_nanos(
                    u64::try_from(beyond).unwrap_or(u64::MAX),
                ))
            }
        }
    }

    /// Takes what these events cost, which went already.
    pub fn charge(&mut self, now: Instant, events: u64, bytes: u64) {
        self.refill(now);
        self.missing += self.cost(events, bytes);
    }

    /// Takes what these events cost, all or nothing; otherwise says how long to wait before asking again. With
    /// [`Excess::Dropped`] that means: drop them.
    ///
    /// `now` may be the same for all events of a read. A clock that goes back stands still.
    pub fn take(&mut self, now: Instant, events: u64, bytes: u64) -> Result<(), Duration> {
        let per_second = u128::from(self.rate.per_second.get());
        self.refill(now);
        let cost = self.cost(events, bytes);
        let full = per_second * BILLION;
        match (self.missing + cost.min(full)).checked_sub(full) {
            None | Some(0) => {
                self.missing += cost;
                Ok(())
            }
            Some(beyond) => Err(Duration::from_nanos(
                u64::try_from(beyond.div_ceil(per_second)).unwrap_or(u64::MAX),
            )),
        }
    }

    fn refill(&mut self, now: Instant) {
        let per_second = u128::from(self.rate.per_second.get());
        if let Some(elapsed) = now.checked_duration_since(self.as_of) {
            self.missing = self.missing.saturating_sub(elapsed.as_nanos() * per_second);
            self.as_of = now;
        }
    }

    /// In billionths.
    fn cost(&self, events: u64, bytes: u64) -> u128 {
        let counted = match self.rate.unit {
            Unit::Events => events,
            Unit::Bytes => bytes,
        };
        BILLION * u128::from(counted)
    }
}

const FORMS: &str = "100/s for events, 5MiB/s for bytes (B, KiB, MiB, GiB), with 'drop' behind it if what is beyond may be dropped";
const UNITS: [(&str, Unit, u64); 5] = [
    ("", Unit::Events, 1),
    ("B", Unit::Bytes, 1),
    ("KiB", Unit::Bytes, 1 << 10),
    ("MiB", Unit::Bytes, 1 << 20),
    ("GiB", Unit::Bytes, 1 << 30),
];
const BILLION: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: &str, now: Instant) -> Bucket {
        Bucket::new(Rate::parse(rate).expect(rate), now)
    }

    #[test]
    fn rates_are_read() {
        for (text, per_second, unit, excess) in [
            ("100/s", 100, Unit::Events, Excess::Waits),
            ("5MiB/s drop", 5 << 20, Unit::Bytes, Excess::Dropped),
            ("512KiB/s", 512 << 10, Unit::Bytes, Excess::Waits),
            ("1B/s  drop", 1, Unit::Bytes, Excess::Dropped),
            ("1024GiB/s", 1 << 40, Unit::Bytes, Excess::Waits),
        ] {
            let rate = Rate::parse(text).expect(text);
            let read = (rate.per_second.get(), rate.unit, rate.excess);
            assert_eq!(read, (per_second, unit, excess), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_in_words() {
        for (text, words) in [
            ("", "'' is no rate: 100/s"),
            ("100", "'100' is no rate: 100/s"),
            ("/s", "'/s' is no rate: 100/s"),
            ("5MB/s", "unknown unit 'MB'"),
            ("5 MiB/s", "'MiB/s' after the rate: only 'drop'"),
            ("5MiB/m", "is no rate"),
            ("0/s", "from 1/s"),
            ("1025GiB/s", "from 1/s"),
            ("99999999999999999999/s", "from 1/s"),
            ("100/s wait", "'wait' after the rate"),
            ("-1/s", "is no rate"),
            ("KiB/s", "is no rate: 100/s"),
        ] {
            let error = Rate::parse(text).expect_err(text);
            assert!(error.words.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_second_s_worth_goes_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = bucket("100/s", start);
        assert!((0..100).all(|_| bucket.take(start, 1, 999).is_ok()));
        assert_eq!(bucket.take(start, 1, 0), Err(Duration::from_millis(10)));
        let later = start + Duration::from_millis(10);
        assert_eq!(bucket.take(later, 1, 0), Ok(()));
        assert_eq!(bucket.take(later, 1, 0), Err(Duration::from_millis(10)));
        // A long pause saves up one second's worth, not more.
        let pause = later + Duration::from_secs(3600);
        assert_eq!(
            (0..500)
                .filter(|_| bucket.take(pause, 1, 0).is_ok())
                .count(),
            100
        );
        // A clock that goes back gives nothing and takes nothing.
        assert!(bucket.take(start, 1, 0).is_err());
    }

    #[test]
    fn an_event_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = bucket("1KiB/s", start);
        assert_eq!(bucket.take(start, 1, 1), Ok(()));
        let wait = bucket.take(start, 1, 10 << 10).expect_err("not full");
        assert!(wait <= Duration::from_millis(1), "{wait:?}");
        assert_eq!(bucket.take(start + wait, 1, 10 << 10), Ok(()));
        let wait = bucket.take(start + wait, 1, 1 << 10).expect_err("in debt");
        assert_eq!(wait, Duration::from_secs(10));
        assert_eq!(
            bucket
                .take(start, u64::MAX, u64::MAX)
                .expect_err("debt")
                .as_secs(),
            10
        );
    }

    #[test]
    fn what_went_already_is_waited_for_before_more_goes() {
        let start = Instant::now();
        let mut bucket = bucket("50/s", start);
        assert_eq!(bucket.available(start), Ok(50));
        bucket.charge(start, 50, 999);
        let wait = bucket.available(start).expect_err("it is empty");
        assert_eq!(wait, Duration::from_millis(100), "for five");
        assert_eq!(bucket.available(start + wait), Ok(5));
        // One that was larger than allowed.
        bucket.charge(start + wait, 105, 999);
        assert_eq!(
            bucket.available(start + wait),
            Err(Duration::from_millis(2100))
        );
        let mut bucket = self::bucket("1/s", start);
        bucket.charge(start, 1, 0);
        assert_eq!(bucket.available(start), Err(Duration::from_secs(1)));
    }

    #[test]
    fn the_rate_is_kept_over_a_long_time_whatever_the_sizes() {
        let mut random = fastrand::Rng::with_seed(5);
        for text in ["7/s", "999983/s", "3KiB/s", "5GiB/s"] {
            let start = Instant::now();
            let mut bucket = bucket(text, start);
            let per_second = bucket.rate().per_second.get();
            let (mut now, mut went) = (start, 0_u128);
            for _ in 0..20_000 {
                let cost = random.u64(1..=per_second * 2);
                while let Err(wait) = bucket.take(now, cost, cost) {
                    now += wait;
                }
                went += u128::from(cost);
            }
            let allowed = (now - start).as_nanos() * u128::from(per_second) / BILLION;
            let spare = u128::from(per_second) * 3;
            assert!(
                went <= allowed + spare && allowed <= went + spare,
                "{text}: {went} {allowed}"
            );
        }
    }
}
