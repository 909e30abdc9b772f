//! One share: its endpoints, its clock, what it has found out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use callmeter_metrics::{RowDirection, id};
use callmeter_sip::{LocalId, Registered};

use crate::assign::{Assign, ShareId};
use crate::endpoint::{Endpoint, Life};
use crate::engine::HostFigures;
use crate::event::{Outcome, ShareTotals};
use crate::line::Line;
use crate::load::Load;
use crate::media::StreamId;
use crate::rows::{PendingRows, connection_values, registration_values};

/// Time that a far end has to answer, beyond its ringing, before the end of a run cuts the call.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// Where a share is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Endpoints get ready; callees take calls already.
    Assigned,
    /// Callers call.
    Running,
    /// Calls are ended, registrations removed.
    Ending(EndCause),
    /// Reported; only late requests are answered.
    Closed,
}

/// Why a share ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// Its time is over.
    RunOver,
    /// It was stopped, with the reason given.
    Stopped(String),
    /// A deadline passed.
    Forced,
    /// It was never started.
    NeverStarted,
}

/// A host name of a share.
#[derive(Debug)]
pub(crate) enum Name {
    /// Asked for, and who waits.
    Asked { at: Instant, waiting: Vec<Waiter> },
    /// Found.
    Known(IpAddr),
}

/// Who waits for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// All endpoints: it is their next hop.
    NextHop,
    /// A call to an address of that name.
    Call(StreamId),
}

/// What it took until a message could be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetUp {
    /// The resolution of the name last answered.
    pub(crate) dns: Option<Duration>,
    /// The connection last made, from SYN to established.
    pub(crate) connect: Option<Duration>,
    /// Its TLS handshake.
    pub(crate) tls: Option<Duration>,
}

/// One share.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) assign: Assign,
    pub(crate) received: Instant,
    pub(crate) stage: Stage,
    pub(crate) started: Option<Instant>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// How many of them have not ended.
    pub(crate) left: u32,
    /// Endpoints that take calls and have none, longest idle first. One that has lost its
    /// registration is reached all the same by who calls it straight.
    pub(crate) idle: BTreeSet<(Instant, u32)>,
    /// Where only so many calls may stand at a time.
    pub(crate) line: Option<Line>,
    pub(crate) names: BTreeMap<String, Name>,
    /// What the way to the peer took, until a row has taken it; connections of single endpoints are
    /// theirs.
    pub(crate) set_up: SetUp,
    pub(crate) outcomes: [u64; Outcome::ALL.len()],
    pub(crate) forced: bool,
    pub(crate) rows: PendingRows,
    /// The machine's figures since the last row.
    pub(crate) host: Option<HostFigures>,
}

impl Share {
    pub(crate) fn new(assign: Assign, now: Instant) -> Self {
        let id = assign.share;
        let endpoints = (0..assign.count)
            .map(|index| {
                let mut endpoint = Endpoint::new(id, index, now);
                endpoint.contact = contact(&assign, index);
                endpoint.aor = aor(&assign, index);
                if let Some(peer) = assign.peers.get(index as usize) {
                    endpoint.peer.clone_from(peer);
                }
                endpoint
            })
            .collect();
        Self {
            received: now,
            stage: Stage::Assigned,
            started: None,
            endpoints,
            left: assign.count,
            idle: BTreeSet::new(),
            line: None,
            names: BTreeMap::new(),
            set_up: SetUp::default(),
            outcomes: [0; Outcome::ALL.len()],
            forced: false,
            rows: PendingRows::new(assign.first),
            host: None,
            assign,
        }
    }

    pub(crate) fn endpoint(&mut self, index: u32) -> Option<&mut Endpoint> {
        self.endpoints.get_mut(index as usize)
    }

    /// Begins the run: it is known whom the endpoints call.
    pub(crate) fn start(&mut self, now: Instant) {
        self.stage = Stage::Running;
        self.started = Some(now);
        if let Load::AtOnce(calls) = self.assign.load {
            let own: HashMap<&str, u32> = (0..)
                .zip(&self.endpoints)
                .flat_map(|(index, own)| [(&*own.aor, index), (&*own.contact, index)])
                .collect();
            let peers = self.endpoints.iter().map(|endpoint| endpoint.peer.as_str());
            let mut line = Line::new(calls, peers, |uri| own.get(uri).copied());
            for (index, endpoint) in (0..).zip(&self.endpoints) {
                line.in_call(index, endpoint.current.is_some());
            }
            self.line = Some(line);
        }
    }

    /// A connection is made.
    pub(crate) fn connected(&mut self, local: LocalId, connect: Duration, tls: Option<Duration>) {
        let own = ShareId::index_of(local).and_then(|index| self.endpoints.get_mut(index as usize));
        let set_up = match own {
            Some(endpoint) => endpoint.set_up.get_or_insert_default(),
            None => &mut self.set_up,
        };
        set_up.connect = Some(connect);
        set_up.tls = tls;
    }

