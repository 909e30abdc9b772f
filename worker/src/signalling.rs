//! SIP on this host: ports, sockets and the shard that runs the engine.

mod convert;
mod handle;
mod idle;
mod messages;
mod poller;
mod ports;
mod reports;
mod resolver;
mod shard;
mod socket;
mod stats;
mod transport;

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use callmeter_engine::Held;
pub use handle::{Room, ShardHandle, Waker};
pub use messages::{Command, Report, StopCause};
use resolver::Resolver;
use shard::Shard;
use stats::Stats;
use tokio::sync::mpsc;

use crate::{
    config::{Addresses, PortRange},
    health::Health,
    media::MediaClient,
    sys::thread::step_back,
    telemetry::Telemetry,
};

/// What signalling is told of its environment.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The addresses in use.
    pub addresses: Addresses,
    /// `SIP_PORT_START` to `SIP_PORT_END`.
    pub sip_ports: PortRange,
    /// `SIP_DNS_SERVER`: asked for names of SIP instead of the system's resolver.
    pub dns_server: Option<SocketAddr>,
}

/// The running shard, as the rest of the process sees it.
#[derive(Debug)]
pub struct Signalling {
    /// The way to it.
    pub shard: ShardHandle,
    /// What it reports.
    pub reports: mpsc::Receiver<Report>,
    /// Its figures.
    pub stats: SignallingStats,
    /// Why its thread ended, if it did.
    pub failed: mpsc::Receiver<String>,
}

/// The shard's figures for heartbeats and metrics.
#[derive(Debug, Clone)]
pub struct SignallingStats(Arc<Stats>);

impl SignallingStats {
    /// Why no SIP port can be bound; none: one can.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }

    /// Adds what happened since the call before; one caller only.
    pub fn observe(&self, telemetry: &Telemetry) {
        let Stats {
            received,
            sent,
            send_errors,
            oversized,
            malformed,
            turned_away,
            ..
        } = &*self.0;
        telemetry
            .datagrams_refused
            .with_label_values(&["sip"])
            .inc_by(malformed.since_last());
        let Held {
            shares,
            calls,
            timers,
            sip,
        } = self.0.held();
        for (what, count) in [
            ("shares", shares),
            ("calls", calls.max(sip.calls)),
            ("endpoints", sip.endpoints),
            ("registrations", sip.registrations),
            ("transactions", sip.transactions),
            ("timers", timers + sip.timers),
            ("listeners", sip.listeners),
        ] {
            let gauge = telemetry.signalling_held.with_label_values(&[what]);
            gauge.set(count as i64);
        }
        telemetry
            .sip_messages
            .with_label_values(&["received"])
            .inc_by(received.since_last());
        telemetry
            .sip_messages
            .with_label_values(&["sent"])
            .inc_by(sent.since_last());
        telemetry.sip_send_errors.inc_by(send_errors.since_last());
        telemetry.sip_oversized.inc_by(oversized.since_last());
        let turned_away = turned_away.since_last();
        telemetry.sip_connections_refused.inc_by(turned_away);
    }
}

/// Starts the shard's thread and the resolver's task. `media` must wake `waker`.
pub fn start(
    settings: Settings,
    health: &Health,
    media: MediaClient,
    waker: Waker,
) -> io::Result<Signalling> {
    let now = Instant::now();
    let (shard, inputs) = ShardHandle::new(waker.clone());
    let (reports_in, reports) = mpsc::channel(reports::QUEUE);
    let (questions_in, questions) = mpsc::channel(resolver::QUEUE);
    let (failed_in, failed) = mpsc::channel(1);
    let stats = Arc::new(Stats::default());
    let parts = shard::Parts {
        settings,
        inputs,
        waker,
        reports: reports_in,
        questions: questions_in,
        media,
        pulse: health.watch("signalling-0", now),
        stats: Arc::clone(&stats),
        seed: rand::random(),
    };
    let thread = Shard::new(now, parts)?;
    std::thread::Builder::new()
        .name("signalling-0".into())
        .spawn(move || {
            if let Err(error) = step_back() {
                tracing::debug!(%error, "signalling competes with the media threads");
            }
            let reason = match thread.run() {
                Ok(()) => "its control task is gone".to_owned(),
                Err(error) => error.to_string(),
            };
            // Nobody listens only when the process is ending anyway.
            let _ = failed_in.blocking_send(reason);
        })?;
    let resolver = Resolver::new(settings.addresses.sip, settings.dns_server)?;
    tokio::spawn(resolver::run(questions, shard.clone(), resolver));
    Ok(Signalling {
        shard,
        reports,
        stats: SignallingStats(stats),
        failed,
    })
}
