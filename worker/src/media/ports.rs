//! Port pairs of the RTP range: an even port for RTP, the next one for RTCP (RFC 3550 §11).

use std::collections::VecDeque;

use callmeter_rtp::Time;

/// How long a pair that stays bound rests before another stream may have it, in nanoseconds: what
/// still comes for the ended stream gives the pair away until then.
const REST: i64 = 250_000_000;
/// How long a pair stays bound without a stream, in nanoseconds.
const KEPT: i64 = 1_000_000_000;
/// The part of all pairs that may be bound without a stream.
const SPARE_PART: usize = 8;

/// The pairs not in use. The one that has been free longest is taken first, so that packets still
/// on their way to an ended stream rarely meet a new one.
///
/// Opening and closing the sockets costs more than all else a short call does here, so those of
/// ended streams (`S`) are kept for a moment, and taken before unbound pairs once they have rested.
#[derive(Debug)]
pub(super) struct Ports<S> {
    free: VecDeque<u16>,
    spare: VecDeque<Spare<S>>,
    most_spare: usize,
}

#[derive(Debug)]
struct Spare<S> {
    since: Time,
    port: u16,
    sockets: S,
}

/// A pair for a stream: its even port, and its sockets if they are still bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<S> {
    pub(super) port: u16,
    pub(super) sockets: Option<S>,
}

impl<S> Ports<S> {
    /// The pairs that lie wholly inside `min..=max`.
    pub(super) fn new(min: u16, max: u16) -> Self {
        let even = u32::from(min).next_multiple_of(2);
        let pairs = (even..u32::from(max)).step_by(2);
        let free: VecDeque<_> = pairs.filter_map(|port| u16::try_from(port).ok()).collect();
        Self {
            spare: VecDeque::new(),
            most_spare: free.len() / SPARE_PART,
            free,
        }
    }

    /// Pairs without a stream now.
    pub(super) fn free(&self) -> usize {
        self.free.len() + self.spare.len()
    }

    /// Takes a pair.
    pub(super) fn take(&mut self, now: Time) -> Option<Pair<S>> {
        let rested = self.spare.front().filter(|spare| spare.rests(now) >= REST);
        if rested.is_none()
            && let Some(port) = self.free.pop_front()
        {
            let sockets = None;
            return Some(Pair { port, sockets });
        }
        let Spare { port, sockets, .. } = self.spare.pop_front()?;
        let sockets = Some(sockets);
        Some(Pair { port, sockets })
    }

    /// Returns a pair that is no longer bound, or could not be.
    pub(super) fn give_back(&mut self, port: u16) {
        self.free.push_back(port);
    }

    /// Keeps a pair bound for another stream; gives it back if enough are.
    pub(super) fn spare(&mut self, now: Time, port: u16, sockets: S) -> Option<S> {
        if self.spare.len() >= self.most_spare {
            return Some(sockets);
        }
        let since = now;
        self.spare.push_back(Spare {
            since,
            port,
            sockets,
        });
        None
    }

    /// When the longest spare pair has been that for too long.
    pub(super) fn expiry(&self) -> Option<Time> {
        let longest = self.spare.front()?;
        Some(longest.since.plus_nanos(KEPT))
    }

    /// Takes a pair out that has been spare for too long, to be closed and then given back.
    pub(super) fn expire(&mut self, now: Time) -> Option<(u16, S)> {
        self.expiry().filter(|at| *at <= now)?;
        self.drop_spare()
    }

    /// Takes the longest spare pair out, to be closed and then given back.
    pub(super) fn drop_spare(&mut self) -> Option<(u16, S)> {
        self.spare
            .pop_front()
            .map(|spare| (spare.port, spare.sockets))
    }
}

impl<S> Spare<S> {
    fn rests(&self, now: Time) -> i64 {
        now.nanos_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Time {
        Time::from_nanos(nanos)
    }

    fn taken(ports: &mut Ports<()>, now: i64) -> Option<(u16, bool)> {
        let pair = ports.take(at(now))?;
        Some((pair.port, pair.sockets.is_some()))
    }

    fn all(min: u16, max: u16) -> Vec<u16> {
        let mut ports = Ports::new(min, max);
        std::iter::from_fn(|| taken(&mut ports, 0).map(|(port, _)| port)).collect()
    }

    /// R24, R25: two ports per stream, both inside the range.
    #[test]
    fn pairs_are_even_and_whole() {
        assert_eq!(all(10_000, 10_005), [10_000, 10_002, 10_004]);
        assert_eq!(all(10_001, 10_004), [10_002]);
        assert_eq!(all(65_532, 65_535), [65_532, 65_534]);
        assert_eq!(all(65_535, 65_535), [0; 0]);
        assert_eq!(Ports::<()>::new(10_000, 10_199).free(), 100);
    }

    #[test]
    fn the_longest_free_pair_comes_first() {
        let mut ports = Ports::new(10_000, 10_003);
        assert_eq!(taken(&mut ports, 0), Some((10_000, false)));
        ports.give_back(10_000);
        assert_eq!(taken(&mut ports, 0), Some((10_002, false)));
        assert_eq!(taken(&mut ports, 0), Some((10_000, false)));
        assert_eq!(taken(&mut ports, 0), None);
    }

    #[test]
    fn bound_pairs_come_first_once_they_have_rested_and_last_before() {
        let mut ports = Ports::new(10_000, 10_031);
        for _ in 0..16 {
            ports.take(at(0));
        }
        assert_eq!(ports.spare(at(0), 10_000, ()), None);
        assert_eq!(ports.spare(at(1), 10_002, ()), None);
        assert_eq!(ports.spare(at(1), 10_004, ()), Some(()), "an eighth of all");
        ports.give_back(10_004);
        ports.give_back(10_006);
        assert_eq!(ports.free(), 4);
        assert_eq!(taken(&mut ports, REST - 1), Some((10_004, false)));
        assert_eq!(taken(&mut ports, REST), Some((10_000, true)));
        assert_eq!(taken(&mut ports, REST), Some((10_006, false)));
        // Better one that has hardly rested than none.
        assert_eq!(taken(&mut ports, REST), Some((10_002, true)));
        assert_eq!(taken(&mut ports, REST), None);
    }

    #[test]
    fn bound_pairs_are_not_kept_for_long() {
        let mut ports = Ports::new(10_000, 10_031);
        ports.take(at(0));
        ports.spare(at(5), 10_000, ());
        assert_eq!(ports.expiry(), Some(at(KEPT + 5)));
        assert_eq!(ports.expire(at(KEPT + 4)), None);
        assert_eq!(ports.expire(at(KEPT + 5)), Some((10_000, ())));
        assert_eq!(ports.expire(at(KEPT + 5)), None);
        assert_eq!(ports.expiry(), None);
        assert_eq!(ports.free(), 15);
    }
}
