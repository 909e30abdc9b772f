//! How many connections this host can have.

use rustix::process::{Resource, getrlimit};

/// Where Linux says which ports it gives to connections.
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Open files left to everything else of the process.
const RESERVE: u64 = 256;

/// Refuses more connections of single endpoints than there are local ports and open files for.
pub(in crate::signalling) fn check(endpoints: u32) -> Result<(), String> {
    let range = std::fs::read_to_string(PORTS).unwrap_or_default();
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    judge(endpoints, &range, files)
}

/// The decision; `range` as Linux writes it, the first and the last port.
fn judge(endpoints: u32, range: &str, files: u64) -> Result<(), String> {
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = match (bounds.next(), bounds.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => (first, last),
        // Linux' own default.
        _ => (32_768, 60_999),
    };
    let ports = last - first + 1;
    let most = ports.min(files.saturating_sub(RESERVE));
    if u64::from(endpoints) <= most {
        return Ok(());
    }
    Err(format!(
        "registrar.connection is perEndpoint for {endpoints} endpoints; accepted: at most {most} \
         on this worker (local ports {first} to {last} of one address, {files} open files)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_files_bound_the_connections() {
        let range = "32768\t60999\n";
        assert_eq!(judge(28_232, range, 1 << 20), Ok(()));
        let refused = judge(28_233, range, 1 << 20).unwrap_err();
        assert!(
            refused.contains("28233 endpoints") && refused.contains("at most 28232"),
            "{refused}"
        );
        assert_eq!(judge(744, range, 1000), Ok(()));
        let refused = judge(745, range, 1000).unwrap_err();
        assert!(refused.contains("at most 744") && refused.contains("1000 open files"));
        assert_eq!(judge(28_232, "", 1 << 20), Ok(()));
    }
}
