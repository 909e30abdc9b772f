//! `make bench`, `make bench-sip`: the worker as a process on one core against its goals (G1 to G8,
//! G12, G13), beside a peer that does the least anybody has to do, in the same minute.
//!
//! The other core holds everything else: far ends, SIPp, and the gateway's end of the protocol.
//! What the worker sends is judged by the receiver from kernel stamps. Arguments: `media`,
//! `sip` (both, if none is given) or its parts `calls`, `tcp`, `tls` and `registrations`, numbers of
//! endpoints, and `real-time` for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on ends with the reason"
)]

mod answerer;
mod calls;
mod connections;
mod far;
mod machine;
mod media;
mod registrar;
mod registrations;
mod report;
mod secure;
mod sipp;
#[path = "../../tests/support/mod.rs"]
mod support;
mod under_test;

use std::time::Instant;

use calls::Over;
use machine::Cores;
use media::Scheduling;

/// Two-way endpoints of the media benchmark.
const ENDPOINTS: [u32; 5] = [500, 1000, 1500, 2000, 3000];
/// The same once more with real-time scheduling.
const REAL_TIME: u32 = 2000;

struct Plan {
    media: bool,
    calls: bool,
    tcp: bool,
    tls: bool,
    registrations: bool,
    endpoints: Vec<(u32, Scheduling)>,
}

/// Reads the arguments; none if this is not a benchmark but a test run over all targets.
fn plan() -> Option<Plan> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if !given.iter().any(|argument| argument == "--bench") {
        return None;
    }
    let scheduling = if given.iter().any(|word| word == "real-time") {
        Scheduling::RealTime
    } else {
        Scheduling::Plain
    };
    let numbers = given.iter().filter_map(|word| word.parse().ok());
    let mut endpoints: Vec<_> = numbers.map(|count| (count, scheduling)).collect();
    if endpoints.is_empty() {
        endpoints.extend(ENDPOINTS.map(|count| (count, scheduling)));
        if rustix::process::geteuid().is_root() {
            endpoints.push((REAL_TIME, Scheduling::RealTime));
        }
    }
    let named = |name: &str| given.iter().any(|word| word == name);
    let parts = ["media", "sip", "calls", "tcp", "tls", "registrations"];
    let all = !parts.into_iter().any(named);
    Some(Plan {
        media: all || named("media"),
        calls: all || named("sip") || named("calls"),
        tcp: all || named("sip") || named("tcp"),
        tls: all || named("sip") || named("tls"),
        registrations: all || named("sip") || named("registrations"),
        endpoints,
    })
}

fn main() {
    if std::env::args().any(|argument| argument == connections::ECHO) {
        return connections::echo();
    }
    let Some(plan) = plan() else {
        eprintln!("skipped: a benchmark, started by `make bench`");
        return;
    };
    let begin = Instant::now();
    let cores = Cores::choose();
    // Threads and processes started from here on stay on that core, the worker apart.
    cores.take_other();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    report::header(&cores);
    if plan.media {
        let points = runtime.block_on(media::measure(&cores, &plan.endpoints));
        report::media(&points);
    }
    if plan.calls {
        match runtime.block_on(calls::measure(&cores, Over::Udp)) {
            Some(figures) => report::calls(&figures),
            None => println!("\ncalls/s: not measured, SIPp is not installed"),
        }
    }
    if plan.tcp
        && let Some(figures) = runtime.block_on(calls::measure(&cores, Over::Tcp))
    {
        report::tcp(&figures);
    }
    if plan.tls {
        let figures = runtime.block_on(calls::measure(&cores, Over::Tls));
        let connections = runtime.block_on(connections::measure(&cores));
        report::tls(figures.as_ref(), &connections);
    }
    if plan.registrations {
        let registrations = runtime.block_on(registrations::measure(&cores));
        report::registrations(&registrations);
    }
    println!("\ntook {} s", begin.elapsed().as_secs());
}
