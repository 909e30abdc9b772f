//! How many server transactions there may be, by what the endpoints can need.
//!
//! An endpoint has one call at a time. With [`EACH`] it answers 62 requests a second, and knows each
//! again for 32 s. An INVITE that is refused at once makes no call and is nobody's, so a flood of
//! them, which costs its sender nothing, fills a small part of that only: beyond it they are refused
//! without state, which RFC 3261 §8.2.7 allows; the INVITE comes again until it has its answer. What
//! belongs to calls has the rest, and BYE and CANCEL, which end them, a quarter on top.

use super::{ServerId, Transactions};
use crate::message::Method;

/// Server transactions of each endpoint.
const EACH: usize = 2_000;
/// What there is besides, so that few endpoints have room for a burst.
const BASE: usize = 10_000;
/// Refusals of each endpoint that are sent again until their ACK: one a second. As many more may wait
/// for repetitions after it.
const REFUSALS_EACH: usize = 32;
/// Those there are besides.
const REFUSALS_BASE: usize = 1_000;

/// The limits, and how far they are used.
#[derive(Debug, Default)]
pub(super) struct Room {
    most: usize,
    most_refusals: usize,
    unacknowledged: usize,
    acknowledged: usize,
}

/// What the refusal of an INVITE takes of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A place among those that are sent again until their ACK.
    Unacknowledged,
    /// One among those that have had it, and absorb what comes again.
    Acknowledged,
}

impl Room {
    /// Makes room for one more refusal, if there is some.
    pub(super) fn take(&mut self, refusal: Refusal) -> Option<Refusal> {
        let most = self.most_refusals;
        let taken = self.taken(refusal);
        (*taken < most).then(|| {
            *taken += 1;
            refusal
        })
    }

    pub(super) fn give(&mut self, refusal: Refusal) {
        let taken = self.taken(refusal);
        *taken = taken.saturating_sub(1);
    }

    fn taken(&mut self, refusal: Refusal) -> &mut usize {
        match refusal {
            Refusal::Unacknowledged => &mut self.unacknowledged,
            Refusal::Acknowledged => &mut self.acknowledged,
        }
    }
}

impl Transactions {
    /// Makes room for what so many endpoints need; `most`: in no case more.
    pub(crate) fn make_room(&mut self, endpoints: usize, most: usize) {
        self.room.most = EACH
            .saturating_mul(endpoints)
            .saturating_add(BASE)
            .min(most);
        let refusals = REFUSALS_EACH.saturating_mul(endpoints);
        self.room.most_refusals = refusals.saturating_add(REFUSALS_BASE).min(most);
    }

    /// Whether a request may have a transaction.
    pub(crate) fn has_room(&self, method: Method) -> bool {
        let most = self.room.most;
        let more = match method {
            Method::Bye | Method::Cancel => most / 4,
            _ => 0,
        };
        self.servers.len() < most.saturating_add(more)
    }

    /// A transaction belongs to a dialog: it is kept whatever it is answered.
    pub(crate) fn keep(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.within = true;
        }
    }
}
