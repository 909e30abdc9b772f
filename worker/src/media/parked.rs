//! Sockets of streams that have ended, kept for the next streams of the same thread.
//!
//! To open, set up and close two sockets takes more time than everything else a short call does
//! with its media. A pair waits a moment before it is used again and is closed if anything came
//! meanwhile, so that no packet of an old stream meets a new one. Pairs are kept only while streams
//! run, so that nothing is left of a run.

use std::collections::VecDeque;
use std::net::IpAddr;

use callmeter_rtp::Time;

use crate::sys::socket::{ControlBuffer, MediaSocket};

/// How long a pair waits at least, in nanoseconds: late packets come within this time, after the
/// 200 ms for which an ended call still receives.
const LEAST: i64 = 50_000_000;
/// How long a pair is kept at most, in nanoseconds.
const MOST: i64 = 1_000_000_000;

/// The bound sockets of one stream: RTP on an even port, RTCP on the next.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) port: u16,
    pub(super) rtp: MediaSocket,
    pub(super) rtcp: MediaSocket,
}

impl Pair {
    /// Binds an even port and the next one.
    pub(super) fn bind(ip: IpAddr, port: u16) -> std::io::Result<Self> {
        let rtp = MediaSocket::bind(ip, port)?;
        let rtcp = MediaSocket::bind(ip, port + 1)?;
        Ok(Self { port, rtp, rtcp })
    }

    /// Whether nothing has come since it was read empty.
    fn is_quiet(&self, control: &mut ControlBuffer) -> bool {
        let mut quiet =
            |socket: &MediaSocket| matches!(socket.receive(&mut [0], control), Ok(None));
        quiet(&self.rtp) && quiet(&self.rtcp)
    }
}

/// Pairs by how long they wait.
#[derive(Debug)]
pub(super) struct Parked {
    pairs: VecDeque<(Time, Pair)>,
    room: usize,
    control: ControlBuffer,
}

/// What [`Parked::take`] gives.
#[derive(Debug)]
pub(super) enum Found {
    /// A pair to use again.
    Quiet(Pair),
    /// A pair somebody still sends to: to be closed.
    Disturbed(Pair),
}

impl Parked {
    /// Keeps at most `room` pairs.
    pub(super) fn new(room: usize) -> Self {
        Self {
            pairs: VecDeque::new(),
            room,
            control: ControlBuffer::new(),
        }
    }

    /// Keeps a pair that was read empty; a full store gives it back.
    pub(super) fn put(&mut self, now: Time, pair: Pair) -> Result<(), Pair> {
        if self.pairs.len() >= self.room {
            return Err(pair);
        }
        self.pairs.push_back((now, pair));
        Ok(())
    }

    /// The pair that waits longest, if it has waited long enough; `urgent`: however long.
    pub(super) fn take(&mut self, now: Time, urgent: bool) -> Option<Found> {
        let (since, _) = self.pairs.front()?;
        if !urgent && now.nanos_since(*since) < LEAST {
            return None;
        }
        let (_, pair) = self.pairs.pop_front()?;
        Some(if pair.is_quiet(&mut self.control) {
            Found::Quiet(pair)
        } else {
            Found::Disturbed(pair)
        })
    }

    /// A pair that has waited too long for a use, to be closed.
    pub(super) fn expired(&mut self, now: Time) -> Option<Pair> {
        let (since, _) = self.pairs.front()?;
        (now.nanos_since(*since) >= MOST)
            .then(|| self.pairs.pop_front())?
            .map(|(_, pair)| pair)
    }

    /// Any pair, to be closed.
    pub(super) fn any(&mut self) -> Option<Pair> {
        self.pairs.pop_front().map(|(_, pair)| pair)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;
    use crate::sys::clock::monotonic;

    fn pair() -> Pair {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let free = |port: &u16| Pair::bind(ip, *port).ok();
        (42_000..43_000)
            .step_by(2)
            .find_map(|port| free(&port))
            .unwrap()
    }

    #[test]
    fn a_pair_is_used_again_after_a_while_and_closed_after_another() {
        let now = monotonic();
        let mut parked = Parked::new(2);
        let (first, second, third) = (pair(), pair(), pair());
        let ports = (first.port, second.port);
        parked.put(now, first).unwrap();
        parked.put(now.plus_nanos(1), second).unwrap();
        assert!(parked.put(now, third).is_err(), "no room");
        assert!(parked.take(now.plus_nanos(LEAST - 1), false).is_none());
        let Some(Found::Quiet(taken)) = parked.take(now.plus_nanos(LEAST), false) else {
            panic!("the first pair");
        };
        assert_eq!(taken.port, ports.0);
        assert!(parked.expired(now.plus_nanos(MOST)).is_none());
        let expired = parked.expired(now.plus_nanos(MOST + 1));
        assert_eq!(expired.map(|pair| pair.port), Some(ports.1));
        parked.put(now, taken).unwrap();
        assert!(matches!(parked.take(now, true), Some(Found::Quiet(_))));
        assert!(parked.any().is_none());
    }

    #[test]
    fn a_pair_that_somebody_still_sends_to_is_not_used_again() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for rtcp in [0, 1] {
            let (now, pair) = (monotonic(), pair());
            sender
                .send_to(b"late", ("127.0.0.1", pair.port + rtcp))
                .unwrap();
            let mut parked = Parked::new(1);
            parked.put(now, pair).unwrap();
            assert!(matches!(parked.take(now, true), Some(Found::Disturbed(_))));
        }
    }
}
