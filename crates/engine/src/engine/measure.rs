//! Rows: a second at a time for endpoints and streams.

use std::time::{Duration, Instant};

use callmeter_metrics::{RowDirection, id};

use super::{Engine, HostFigures};
use crate::assign::ShareId;
use crate::endpoint::Life;
use crate::event::{Output, Phase};
use crate::load::Load;
use crate::media::{StreamId, StreamSnapshot};
use crate::rows::{Counted, Values, put_counts, signalling_values, stream_values};
use crate::share::Share;
use crate::timers::Timer;

impl Engine {
    /// Puts a stream's snapshot into the rows of the second it came in. Two snapshots never share
    /// a second: one that comes early waits for the next.
    pub(super) fn record(&mut self, now: Instant, stream: StreamId, snapshot: &StreamSnapshot) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        // Never started: there was nothing to measure.
        if call.negotiated.is_none() || snapshot.window_ms == 0 {
            return;
        }
        let Some(share) = self.shares.get_mut(&call.share) else {
            return;
        };
        let earliest = call.row_second.map_or(0, |second| second + 1);
        let second = share.second_at(now).max(share.rows.current()).max(earliest);
        let mut snapshot = *snapshot;
        snapshot.events = Some(snapshot.events.unwrap_or_default() + call.digits);
        let values = stream_values(&snapshot, call.reported.as_ref());
        call.reported = Some(snapshot);
        call.row_second = Some(second);
        let key = |direction| (call.endpoint, call.number, direction, false);
        share
            .rows
            .add(second, key(RowDirection::None), values.undirected);
        share
            .rows
            .add(second, key(RowDirection::Send), values.send)
            .generator_limited |= values.limited;
        share
            .rows
            .add(second, key(RowDirection::Recv), values.recv)
            .delay_partial |= values.delay_partial;
    }

    /// A second is over: its rows are complete.
    pub(super) fn second_over(&mut self, now: Instant, id: ShareId) {
        while let Some(share) = self.shares.get(&id) {
            let Some(started) = share.started else { return };
            let next = |n: u32| started + Duration::from_secs(u64::from(n) + 1);
            let current = share.rows.current();
            if next(current) > now {
                self.timers.set(next(current), id, Timer::Second);
                return;
            }
            self.write_second(id);
        }
    }

    /// The share is over: hands out everything, its last part of a second included.
    pub(super) fn write_last_rows(&mut self, id: ShareId) {
        self.write_second(id);
        while self
            .shares
            .get(&id)
            .is_some_and(|share| !share.rows.is_empty())
        {
            self.hand_out(id);
        }
    }

    fn write_second(&mut self, id: ShareId) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let host = share.host.take();
        for index in 0..share.assign.count {
            let Some(share) = self.shares.get_mut(&id) else {
                return;
            };
            let endpoint = &share.endpoints[index as usize];
            if endpoint.rows_done {
                continue;
            }
            let counters = self
                .ua
                .endpoint_counters(endpoint.key)
                .or_else(|| endpoint.dropped.as_deref().copied())
                .unwrap_or(endpoint.reported);
            let in_call = [endpoint.current, endpoint.beside]
                .into_iter()
                .flatten()
                .filter_map(|stream| self.calls.get(&stream))
                .filter(|call| call.phase == Some(Phase::InCall))
                .count();
            write_endpoint(share, index, &counters, in_call, host.as_ref());
        }
        if let (Some(host), Some(share)) = (host, self.shares.get_mut(&id)) {
            write_host(share, &host);
        }
        self.hand_out(id);
    }

    fn hand_out(&mut self, id: ShareId) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let (second, rows) = share.rows.take_current();
        for (index, _) in &rows {
            share.endpoints[*index as usize].rows += 1;
        }
        let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        if !rows.is_empty() {
            self.outputs.push_back(Output::Rows {
                share: id,
                second,
                rows,
            });
        }
    }
}

