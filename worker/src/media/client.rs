//! A signalling shard's end of the media threads.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use callmeter_engine::media::{MediaCommand, MediaEvent, StreamId};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Called when events wait for a client; must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A command and the client it is from.
pub(super) type Envelope = (usize, MediaCommand);

/// The way into one media thread.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    pub(super) commands: mpsc::Sender<Envelope>,
    pub(super) bell: Arc<Bell>,
}

/// Wakes a media thread that has nothing to do and sleeps in epoll.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) fd: OwnedFd,
    asleep: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            asleep: AtomicBool::new(false),
        })
    }

    /// Wakes the thread if it sleeps. The fence pairs with the one of [`Bell::set_asleep`]: either
    /// the thread sees what was queued before this, or this sees it asleep.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // Only a full counter refuses, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// The thread is about to sleep (it looks at its queue once more after this) or awake.
    pub(super) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !asleep {
            // Fails only if nobody rang.
            let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        }
    }
}

/// Sends commands and takes the events of the streams it opened. One per shard.
///
/// Commands never block: what finds a full queue waits here, in order, and goes with the next
/// [`MediaClient::send`] or [`MediaClient::poll`]; that is at most four commands per stream
/// and the digits of its scenario.
#[derive(Debug)]
pub struct MediaClient {
    index: usize,
    inboxes: Vec<Inbox>,
    events: mpsc::Receiver<MediaEvent>,
    waiting: VecDeque<MediaCommand>,
}

impl MediaClient {
    pub(super) fn new(
        index: usize,
        inboxes: Vec<Inbox>,
        events: mpsc::Receiver<MediaEvent>,
    ) -> Self {
        Self {
            index,
            inboxes,
            events,
            waiting: VecDeque::new(),
        }
    }

    /// Hands a command to the thread of its stream.
    pub fn send(&mut self, command: MediaCommand) {
        self.waiting.push_back(command);
        self.flush();
    }

    /// The next event; none when none waits.
    pub fn poll(&mut self) -> Option<MediaEvent> {
        self.flush();
        self.events.try_recv().ok()
    }

    fn flush(&mut self) {
        while let Some(command) = self.waiting.front() {
            let inbox = &self.inboxes[thread_of(command.stream(), self.inboxes.len())];
            match inbox.commands.try_send((self.index, *command)) {
                Ok(()) => inbox.bell.ring(),
                Err(TrySendError::Full(_)) => return,
                // The pool has shut down; its streams are gone.
                Err(TrySendError::Closed(_)) => {}
            }
            self.waiting.pop_front();
        }
    }
}

/// The thread that owns a stream, of `threads` > 0.
pub(super) fn thread_of(stream: StreamId, threads: usize) -> usize {
    (hash(stream) % threads as u64) as usize
}

/// Spreads ids that may be consecutive over all bits.
pub(super) fn hash(stream: StreamId) -> u64 {
    let mixed = (stream.0 ^ stream.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
