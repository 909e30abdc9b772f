//! A network of the test's own: a namespace that ends with its last process.

use std::process::Command;

use super::peer_process::{must_be_there, program};

/// Moves this thread, and what it starts from now on, into a network namespace with nothing but a
/// loopback. False, with a message, where that is not possible and need not be.
pub fn enter() -> bool {
    if !rustix::process::geteuid().is_root() {
        assert!(!must_be_there(), "a network namespace needs root");
        eprintln!("skipped: not root");
        return false;
    }
    let Some(ip) = program("ip") else {
        return false;
    };
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let up = Command::new(ip)
        .args(["link", "set", "lo", "up"])
        .status()
        .unwrap();
    assert!(up.success(), "{up}");
    true
}

/// What the kernel of this thread's network counted of UDP.
#[derive(Debug, Clone, Copy)]
pub struct UdpCounters {
    /// Datagrams to ports that were not open.
    pub no_ports: i64,
    /// Datagrams that found a full buffer.
    pub full: i64,
}

impl UdpCounters {
    pub fn read() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("Udp: "))
            .map(|line| line.split(' '));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let all: Vec<(&str, &str)> = names.zip(values).collect();
        let value = |name: &str| -> i64 {
            let found = all.iter().find(|(known, _)| *known == name);
            found
                .unwrap_or_else(|| panic!("no {name}"))
                .1
                .parse()
                .unwrap()
        };
        Self {
            no_ports: value("NoPorts"),
            full: value("RcvbufErrors"),
        }
    }
}
