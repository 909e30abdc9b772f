//! The control task's end of the command queue to a shard.

use std::{os::fd::OwnedFd, sync::Arc};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use super::Command;

/// Commands that may wait for a shard.
const QUEUE: usize = 1024;

/// Sends commands to a shard and wakes it.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Room<'a> {
    permit: mpsc::Permit<'a, Command>,
    wake: &'a OwnedFd,
}

impl Room<'_> {
    /// Puts the command into the place and wakes the shard.
    pub fn send(self, command: Command) {
        self.permit.send(command);
        wake(self.wake);
    }
}

impl ShardHandle {
    /// A place in the queue; none while the shard is that far behind.
    pub fn room(&self) -> Option<Room<'_>> {
        let permit = self.commands.try_reserve().ok()?;
        Some(Room {
            permit,
            wake: &self.wake,
        })
    }
}

/// Makes a handle, the shard's end of the queue and the descriptor that becomes readable with it.
pub(super) fn queue() -> std::io::Result<(ShardHandle, mpsc::Receiver<Command>, Arc<OwnedFd>)> {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let handle = ShardHandle {
        commands,
        wake: Arc::clone(&wake),
    };
    Ok((handle, receiver, wake))
}

/// Makes the descriptor readable.
pub(super) fn wake(fd: &OwnedFd) {
    // Only a full counter refuses, and then the descriptor is readable anyway.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}
