//! A generator that gets 5 % of a CPU says so in every second; with all it needs it does not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use callmeter_proto::worker::{Direction, Role, from_worker::Message as Up};

use crate::machine::LOAD;
use crate::network::{self, OTHER_PORTS, PORTS};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    PATIENCE,
    calm::calm,
    gateway::TestGateway,
    ports::Ports,
    process::{Worker, environment},
    run::{Group, Told, begin, finish},
    soon,
};

pub(crate) const KEYS: &[&str] = &[
    "generator_limited",
    "cpu_throttled_ms",
    "worker_cpu_pct",
    "tx_lateness_p50_ms",
    "tx_lateness_p99_ms",
    "tx_lateness_max_ms",
];

const PAIRS: u32 = 100;
const RUN_MS: u32 = 9000;
/// Seconds of the run in which the quota holds.
const STARVED: usize = 6;
/// Percent of one CPU, and the period it is given in.
const QUOTA: u64 = 5;
const PERIOD_US: u64 = 100_000;
const RUN_PATIENCE: Duration = Duration::from_secs(60);

/// A control group for CPU time, of either version; removed when dropped.
struct CpuGroup {
    path: PathBuf,
    unified: bool,
}

impl CpuGroup {
    fn new() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let first = ["cpu,cpuacct", "cpu"].map(|name| root.join(name));
        let separate = first
            .into_iter()
            .find(|base| base.join("cpu.cfs_quota_us").exists());
        let unified = separate.is_none();
        let base = separate.unwrap_or_else(|| root.to_owned());
        if unified {
            fs::write(base.join("cgroup.subtree_control"), "+cpu").unwrap();
        }
        let path = base.join(format!("callmeter-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path, unified }
    }

    /// Starts what it is given in the group, without the right to real-time priority: such a
    /// thread would not be under the quota.
    fn launcher(&self) -> Command {
        let mut shell = Command::new("/bin/sh");
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec /usr/bin/setpriv --bounding-set -sys_nice \"$@\"";
        shell.args(["-c", enter]).arg(&self.path);
        shell
    }

    /// None: as much as there is.
    fn limit(&self, percent: Option<u64>) {
        let quota = percent.map(|percent| (PERIOD_US / 100 * percent).to_string());
        let (file, text) = if self.unified {
            let quota = quota.unwrap_or_else(|| "max".to_owned());
            ("cpu.max", format!("{quota} {PERIOD_US}"))
        } else {
            ("cpu.cfs_quota_us", quota.unwrap_or_else(|| "-1".to_owned()))
        };
        fs::write(self.path.join(file), text).unwrap();
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        let start = std::time::Instant::now();
        // A killed process leaves its group within a moment.
        while fs::remove_dir(&self.path).is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One run of a worker; the group's quota holds from its start for [`STARVED`] seconds.
async fn run(group: Option<&CpuGroup>, ports: Ports) -> Told {
    let mut gateway = TestGateway::start().await;
    let variables = environment(&gateway, ports);
    let _worker = match group {
        Some(group) => Worker::spawn_by(group.launcher(), &variables),
        None => Worker::spawn(&variables),
    };
    let mut peer = gateway.welcome().await;
    let groups = [("callees", Role::Callee), ("callers", Role::Caller)].map(|(name, role)| Group {
        call_ms: RUN_MS - 2000,
        run_ms: RUN_MS,
        ..Group::new(name, role, PAIRS)
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    if let Some(group) = group {
        group.limit(Some(QUOTA));
        let mut seconds = 0;
        soon("rows of starved seconds", async {
            while seconds < STARVED * groups.len() {
                let message = peer.next().await.expect("the stream goes on");
                seconds += usize::from(matches!(message, Up::Samples(_)));
                told.take(&message);
            }
        })
        .await;
        group.limit(None);
    }
    finish(&mut peer, &mut told, RUN_PATIENCE).await;
    told
}

/// Share of the rows of seconds that are marked.
fn marked(told: &Told) -> f64 {
    let rows: Vec<_> = told.rows.iter().filter(|row| !row.per_call).collect();
    let marked = rows.iter().filter(|row| row.generator_limited).count();
    marked as f64 / rows.len() as f64
}

/// Rule 5 of the design: the run is marked as limited by its generator, and the same run with all
/// the CPU it asks for is not.
#[test]
pub(crate) fn a_run_on_a_twentieth_of_a_cpu_is_marked() {
    let _load = LOAD.blocking_write();
    calm(a_run_on_a_twentieth_of_a_cpu);
}

async fn a_run_on_a_twentieth_of_a_cpu() {
    if !network::enter() {
        return;
    }
    let group = CpuGroup::new();
    let (starved, fed) = tokio::join!(run(Some(&group), PORTS), run(None, OTHER_PORTS));
    let (most, few) = (marked(&starved), marked(&fed));
    eprintln!("marked rows: {most} of the starved run, {few} of the other");
    assert!(most > 0.5 && few < 0.3, "{most} and {few}");
    let none = Direction::None;
    let claims = vec![
        Claim::exactly("generator_limited", none, Figure::Median, 1),
        Claim::between("cpu_throttled_ms", none, Figure::Sum, 500.0, f64::MAX),
        Claim::between("worker_cpu_pct", none, Figure::Median, 1.0, 8.0),
        Claim::between(
            "tx_lateness_p50_ms",
            Direction::Send,
            Figure::Median,
            2.0,
            f64::MAX,
        ),
        Claim::between(
            "tx_lateness_p99_ms",
            Direction::Send,
            Figure::Median,
            10.0,
            f64::MAX,
        ),
        Claim::between(
            "tx_lateness_max_ms",
            Direction::Send,
            Figure::Median,
            10.0,
            f64::MAX,
        ),
    ];
    let view = |told| View {
        told,
        group: "callers",
    };
    prove(&[(view(&starved), claims)], view(&fed), KEYS);
}
