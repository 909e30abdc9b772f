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

    /// The start of a command line that runs on the core under test, and ends with the thread that
    /// started it, however that ends; by root with precedence over other programs there, as a
    /// container has by its CPU request. Threads of the program stay equal among themselves.
    pub(crate) fn on_tested(&self) -> Vec<String> {
        // Precedence counts within a session, and between sessions where the kernel groups by them.
        const FIRST: &str = "echo -19 2>/dev/null >/proc/self/autogroup; exec \"$@\"";
        let core = self.tested.to_string();
        let mut words = vec!["setpriv", "--pdeathsig", "KILL"];
        words.extend(["taskset", "--cpu-list", &core]);
        if rustix::process::geteuid().is_root() {
            words.extend(["setsid", "nice", "-n", "-19", "sh", "-c", FIRST, "sh"]);
        }
        words.into_iter().map(str::to_owned).collect()
    }
}

/// CPU time used since some start, in seconds, as the scheduler counts it. The ticks of /proc/stat
/// beat with work that is done every millisecond.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    /// All threads there are.
    pub(crate) total: f64,
    /// By name of the thread without its number.
    pub(crate) threads: BTreeMap<String, f64>,
    /// How long threads wanted a core and had none, by the same names.
    pub(crate) waited: BTreeMap<String, f64>,
}

impl Used {
    /// What the process of `folder` (in /proc) has used.
    pub(crate) fn read(folder: &Path) -> Self {
        let (mut total, mut threads, mut waited) = (0.0, BTreeMap::new(), BTreeMap::new());
        for entry in std::fs::read_dir(folder.join("task")).unwrap() {
            // A thread may end while we read.
            let Some((name, ran, wanted)) = thread(&entry.unwrap().path()) else {
                continue;
            };
            let name = name.split('-').next().unwrap_or_default().trim().to_owned();
            total += ran;
            *threads.entry(name.clone()).or_default() += ran;
            *waited.entry(name).or_default() += wanted;
        }
        Self {
            total,
            threads,
            waited,
        }
    }

    /// What was used since `earlier`, as shares of `seconds` in percent.
    pub(crate) fn percent_since(&self, earlier: &Self, seconds: f64) -> Self {
        let percent = |now: f64, before: f64| (now - before) * 100.0 / seconds;
        let all = |now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>| {
            let shares = now.iter().map(|(name, value)| {
                let before = before.get(name).copied().unwrap_or_default();
                (name.clone(), percent(*value, before))
            });
            shares.collect()
        };
        Self {
            total: percent(self.total, earlier.total),
            threads: all(&self.threads, &earlier.threads),
            waited: all(&self.waited, &earlier.waited),
        }
    }

    /// One thread's part.
    pub(crate) fn thread(&self, name: &str) -> f64 {
        self.threads.get(name).copied().unwrap_or_default()
    }

    /// How long the busiest thread waited for its core.
    pub(crate) fn wait(&self) -> f64 {
        let busiest = self.threads.iter().max_by(|a, b| a.1.total_cmp(b.1));
        let waited = busiest.and_then(|(name, _)| self.waited.get(name));
        waited.copied().unwrap_or_default()
    }

    /// How long of that it waited for other programs, at least: its own other threads may have
    /// run meanwhile.
    pub(crate) fn disturbed(&self) -> f64 {
        let busiest = self.threads.values().copied().fold(0.0, f64::max);
        (self.wait() - (self.total - busiest)).max(0.0)
    }
}

const NANOS: f64 = 1e9;

/// Name of a thread, seconds it ran and seconds it waited for a core.
fn thread(folder: &Path) -> Option<(String, f64, f64)> {
    let name = std::fs::read_to_string(folder.join("comm")).ok()?;
    let text = std::fs::read_to_string(folder.join("schedstat")).ok()?;
    let mut fields = text.split(' ').map(|field| field.parse::<f64>().ok());
    Some((name, fields.next()?? / NANOS, fields.next()?? / NANOS))
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
