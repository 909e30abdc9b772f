//! Deadlines of many owners in one heap, deleted lazily.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// How far ahead entries are queued. A later deadline is looked at again then, so that what is
/// left of owners that went away is gone after this time.
const HORIZON: Duration = Duration::from_secs(32);

/// A queue of `(time, owner)`; an owner is woken at the time or for nothing, never late.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<Entry<K>>>,
    sequence: u64,
    latest: Option<Instant>,
}

/// One owner's deadline, kept beside its state. It has at most one live entry in the heap: moving
/// a deadline later costs nothing, the old entry is put back when it comes up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    queued: Option<Instant>,
}

#[derive(Debug)]
struct Entry<K> {
    at: Instant,
    sequence: u64,
    key: K,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
            latest: None,
        }
    }
}

impl<K> Timers<K> {
    /// Tells the time, which bounds how far ahead entries are queued.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.latest = Some(now);
    }

    /// The time of the first entry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Entries in the queue, those of owners that have gone included.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes the first entry if it is due; its owner calls [`Deadline::fired`] with the time.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.key))
    }

    /// Queues an entry, at most the horizon ahead, and says for when.
    fn push(&mut self, at: Instant, key: K) -> Instant {
        let at = self.latest.map_or(at, |latest| at.min(latest + HORIZON));
        self.sequence += 1;
        self.heap.push(Reverse(Entry {
            at,
            sequence: self.sequence,
            key,
        }));
        at
    }
}

impl Deadline {
    /// Moves the deadline.
    pub(crate) fn set<K>(&mut self, timers: &mut Timers<K>, key: K, at: Option<Instant>) {
        self.at = at;
        if let Some(at) = at
            && self.queued.is_none_or(|queued| at < queued)
        {
            self.queued = Some(timers.push(at, key));
        }
    }

    /// Whether the deadline has come, given an entry that was due at `entry`. A later deadline is
    /// queued again.
    pub(crate) fn fired<K>(
        &mut self,
        timers: &mut Timers<K>,
        key: K,
        entry: Instant,
        now: Instant,
    ) -> bool {
        if self.queued != Some(entry) {
            return false;
        }
        self.queued = None;
        match self.at {
            Some(at) if at <= now => {
                self.at = None;
                true
            }
            later => {
                self.set(timers, key, later);
                false
            }
        }
    }
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl<K> Eq for Entry<K> {}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a starting point for virtual time"
)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_and_at_its_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        deadline.set(&mut timers, 'a', Some(at(500)));
        deadline.set(&mut timers, 'a', Some(at(5000)));
        assert_eq!(timers.next(), Some(at(500)));
        let mut fired = Vec::new();
        for ms in [499, 500, 4999, 5000, 9000] {
            while let Some((entry, key)) = timers.pop(at(ms)) {
                if deadline.fired(&mut timers, key, entry, at(ms)) {
                    fired.push(ms);
                }
            }
        }
        assert_eq!(fired, [5000]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn an_earlier_deadline_wins_and_the_old_entry_is_ignored() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        deadline.set(&mut timers, 'a', Some(at(500)));
        deadline.set(&mut timers, 'a', Some(at(100)));
        let (entry, key) = timers.pop(at(100)).unwrap();
        assert!(deadline.fired(&mut timers, key, entry, at(100)));
        let (entry, key) = timers.pop(at(500)).unwrap();
        assert!(!deadline.fired(&mut timers, key, entry, at(500)));
    }

    #[test]
    fn a_far_deadline_is_looked_at_within_the_horizon() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        timers.tick(start);
        deadline.set(&mut timers, 'a', Some(at(80)));
        let mut looked = Vec::new();
        while let Some(next) = timers.next() {
            timers.tick(next);
            let (entry, key) = timers.pop(next).unwrap();
            looked.push((next - start, deadline.fired(&mut timers, key, entry, next)));
        }
        let seconds = Duration::from_secs;
        assert_eq!(
            looked,
            [
                (seconds(32), false),
                (seconds(64), false),
                (seconds(80), true)
            ]
        );
    }

    #[test]
    fn a_cleared_deadline_does_not_fire() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        deadline.set(&mut timers, 'a', Some(start));
        deadline.set(&mut timers, 'a', None);
        let (entry, key) = timers.pop(start).unwrap();
        assert!(!deadline.fired(&mut timers, key, entry, start));
    }
}
