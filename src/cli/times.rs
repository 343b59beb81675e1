//! Times as text: absolute, and relative to now.
//!
//! jiff rounds spans, but not to the largest unit of which there are at least two, so that is done here.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;

/// The time of the system.
pub fn now() -> Timestamp {
    Clock::system().now().wall
}

/// A time with its distance from now, such as `2026-11-24 03:51:43Z (12 min ago)`.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let distance = match (now.since(at), at.since(now)) {
        (ago, _) if ago >= Duration::from_secs(1) => format!("{} ago", length(ago)),
        (_, ahead) if ahead >= Duration::from_secs(1) => format!("in {}", length(ahead)),
        _ => "now".to_owned(),
    };
    format!("{} ({distance})", at.floor().to_string().replacen('T', " ", 1))
}

/// A duration, rounded, in the largest unit of which there are at least two.
pub fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let unit = [(86_400, "d"), (3_600, "h"), (60, "min")].into_iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{} {name}", (seconds + unit / 2) / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_and_relative() {
        let now = "2026-11-24T04:03:43.9Z".parse().unwrap();
        for (at, expected) in [
            ("2026-11-24T03:51:43Z", "2026-11-24 03:51:43Z (12 min ago)"),
            ("2026-11-24T04:03:43.25Z", "2026-11-24 04:03:43Z (now)"),
            ("2026-11-24T04:03:44Z", "2026-11-24 04:03:44Z (now)"),
            ("2026-11-24T04:03:45Z", "2026-11-24 04:03:45Z (in 1 s)"),
            ("2026-11-24T05:33:44Z", "2026-11-24 05:33:44Z (in 90 min)"),
            ("2026-11-23T03:03:43Z", "2026-11-23 03:03:43Z (25 h ago)"),
            ("2026-11-20T04:03:43Z", "2026-11-20 04:03:43Z (4 d ago)"),
        ] {
            assert_eq!(when(at.parse().unwrap(), now), expected);
        }
    }

    #[test]
    fn a_length_has_the_largest_unit_of_which_there_are_two() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "120 min"),
            (7_200, "2 h"),
            (172_799, "48 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), expected);
        }
    }
}
