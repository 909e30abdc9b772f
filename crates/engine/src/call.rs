//! One call of one endpoint: signalling and its one audio stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_rtp::EventCounters;
use callmeter_sip::sdp::{self, LocalAudio, Negotiated, TelephoneEvents};
use callmeter_sip::{CallEnd, CallKey, Replaces, Uri};

use crate::assign::{Assign, ShareId};
use crate::event::{Phase, Verdict};
use crate::media::{Digits, StreamId, StreamSnapshot};
use crate::scenario::Progress;

/// Where a call is; what its timer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Caller: waits for a port and an address. Timer: gives up.
    Preparing,
    /// Caller: INVITE is on its way.
    Inviting,
    /// Callee: rings. Timer: answers.
    Ringing,
    /// Answered. Timer: the caller hangs up.
    Established,
    /// BYE, CANCEL or a refusal is on its way.
    Disconnecting,
    /// Signalling is over, stray packets may come. Timer: closes the stream.
    Lingering,
    /// Waits for the last figures of the stream. Timer: goes on without them.
    Removing,
}

/// Where the audio stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// Ports are asked for.
    Opening,
    /// Ports are bound.
    Open(SocketAddr),
    /// It could not be opened, or is gone.
    Gone,
}

/// Where an outgoing call goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) hop: Hop,
}

/// First hop of an outgoing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// The endpoint's configured next hop.
    Configured,
    /// The address in the URI.
    Direct(SocketAddr),
    /// The URI's host is being resolved; its port is known.
    Unresolved { port: u16 },
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The plan of the test, or somebody called.
    Plan,
    /// The far end of that call asked for it.
    Referred(StreamId),
    /// That call is to be transferred to its target.
    Consult(StreamId),
    /// Somebody called to take the place of another call.
    Replacement,
}

/// What an offer of ours within a call changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// We hold the far end.
    Hold,
    /// We no longer hold it.
    Resume,
    /// Nothing but the session version.
    Update,
}

impl Change {
    /// Whether we hold the far end after it, by whether we do now.
    pub(crate) fn holds(self, now: bool) -> bool {
        match self {
            Self::Hold => true,
            Self::Resume => false,
            Self::Update => now,
        }
    }
}

/// An offer of ours for a step of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnOffer {
    pub(crate) change: Change,
    /// When it was made, the first time if it met one of the far end.
    pub(crate) made: Option<Instant>,
}

impl From<Change> for OwnOffer {
    fn from(change: Change) -> Self {
        Self { change, made: None }
    }
}

/// A call's way through its scenario.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) progress: Progress,
    pub(crate) timer: Option<Instant>,
    /// An offer that is not answered.
    pub(crate) offered: Option<OwnOffer>,
    /// An offer that has to wait for the end of another: when it is tried again.
    pub(crate) again: Option<(Instant, OwnOffer)>,
    /// Digits to send, the last one first: those no INFO was answered for, or no row holds.
    pub(crate) digits: Vec<char>,
    /// Rows of digits given to the media thread whose end it has not told.
    pub(crate) rows_sent: u32,
    /// How many of them, the first ones, are of steps that were given up.
    rows_given_up: u32,
    /// How long the answer to the first hold and to the first resume took.
    pub(crate) hold_delay: Option<Duration>,
    pub(crate) resume_delay: Option<Duration>,
}

impl Script {
    pub(crate) fn new(established: Instant) -> Self {
        Self {
            progress: Progress::new(established),
            timer: None,
            offered: None,
            again: None,
            digits: Vec::new(),
            rows_sent: 0,
            rows_given_up: 0,
            hold_delay: None,
            resume_delay: None,
        }
    }

    /// Takes the digits of the next row, in the order they are sent.
    pub(crate) fn next_row(&mut self) -> String {
        let rest = self.digits.len().saturating_sub(Digits::MAX);
        self.digits.drain(rest..).rev().collect()
    }

