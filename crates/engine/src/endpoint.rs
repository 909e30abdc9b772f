//! One endpoint of a share.

use std::time::Instant;

use callmeter_sip::{EndpointKey, UaCounters};

use crate::assign::ShareId;
use crate::event::Verdict;
use crate::media::StreamId;
use crate::scenario::Tally;
use crate::share::SetUp;

/// Where an endpoint is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Its next hop is not resolved, or its turn to register has not come.
    Waiting,
    /// REGISTER is on its way.
    Registering,
    /// Registered or listening.
    Ready,
    /// Its REGISTER with expiry 0 is on its way.
    Unregistering,
    /// It has done all it will do.
    Ended,
}

/// What the engine counts of an endpoint, beside the user agent's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls that were due while it could not place one.
    pub(crate) arrivals_missed: u64,
    /// OPTIONS to the next hop without an answer that shows it is there.
    pub(crate) options_failed: u64,
    /// Steps of scenarios by what became of them.
    pub(crate) steps: Tally,
    /// Holds of ours that were accepted.
    pub(crate) holds_sent: u64,
    /// Holds of the far end that we accepted.
    pub(crate) holds_received: u64,
}

/// One endpoint of a share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) key: EndpointKey,
    pub(crate) contact: String,
    pub(crate) aor: String,
    pub(crate) life: Life,
    /// The registrar holds a binding of it.
    pub(crate) registered: bool,
    /// Attempts to register in a row that nobody answered.
    pub(crate) failures: u32,
    /// READY was reported.
    pub(crate) announced: bool,
    /// What it calls; empty: its callee has failed.
    pub(crate) peer: String,
    /// The call whose signalling has not ended.
    pub(crate) current: Option<StreamId>,
    /// A second call, of a transfer; the first one when that has ended.
    pub(crate) beside: Option<StreamId>,
    /// Calls that are not reported yet, those that only wait for their media included.
    pub(crate) open_calls: u32,
    /// Number of the last call.
    pub(crate) last_call: u32,
    pub(crate) verdict: Verdict,
    /// Since when it has no call.
    pub(crate) idle_since: Instant,
    pub(crate) timer: Option<Instant>,
    /// When it dials next, once known.
    pub(crate) dial_at: Option<Instant>,
    /// That call is a repeated one.
    pub(crate) repeats: bool,
    /// It will dial no more.
    pub(crate) dialled_out: bool,
    /// With a rate of calls: number within the group of its next one.
    pub(crate) next_arrival: u64,
    /// The call with a step that waits for the end of a REGISTER.
    pub(crate) registers_for: Option<StreamId>,
    /// What the connection of its own took, until a row has taken it.
    pub(crate) set_up: Option<Box<SetUp>>,
    /// What the engine itself counts of it.
    pub(crate) counts: Counts,
    /// Of these, what rows hold already.
    pub(crate) counts_reported: Counts,
    pub(crate) rows: u64,
    /// Counters already reported in rows.
    pub(crate) reported: UaCounters,
    /// Its counters when it was dropped, while its last rows are not written.
    pub(crate) dropped: Option<Box<UaCounters>>,
    /// Its counters have been in a row.
    pub(crate) counted: bool,
    /// Its last row of figures by the second has been written.
    pub(crate) rows_done: bool,
}

impl Endpoint {
    pub(crate) fn new(share: ShareId, index: u32, now: Instant) -> Self {
        Self {
            key: endpoint_key(share, index),
            contact: String::new(),
            aor: String::new(),
            life: Life::Waiting,
            registered: false,
            failures: 0,
            announced: false,
            peer: String::new(),
            current: None,
            beside: None,
            open_calls: 0,
            last_call: 0,
            verdict: Verdict::default(),
            idle_since: now,
            timer: None,
            dial_at: None,
            repeats: false,
            dialled_out: false,
            next_arrival: 0,
            registers_for: None,
            set_up: None,
            counts: Counts::default(),
            counts_reported: Counts::default(),
            rows: 0,
            reported: UaCounters::default(),
            dropped: None,
            counted: false,
            rows_done: false,
        }
    }
}

/// The user agent's key of an endpoint.
pub(crate) fn endpoint_key(share: ShareId, index: u32) -> EndpointKey {
    EndpointKey(u64::from(share.0) << 32 | u64::from(index))
}

/// The endpoint of a key of [`endpoint_key`].
pub(crate) fn endpoint_of(key: EndpointKey) -> (ShareId, u32) {
    (ShareId((key.0 >> 32) as u32), key.0 as u32)
}
