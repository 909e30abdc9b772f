//! From the assignment to endpoints that are ready and callers that know when to call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callmeter_sip::{
    Credentials, EndpointConfig, Failure, Host, Registered, Registration, RegistrationFailed, Uri,
    instance_urn, recovery_wait,
};
use rand::Rng as _;

use super::{Engine, EngineError};
use crate::assign::{Assign, Located, ShareId, outbound_proxy_uri};
use crate::endpoint::{Life, endpoint_of};
use crate::event::{Outcome, Phase, What};
use crate::load::Load;
use crate::share::{Share, Stage, Waiter};
use crate::timers::Timer;

/// Least time between a registration that was lost and the attempt to get it back.
const REGISTER_AGAIN: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) fn begin(&mut self, now: Instant, assign: Assign) -> Result<(), EngineError> {
        assign.validate()?;
        let id = assign.share;
        if self.shares.contains_key(&id) {
            return Err(EngineError::ShareExists(id));
        }
        for listener in [&assign.listener].into_iter().chain(&assign.listeners) {
            self.ua.add_listener(listener.clone())?;
        }
        self.timers.set(now + assign.start_within, id, Timer::Start);
        let (next_hop, count) = (assign.next_hop(), assign.count);
        self.shares.insert(id, Share::new(assign, now));
        for index in 0..count {
            self.emit(now, id, index, 0, What::Phase(Phase::Initializing));
        }
        if let Some(share) = self.shares.get_mut(&id)
            && let Some(Located { servers, took }) = &share.assign.registrar.located
        {
            share.set_up.dns = Some(*took);
            let first = servers.first().copied();
            self.open_endpoints(now, id, first);
            return Ok(());
        }
        match next_hop {
            None => self.open_endpoints(now, id, None),
            Some((Host::Ip(ip), port)) => {
                self.open_endpoints(now, id, Some(SocketAddr::new(ip, port)));
            }
            Some((name @ Host::Name(_), _)) => {
                self.resolve(now, id, &name.to_string(), Waiter::NextHop);
            }
        }
        Ok(())
    }

    /// The next hop is known (or there is none): endpoints register, or are ready at once.
    pub(super) fn open_endpoints(
        &mut self,
        now: Instant,
        id: ShareId,
        next_hop: Option<SocketAddr>,
    ) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let register = share.assign.registrar.register;
        for index in 0..share.assign.count {
            let Some(share) = self.shares.get(&id) else {
                return;
            };
            if share.endpoints[index as usize].life != Life::Waiting {
                continue;
            }
            let added = endpoint_config(share, index, next_hop)
                .ok_or_else(|| "its address of record is no URI".to_owned())
                .and_then(|config| {
                    let key = share.endpoints[index as usize].key;
                    self.ua
                        .add_endpoint(key, config)
                        .map_err(|error| error.to_string())
                });
            match added {
                Ok(()) if register => {
                    let pace = self.config.registrations_per_second.max(1);
                    let at = self.next_registration.map_or(now, |next| next.max(now));
                    self.next_registration = Some(at + Duration::from_secs(1) / pace);
                    self.set_endpoint_timer(id, index, Some(at));
                }
                Ok(()) => self.ready(now, id, index),
                Err(reason) => self.fail_endpoint(now, id, index, Outcome::OsError, &reason),
            }
        }
    }

    /// The one timer of an endpoint: register, register again, or dial.
    pub(super) fn endpoint_due(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        endpoint.timer = None;
        let (life, registered) = (endpoint.life, endpoint.registered);
        match life {
            Life::Waiting => self.register(now, id, index),
            Life::Ready if !registered && self.must_register(id) => self.register(now, id, index),
            Life::Ready => self.dial(now, id, index),
            Life::Registering | Life::Unregistering | Life::Ended => {}
        }
    }

    fn must_register(&self, id: ShareId) -> bool {
        self.shares
            .get(&id)
            .is_some_and(|share| share.assign.registrar.register)
    }

    fn register(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let registrar = &share.assign.registrar;
        let expires = registrar.expires;
        let uri = format!("sip:{}", registrar.domain).parse::<Uri>();
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.life = Life::Registering;
        let key = endpoint.key;
        let asked = uri
            .map_err(|error| error.to_string())
            .and_then(|registrar| {
                let registration = Registration { registrar, expires };
                self.ua
                    .register(now, key, registration)
                    .map_err(|error| error.to_string())
            });
        if let Err(reason) = asked {
            if let Some(endpoint) = self.endpoint(id, index) {
                endpoint.life = Life::Waiting;
            }
            self.fail_endpoint(now, id, index, Outcome::RegistrationFailed, &reason);
        }
    }

    pub(super) fn registered(&mut self, now: Instant, registered: &Registered) {
        let (id, index) = endpoint_of(registered.endpoint);
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.registered = true;
        endpoint.failures = 0;
        let registering = endpoint.life == Life::Registering;
        let first = registering && !endpoint.announced;
        share.write_registration(registered, index, first);
        self.registration_over(now, id, index, true);
        if !registering {
            return;
        }
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        endpoint.life = Life::Ready;
        if first {
            self.emit(now, id, index, 0, What::Phase(Phase::Registered));
        }
        self.ready(now, id, index);
    }

    pub(super) fn registration_failed(&mut self, now: Instant, failed: &RegistrationFailed) {
        let (id, index) = endpoint_of(failed.endpoint);
        self.registration_lost(now, id, index, failed);
        // Last: a step that waited for this may begin the next attempt.
        self.registration_over(now, id, index, false);
    }

    fn registration_lost(
        &mut self,
        now: Instant,
        id: ShareId,
        index: u32,
        failed: &RegistrationFailed,
    ) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let running = matches!(share.stage, Stage::Assigned | Stage::Running);
        let connected = share.assign.registrar.transport.is_reliable();
        let lost_flow = matches!(failed.failure, Failure::Timeout | Failure::FlowFailed(_));
        let random = self.rng.random::<f64>();
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        if let Some(line) = &mut share.line {
            line.leave(index);
        }
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.registered = false;
        if endpoint.life == Life::Ended {
            return;
        }
        let reason = match &failed.failure {
            Failure::Status { code, reason } => format!("registration refused: {code} {reason}"),
            Failure::Timeout => "registration: no answer".to_owned(),
            Failure::FlowFailed(reason) => format!("registration: {reason}"),
            Failure::NotBound => "registration accepted without our contact".to_owned(),
        };
        if endpoint.life == Life::Unregistering {
            self.unregistered(now, id, index, true);
        } else if !endpoint.announced {
            endpoint.life = Life::Waiting;
            let outcome = Outcome::RegistrationFailed;
            self.fail_endpoint(now, id, index, outcome, &reason);
        } else {
            // A refresh may fail once; an endpoint that does not get its registration back has
            // failed.
            endpoint.life = Life::Ready;
            let outcome = if failed.refresh {
                Outcome::CompletedWithWarnings
            } else {
                Outcome::RegistrationFailed
            };
            endpoint
                .verdict
                .raise(outcome, format!("lost its {reason}"));
            if running {
                // A server that does not answer is asked ever less often.
                let wait = if connected && lost_flow {
                    endpoint.failures += 1;
                    recovery_wait(endpoint.failures, random)
                } else {
                    REGISTER_AGAIN
                };
                let wait = failed.retry_after.unwrap_or_default().max(wait);
                // A dial that was planned is planned anew once it is registered again.
                self.set_endpoint_timer(id, index, Some(now + wait));
            }
        }
    }

    /// Registered, or listening without registrar.
    fn ready(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let register = share.assign.registrar.register;
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.life = Life::Ready;
        let first = !std::mem::replace(&mut endpoint.announced, true);
        let contact = endpoint.contact.clone();
        let aor = if register {
            endpoint.aor.clone()
        } else {
            String::new()
        };
        let idle = endpoint.current.is_none();
        if first {
            self.emit(now, id, index, 0, What::Ready { contact, aor });
        }
        if let Some(share) = self.shares.get_mut(&id).filter(|_| idle) {
            share.make_idle(now, index);
        }
        match self.shares.get(&id).map(Share::is_ending) {
            Some(true) => self.end_endpoint(now, id, index),
            Some(false) => self.plan_dial(now, id, index),
            None => {}
        }
    }

    /// An endpoint that can do nothing: its outcome is set and it ends.
    pub(super) fn fail_endpoint(
        &mut self,
        now: Instant,
        id: ShareId,
        index: u32,
        outcome: Outcome,
        reason: &str,
    ) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        endpoint.verdict.raise(outcome, reason);
        self.end_endpoint(now, id, index);
    }

    pub(super) fn run(
        &mut self,
        now: Instant,
        id: ShareId,
        peers: Vec<String>,
    ) -> Result<(), EngineError> {
        let share = self
            .shares
            .get_mut(&id)
            .ok_or(EngineError::UnknownShare(id))?;
        if share.stage != Stage::Assigned {
            return Err(EngineError::AlreadyStarted(id));
        }
        let endpoints = share.endpoints.len();
        if !peers.is_empty() && peers.len() != endpoints {
            return Err(EngineError::Peers {
                given: peers.len(),
                endpoints,
            });
        }
        for (endpoint, peer) in share.endpoints.iter_mut().zip(peers) {
            endpoint.peer = peer;
        }
        share.start(now);
        let start_by = share.received + share.assign.start_within;
        self.timers.cancel(Some(start_by), id, Timer::Start);
        self.timers
            .set(now + share.assign.duration, id, Timer::RunEnd);
        self.timers
            .set(now + Duration::from_secs(1), id, Timer::Second);
        for index in 0..share.assign.count {
            if let Some(share) = self
                .shares
                .get_mut(&id)
                .filter(|share| share.assign.role.calls())
            {
                let offset = share.assign.start_offset(index);
                let number = u64::from(share.assign.first) + u64::from(index);
                let by_rate = matches!(share.assign.load, Load::Arrivals(_));
                if let Some(endpoint) = share.endpoint(index) {
                    endpoint.next_arrival = number;
                    endpoint.dial_at = (!by_rate).then_some(now + offset);
                }
                if by_rate {
                    self.plan_arrival(now, id, index);
                }
            }
            self.plan_dial(now, id, index);
            self.plan_first_ask(now, id, index);
        }
        Ok(())
    }
}

