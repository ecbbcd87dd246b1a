//! Days and dates of the Gregorian calendar, without a clock and without a time zone.

/// The date of a day, counted from 1970-01-01: year, month 1 to 12, day 1 to 31.
#[inline]
pub fn date_of_day(day: i64) -> (i64, i64, i64) {
    // Years begin in March here, so the leap day is the last of its year; 146,097 days are 400 years.
    let shifted = day + DAYS_BEFORE_1970;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

/// The day of a date, counted from 1970-01-01; `None` if there is no such date.
#[inline]
pub fn day_of_date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    Some(day_unchecked(year, month, day))
}

/// The day of the `day_of_year`-th day (1 to 366) of a year; `None` if the year has no such day.
pub fn day_of_year(year: i64, day_of_year: i64) -> Option<i64> {
    let last = if is_leap(year) { 366 } else { 365 };
    (1..=last)
        .contains(&day_of_year)
        .then(|| day_unchecked(year, 1, 1) + day_of_year - 1)
}

#[inline]
fn day_unchecked(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - DAYS_BEFORE_1970
}

#[inline]
fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[inline]
fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_a_thousand_years_is_its_own_date() {
        let mut previous = date_of_day(-141_000);
        for day in -140_999..260_000 {
            let (year, month, day_of_month) = date_of_day(day);
            assert_eq!(day_of_date(year, month, day_of_month), Some(day));
            assert!((year, month, day_of_month) > previous);
            previous = (year, month, day_of_month);
        }
        assert_eq!(date_of_day(0), (1970, 1, 1));
        assert_eq!(date_of_day(20_783), (2026, 11, 26));
    }

    #[test]
    fn dates_that_do_not_exist_are_none() {
        for (year, month, day) in [
            (2026, 2, 29),
            (1900, 2, 29),
            (2026, 4, 31),
            (2026, 13, 1),
            (2026, 0, 1),
            (2026, 1, 0),
        ] {
            assert_eq!(day_of_date(year, month, day), None);
        }
        assert_eq!(day_of_year(2026, 366), None);
        assert_eq!(day_of_year(2024, 366), day_of_date(2024, 12, 31));
    }
}
