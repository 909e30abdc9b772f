//! How a REGISTER ends: with a binding, or without one.

use std::time::{Duration, Instant};

use super::UserAgent;
use super::binding::{Outbound, Purpose, refresh_after};
use super::event::{Failure, Registered, RegistrationFailed, UaEvent};
use crate::core::TimerKey;
use crate::counters::EndpointKey;
use crate::flow::Flow;

/// Time between two registrations that are made again after a loss: a server that has just started
/// is not asked by ten thousand at once.
const RECOVERY_PACE: Duration = Duration::from_millis(5);
/// What is added to that at random.
const RECOVERY_WITHIN: Duration = Duration::from_millis(500);
/// RFC 5626 §4.5, with no other flow left.
const RECOVERY_BASE: Duration = Duration::from_secs(30);
const RECOVERY_MOST: Duration = Duration::from_secs(1800);

/// How long to wait for the next attempt at a flow after so many that failed in a row (RFC 5626
/// §4.5): 60 s after the first, then twice as long each time, 1,800 s at most; of that 50 to 100 %,
/// as `random` from 0 to 1 says.
pub fn recovery_wait(failures: u32, random: f64) -> Duration {
    let most = RECOVERY_BASE.saturating_mul(1 << failures.min(10));
    most.min(RECOVERY_MOST)
        .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

impl UserAgent {
    /// A flow broke that peers could not have made, or that the registrar keeps: what was registered
    /// by it cannot be reached any more, until a REGISTER goes out over another one (RFC 5626 §4.2).
    /// While the server is down each message to it breaks another flow: who has a turn already keeps it.
    pub(super) fn register_after_loss(&mut self, now: Instant, flow: Flow) {
        let Some(bound) = self.listeners.get(&flow.local) else {
            return;
        };
        let accepts = bound.listener.accepts;
        let is_lost = |key: &EndpointKey| {
            let binding = self
                .endpoints
                .get(key)
                .and_then(|endpoint| endpoint.binding.as_ref());
            binding.is_some_and(|binding| {
                binding.stands
                    && !binding.recovering
                    && binding.attempt.is_none()
                    && binding.server == Some(flow.remote)
                    && (!accepts || binding.outbound == Outbound::Confirmed)
            })
        };
        let lost: Vec<_> = bound.endpoints.iter().copied().filter(is_lost).collect();
        for key in lost {
            let at = self.recovery.map_or(now, |next| next.max(now));
            self.recovery = Some(at + RECOVERY_PACE);
            let at = at + self.core.up_to(RECOVERY_WITHIN);
            if let Some(endpoint) = self.endpoints.get_mut(&key)
                && let Some(binding) = &mut endpoint.binding
            {
                binding.recovering = true;
                let timer = TimerKey::Registration(key);
                binding.refresh.set(&mut self.core.timers, timer, Some(at));
            }
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
        binding.server = attempt.server;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 5626 §4.5.
    #[test]
    fn the_wait_doubles_up_to_half_an_hour() {
        let bounds = |failures| {
            let (least, most) = (recovery_wait(failures, 0.0), recovery_wait(failures, 1.0));
            (least.as_secs(), most.as_secs())
        };
        let table = [
            (30, 60),
            (60, 120),
            (120, 240),
            (240, 480),
            (480, 960),
            (900, 1800),
        ];
        for (failures, wanted) in (1..).zip(table) {
            assert_eq!(bounds(failures), wanted, "{failures}");
        }
        assert_eq!(bounds(u32::MAX), (900, 1800));
    }
}
