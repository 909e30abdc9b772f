//! The two clocks: monotonic for everything we time, wall clock for what the kernel stamps.

use std::time::{Duration, Instant};

use callmeter_rtp::{NtpTime, Time};
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// `CLOCK_MONOTONIC` now.
pub fn monotonic() -> Time {
    Time::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Nanoseconds by which the wall clock is ahead of the monotonic one.
///
/// The wall clock is read between two readings of the monotonic one, the closest pair of a few
/// counts: being interrupted in between cannot pass for a step.
pub fn wall_offset() -> i64 {
    let attempt = || {
        let before = nanos(clock_gettime(ClockId::Monotonic));
        let wall = nanos(clock_gettime(ClockId::Realtime));
        let after = nanos(clock_gettime(ClockId::Monotonic));
        (after - before, wall - i64::midpoint(before, after))
    };
    let first = attempt();
    (0..3)
        .map(|_| attempt())
        .fold(
            first,
            |best, next| if next.0 < best.0 { next } else { best },
        )
        .1
}

/// Sleeps until `due`; returns at once when it has passed, and early on a signal.
pub fn sleep_until(due: Time) {
    let due = due.as_nanos().max(0);
    let request = Timespec {
        tv_sec: due / 1_000_000_000,
        tv_nsec: due % 1_000_000_000,
    };
    // Only a signal or an invalid time end it early; the caller looks at the clock again.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &request);
}

/// Ties [`Time`] to [`Instant`], which hides its reading of the same clock, and to NTP time.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    instant: Instant,
    at: Time,
    /// Wall clock offset at the start. Reports use it for good, so that a step of the wall clock
    /// cannot fake a round-trip time.
    wall: i64,
}

impl Scale {
    /// Reads all clocks once.
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            at: monotonic(),
            wall: wall_offset(),
        }
    }

    /// The instant of `time`.
    pub fn instant(&self, time: Time) -> Instant {
        let nanos = time.nanos_since(self.at);
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        let moved = if nanos >= 0 {
            self.instant.checked_add(distance)
        } else {
            self.instant.checked_sub(distance)
        };
        moved.unwrap_or(self.instant)
    }

    /// NTP time of `time`.
    pub fn ntp(&self, time: Time) -> NtpTime {
        NtpTime::from_unix_nanos(time.as_nanos() + self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_until_a_time_reaches_it() {
        let due = monotonic().plus_nanos(2_000_000);
        while monotonic() < due {
            sleep_until(due);
        }
        let late = monotonic().nanos_since(due);
        sleep_until(Time::from_millis(1));
        assert!((0..5_000_000_000).contains(&late));
    }

    #[test]
    fn instants_and_times_run_together() {
        let scale = Scale::now();
        let before = Instant::now();
        let between = scale.instant(monotonic());
        // Reading the clocks of the scale one after the other shifts it by this much at most.
        let slack = Duration::from_millis(50);
        assert!(between + slack >= before && between <= Instant::now() + slack);
        let earlier = scale.instant(monotonic().plus_nanos(-1_000_000_000));
        assert!(earlier < before);
    }

    #[test]
    fn the_offset_is_stable_and_the_ntp_time_is_ours() {
        assert!((wall_offset() - wall_offset()).abs() < 1_000_000);
        let unix = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let ntp = Scale::now().ntp(monotonic()).0 >> 32;
        assert!((ntp - 2_208_988_800).abs_diff(unix) <= 1);
    }
}
