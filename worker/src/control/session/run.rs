//! One run as this worker carries it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{
    Assign, EndpointEvent, EndpointEvents, OutcomeCount, RunEnded, SampleRow, ShareTotals,
    endpoint_event::What,
};

use crate::{control::delivery::Delivery, signalling::StopCause};

/// No host has ports for more endpoints in one share.
const MOST_ENDPOINTS: u32 = 65_536;
/// If an Assign names no time, this is how long its callers wait for Start.
const DEFAULT_START_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Shares may still arrive until then.
    Collecting(Instant),
    /// Started or stopped: the run ends with its last share.
    Settled,
    /// RunEnded is queued.
    Ended,
}

/// State of one run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) delivery: Delivery,
    phase: Phase,
    /// By group and index of the first endpoint.
    shares: BTreeMap<(String, u32), Share>,
    forced: bool,
}

#[derive(Debug, Default)]
struct Share {
    rows: Vec<u64>,
    endpoints_ended: u32,
    /// Set when the share has ended.
    calls: Option<Vec<OutcomeCount>>,
}

impl Run {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delivery: Delivery::default(),
            phase: Phase::Collecting(now + DEFAULT_START_WITHIN),
            shares: BTreeMap::new(),
            forced: false,
        }
    }

    /// Why a share cannot be taken in; field, value and what is accepted.
    pub(super) fn refusal(&self, assign: &Assign) -> Option<String> {
        let Assign {
            group,
            first,
            count,
            ..
        } = assign;
        if *count > MOST_ENDPOINTS {
            return Some(format!(
                "count is {count}; accepted: at most {MOST_ENDPOINTS}"
            ));
        }
        let Some(end) = first.checked_add(*count) else {
            return Some(format!(
                "first is {first} with count {count}; accepted: at most {} in all",
                u32::MAX
            ));
        };
        let overlap = self.shares.iter().find(|((held, from), share)| {
            let last = from + share.rows.len() as u32;
            held == group && (*from == *first || (*from < end && *first < last))
        });
        overlap.map(|((_, from), share)| {
            format!(
                "first is {first} with count {count}; accepted: no endpoint twice, {from} to {} \
                 are assigned",
                from + share.rows.len() as u32 - u32::from(!share.rows.is_empty())
            )
        })
    }

    pub(super) fn assign(&mut self, now: Instant, assign: &Assign) {
        let within = match assign.start_within_ms {
            0 => DEFAULT_START_WITHIN,
            ms => Duration::from_millis(ms.into()),
        };
        if let Phase::Collecting(_) = self.phase {
            self.phase = Phase::Collecting(now + within);
        }
        self.delivery.add_endpoints(assign.count);
        let share = Share {
            rows: vec![0; assign.count as usize],
            ..Share::default()
        };
        self.shares
            .insert((assign.group.clone(), assign.first), share);
    }

    pub(super) fn start(&mut self) {
        self.settle();
    }

    pub(super) fn stop(&mut self, cause: &StopCause) {
        self.forced |= self.is_active() && !matches!(cause, StopCause::Requested(_));
        self.settle();
    }

    /// Without a Start in time the run ends with its last share.
    pub(super) fn expire(&mut self, now: Instant) {
        if self
            .start_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.settle();
        }
    }

    pub(super) fn start_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Collecting(deadline) => Some(deadline),
            Phase::Settled | Phase::Ended => None,
        }
    }

    pub(super) fn events(&mut self, run: String, events: Vec<EndpointEvent>) {
        for event in &events {
            if matches!(event.what, Some(What::Ended(_)))
                && let Some((_, share)) = self.share_of(&event.group, event.endpoint)
            {
                share.endpoints_ended += 1;
            }
        }
        self.delivery.push_events(EndpointEvents {
            seq: 0,
            run,
            events,
        });
    }

    /// Queues the rows of one second; says how many were given up.
    pub(super) fn rows(
        &mut self,
        run: &str,
        second: u32,
        catalogue_version: u32,
        rows: Vec<SampleRow>,
    ) -> u64 {
        let owners: Vec<_> = rows
            .iter()
            .map(|row| (row.group.clone(), row.endpoint))
            .collect();
        let kept = self
            .delivery
            .push_rows(run, second, catalogue_version, rows);
        for (group, endpoint) in &owners[..kept] {
            if let Some((first, share)) = self.share_of(group, *endpoint) {
                share.rows[(endpoint - first) as usize] += 1;
            }
        }
        (owners.len() - kept) as u64
    }

    pub(super) fn share_ended(&mut self, group: &str, first: u32, calls: Vec<OutcomeCount>) {
        if let Some(share) = self.shares.get_mut(&(group.to_owned(), first)) {
            share.calls = Some(calls);
        }
    }

    /// Queues RunEnded if nothing can follow any more; then its totals, for the log.
    pub(super) fn finish(&mut self, name: &str) -> Option<String> {
        if self.phase != Phase::Settled || self.shares.values().any(|share| share.calls.is_none()) {
            return None;
        }
        let totals = |((group, first), share): (&(String, u32), &Share)| ShareTotals {
            group: group.clone(),
            first: *first,
            count: share.rows.len() as u32,
            calls: share.calls.clone().unwrap_or_default(),
            rows_per_endpoint: share.rows.clone(),
        };
        let shares: Vec<ShareTotals> = self.shares.iter().map(totals).collect();
        let told: Vec<String> = shares.iter().map(told).collect();
        self.delivery.push_end(RunEnded {
            run: name.to_owned(),
            shares,
            forced: self.forced,
            ..RunEnded::default()
        });
        self.phase = Phase::Ended;
        Some(told.join("; "))
    }

    /// Endpoints of it still work, or more may be assigned.
    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Ended
    }

    /// The gateway has confirmed its end.
    pub(super) fn is_delivered(&self) -> bool {
        self.phase == Phase::Ended && self.delivery.all_confirmed()
    }

    pub(super) fn active_endpoints(&self) -> u32 {
        let active = |share: &Share| match share.calls {
            Some(_) => 0,
            None => (share.rows.len() as u32).saturating_sub(share.endpoints_ended),
        };
        self.shares.values().map(active).sum()
    }

    fn settle(&mut self) {
        if let Phase::Collecting(_) = self.phase {
            self.phase = Phase::Settled;
        }
    }

    /// The share an endpoint belongs to, and the index of the share's first endpoint.
    fn share_of(&mut self, group: &str, endpoint: u32) -> Option<(u32, &mut Share)> {
        let key = (group.to_owned(), endpoint);
        let ((found, first), share) = self.shares.range_mut(..=key).next_back()?;
        let inside = found == group && ((endpoint - first) as usize) < share.rows.len();
        inside.then_some((*first, share))
    }
}

/// A share's totals in a line of the log: `group callers, endpoints 0 to 1: 2 calls, rows 41 40`.
fn told(share: &ShareTotals) -> String {
    /// Of a large share the first ones tell enough.
    const LISTED: usize = 32;
    let ShareTotals {
        group,
        first,
        count,
        calls,
        rows_per_endpoint,
    } = share;
    let calls: u64 = calls.iter().map(|outcome| outcome.calls).sum();
    let rows: Vec<String> = rows_per_endpoint
        .iter()
        .take(LISTED)
        .map(u64::to_string)
        .collect();
    let more = if rows.len() < rows_per_endpoint.len() {
        " …"
    } else {
        ""
    };
    let last = (first + count).saturating_sub(1);
    let rows = rows.join(" ");
    format!("group {group}, endpoints {first} to {last}: {calls} calls, rows {rows}{more}")
}
