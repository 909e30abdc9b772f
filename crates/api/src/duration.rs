//! Durations as they are written in resources: `90s`, `500ms`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration of whole milliseconds, written as numbers with the units `h`, `m`, `s` and `ms` in
/// this order; the same text is a duration to CEL and to Go programs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(time::Duration);

/// A text that is no [`Duration`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration; accepted: numbers with the units h, m, s, ms in this order, like 90s, 500ms or 1h30m"
)]
pub struct InvalidDuration(String);

impl Duration {
    /// What the schema accepts; the parser accepts the same.
    pub const PATTERN: &str = "^([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$";

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// A duration of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(milliseconds))
    }

    /// As the standard library's type.
    pub const fn std(self) -> time::Duration {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        // At most 10^6 h + 10^8 m + 2·10^9 s: far below 2^64 ms.
        self.0.as_millis() as u64
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.chars().take(32).collect());
        let mut rest = text;
        let mut milliseconds = 0_u64;
        for (unit, digits, factor) in [
            ("h", 6, 3_600_000),
            ("m", 8, 60_000),
            ("s", 9, 1000),
            ("ms", 9, 1),
        ] {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(length);
            let unit_length = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            if length == 0 || tail.get(..unit_length) != Some(unit) {
                continue;
            }
            if length > digits {
                return Err(invalid());
            }
            let number: u64 = number.parse().map_err(|_| invalid())?;
            milliseconds += number * factor;
            rest = &tail[unit_length..];
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(invalid());
        }
        Ok(Self::from_millis(milliseconds))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.as_millis();
        if total == 0 {
            return f.write_str("0s");
        }
        for (unit, amount) in [
            ("h", total / 3_600_000),
            ("m", total / 60_000 % 60),
            ("s", total / 1000 % 60),
            ("ms", total % 1000),
        ] {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": Self::PATTERN,
            "minLength": 2,
            "maxLength": 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_unit_are_read() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("60s", 60_000),
            ("90s", 90_000),
            ("20m", 1_200_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            (
                "999999h99999999m999999999s999999999ms",
                999_999 * 3_600_000 + 99_999_999 * 60_000 + 999_999_999 * 1000 + 999_999_999,
            ),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_is_accepted() {
        for text in [
            "", "5", "s", "1d", "1.5s", "-1s", "1s1m", "1 s", "1S", "1s ", "0000000h", "1msm", "ms",
        ] {
            let refusal = text.parse::<Duration>().unwrap_err().to_string();
            assert!(
                refusal.contains(&format!("`{text}`")) && refusal.contains("90s"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for milliseconds in [
            0, 1, 999, 1000, 59_999, 60_000, 3_600_000, 86_400_000, 5_400_500,
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
