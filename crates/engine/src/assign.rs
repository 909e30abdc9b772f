//! What an engine is given to do; the plain form of `Assign` of the worker protocol.

mod headers;
mod registrar;

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use callmeter_sip::sdp::Codec;
use callmeter_sip::{Listener, LocalId, Password, Reliable, SessionTimer};

pub(crate) use registrar::outbound_proxy_uri;
pub use registrar::{Located, Registrar};

use crate::load::Load;
use crate::scenario::{Action, Scenario};

pub use headers::Header;

/// Longest name of a group, bytes.
const MOST_NAME: usize = 253;
/// Session intervals asked for; below 90 s none is allowed (RFC 4028 §5).
const SESSION_INTERVALS: RangeInclusive<Duration> =
    Duration::from_secs(90)..=Duration::from_secs(7200);

/// A share on one engine: part of one group of one run, with a SIP port of its own. The [`LocalId`]
/// of that port, and those of connections of single endpoints, name the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId(pub u32);

impl ShareId {
    /// The local transport all endpoints of the share have in common.
    pub fn local(self) -> LocalId {
        LocalId(u64::from(self.0) << 32)
    }

    /// The local transport of one endpoint alone, by its index in the share.
    pub fn local_of(self, index: u32) -> LocalId {
        LocalId(self.local().0 + 1 + u64::from(index))
    }

    /// The index of the endpoint a local transport is of alone; `None` for that of the share.
    pub(crate) fn index_of(local: LocalId) -> Option<u32> {
        (local.0 as u32).checked_sub(1)
    }

    /// The share of a local transport.
    pub fn of(local: LocalId) -> Self {
        Self((local.0 >> 32) as u32)
    }
}

/// What the endpoints of a group do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Places calls; refuses incoming ones with 480.
    Caller,
    /// Takes calls.
    Callee,
    /// Both.
    Both,
}

impl Role {
    /// Whether it places calls.
    pub fn calls(self) -> bool {
        self != Self::Callee
    }

    /// Whether it takes calls.
    pub fn answers(self) -> bool {
        self != Self::Caller
    }
}

/// Endpoints of a group placed on this engine, and what they do.
#[derive(Debug, Clone)]
pub struct Assign {
    /// The caller's key, unique among the shares the engine still knows.
    pub share: ShareId,
    /// Name of the group; repeated in rows and totals.
    pub group: String,
    /// Index within the group of the first endpoint.
    pub first: u32,
    /// Number of endpoints, at least 1.
    pub count: u32,
    /// The run: with the group and the index it names an endpoint to its registrar.
    pub run: String,
    /// What they do.
    pub role: Role,
    /// Where and how they register.
    pub registrar: Registrar,
    /// One per endpoint, or none: then the users are made up from the group's name.
    pub accounts: Vec<Account>,
    /// What each endpoint calls, or none: then `start` brings them.
    pub peers: Vec<String>,
    /// The audio of every call.
    pub audio: Audio,
    /// Least offset from the start of each endpoint's first call; none: all 0. Of no meaning with
    /// [`Load::Arrivals`].
    pub start_offsets: Vec<Duration>,
    /// When calls are placed.
    pub load: Load,
    /// How calls run.
    pub call: CallPlan,
    /// Digest challenges within dialogs are answered too.
    pub auth_in_dialog: bool,
    /// What a REFER of the far end asks for is done; else it is declined.
    pub accept_transfers: bool,
    /// Reliable provisional responses (RFC 3262).
    pub reliable: Reliable,
    /// Session timers of its calls (RFC 4028).
    pub session_timer: SessionTimer,
    /// Added to every INVITE that starts a call.
    pub headers: Vec<Header>,
    /// How digits are sent.
    pub dtmf: Dtmf,
    /// What endpoints do within their calls.
    pub scenario: Scenario,
    /// How long the run lasts from the start.
    pub duration: Duration,
    /// Calls to an unknown user go to the endpoint that has been idle longest.
    pub accept_external: bool,
    /// The share ends with outcome TIMEOUT if no start comes within this time.
    pub start_within: Duration,
    /// The share's local transport; its id must be `share.local()`.
    pub listener: Listener,
    /// One per endpoint, its id that of [`ShareId::local_of`]: each endpoint has connections of its
    /// own. None: all use `listener`.
    pub listeners: Vec<Listener>,
    /// Address written into SDP.
    pub sdp_address: IpAddr,
}

/// A SIP account.
#[derive(Debug, Clone)]
pub struct Account {
    /// User part of the address of record and of the contact.
    pub user: String,
    /// Digest password.
    pub password: Password,
    /// Digest user name; empty: the user.
    pub auth_user: String,
    /// The realm answered; empty: the one learnt from the first challenge.
    pub realm: String,
}

/// Audio of every call of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio {
    /// The only codec offered and accepted.
    pub codec: Codec,
    /// Packet time we ask for, 10 to 200 ms in steps of 10.
    pub ptime_ms: u16,
    /// DSCP of RTP and RTCP, 0 to 63.
    pub dscp: u8,
}

/// How digits are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtmf {
    /// Telephone events in RTP (RFC 4733), where the far end takes them.
    #[default]
    Rfc4733,
    /// INFO requests with `application/dtmf-relay`.
    Info,
}

