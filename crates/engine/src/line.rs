//! Whose turn it is to call, where only so many calls of a share may stand at a time.

use std::collections::BTreeMap;

use crate::media::StreamId;

/// Endpoints that wait for their turn, and the calls that stand.
///
/// Contract: an endpoint that is ready to dial joins; [`Self::turn`] takes the first one out while
/// one more call may stand. Its call counts from [`Self::placed`] to [`Self::over`]; at that moment
/// its endpoint gets its next place, which it takes when it joins again. Who would call somebody
/// that a standing call goes to lets others go first: it would be told that the line is busy.
#[derive(Debug)]
pub(crate) struct Line {
    at_once: usize,
    /// Endpoints by the calls of theirs that stand.
    standing: BTreeMap<StreamId, u32>,
    /// Places by endpoint, of those that will join too.
    places: BTreeMap<u32, u64>,
    next_place: u64,
    /// Whom each endpoint calls, by index in `peers`.
    calls: Vec<usize>,
    peers: Vec<Peer>,
    /// Peers that may be called, by the place of the first endpoint that would.
    heads: BTreeMap<u64, usize>,
}

/// Somebody that endpoints call.
#[derive(Debug, Default)]
struct Peer {
    /// A standing call goes there.
    called: bool,
    /// Endpoints that wait to call there, by their place.
    waiting: BTreeMap<u64, u32>,
    /// The key in `heads`.
    head: Option<u64>,
}

impl Line {
    /// A line for endpoints that call `peers`, in order. If all call the same one, it is taken for
    /// a number with many lines: to an endpoint the plan has one call at a time.
    pub(crate) fn new<'a>(at_once: u32, peers: impl Iterator<Item = &'a str>) -> Self {
        let mut numbers = BTreeMap::new();
        let mut calls = Vec::new();
        for peer in peers {
            let next = numbers.len();
            // Who calls nobody waits for nobody.
            let own = if peer.is_empty() { calls.len() } else { 0 };
            calls.push(*numbers.entry((peer, own)).or_insert(next));
        }
        if numbers.len() == 1 {
            calls = (0..calls.len()).collect();
        }
        Self {
            at_once: at_once as usize,
            standing: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
            peers: calls.iter().map(|_| Peer::default()).collect(),
            calls,
            heads: BTreeMap::new(),
        }
    }

    /// Has an endpoint wait at its place, or at the end.
    pub(crate) fn join(&mut self, index: u32) {
        let place = self.place(index);
        self.change(index, |peer| _ = peer.waiting.insert(place, index));
    }

    /// An endpoint waits no more and has no place.
    pub(crate) fn leave(&mut self, index: u32) {
        if let Some(place) = self.places.remove(&index) {
            self.change(index, |peer| _ = peer.waiting.remove(&place));
        }
    }

    /// Takes out the endpoint whose turn it is; `None` while no more calls may stand.
    pub(crate) fn turn(&mut self) -> Option<u32> {
        if self.standing.len() >= self.at_once {
            return None;
        }
        let (place, peer) = self.heads.first_key_value()?;
        let index = *self.peers.get(*peer)?.waiting.get(place)?;
        self.leave(index);
        Some(index)
    }

    pub(crate) fn placed(&mut self, index: u32, stream: StreamId) {
        self.standing.insert(stream, index);
        self.change(index, |peer| peer.called = true);
    }

    /// The signalling of a call is over; true if it was one of those that count.
    pub(crate) fn over(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.standing.remove(&stream) else {
            return false;
        };
        self.place(index);
        self.change(index, |peer| peer.called = false);
        true
    }

    /// Changes the peer of an endpoint, and whether it is among those that may be called.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Peer)) {
        let Some(&number) = self.calls.get(index as usize) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(number) else {
            return;
        };
        change(peer);
        let first = peer.waiting.first_key_value().map(|(place, _)| *place);
        let head = first.filter(|_| !peer.called);
        if let Some(old) = std::mem::replace(&mut peer.head, head) {
            self.heads.remove(&old);
        }
        if let Some(head) = head {
            self.heads.insert(head, number);
        }
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
        let mut line = Line::new(2, ["sip:pbx"; 8].into_iter());
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

    /// Endpoints 0 and 2 call the same peer, 3 and 4 nobody.
    #[test]
    fn nobody_calls_whom_another_calls() {
        let mut line = Line::new(3, ["a", "b", "a", "", ""].into_iter());
        for index in 0..5 {
            line.join(index);
        }
        assert_eq!(line.turn(), Some(0));
        line.placed(0, StreamId(1));
        assert_eq!(line.turn(), Some(1));
        line.placed(1, StreamId(2));
        assert_eq!([line.turn(), line.turn()], [Some(3), Some(4)]);
        assert_eq!(line.turn(), None, "2 waits for the call of 0");
        line.over(StreamId(2));
        assert_eq!(line.turn(), None);
        line.join(1);
        line.over(StreamId(1));
        assert_eq!([line.turn(), line.turn()], [Some(2), Some(1)]);
    }
}
