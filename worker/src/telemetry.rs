//! Metrics of the worker process itself, for Prometheus; figures of calls go to the gateway.

use prometheus::{
    Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The metrics, registered once; handles are kept, so that counting is an atomic addition.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    /// 1 while the gateway connection is accepted.
    pub connected: IntGauge,
    /// Streams to the gateway that were accepted.
    pub connections: IntCounter,
    /// Attempts to connect that failed or were refused, by bounded reason.
    pub connection_failures: IntCounterVec,
    /// Endpoints assigned and not yet ended.
    pub endpoints_active: IntGauge,
    /// Runs this process carries.
    pub runs_active: IntGauge,
    /// Ended calls by outcome.
    pub calls: IntCounterVec,
    /// SIP messages by direction.
    pub sip_messages: IntCounterVec,
    /// Datagrams that were no message of a call, by protocol.
    pub datagrams_refused: IntCounterVec,
    /// What signalling holds, by kind: all zero 32 s after the last run (R105).
    pub signalling_held: IntGaugeVec,
    /// SIP datagrams that could not be sent.
    pub sip_send_errors: IntCounter,
    /// SIP messages above 1,300 bytes sent in one datagram, which the network may cut or drop.
    pub sip_oversized: IntCounter,
    /// Connections of SIP peers closed at once: too many were open.
    pub sip_connections_refused: IntCounter,
    /// RTP packets by direction.
    pub rtp_packets: IntCounterVec,
    /// 99th percentile of send lateness over the last second, in milliseconds.
    pub tx_lateness_p99_ms: Gauge,
    /// Datagrams the kernel dropped at our sockets.
    pub socket_drops: IntCounter,
    /// Reports of the media threads given up because a queue was full.
    pub ring_overflows: IntCounter,
    /// RTP packets the kernel refused.
    pub rtp_send_errors: IntCounter,
    /// RTP packets never sent because a thread was too late for them.
    pub rtp_send_skipped: IntCounter,
    /// Streams with open sockets.
    pub streams_open: IntGauge,
    /// Sample rows produced.
    pub rows: IntCounter,
    /// Sample rows given up because the buffer was full.
    pub rows_dropped: IntCounter,
    /// Sample rows waiting for the gateway's confirmation.
    pub rows_buffered: IntGauge,
}

impl Telemetry {
    /// Registers all metrics. An error means that two have the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let name = |name: &str| format!("callmeter_worker_{name}");
        let gauge = |n: &str, help: &str| -> prometheus::Result<IntGauge> {
            let metric = IntGauge::new(name(n), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |n: &str, help: &str| -> prometheus::Result<IntCounter> {
            let metric = IntCounter::new(name(n), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let family = |n: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name(n), help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let lateness = Gauge::new(
            name("tx_lateness_p99_ms"),
            "Send lateness p99 of the last second.",
        )?;
        registry.register(Box::new(lateness.clone()))?;
        let held = IntGaugeVec::new(
            Opts::new(name("signalling_held"), "What signalling holds now."),
            &["what"],
        )?;
        registry.register(Box::new(held.clone()))?;
        Ok(Self {
            connected: gauge("connected", "1 while a gateway connection is accepted.")?,
            connections: counter(
                "connections_total",
                "Gateway connections that were accepted.",
            )?,
            connection_failures: family(
                "connection_failures_total",
                "Connections that failed, ended or were refused.",
                "reason",
            )?,
            endpoints_active: gauge("endpoints_active", "Endpoints assigned and not yet ended.")?,
            runs_active: gauge("runs_active", "Runs this process carries.")?,
            calls: family("calls_total", "Ended calls.", "outcome")?,
            sip_messages: family("sip_messages_total", "SIP messages.", "direction")?,
            datagrams_refused: family(
                "datagrams_refused_total",
                "Datagrams that were no message of a call: malformed, or of another source.",
                "protocol",
            )?,
            signalling_held: held,
            sip_send_errors: counter("sip_send_errors_total", "SIP datagrams not sent.")?,
            sip_oversized: counter(
                "sip_oversized_total",
                "SIP datagrams above 1300 bytes sent.",
            )?,
            sip_connections_refused: counter(
                "sip_connections_refused_total",
                "SIP connections of peers closed at once, too many being open, and times that further ones had to wait for open files.",
            )?,
            rtp_packets: family("rtp_packets_total", "RTP packets.", "direction")?,
            tx_lateness_p99_ms: lateness,
            socket_drops: counter("socket_drops_total", "Datagrams dropped at our sockets.")?,
            ring_overflows: counter("ring_overflows_total", "Media reports given up.")?,
            rtp_send_errors: counter("rtp_send_errors_total", "RTP packets the kernel refused.")?,
            rtp_send_skipped: counter("rtp_send_skipped_total", "RTP packets too late to send.")?,
            streams_open: gauge("streams_open", "RTP streams with open sockets.")?,
            rows: counter("sample_rows_total", "Sample rows produced.")?,
            rows_dropped: counter("sample_rows_dropped_total", "Sample rows given up.")?,
            rows_buffered: gauge("sample_rows_buffered", "Sample rows not yet confirmed.")?,
            registry,
        })
    }

    /// All metrics in the text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not encoded");
        }
        text
    }
}
