//! Seconds since 1970 as the dates that package formats want, in UTC.

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

struct Date {
    year: u64,
    /// From zero.
    month: usize,
    day: u64,
    weekday: usize,
    second_of_day: u64,
}

impl Date {
    fn of(epoch: u64) -> Self {
        let days = epoch / SECONDS_PER_DAY;
        let (mut year, mut day) = (1970, days);
        while day >= 365 + leap_days(year) {
            day -= 365 + leap_days(year);
            year += 1;
        }
        let mut month = 0;
        while day >= days_of(month, year) {
            day -= days_of(month, year);
            month += 1;
        }
        let weekday = (0..7).find(|weekday| days % 7 == *weekday as u64).unwrap_or_default();
        Self { year, month, day: day + 1, weekday, second_of_day: epoch % SECONDS_PER_DAY }
    }

    fn time(&self) -> String {
        let second = self.second_of_day;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

fn leap_days(year: u64) -> u64 {
    u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
}

fn days_of(month: usize, year: u64) -> u64 {
    match month {
        1 => 28 + leap_days(year),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// As in `2023-11-14T22:13:20Z`.
pub(super) fn rfc3339(epoch: u64) -> String {
    let date = Date::of(epoch);
    format!("{}-{:02}-{:02}T{}Z", date.year, date.month + 1, date.day, date.time())
}

/// As in `Tue, 14 Nov 2023 22:13:20 +0000`.
pub(super) fn rfc2822(epoch: u64) -> String {
    let date = Date::of(epoch);
    let (weekday, month) = (WEEKDAYS[date.weekday], MONTHS[date.month]);
    format!("{weekday}, {:02} {month} {} {} +0000", date.day, date.year, date.time())
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
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
