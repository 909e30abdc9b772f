//! What an engine hands out.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use callmeter_metrics::{MetricId, RowDirection};
use callmeter_sip::{EndpointKey, Flow};

use crate::assign::ShareId;
use crate::media::MediaCommand;

/// Why a host cannot be called; the texts are for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// Its name has no address, or none that was found in time.
    Unknown(String),
    /// The server at its address has a certificate for other names (RFC 5922 §7.2).
    Misnamed(String),
}

/// One thing to do for the caller, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Put a SIP message on the wire from the share's port (`flow.local`). If that fails, say so
    /// with [`crate::Engine::transport_error`].
    Transmit {
        /// From where to where.
        flow: Flow,
        /// The whole message.
        bytes: Bytes,
        /// The endpoint it is for, where there is one.
        endpoint: Option<EndpointKey>,
    },
    /// The peer of a connection answers keep-alives: one without an answer ends it.
    KeepAlive {
        /// The connection.
        flow: Flow,
        /// One is due whenever nothing has been sent for this time; none: as configured.
        every: Option<Duration>,
    },
    /// Give a command to the media thread that owns the stream.
    Media(MediaCommand),
    /// Resolve a host name and answer with [`crate::Engine::handle_resolved`].
    Resolve {
        /// Who asks.
        share: ShareId,
        /// The name.
        host: String,
    },
    /// Something happened to an endpoint.
    Event(EndpointEvent),
    /// What the endpoints of a share measured in one second. A second may come in several parts.
    Rows {
        /// The share.
        share: ShareId,
        /// Seconds since its start; figures of the registration are in second 0.
        second: u32,
        /// Its rows; each (endpoint, call, direction, `per_call`) once per second.
        rows: Vec<SampleRow>,
    },
    /// The share is over: no more events and rows. Its port stays for late requests.
    ShareEnded {
        /// The share.
        share: ShareId,
        /// What it did.
        totals: ShareTotals,
    },
    /// 32 s after the end: nothing of the share is left, its port is free.
    ShareClosed {
        /// The share.
        share: ShareId,
    },
}

/// A state change of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointEvent {
    /// Its share.
    pub share: ShareId,
    /// Index within the group.
    pub endpoint: u32,
    /// 0 outside calls; calls count from 1.
    pub call: u32,
    /// What happened.
    pub what: What,
    /// Time since the share was received.
    pub at: Duration,
}

/// What happened to an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Registered or, without registrar, listening.
    Ready {
        /// SIP URI under which the endpoint can be reached directly.
        contact: String,
        /// Address of record when registered, else empty.
        aor: String,
    },
    /// The endpoint (call 0) or its call entered a phase; only forward within a call.
    Phase(Phase),
    /// A call is over.
    CallEnded {
        /// How it ended.
        outcome: Outcome,
        /// Final status of its INVITE, received or sent; `None` if there was none.
        sip_status: Option<u16>,
        /// What happened, for people.
        detail: String,
        /// Whether the endpoint placed it.
        outgoing: bool,
        /// Whether it was answered and ended by a BYE that came or was answered 2xx.
        completed: bool,
    },
    /// The endpoint has done all it will do.
    Ended {
        /// Worst outcome of its calls, or why it never called; `None`: nothing to judge.
        outcome: Option<Outcome>,
        /// What happened, for people.
        detail: String,
    },
}

/// Phases of an endpoint (product-facts §1.2), in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The share was received.
    Initializing,
    /// The registrar accepted it.
    Registered,
    /// The INVITE is on its way.
    Calling,
    /// The far end (or the endpoint itself) rings.
    Ringing,
    /// Answered; media is being set up.
    Negotiating,
    /// Media runs.
    InCall,
    /// A BYE or CANCEL is on its way.
    Disconnecting,
    /// Over.
    Closed,
}

/// How a call or endpoint ended (product-facts §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// As planned.
    Success,
    /// As planned but for something worth a look.
    CompletedWithWarnings,
    /// The registrar refused or did not answer.
    RegistrationFailed,
    /// The call was refused, or never placed.
    CallFailed,
    /// No common media.
    NegotiationFailed,
    /// No answer in time, or cut by a deadline.
    Timeout,
    /// The operating system refused (ports, names).
    OsError,
    /// The end was not confirmed.
    TeardownError,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::CompletedWithWarnings,
        Self::RegistrationFailed,
        Self::CallFailed,
        Self::NegotiationFailed,
        Self::Timeout,
        Self::OsError,
        Self::TeardownError,
    ];

    /// 0 success, 1 warnings, 10 failures.
    pub fn severity(self) -> u32 {
        match self {
            Self::Success => 0,
            Self::CompletedWithWarnings => 1,
            _ => 10,
        }
    }

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::CompletedWithWarnings => "COMPLETED_WITH_WARNINGS",
            Self::RegistrationFailed => "REGISTRATION_FAILED",
            Self::CallFailed => "CALL_FAILED",
            Self::NegotiationFailed => "NEGOTIATION_FAILED",
            Self::Timeout => "TIMEOUT",
            Self::OsError => "OSERROR",
            Self::TeardownError => "TEARDOWN_ERROR",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An outcome that is set once, unless a worse one comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    outcome: Option<Outcome>,
    detail: String,
}

impl Verdict {
    pub(crate) fn raise(&mut self, outcome: Outcome, detail: impl Into<String>) {
        if self
            .outcome
            .is_none_or(|held| outcome.severity() > held.severity())
        {
            self.outcome = Some(outcome);
            self.detail = detail.into();
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

/// What one endpoint measured in one second, or the figures of a call that ended in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// Index within the group.
    pub endpoint: u32,
    /// The call, or the last one, or 0 before the first.
    pub call: u32,
    /// The direction of its metrics.
    pub direction: RowDirection,
    /// Figures of a call (or, call 0, of the registration or an OPTIONS) that just ended.
    pub per_call: bool,
    /// Its values; what was not measured is absent.
    pub values: Vec<MetricValue>,
    /// The second broke a validity limit: its figures are the generator's, not the network's.
    pub generator_limited: bool,
    /// The delay inputs of the E-model hold our own parts only: RTT is not known yet.
    pub delay_partial: bool,
}

/// A value of a metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricValue {
    /// The metric.
    pub metric: MetricId,
    /// Its value, finite.
    pub value: f64,
}

/// What a share did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareTotals {
    /// Name of the group.
    pub group: String,
    /// Index within the group of the first endpoint.
    pub first: u32,
    /// Number of endpoints.
    pub count: u32,
    /// Calls by outcome, those that occurred.
    pub calls: Vec<(Outcome, u64)>,
    /// Sample rows per endpoint, in order.
    pub rows_per_endpoint: Vec<u64>,
    /// Calls were cut by a deadline.
    pub forced: bool,
}
