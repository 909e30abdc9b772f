//! The user agent: registrations and calls of many endpoints over the transaction layer.

mod auth;
mod binding;
mod bye;
mod call;
mod callee;
mod caller;
mod cancel;
mod config;
mod dispatch;
mod early;
mod endpoint;
mod error;
mod event;
mod failover;
mod flows;
mod info;
mod inspect;
mod mid;
mod notify;
mod offer;
mod operations;
mod options;
mod prack;
mod redirect;
mod refer;
mod register;
mod registered;
mod reliable;
mod replaces;
mod response;
mod screen;
mod session;
mod stray;
mod within;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use bytes::Bytes;

use crate::core::Core;
use crate::counters::EndpointKey;
use crate::flow::{Flow, Listener, LocalId, Transport};
use crate::message::{Malformed, Message, ParseError, Uri};
use crate::own_map::OwnMap;
use crate::transaction::Transactions;

use call::Call;
use endpoint::Endpoint;
use flows::{KeepAlive, is_keep_alive};

pub use config::{
    EndpointConfig, Held, Invite, Refresher, Registration, Reliable, SessionTimer,
    SessionTimerMode, UaConfig,
};
pub use endpoint::instance_urn;
pub use error::UaError;
pub use event::{
    CallEnd, CallEvent, CallKey, CallTimes, EndReason, Failure, Incoming, MidTimes,
    OptionsAnswered, Output, Registered, RegistrationFailed, Transmit, UaEvent,
};
pub use offer::OfferBy;
pub use refer::Refer;
pub use registered::recovery_wait;
pub use replaces::Replaces;

/// A SIP user agent without IO: one per signalling shard, for many endpoints.
///
/// Contract:
/// - `now` never goes back between calls (an earlier `now` counts as the latest one seen). Times
///   in events are the `now` of the call that caused them.
/// - After every call that takes `now`, drain [`Self::poll_output`] until `None`, then sleep until
///   [`Self::next_timeout`] at most and call [`Self::handle_timeout`]. A timeout may come early or
///   for nothing; calling it late delays retransmissions but breaks nothing.
/// - Operations return an error and change nothing when they do not fit the state.
/// - Every call ends with exactly one [`CallEvent::Ended`], after which its key is unknown.
///   Exception: a call refused or failed inside [`Self::invite`] has no key.
/// - Dropping the user agent sends nothing: hang up and deregister first.
#[derive(Debug)]
pub struct UserAgent {
    config: UaConfig,
    core: Core,
    transactions: Transactions,
    listeners: OwnMap<LocalId, Bound>,
    endpoints: OwnMap<EndpointKey, Endpoint>,
    by_user: HashMap<(LocalId, String), EndpointKey>,
    calls: OwnMap<CallKey, Call>,
    by_tag: OwnMap<u64, CallKey>,
    /// Initial INVITEs that wait for an answer, to find those that came by two paths.
    merged: HashMap<Bytes, CallKey>,
    last_call: u64,
    /// Key of the tags of stateless responses.
    secret: u64,
    latest: Option<Instant>,
    /// When the next registration that was lost is made again at the earliest.
    recovery: Option<Instant>,
}

/// A listener and who uses it.
#[derive(Debug)]
struct Bound {
    listener: Listener,
    endpoints: BTreeSet<EndpointKey>,
    keep_alive: KeepAlive,
    /// When the last endpoint went.
    emptied: Option<Instant>,
}

impl UserAgent {
    /// A user agent whose tags, branches, Call-IDs and cnonces come from `seed`.
    pub fn new(config: UaConfig, seed: u64) -> Self {
        let mut core = Core::new(seed);
        let secret = core.token();
        Self {
            config,
            core,
            transactions: Transactions::default(),
            listeners: OwnMap::default(),
            endpoints: OwnMap::default(),
            by_user: HashMap::new(),
            calls: OwnMap::default(),
            by_tag: OwnMap::default(),
            merged: HashMap::new(),
            last_call: 0,
            secret,
            latest: None,
            recovery: None,
        }
    }

