//! What the media threads tell about themselves, readable at any time from outside.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use callmeter_rtp::Time;

/// Upper limits of the lateness classes in microseconds; one more class is open.
const LATENESS_US: [u32; 15] = [
    50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 20_000, 50_000, 100_000,
];
const CLASSES: usize = LATENESS_US.len() + 1;

/// Send time − due time of packets, by class; totals since the start, or their difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatenessHistogram {
    counts: [u64; CLASSES],
}

impl LatenessHistogram {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts }
    }

    /// Packets counted.
    pub fn packets(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper limit in milliseconds of the class that holds the given share, 0..=1, of the packets;
    /// infinite in the open class, `None` without packets.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let packets = self.packets();
        let rank = (packets as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        (packets > 0).then(|| {
            LATENESS_US
                .get(class)
                .map_or(f64::INFINITY, |limit| f64::from(*limit) / 1000.0)
        })
    }
}

/// Totals over all media threads since the pool's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalStats {
    /// RTP packets the kernel took.
    pub packets_sent: u64,
    /// Datagrams taken from RTP sockets.
    pub packets_received: u64,
    /// Datagrams of RTP sockets that were no packet of their call.
    pub rtp_refused: u64,
    /// Datagrams of RTCP sockets that were no report of their call.
    pub rtcp_refused: u64,
    /// Packets the kernel refused.
    pub send_errors: u64,
    /// Packets never sent because a thread was too late for them.
    pub send_skipped: u64,
    /// Datagrams dropped at full sockets, as far as a later datagram told.
    pub socket_drops: u64,
    /// Reports of seconds given up because a queue was full.
    pub ring_overflows: u64,
    /// Steps of the wall clock above 1 ms.
    pub clock_steps: u64,
    /// Ports of the range another process held when they were tried.
    pub port_clashes: u64,
    /// Streams with open sockets.
    pub streams_open: u64,
    /// Streams started and not removed.
    pub streams_started: u64,
    /// Lateness of all packets sent.
    pub lateness: LatenessHistogram,
}

/// One thread's part. Only that thread writes, so that adding needs no atomic read-modify-write.
#[derive(Debug, Default)]
pub(super) struct ThreadStats {
    pub(super) packets_sent: Counter,
    pub(super) packets_received: Counter,
    pub(super) rtp_refused: Counter,
    pub(super) rtcp_refused: Counter,
    pub(super) send_errors: Counter,
    pub(super) send_skipped: Counter,
    pub(super) socket_drops: Counter,
    pub(super) ring_overflows: Counter,
    pub(super) clock_steps: Counter,
    pub(super) port_clashes: Counter,
    pub(super) streams_open: Counter,
    pub(super) streams_started: Counter,
    lateness: [Counter; CLASSES],
    tick: AtomicI64,
}

/// A number one thread writes and others read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.set(self.get() + n);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ThreadStats {
    pub(super) fn late(&self, nanos: i64) {
        let micros = nanos / 1000;
        let class = LATENESS_US
            .iter()
            .position(|limit| micros <= i64::from(*limit));
        self.lateness[class.unwrap_or(CLASSES - 1)].add(1);
    }

    pub(super) fn beat(&self, now: Time) {
        self.tick.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn last_tick(&self) -> Time {
        Time::from_nanos(self.tick.load(Ordering::Relaxed))
    }

    pub(super) fn add_to(&self, sum: &mut LocalStats) {
        sum.packets_sent += self.packets_sent.get();
        sum.packets_received += self.packets_received.get();
        sum.rtp_refused += self.rtp_refused.get();
        sum.rtcp_refused += self.rtcp_refused.get();
        sum.send_errors += self.send_errors.get();
        sum.send_skipped += self.send_skipped.get();
        sum.socket_drops += self.socket_drops.get();
        sum.ring_overflows += self.ring_overflows.get();
        sum.clock_steps += self.clock_steps.get();
        sum.port_clashes += self.port_clashes.get();
        sum.streams_open += self.streams_open.get();
        sum.streams_started += self.streams_started.get();
        for (count, own) in sum.lateness.counts.iter_mut().zip(&self.lateness) {
            *count += own.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_classes_and_differences() {
        let stats = ThreadStats::default();
        let read = || {
            let mut sum = LocalStats::default();
            stats.add_to(&mut sum);
            sum.lateness
        };
        assert_eq!(read().quantile_ms(0.99), None);
        for _ in 0..99 {
            stats.late(40_000);
        }
        stats.late(1_400_000);
        let first = read();
        assert_eq!(
            (first.packets(), first.quantile_ms(0.99)),
            (100, Some(0.05))
        );
        assert_eq!(first.quantile_ms(1.0), Some(1.5));
        stats.late(-5);
        stats.late(1_000_000_000);
        let second = read().since(&first);
        assert_eq!((second.packets(), second.quantile_ms(0.5)), (2, Some(0.05)));
        assert_eq!(second.quantile_ms(1.0), Some(f64::INFINITY));
    }
}
