//! Host names of registrars, proxies and peers, each resolved once per share.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use callmeter_sip::Host;

use super::{Engine, PATIENCE};
use crate::assign::ShareId;
use crate::call::{Hop, Stage};
use crate::event::{NoAddress, Outcome, Output};
use crate::media::StreamId;
use crate::share::{Name, Waiter};
use crate::timers::Timer;

impl Engine {
    /// Asks for a name, or puts one more waiter to the question.
    pub(super) fn resolve(&mut self, now: Instant, id: ShareId, host: &str, waiter: Waiter) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        match share.names.get_mut(host) {
            Some(Name::Known(ip)) => {
                let ip = *ip;
                self.found(now, id, waiter, Ok(ip));
            }
            Some(Name::Asked { waiting, .. }) => waiting.push(waiter),
            None => {
                let name = Name::Asked {
                    at: now,
                    waiting: vec![waiter],
                };
                share.names.insert(host.to_owned(), name);
                self.timers.set(now + PATIENCE, id, Timer::Resolve);
                self.outputs.push_back(Output::Resolve {
                    share: id,
                    host: host.to_owned(),
                });
            }
        }
    }

    pub(super) fn resolved(
        &mut self,
        now: Instant,
        id: ShareId,
        host: &str,
        found: Result<IpAddr, &NoAddress>,
    ) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let Some(Name::Asked { at, waiting }) = share.names.remove(host) else {
            return;
        };
        if let Ok(ip) = found {
            share.set_up.dns = Some(now.saturating_duration_since(at));
            share.names.insert(host.to_owned(), Name::Known(ip));
        }
        for waiter in waiting {
            let found = match found {
                Ok(ip) => Ok(ip),
                Err(NoAddress::Unknown(reason)) => {
                    let reason = format!("cannot resolve {host}: {reason}");
                    Err((Outcome::OsError, reason))
                }
                Err(NoAddress::Misnamed(reason)) => Err((Outcome::CallFailed, reason.clone())),
            };
            self.found(now, id, waiter, found);
        }
    }

    pub(super) fn forget_names(&mut self, now: Instant, id: ShareId, address: IpAddr) {
        if let Some(share) = self.shares.get_mut(&id) {
            let names = &mut share.names;
            names.retain(|_, name| !matches!(name, Name::Known(ip) if *ip == address));
        }
        // Calls that are about to go there have to ask, too.
        let mut about = Vec::new();
        for (stream, call) in &mut self.calls {
            if let Some(target) = &mut call.target
                && (call.share, call.stage) == (id, Stage::Preparing)
                && let Hop::Direct(to) = target.hop
                && to.ip() == address
                && let name @ Host::Name(_) = target.uri.host()
            {
                about.push((*stream, name.to_string()));
                target.hop = Hop::Unresolved { port: to.port() };
            }
        }
        for (stream, name) in about {
            // It has its ports as long as the name has its address.
            self.set_call_timer(stream, Some(now + PATIENCE));
            self.resolve(now, id, &name, Waiter::Call(stream));
        }
    }

    /// Names asked for too long ago count as not found.
    pub(super) fn names_overdue(&mut self, now: Instant, id: ShareId) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let overdue: Vec<String> = share
            .names
            .iter()
            .filter(|(_, name)| matches!(name, Name::Asked { at, .. } if *at + PATIENCE <= now))
            .map(|(host, _)| host.clone())
            .collect();
        for host in overdue {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            self.resolved(now, id, &host, Err(&NoAddress::Unknown(reason)));
        }
    }

    fn found(
        &mut self,
        now: Instant,
        id: ShareId,
        waiter: Waiter,
        ip: Result<IpAddr, (Outcome, String)>,
    ) {
        match (waiter, ip) {
            (Waiter::NextHop, Ok(ip)) => {
                let port = self
                    .shares
                    .get(&id)
                    .and_then(|share| share.assign.next_hop());
                let next_hop = port.map(|(_, port)| SocketAddr::new(ip, port));
                self.open_endpoints(now, id, next_hop);
            }
            (Waiter::NextHop, Err((outcome, reason))) => {
                let count = self.shares.get(&id).map_or(0, |share| share.assign.count);
                for index in 0..count {
                    self.fail_endpoint(now, id, index, outcome, &reason);
                }
            }
            (Waiter::Call(stream), Ok(ip)) => self.hop_found(now, stream, ip),
            (Waiter::Call(stream), Err((outcome, reason))) => {
                if outcome == Outcome::CallFailed {
                    self.not_reached(stream);
                }
                self.raise(stream, outcome, &reason);
                self.abandon(now, stream);
            }
        }
    }

    /// A server that a call would have gone to cannot be used, as when a connection to it fails.
    fn not_reached(&mut self, stream: StreamId) {
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        let share = self.shares.get(&call.share);
        let endpoint = share.and_then(|share| share.endpoints.get(call.endpoint as usize));
        let key = endpoint.map(|endpoint| endpoint.key);
        self.transport_error(key);
    }

    fn hop_found(&mut self, now: Instant, stream: StreamId, ip: IpAddr) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if let Some(target) = &mut call.target
            && let Hop::Unresolved { port } = target.hop
        {
            target.hop = Hop::Direct(SocketAddr::new(ip, port));
        }
        self.try_invite(now, stream);
    }
}
