//! The tables of calls per second and of connections, and G1 to G4.

use super::verdict;
use crate::{
    calls::{Figures, Rate},
    connections::{Connections, Opened},
};

/// The table of calls per second over UDP and G1, G2.
pub(crate) fn calls(figures: &Figures) {
    println!("\nCalls over UDP, one core, none failed, nothing sent again.");
    table(figures);
    let Some((answers, calls)) = figures.worker_answers.zip(figures.worker_calls) else {
        return;
    };
    let rate = answers.per_second.min(calls.per_second);
    let sipp = [figures.sipp_answers, figures.sipp_calls]
        .into_iter()
        .flatten();
    let target = sipp
        .map(|rate| rate.per_second)
        .fold(f64::INFINITY, f64::min);
    let cpu = answers.cpu_us.max(calls.cpu_us);
    let signalling = answers.signalling_us.max(calls.signalling_us);
    println!("\n| goal | floor | target | measured | |\n|---|---|---|---|---|");
    println!(
        "| G1 calls/s, with media ports | 8000 | SIPp's {target:.0} | {rate:.0} | {} |",
        verdict(rate >= 8000.0, rate >= target)
    );
    println!(
        "| G2 µs CPU per call, signalling | 100 | 30 | {signalling:.1} | {} |",
        verdict(signalling <= 100.0, signalling <= 30.0)
    );
    println!(
        "| G2 with media ports, events and rows | 100 | 30 | {cpu:.1} | {} |",
        verdict(cpu <= 100.0, cpu <= 30.0)
    );
}

fn table(figures: &Figures) {
    println!(
        "| under test | calls/s | SIPp | ratio | µs CPU per call | SIPp | of it signalling |\n\
         |---|---|---|---|---|---|---|"
    );
    let shown = |rate: Option<Rate>, figure: fn(Rate) -> f64| {
        rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", figure(rate)))
    };
    for (what, worker, sipp) in [
        ("answers", figures.worker_answers, figures.sipp_answers),
        ("calls", figures.worker_calls, figures.sipp_calls),
    ] {
        let ratio = worker
            .zip(sipp)
            .map(|(worker, sipp)| worker.per_second / sipp.per_second);
        println!(
            "| {what} | {} | {} | {} | {} | {} | {} |",
            shown(worker, |rate| rate.per_second),
            shown(sipp, |rate| rate.per_second),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            shown(worker, |rate| rate.cpu_us),
            shown(sipp, |rate| rate.cpu_us),
            shown(worker, |rate| rate.signalling_us),
        );
    }
}

/// Calls over one TCP connection and G3.
pub(crate) fn tcp(figures: &Figures) {
    println!("\nCalls over one TCP connection; one core, none failed.");
    table(figures);
    let rate = least(figures);
    println!("\n| goal | floor | target | measured | |\n|---|---|---|---|---|");
    println!(
        "| G3 calls/s over one TCP connection | 8000 | 30000 | {rate:.0} | {} |",
        verdict(rate >= 8000.0, rate >= 30_000.0)
    );
}

/// Calls over one TLS connection and G3, new connections and G4.
pub(crate) fn tls(figures: Option<&Figures>, connections: &Connections) {
    if let Some(figures) = figures {
        println!(
            "\nCalls over one TLS connection, which a relay puts on for SIPp; one core, none failed."
        );
        table(figures);
    }
    println!("\n| goal | floor | target | measured | |\n|---|---|---|---|---|");
    let rate = figures.map_or(0.0, least);
    println!(
        "| G3 calls/s over one TLS connection; a bare rustls loop takes {:.1} µs for the messages \
         of one | 5000 | 10000 | {rate:.0} | {} |",
        connections.bare_call_us,
        verdict(rate >= 5000.0, rate >= 10_000.0)
    );
    let shown = |opened: &Result<Opened, String>| match opened {
        Ok(Opened { per_second, cpu_us }) => format!("{per_second:.0} ({cpu_us:.0} µs each)"),
        Err(_) => "none".to_owned(),
    };
    let opened = connections.worker.as_ref();
    let rate = opened.map_or(0.0, |opened| opened.per_second);
    println!(
        "| G4 new TLS connections/s; a bare rustls loop {} | 500 | 2000 | {} | {} |",
        shown(&connections.bare),
        shown(&connections.worker),
        verdict(rate >= 500.0, rate >= 2000.0)
    );
}

/// The lower rate of answering and calling.
fn least(figures: &Figures) -> f64 {
    let both = figures.worker_answers.zip(figures.worker_calls);
    both.map_or(0.0, |(answers, calls)| {
        answers.per_second.min(calls.per_second)
    })
}
