//! Health as a function of time (R47 to R50): no clock and no socket in here.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a lost connection leaves the worker healthy.
const GRACE: Duration = Duration::from_secs(60);
/// A loop that has not ticked for this long is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// The connection to the gateway, as health sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayLink {
    /// Never accepted by a gateway so far.
    Never,
    /// Accepted and alive.
    Connected,
    /// Lost at that time, and not refused since.
    LostAt(Instant),
    /// The gateway refused the token, the worker or the second connection.
    Refused,
}

/// Proof of life of one loop; the loop beats, `/live` reads.
#[derive(Debug, Clone)]
pub struct Pulse {
    started: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    fn new(started: Instant) -> Self {
        Self {
            started,
            last_ms: Arc::default(),
        }
    }

    /// Notes that the loop runs.
    pub fn beat(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.started).as_millis() as u64;
        self.last_ms.fetch_max(ms, Ordering::Relaxed);
    }

    fn age(&self, now: Instant) -> Duration {
        let last = self.started + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }
}

/// The body of `/health`: exactly these fields in this order (R47).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// `healthy` or `unhealthy` (R48).
    pub status: &'static str,
    /// An accepted gateway connection exists (R49).
    pub connected: bool,
    /// Whole seconds since the process started (R50).
    pub uptime: u64,
}

/// Health of the process; shared, each method takes the time it is asked at.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    link: Mutex<GatewayLink>,
    pulses: Mutex<Vec<(String, Pulse)>>,
}

impl Health {
    /// Health of a process that started at `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            link: Mutex::new(GatewayLink::Never),
            pulses: Mutex::default(),
        }
    }

    /// Adds a loop that must beat at least every 5 s from `now` on.
    pub fn watch(&self, name: impl Into<String>, now: Instant) -> Pulse {
        let pulse = Pulse::new(self.started);
        pulse.beat(now);
        self.lock_pulses().push((name.into(), pulse.clone()));
        pulse
    }

    /// Tells the state of the gateway connection. A connection lost twice counts from the first
    /// loss, and a refusal holds until a gateway accepts the worker.
    pub fn set_link(&self, link: GatewayLink) {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        *current = match (*current, link) {
            (GatewayLink::Connected, GatewayLink::LostAt(at)) => GatewayLink::LostAt(at),
            (kept, GatewayLink::LostAt(_)) => kept,
            (_, new) => new,
        };
    }

    /// Names of loops that are stuck; `/live` is 200 while there are none.
    pub fn stuck(&self, now: Instant) -> Vec<String> {
        let pulses = self.lock_pulses();
        pulses
            .iter()
            .filter(|(_, p)| p.age(now) > STUCK)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// What `/health` answers at `now`.
    pub fn report(&self, now: Instant) -> Report {
        let link = *self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let near_gateway = match link {
            GatewayLink::Connected => true,
            GatewayLink::LostAt(at) => now.saturating_duration_since(at) < GRACE,
            GatewayLink::Never | GatewayLink::Refused => false,
        };
        let healthy = near_gateway && self.stuck(now).is_empty();
        Report {
            status: if healthy { "healthy" } else { "unhealthy" },
            connected: link == GatewayLink::Connected,
            uptime: now.saturating_duration_since(self.started).as_secs(),
        }
    }

    fn lock_pulses(&self) -> std::sync::MutexGuard<'_, Vec<(String, Pulse)>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// R47, R48, R49, R50
    #[test]
    fn the_body_has_exactly_three_fields() {
        let start = Instant::now();
        let health = Health::new(start);
        health.set_link(GatewayLink::Connected);
        let body = serde_json::to_string(&health.report(after(start, 3600))).unwrap();
        assert_eq!(
            body,
            r#"{"status":"healthy","connected":true,"uptime":3600}"#
        );
    }

    /// R49, R52: healthy for 60 s after a loss, then unhealthy; uptime survives reconnects (R50).
    #[test]
    fn a_lost_gateway_is_unhealthy_after_a_minute() {
        let start = Instant::now();
        let health = Health::new(start);
        assert_eq!(health.report(start).status, "unhealthy");
        health.set_link(GatewayLink::Connected);
        health.set_link(GatewayLink::LostAt(after(start, 10)));
        // A further failed attempt does not start a new minute.
        health.set_link(GatewayLink::LostAt(after(start, 50)));
        let report = health.report(after(start, 69));
        assert_eq!(
            (report.status, report.connected, report.uptime),
            ("healthy", false, 69)
        );
        assert_eq!(health.report(after(start, 70)).status, "unhealthy");
        health.set_link(GatewayLink::Connected);
        assert_eq!(
            health.report(after(start, 71)),
            Report {
                status: "healthy",
                connected: true,
                uptime: 71
            }
        );
    }

    #[test]
    fn a_refusal_is_unhealthy_at_once_and_until_accepted() {
        let start = Instant::now();
        let health = Health::new(start);
        health.set_link(GatewayLink::Connected);
        health.set_link(GatewayLink::Refused);
        assert_eq!(health.report(start).status, "unhealthy");
        health.set_link(GatewayLink::LostAt(after(start, 1)));
        assert_eq!(health.report(after(start, 2)).status, "unhealthy");
        health.set_link(GatewayLink::Connected);
        assert_eq!(health.report(after(start, 3)).status, "healthy");
    }

    #[test]
    fn a_stuck_loop_is_named_and_makes_the_worker_unhealthy() {
        let start = Instant::now();
        let health = Health::new(start);
        health.set_link(GatewayLink::Connected);
        let control = health.watch("control", start);
        let media = health.watch("media-0", start);
        control.beat(after(start, 6));
        media.beat(after(start, 2));
        assert!(health.stuck(after(start, 7)).is_empty());
        assert_eq!(health.stuck(after(start, 8)), ["media-0"]);
        assert_eq!(health.report(after(start, 8)).status, "unhealthy");
        media.beat(after(start, 8));
        assert_eq!(health.report(after(start, 8)).status, "healthy");
    }
}
