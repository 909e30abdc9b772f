//! Counters a shard's thread adds to and the control task reads.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use callmeter_engine::Held;

/// A counter read by differences.
#[derive(Debug, Default)]
pub(super) struct Count {
    total: AtomicU64,
    told: AtomicU64,
}

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.total.fetch_add(n, Ordering::Relaxed);
    }

    /// What was added since the last time it was asked; one reader only.
    pub(super) fn since_last(&self) -> u64 {
        let total = self.total.load(Ordering::Relaxed);
        total - self.told.swap(total, Ordering::Relaxed)
    }
}

/// A shard's figures.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) received: Count,
    pub(super) sent: Count,
    pub(super) send_errors: Count,
    /// Messages above 1,300 bytes in one datagram.
    pub(super) oversized: Count,
    pub(super) malformed: Count,
    /// Connections of peers closed for their number, and how often those after them had to wait.
    pub(super) turned_away: Count,
    held: Mutex<Held>,
    trouble: Mutex<Option<String>>,
}

impl Stats {
    /// Tells what the engine holds.
    pub(super) fn set_held(&self, held: Held) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// What the engine held when it was looked at last.
    pub(super) fn held(&self) -> Held {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells why no SIP port can be bound; none: one can.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why no SIP port can be bound.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
