//! How a REGISTER ends: with a binding, or without one.

use std::time::{Duration, Instant};

use super::UserAgent;
use super::binding::{Purpose, refresh_after};
use super::event::{Failure, Registered, RegistrationFailed, UaEvent};
use crate::core::TimerKey;
use crate::counters::EndpointKey;
use crate::flow::Flow;

impl UserAgent {
    /// A flow broke that peers could not have made: what was registered by it cannot be reached any
    /// more, until a REGISTER goes out over another one (RFC 5626 §4.2).
    pub(super) fn register_after_loss(&mut self, now: Instant, flow: Flow) {
        let accepts = self
            .listeners
            .get(&flow.local)
            .is_none_or(|bound| bound.listener.accepts);
        if accepts {
            return;
        }
        let mut lost: Vec<EndpointKey> = self
            .endpoints
            .iter()
            .filter(|(_, endpoint)| {
                let stands = endpoint
                    .binding
                    .as_ref()
                    .is_some_and(|binding| binding.stands && binding.attempt.is_none());
                let config = &endpoint.config;
                stands && config.local == flow.local && config.next_hop == Some(flow.remote)
            })
            .map(|(key, _)| *key)
            .collect();
        lost.sort_unstable();
        for key in lost {
            // Fails only if the listener is gone, and then the endpoint is too.
            let _ = self.start_attempt(now, key, Purpose::Refresh);
        }
    }

    /// A 2xx ended the attempt under way; `granted` is the lifetime of our binding, if it is there.
    pub(super) fn registered(&mut self, now: Instant, key: EndpointKey, granted: Option<u64>) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let Some(binding) = endpoint.binding.as_mut() else {
            return;
        };
        let purpose = binding.attempt.as_ref().map(|attempt| attempt.purpose);
        if purpose == Some(Purpose::Unregister) {
            self.core
                .ledger
                .count(Some(key), |counters| counters.reg_success += 1);
            endpoint.binding = None;
            self.core.event(UaEvent::Unregistered {
                endpoint: key,
                at: now,
                confirmed: true,
            });
            return;
        }
        let Some(granted) = granted.filter(|granted| *granted > 0) else {
            self.registration_failed(now, key, Failure::NotBound, None);
            return;
        };
        self.core
            .ledger
            .count(Some(key), |counters| counters.reg_success += 1);
        let Some(attempt) = binding.attempt.take() else {
            return;
        };
        let refresh_at = now + refresh_after(granted);
        let timer = TimerKey::Registration(key);
        binding
            .refresh
            .set(&mut self.core.timers, timer, Some(refresh_at));
        binding.stands = true;
        let unregister = std::mem::take(&mut binding.unregister_next);
        self.core.event(UaEvent::Registered(Registered {
            endpoint: key,
            at: now,
            granted: Duration::from_secs(granted),
            sent: attempt.sent,
            authenticated: attempt.authenticated,
            refresh: attempt.purpose == Purpose::Refresh,
        }));
        if unregister {
            // Fails only if the listener is gone, and then the endpoint is too.
            let _ = self.start_attempt(now, key, Purpose::Unregister);
        }
    }

    pub(super) fn registration_failed(
        &mut self,
        now: Instant,
        key: EndpointKey,
        failure: Failure,
        retry_after: Option<Duration>,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let Some(binding) = endpoint.binding.as_mut() else {
            return;
        };
        self.core
            .ledger
            .count(Some(key), |counters| counters.reg_failed += 1);
        let purpose = binding.attempt.take().map(|attempt| attempt.purpose);
        binding.stands = false;
        let unregister = std::mem::take(&mut binding.unregister_next);
        if purpose != Some(Purpose::Unregister) {
            self.core
                .event(UaEvent::RegistrationFailed(RegistrationFailed {
                    endpoint: key,
                    at: now,
                    failure,
                    refresh: purpose == Some(Purpose::Refresh),
                    retry_after,
                }));
        }
        if unregister || purpose == Some(Purpose::Unregister) {
            endpoint.binding = None;
            self.core.event(UaEvent::Unregistered {
                endpoint: key,
                at: now,
                confirmed: false,
            });
        }
    }
}
