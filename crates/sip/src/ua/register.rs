//! Registration (RFC 3261 §10): register, refresh, deregister.

use std::time::Instant;

use super::auth::{Challenged, Retries, Verdict};
use super::binding::{
    Attempt, Binding, MAX_EXPIRES, OUTBOUND, Outbound, Purpose, granted, service_route,
};
use super::config::Registration;
use super::event::{Failure, UaEvent};
use super::failover::UNAVAILABLE;
use super::redirect::{Redirects, redirect};
use super::{UaError, UserAgent};
use crate::compose::{self, Draft, tagged};
use crate::core::TimerKey;
use crate::counters::EndpointKey;
use crate::flow::Flow;
use crate::message::{HeaderName, Message, Method};
use crate::timers::Deadline;
use crate::transaction::{ClientKey, Owner};

impl UserAgent {
    pub(super) fn start_registration(
        &mut self,
        now: Instant,
        key: EndpointKey,
        registration: Registration,
    ) -> Result<(), UaError> {
        let token = [self.core.token(), self.core.token(), self.core.token()];
        let endpoint = self
            .endpoints
            .get_mut(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        let Registration { registrar, expires } = registration;
        let expires = expires.as_secs().max(1);
        match &mut endpoint.binding {
            Some(Binding {
                attempt: Some(_), ..
            }) => return Err(UaError::RegistrationBusy(key)),
            Some(binding) => {
                binding.registrar = registrar;
                binding.expires = expires;
            }
            none => {
                *none = Some(Binding {
                    registrar,
                    expires,
                    call_id: format!("{:016x}{:016x}", token[0], token[1]),
                    tag: token[2],
                    cseq: 0,
                    service_route: Vec::new(),
                    stands: false,
                    server: None,
                    recovering: false,
                    outbound: Outbound::default(),
                    attempt: None,
                    unregister_next: false,
                    refresh: Deadline::default(),
                });
            }
        }
        self.start_attempt(now, key, Purpose::Register)
    }

    pub(super) fn end_registration(
        &mut self,
        now: Instant,
        key: EndpointKey,
    ) -> Result<(), UaError> {
        let endpoint = self
            .endpoints
            .get_mut(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        let binding = endpoint
            .binding
            .as_mut()
            .ok_or(UaError::NotRegistered(key))?;
        match &binding.attempt {
            Some(Attempt {
                purpose: Purpose::Unregister,
                ..
            }) => Ok(()),
            Some(_) => {
                binding.unregister_next = true;
                Ok(())
            }
            None if binding.stands => self.start_attempt(now, key, Purpose::Unregister),
            None => Err(UaError::NotRegistered(key)),
        }
    }

    pub(super) fn start_attempt(
        &mut self,
        now: Instant,
        key: EndpointKey,
        purpose: Purpose,
    ) -> Result<(), UaError> {
        let attempt = Attempt {
            key: ClientKey {
                branch: self.core.token(),
                cancel: false,
            },
            purpose,
            sent: now,
            authenticated: None,
            retries: Retries::default(),
            longer: false,
            redirects: Redirects::default(),
            server: None,
            moves: 0,
            servers_tried: 0,
            target: None,
        };
        let endpoint = self
            .endpoints
            .get_mut(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        let binding = endpoint
            .binding
            .as_mut()
            .ok_or(UaError::NotRegistered(key))?;
        binding.attempt = Some(attempt);
        binding.recovering = false;
        let timer = TimerKey::Registration(key);
        binding.refresh.set(&mut self.core.timers, timer, None);
        let sent = self.send_register(now, key);
        if sent.is_ok() {
            self.keep_alive(now, key);
            self.core
                .ledger
                .count(Some(key), |counters| counters.reg_attempts += 1);
        } else if let Some(binding) = self
            .endpoints
            .get_mut(&key)
            .and_then(|endpoint| endpoint.binding.as_mut())
        {
            binding.attempt = None;
        }
        sent
    }

    /// Sends the REGISTER of the attempt under way.
    fn send_register(&mut self, now: Instant, key: EndpointKey) -> Result<(), UaError> {
        let endpoint = self
            .endpoints
            .get_mut(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        let mut binding = endpoint.binding.take().ok_or(UaError::NotRegistered(key))?;
        let result = (|| {
            let local = endpoint.config.local;
            let listener = self
                .listeners
                .get(&local)
                .ok_or(UaError::UnknownListener(local))?;
            let attempt = binding
                .attempt
                .as_mut()
                .ok_or(UaError::NotRegistered(key))?;
            let (uri, remote, routed) = if let Some((uri, remote, routed)) = &attempt.target {
                (uri, *remote, *routed)
            } else {
                let remote = endpoint
                    .config
                    .next_hop
                    .or_else(|| {
                        let first = endpoint.config.route.first();
                        let own = listener.listener.transport;
                        first
                            .and_then(|proxy| proxy.socket_addr_over(own))
                            .or_else(|| binding.registrar.socket_addr_over(own))
                    })
                    .ok_or(UaError::NoNextHop)?;
                (&binding.registrar, remote, true)
            };
            let authorization =
                endpoint.authorization(Method::Register, remote, uri.as_bytes(), b"");
            if attempt.retries.any() {
                attempt.authenticated = Some(now);
            }
            if attempt.server.is_some_and(|before| before != remote) {
                attempt.moves += 1;
                // A call may have taken the endpoint on to another server, which asks for itself;
                // calls that fail at each in turn do not keep the REGISTER going to and fro.
                if attempt.moves <= endpoint.config.backups.len() {
                    attempt.retries = Retries::default();
                    attempt.longer = false;
                }
            }
            attempt.server = Some(remote);
            binding.cseq += 1;
            attempt.key = ClientKey {
                branch: self.core.token(),
                cancel: false,
            };
            let expires = match attempt.purpose {
                Purpose::Unregister => 0,
                Purpose::Register | Purpose::Refresh => binding.expires,
            };
            let (contact, outbound) = endpoint.contact_of_register(binding.outbound);
            let message = Draft {
                method: Method::Register,
                uri,
                listener: &listener.listener,
                key: attempt.key,
                routes: if routed { &endpoint.config.route } else { &[] },
                from: &tagged(&endpoint.from, binding.tag),
                to: &endpoint.from,
                call_id: binding.call_id.as_bytes(),
                cseq: binding.cseq,
                contact: Some(contact),
                expires: Some(expires),
                authorization: &authorization,
                more: &|builder| {
                    if outbound {
                        builder.header(HeaderName::Supported, OUTBOUND.as_bytes());
                    }
                },
                product: &self.config.product,
                content_type: compose::SDP,
                body: b"",
            }
            .compose();
            let flow = Flow {
                local,
                transport: listener.listener.transport,
                remote,
            };
            self.transactions.start(
                &mut self.core,
                now,
                attempt.key,
                flow,
                (Method::Register, message),
                (Owner::Register(key), Some(key)),
            );
            Ok(())
        })();
        endpoint.binding = Some(binding);
        result
    }

    pub(super) fn on_register_response(
        &mut self,
        now: Instant,
        key: EndpointKey,
        client: ClientKey,
        flow: Flow,
        message: &Message,
        status: u16,
    ) {
        if status < 200 {
            return;
        }
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let Some(mut binding) = endpoint.binding.take() else {
            return;
        };
        let Some(attempt) = binding
            .attempt
            .as_mut()
            .filter(|attempt| attempt.key == client)
        else {
            endpoint.binding = Some(binding);
            return;
        };
        let mut again = false;
        let mut reason = message.reason();
        if status == 401 || status == 407 {
            self.core
                .ledger
                .count(Some(key), |counters| counters.auth_challenges += 1);
            let request = Challenged {
                response: message,
                method: Method::Register,
                destination: flow.remote,
            };
            let target = attempt.target.as_ref();
            let uri = target.map_or(&binding.registrar, |(uri, ..)| uri);
            let retries = &mut attempt.retries;
            let verdict = endpoint.challenged(&mut self.core, &request, uri.as_bytes(), retries);
            again = verdict == Verdict::Again;
            reason = verdict.phrase(message);
        } else if status == 423 && !attempt.longer && attempt.purpose != Purpose::Unregister {
            attempt.longer = true;
            let wanted = message
                .seconds(HeaderName::MinExpires)
                .map_or(0, |time| time.as_secs());
            again = wanted > binding.expires && wanted <= MAX_EXPIRES;
            if again {
                binding.expires = wanted;
            }
        }
        if status == 439 && binding.outbound != Outbound::Impossible {
            // RFC 5626 §11.6: the way there lacks what the registrar has.
            again = endpoint.contact_of_register(binding.outbound).1;
            binding.outbound = Outbound::Impossible;
        }
        if (200..300).contains(&status) {
            endpoint.accepted(Method::Register, flow.remote, message);
            binding.service_route = service_route(message);
            binding.outbound = binding.outbound.accepted(message);
            if binding.outbound == Outbound::Confirmed {
                let timer = message.seconds(HeaderName::FlowTimer);
                let timer = timer.filter(|timer| !timer.is_zero());
                let every = timer.map(|timer| self.core.spread(timer));
                self.core.event(UaEvent::FlowKept { flow, every });
            }
        }
        if (300..600).contains(&status) && !again && endpoint.config.follow_redirects {
            again = redirect(
                (&endpoint.config, flow.transport),
                &binding.registrar,
                attempt,
                message,
                status,
            );
        }
        if status == UNAVAILABLE && !again {
            let next = endpoint.next_server(flow.remote, &mut attempt.servers_tried);
            again = next.is_some();
            attempt.retries = Retries::default();
        }
        let granted = granted(message, &endpoint.contact, binding.expires);
        endpoint.binding = Some(binding);
        if again && self.send_register(now, key).is_ok() {
            return;
        }
        if (200..300).contains(&status) {
            self.registered(now, key, granted);
            return;
        }
        let retry_after = message.seconds(HeaderName::RetryAfter);
        let failure = Failure::Status {
            code: status,
            reason,
        };
        self.registration_failed(now, key, failure, retry_after);
    }

    pub(super) fn on_register_unanswered(
        &mut self,
        now: Instant,
        key: EndpointKey,
        client: ClientKey,
        failure: Failure,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let mut binding = endpoint.binding.take();
        let attempt = binding
            .as_mut()
            .and_then(|binding| binding.attempt.as_mut())
            .filter(|attempt| attempt.key == client);
        let mut next = None;
        let is_ours = attempt.is_some();
        if let Some(attempt) = attempt
            && let Some(failed) = attempt.server
        {
            next = endpoint.next_server(failed, &mut attempt.servers_tried);
            attempt.retries = Retries::default();
        }
        endpoint.binding = binding;
        if is_ours && (next.is_none() || self.send_register(now, key).is_err()) {
            self.registration_failed(now, key, failure, None);
        }
    }

    /// The time to refresh has come.
    pub(super) fn on_refresh_timer(&mut self, now: Instant, key: EndpointKey, entry: Instant) {
        let binding = self
            .endpoints
            .get_mut(&key)
            .and_then(|endpoint| endpoint.binding.as_mut());
        let Some(binding) = binding else {
            return;
        };
        let timer = TimerKey::Registration(key);
        if binding
            .refresh
            .fired(&mut self.core.timers, timer, entry, now)
            && binding.attempt.is_none()
        {
            // Fails only if the listener is gone, and then the endpoint is too.
            let _ = self.start_attempt(now, key, Purpose::Refresh);
        }
    }
}
