//! Two-way G.711 endpoints on one core: CPU, loss, send timing, memory (G5 to G8).

use std::{path::Path, time::Duration};

use callmeter_proto::worker::Role;
use tokio::time::{Instant, sleep_until};

use super::{
    answerer::Answerer,
    far::{self, Far, Judged},
    machine::{Cores, Used, resident_kib},
    report,
    support::{eventually, run::Group},
    under_test::{FAR, Tally, UnderTest, WORKER},
};

/// Windows whose median counts.
const WINDOWS: usize = 3;
/// Windows taken at most, until so many were quiet; the quietest count.
const MOST_WINDOWS: usize = 5;
/// A window is quiet if who sends waited no more for other programs, in percent of the time.
const QUIET: f64 = 0.5;
const WORKER_WINDOW: Duration = Duration::from_secs(3);
const PEER_WINDOW: Duration = Duration::from_secs(2);
/// Calls begun per second.
const CALLS_PER_SECOND: u32 = 500;
/// From the last call's start to the first window: ports, probation, the first reports.
const SETTLE: Duration = Duration::from_secs(3);

/// How the thread that sends is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// As any other, which is what containers get.
    Plain,
    /// `SCHED_FIFO`, which takes the capability `SYS_NICE`.
    RealTime,
}

/// What a window showed: the receiver's view, and the CPU used in percent.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) judged: Judged,
    pub(crate) used: Used,
}

/// Windows of one measurement.
#[derive(Default)]
struct Windows(Vec<Window>);

impl Windows {
    fn enough(&self) -> bool {
        let quiet = self
            .0
            .iter()
            .filter(|window| window.used.disturbed() <= QUIET);
        quiet.count() >= WINDOWS || self.0.len() >= MOST_WINDOWS
    }

    fn quietest(mut self) -> Vec<Window> {
        self.0
            .sort_by(|a, b| a.used.disturbed().total_cmp(&b.used.disturbed()));
        self.0.truncate(WINDOWS);
        self.0
    }
}

/// Everything measured with so many endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) endpoints: u32,
    pub(crate) scheduling: Scheduling,
    pub(crate) worker: Vec<Window>,
    pub(crate) peer: Vec<Window>,
    /// Resident memory before the calls and with all of them, in KiB.
    pub(crate) idle_kib: u64,
    pub(crate) loaded_kib: u64,
    /// What the worker said during its windows.
    pub(crate) says: Tally,
}

/// Measures worker and peer, one after the other, for each number of endpoints.
pub(crate) async fn measure(cores: &Cores, plan: &[(u32, Scheduling)]) -> Vec<Point> {
    let folder = tempfile::tempdir().unwrap();
    let program = far::build(folder.path());
    let mut points = Vec::new();
    for &(count, scheduling) in plan {
        let mut point = worker(cores, &program, count, scheduling).await;
        point.peer = peer(cores, &program, count, scheduling).await;
        report::progress(&point);
        points.push(point);
    }
    points
}

async fn worker(cores: &Cores, program: &Path, count: u32, scheduling: Scheduling) -> Point {
    let mut under_test = UnderTest::start(cores, scheduling).await;
    let folder = under_test.proc_folder();
    let idle_kib = resident_kib(&folder);
    let mut far = Far::spawn(&[], program, count, FAR, None);
    let answerer = Answerer::start(format!("{FAR}:5060").parse().unwrap());

    let ramp = Duration::from_millis(u64::from(count) * 1000 / u64::from(CALLS_PER_SECOND));
    let group = Group {
        call_ms: 3_600_000,
        run_ms: 3_600_000,
        start_over_ms: ramp.as_millis() as u32,
        peers: vec![format!("sip:far@{FAR}:5060"); count as usize],
        ..Group::new("callers", Role::Caller, count)
    };
    let begin = Instant::now();
    under_test.begin("run-1", &[group]).await;
    under_test.read_until(begin + ramp + SETTLE).await;
    let answered = answerer.calls();
    assert_eq!(
        answered, count,
        "calls answered, wanted; {:?}",
        under_test.tally
    );

    under_test.tally = Tally::default();
    let mut windows = Windows::default();
    while !windows.enough() {
        far.begin();
        let (from, before) = (Instant::now(), Used::read(&folder));
        under_test.read_until(from + WORKER_WINDOW).await;
        let used = Used::read(&folder);
        let used = used.percent_since(&before, from.elapsed().as_secs_f64());
        let judged = far.end();
        assert_eq!(
            (judged.streams, judged.send_errors),
            (count, 0),
            "streams heard, packets the far end could not send"
        );
        windows.0.push(Window { judged, used });
    }
    let loaded_kib = resident_kib(&folder);
    let says = under_test.tally.clone();
    under_test.stop("run-1").await;
    let ended = under_test.finish().await;
    let tally = &under_test.tally;
    assert_eq!(
        (tally.calls_ended, tally.calls_failed, ended.rows_dropped),
        (u64::from(count), 0, 0),
        "calls ended, failed; rows dropped; {:?}",
        tally.reasons
    );
    Point {
        endpoints: count,
        scheduling,
        worker: windows.quietest(),
        peer: Vec::new(),
        idle_kib,
        loaded_kib,
        says,
    }
}

/// The same number of bare endpoints on the worker's core.
async fn peer(cores: &Cores, program: &Path, count: u32, scheduling: Scheduling) -> Vec<Window> {
    let mut judge = Far::spawn(&[], program, count, FAR, Some(WORKER));
    let mut prefix = cores.on_tested();
    if scheduling == Scheduling::RealTime {
        prefix.extend(["chrt", "--fifo", "1"].map(str::to_owned));
    }
    let peer = Far::spawn(&prefix, program, count, WORKER, Some(FAR));
    let folder = peer.proc_folder();
    eventually("the peer has worked for half a second", async || {
        (Used::read(&folder).total > 0.01).then_some(())
    })
    .await;
    let mut windows = Windows::default();
    while !windows.enough() {
        judge.begin();
        let (from, before) = (Instant::now(), Used::read(&folder));
        sleep_until(from + PEER_WINDOW).await;
        let used = Used::read(&folder);
        let used = used.percent_since(&before, from.elapsed().as_secs_f64());
        let judged = judge.end();
        windows.0.push(Window { judged, used });
    }
    windows.quietest()
}
