//! What heartbeats tell about this process: CPU, memory, send lateness, health.

use std::{fs, sync::Arc, time::Instant};

use callmeter_proto::worker::Heartbeat;
use rustix::time::{ClockId, clock_gettime};

use crate::{health::Health, telemetry::Telemetry};

/// Figures of the engine's threads, read once a second.
pub trait Generator: Send {
    /// Why the process cannot do work now; none: it can. Ports that cannot be bound and a stepped
    /// clock are reasons, stuck threads are watched elsewhere.
    fn trouble(&mut self, now: Instant) -> Option<String>;
    /// 99th percentile of send lateness since the call before, in milliseconds; none: nothing sent.
    fn tx_lateness_p99_ms(&mut self) -> Option<f64>;
    /// Adds what happened since the call before to the metrics.
    fn observe(&mut self, telemetry: &Telemetry);
}

/// Reader of the process's own figures.
pub struct Vitals {
    health: Arc<Health>,
    generator: Box<dyn Generator>,
    cpu: Option<(Instant, f64)>,
    trouble: String,
}

impl std::fmt::Debug for Vitals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vitals")
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl Vitals {
    /// Vitals of the process whose loops `health` watches.
    pub fn new(health: Arc<Health>, generator: Box<dyn Generator>) -> Self {
        Self {
            health,
            generator,
            cpu: None,
            trouble: String::new(),
        }
    }

    /// Once a second: looks at the generator and adds to the metrics.
    pub(super) fn observe(&mut self, now: Instant, telemetry: &Telemetry) {
        let stuck = self.health.stuck(now);
        self.trouble = if stuck.is_empty() {
            self.generator.trouble(now).unwrap_or_default()
        } else {
            format!("no tick for 5 s: {}", stuck.join(", "))
        };
        self.generator.observe(telemetry);
    }

    /// Why the process is not healthy; empty when it is.
    pub(super) fn unhealthy_reason(&self) -> &str {
        &self.trouble
    }

    /// The heartbeat of this moment; CPU and lateness since the one before.
    pub(super) fn heartbeat(&mut self, now: Instant, active_endpoints: u32) -> Heartbeat {
        Heartbeat {
            active_endpoints,
            healthy: self.trouble.is_empty(),
            unhealthy_reason: self.trouble.clone(),
            cpu_percent: self.cpu_percent(now),
            tx_lateness_p99_ms: self.generator.tx_lateness_p99_ms(),
            memory_mb: resident_mb(),
        }
    }

    fn cpu_percent(&mut self, now: Instant) -> f64 {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let used = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        let before = self.cpu.replace((now, used));
        before.map_or(0.0, |(then, then_used)| {
            let passed = now.saturating_duration_since(then).as_secs_f64();
            if passed > 0.0 {
                (used - then_used) / passed * 100.0
            } else {
                0.0
            }
        })
    }
}

/// Resident memory in MB (2^20 bytes); 0 where the kernel does not tell.
fn resident_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
