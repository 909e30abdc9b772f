//! What can go wrong in a reconcile.

/// Result of a step that may fail.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What was attempted and did not work; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request to the API server.
    #[error("{what}")]
    Kube {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request to the gateway.
    #[error("{what}")]
    Gateway {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The object cannot be acted on before it changes.
    #[error("{field}: {message}")]
    InvalidSpec {
        /// The field.
        field: &'static str,
        /// What is wrong with it and what is accepted.
        message: String,
    },
    /// Another process leads, or may lead; nothing is written.
    #[error("this process does not hold the lease")]
    NotLeader,
    /// A whole reconcile took too long.
    #[error("the reconcile took longer than {0:?}")]
    Timeout(std::time::Duration),
    /// A file of the operator's own.
    #[error("read {path}")]
    File {
        /// Which one.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err` on requests to the API server.
    pub(crate) fn kube(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kube {
            what,
            source: Box::new(source),
        }
    }

    /// For `map_err` on requests to the gateway.
    pub(crate) fn gateway(what: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |source| Self::Gateway {
            what,
            source: Box::new(source),
        }
    }

    /// Whether only a change of the object can help.
    pub(crate) const fn is_permanent(&self) -> bool {
        matches!(self, Self::InvalidSpec { .. })
    }

    /// The API server's answer, if it gave one.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kube { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// For metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Kube { .. } => "kube",
            Self::Gateway { .. } => "gateway",
            Self::InvalidSpec { .. } => "invalid",
            Self::NotLeader => "not_leader",
            Self::Timeout(_) => "timeout",
            Self::File { .. } => "file",
        }
    }

    /// The message and those of its sources in one line, for logs and conditions.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

/// The object a watch brought; one that does not fit its type is a permanent error.
pub(crate) fn readable<'a, K>(
    kind: &'static str,
    guard: &'a kube::core::DeserializeGuard<K>,
) -> Result<&'a K> {
    guard.0.as_ref().map_err(|invalid| Error::InvalidSpec {
        field: kind,
        message: invalid.error.clone(),
    })
}