fn endpoint_config(
    share: &Share,
    index: u32,
    next_hop: Option<SocketAddr>,
) -> Option<EndpointConfig> {
    let Assign {
        accounts,
        registrar,
        ..
    } = &share.assign;
    let proxy = outbound_proxy_uri(&registrar.outbound_proxy, registrar.transport);
    let credentials = accounts.get(index as usize).map(|account| Credentials {
        username: if account.auth_user.is_empty() {
            &account.user
        } else {
            &account.auth_user
        }
        .clone(),
        password: account.password.clone(),
        realm: (!account.realm.is_empty()).then(|| account.realm.clone()),
    });
    Some(EndpointConfig {
        contact_user: share.assign.user(index),
        next_hop,
        backups: registrar
            .located
            .iter()
            .flat_map(|located| located.servers.iter().skip(1).copied())
            .collect(),
        route: if registrar.outbound_proxy.is_empty() {
            Vec::new()
        } else {
            vec![proxy?]
        },
        credentials,
        instance: Some(instance_urn(&[
            &share.assign.run,
            &share.assign.group,
            &(share.assign.first + index).to_string(),
        ])),
        auth_in_dialog: share.assign.auth_in_dialog,
        reliable: share.assign.reliable,
        session_timer: share.assign.session_timer,
        headers: share
            .assign
            .headers
            .iter()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
        ..EndpointConfig::new(
            share.assign.listener_of(index).id,
            share.endpoints.get(index as usize)?.aor.parse().ok()?,
        )
    })
}
