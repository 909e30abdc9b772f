//! The process's and the node's own figures: what a result needs to prove that the generator was
//! not the bottleneck. What the system does not tell is absent.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::sys::load::{KernelLoad, LoadReader};

/// Figures since the reading before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostSample {
    /// CPU of this process in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Resident memory in MB (2^20 bytes).
    pub memory_mb: Option<f64>,
    /// UDP `RcvbufErrors` of the network namespace.
    pub udp_rcvbuf_errors: Option<u64>,
    /// Milliseconds this cgroup was throttled.
    pub throttled_ms: Option<f64>,
    /// CPU time stolen by the hypervisor, in percent of all CPUs.
    pub steal_percent: Option<f64>,
}

/// Reads differences; each reader has its own starting point.
#[derive(Debug, Default)]
pub struct HostReader {
    load: LoadReader,
    last: Option<(Instant, Duration, KernelLoad)>,
}

impl HostReader {
    /// A reader whose first sample holds no differences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads everything at `now`.
    pub fn read(&mut self, now: Instant) -> HostSample {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        let load = self.load.read();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory_mb = resident_mb(&status);
        let Some((then, used_then, load_then)) = self.last.replace((now, used, load)) else {
            return HostSample {
                memory_mb,
                ..HostSample::default()
            };
        };
        let passed = now.saturating_duration_since(then).as_secs_f64();
        let cpu = used.saturating_sub(used_then).as_secs_f64();
        HostSample {
            cpu_percent: (passed > 0.0).then(|| cpu / passed * 100.0),
            memory_mb,
            ..differences(&load, &load_then)
        }
    }
}

fn differences(load: &KernelLoad, then: &KernelLoad) -> HostSample {
    let since = |new: Option<u64>, old: Option<u64>| Some(new?.saturating_sub(old?));
    let ticks = since(load.total_ticks, then.total_ticks).filter(|ticks| *ticks > 0);
    let stolen = since(load.steal_ticks, then.steal_ticks);
    HostSample {
        udp_rcvbuf_errors: since(load.udp_rcvbuf_errors, then.udp_rcvbuf_errors),
        throttled_ms: since(load.throttled_us, then.throttled_us).map(|us| us as f64 / 1000.0),
        steal_percent: stolen
            .zip(ticks)
            .map(|(stolen, all)| stolen as f64 / all as f64 * 100.0),
        ..HostSample::default()
    }
}

/// `VmRSS:   1234 kB` of /proc/self/status.
fn resident_mb(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_by_name() {
        assert_eq!(resident_mb("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2.0));
        assert_eq!(resident_mb("Name:\tx\n"), None);
    }

    #[test]
    fn differences_need_both_readings() {
        let load = |errors, throttled, steal, total| KernelLoad {
            udp_rcvbuf_errors: errors,
            throttled_us: throttled,
            steal_ticks: Some(steal),
            total_ticks: Some(total),
        };
        let sample = differences(
            &load(Some(9), None, 30, 300),
            &load(Some(4), Some(7), 10, 100),
        );
        assert_eq!(
            (sample.udp_rcvbuf_errors, sample.throttled_ms),
            (Some(5), None)
        );
        assert_eq!(sample.steal_percent, Some(10.0));
        let idle = differences(&load(None, Some(2500), 1, 1), &load(None, Some(0), 1, 1));
        assert_eq!((idle.throttled_ms, idle.steal_percent), (Some(2.5), None));
    }

    #[test]
    fn cpu_is_known_from_the_second_reading_on() {
        let mut reader = HostReader::new();
        let now = Instant::now();
        let first = reader.read(now);
        assert!(first.memory_mb.is_some_and(|mb| mb > 1.0) && first.cpu_percent.is_none());
        let second = reader.read(now + Duration::from_secs(1));
        assert!(
            second
                .cpu_percent
                .is_some_and(|cpu| (0.0..10_000.0).contains(&cpu))
        );
    }
}