/// Adds one endpoint's figures of the current second: its SIP counters, its calls, its validity.
fn write_endpoint(
    share: &mut Share,
    index: u32,
    counters: &callmeter_sip::UaCounters,
    in_call: usize,
    host: Option<&HostFigures>,
) {
    let second = share.rows.current();
    let calls = share.assign.role.calls();
    let counted = Counted {
        by_rate: calls && matches!(share.assign.load, Load::Arrivals(_)),
        asks: share.assign.registrar.options_interval.is_some(),
        scripted: !share.assign.scenario.is_empty(),
    };
    let endpoint = &mut share.endpoints[index as usize];
    let first = !std::mem::replace(&mut endpoint.counted, true);
    let mut values = signalling_values(counters, &endpoint.reported, first);
    let attempts = counters
        .invites_sent
        .saturating_sub(endpoint.reported.invites_sent);
    endpoint.reported = *counters;
    let before = std::mem::replace(&mut endpoint.counts_reported, endpoint.counts);
    put_counts(&mut values, (&endpoint.counts, &before), counted, first);
    endpoint.rows_done = endpoint.life == Life::Ended;
    let call = endpoint.last_call;

    let limited = share.rows.is_limited(second, index) || host.is_some_and(host_limited);
    values.undirected.put(id::CALLS_ACTIVE, in_call as f64);
    if calls {
        values.undirected.put(id::CAPS, attempts as f64);
    }
    values
        .undirected
        .put(id::GENERATOR_LIMITED, f64::from(u8::from(limited)));
    for (direction, values) in [
        (RowDirection::None, values.undirected),
        (RowDirection::Send, values.send),
        (RowDirection::Recv, values.recv),
    ] {
        if !values.is_empty() {
            share
                .rows
                .add(second, (index, call, direction, false), values);
        }
    }
    if limited {
        share.rows.mark_limited(second, index);
    }
}

/// Adds the generator's own figures to the share's first endpoint: once per share and second.
fn write_host(share: &mut Share, host: &HostFigures) {
    let HostFigures {
        cpu_percent,
        memory_mb,
        udp_rcvbuf_errors,
        throttled_ms,
        steal_percent,
        ring_overflows,
        clock_stepped,
    } = *host;
    let mut values = Values::default();
    values.put_some(id::WORKER_CPU_PCT, cpu_percent);
    values.put_some(id::WORKER_MEM_MB, memory_mb);
    values.put_some(id::UDP_RCVBUF_ERRORS, udp_rcvbuf_errors.map(|n| n as f64));
    values.put_some(id::CPU_THROTTLED_MS, throttled_ms);
    values.put_some(id::CPU_STEAL_PCT, steal_percent);
    values.put_some(id::RING_OVERFLOWS, ring_overflows.map(|n| n as f64));
    values.put_some(
        id::CLOCK_STEPPED,
        clock_stepped.map(|stepped| f64::from(u8::from(stepped))),
    );
    let call = share
        .endpoints
        .first()
        .map_or(0, |endpoint| endpoint.last_call);
    let second = share.rows.current();
    share
        .rows
        .add(second, (0, call, RowDirection::None, false), values);
}

/// Whether the generator itself was the bottleneck: throttled, or its own queues overflowed.
fn host_limited(host: &HostFigures) -> bool {
    host.throttled_ms.is_some_and(|ms| ms > 0.0) || host.ring_overflows.is_some_and(|n| n > 0)
}

/// Adds figures to those no row has carried yet: counts add up, levels are the latest.
pub(super) fn merge_host(held: Option<HostFigures>, new: HostFigures) -> HostFigures {
    let Some(held) = held else { return new };
    HostFigures {
        cpu_percent: new.cpu_percent.or(held.cpu_percent),
        memory_mb: new.memory_mb.or(held.memory_mb),
        udp_rcvbuf_errors: add(held.udp_rcvbuf_errors, new.udp_rcvbuf_errors),
        throttled_ms: add(held.throttled_ms, new.throttled_ms),
        steal_percent: new.steal_percent.or(held.steal_percent),
        ring_overflows: add(held.ring_overflows, new.ring_overflows),
        clock_stepped: match (held.clock_stepped, new.clock_stepped) {
            (Some(held), Some(new)) => Some(held || new),
            (held, new) => held.or(new),
        },
    }
}

fn add<T: std::ops::Add<Output = T>>(held: Option<T>, new: Option<T>) -> Option<T> {
    match (held, new) {
        (Some(held), Some(new)) => Some(held + new),
        (held, new) => held.or(new),
    }
}
