//! Where a group registers and how its SIP travels.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;
use crate::Duration;

/// The SIP server a group uses, and the transport its signalling takes. Without a server
/// (`register: false` and no `domain`) the transport is that of the calls themselves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = Rule::new("has(self.domain) || (has(self.register) && !self.register && has(self.transport))")
        .message("registrar.domain: required; only with register false and a transport there may be none"),
    validation = Rule::new("has(self.domain) || !has(self.transport) || self.transport != 'auto' || has(self.outboundProxy)")
        .message("registrar.domain: required with transport auto where there is no outboundProxy"),
    validation = Rule::new("!has(self.port) || has(self.domain)")
        .message("registrar.port: only with registrar.domain"),
    validation = Rule::new("!has(self.port) || !has(self.transport) || self.transport != 'auto'")
        .message("registrar.port: not with transport auto, which takes port and transport from DNS"),
    validation = Rule::new("!has(self.wsPath) || (has(self.transport) && self.transport in ['ws', 'wss', 'auto'])")
        .message("registrar.wsPath: only with transport ws, wss or auto"),
    validation = Rule::new("!has(self.connection) || (has(self.transport) && self.transport != 'udp')")
        .message("registrar.connection: only with transport tcp, tls, ws, wss or auto"),
    validation = Rule::new("!has(self.keepAlive) || (duration(self.keepAlive) >= duration('1s') && duration(self.keepAlive) <= duration('10m'))")
        .message("registrar.keepAlive: from 1s to 10m"),
    validation = Rule::new("!has(self.optionsInterval) || (duration(self.optionsInterval) >= duration('5s') && duration(self.optionsInterval) <= duration('1h'))")
        .message("registrar.optionsInterval: from 5s to 1h"),
    validation = Rule::new("!has(self.optionsInterval) || has(self.domain) || has(self.outboundProxy)")
        .message("registrar.optionsInterval: only with registrar.domain or registrar.outboundProxy"),
    validation = Rule::new("!has(self.sipOverUdp) || !has(self.transport) || self.transport in ['udp', 'auto']")
        .message("registrar.sipOverUdp: only with transport udp or auto"),
    validation = Rule::new("!has(self.tls) || (has(self.transport) && self.transport in ['tls', 'wss', 'auto'])")
        .message("registrar.tls: only with transport tls, wss or auto"),
)]
#[serde(rename_all = "camelCase")]
pub struct Registrar {
    /// Domain of the addresses of record, and where requests go: a host name, an IPv4 address, or an
    /// IPv6 address in brackets. Absent (with `register: false` and a `transport`, with auto an
    /// `outboundProxy`, too): requests go straight to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$")
    )]
    pub domain: Option<String>,
    /// Port of the server; absent: 5060 for udp and tcp, 5061 for tls, 80 for ws, 443 for wss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// How SIP travels; absent: udp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Path of the WebSocket handshake (ws, wss, auto); absent: /.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^/[!-~]*$"))]
    pub ws_path: Option<String>,
    /// Who shares a connection (tcp, tls, ws, wss, auto); absent: shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// Interval of keep-alives on flows that are idle (RFC 5626), 1s to 10m; absent: 60s, and none
    /// with udp, given or found by auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Duration>,
    /// How often each endpoint asks with OPTIONS whether the server is there (RFC 3261 §11), 5s to
    /// 1h; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options_interval: Option<Duration>,
    /// Whether requests above 1,300 bytes leave UDP (udp, auto); absent: auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_over_udp: Option<SipOverUdp>,
    /// `host` or `host:port` that every request goes through, an IPv6 address in brackets; absent:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 259),
        regex(pattern = r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$")
    )]
    pub outbound_proxy: Option<String>,
    /// Whether endpoints register; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<bool>,
    /// Certificates (tls, wss, auto); absent: the worker's trust store, and none of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Registrar {
    /// Whether endpoints register.
    pub fn registers(&self) -> bool {
        self.register.unwrap_or(true)
    }
}

/// A transport of SIP.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP (RFC 3261).
    #[default]
    Udp,
    /// TCP (RFC 3261).
    Tcp,
    /// TLS over TCP (RFC 3261, RFC 5630).
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// Secure WebSocket (RFC 7118).
    Wss,
    /// What DNS says of the domain: NAPTR, then SRV, then addresses (RFC 3263).
    Auto,
}

impl Transport {
    /// Name as written in a definition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Auto => "auto",
        }
    }
}

/// Who shares a connection.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// The endpoints of a group on one worker have one connection to each peer.
    #[default]
    Shared,
    /// Each endpoint has a connection of its own.
    PerEndpoint,
}

/// What becomes of requests above 1,300 bytes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum SipOverUdp {
    /// They go by TCP first (RFC 3261 §18.1.1).
    #[default]
    Auto,
    /// They stay on UDP.
    Always,
}

/// Certificates, by reference only: a test is read by many and kept in Git.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("has(self.caRef) == (has(self.verify) && self.verify == 'custom')")
    .message("registrar.tls.caRef: required with verify custom, and only with it"))]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// How the server's certificate is checked; absent: system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<TlsVerify>,
    /// The certificates trusted with `verify: custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// A Secret of the test's namespace of type kubernetes.io/tls (tls.crt, tls.key): our
    /// certificate where a server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_ref: Option<SecretRef>,
    /// A Secret of the test's namespace of type kubernetes.io/tls (tls.crt, tls.key): what a callee
    /// listens with when it does not register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_cert_ref: Option<SecretRef>,
}

/// How a server's certificate is checked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum TlsVerify {
    /// Against the worker's trust store.
    #[default]
    System,
    /// Against the certificates of `caRef`.
    Custom,
    /// Not at all.
    Skip,
}

/// Certificates of a Secret.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CaRef {
    /// Name of the Secret, in the test's namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key of the Secret that holds the certificates as PEM; absent: ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._A-Za-z0-9]+$"))]
    pub key: Option<String>,
}
