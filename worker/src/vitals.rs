//! The process's own figures: what heartbeats, metrics and every sample row say of the generator.

use std::{
    io,
    net::UdpSocket,
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_engine::HostFigures;
use callmeter_proto::worker::Heartbeat;

use crate::{
    config::PortRange,
    health::{Health, Pulse},
    host::{HostReader, HostSample},
    media::{LatenessHistogram, LocalStats, MediaPool},
    signalling::{ShardHandle, SignallingStats},
    sys::clock,
    telemetry::Telemetry,
};

/// A step of the wall clock above this marks the second (design: validity metrics).
const MARKED_STEP: Duration = Duration::from_millis(1);
/// A step above this makes the worker unhealthy for a while.
const BIG_STEP: Duration = Duration::from_secs(1);
/// How long a big step is told: at least one heartbeat carries it.
const BIG_STEP_HOLD: Duration = Duration::from_secs(15);
/// Lateness past the last class of the histogram, in milliseconds.
const OPEN_CLASS_MS: f64 = 1000.0;

/// What the figures come from.
#[derive(Debug)]
pub struct Sources {
    /// Liveness of the loops.
    pub health: Arc<Health>,
    /// The media threads.
    pub media: MediaPool,
    /// Address and ports of RTP, for the check whether any can be bound.
    pub rtp: (std::net::IpAddr, PortRange),
    /// The shard's counters.
    pub signalling: SignallingStats,
    /// Where the engine's share of the figures goes.
    pub shard: ShardHandle,
}

/// Reads everything once a second; owned by the control task.
#[derive(Debug)]
pub struct Vitals {
    sources: Sources,
    media_pulses: Vec<Pulse>,
    host: HostReader,
    sample: HostSample,
    stats: LocalStats,
    told_lateness: LatenessHistogram,
    wall_offset: i64,
    stepped_until: Option<Instant>,
    rtp_trouble: Option<String>,
    trouble: String,
}

/// The media threads cannot be relied on any more.
#[derive(Debug, thiserror::Error)]
#[error("a media thread has ended")]
pub struct MediaFailed;

impl Vitals {
    /// Vitals from `now` on.
    pub fn new(now: Instant, sources: Sources) -> Self {
        let threads = sources.media.ticks().len();
        let watch = |index| sources.health.watch(format!("media-{index}"), now);
        let mut vitals = Self {
            media_pulses: (0..threads).map(watch).collect(),
            host: HostReader::new(),
            sample: HostSample::default(),
            stats: sources.media.local_stats(),
            told_lateness: LatenessHistogram::default(),
            wall_offset: clock::wall_offset(),
            stepped_until: None,
            rtp_trouble: None,
            trouble: String::new(),
            sources,
        };
        vitals.rtp_trouble = vitals.no_rtp_port();
        vitals
    }

    /// Once a second: looks at everything, adds to the metrics, tells the engine.
    pub fn observe(&mut self, now: Instant, telemetry: &Telemetry) -> Result<(), MediaFailed> {
        if self.sources.media.has_failed() {
            return Err(MediaFailed);
        }
        for (pulse, tick) in self.media_pulses.iter().zip(self.sources.media.ticks()) {
            pulse.beat(tick);
        }
        self.sample = self.host.read(now);
        let stats = self.sources.media.local_stats();
        let before = std::mem::replace(&mut self.stats, stats);
        let stepped = self.observe_clock(now);
        if stats.port_clashes > before.port_clashes || self.rtp_trouble.is_some() {
            self.rtp_trouble = self.no_rtp_port();
        }
        self.sources.shard.tell_host(HostFigures {
            cpu_percent: self.sample.cpu_percent,
            memory_mb: self.sample.memory_mb,
            udp_rcvbuf_errors: self.sample.udp_rcvbuf_errors,
            throttled_ms: self.sample.throttled_ms,
            steal_percent: self.sample.steal_percent,
            ring_overflows: Some(stats.ring_overflows - before.ring_overflows),
            clock_stepped: Some(stepped),
        });
        self.sources.signalling.observe(telemetry);
        count_media(telemetry, &stats, &before);
        self.trouble = self.find_trouble(now);
        Ok(())
    }

    /// Why the process is not healthy; empty when it is.
    pub fn trouble(&self) -> &str {
        &self.trouble
    }

    /// The heartbeat of this moment; lateness since the one before.
    pub fn heartbeat(&mut self, active_endpoints: u32) -> Heartbeat {
        let lateness = self.stats.lateness;
        let since = lateness.since(&std::mem::replace(&mut self.told_lateness, lateness));
        Heartbeat {
            active_endpoints,
            healthy: self.trouble.is_empty(),
            unhealthy_reason: self.trouble.clone(),
            cpu_percent: self.sample.cpu_percent.unwrap_or_default(),
            tx_lateness_p99_ms: p99(&since),
            memory_mb: self.sample.memory_mb.unwrap_or_default(),
        }
    }

    /// Whether the wall clock moved against the monotonic one since the second before.
    fn observe_clock(&mut self, now: Instant) -> bool {
        let offset = clock::wall_offset();
        let moved = (offset - std::mem::replace(&mut self.wall_offset, offset)).unsigned_abs();
        let moved = Duration::from_nanos(moved);
        if moved > BIG_STEP {
            tracing::warn!(?moved, "the wall clock was stepped");
            self.stepped_until = Some(now + BIG_STEP_HOLD);
        }
        moved > MARKED_STEP
    }

    fn find_trouble(&mut self, now: Instant) -> String {
        let stuck = self.sources.health.stuck(now);
        if !stuck.is_empty() {
            return format!("no tick for 5 s: {}", stuck.join(", "));
        }
        if self.stepped_until.is_some_and(|until| now < until) {
            return "the wall clock was stepped by more than 1 s".into();
        }
        let ports = self
            .sources
            .signalling
            .trouble()
            .or_else(|| self.rtp_trouble.clone());
        ports.unwrap_or_default()
    }

    /// Why no stream could get a port now; none: one could. Streams that are open prove it.
    fn no_rtp_port(&self) -> Option<String> {
        let (ip, range) = self.sources.rtp;
        let bind = |port: u16| -> io::Result<()> { UdpSocket::bind((ip, port)).map(drop) };
        let mut even = (range.first..=range.last).filter(|port| port % 2 == 0);
        let any = self.stats.streams_open > 0
            || even
                .any(|port| port < range.last && bind(port).and_then(|()| bind(port + 1)).is_ok());
        (!any).then(|| format!("no pair of RTP ports of {range} can be bound"))
    }
}

fn count_media(telemetry: &Telemetry, stats: &LocalStats, before: &LocalStats) {
    let rtp = |direction| telemetry.rtp_packets.with_label_values(&[direction]);
    rtp("sent").inc_by(stats.packets_sent - before.packets_sent);
    rtp("received").inc_by(stats.packets_received - before.packets_received);
    let refused = |protocol| telemetry.datagrams_refused.with_label_values(&[protocol]);
    refused("rtp").inc_by(stats.rtp_refused - before.rtp_refused);
    refused("rtcp").inc_by(stats.rtcp_refused - before.rtcp_refused);
    telemetry
        .socket_drops
        .inc_by(stats.socket_drops - before.socket_drops);
    telemetry
        .ring_overflows
        .inc_by(stats.ring_overflows - before.ring_overflows);
    telemetry
        .rtp_send_errors
        .inc_by(stats.send_errors - before.send_errors);
    telemetry
        .rtp_send_skipped
        .inc_by(stats.send_skipped - before.send_skipped);
    telemetry.streams_open.set(stats.streams_open as i64);
    let lateness = stats.lateness.since(&before.lateness);
    telemetry
        .tx_lateness_p99_ms
        .set(p99(&lateness).unwrap_or_default());
}

fn p99(lateness: &LatenessHistogram) -> Option<f64> {
    lateness.quantile_ms(0.99).map(|ms| ms.min(OPEN_CLASS_MS))
}
