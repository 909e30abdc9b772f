//! Whose turn it is to call, where only so many calls of a share may stand at a time.

use std::collections::BTreeMap;

use crate::media::StreamId;

/// Endpoints that wait for their turn, and the calls that stand.
///
/// Contract: an endpoint that is ready to dial joins; [`Self::turn`] takes the first one out while
/// one more call may stand. Its call counts from [`Self::placed`] to [`Self::over`]; at that moment
/// its endpoint gets its next place, which it takes when it joins again. Who would call somebody
/// that a standing call goes to, or an endpoint of its own share that is in a call
/// ([`Self::in_call`]), lets others go first: it would be told that the line is busy. So does who is
/// in a call itself, or will be as a standing call goes to it. All of them keep their places.
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
    /// Which of them endpoints of the share are.
    own: BTreeMap<u32, usize>,
    /// By index of the endpoint: it is in a call.
    in_call: Vec<bool>,
    /// Peers that may be called, by the place of the first endpoint that would.
    heads: BTreeMap<u64, usize>,
}

/// Somebody that endpoints call.
#[derive(Debug, Default)]
struct Peer {
    /// A standing call goes there.
    called: bool,
    /// The endpoint of the share that it is.
    endpoint: Option<u32>,
    /// Endpoints that wait to call there, by their place.
    waiting: BTreeMap<u64, u32>,
    /// The key in `heads`.
    head: Option<u64>,
}

impl Line {
    /// A line for endpoints that call `peers`, in order; `own` tells which of these an endpoint of
    /// the share is. If all call the same one, it is taken for a number with many lines: to an
    /// endpoint the plan has one call at a time.
    pub(crate) fn new<'a>(
        at_once: u32,
        peers: impl Iterator<Item = &'a str>,
        own: impl Fn(&str) -> Option<u32>,
    ) -> Self {
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
            numbers.clear();
        }
        let own: BTreeMap<u32, usize> = numbers
            .iter()
            .filter_map(|((peer, _), number)| Some((own(peer)?, *number)))
            .collect();
        let mut peers: Vec<_> = calls.iter().map(|_| Peer::default()).collect();
        for (index, number) in &own {
            if let Some(peer) = peers.get_mut(*number) {
                peer.endpoint = Some(*index);
            }
        }
        Self {
            own,
            in_call: vec![false; calls.len()],
            at_once: at_once as usize,
            standing: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
            peers,
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

    /// The signalling of a call is over; nothing if it was none of those that count.
    pub(crate) fn over(&mut self, stream: StreamId) {
        if let Some(index) = self.standing.remove(&stream) {
            self.place(index);
            self.change(index, |peer| peer.called = false);
        }
    }

    /// An endpoint of the share is in a call, whoever placed it, or no longer.
    pub(crate) fn in_call(&mut self, index: u32, in_call: bool) {
        if let Some(known) = self.in_call.get_mut(index as usize) {
            *known = in_call;
        }
        let calls = self.calls.get(index as usize).copied();
        let own = self.own.get(&index).copied();
        for number in [calls, own].into_iter().flatten() {
            self.find_head(number);
        }
    }

    /// Changes the peer of an endpoint.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Peer)) {
        if let Some(&number) = self.calls.get(index as usize) {
            self.change_peer(number, change);
        }
    }

    /// Changes a peer, which may change whether it is called next and whether it calls.
    fn change_peer(&mut self, number: usize, change: impl FnOnce(&mut Peer)) {
        let Some(peer) = self.peers.get_mut(number) else {
            return;
        };
        change(peer);
        let calls = peer
            .endpoint
            .and_then(|index| self.calls.get(index as usize));
        for number in [Some(number), calls.copied()].into_iter().flatten() {
            self.find_head(number);
        }
    }

    /// Finds out whether a peer is among those that may be called.
    fn find_head(&mut self, number: usize) {
        let Some(peer) = self.peers.get(number) else {
            return;
        };
        let in_call = |index: u32| self.in_call.get(index as usize) == Some(&true);
        let is_called = |own: &usize| self.peers.get(*own).is_some_and(|own| own.called);
        let may_call = |index: u32| !in_call(index) && !self.own.get(&index).is_some_and(is_called);
        let mut waiting = peer.waiting.iter();
        let head = if peer.called || peer.endpoint.is_some_and(in_call) {
            None
        } else {
            waiting.find(|(_, index)| may_call(**index))
        };
        let head = head.map(|(place, _)| *place);
        let Some(peer) = self.peers.get_mut(number) else {
            return;
        };
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
        let mut line = Line::new(2, ["sip:pbx"; 8].into_iter(), |_| None);
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
        line.over(StreamId(3));
        assert_eq!(line.turn(), None, "of no endpoint in line");
        line.over(StreamId(1));
        line.over(StreamId(1));
        line.over(StreamId(2));
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
        let mut line = Line::new(3, ["a", "b", "a", "", ""].into_iter(), |_| None);
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

    /// Each endpoint calls the next one, which is of the same share.
    #[test]
    fn nobody_calls_who_is_in_a_call() {
        let mut line = Line::new(4, ["1", "2", "3", "0"].into_iter(), |uri| uri.parse().ok());
        for index in 0..4 {
            line.join(index);
        }
        assert_eq!(line.turn(), Some(0));
        line.placed(0, StreamId(1));
        line.in_call(0, true);
        assert_eq!(line.turn(), Some(2), "1 will be in a call");
        line.placed(2, StreamId(2));
        line.in_call(2, true);
        assert_eq!(line.turn(), None);
        line.in_call(1, true);
        assert_eq!(line.turn(), None, "2 is in one");
        line.in_call(1, false);
        line.over(StreamId(1));
        line.in_call(0, false);
        assert_eq!(line.turn(), None, "3 will be in a call");
        line.over(StreamId(2));
        line.in_call(2, false);
        assert_eq!([line.turn(), line.turn()], [Some(1), Some(3)]);
    }

    /// Endpoints that others call, too: 0 and 2 call the same peer, 1 another, of their share or not.
    #[test]
    fn who_is_in_a_call_keeps_its_place_and_holds_nobody_up() {
        for own in [|uri: &str| uri.parse().ok(), |_: &str| None] {
            let mut line = Line::new(3, ["1", "9", "1"].into_iter(), own);
            line.in_call(0, true);
            for index in 0..3 {
                line.join(index);
            }
            assert_eq!(line.turn(), Some(1));
            assert_eq!(line.turn(), Some(2));
            line.join(2);
            line.in_call(0, false);
            assert_eq!([line.turn(), line.turn()], [Some(0), Some(2)]);
        }
    }
}
