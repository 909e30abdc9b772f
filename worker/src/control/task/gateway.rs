//! What an accepted, refused or lost stream means for the worker.

use std::time::{Duration, Instant};

use callmeter_proto::worker::Welcome;

use super::{Control, State};
use crate::{control::Refusal, health::GatewayLink};

/// Heartbeats come at least this far apart, and often enough for the 60 s after which a gateway
/// holds a silent worker for gone.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(20);

/// The interval a Welcome asks for, within what makes sense.
fn heartbeat_interval(ms: u32) -> Duration {
    let asked = Duration::from_millis(ms.into());
    let used = asked.clamp(LEAST_INTERVAL, LONGEST_INTERVAL);
    if used != asked {
        tracing::warn!(
            ?asked,
            ?used,
            "heartbeat_interval_ms; accepted: 1000 to 20000"
        );
    }
    used
}

impl Control {
    pub(super) fn welcome(&mut self, now: Instant, welcome: &Welcome) {
        let State::Opening(link, _) = std::mem::replace(&mut self.link, State::Off) else {
            return;
        };
        self.link = State::Up(link);
        self.backoff.reset();
        self.last_failure.clear();
        self.session.connected(now, welcome);
        self.health.set_link(GatewayLink::Connected);
        self.telemetry.connected.set(1);
        self.telemetry.connections.inc();
        if welcome.heartbeat_interval_ms > 0 {
            self.heartbeat.interval = heartbeat_interval(welcome.heartbeat_interval_ms);
        }
        self.heartbeat.next = now;
        tracing::info!(
            worker_id = %welcome.worker_id,
            worker = %welcome.name,
            organisation = %welcome.organisation,
            project = %welcome.project,
            capacity = welcome.effective_capacity,
            fenced = welcome.fence.is_some(),
            gateway_version = %welcome.gateway_version,
            "connected to the gateway"
        );
        // R27
        if self.own_capacity > 0 && welcome.effective_capacity >= self.own_capacity {
            tracing::warn!(
                capacity = self.own_capacity,
                "capacity is lowered to what RTP_PORT_MIN to RTP_PORT_MAX and the limit of open \
                 files hold"
            );
        }
    }

    pub(super) fn refused(&mut self, now: Instant, refusal: &Refusal) {
        self.drop_link(now);
        self.health.set_link(GatewayLink::Refused);
        self.telemetry
            .connection_failures
            .with_label_values(&[refusal.as_str()])
            .inc();
        if *refusal == Refusal::InvalidToken {
            tracing::error!("{}", refusal.message());
            self.link = State::Off;
            self.token_refused.get_or_insert(now);
            return;
        }
        let wait = self.retry(now);
        if self.last_failure != refusal.message() {
            tracing::error!(retry_in = ?wait, "{}", refusal.message());
            refusal.message().clone_into(&mut self.last_failure);
        }
    }

    pub(super) fn lose(&mut self, now: Instant, reason: String, label: &'static str) {
        self.drop_link(now);
        self.telemetry
            .connection_failures
            .with_label_values(&[label])
            .inc();
        let wait = self.retry(now);
        if self.last_failure == reason {
            tracing::debug!(retry_in = ?wait, "gateway connection failed again: {reason}");
        } else {
            tracing::warn!(retry_in = ?wait, "gateway connection failed: {reason}");
            self.last_failure = reason;
        }
    }

    fn drop_link(&mut self, now: Instant) {
        self.link = State::Off;
        self.session.disconnected(now);
        self.health.set_link(GatewayLink::LostAt(now));
        self.telemetry.connected.set(0);
    }

    fn retry(&mut self, now: Instant) -> Duration {
        let wait = self.backoff.wait(rand::random());
        self.link = State::Waiting(now + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither a storm of heartbeats nor a silence that passes for a lost worker.
    #[test]
    fn an_interval_out_of_range_is_not_taken() {
        for (ms, used) in [
            (1, 1),
            (1000, 1),
            (10_000, 10),
            (20_000, 20),
            (u32::MAX, 20),
        ] {
            assert_eq!(heartbeat_interval(ms), Duration::from_secs(used), "{ms}");
        }
    }
}
