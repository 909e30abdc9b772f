//! What the caller gives to a [`super::UserAgent`].

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::flow::LocalId;
use crate::message::Uri;
use crate::password::Credentials;

/// Settings of one user agent.
#[derive(Clone, Debug)]
pub struct UaConfig {
    /// Value of User-Agent and Server; empty for none.
    pub product: String,
    /// How long an unanswered INVITE may ring, both ways, before it is cancelled or refused (480).
    pub ring_timeout: Duration,
    /// Most calls held at the same time; further INVITEs are refused with 486.
    pub max_calls: usize,
    /// Most server transactions held at the same time, less if there are few endpoints (10,000 and
    /// 2,000 for each); of those 1,000 and 32 for each at most are refusals of INVITEs that wait for
    /// their ACK, and as many that have it. What is refused beyond that is sent once. Further requests are dropped and counted as unexpected, BYE and CANCEL a
    /// quarter later.
    pub max_server_transactions: usize,
}

impl Default for UaConfig {
    fn default() -> Self {
        Self {
            product: "callmeter".to_owned(),
            ring_timeout: Duration::from_secs(180),
            max_calls: 100_000,
            max_server_transactions: 1_000_000,
        }
    }
}

/// One endpoint: an address of record on a listener.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The listener it sends from and is called on.
    pub local: LocalId,
    /// Address of record: From of its requests, To of its REGISTER, `sip:user@domain`.
    pub aor: Uri,
    /// Display name of From, empty for none.
    pub display_name: String,
    /// User part of Contact; incoming requests are matched to it. Empty: the user of `aor`.
    pub contact_user: String,
    /// The configured next hop (registrar or outbound proxy); the only destination, with the other
    /// servers of it, whose challenges are answered. Without one, requests go where the target URI
    /// says.
    pub next_hop: Option<SocketAddr>,
    /// Other servers of the next hop, tried in this order by a REGISTER or INVITE that it does not
    /// answer or refuses with 503 (RFC 3263 §4.3).
    pub backups: Vec<SocketAddr>,
    /// Preloaded Route set of REGISTER and INVITE: the outbound proxy, if one is configured.
    pub route: Vec<Uri>,
    /// A URN that names the endpoint for ever (RFC 5626 §4.1), `urn:uuid:…`: over connections it
    /// registers as an outbound client, which the registrar reaches by the connection it registers
    /// with. `None`: it registers its address alone.
    pub instance: Option<String>,
    /// Digest credentials.
    pub credentials: Option<Credentials>,
    /// Answers challenges of the account's realm within every dialog, whoever started it and
    /// wherever its requests go; without it only in dialogs we started, towards the next hop as a
    /// proxy.
    pub auth_in_dialog: bool,
    /// Goes on to the Contacts of a 300, 301 or 302 to a REGISTER or an INVITE, to five at most;
    /// without it, and else, a 3xx is a refusal. Challenges from there are not answered, but of the
    /// next hop.
    pub follow_redirects: bool,
    /// Header fields added to every INVITE that starts a call, name and value; CR and LF in a
    /// value become spaces.
    pub headers: Vec<(String, String)>,
    /// Session timers (RFC 4028).
    pub session_timer: SessionTimer,
    /// Reliable provisional responses (RFC 3262).
    pub reliable: Reliable,
}

/// Whether an endpoint uses reliable provisional responses (RFC 3262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliable {
    /// Neither asked for nor sent; a peer that requires them is refused with 420.
    #[default]
    Off,
    /// Asked for, and sent to peers that know them.
    Supported,
    /// Required of the peer: it answers our INVITE with 420 if it lacks them; its own INVITE
    /// without them is refused with 421.
    Required,
}

/// How an endpoint uses session timers (RFC 4028). A session is refreshed at half its interval, by
/// UPDATE if the peer's Allow has it, else by re-INVITE; one that its peer does not refresh is
/// ended 32 s, or a third of the interval, before it runs out (§10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// Whether.
    pub mode: SessionTimerMode,
    /// The session interval asked for, in whole seconds, 90 at least; what is granted may be
    /// shorter, and longer after a 422.
    pub expires: Duration,
    /// Who is asked to refresh.
    pub refresher: Refresher,
}

/// Whether session timers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionTimerMode {
    /// Neither asked for nor granted; a peer that requires them is refused with 420.
    #[default]
    Disabled,
    /// Asked for, and granted to peers that know them.
    Supported,
    /// Required of the peer: it answers our INVITE with 420 if it lacks them; its own INVITE
    /// without them is refused with 421.
    Required,
}

/// Who refreshes a session: the side that sends a request, or the one that answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresher {
    /// Who sends the request.
    #[default]
    Uac,
    /// Who answers it.
    Uas,
    /// Left to the one who answers; we answer as for [`Self::Uac`].
    None,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self {
            mode: SessionTimerMode::default(),
            expires: Duration::from_secs(1800),
            refresher: Refresher::default(),
        }
    }
}

impl EndpointConfig {
    /// An endpoint without credentials, next hop or anything else that is optional.
    pub fn new(local: LocalId, aor: Uri) -> Self {
        Self {
            local,
            aor,
            display_name: String::new(),
            contact_user: String::new(),
            next_hop: None,
            backups: Vec::new(),
            route: Vec::new(),
            instance: None,
            credentials: None,
            auth_in_dialog: false,
            follow_redirects: false,
            headers: Vec::new(),
            session_timer: SessionTimer::default(),
            reliable: Reliable::default(),
        }
    }

    /// Whether a server is one of the next hop, be it a backup: a call stays with the one it was
    /// placed by.
    pub(super) fn is_next_hop(&self, server: SocketAddr) -> bool {
        self.next_hop == Some(server) || self.backups.contains(&server)
    }
}

/// What to register for.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Request-URI: the domain, `sip:example.org`.
    pub registrar: Uri,
    /// The lifetime asked for; whole seconds, at least 1.
    pub expires: Duration,
}

/// A call to place.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Request-URI and To.
    pub target: Uri,
    /// Where the INVITE is sent, without the endpoint's Route set; `None`: the endpoint's next hop
    /// and Route set, else the address in `target`.
    pub next_hop: Option<SocketAddr>,
    /// The SDP offer.
    pub body: Bytes,
}

/// What a user agent holds; all zero when nothing of an earlier use is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Local transports.
    pub listeners: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Endpoints that register or are registered.
    pub registrations: usize,
    /// Calls, their dialogs with them.
    pub calls: usize,
    /// Client and server transactions.
    pub transactions: usize,
    /// Deadlines, and entries of deadlines that have gone, at most 32 s of them.
    pub timers: usize,
}