    /// Takes what an endpoint's way to its peer took: its own connection, or that of all.
    pub(crate) fn take_set_up(&mut self, index: u32) -> SetUp {
        SetUp {
            dns: self.set_up.dns.take(),
            ..self.take_connection(index)
        }
    }

    fn take_connection(&mut self, index: u32) -> SetUp {
        let own = self
            .endpoint(index)
            .and_then(|endpoint| endpoint.set_up.take());
        own.map_or_else(
            || SetUp {
                dns: None,
                connect: self.set_up.connect.take(),
                tls: self.set_up.tls.take(),
            },
            |own| *own,
        )
    }

    /// Writes the figures of an endpoint's first registration; of a later one only what its
    /// connection took, which was made anew. One row has that once: more waits for the next.
    pub(crate) fn write_registration(&mut self, registered: &Registered, index: u32, first: bool) {
        let key = (index, 0, RowDirection::None, true);
        let values = if first {
            registration_values(registered, self.take_set_up(index))
        } else if self.rows.holds(key, id::TCP_CONNECT_MS) {
            return;
        } else {
            connection_values(self.take_connection(index))
        };
        if !values.is_empty() {
            self.rows.add(self.rows.current(), key, values);
        }
    }

    /// When the run ends; `None` before the start.
    pub(crate) fn run_end(&self) -> Option<Instant> {
        Some(self.started? + self.assign.duration)
    }

    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_))
    }

    /// The second of the run `now` lies in; 0 before the start.
    pub(crate) fn second_at(&self, now: Instant) -> u32 {
        let since = self
            .started
            .map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }

    /// Whether a whole call that starts at `at` fits into the run.
    pub(crate) fn fits(&self, at: Instant) -> bool {
        let plan = &self.assign.call;
        self.run_end()
            .is_some_and(|end| at + plan.ring + plan.duration <= end)
    }

    /// When endpoint `index` may place a call from `from` on, by the level of calls the group
    /// holds; `None` if it may not before the run ends. Without such a level: at once.
    pub(crate) fn slot(&self, index: u32, from: Instant) -> Option<Instant> {
        let Load::Concurrency(levels) = &self.assign.load else {
            return Some(from);
        };
        let started = self.started?;
        let since = from.saturating_duration_since(started);
        let open = started + levels.open(self.assign.first + index, since)?;
        self.answerable(open).then_some(open)
    }

    /// Whether endpoint `index` has a call to place and is in none. One of both roles may have been
    /// called meanwhile; it dials after that call.
    pub(crate) fn may_dial(&self, index: u32) -> bool {
        let open = |endpoint: &Endpoint| {
            endpoint.current.is_none() && !endpoint.dialled_out && endpoint.dial_at.is_some()
        };
        self.stage == Stage::Running && self.endpoints.get(index as usize).is_some_and(open)
    }

    /// Whether a call placed at `at` can be answered before the run ends.
    pub(crate) fn answerable(&self, at: Instant) -> bool {
        self.run_end()
            .is_some_and(|end| at + self.assign.call.ring + TO_ANSWER <= end)
    }

    /// Puts an endpoint that is ready and takes calls among the idle ones.
    pub(crate) fn make_idle(&mut self, now: Instant, index: u32) {
        // It may stand there already: who gets its registration back has been idle all the while.
        self.take_idle(index);
        let answers = self.assign.role.answers();
        let open = matches!(self.stage, Stage::Assigned | Stage::Running);
        let Some(endpoint) = self.endpoint(index) else {
            return;
        };
        endpoint.idle_since = now;
        // As for calls to its own user: one that registers again is reached straight.
        if answers && open && matches!(endpoint.life, Life::Ready | Life::Registering) {
            self.idle.insert((now, index));
        }
    }

    /// Takes an endpoint out of the idle ones; false if it was not idle.
    pub(crate) fn take_idle(&mut self, index: u32) -> bool {
        let Some(since) = self.endpoint(index).map(|endpoint| endpoint.idle_since) else {
            return false;
        };
        self.idle.remove(&(since, index))
    }

    pub(crate) fn totals(&self) -> ShareTotals {
        let calls = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, self.outcomes[outcome.index()]))
            .filter(|(_, n)| *n > 0)
            .collect();
        ShareTotals {
            group: self.assign.group.clone(),
            first: self.assign.first,
            count: self.assign.count,
            calls,
            rows_per_endpoint: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint.rows)
                .collect(),
            forced: self.forced,
        }
    }
}

fn contact(assign: &Assign, index: u32) -> String {
    assign.listener_of(index).uri(&assign.user(index))
}

fn aor(assign: &Assign, index: u32) -> String {
    if assign.registrar.domain.is_empty() {
        let listener = assign.listener_of(index);
        let (host, port) = (&listener.advertised_host, listener.advertised_port);
        return format!("sip:{}@{host}:{port}", assign.user(index));
    }
    format!("sip:{}@{}", assign.user(index), assign.registrar.domain)
}
