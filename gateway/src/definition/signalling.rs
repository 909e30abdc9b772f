//! How the SIP of a group travels and what its user agents do, defaults filled.

use std::time::Duration;

pub use callmeter_api::calltest::{
    Do, Dtmf, Event, Header, Refresher, Reliable, SessionTimerMode, TlsVerify, Transport,
};

/// The SIP server of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    /// Host name or address; empty: none, calls go straight to the peer.
    pub domain: String,
    /// 0: the transport's default.
    pub port: u16,
    /// How SIP travels.
    pub transport: Transport,
    /// Path of the WebSocket handshake.
    pub ws_path: String,
    /// Each endpoint has a connection of its own.
    pub connection_per_endpoint: bool,
    /// Interval of keep-alives on idle flows; zero: none, with auto that of the transport found.
    pub keep_alive: Duration,
    /// How often each endpoint asks the server with OPTIONS; zero: never.
    pub options_interval: Duration,
    /// Requests above 1,300 bytes stay on UDP.
    pub sip_over_udp_always: bool,
    /// `host[:port]`; empty: none.
    pub outbound_proxy: String,
    /// Whether endpoints register.
    pub register: bool,
    /// Certificates; none: the worker's trust store and none of our own.
    pub tls: Option<Tls>,
}

/// Certificates of a group; Secrets of `namespace`, read at dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Namespace of the Secrets.
    pub namespace: String,
    /// How the server's certificate is checked.
    pub verify: TlsVerify,
    /// Secret and key of the trusted certificates; with [`TlsVerify::Custom`].
    pub ca: Option<(String, String)>,
    /// Secret with our certificate as client.
    pub client: Option<String>,
    /// Secret with the certificate that callees listen with.
    pub server: Option<String>,
}

/// Session timers (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    /// Whether they are asked for.
    pub mode: SessionTimerMode,
    /// 90 s to 7200 s, whole seconds.
    pub expires: Duration,
    /// Who refreshes.
    pub refresher: Refresher,
}

/// One action of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// When it is done.
    pub when: When,
    /// What is done.
    pub action: Do,
    /// Digits sent; empty but for [`Do::SendDtmf`].
    pub digits: String,
    /// The URI of [`Do::Transfer`]; else empty.
    pub to: String,
    /// Whether a transfer is attended.
    pub attended: bool,
}

/// When an action is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// After the answer.
    At(Duration),
    /// The first time this happens in the call.
    Event {
        /// What happens.
        event: Event,
        /// Which digits count; empty: any.
        digits: String,
    },
}
