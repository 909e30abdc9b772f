//! Deadlines of many owners in one hierarchical timing wheel, deleted lazily.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// How far ahead entries are queued. A later deadline is looked at again then, so that what is
/// left of owners that went away is gone after this time.
const HORIZON: Duration = Duration::from_secs(32);
/// Bits of a tick (1 ms) that one level tells apart, so that a word says which slots hold entries.
const BITS: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << BITS;
/// Entries an empty slot keeps room for.
const MOST_ROOM: usize = 1024;
/// Levels: 42 bits of milliseconds are 139 years.
const LEVELS: usize = 7;
/// The last tick that can be told apart.
const LAST: u64 = (1 << (BITS * LEVELS as u32)) - 1;

/// A queue of `(time, owner)`; an owner is woken at the time or for nothing, never late.
///
/// Entries of the current tick and earlier ones are in `ready`, in order. A later entry is in the
/// level of the highest bits in which its tick differs from the current one, so that everything in
/// a level comes before everything in the next, and moves down when its slot is reached. Times
/// stay exact; the tick only says where an entry waits.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    ready: BinaryHeap<Reverse<Entry<K>>>,
    levels: Vec<Level<K>>,
    /// The current tick, counted from `origin`.
    tick: u64,
    origin: Option<Instant>,
    len: usize,
    sequence: u64,
    latest: Option<Instant>,
}

/// One owner's deadline, kept beside its state. It has at most one live entry in the queue: moving
/// a deadline later costs nothing, the old entry is put back when it comes up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    queued: Option<Instant>,
}

#[derive(Debug)]
struct Level<K> {
    /// Bit `n`: slot `n` holds entries.
    used: u64,
    slots: [Slot<K>; SLOTS],
}

#[derive(Debug)]
struct Slot<K> {
    entries: Vec<Entry<K>>,
    /// The earliest of them.
    first: Option<Instant>,
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
            ready: BinaryHeap::new(),
            levels: (0..LEVELS).map(|_| Level::default()).collect(),
            tick: 0,
            origin: None,
            len: 0,
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
        match self.ready.peek() {
            Some(Reverse(entry)) => Some(entry.at),
            None => self.levels.iter().find_map(Level::first),
        }
    }

    /// Entries in the queue, those of owners that have gone included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes the first entry if it is due; its owner calls [`Deadline::fired`] with the time.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.advance(now);
        let Reverse(entry) = self.ready.pop()?;
        self.len -= 1;
        Some((entry.at, entry.key))
    }

    /// Queues an entry, at most the horizon ahead, and says for when.
    fn push(&mut self, at: Instant, key: K) -> Instant {
        let at = self.latest.map_or(at, |latest| at.min(latest + HORIZON));
        self.sequence += 1;
        self.len += 1;
        let sequence = self.sequence;
        self.place(Entry { at, sequence, key });
        at
    }

    fn tick_of(&mut self, at: Instant) -> u64 {
        let origin = *self.origin.get_or_insert_with(|| self.latest.unwrap_or(at));
        let elapsed = at.saturating_duration_since(origin).as_millis();
        u64::try_from(elapsed).map_or(LAST, |tick| tick.min(LAST))
    }

    fn place(&mut self, entry: Entry<K>) {
        let tick = self.tick_of(entry.at);
        if tick <= self.tick {
            self.ready.push(Reverse(entry));
            return;
        }
        let level = (tick ^ self.tick).ilog2() / BITS;
        let slot = slot_of(tick, level);
        self.levels[level as usize].put(slot, entry);
    }

    /// Makes the tick of `now` the current one: what it reaches gets ready or moves down.
    fn advance(&mut self, now: Instant) {
        let before = self.tick;
        self.tick = self.tick_of(now).max(before);
        // Levels below that of the change are passed whole; in its level, what lies between.
        for level in 0..LEVELS as u32 {
            let passed = self.tick >> (BITS * (level + 1)) != before >> (BITS * (level + 1));
            let reached = if passed {
                u64::MAX
            } else {
                // The slots up to the current one: `2 << 63` wraps to 0, and all bits are wanted.
                (2_u64 << slot_of(self.tick, level)).wrapping_sub(1)
            };
            let mut reached = self.levels[level as usize].used & reached;
            while reached != 0 {
                let slot = reached.trailing_zeros() as usize;
                reached &= reached - 1;
                let mut entries = self.levels[level as usize].take(slot);
                for entry in entries.drain(..) {
                    self.place(entry);
                }
                self.levels[level as usize].put_back(slot, entries);
            }
            if !passed {
                return;
            }
        }
    }
}

/// The slot of a tick in a level.
fn slot_of(tick: u64, level: u32) -> usize {
    (tick >> (BITS * level)) as usize % SLOTS
}

impl<K> Level<K> {
    fn first(&self) -> Option<Instant> {
        let slot = self.slots.get(self.used.trailing_zeros() as usize)?;
        slot.first
    }

    fn put(&mut self, slot: usize, entry: Entry<K>) {
        self.used |= 1 << slot;
        let slot = &mut self.slots[slot];
        slot.first = Some(slot.first.map_or(entry.at, |first| first.min(entry.at)));
        slot.entries.push(entry);
    }

    fn take(&mut self, slot: usize) -> Vec<Entry<K>> {
        self.used &= !(1 << slot);
        std::mem::take(&mut self.slots[slot]).entries
    }

    /// Gives an emptied slot its room back, unless what came down has gone into it meanwhile. Room for
    /// a burst is not kept for ever.
    fn put_back(&mut self, slot: usize, room: Vec<Entry<K>>) {
        let entries = &mut self.slots[slot].entries;
        if entries.capacity() == 0 && room.capacity() <= MOST_ROOM {
            *entries = room;
        }
    }
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Self {
            used: 0,
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }
}

impl<K> Default for Slot<K> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            first: None,
        }
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
mod tests;
