use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

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

/// What the wheel has to do, as a sorted set does it.
#[derive(Default)]
struct Reference(BTreeSet<(Instant, u64)>);

impl Reference {
    fn pop(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let first = *self.0.first()?;
        (first.0 <= now).then(|| self.0.remove(&first));
        (first.0 <= now).then_some(first)
    }
}

proptest! {
    /// Times of every size, so that entries wait in every level up to the horizon and time
    /// jumps over slots, levels and nothing at all.
    #[test]
    fn entries_come_at_their_time_and_in_order(
        steps in vec((0_u32..26, any::<u64>(), any::<bool>()), 1..400),
    ) {
        let start = Instant::now();
        let (mut now, mut count) = (start, 0);
        let (mut timers, mut reference) = (Timers::default(), Reference::default());
        timers.tick(now);
        for (bits, random, moves_on) in steps {
            let micros = Duration::from_micros(random % (2 << bits));
            if moves_on {
                now += micros;
                timers.tick(now);
                loop {
                    let popped = timers.pop(now);
                    prop_assert_eq!(popped, reference.pop(now));
                    if popped.is_none() {
                        break;
                    }
                }
            } else {
                count += 1;
                let at = timers.push(now + micros, count);
                prop_assert_eq!(at, now + micros.min(HORIZON));
                reference.0.insert((at, count));
            }
            prop_assert_eq!(timers.next(), reference.0.first().map(|(at, _)| *at));
            prop_assert_eq!(timers.len(), reference.0.len());
        }
    }
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