    /// A row is over; true if it is of the step in progress.
    pub(crate) fn take_row(&mut self) -> bool {
        self.rows_sent = self.rows_sent.saturating_sub(1);
        let given_up = self.rows_given_up > 0;
        self.rows_given_up = self.rows_given_up.saturating_sub(1);
        !given_up
    }
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) share: ShareId,
    pub(crate) endpoint: u32,
    /// Counts from 1 within the endpoint.
    pub(crate) number: u32,
    pub(crate) outgoing: bool,
    pub(crate) purpose: Purpose,
    /// Caller: the call its target is to replace.
    pub(crate) replaces: Option<Box<Replaces>>,
    /// The user agent's key while its signalling lasts.
    pub(crate) key: Option<CallKey>,
    pub(crate) stage: Stage,
    pub(crate) stream: StreamState,
    /// Caller: where it goes.
    pub(crate) target: Option<Target>,
    /// Callee: the offer; empty if our answer offers.
    pub(crate) offer: Bytes,
    /// What a 200 of ours offers and the ACK is to answer; what was agreed on holds until then.
    pub(crate) late_offer: Option<Box<LocalAudio>>,
    /// Callee: it was refused because the test says so.
    pub(crate) refuses: bool,
    /// Callee: the caller was told that it rings.
    pub(crate) rang: bool,
    /// Callee: rung long enough.
    pub(crate) ring_over: bool,
    pub(crate) negotiated: Option<Negotiated>,
    /// Streams the far end offered beside the audio.
    pub(crate) refused: Option<Box<sdp::Refused>>,
    /// We hold the far end.
    pub(crate) holds: bool,
    /// Its steps, once it is established and has some.
    pub(crate) script: Option<Box<Script>>,
    /// Digits by INFO, and those that were sent by no means.
    pub(crate) digits: EventCounters,
    /// The media thread was told to send.
    pub(crate) sending: bool,
    /// Id and version of our SDP.
    pub(crate) session_id: u64,
    pub(crate) session_version: u64,
    pub(crate) first_packet: Option<Instant>,
    /// How its signalling ended.
    pub(crate) end: Option<CallEnd>,
    pub(crate) ended_at: Option<Instant>,
    pub(crate) verdict: Verdict,
    pub(crate) timer: Option<Instant>,
    pub(crate) phase: Option<Phase>,
    /// The last snapshot of its stream that is in a row.
    pub(crate) reported: Option<StreamSnapshot>,
    /// The second of the stream's last row.
    pub(crate) row_second: Option<u32>,
}

impl Call {
    pub(crate) fn new(share: ShareId, endpoint: u32, number: u32, session_id: u64) -> Self {
        Self {
            share,
            endpoint,
            number,
            outgoing: false,
            purpose: Purpose::Plan,
            replaces: None,
            key: None,
            stage: Stage::Preparing,
            stream: StreamState::Opening,
            target: None,
            offer: Bytes::new(),
            late_offer: None,
            refuses: false,
            rang: false,
            ring_over: false,
            negotiated: None,
            refused: None,
            holds: false,
            script: None,
            digits: EventCounters::default(),
            sending: false,
            session_id,
            session_version: 0,
            first_packet: None,
            end: None,
            ended_at: None,
            verdict: Verdict::default(),
            timer: None,
            phase: None,
            reported: None,
            row_second: None,
        }
    }

    /// A step that sends digits begins.
    pub(crate) fn start_digits(&mut self, digits: &str) {
        self.drop_digits();
        if let Some(script) = self.script.as_deref_mut() {
            script.digits = digits.chars().rev().collect();
            script.rows_given_up = script.rows_sent;
        }
    }

    /// The far end took the digit of an INFO.
    pub(crate) fn digit_taken(&mut self) {
        let digit = self.script.as_deref_mut().and_then(|s| s.digits.pop());
        self.digits.sent += u64::from(digit.is_some());
    }

    /// Digits that are left will not be sent: another step begins, or the call is over.
    pub(crate) fn drop_digits(&mut self) {
        if let Some(script) = self.script.as_deref_mut() {
            self.digits.dropped += script.digits.drain(..).count() as u64;
        }
    }

    /// Our side of the audio session; `None` until a port is bound.
    pub(crate) fn local_audio(&self, assign: &Assign) -> Option<LocalAudio> {
        let StreamState::Open(bound) = self.stream else {
            return None;
        };
        Some(LocalAudio {
            session_id: self.session_id,
            session_version: self.session_version,
            address: assign.sdp_address,
            port: bound.port(),
            codecs: vec![assign.audio.codec],
            ptime_ms: assign.audio.ptime_ms,
            direction: sdp::Direction::answered(self.holds),
            telephone_events: Some(TelephoneEvents::number_to_offer(self.negotiated.as_ref())),
            refused: self.refused.clone(),
        })
    }

    /// Our side as a change of ours offers it (RFC 3264 §8.4).
    pub(crate) fn changed_audio(&self, assign: &Assign, change: Change) -> Option<LocalAudio> {
        let held = self.negotiated.is_some_and(|agreed| agreed.held);
        Some(LocalAudio {
            direction: sdp::Direction::offered(change.holds(self.holds), held),
            ..self.local_audio(assign)?
        })
    }

    /// Whether media was agreed on and the far end answered (or we did).
    pub(crate) fn was_answered(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.times.answered.is_some())
    }
}
