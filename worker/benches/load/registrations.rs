//! Registrations with digest: how many a second (G12), how soon a group has them (G13), and what
//! an endpoint takes of memory (G8).

use std::{path::Path, time::Duration};

use callmeter_proto::worker::{Account, Registrar as Settings, Role};
use tokio::time::Instant;

use super::{
    machine::{Cores, Used, median, resident_kib},
    media::Scheduling,
    registrar::{PASSWORD, REALM, Registrar, Seen},
    support::run::Group,
    under_test::{FAR, UnderTest},
};

/// Where the registrar listens.
const PORT: u16 = 5070;
/// Endpoints of G13, and how often they are registered.
const GROUP: u32 = 1000;
const ROUNDS: usize = 3;
/// Endpoints of G12, in groups of so many.
const KEPT: u32 = 50_000;
const PER_GROUP: u32 = 10_000;
const GROUPS: [&str; 5] = ["one", "two", "three", "four", "five"];
/// Refreshed at half of this, in seconds: 50,000 every 8 s are 6,250 a second.
const LIFETIME_S: u32 = 16;
/// Windows of G12 and how long each is.
const WINDOWS: usize = 3;
const WINDOW: Duration = Duration::from_secs(4);
/// The longest wait for 50,000 endpoints.
const PATIENCE: Duration = Duration::from_secs(90);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Registrations {
    /// Seconds from the assignment until 1,000 are registered, by round.
    pub(crate) ready_s: Vec<f64>,
    pub(crate) kept: Option<Kept>,
}

/// 50,000 registrations that are refreshed.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Until all were registered.
    pub(crate) ready_s: f64,
    pub(crate) per_second: f64,
    pub(crate) cpu_percent: f64,
    /// CPU per REGISTER, in microseconds.
    pub(crate) cpu_us: f64,
    /// Of the process by endpoint, without what it takes at rest: when all are registered, and in a
    /// run, with rows on their way to the gateway.
    pub(crate) kib_each: [f64; 2],
}

/// Measures G13, then G12; a fault is the reason why there is no figure.
pub(crate) async fn measure(cores: &Cores) -> Registrations {
    let address = format!("{FAR}:{PORT}").parse().unwrap();
    let mut ready_s = Vec::new();
    for round in 1..=ROUNDS {
        let _registrar = Registrar::start(address, 3600);
        let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
        let groups = [group("group", 0, GROUP)];
        let took = registered(&mut under_test, &groups).await.as_secs_f64();
        println!("  round {round}: {GROUP} endpoints registered after {took:.3} s");
        ready_s.push(took);
    }
    let kept = match keep(cores).await {
        Ok(kept) => Some(kept),
        Err(reason) => {
            println!("  {KEPT} registrations: {reason}");
            None
        }
    };
    Registrations { ready_s, kept }
}

async fn keep(cores: &Cores) -> Result<Kept, String> {
    let registrar = Registrar::start(format!("{FAR}:{PORT}").parse().unwrap(), LIFETIME_S);
    let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
    let folder = under_test.proc_folder();
    let rest = resident_kib(&folder);
    let groups = GROUPS.iter().zip(0..);
    let groups: Vec<_> = groups
        .map(|(name, place)| group(name, place * PER_GROUP, PER_GROUP))
        .collect();
    let ready_s = registered(&mut under_test, &groups).await.as_secs_f64();
    let each = || (resident_kib(&folder) - rest) as f64 / f64::from(KEPT);
    let kib_registered = each();
    println!("  {KEPT} endpoints registered after {ready_s:.1} s, {kib_registered:.1} KiB each");
    under_test.start_run("run-1", &groups).await;
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        windows.push(window(&mut under_test, &registrar, &folder).await);
        println!("  {:.1} KiB each", each());
    }
    let kib_each = [kib_registered, each()];
    let middle = |figure: fn(&(f64, f64)) -> f64| median(windows.iter().map(figure));
    let (per_second, cpu_percent) = (middle(|w| w.0), middle(|w| w.1));
    let Seen {
        refused,
        lapsed,
        kept,
        ..
    } = registrar.seen();
    under_test.tally.judge()?;
    if kept != u64::from(KEPT) || refused + lapsed > 0 {
        return Err(format!(
            "{kept} kept, {refused} refused, {lapsed} refreshed too late"
        ));
    }
    Ok(Kept {
        ready_s,
        per_second,
        cpu_percent,
        cpu_us: cpu_percent * 1e4 / per_second,
        kib_each,
    })
}

/// REGISTERs accepted a second, and the CPU they took in percent of a core.
async fn window(under_test: &mut UnderTest, registrar: &Registrar, folder: &Path) -> (f64, f64) {
    let (begin, before) = (Instant::now(), registrar.seen().accepted);
    let used = Used::read(folder);
    under_test.read_until(begin + WINDOW).await;
    let seconds = begin.elapsed().as_secs_f64();
    let percent = Used::read(folder).percent_since(&used, seconds).total;
    let per_second = (registrar.seen().accepted - before) as f64 / seconds;
    println!("  {per_second:.0} REGISTER/s, {percent:.1} % CPU");
    (per_second, percent)
}

/// Assigns groups and waits until all endpoints are READY; how long that took.
async fn registered(under_test: &mut UnderTest, groups: &[Group]) -> Duration {
    let wanted: u32 = groups.iter().map(|group| group.count).sum();
    let begin = Instant::now();
    under_test.assign("run-1", groups).await;
    while under_test.tally.ready < u64::from(wanted) {
        let soon = Instant::now() + Duration::from_millis(2);
        under_test.read_until(soon).await;
        // The reason is in the worker's log.
        assert!(
            under_test.tally.ended_early == 0 && begin.elapsed() <= PATIENCE,
            "{} of {wanted} registered, {} failed:\n{}",
            under_test.tally.ready,
            under_test.tally.ended_early,
            under_test.worker.log()
        );
    }
    begin.elapsed()
}

/// Endpoints that register and take calls, the first of them `user{first}`.
fn group(name: &'static str, first: u32, count: u32) -> Group {
    let account = |n: u32| Account {
        user: format!("user{n}"),
        password: PASSWORD.into(),
        ..Account::default()
    };
    Group {
        accounts: (first..first + count).map(account).collect(),
        registrar: Some(Settings {
            domain: REALM.into(),
            outbound_proxy: format!("{FAR}:{PORT}"),
            transport: "udp".into(),
            register: true,
            expires_s: LIFETIME_S,
            ..Settings::default()
        }),
        run_ms: 600_000,
        ..Group::new(name, Role::Callee, count)
    }
}
