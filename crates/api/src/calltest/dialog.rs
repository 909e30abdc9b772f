//! What a group's user agents do in their dialogs.

use std::borrow::Cow;
use std::fmt;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Duration;

/// Session timers (RFC 4028).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = Rule::new("!has(self.expires) || (duration(self.expires) >= duration('90s') && duration(self.expires) <= duration('7200s') && !self.expires.matches('ms'))")
        .message("sessionTimer.expires: from 90s to 7200s, whole seconds"),
    validation = Rule::new("!has(self.mode) || self.mode != 'disabled' || (!has(self.expires) && !has(self.refresher))")
        .message("sessionTimer.mode: with disabled neither expires nor refresher is accepted"),
)]
#[serde(rename_all = "camelCase")]
pub struct SessionTimer {
    /// Absent: supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SessionTimerMode>,
    /// Session interval, 90s to 7200s; absent: 1800s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Who refreshes; absent: uac.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresher: Option<Refresher>,
}

/// Whether sessions have timers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum SessionTimerMode {
    /// They are neither asked for nor granted.
    Disabled,
    /// They are asked for, and granted to who asks.
    #[default]
    Supported,
    /// Calls without them are refused.
    Required,
}

/// Who refreshes a session.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Refresher {
    /// The caller.
    #[default]
    Uac,
    /// The callee.
    Uas,
    /// Left to the peer.
    None,
}

/// Reliable provisional responses (RFC 3262).
///
/// YAML 1.1, which kubectl reads, takes a bare `off` for the boolean false. The schema takes both,
/// so that `off` and `"off"` mean the same through kubectl and the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reliable {
    /// Neither offered nor used.
    #[default]
    Off,
    /// Offered, and used with who supports them.
    Supported,
    /// Demanded: a peer without them is refused with 421, or refuses with 420.
    Required,
}

const RELIABLE: &[&str] = &["off", "supported", "required"];

impl Reliable {
    /// Name as written in a definition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Supported => "supported",
            Self::Required => "required",
        }
    }
}

impl Serialize for Reliable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reliable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Reliable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off`, `supported` or `required`")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Reliable, E> {
                if value {
                    return Err(E::invalid_value(Unexpected::Bool(value), &self));
                }
                Ok(Reliable::Off)
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Reliable, E> {
                [Reliable::Off, Reliable::Supported, Reliable::Required]
                    .into_iter()
                    .find(|known| known.as_str() == value)
                    .ok_or_else(|| E::unknown_variant(value, RELIABLE))
            }
        }

        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for Reliable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Reliable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A structural schema of text or boolean has no type, only its values.
        json_schema!({
            "enum": [false, "off", "supported", "required"],
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

/// A header field added to every INVITE that starts a dialog.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("!self.name.matches('(?i)^(accept|accept-encoding|accept-language|allow|allow-events|authorization|call-id|contact|content-disposition|content-encoding|content-language|content-length|content-type|cseq|date|event|expires|from|max-forwards|mime-version|min-expires|min-se|path|proxy-authenticate|proxy-authorization|proxy-require|rack|record-route|refer-sub|refer-to|referred-by|replaces|require|retry-after|route|rseq|server|service-route|session-expires|subscription-state|supported|target-dialog|timestamp|to|unsupported|user-agent|via|warning|www-authenticate|a|b|c|d|e|f|i|j|k|l|m|o|r|s|t|u|v|x|y)$')")
    .message("headers[].name: not one that the SIP stack writes itself, nor a compact form"))]
pub struct Header {
    /// Name: a token of RFC 3261, and none that the stack writes itself.
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[-A-Za-z0-9.!%*_+`'~]+$")
    )]
    pub name: String,
    /// Value: at most 1024 characters, none of them a control character.
    #[schemars(length(max = 1024), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    pub value: String,
}

impl Header {
    /// Names that no definition may give, in lower case: the SIP stack writes these itself, and
    /// one-letter names are compact forms.
    pub const RESERVED: &[&str] = &[
        "accept",
        "accept-encoding",
        "accept-language",
        "allow",
        "allow-events",
        "authorization",
        "call-id",
        "contact",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "cseq",
        "date",
        "event",
        "expires",
        "from",
        "max-forwards",
        "mime-version",
        "min-expires",
        "min-se",
        "path",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-require",
        "rack",
        "record-route",
        "refer-sub",
        "refer-to",
        "referred-by",
        "replaces",
        "require",
        "retry-after",
        "route",
        "rseq",
        "server",
        "service-route",
        "session-expires",
        "subscription-state",
        "supported",
        "target-dialog",
        "timestamp",
        "to",
        "unsupported",
        "user-agent",
        "via",
        "warning",
        "www-authenticate",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "i",
        "j",
        "k",
        "l",
        "m",
        "o",
        "r",
        "s",
        "t",
        "u",
        "v",
        "x",
        "y",
    ];
}

/// What a callee answers after it has rung for `call.ringFor`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.code == 200 || (self.code >= 300 && self.code <= 699)")
    .message("answer.code: 200, or 300 to 699"))]
pub struct Answer {
    /// Status of the final response: 200, or a refusal of 300 to 699.
    #[schemars(range(min = 200, max = 699))]
    pub code: u16,
}

/// How digits are sent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Dtmf {
    /// As telephone events in RTP.
    #[default]
    Rfc4733,
    /// In SIP INFO requests with application/dtmf-relay.
    Info,
}
