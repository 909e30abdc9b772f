//! The tables, and which goals hold.

mod calls;

use super::{
    machine::{Cores, median},
    media::{Point, Scheduling, Window},
    registrations::Registrations,
};

pub(crate) use calls::{calls, tcp, tls};

/// G5 counts endpoints up to this much CPU, in percent of a core.
const MOST_CPU: f64 = 80.0;
/// Waiting for other programs more than this, in percent of the time, measures them too.
const DISTURBED: f64 = 1.0;

/// What is measured, and where.
pub(crate) fn header(cores: &Cores) {
    let profile = if cfg!(debug_assertions) {
        "with debug assertions: figures mean nothing"
    } else {
        "release profile, that of the images"
    };
    println!("callmeter-worker, {profile}\n{cores}\n");
}

/// Figures of one side of a point: medians over its windows.
struct Side {
    cpu: f64,
    late_percent: f64,
    late_p99_us: f64,
    late_max_us: f64,
    slot_p99: f64,
    slot_max: f64,
    turn_peak: f64,
    lost: i64,
    /// Least packets received, in percent of those owed.
    rate: f64,
    /// How long the busiest thread waited for its core, and for other programs, in percent.
    wait: f64,
    disturbed: f64,
}

impl Side {
    fn of(windows: &[Window], endpoints: u32) -> Self {
        let middle = |figure: fn(&Window) -> f64| median(windows.iter().map(figure));
        Self {
            cpu: middle(|w| w.used.total),
            late_percent: middle(|w| w.judged.late_percent()),
            late_p99_us: middle(|w| w.judged.late_p99_us),
            late_max_us: middle(|w| w.judged.late_max_us),
            slot_p99: middle(|w| w.judged.slot_p99 / w.judged.slot_mean),
            slot_max: middle(|w| w.judged.slot_max / w.judged.slot_mean),
            turn_peak: middle(|w| w.judged.turn_peak),
            lost: windows.iter().map(|w| w.judged.lost).sum(),
            rate: windows
                .iter()
                .map(|w| w.judged.rate_percent(endpoints))
                .fold(f64::INFINITY, f64::min),
            wait: middle(|w| w.used.wait()),
            disturbed: middle(|w| w.used.disturbed()),
        }
    }
}

impl Point {
    /// The worker and its peer.
    fn sides(&self) -> (Side, Side) {
        let of = |windows: &[Window]| Side::of(windows, self.endpoints);
        (of(&self.worker), of(&self.peer))
    }
}

/// Packets received by the clock of the receiver that count as all of them, in percent.
const ALL: f64 = 99.9;

/// KiB of resident memory an endpoint takes; what the process needs for itself is in it.
fn memory_kib(point: &Point) -> f64 {
    point.loaded_kib as f64 / f64::from(point.endpoints)
}

/// How a point is called.
fn name(point: &Point) -> String {
    match point.scheduling {
        Scheduling::Plain => point.endpoints.to_string(),
        Scheduling::RealTime => format!("{} real-time", point.endpoints),
    }
}

/// A line as soon as a point is measured.
pub(crate) fn progress(point: &Point) {
    let (worker, peer) = point.sides();
    let threads = ["media", "signalling", "control"].map(|name| {
        let share = median(point.worker.iter().map(|w| w.used.thread(name)));
        format!("{name} {share:.1}")
    });
    println!(
        "  {} endpoints: worker {:.1} % CPU ({}), peer {:.1} %; waited for the core {:.1} %, peer \
         {:.1} %",
        name(point),
        worker.cpu,
        threads.join(", "),
        peer.cpu,
        worker.wait,
        peer.wait,
    );
}

/// The media table and G5 to G8.
pub(crate) fn media(points: &[Point]) {
    println!(
        "\nTwo-way G.711 endpoints, 20 ms, RTCP and all metrics on; medians of three windows.\n\
         | endpoints | CPU % | peer | ratio | lost | > 1 ms late % | peer | p99 late µs | peer | \
         turn peak | slot p99 | peer | slot max | peer | KiB/endpoint |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for point in points {
        let (worker, peer) = point.sides();
        println!(
            "| {} | {:.1} | {:.1} | {:.2} | {} | {:.3} | {:.3} | {:.0} | {:.0} | {:.2} | {:.2} | \
             {:.2} | {:.2} | {:.2} | {:.1} |",
            name(point),
            worker.cpu,
            peer.cpu,
            worker.cpu / peer.cpu,
            worker.lost,
            worker.late_percent,
            peer.late_percent,
            worker.late_p99_us,
            peer.late_p99_us,
            worker.turn_peak,
            worker.slot_p99,
            peer.slot_p99,
            worker.slot_max,
            peer.slot_max,
            memory_kib(point),
        );
    }
    for point in points {
        let says = &point.says;
        println!(
            "  {}: the worker says: {} metrics, {} rows, {:.0} packets lost, {} scores, {} with \
             RTT, lateness p99 at most {:.2} ms, {} rows generator limited; latest packet {:.1} ms \
             (peer {:.1}); {} of {} KiB at rest",
            name(point),
            says.metrics.len(),
            says.rows,
            says.packets_lost,
            says.scores,
            says.round_trips,
            says.lateness_p99_ms,
            says.limited_rows,
            point.sides().0.late_max_us / 1000.0,
            point.sides().1.late_max_us / 1000.0,
            point.idle_kib,
            point.loaded_kib,
        );
        let (worker, peer) = point.sides();
        if worker.disturbed.max(peer.disturbed) > DISTURBED {
            println!(
                "  {}: DISTURBED: other programs kept the worker from its core for {:.1} % of the \
                 time, the peer for {:.1} %",
                name(point),
                worker.disturbed,
                peer.disturbed
            );
        }
    }
    for scheduling in [Scheduling::Plain, Scheduling::RealTime] {
        let alike = points.iter().filter(|point| point.scheduling == scheduling);
        media_goals(scheduling, &alike.collect::<Vec<_>>());
    }
}

