//! Rates as they are written in test definitions: `5/s`, `0.5/s`, `30/m`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Events per second, minute or hour, from 0 to 999999.999.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    text: String,
    per_second: f64,
}

/// A text that is no [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate; accepted: a number and /s, /m or /h, like 5/s, 0.5/s or 30/m")]
pub struct InvalidRate(String);

impl Rate {
    /// What the schema accepts.
    pub const PATTERN: &str = r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,3})?/[smh]$";

    /// Events per second.
    pub const fn per_second(&self) -> f64 {
        self.per_second
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRate(text.chars().take(32).collect());
        let (number, unit) = text.split_once('/').ok_or_else(invalid)?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str, most| {
            (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !digits(whole, 6) || !digits(fraction, 3) || leading_zero {
            return Err(invalid());
        }
        let number: f64 = number.parse().map_err(|_| invalid())?;
        Ok(Self {
            text: text.to_owned(),
            per_second: number / seconds,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": Self::PATTERN,
            "maxLength": 16,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_per_second() {
        for (text, per_second) in [
            ("5/s", 5.0),
            ("0.5/s", 0.5),
            ("30/m", 0.5),
            ("3600/h", 1.0),
            ("0/s", 0.0),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert!((rate.per_second() - per_second).abs() < 1e-12, "{text}");
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_is_accepted() {
        for text in [
            "", "5", "05/s", "00/s", "5/d", "-1/s", "1e3/s", "1./s", ".5/s", "inf/s", "1/s ",
        ] {
            let refusal = text.parse::<Rate>().unwrap_err().to_string();
            assert!(refusal.contains("5/s"), "{refusal}");
        }
    }
}
