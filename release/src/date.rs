//! Seconds since 1970 as the dates that formats want, in UTC.

use std::time::{Duration, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The end of the year 9999: no form has later dates, so these become it.
const LAST_SECOND: u64 = 253_402_300_799;

/// As in `2023-11-14T22:13:20Z`.
pub(crate) fn rfc3339(epoch: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(epoch.min(LAST_SECOND))).to_string()
}

/// As in `Tue, 14 Nov 2023 22:13:20 +0000`.
pub(crate) fn rfc2822(epoch: u64) -> String {
    let epoch = epoch.min(LAST_SECOND);
    let numbers = rfc3339(epoch);
    let (year, month, day, time) = (&numbers[..4], &numbers[5..7], &numbers[8..10], &numbers[11..19]);
    let month = month.parse().map_or(0, |month: usize| month - 1);
    let weekday = (0..7).find(|weekday| epoch / SECONDS_PER_DAY % 7 == *weekday as u64).unwrap_or_default();
    format!("{}, {day} {} {year} {time} +0000", WEEKDAYS[weekday], MONTHS[month])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc2822(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(rfc2822(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(rfc2822(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 +0000");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc2822(u64::MAX), "Fri, 31 Dec 9999 23:59:59 +0000");
    }
}
