//! Packet filters that count what they drop, in a network of the test's own.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::support::{network, peer_process::program, ports::Ports};

/// All ports of the loopback are free here.
pub(crate) const PORTS: Ports = Ports {
    health: 3030,
    sip_first: 5060,
    sip_last: 5080,
    rtp_first: 10_000,
    rtp_last: 14_999,
};

/// The same for a second worker.
pub(crate) const OTHER_PORTS: Ports = Ports {
    health: 3031,
    sip_first: 5081,
    sip_last: 5101,
    rtp_first: 15_000,
    rtp_last: 19_999,
};

/// Moves this thread into a network of its own, if there is what filters its packets.
pub(crate) fn enter() -> bool {
    program("nft").is_some() && network::enter()
}

/// Filters packets on their way in, where who sent them does not notice: `rules` of a chain that
/// sees RTP only, with counters of these names.
pub(crate) fn filter(counters: &[&str], rules: &str) {
    let mut declared = String::new();
    for name in counters {
        declared += &format!("counter {name} {{ }}\n");
    }
    // RTP has even ports from the first one of the range on.
    let first = PORTS.rtp_first;
    let text = format!(
        "table ip impair {{\n{declared}chain rtp {{\n{rules}\n}}\n\
         chain in {{\ntype filter hook input priority 0;\n\
         udp dport >= {first} @th,31,1 0 jump rtp\n}}\n}}\n"
    );
    nft(&["-f", "-"], &text);
}

/// Packets a counter has seen.
pub(crate) fn counted(name: &str) -> f64 {
    let listed = nft(&["-j", "list", "counter", "ip", "impair", name], "");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let entries = listed["nftables"].as_array().unwrap();
    let packets = entries
        .iter()
        .find_map(|entry| entry.pointer("/counter/packets")?.as_f64());
    packets.unwrap_or_else(|| panic!("no counter {name}: {listed}"))
}

fn nft(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program("nft").unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "nft {arguments:?}: {said}\n{input}");
    String::from_utf8(done.stdout).unwrap()
}
