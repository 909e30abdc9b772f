//! The machine: which core is whose, and what a process used of it.

use std::{collections::BTreeMap, fmt, path::Path};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core under test and the one for everything else.
pub(crate) struct Cores {
    /// The worker's, or its peer's.
    pub(crate) tested: usize,
    /// Everything else's.
    pub(crate) other: usize,
    /// All this process may use.
    count: usize,
}

impl Cores {
    /// The first two cores this process may use.
    pub(crate) fn choose() -> Self {
        let allowed = sched_getaffinity(None).unwrap();
        let usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let usable: Vec<usize> = usable.collect();
        let [tested, other, ..] = usable[..] else {
            panic!("two cores are needed, this process may use one");
        };
        let count = usable.len();
        Self {
            tested,
            other,
            count,
        }
    }

    /// Binds this thread, and what it starts, to the other core.
    pub(crate) fn take_other(&self) {
        let mut set = CpuSet::new();
        set.set(self.other);
        sched_setaffinity(None, &set).unwrap();
    }

    /// The start of a command line that runs on the core under test.
    pub(crate) fn on_tested(&self) -> Vec<String> {
        ["taskset", "--cpu-list"]
            .map(str::to_owned)
            .into_iter()
            .chain([self.tested.to_string()])
            .collect()
    }
}

/// CPU time used since some start, in seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    /// All threads, those that have ended too.
    pub(crate) total: f64,
    /// By name of the thread without its number.
    pub(crate) threads: BTreeMap<String, f64>,
    /// The whole core: everybody who ran there.
    pub(crate) core: f64,
    /// Of the core: taken away by the hypervisor.
    pub(crate) stolen: f64,
}

impl Used {
    /// What the process of `folder` (in /proc) has used, and all of `core`.
    pub(crate) fn read(folder: &Path, core: usize) -> Self {
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir(folder.join("task")).unwrap() {
            // A thread may end while we read.
            let Some((name, seconds)) = stat(&entry.unwrap().path()) else {
                continue;
            };
            let name = name.split(['-', '.']).next().unwrap_or_default().to_owned();
            *threads.entry(name).or_default() += seconds;
        }
        let (_, total) = stat(folder).unwrap_or_else(|| panic!("{} is gone", folder.display()));
        let (busy, stolen) = core_times(core);
        Self {
            total,
            threads,
            core: busy,
            stolen,
        }
    }

    /// What was used since `earlier`, as shares of `seconds` in percent.
    pub(crate) fn percent_since(&self, earlier: &Self, seconds: f64) -> Self {
        let percent = |now: f64, before: f64| (now - before) * 100.0 / seconds;
        let threads = self.threads.iter().map(|(name, now)| {
            let before = earlier.threads.get(name).copied().unwrap_or_default();
            (name.clone(), percent(*now, before))
        });
        Self {
            total: percent(self.total, earlier.total),
            threads: threads.collect(),
            core: percent(self.core, earlier.core),
            stolen: percent(self.stolen, earlier.stolen),
        }
    }

    /// One thread's part.
    pub(crate) fn thread(&self, name: &str) -> f64 {
        self.threads.get(name).copied().unwrap_or_default()
    }
}

/// Ticks of /proc in a second: USER_HZ, 100 on every architecture Rust's tier 1 knows.
const TICKS: f64 = 100.0;

/// Name and CPU seconds of a process or thread.
fn stat(folder: &Path) -> Option<(String, f64)> {
    let text = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let (before, after) = text.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // Fields 14 and 15 (user and system time) of proc(5), of which three have gone.
    Some((name, (ticks(11)? + ticks(12)?) / TICKS))
}

/// Seconds a core was busy, and of these stolen.
fn core_times(core: usize) -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let label = format!("cpu{core}");
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(&label));
    let times: Vec<f64> = line
        .unwrap_or_default()
        .split(' ')
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal, guest, guest nice (in user)
    let busy = [0, 1, 2, 5, 6, 7].iter().map(|&at| times[at]).sum::<f64>();
    (busy / TICKS, times[7] / TICKS)
}

/// Resident memory of the process in KiB.
pub(crate) fn resident_kib(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
    value.and_then(|value| value.parse().ok()).unwrap()
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let Self {
            tested,
            other,
            count,
        } = self;
        write!(
            f,
            "{model}, {count} cores, Linux {}; under test: core {tested}, the rest: core {other}",
            kernel.trim()
        )
    }
}

/// The middle of the values; of an even number the lower one of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((sorted.len().saturating_sub(1)) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}
