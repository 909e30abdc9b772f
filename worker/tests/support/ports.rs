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
        let free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
        let all_free = (first..first + SIP + RTP).all(free);
        let health = first + SIP + RTP;
        if all_free && TcpListener::bind(("127.0.0.1", health)).is_ok() {
            let rtp_first = first + SIP;
            return Ports {
                health,
                sip_first: first,
                sip_last: rtp_first - 1,
                rtp_first,
                rtp_last: rtp_first + RTP - 1,
            };
        }
    }
    panic!("no free block of ports");
}
