//! The way into a shard: a bounded queue and the descriptor that wakes its thread.

use std::{
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use callmeter_engine::{HostFigures, ShareId};
use callmeter_sip::locate::Found;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use super::Command;

/// Inputs that may wait for a shard.
const QUEUE: usize = 1024;

/// What a shard is told.
#[derive(Debug)]
pub(super) enum ShardInput {
    Command(Command),
    Host(HostFigures),
    Resolved {
        share: ShareId,
        host: String,
        found: Result<IpAddr, String>,
    },
    /// Where the server of a waiting share is, or why it is nowhere, and how long that took.
    Located {
        waiting: u64,
        found: Result<Found, String>,
        took: Duration,
    },
}

/// Wakes a thread that waits in epoll.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A descriptor that is not readable yet.
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // Only a full counter refuses, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable until the next wake.
    pub(super) fn reset(&self) {
        // Fails only if nobody woke it.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends to a shard and wakes it.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    inputs: mpsc::Sender<ShardInput>,
    waker: Waker,
}

/// A place in the queue of a shard.
#[derive(Debug)]
pub struct Room<'a> {
    permit: mpsc::Permit<'a, ShardInput>,
    waker: &'a Waker,
}

impl Room<'_> {
    /// Puts the command into the place and wakes the shard.
    pub fn send(self, command: Command) {
        self.permit.send(ShardInput::Command(command));
        self.waker.wake();
    }
}

impl ShardHandle {
    pub(super) fn new(waker: Waker) -> (Self, mpsc::Receiver<ShardInput>) {
        let (inputs, receiver) = mpsc::channel(QUEUE);
        (Self { inputs, waker }, receiver)
    }

    /// A place in the queue; none while the shard is that far behind.
    pub fn room(&self) -> Option<Room<'_>> {
        let permit = self.inputs.try_reserve().ok()?;
        Some(Room {
            permit,
            waker: &self.waker,
        })
    }

    /// Tells the generator's own figures; a shard that is that far behind misses them.
    pub fn tell_host(&self, figures: HostFigures) {
        if let Ok(permit) = self.inputs.try_reserve() {
            permit.send(ShardInput::Host(figures));
            self.waker.wake();
        }
    }

    /// Waits for a place; a shard that is gone drops the input.
    pub(super) async fn send(&self, input: ShardInput) {
        if self.inputs.send(input).await.is_ok() {
            self.waker.wake();
        }
    }
}