    /// Adds a local transport.
    pub fn add_listener(&mut self, listener: Listener) -> Result<(), UaError> {
        if self.listeners.contains_key(&listener.id) {
            return Err(UaError::ListenerExists(listener.id));
        }
        if listener.transport == Transport::Udp && listener.large_by_tcp {
            self.transactions.large_by_tcp(listener.id);
        }
        let bound = Bound {
            listener,
            endpoints: BTreeSet::new(),
            keep_alive: KeepAlive::default(),
            emptied: None,
        };
        self.listeners.insert(bound.listener.id, bound);
        Ok(())
    }

    /// Removes a local transport at once: its calls end as [`EndReason::Dropped`], its endpoints
    /// go, nothing is sent. Keep the socket and the listener for 32 s after a run, without
    /// endpoints, to answer late in-dialog requests with 481.
    pub fn remove_listener(&mut self, now: Instant, local: LocalId) -> Result<(), UaError> {
        let now = self.clock(now);
        if !self.listeners.contains_key(&local) {
            return Err(UaError::UnknownListener(local));
        }
        let mut endpoints: Vec<_> = self
            .endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.config.local == local)
            .map(|(key, _)| *key)
            .collect();
        endpoints.sort_unstable();
        for key in endpoints {
            self.remove_endpoint(now, key)?;
        }
        self.drop_calls(now, |call| call.local == local);
        self.listeners.remove(&local);
        self.transactions.remove_local(local);
        Ok(())
    }

    /// Adds an endpoint on a listener.
    pub fn add_endpoint(
        &mut self,
        key: EndpointKey,
        config: EndpointConfig,
    ) -> Result<(), UaError> {
        if self.endpoints.contains_key(&key) {
            return Err(UaError::EndpointExists(key));
        }
        let local = config.local;
        let bound = self
            .listeners
            .get_mut(&local)
            .ok_or(UaError::UnknownListener(local))?;
        let endpoint = Endpoint::new(config, &bound.listener);
        let user = (local, endpoint.user.clone());
        if self.by_user.contains_key(&user) {
            return Err(UaError::ContactUserTaken(key));
        }
        bound.endpoints.insert(key);
        self.by_user.insert(user, key);
        self.endpoints.insert(key, endpoint);
        self.core.ledger.open(key);
        self.make_room();
        Ok(())
    }

    /// Removes an endpoint and its counters: its calls end as [`EndReason::Dropped`], nothing is
    /// sent.
    pub fn remove_endpoint(&mut self, now: Instant, key: EndpointKey) -> Result<(), UaError> {
        let now = self.clock(now);
        if !self.endpoints.contains_key(&key) {
            return Err(UaError::UnknownEndpoint(key));
        }
        self.drop_calls(now, |call| call.endpoint == Some(key));
        if let Some(Endpoint { config, user, .. }) = self.endpoints.remove(&key) {
            if let Some(bound) = self.listeners.get_mut(&config.local) {
                bound.endpoints.remove(&key);
                bound.emptied = bound.endpoints.is_empty().then_some(now);
            }
            self.by_user.remove(&(config.local, user));
        }
        self.core.ledger.close(key);
        self.make_room();
        Ok(())
    }

    /// Registers an endpoint and keeps it registered. Ends in [`UaEvent::Registered`] (again with
    /// each refresh) or [`UaEvent::RegistrationFailed`].
    pub fn register(
        &mut self,
        now: Instant,
        key: EndpointKey,
        registration: Registration,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.start_registration(now, key, registration)
    }

    /// Deregisters an endpoint; ends in [`UaEvent::Unregistered`]. A REGISTER under way is waited
    /// for.
    pub fn unregister(&mut self, now: Instant, key: EndpointKey) -> Result<(), UaError> {
        let now = self.clock(now);
        self.end_registration(now, key)
    }

    /// Asks a peer for its abilities with OPTIONS, to the endpoint's next hop and Route set, else
    /// to the address in `target`; ends in [`UaEvent::OptionsAnswered`]. A challenge is an answer
    /// like any other and not answered in turn: what is measured is one way there and back.
    pub fn options(&mut self, now: Instant, key: EndpointKey, target: &Uri) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_options(now, key, target)
    }

    /// Places a call.
    pub fn invite(
        &mut self,
        now: Instant,
        key: EndpointKey,
        invite: Invite,
    ) -> Result<CallKey, UaError> {
        let now = self.clock(now);
        self.start_call(now, key, invite, None)
    }

    /// Places a call that takes the place of another at its target (RFC 3891), as a
    /// [`CallEvent::Referred`] asks for.
    pub fn invite_replacing(
        &mut self,
        now: Instant,
        key: EndpointKey,
        invite: Invite,
        replaces: Replaces,
    ) -> Result<CallKey, UaError> {
        let now = self.clock(now);
        self.start_call(now, key, invite, Some(replaces))
    }

    /// Names the endpoint of an incoming call that matched none; its counts so far are attributed.
    pub fn attach(&mut self, call: CallKey, key: EndpointKey) -> Result<(), UaError> {
        self.attach_call(call, key)
    }

    /// Sends 180 for an incoming call; [`Self::progress`] without SDP, so not for one that
    /// [`Self::must_offer_early`].
    pub fn ring(&mut self, now: Instant, call: CallKey) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_progress(now, call, 180, Bytes::new())
    }

    /// Sends a provisional response of 101 to 199 for an incoming call, reliably if both sides
    /// want that (RFC 3262): sent again until its PRACK comes, one after the other, and an
    /// [`Self::answer`] waits for the PRACK of one with SDP. Without PRACK for 32 s the call is
    /// refused with 504. [`CallEvent::Pracked`] tells of each PRACK. To an INVITE without SDP the
    /// first reliable one has to offer ([`Self::must_offer_early`]), and its PRACK answers; the 200
    /// then brings no SDP.
    pub fn progress(
        &mut self,
        now: Instant,
        call: CallKey,
        code: u16,
        body: impl Into<Bytes>,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_progress(now, call, code, body.into())
    }

    /// Accepts the peer's offer within a call, if one waits, else an incoming call, with 200 and
    /// this SDP. The 200 of a call whose session an UPDATE changed before brings no SDP.
    pub fn answer(
        &mut self,
        now: Instant,
        call: CallKey,
        body: impl Into<Bytes>,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.answer_call(now, call, body.into())
    }

    /// Refuses the peer's offer within a call, if one waits, else an incoming call, with a code of
    /// 300 to 699.
    pub fn reject(&mut self, now: Instant, call: CallKey, code: u16) -> Result<(), UaError> {
        let now = self.clock(now);
        self.reject_call(now, call, code)
    }

    /// Ends a call in whatever state: CANCEL before the answer, 480 to an unanswered incoming
    /// call, BYE once it stands (a callee's BYE waits for the ACK, RFC 3261 §15).
    pub fn hang_up(&mut self, now: Instant, call: CallKey) -> Result<(), UaError> {
        let now = self.clock(now);
        self.end_call(now, call)
    }

    /// Takes one received message. What arrives for an unknown listener is ignored.
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        let now = self.clock(now);
        if !self.listeners.contains_key(&flow.local) || is_keep_alive(&bytes) {
            return;
        }
        let read = match Message::read(bytes) {
            Err(Malformed {
                error: ParseError::Empty,
                ..
            }) => return,
            result => result,
        };
        self.core
            .ledger
            .count(None, |counters| counters.messages_received += 1);
        let read = read.and_then(|message| match message.essentials() {
            Ok(essentials) => Ok((message, essentials)),
            Err(error) => Err(Malformed::new(error, message)),
        });
        let (message, essentials) = match read {
            Ok(read) => read,
            Err(malformed) => return self.on_malformed(flow, malformed),
        };
        match (message.method(), message.status()) {
            (Some(method), _) => self.handle_request(now, flow, message, &essentials, method),
            (None, Some(status)) => {
                self.handle_response(now, flow, &message, &essentials, status);
            }
            (None, None) => {}
        }
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock(now);
        self.run_timers(now);
    }

    /// When [`Self::handle_timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.core.timers.next()
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.poll()
    }

    /// Makes room for the transactions that the endpoints can need.
    fn make_room(&mut self) {
        let most = self.config.max_server_transactions;
        self.transactions.make_room(self.endpoints.len(), most);
    }

    /// The latest time seen; time never goes back.
    fn clock(&mut self, now: Instant) -> Instant {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(now);
        self.core.timers.tick(now);
        now
    }
}
