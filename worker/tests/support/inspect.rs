//! What a worker process shows from outside: its log and its sockets.

use super::process::Worker;

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

pub fn udp_sockets(worker: &Worker) -> Vec<std::net::SocketAddrV4> {
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
    let sockets = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = columns[1].split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
        let port = u16::from_str_radix(port, 16).ok()?;
        inodes
            .iter()
            .any(|inode| inode == columns[9])
            .then(|| std::net::SocketAddrV4::new(ip.into(), port))
    });
    sockets.collect()
}

pub fn udp_ports(worker: &Worker) -> Vec<u16> {
    let mut ports: Vec<_> = udp_sockets(worker)
        .iter()
        .map(std::net::SocketAddrV4::port)
        .collect();
    ports.sort_unstable();
    ports
}

pub fn udp_addresses(worker: &Worker) -> Vec<std::net::IpAddr> {
    let mut addresses: Vec<_> = udp_sockets(worker)
        .iter()
        .map(|s| (*s.ip()).into())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
