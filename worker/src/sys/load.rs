//! What the kernel says about losses and starvation that are ours, not the network's.
//!
//! All figures are totals since boot or since the group's creation; who reads them twice has the
//! difference. What a system does not tell is `None`.

use std::fs;
use std::path::{Path, PathBuf};

/// The figures at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelLoad {
    /// Datagrams dropped for lack of receive buffer, all UDP sockets of the network namespace.
    pub udp_rcvbuf_errors: Option<u64>,
    /// Time the control group was kept from running by its CPU quota, in microseconds.
    pub throttled_us: Option<u64>,
    /// Time the hypervisor ran someone else, in clock ticks, all processors.
    pub steal_ticks: Option<u64>,
    /// Time accounted in all states, in clock ticks, all processors.
    pub total_ticks: Option<u64>,
}

/// Where the figures are read.
#[derive(Debug, Clone)]
pub struct LoadReader {
    proc: PathBuf,
    cpu_stat: Option<PathBuf>,
}

impl LoadReader {
    /// Finds the control group of this process once.
    pub fn new() -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    fn at(proc: &Path, cgroup: &Path) -> Self {
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        Self {
            proc: proc.to_owned(),
            cpu_stat: find_cpu_stat(cgroup, &own),
        }
    }

    /// Reads all figures: three small files.
    pub fn read(&self) -> KernelLoad {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let ticks = parse_stat(&text(&self.proc.join("stat")));
        KernelLoad {
            udp_rcvbuf_errors: parse_snmp(&text(&self.proc.join("net/snmp"))),
            throttled_us: self
                .cpu_stat
                .as_deref()
                .and_then(|path| parse_throttled(&text(path))),
            steal_ticks: ticks.map(|(steal, _)| steal),
            total_ticks: ticks.map(|(_, total)| total),
        }
    }
}

impl Default for LoadReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The file of CPU statistics: version 2 (`0::/path`) or version 1 (`4:cpu,cpuacct:/path`). Inside
/// a container the group's own path may not exist; its root is then what is mounted.
fn find_cpu_stat(root: &Path, own: &str) -> Option<PathBuf> {
    let lines = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let candidates = lines.flat_map(|(controllers, path)| {
        let bases = match controllers {
            "" => vec![root.to_owned()],
            list if list.split(',').any(|name| name == "cpu") => {
                vec![root.join(list), root.join("cpu")]
            }
            _ => vec![],
        };
        bases
            .into_iter()
            .flat_map(move |base| [base.join(path).join("cpu.stat"), base.join("cpu.stat")])
    });
    candidates
        .into_iter()
        .find(|file| fs::read_to_string(file).is_ok_and(|text| parse_throttled(&text).is_some()))
}

/// `throttled_usec` (version 2) or `throttled_time` in nanoseconds (version 1).
fn parse_throttled(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        match key {
            "throttled_usec" => value.trim().parse().ok(),
            "throttled_time" => value.trim().parse::<u64>().ok().map(|nanos| nanos / 1000),
            _ => None,
        }
    })
}

/// `RcvbufErrors` of the two `Udp:` lines, names and values.
fn parse_snmp(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let names = lines.next()?;
    let values = lines.next()?;
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs
        .find(|(name, _)| *name == "RcvbufErrors")?
        .1
        .parse()
        .ok()
}

/// Steal and the sum of the first eight columns of the `cpu` line; the guest columns after them
/// are part of user time already.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let columns: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some((*columns.get(7)?, columns.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snmp_by_name_not_by_place() {
        let text = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams \
                    RcvbufErrors SndbufErrors\nUdp: 10 2 3 4 77 6\nUdpLite: InDatagrams\n";
        assert_eq!(parse_snmp(text), Some(77));
        assert_eq!(parse_snmp("Udp: InDatagrams\nUdp: 10\n"), None);
    }

    #[test]
    fn steal_and_total_of_the_first_line() {
        let text = "cpu  10 1 2 80 3 0 1 4 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(parse_stat(text), Some((4, 101)));
        assert_eq!(parse_stat("cpu  1 2 3\n"), None);
    }

    #[test]
    fn throttling_of_both_versions() {
        assert_eq!(
            parse_throttled("nr_periods 1\nthrottled_usec 1500\n"),
            Some(1500)
        );
        assert_eq!(
            parse_throttled("nr_throttled 1\nthrottled_time 1500000\n"),
            Some(1500)
        );
        assert_eq!(parse_throttled("usage_usec 5\n"), None);
    }

    #[test]
    fn the_group_is_found_in_version_one_and_two_and_inside_a_container() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |path: &str, text: &str| {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            file
        };
        let two = put("two/pods/a/cpu.stat", "throttled_usec 1\n");
        assert_eq!(find_cpu_stat(&root.join("two"), "0::/pods/a\n"), Some(two));
        let one = put("one/cpu,cpuacct/pods/a/cpu.stat", "throttled_time 1\n");
        let own = "5:memory:/pods/a\n4:cpu,cpuacct:/pods/a\n";
        assert_eq!(find_cpu_stat(&root.join("one"), own), Some(one));
        let inside = put("in/cpu.stat", "throttled_usec 1\n");
        assert_eq!(
            find_cpu_stat(&root.join("in"), "0::/pods/a\n"),
            Some(inside)
        );
        assert_eq!(find_cpu_stat(&root.join("none"), "0::/pods/a\n"), None);
    }

    #[test]
    fn this_machine_tells_what_it_must() {
        let load = LoadReader::new().read();
        assert!(
            load.udp_rcvbuf_errors.is_some() && load.total_ticks > Some(0),
            "{load:?}"
        );
        assert!(load.steal_ticks <= load.total_ticks);
    }
}
