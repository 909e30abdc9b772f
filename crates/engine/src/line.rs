//! Whose turn it is to call, where only so many calls of a share may stand at a time.

use std::collections::BTreeMap;

use crate::media::StreamId;

/// Endpoints that wait for their turn, and the calls that stand.
///
/// Contract: an endpoint that is ready to dial joins; [`Self::turn`] takes the first one out while
/// one more call may stand. Its call counts from [`Self::placed`] to [`Self::over`]; at that moment
/// its endpoint gets its next place, which it takes when it joins again.
#[derive(Debug)]
pub(crate) struct Line {
    at_once: usize,
    /// Endpoints by the calls of theirs that stand.
    standing: BTreeMap<StreamId, u32>,
    /// Endpoints that wait, by their place.
    waiting: BTreeMap<u64, u32>,
    /// Places by endpoint, of those that will join too.
    places: BTreeMap<u32, u64>,
    next_place: u64,
}

impl Line {
    pub(crate) fn new(at_once: u32) -> Self {
        Self {
            at_once: at_once as usize,
            standing: BTreeMap::new(),
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        }
    }

    /// Has an endpoint wait at its place, or at the end.
    pub(crate) fn join(&mut self, index: u32) {
        let place = self.place(index);
        self.waiting.insert(place, index);
    }

    /// An endpoint waits no more and has no place.
    pub(crate) fn leave(&mut self, index: u32) {
        if let Some(place) = self.places.remove(&index) {
            self.waiting.remove(&place);
        }
    }

    /// Takes out the endpoint whose turn it is; `None` while no more calls may stand.
    pub(crate) fn turn(&mut self) -> Option<u32> {
        if self.standing.len() >= self.at_once {
            return None;
        }
        let (_, index) = self.waiting.pop_first()?;
        self.places.remove(&index);
        Some(index)
    }

    pub(crate) fn placed(&mut self, index: u32, stream: StreamId) {
        self.standing.insert(stream, index);
    }

    /// The signalling of a call is over; true if it was one of those that count.
    pub(crate) fn over(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.standing.remove(&stream) else {
            return false;
        };
        self.place(index);
        true
    }

    /// The place of an endpoint; the last one if it had none.
    fn place(&mut self, index: u32) -> u64 {
        let next = &mut self.next_place;
        *self.places.entry(index).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken_in_order_while_a_call_may_stand() {
        let mut line = Line::new(2);
        for index in [4, 2, 7, 4] {
            line.join(index);
        }
        line.leave(2);
        line.leave(9);
        assert_eq!(line.turn(), Some(4));
        // Its call was never placed: nothing stands for it.
        assert_eq!(line.turn(), Some(7));
        line.placed(4, StreamId(1));
        line.placed(7, StreamId(2));
        line.join(2);
        assert_eq!(line.turn(), None);
        assert!(!line.over(StreamId(3)), "of no endpoint in line");
        assert!(line.over(StreamId(1)) && !line.over(StreamId(1)));
        assert!(line.over(StreamId(2)));
        line.join(7);
        line.join(4);
        assert_eq!(
            [line.turn(), line.turn()],
            [Some(2), Some(4)],
            "its call ended first"
        );
        assert_eq!([line.turn(), line.turn()], [Some(7), None], "nobody waits");
    }
}
