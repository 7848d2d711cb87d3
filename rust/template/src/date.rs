//! The date that templates print, pinned for a run, and Python's `strftime` over it.

/// A moment without a time zone: what `strftime_now` formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For example 2026.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60.
    pub second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Default for Moment {
    fn default() -> Self {
        Self { year: 2026, month: 1, day: 1, hour: 0, minute: 0, second: 0 }
    }
}

impl Moment {
    /// Read `YYYY-MM-DD`, with or without `THH:MM:SS` behind it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
        let mut date = date.splitn(3, '-');
        let mut time = time.splitn(3, ':');
        let moment = Self {
            year: date.next()?.parse().ok()?,
            month: date.next()?.parse().ok()?,
            day: date.next()?.parse().ok()?,
            hour: time.next()?.parse().ok()?,
            minute: time.next()?.parse().ok()?,
            second: time.next()?.parse().ok()?,
        };
        let good = (1..=12).contains(&moment.month)
            && (1..=31).contains(&moment.day)
            && moment.hour < 24
            && moment.minute < 60
            && moment.second <= 60;
        good.then_some(moment)
    }

    /// Days since 1970-01-01 in the Gregorian calendar.
    fn days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// Format as Python's `strftime` does in the C locale; None for a directive it has not.
    #[must_use]
    pub fn strftime(self, format: &str) -> Option<String> {
        let weekday = usize::try_from((self.days() + 4).rem_euclid(7)).unwrap_or(0);
        let day_name = DAYS[weekday];
        let month_name = MONTHS[usize::try_from(self.month - 1).unwrap_or(0).min(11)];
        let of_year = self.days() - Self { month: 1, day: 1, ..self }.days() + 1;
        let half = (self.hour + 11) % 12 + 1;
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next()?;
            let bare = directive == '-';
            if bare {
                directive = chars.next()?;
            }
            let two = |n: u32| if bare { n.to_string() } else { format!("{n:02}") };
            let written = match directive {
                'Y' => self.year.to_string(),
                'y' => two(u32::try_from(self.year.rem_euclid(100)).unwrap_or(0)),
                'm' => two(self.month),
                'd' => two(self.day),
                'e' => format!("{:>2}", self.day),
                'H' => two(self.hour),
                'I' => two(half),
                'M' => two(self.minute),
                'S' => two(self.second),
                'j' => format!("{of_year:03}"),
                'B' => month_name.to_owned(),
                'b' | 'h' => month_name[..3].to_owned(),
                'A' => day_name.to_owned(),
                'a' => day_name[..3].to_owned(),
                'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
                'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
                'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
                'w' => weekday.to_string(),
                '%' => "%".to_owned(),
                _ => return None,
            };
            out.push_str(&written);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_as_python_formats_them() {
        let moment = Moment::parse("2024-07-26T09:05:07").unwrap();
        assert_eq!(moment.strftime("%d %b %Y, %A %-d %B %y").unwrap(), "26 Jul 2024, Friday 26 July 24");
        assert_eq!(moment.strftime("%H:%M:%S %I %p %j %%").unwrap(), "09:05:07 09 AM 208 %");
        assert_eq!(Moment::parse("2000-03-01").unwrap().strftime("%a %j").unwrap(), "Wed 061");
        assert_eq!(moment.strftime("%Q"), None);
        assert_eq!(Moment::parse("2024-13-01"), None);
    }
}
