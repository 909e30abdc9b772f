//! What a worker process shows from outside: its log and its sockets.

use std::{
    net::{IpAddr, SocketAddrV4},
    path::Path,
    time::Duration,
};

use super::{eventually, process::Worker};

/// What comes and goes at the start of a worker does so sooner.
const SETTLED: Duration = Duration::from_millis(300);

/// Texts of logged messages that begin with `start`.
pub fn messages<'a>(log: &'a str, start: &'a str) -> impl Iterator<Item = String> + 'a {
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| line["message"].as_str().map(str::to_owned))
        .filter_map(|text| text.split_once('\n').map(|(_, sip)| sip.to_owned()))
        .filter(move |sip| sip.starts_with(start))
}

pub fn open_descriptors(worker: &Worker) -> usize {
    std::fs::read_dir(worker.proc_folder().join("fd"))
        .unwrap()
        .count()
}

/// The descriptors of a worker that has nothing to do, once it holds its idle SIP port alone and
/// no connection comes or goes any more.
pub async fn idle_descriptors(worker: &Worker, sip_first: u16) -> usize {
    eventually("the worker has settled", async || {
        let open = open_descriptors(worker);
        tokio::time::sleep(SETTLED).await;
        let settled = open_descriptors(worker) == open && udp_ports(worker) == [sip_first];
        settled.then_some(open)
    })
    .await
}

pub fn udp_sockets(worker: &Worker) -> Vec<SocketAddrV4> {
    let folder = worker.proc_folder();
    let links = std::fs::read_dir(folder.join("fd")).unwrap();
    let inodes: Vec<String> = links
        .filter_map(|link| std::fs::read_link(link.ok()?.path()).ok())
        .filter_map(|link| {
            let name = link.to_string_lossy().into_owned();
            Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(folder.join("net/udp")).unwrap();
    udp_table(&table)
        .filter(|(_, inode)| inodes.iter().any(|own| own == inode))
        .map(|(address, _)| address)
        .collect()
}

/// Whether a UDP socket has this address in the network of the process with this folder in /proc.
/// To bind it instead would take it from that process if it is about to.
pub fn udp_is_bound(process: &Path, address: SocketAddrV4) -> bool {
    // There is none of a process that has ended.
    let table = std::fs::read_to_string(process.join("net/udp")).unwrap_or_default();
    udp_table(&table).any(|(bound, _)| bound == address)
}

/// The addresses in a table of UDP sockets, with their inodes.
fn udp_table(table: &str) -> impl Iterator<Item = (SocketAddrV4, &str)> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = columns[1].split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((SocketAddrV4::new(ip.into(), port), columns[9]))
    })
}

pub fn udp_ports(worker: &Worker) -> Vec<u16> {
    let mut ports: Vec<_> = udp_sockets(worker).iter().map(SocketAddrV4::port).collect();
    ports.sort_unstable();
    ports
}

pub fn udp_addresses(worker: &Worker) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = udp_sockets(worker)
        .iter()
        .map(|s| (*s.ip()).into())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
