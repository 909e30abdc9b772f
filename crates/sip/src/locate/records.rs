//! Records of the DNS that lead to SIP servers, and their order.

use rand::Rng;

use crate::flow::Transport;

/// A NAPTR record (RFC 3403 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones come first.
    pub order: u16,
    /// Lower ones come first among those of one order.
    pub preference: u16,
    /// `s`: SRV records follow; others lead nowhere in SIP (RFC 3263 §4.1).
    pub flags: String,
    /// Service: a protocol and how it is carried, `SIP+D2U`.
    pub services: String,
    /// The name of the SRV records, without a dot at its end; empty where a regular expression stands
    /// instead, which SIP does not use.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones come first.
    pub priority: u16,
    /// Share among those of one priority; 0: hardly ever first.
    pub weight: u16,
    /// The server's port.
    pub port: u16,
    /// The server's name, without a dot at its end; empty: the service is not there.
    pub target: String,
}

impl Naptr {
    /// The transport it offers SIP by, if it leads to SRV records (RFC 3263 §4.1, RFC 7118 §6).
    pub(super) fn transport(&self) -> Option<Transport> {
        const SERVICES: [(&str, Transport); 5] = [
            ("SIP+D2U", Transport::Udp),
            ("SIP+D2T", Transport::Tcp),
            ("SIPS+D2T", Transport::Tls),
            ("SIP+D2W", Transport::Ws),
            ("SIPS+D2W", Transport::Wss),
        ];
        let leads = self.flags.eq_ignore_ascii_case("s") && !self.replacement.is_empty();
        SERVICES
            .into_iter()
            .find(|(name, _)| leads && self.services.eq_ignore_ascii_case(name))
            .map(|(_, transport)| transport)
    }
}

/// Hosts and ports in the order they are tried: by priority, among those of one by chance in
/// proportion to their weight (RFC 2782, page 3); at most `most`.
pub(super) fn ordered(records: Vec<Srv>, rng: &mut impl Rng, most: usize) -> Vec<(String, u16)> {
    let mut left: Vec<Srv> = records
        .into_iter()
        .filter(|record| !record.target.is_empty() && record.target != ".")
        .collect();
    // Those of weight 0 first, as the RFC wants it for its running sum.
    left.sort_by_key(|record| (record.priority, record.weight));
    let mut hosts = Vec::new();
    while hosts.len() < most
        && let Some(first) = left.first()
    {
        let priority = first.priority;
        let group = left.iter().take_while(|r| r.priority == priority);
        let sum: u64 = group.clone().map(|r| u64::from(r.weight)).sum();
        let drawn = rng.random_range(0..=sum);
        let mut running = 0;
        let chosen = group
            .map(|record| {
                running += u64::from(record.weight);
                running
            })
            .position(|running| running >= drawn)
            .unwrap_or(0);
        let Srv { target, port, .. } = left.remove(chosen);
        hosts.push((target, port));
    }
    hosts
}