fn media_goals(scheduling: Scheduling, points: &[&Point]) {
    if points.is_empty() {
        return;
    }
    let carried = |point: &&&Point| {
        let worker = point.sides().0;
        worker.cpu <= MOST_CPU
            && worker.lost == 0
            && worker.rate >= ALL
            && point.says.packets_lost == 0.0
    };
    let best = points
        .iter()
        .filter(carried)
        .max_by_key(|point| point.endpoints);
    let how = match scheduling {
        Scheduling::Plain => "as containers are scheduled",
        Scheduling::RealTime => "with real-time scheduling",
    };
    let disturbed = points
        .iter()
        .any(|point| point.sides().0.disturbed > DISTURBED);
    if disturbed {
        println!("\nDisturbed by other programs: repeat it on a quiet machine.");
    }
    println!("\n| goal, {how} | floor | target | measured | |\n|---|---|---|---|---|");
    let Some(best) = best else {
        println!("| G5 endpoints at <= 80 % CPU, no loss | 1000 | 2000 (3000) | none | missed |");
        return;
    };
    let worker = best.sides().0;
    let more = |value: f64, floor: f64, target: f64| verdict(value >= floor, value >= target);
    let less = |value: f64, floor: f64, target: f64| verdict(value < floor, value < target);
    let count = f64::from(best.endpoints);
    println!(
        "| G5 endpoints at <= 80 % CPU, no loss | 1000 | 2000 (3000) | {count} at {:.1} % | {} |",
        worker.cpu,
        more(count, 1000.0, 2000.0)
    );
    println!(
        "| G6 packets > 1 ms off schedule | < 1 % | < 0.1 % | {:.3} % | {} |",
        worker.late_percent,
        less(worker.late_percent, 1.0, 0.1)
    );
    println!(
        "| G7 packets per slot / mean (99 % of slots) | 2 | 1.2 | {:.2} | {} |",
        worker.slot_p99,
        verdict(worker.slot_p99 <= 2.0, worker.slot_p99 <= 1.2)
    );
    let memory = memory_kib(best);
    println!(
        "| G8 memory per endpoint, KiB | 128 | 48 | {memory:.1} | {} |",
        verdict(memory <= 128.0, memory <= 48.0)
    );
}

/// G8 of registered endpoints, G12 and G13.
pub(crate) fn registrations(figures: &Registrations) {
    println!(
        "\nREGISTER with digest (MD5, qop=auth) over UDP; no peer.\n\
         | goal | floor | target | measured | |\n|---|---|---|---|---|"
    );
    if let Some(kept) = &figures.kept {
        let (rate, [registered, kib]) = (kept.per_second, kept.kib_each);
        println!(
            "| G12 REGISTER/s, 50,000 kept refreshed | 3000 | 6000 | {rate:.0} at {:.1} % CPU, \
             {:.1} µs each; all after {:.1} s | {} |",
            kept.cpu_percent,
            kept.cpu_us,
            kept.ready_s,
            verdict(rate >= 3000.0, rate >= 6000.0)
        );
        println!(
            "| G8 memory per registered endpoint, KiB | 128 | 48 | {registered:.1}, \
             {kib:.1} in a run | {} |",
            verdict(kib <= 128.0, kib <= 48.0)
        );
    } else {
        println!("| G12 REGISTER/s, 50,000 kept refreshed | 3000 | 6000 | none | missed |");
    }
    let took = median(figures.ready_s.iter().copied());
    println!(
        "| G13 1,000 endpoints registered after, s | 5 | 1 | {took:.2} | {} |",
        verdict(took <= 5.0, took <= 1.0)
    );
}

fn verdict(floor: bool, target: bool) -> &'static str {
    match (floor, target) {
        (_, true) => "target holds",
        (true, false) => "floor holds",
        (false, false) => "missed",
    }
}
