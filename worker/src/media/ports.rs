//! Port pairs of the RTP range: an even port for RTP, the next one for RTCP (RFC 3550 §11).

use std::collections::VecDeque;

/// The pairs not in use. The one that has been free longest is taken first, so that packets still
/// on their way to an ended stream rarely meet a new one.
#[derive(Debug)]
pub(super) struct Ports {
    free: VecDeque<u16>,
}

impl Ports {
    /// The pairs that lie wholly inside `min..=max`.
    pub(super) fn new(min: u16, max: u16) -> Self {
        let even = u32::from(min).next_multiple_of(2);
        let pairs = (even..u32::from(max)).step_by(2);
        Self {
            free: pairs.filter_map(|port| u16::try_from(port).ok()).collect(),
        }
    }

    /// Pairs free now.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a pair; gives its even port.
    pub(super) fn take(&mut self) -> Option<u16> {
        self.free.pop_front()
    }

    /// Returns a pair that is no longer bound, or could not be.
    pub(super) fn give_back(&mut self, port: u16) {
        self.free.push_back(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(min: u16, max: u16) -> Vec<u16> {
        let mut ports = Ports::new(min, max);
        std::iter::from_fn(|| ports.take()).collect()
    }

    /// R24, R25: two ports per stream, both inside the range.
    #[test]
    fn pairs_are_even_and_whole() {
        assert_eq!(all(10_000, 10_005), [10_000, 10_002, 10_004]);
        assert_eq!(all(10_001, 10_004), [10_002]);
        assert_eq!(all(65_532, 65_535), [65_532, 65_534]);
        assert_eq!(all(65_535, 65_535), [0; 0]);
        assert_eq!(Ports::new(10_000, 10_199).free(), 100);
    }

    #[test]
    fn the_longest_free_pair_comes_first() {
        let mut ports = Ports::new(10_000, 10_003);
        assert_eq!(ports.take(), Some(10_000));
        ports.give_back(10_000);
        assert_eq!(
            (ports.take(), ports.take(), ports.take()),
            (Some(10_002), Some(10_000), None)
        );
    }
}
