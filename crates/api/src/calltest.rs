//! `CallTest`: one run of a test definition. The spec is the one shape of a test definition; the
//! command line and the REST API read the same one.

mod dialog;
mod load;
mod rate;
mod registrar;
mod scenario;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use dialog::{Answer, Dtmf, Header, Refresher, Reliable, SessionTimer, SessionTimerMode};
pub use load::{Load, RampPoint, Step};
pub use rate::{InvalidRate, Rate};
pub use registrar::{CaRef, Connection, Registrar, SipOverUdp, Tls, TlsVerify, Transport};
pub use scenario::{Action, Do, Event, When};
pub use status::{CallTestStatus, ExpectStatus, GroupStatus, PartialReason, RunPhase, Verdict};

use crate::Duration;

/// A test definition: groups of endpoints that call each other for a time, and what is expected of
/// the measurements.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "callmeter.io",
    version = "v1alpha1",
    kind = "CallTest",
    plural = "calltests",
    shortname = "cmt",
    category = "callmeter",
    namespaced,
    status = "CallTestStatus",
    derive = "PartialEq",
    doc = "One run of a call test: the gateway places it on workers, runs it and reports here.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name: at most 63 characters"),
    validation = Rule::new("self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.run)")
        .message("spec: immutable once the test is accepted; make another CallTest"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Endpoints", type_ = "integer", json_path = ".status.endpoints"),
    printcolumn(name = "Calls", type_ = "integer", json_path = ".status.calls"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "MOS", type_ = "string", json_path = ".status.mos"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.run", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = Rule::new("duration(self.duration) >= duration('1s') && duration(self.duration) <= duration('24h')")
        .message("spec.duration: from 1s to 24h"),
    validation = Rule::new("duration(self.queueTimeout) <= duration('24h')")
        .message("spec.queueTimeout: at most 24h"),
    validation = Rule::new("self.groups.all(g, !has(g.target) || !has(g.target.group) || self.groups.exists(h, h.name == g.target.group && h.role != 'caller'))")
        .message("spec.groups[].target.group: names a group of this test with the role callee or both"),
)]
#[serde(rename_all = "camelCase")]
pub struct CallTestSpec {
    /// How long the run lasts, from its start: 1s to 24h.
    pub duration: Duration,
    /// How long the test may wait for capacity, at most 24h; past it, it ends as
    /// `CANNOT_RUN_FOR_NOW`.
    #[serde(default = "default_queue_timeout")]
    pub queue_timeout: Duration,
    /// The groups of endpoints, by name.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub groups: Vec<Group>,
    /// Bounds on the measurements; all hold: the run has passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub expect: Vec<Expect>,
}

const fn default_queue_timeout() -> Duration {
    Duration::from_secs(600)
}

/// Endpoints that all do the same.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.role == 'callee' || (has(self.target) && !has(self.target.external))")
        .message("target: a caller (role caller or both) needs target.group or target.uri"),
    validation = Rule::new("self.role != 'callee' || !has(self.target) || has(self.target.external)")
        .message("target: a callee dials nobody; only target.external is accepted with role callee"),
    validation = Rule::new("!has(self.target) || !has(self.target.group) || self.target.group != self.name || self.endpoints > 1")
        .message("target.group: nobody calls himself; its own group only with endpoints 2 or more"),
    validation = Rule::new("!has(self.registrar) || (has(self.registrar.register) && !self.registrar.register) || has(self.accounts)")
        .message("accounts: required to register at registrar.domain; or set registrar.register to false"),
    validation = Rule::new("self.role == 'caller' || !has(self.registrar) || !has(self.registrar.register) || self.registrar.register || !has(self.registrar.transport) || !(self.registrar.transport in ['tls', 'wss']) || (has(self.registrar.tls) && has(self.registrar.tls.serverCertRef))")
        .message("registrar.tls.serverCertRef: required where calls are taken by tls or wss without registering"),
    validation = Rule::new("self.role != 'both' || has(self.registrar) || !has(self.target) || !has(self.target.uri) || !self.target.uri.matches('(?i)^sips:|^sip:([^@]*@)?[^@]*;transport=(tls|wss)(;[^@]*)?$')")
        .message("registrar.tls.serverCertRef: required where calls are taken by tls or wss, which target.uri says without a registrar"),
    validation = Rule::new("self.role == 'caller' || !has(self.registrar) || !has(self.registrar.register) || self.registrar.register || !has(self.registrar.connection) || self.registrar.connection == 'shared'")
        .message("registrar.connection: shared where calls are taken without registering"),
    validation = Rule::new("!has(self.answer) || self.role != 'caller'")
        .message("answer: only with role callee or both"),
    validation = Rule::new("!has(self.scenario) || !self.scenario.exists(a, a.do == 'reRegister') || (has(self.registrar) && (!has(self.registrar.register) || self.registrar.register))")
        .message("scenario[].do: reRegister needs a registrar that the group registers at"),
    validation = Rule::new("!has(self.load) || ((!has(self.load.concurrency) || self.load.concurrency <= self.endpoints) && (!has(self.load.steps) || self.load.steps.all(s, !has(s.concurrency) || s.concurrency <= self.endpoints)))")
        .message("load: concurrency is at most the endpoints of the group"),
    validation = Rule::new("!has(self.load) || !(has(self.load.ramp) || has(self.load.steps)) || !has(self.call) || !has(self.call.repeat) || self.call.repeat")
        .message("call.repeat: not false with load.ramp or load.steps, which say when calls are placed"),
)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Name of the group within the test.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// How many endpoints the group has, 1 to 100000.
    #[schemars(range(min = 1, max = 100_000))]
    pub endpoints: u32,
    /// Where the endpoints run; absent: the gateway chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What the endpoints do.
    pub role: Role,
    /// Whom callers dial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Where endpoints register and how SIP travels; absent: calls go straight to the peer, by the
    /// transport of what is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<Registrar>,
    /// The SIP accounts, one per endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Accounts>,
    /// The audio that is sent; absent: pcma, 20ms, DSCP 46.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,
    /// When the callers call; absent: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// How long calls ring and last, and whether they are repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// What callees answer; absent: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Session timers (RFC 4028); absent: disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timer: Option<SessionTimer>,
    /// Reliable provisional responses (RFC 3262); absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reliable")]
    pub reliable: Option<Reliable>,
    /// Header fields added to every INVITE that starts a dialog; at most 16384 bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub headers: Option<Vec<Header>>,
    /// How digits are sent; absent: rfc4733.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtmf: Option<Dtmf>,
    /// Whether digest challenges inside dialogs are answered, too; absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_in_dialog: Option<bool>,
    /// Whether endpoints do what a REFER of their peer asks for; absent: yes, but not in a group
    /// with `target: {external: true}`, whose calls come from anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_transfers: Option<bool>,
    /// What endpoints do within a call, at most 30 actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub scenario: Option<Vec<Action>>,
}

