//! The media threads: RTP and RTCP of all streams of this worker.
//!
//! Plain threads, each with its own streams, slots, sockets and statistics; nothing is shared but
//! the audio, the free ports and counters. A stream belongs to the thread its id hashes to.
//! Commands come over one bounded queue per thread, events go over one bounded queue per client (a
//! signalling shard); the client's `wake` is called when something was put there.
//!
//! Contract: [`MediaPool::start`] gives one [`MediaClient`] per wake function; commands are sent and
//! events polled there ([`callmeter_engine::media`] has their order). Dropping the pool or calling
//! [`MediaPool::shutdown`] says goodbye on all streams, closes all sockets and joins the threads.

mod client;
mod endpoint;
mod outbox;
mod ports;
mod stats;
mod thread;
mod trace;
mod tracks;
mod wheel;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use callmeter_rtp::{StreamConfig, Time};
use tokio::sync::mpsc;

use client::{Bell, Inbox};
use endpoint::Sockets;
use outbox::Outbox;
use ports::Ports;
use stats::ThreadStats;
use thread::MediaThread;
use tracks::Tracks;

pub use client::{MediaClient, Wake};
pub use stats::{LatenessHistogram, LocalStats};

use crate::sys::clock::Scale;
use crate::sys::socket::StampKeeper;
use crate::sys::thread as scheduling;

/// Commands that may wait for one thread.
const COMMANDS: usize = 4096;
/// Events that may wait for one client.
const EVENTS: usize = 4096;

/// What the pool is made of.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Address the sockets are bound to.
    pub ip: IpAddr,
    /// Lowest and highest port of RTP and RTCP.
    pub ports: (u16, u16),
    /// Number of threads, at least 1: [`MediaConfig::threads_for_quota`].
    pub threads: usize,
    /// Seed of all SSRCs, first numbers and report times; another one in each process.
    pub seed: u64,
    /// Mean time between RTCP reports; 5 s by RFC 3550, less in tests.
    pub rtcp_interval: Duration,
    /// Ask for real-time scheduling; without permission the threads run as others do.
    pub real_time: bool,
}

impl MediaConfig {
    /// The defaults of a worker.
    pub fn new(ip: IpAddr, ports: (u16, u16), seed: u64) -> Self {
        Self {
            ip,
            ports,
            threads: Self::threads_for_quota(),
            seed,
            rtcp_interval: StreamConfig::RTCP_INTERVAL,
            real_time: true,
        }
    }

    /// One thread per core of the CPU quota (affinity and control group).
    pub fn threads_for_quota() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// What all threads share.
struct Shared {
    ip: IpAddr,
    ports_range: (u16, u16),
    /// Locked when a stream opens or ends and when spare pairs are due, never with a system call
    /// inside.
    ports: Mutex<Ports<Sockets>>,
    tracks: Tracks,
    scale: Scale,
    seed: u64,
    rtcp_interval: Duration,
    stop: AtomicBool,
    _stamps: StampKeeper,
}

impl Shared {
    fn ports(&self) -> MutexGuard<'_, Ports<Sockets>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unbinds a pair, then lets others have it.
    fn close(&self, port: u16, sockets: Sockets) {
        drop(sockets);
        self.ports().give_back(port);
    }

