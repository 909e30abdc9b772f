//! Points in time as texts: Unix milliseconds in the program, RFC 3339 in everything others read.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

/// RFC 3339 with milliseconds; times no calendar holds become the start of 1970.
pub fn text(unix_ms: i64) -> String {
    let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

/// For `#[serde(with = …)]`.
pub fn serialize<S: Serializer>(unix_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*unix_ms))
}

/// For `#[serde(with = …)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<i64, D::Error> {
    let text = String::deserialize(source)?;
    text.parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct At(#[serde(with = "super")] i64);

    #[test]
    fn milliseconds_are_read_back() {
        assert_eq!(super::text(1_795_253_000_123), "2026-11-21T09:23:20.123Z");
        let json = serde_json::to_string(&At(5)).unwrap();
        assert_eq!(json, "\"1970-01-01T00:00:00.005Z\"");
        assert_eq!(serde_json::from_str::<At>(&json).unwrap(), At(5));
    }
}
