//! What endpoints do within a call: when something happens, something is done.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// One action of a scenario.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("(self.do == 'sendDtmf') == has(self.digits)")
        .message("scenario[].digits: required with do sendDtmf, and only with it"),
    validation = Rule::new("(self.do == 'transfer') == has(self.to)")
        .message("scenario[].to: required with do transfer, and only with it"),
    validation = Rule::new("!has(self.attended) || self.do == 'transfer'")
        .message("scenario[].attended: only with do transfer"),
)]
pub struct Action {
    /// When it is done.
    pub when: When,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Do,
    /// The digits sent (`sendDtmf`): 1 to 64 of 0-9, A-D, * and #; in quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-D*#]+$"))]
    pub digits: Option<String>,
    /// The SIP URI the peer is sent to (`transfer`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 255), regex(pattern = r"^sips?:[^\s<>]+$"))]
    pub to: Option<String>,
    /// Whether the target is called first and the call then replaced (`transfer`, RFC 3891);
    /// absent: false, a blind transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attended: Option<bool>,
}

/// When an action is done: at a time, or the first time that an event happens in the call.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = Rule::new("has(self.at) != has(self.event)")
        .message("scenario[].when: exactly one of at, event"),
    validation = Rule::new("!has(self.at) || duration(self.at) <= duration('24h')")
        .message("scenario[].when.at: at most 24h"),
    validation = Rule::new("!has(self.digits) || (has(self.event) && self.event == 'dtmf')")
        .message("scenario[].when.digits: only with event dtmf"),
)]
pub struct When {
    /// From the answer, at most 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Duration>,
    /// What the peer does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// Which digits count (`dtmf`): 1 to 16 of 0-9, A-D, * and #, in quotes; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9A-D*#]+$"))]
    pub digits: Option<String>,
}

/// What the peer of a call does.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// It puts the call on hold.
    Hold,
    /// It takes the call back.
    Resume,
    /// It sends a digit.
    Dtmf,
    /// It sends an INFO request.
    Info,
    /// It refreshes the session.
    SessionRefresh,
}

/// What is done.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Do {
    /// The peer is put on hold.
    Hold,
    /// The call is taken back.
    Resume,
    /// The same media are offered under a new session version.
    MediaUpdate,
    /// `digits` are sent.
    SendDtmf,
    /// The peer is sent to `to`.
    Transfer,
    /// The call is ended.
    HangUp,
    /// The endpoint registers again.
    ReRegister,
}