    /// Unbinds up to `most` pairs that were spare for too long; when the next one is due.
    fn close_spare(&self, now: Time, most: usize) -> Option<Time> {
        for _ in 0..most {
            let expired = self.ports().expire(now);
            let Some((port, sockets)) = expired else {
                break;
            };
            self.close(port, sockets);
        }
        self.ports().expiry()
    }
}

struct Thread {
    handle: JoinHandle<()>,
    bell: Arc<Bell>,
    stats: Arc<ThreadStats>,
}

/// The running media threads.
pub struct MediaPool {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

impl std::fmt::Debug for MediaPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaPool")
            .field("ip", &self.shared.ip)
            .field("ports", &self.shared.ports_range)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl MediaPool {
    /// Starts the threads; gives a client per wake function, in the same order.
    pub fn start(config: &MediaConfig, wakes: &[Wake]) -> io::Result<(Self, Vec<MediaClient>)> {
        let (low, high) = config.ports;
        let ports = Ports::new(low, high);
        if ports.free() == 0 {
            let reason = format!("RTP ports {low}-{high} hold no even port with the one after it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let shared = Arc::new(Shared {
            ip: config.ip,
            ports_range: config.ports,
            ports: Mutex::new(ports),
            tracks: Tracks::synthetic(config.seed).map_err(io::Error::other)?,
            scale: Scale::now(),
            seed: config.seed,
            rtcp_interval: config.rtcp_interval,
            stop: AtomicBool::new(false),
            _stamps: StampKeeper::new()?,
        });
        let queues: Vec<_> = wakes.iter().map(|_| mpsc::channel(EVENTS)).collect();
        let mut pool = Self {
            shared,
            threads: Vec::new(),
        };
        let mut inboxes = Vec::new();
        for index in 0..config.threads.max(1) {
            let ends = queues.iter().zip(wakes);
            let outboxes =
                ends.map(|((sender, _), wake)| Outbox::new(sender.clone(), Arc::clone(wake)));
            inboxes.push(pool.spawn(index, config.real_time, outboxes.collect())?);
        }
        let clients = queues.into_iter().enumerate();
        let clients = clients
            .map(|(index, (_, events))| MediaClient::new(index, inboxes.clone(), events))
            .collect();
        Ok((pool, clients))
    }

    fn spawn(&mut self, index: usize, real_time: bool, outboxes: Vec<Outbox>) -> io::Result<Inbox> {
        let bell = Arc::new(Bell::new()?);
        let stats = Arc::new(ThreadStats::default());
        let (commands, queue) = mpsc::channel(COMMANDS);
        let shared = Arc::clone(&self.shared);
        let media = MediaThread::new(
            shared,
            Arc::clone(&stats),
            queue,
            Arc::clone(&bell),
            outboxes,
        )?;
        let handle = std::thread::Builder::new().name(format!("media-{index}")).spawn(move || {
            if let Err(error) = scheduling::exact_timers() {
                tracing::warn!(%error, "timers keep their slack: packets leave up to 50 µs late");
            }
            if real_time {
                // Not granted to most containers, and not needed on a machine that is not full.
                let granted = scheduling::real_time().is_ok();
                tracing::debug!(thread = index, granted, "real-time scheduling");
            }
            media.run();
        })?;
        self.threads.push(Thread {
            handle,
            bell: Arc::clone(&bell),
            stats,
        });
        Ok(Inbox { commands, bell })
    }

    /// When each thread last ran through its loop: within 1 ms at work, 0.5 s without streams.
    pub fn ticks(&self) -> Vec<Instant> {
        let ticks = self.threads.iter().map(|thread| thread.stats.last_tick());
        ticks.map(|tick| self.shared.scale.instant(tick)).collect()
    }

    /// Whether a thread ended although the pool was not shut down.
    pub fn has_failed(&self) -> bool {
        self.threads
            .iter()
            .any(|thread| thread.handle.is_finished())
    }

    /// Totals over all threads.
    pub fn local_stats(&self) -> LocalStats {
        let mut sum = LocalStats::default();
        for thread in &self.threads {
            thread.stats.add_to(&mut sum);
        }
        sum
    }

    /// Ends all streams and joins the threads; takes a few milliseconds.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in &self.threads {
            thread.bell.ring();
        }
        for thread in self.threads.drain(..) {
            if thread.handle.join().is_err() {
                tracing::error!("a media thread panicked");
            }
        }
    }
}

impl Drop for MediaPool {
    fn drop(&mut self) {
        self.stop();
    }
}
