//! Free port ranges on loopback for a worker process each.

use std::{
    net::{TcpListener, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
};

/// Ports of one worker; no other worker of these tests gets them.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub health: u16,
    pub sip_first: u16,
    pub sip_last: u16,
    pub rtp_first: u16,
    pub rtp_last: u16,
}

const SIP: u16 = 12;
const RTP: u16 = 200;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ports for a hundred runs that follow each other faster than their SIP ports become free, 32 s
/// after a run: 204 for SIP, 120 for RTP, above the blocks and below the ephemeral range.
pub fn wide() -> Ports {
    const SIP: u16 = 204;
    const RTP: u16 = 120;
    for first in [32_000, 32_000 + SIP + RTP + 2] {
        if let Some(ports) = free(first, SIP, RTP) {
            return ports;
        }
    }
    panic!("no free range of ports");
}

/// The ports from `first` on, if none of them is in use.
fn free(first: u16, sip: u16, rtp: u16) -> Option<Ports> {
    let unused = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let health = first + sip + rtp;
    let all = (first..health).all(unused) && TcpListener::bind(("127.0.0.1", health)).is_ok();
    all.then(|| Ports {
        health,
        sip_first: first,
        sip_last: first + sip - 1,
        rtp_first: first + sip,
        rtp_last: first + sip + rtp - 1,
    })
}

/// A block of 224 ports below the ephemeral range, none of which is in use: 12 for SIP, 200 for RTP.
pub fn block() -> Ports {
    const BLOCK: u32 = 224;
    const FIRST: u32 = 11_000;
    const BLOCKS: u32 = (32_000 - FIRST) / BLOCK;
    for _ in 0..BLOCKS {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        // Test processes that run side by side start at different places.
        let index = (std::process::id() * 17 + turn) % BLOCKS;
        let first = (FIRST + index * BLOCK) as u16;
        if let Some(ports) = free(first, SIP, RTP) {
            return ports;
        }
    }
    panic!("no free block of ports");
}
