//! What the numbers of enumerated metrics stand for.

use crate::catalogue::{MetricId, id};

/// Result of a call placed, from its last final response (`call_result`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallResult {
    /// 2xx.
    Answered,
    /// 486 or 600.
    Busy,
    /// 403 or 603.
    Rejected,
    /// 408, or no final answer.
    Timeout,
    /// 487.
    Cancelled,
    /// Any other failure, 3xx included.
    Failed,
    /// 480 or 503, or the connection failed before there was an answer.
    Unavailable,
}

impl CallResult {
    /// Every result, in the order of its codes.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Busy,
        Self::Rejected,
        Self::Timeout,
        Self::Cancelled,
        Self::Failed,
        Self::Unavailable,
    ];

    /// Result of a final status (200..=699); `None` is no final answer at all although there was a
    /// way to the peer.
    pub fn from_status(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Answered,
            Some(486 | 600) => Self::Busy,
            Some(403 | 603) => Self::Rejected,
            Some(408) | None => Self::Timeout,
            Some(487) => Self::Cancelled,
            Some(480 | 503) => Self::Unavailable,
            Some(_) => Self::Failed,
        }
    }

    /// Its value in a row.
    pub fn code(self) -> u32 {
        match self {
            Self::Answered => 0,
            Self::Busy => 1,
            Self::Rejected => 2,
            Self::Timeout => 3,
            Self::Cancelled => 4,
            Self::Failed => 5,
            Self::Unavailable => 6,
        }
    }

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Name of a value of an enumerated metric; `None` for metrics whose values are plain numbers
/// (status codes are) and for values of a newer catalogue.
pub fn label(metric: MetricId, value: u32) -> Option<&'static str> {
    match (metric, value) {
        (id::CALL_RESULT, code) => CallResult::ALL
            .into_iter()
            .find(|result| result.code() == code)
            .map(CallResult::as_str),
        (id::AUDIO_CODEC, 0) => Some("pcmu"),
        (id::AUDIO_CODEC, 8) => Some("pcma"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_documented_result() {
        let table = [
            (Some(200), "answered"),
            (Some(202), "answered"),
            (Some(486), "busy"),
            (Some(600), "busy"),
            (Some(403), "rejected"),
            (Some(603), "rejected"),
            (Some(408), "timeout"),
            (None, "timeout"),
            (Some(487), "cancelled"),
            (Some(480), "unavailable"),
            (Some(503), "unavailable"),
            (Some(302), "failed"),
            (Some(404), "failed"),
            (Some(500), "failed"),
        ];
        for (status, result) in table {
            assert_eq!(
                CallResult::from_status(status).as_str(),
                result,
                "{status:?}"
            );
        }
    }

    #[test]
    fn codes_and_names_are_unique_and_found_again() {
        for (index, result) in CallResult::ALL.into_iter().enumerate() {
            assert_eq!(result.code() as usize, index);
            assert_eq!(label(id::CALL_RESULT, result.code()), Some(result.as_str()));
        }
        assert_eq!(label(id::CALL_RESULT, 7), None);
        assert_eq!(label(id::FINAL_STATUS_CODE, 200), None);
    }
}
