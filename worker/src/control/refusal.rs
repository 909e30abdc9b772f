//! What a gateway's refusal of the stream means (R69, R70, R71).

use callmeter_proto::{DUPLICATE_CONNECTION, INVALID_TOKEN, WORKER_DISABLED};
use tonic::{Code, Status};

/// A refusal by the gateway itself. Anything else that ends a stream is a lost connection: a proxy
/// in between may answer with the same codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is unknown, revoked or regenerated: the process ends (R69).
    InvalidToken,
    /// An admin disabled the worker: keep trying (R70).
    Disabled,
    /// Another process holds the token: keep trying (R71, R73).
    Duplicate,
    /// The protocol versions do not fit; the message names both.
    Incompatible(String),
}

impl Refusal {
    /// The refusal a status stands for, if it is one.
    pub fn of(status: &Status) -> Option<Self> {
        match (status.code(), status.message()) {
            (Code::Unauthenticated, INVALID_TOKEN) => Some(Self::InvalidToken),
            (Code::PermissionDenied, WORKER_DISABLED) => Some(Self::Disabled),
            (Code::AlreadyExists, DUPLICATE_CONNECTION) => Some(Self::Duplicate),
            (Code::FailedPrecondition, message) => Some(Self::Incompatible(message.to_owned())),
            _ => None,
        }
    }

    /// The exact text for the log.
    pub fn message(&self) -> &str {
        match self {
            Self::InvalidToken => INVALID_TOKEN,
            Self::Disabled => WORKER_DISABLED,
            Self::Duplicate => DUPLICATE_CONNECTION,
            Self::Incompatible(message) => message,
        }
    }

    /// Name for a metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::Disabled => "worker_disabled",
            Self::Duplicate => "duplicate_connection",
            Self::Incompatible(_) => "incompatible",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R69, R70, R71: only the gateway's own words are a refusal.
    #[test]
    fn refusals_are_told_by_code_and_exact_message() {
        let refused = |status: Status| Refusal::of(&status);
        assert_eq!(
            refused(Status::unauthenticated(
                "authentication failed: invalid token"
            )),
            Some(Refusal::InvalidToken)
        );
        assert_eq!(
            refused(Status::permission_denied(
                "authentication failed: worker disabled"
            )),
            Some(Refusal::Disabled)
        );
        assert_eq!(
            refused(Status::already_exists(
                "authentication failed: duplicate connection"
            )),
            Some(Refusal::Duplicate)
        );
        assert_eq!(refused(Status::unauthenticated("401 from a proxy")), None);
        assert_eq!(refused(Status::unavailable(INVALID_TOKEN)), None);
        assert_eq!(
            refused(Status::failed_precondition(
                "protocol 3, this gateway serves 1 to 2"
            )),
            Some(Refusal::Incompatible(
                "protocol 3, this gateway serves 1 to 2".into()
            ))
        );
    }
}
