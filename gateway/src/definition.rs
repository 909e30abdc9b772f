//! Test definitions: from the text a person wrote to a [`ValidatedTest`] with typed names and every
//! default filled. The shape is [`callmeter_api::calltest::CallTestSpec`]; REST and the command
//! line accept accounts by `list` and `pattern` in addition, which never stand in a resource.

mod accounts;
mod inline;
mod load;
mod material;
mod parse;
mod plain;
mod signalling;
mod strict;
#[cfg(test)]
mod tests;
mod validate;

use std::fmt;
use std::time::Duration;

pub(crate) use accounts::of_group as accounts_of_group;
pub use accounts::{AccountError, Credentials, overlaps, read_csv};
pub use callmeter_api::calltest::{Codec, ExpectMetric, Role, Stat};
pub use inline::{InlineAccounts, SealedAccounts};
pub use load::{SETTLE, callees, rings, start_offsets, warnings};
pub use parse::{Document, Format, parse, read};
pub(crate) use parse::{plain_json, typed};
pub use signalling::{
    Action, Do, Dtmf, Event, Header, Refresher, Registrar, Reliable, SessionTimer,
    SessionTimerMode, Tls, TlsVerify, Transport, When,
};
pub(crate) use validate::is_label;
pub use validate::validate;

use crate::scheduler::Placement;

/// Everything wrong with a definition; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDefinition(Vec<Problem>);

/// One field that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, like `groups[1].call.ringFor`.
    pub field: String,
    /// The value as given and what is accepted; never a secret.
    pub message: String,
}

impl InvalidDefinition {
    fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Problem {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// The problems in the order of the definition.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for InvalidDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { field, message }) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            if field.is_empty() {
                write!(f, "{separator}definition: {message}")?;
            } else {
                write!(f, "{separator}{field}: {message}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for InvalidDefinition {}

/// A definition that can run, defaults filled.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedTest {
    /// How long the run lasts from its start.
    pub duration: Duration,
    /// How long it may wait for capacity.
    pub queue_timeout: Duration,
    /// At least one.
    pub groups: Vec<Group>,
    /// Bounds on the results.
    pub expects: Vec<Expectation>,
}

/// A group of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name, unique in the test.
    pub name: String,
    /// At least 1.
    pub endpoints: u32,
    /// Where they may run; pools as `namespace/name`.
    pub placement: Placement,
    /// What they do.
    pub role: Role,
    /// Whom callers dial; nobody for callees.
    pub target: Target,
    /// Where requests go and how; none: straight to the peer, by UDP.
    pub registrar: Option<Registrar>,
    /// Where its accounts come from.
    pub accounts: Accounts,
    /// What is sent.
    pub audio: Audio,
    /// When the callers call.
    pub load: Load,
    /// How long calls ring and last.
    pub call: Call,
    /// What callees answer: 200, or 300 to 699.
    pub answer_code: u16,
    /// Session timers; none: neither asked for nor granted.
    pub session_timer: Option<SessionTimer>,
    /// Reliable provisional responses.
    pub reliable: Reliable,
    /// Added to every INVITE that starts a dialog.
    pub headers: Vec<Header>,
    /// How digits are sent.
    pub dtmf: Dtmf,
    /// Digest challenges inside dialogs are answered, too.
    pub auth_in_dialog: bool,
    /// What a REFER of the peer asks for is done; else it is declined.
    pub accept_transfers: bool,
    /// What endpoints do within a call.
    pub scenario: Vec<Action>,
}

impl Group {
    /// Whether its endpoints take calls.
    pub fn answers(&self) -> bool {
        self.role != Role::Caller
    }

    /// Whether its endpoints place calls.
    pub fn calls(&self) -> bool {
        self.role != Role::Callee
    }

    /// Whether its callers call as the load says over time, instead of once or one call after the
    /// other: an arrival rate that holds over repeated calls, a ramp, or steps.
    pub fn calls_by_load(&self) -> bool {
        match self.load {
            Load::AllAtOnce | Load::Concurrency(_) => false,
            Load::ArrivalRate(_) => self.call.repeat,
            Load::Arrivals { .. } | Load::ConcurrencySteps(_) => true,
        }
    }

    /// Whether its endpoints register.
    pub fn registers(&self) -> bool {
        self.registrar.as_ref().is_some_and(|r| r.register)
    }
}

/// Whom a group dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nobody.
    None,
    /// Nobody; takes calls from outside the test.
    External,
    /// The group with this index: caller i dials callee i modulo its size.
    Group(usize),
    /// This SIP URI.
    Uri(String),
}

/// Where the SIP accounts of a group come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// It has none.
    None,
    /// A Secret, read at dispatch; `first` counts rows from 1.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// First row used.
        first: u32,
    },
    /// Given with the definition, one per endpoint; kept apart from it.
    Inline,
}

/// What a group sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio {
    /// Codec.
    pub codec: Codec,
    /// Audio per packet, milliseconds.
    pub ptime_ms: u32,
    /// 0..=63.
    pub dscp: u8,
}

/// When callers call.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// All at once.
    AllAtOnce,
    /// This many calls at a time.
    Concurrency(u32),
    /// New calls per second, above 0.
    ArrivalRate(f64),
    /// New calls per second over time, from the start of the run on, in order, the first at 0.
    Arrivals {
        /// From when on, and how many a second.
        points: Vec<(Duration, f64)>,
        /// Between two points the rate changes evenly; else it holds until the next one.
        ramp: bool,
    },
    /// Calls at a time over time, in order, the first at 0.
    ConcurrencySteps(Vec<(Duration, u32)>),
}

/// The calls of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// From the answer to the BYE; none: until the run ends.
    pub duration: Option<Duration>,
    /// How long a callee rings.
    pub ring_for: Duration,
    /// Whether callers call again.
    pub repeat: bool,
}

/// A bound on a measured figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// What is judged.
    pub metric: ExpectMetric,
    /// Which figure of its distribution.
    pub stat: Stat,
    /// Index of the group it is judged on; none: the whole run.
    pub group: Option<usize>,
    /// Least accepted.
    pub min: Option<f64>,
    /// Greatest accepted.
    pub max: Option<f64>,
}
