//! How many connections this host can have.

use std::io;

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

/// Where Linux says which ports it gives to connections.
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Open files left to everything else of the process.
const RESERVE: u64 = 256;
/// Sockets an endpoint's media has: RTP and RTCP.
const MEDIA: u64 = 2;

/// What groups have already, or will have as soon as they have calls.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::signalling) struct Held {
    ports: u64,
    files: u64,
}

impl Held {
    /// Adds a group: its endpoints that have media, its sockets for SIP, and how many of those have
    /// a local port for connections.
    pub(in crate::signalling) fn add(&mut self, endpoints: u32, sockets: u32, ports: u32) {
        self.ports += u64::from(ports);
        self.files += u64::from(endpoints) * MEDIA + u64::from(sockets);
    }

    /// Adds connections of peers.
    pub(in crate::signalling) fn add_accepted(&mut self, connections: usize) {
        self.files += connections as u64;
    }
}

/// Refuses more connections of single endpoints than there are local ports and open files for.
pub(in crate::signalling) fn check(endpoints: u32, held: Held) -> Result<(), String> {
    Host::read().judge(endpoints, held)
}

/// Why no connection could be prepared for a group of `endpoints` with one each (none: they share
/// one), `ready` of which had theirs: other processes have ports and files, too.
pub(in crate::signalling) fn unavailable(
    error: &io::Error,
    endpoints: Option<u32>,
    ready: usize,
    held: Held,
) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let known = [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL, Errno::MFILE];
    if !errno.is_some_and(|errno| known.contains(&errno)) {
        return format!("no port for a connection of ours: {error}");
    }
    let numbers = Host::read().numbers(held);
    match endpoints {
        Some(endpoints) => format!("{} ({numbers}): {error}", refusal(endpoints, ready as u64)),
        None => format!(
            "registrar.transport takes a local port and an open file for the group; accepted: one \
             free of each on this worker ({numbers}): {error}"
        ),
    }
}

fn refusal(endpoints: u32, most: u64) -> String {
    format!(
        "registrar.connection is perEndpoint for {endpoints} endpoints; accepted: at most {most} on \
         this worker now"
    )
}

/// What this host has.
struct Host {
    /// The local ports.
    first: u64,
    last: u64,
    /// The open files.
    files: u64,
}

impl Host {
    fn read() -> Self {
        let range = std::fs::read_to_string(PORTS).unwrap_or_default();
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::of(&range, files)
    }

    /// `range` as Linux writes it, the first and the last port.
    fn of(range: &str, files: u64) -> Self {
        let mut bounds = range.split_whitespace().map(str::parse::<u64>);
        let (first, last) = match (bounds.next(), bounds.next()) {
            (Some(Ok(first)), Some(Ok(last))) if first <= last => (first, last),
            // Linux' own default.
            _ => (32_768, 60_999),
        };
        Self { first, last, files }
    }

    /// The decision. The group itself takes a port and a file, too.
    fn judge(&self, endpoints: u32, held: Held) -> Result<(), String> {
        let ports = (self.last - self.first + 1).saturating_sub(held.ports + 1);
        let files = self.files.saturating_sub(RESERVE + held.files + 1) / (MEDIA + 1);
        let most = ports.min(files);
        if u64::from(endpoints) <= most {
            return Ok(());
        }
        Err(format!(
            "{} ({})",
            refusal(endpoints, most),
            self.numbers(held)
        ))
    }

    fn numbers(&self, held: Held) -> String {
        format!(
            "local ports {} to {} of one address, {} of them of other groups; {} open files, {} of \
             them for other groups and {RESERVE} for the process, an endpoint takes {}",
            self.first,
            self.last,
            held.ports,
            self.files,
            held.files,
            MEDIA + 1,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: &str = "32768\t60999\n";

    #[test]
    fn ports_and_files_bound_the_connections() {
        let none = Held::default();
        let many = Host::of(RANGE, 1 << 20);
        assert_eq!(many.judge(28_231, none), Ok(()));
        let refused = many.judge(28_232, none).unwrap_err();
        assert!(
            refused.contains("28232 endpoints") && refused.contains("at most 28231"),
            "{refused}"
        );
        let few = Host::of(RANGE, 1000);
        assert_eq!(few.judge(247, none), Ok(()));
        let refused = few.judge(248, none).unwrap_err();
        assert!(refused.contains("at most 247") && refused.contains("1000 open files"));
        assert_eq!(Host::of("", 1 << 20).judge(28_231, none), Ok(()));
    }

    #[test]
    fn what_other_groups_have_is_taken_off() {
        let mut held = Held::default();
        held.add(100, 101, 101);
        held.add_accepted(40);
        let refused = Host::of(RANGE, 1000).judge(135, held).unwrap_err();
        assert!(
            refused.contains("at most 134") && refused.contains("341 of them for other groups"),
            "{refused}"
        );
        let refused = Host::of(RANGE, 1 << 20).judge(28_131, held).unwrap_err();
        assert!(
            refused.contains("at most 28130") && refused.contains("101 of them of other groups"),
            "{refused}"
        );
    }

    #[test]
    fn what_others_have_is_told_in_the_same_words() {
        for errno in [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL, Errno::MFILE] {
            let error = io::Error::from(errno);
            let told = unavailable(&error, Some(9), 7, Held::default());
            let begin =
                "registrar.connection is perEndpoint for 9 endpoints; accepted: at most 7 on";
            assert!(
                told.starts_with(begin) && told.ends_with(&error.to_string()),
                "{told}"
            );
            let told = unavailable(&error, None, 0, Held::default());
            assert!(told.starts_with("registrar.transport takes"), "{told}");
        }
        let told = unavailable(&Errno::ACCESS.into(), Some(9), 7, Held::default());
        assert!(told.starts_with("no port for a connection"), "{told}");
    }
}
