//! Periods as a policy writes them.

use std::time::Duration;

/// The longest period, in days: about a hundred years, so that adding it to a date can't overflow.
pub(crate) const MAX_DAYS: u64 = 36_500;

const HOUR_SECONDS: u64 = 60 * 60;

/// A whole number from 1 up, without sign or leading zero, and a unit: `h` (hours), `d` (days of
/// 24 hours) or `w` (weeks of 7 days). None where the text is anything else, or too long.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return None,
    };
    if number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours = number.parse::<u64>().ok()?.checked_mul(hours)?;
    (hours <= MAX_DAYS * 24).then(|| Duration::from_secs(hours * HOUR_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_days_and_weeks_are_periods() {
        assert_eq!(parse("12h"), Some(Duration::from_hours(12)));
        assert_eq!(parse("90d"), Some(Duration::from_hours(90 * 24)));
        assert_eq!(parse("2w"), Some(Duration::from_hours(14 * 24)));
        assert_eq!(parse("36500d"), Some(Duration::from_hours(MAX_DAYS * 24)));
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "d", "90", "0d", "09d", "-1d", "+1d", "1.5d", "90 d", "1y", "1m", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["36501d", "99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