/// How calls run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallPlan {
    /// From the answer to the BYE of the caller; the run's end cuts it.
    pub duration: Duration,
    /// How long a callee rings before it answers.
    pub ring: Duration,
    /// A caller calls again when its call has ended, as long as a whole call fits into the run;
    /// of [`Load::Offsets`] and [`Load::AtOnce`] only.
    pub repeat: bool,
    /// Least time between the end of a call and the next one; after a failed one at least 1 s.
    pub pause: Duration,
    /// What a callee answers after it has rung: 200, or a refusal of 300 to 699.
    pub answer_code: u16,
}

/// Why an assignment is refused: field, value (never a secret), what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value:?}; accepted: {accepted}")]
pub struct Invalid {
    /// The field.
    pub field: String,
    /// What it holds; of secrets nothing.
    pub value: String,
    /// What is accepted.
    pub accepted: &'static str,
}

impl Assign {
    /// Checks everything that can be wrong with it by itself.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let count = self.count as usize;
        let list = |len: usize| len == 0 || len == count;
        check("count", self.count, self.count > 0, "at least 1")?;
        check(
            "first",
            self.first,
            self.first.checked_add(self.count).is_some(),
            "an index that leaves room for count endpoints",
        )?;
        check(
            "group",
            self.group.len(),
            (1..=MOST_NAME).contains(&self.group.len()),
            "a name of 1 to 253 bytes",
        )?;
        check(
            "accounts",
            self.accounts.len(),
            list(self.accounts.len()),
            "none, or one per endpoint",
        )?;
        check(
            "peers",
            self.peers.len(),
            list(self.peers.len()),
            "none, or one per endpoint",
        )?;
        check(
            "load.start_offsets_ms",
            self.start_offsets.len(),
            list(self.start_offsets.len()),
            "none, or one per endpoint",
        )?;
        if let Load::AtOnce(calls) = self.load {
            check(
                "load.at_once",
                calls,
                (1..=self.count).contains(&calls),
                "1 to the endpoints of the share",
            )?;
        }
        check(
            "listener.id",
            self.listener.id.0,
            self.listener.id == self.share.local(),
            "the id of the share",
        )?;
        check(
            "listeners",
            self.listeners.len(),
            list(self.listeners.len()),
            "none, or one per endpoint",
        )?;
        for (index, listener) in self.listeners.iter().enumerate() {
            let field = format!("listeners[{index}].id");
            let right = listener.id == self.share.local_of(index as u32);
            check(&field, listener.id.0, right, "the id of the endpoint")?;
        }
        let ptime = self.audio.ptime_ms;
        let whole = (10..=200).contains(&ptime) && ptime.is_multiple_of(10);
        check("audio.ptime_ms", ptime, whole, "10 to 200 in steps of 10")?;
        check(
            "audio.dscp",
            self.audio.dscp,
            self.audio.dscp <= 63,
            "0 to 63",
        )?;
        let code = self.call.answer_code;
        let answers = code == 200 || (300..=699).contains(&code);
        check("call.answer_code", code, answers, "200, or 300 to 699")?;
        let expires = self.session_timer.expires;
        check(
            "session_timer.expires_s",
            expires.as_secs(),
            SESSION_INTERVALS.contains(&expires),
            "90 to 7200",
        )?;
        self.validate_registrar()?;
        headers::validate(&self.headers)?;
        let mut steps = self.scenario.steps().iter();
        if let Some(index) = steps.position(|step| step.action == Action::ReRegister) {
            check(
                &format!("scenario[{index}].do"),
                "re-register",
                self.registrar.register,
                "re-register only where the endpoints register",
            )?;
        }
        let mut users = HashSet::new();
        for (index, account) in self.accounts.iter().enumerate() {
            let usable = is_user(&account.user);
            check(
                &format!("accounts[{index}].user"),
                &account.user,
                usable,
                "letters, digits and -_.!~*'()&=+$,;?/ (RFC 3261 user part)",
            )?;
            check(
                &format!("accounts[{index}].user"),
                &account.user,
                users.insert(account.user.as_str()),
                "each user once",
            )?;
        }
        Ok(())
    }

    /// What endpoint `index` of the share sends from and is called on.
    pub(crate) fn listener_of(&self, index: u32) -> &Listener {
        self.listeners.get(index as usize).unwrap_or(&self.listener)
    }

    /// User part of endpoint `index` of the share.
    pub(crate) fn user(&self, index: u32) -> String {
        if let Some(account) = self.accounts.get(index as usize) {
            return account.user.clone();
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let group: String = self.group.chars().map(plain).collect();
        format!("{group}-{}", self.first + index)
    }

    /// Offset of the first call of endpoint `index` of the share.
    pub(crate) fn start_offset(&self, index: u32) -> Duration {
        self.start_offsets
            .get(index as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// RFC 3261 §25.1 `user` without escapes.
fn is_user(user: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    !user.is_empty() && user.len() <= 255 && user.bytes().all(allowed)
}

pub(crate) fn check(
    field: &str,
    value: impl std::fmt::Debug,
    right: bool,
    accepted: &'static str,
) -> Result<(), Invalid> {
    if right {
        return Ok(());
    }
    let value = format!("{value:?}").trim_matches('"').to_owned();
    Err(Invalid {
        field: field.to_owned(),
        value,
        accepted,
    })
}