/// What the endpoints of a group do.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Places calls.
    Caller,
    /// Answers calls.
    Callee,
    /// Does both.
    Both,
}

/// Where endpoints run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// A `WorkerPool`: `name` in the namespace of the test, or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub pool: Option<String>,
}

/// Whom callers dial, or that a callee takes calls from outside the test: exactly one field.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("(has(self.group) ? 1 : 0) + (has(self.uri) ? 1 : 0) + (has(self.external) ? 1 : 0) == 1")
    .message("target: exactly one of group, uri, external"))]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// A group of this test: caller i dials callee i modulo the size of that group; with
    /// `load.concurrency` the callers of each worker have callees of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub group: Option<String>,
    /// A SIP or SIPS URI that all callers dial, like `sip:100@pbx.example;transport=tcp`. Without a
    /// registrar it says the transport, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 255), regex(pattern = r"^sips?:[^\s<>]+$"))]
    pub uri: Option<String>,
    /// The callees take calls from anyone: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [true]))]
    pub external: Option<bool>,
}

/// SIP accounts of a group. A test is read by many and kept in Git, so it holds a reference only.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Accounts {
    /// A Secret of the test's namespace with the key `accounts.csv`: lines of
    /// `user,password[,authUser[,realm]]`.
    pub secret_ref: SecretRef,
    /// The first row used, counted from 1; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub first: Option<u32>,
}

/// A Secret by name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// What a group sends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("!has(self.ptime) || self.ptime in ['10ms', '20ms', '30ms', '40ms', '60ms']")
    .message("audio.ptime: one of 10ms, 20ms, 30ms, 40ms, 60ms"))]
#[serde(rename_all = "camelCase")]
pub struct Audio {
    /// Codec; absent: pcma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// Audio per packet; absent: 20ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptime: Option<Duration>,
    /// DSCP of sent RTP, 0 to 63; absent: 46.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 63))]
    pub dscp: Option<u8>,
}

/// An audio codec.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 A-law.
    #[default]
    Pcma,
    /// G.711 µ-law.
    Pcmu,
}

/// The calls of a group.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = Rule::new("!has(self.duration) || (duration(self.duration) >= duration('1s') && duration(self.duration) <= duration('24h'))")
        .message("call.duration: from 1s to 24h"),
    validation = Rule::new("!has(self.ringFor) || duration(self.ringFor) <= duration('180s')")
        .message("call.ringFor: at most 180s"),
)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// From the answer to the BYE; absent: until the run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// How long a callee rings before it answers; absent: it answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_for: Option<Duration>,
    /// Whether a caller calls again until the run ends; absent: false. With `load.ramp` and
    /// `load.steps` it does as the load says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<bool>,
}

/// A bound on a measured figure.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.min) || has(self.max)")
        .message("expect: min or max is required"),
    validation = Rule::new("(!has(self.min) || (self.metric == 'mos' ? self.min >= 1.0 && self.min <= 5.0 : self.min >= 0.0 && self.min <= 100.0)) && (!has(self.max) || (self.metric == 'mos' ? self.max >= 1.0 && self.max <= 5.0 : self.max >= 0.0 && self.max <= 100.0))")
        .message("expect: min and max of mos are from 1 to 5, of call_success_rate from 0 to 100"),
)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// The metric.
    pub metric: ExpectMetric,
    /// Which figure of its distribution; absent: mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<Stat>,
    /// The group it is judged on; absent: the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub group: Option<String>,
    /// The least accepted value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest accepted value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Metrics a bound can be put on; the names are those of the metric catalogue.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ExpectMetric {
    /// Mean opinion score, 1 to 5.
    Mos,
    /// Calls that were answered and ended normally, in percent.
    CallSuccessRate,
}

impl ExpectMetric {
    /// Key of the metric in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mos => "mos",
            Self::CallSuccessRate => "call_success_rate",
        }
    }
}

/// A figure of a distribution.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Stat {
    /// Arithmetic mean.
    #[default]
    Mean,
    /// Smallest value.
    Min,
    /// Greatest value.
    Max,
    /// 5th percentile.
    P05,
    /// Median.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
}

impl Stat {
    /// Name as written in a definition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::P05 => "p05",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}
