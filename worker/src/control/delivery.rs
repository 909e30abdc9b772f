//! Delivery of one run's messages in both directions: numbered from 1, sent again until confirmed,
//! applied once, bounded in memory.

use std::collections::VecDeque;

use callmeter_proto::worker::{
    EndpointEvents, FromWorker, ResumeRun, RunEnded, SampleRow, Samples, from_worker::Message,
};

/// Rows of one message; keeps it well under gRPC's default limit of 4 MiB.
const ROWS_PER_MESSAGE: usize = 1000;
/// Seconds of samples that are kept for a gateway that does not answer: the five minutes that calls
/// go on without one, and what it takes to end them.
const BUFFER_SECONDS: usize = 330;
/// Most rows an endpoint gives per second: signalling, send, receive, and a call that ends.
const ROWS_PER_SECOND: usize = 4;
/// Event messages kept per endpoint before further ones are given up.
const EVENTS_PER_ENDPOINT: usize = 1000;
const LEAST_EVENTS: usize = 10_000;

/// What to do with a numbered message of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Apply it, then confirm.
    Apply,
    /// Applied before: confirm again.
    Duplicate,
    /// One before it is missing; it will be sent again after a reconnect.
    Gap,
}

/// One run's numbered messages.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    applied: u64,
    last_sent: u64,
    /// Messages not confirmed yet; the first has number `last_sent + 1 - outbox.len()`.
    outbox: VecDeque<Queued>,
    /// How many of `outbox` are written to the current stream.
    written: usize,
    rows_buffered: usize,
    events_buffered: usize,
    endpoints: usize,
    rows_sent: u64,
    given_up: u64,
}

#[derive(Debug)]
struct Queued {
    message: FromWorker,
    rows: usize,
    events: usize,
}

impl Delivery {
    /// Adds the endpoints of a share; the buffer's bound grows with them.
    pub(super) fn add_endpoints(&mut self, count: u32) {
        self.endpoints += count as usize;
    }

    /// Judges a numbered message of the gateway and remembers it if it is the next one.
    pub(super) fn incoming(&mut self, seq: u64) -> Incoming {
        if seq <= self.applied {
            Incoming::Duplicate
        } else if seq == self.applied + 1 {
            self.applied = seq;
            Incoming::Apply
        } else {
            Incoming::Gap
        }
    }

    /// Highest number of the gateway's messages that is applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Queues state changes; false if the buffer is full and they are given up.
    pub(super) fn push_events(&mut self, mut events: EndpointEvents) -> bool {
        let count = events.events.len();
        let limit = LEAST_EVENTS.max(EVENTS_PER_ENDPOINT * self.endpoints);
        if self.events_buffered + count > limit {
            self.given_up += count as u64;
            return false;
        }
        events.seq = self.next_seq();
        self.events_buffered += count;
        self.push(Message::Events(events), 0, count);
        true
    }

    /// Queues the rows of one second. Returns how many fit; the rest is given up and counted.
    pub(super) fn push_rows(
        &mut self,
        run: &str,
        second: u32,
        catalogue_version: u32,
        mut rows: Vec<SampleRow>,
    ) -> usize {
        let limit = BUFFER_SECONDS * ROWS_PER_SECOND * self.endpoints.max(1);
        let kept = rows.len().min(limit.saturating_sub(self.rows_buffered));
        self.given_up += (rows.len() - kept) as u64;
        rows.truncate(kept);
        self.rows_sent += kept as u64;
        self.rows_buffered += kept;
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(ROWS_PER_MESSAGE));
            let count = rows.len();
            let seq = self.next_seq();
            let run = run.to_owned();
            let samples = Samples {
                seq,
                run,
                second,
                catalogue_version,
                rows,
            };
            self.push(Message::Samples(samples), count, 0);
            rows = rest;
        }
        kept
    }

    /// Rows that never reached this buffer count as given up, too.
    pub(super) fn lost_rows(&mut self, count: u64) {
        self.given_up += count;
    }

    /// Queues the last message of the run and fills in its totals.
    pub(super) fn push_end(&mut self, mut ended: RunEnded) {
        ended.rows_sent = self.rows_sent;
        ended.rows_dropped = self.given_up;
        ended.last_seq = self.last_sent;
        ended.seq = self.next_seq();
        self.push(Message::RunEnded(ended), 0, 0);
    }

    /// The gateway confirmed all messages up to `seq`.
    pub(super) fn acked(&mut self, seq: u64) {
        let first = self.last_sent + 1 - self.outbox.len() as u64;
        let confirmed = seq
            .saturating_add(1)
            .saturating_sub(first)
            .min(self.outbox.len() as u64) as usize;
        for queued in self.outbox.drain(..confirmed) {
            self.rows_buffered -= queued.rows;
            self.events_buffered -= queued.events;
        }
        self.written = self.written.saturating_sub(confirmed);
    }

    /// A new stream: everything the gateway has not confirmed is written again.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whether a message waits to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.written < self.outbox.len()
    }

    /// The next message to write.
    pub(super) fn write_next(&mut self) -> Option<FromWorker> {
        let queued = self.outbox.get(self.written)?;
        self.written += 1;
        Some(queued.message.clone())
    }

    /// Whether the gateway has confirmed everything.
    pub(super) fn all_confirmed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Rows waiting for their confirmation.
    pub(super) fn rows_buffered(&self) -> usize {
        self.rows_buffered
    }

    /// What a Hello says of this run.
    pub(super) fn resume(&self, run: &str) -> ResumeRun {
        ResumeRun {
            run: run.to_owned(),
            last_applied_seq: self.applied,
            last_sent_seq: self.last_sent,
        }
    }

    fn next_seq(&mut self) -> u64 {
        self.last_sent += 1;
        self.last_sent
    }

    fn push(&mut self, message: Message, rows: usize, events: usize) {
        let message = FromWorker {
            message: Some(message),
        };
        self.outbox.push_back(Queued {
            message,
            rows,
            events,
        });
    }
}

#[cfg(test)]
mod tests {
    use callmeter_proto::worker::EndpointEvent;

    use super::*;

    fn seq_of(message: &FromWorker) -> u64 {
        match message.message.as_ref().unwrap() {
            Message::Events(events) => events.seq,
            Message::Samples(samples) => samples.seq,
            Message::RunEnded(ended) => ended.seq,
            other => panic!("not numbered: {other:?}"),
        }
    }

    fn events(count: usize) -> EndpointEvents {
        EndpointEvents {
            events: vec![EndpointEvent::default(); count],
            ..Default::default()
        }
    }

    fn rows(count: usize) -> Vec<SampleRow> {
        vec![SampleRow::default(); count]
    }

    fn written(delivery: &mut Delivery) -> Vec<u64> {
        std::iter::from_fn(|| delivery.write_next())
            .map(|m| seq_of(&m))
            .collect()
    }

    /// R91
    #[test]
    fn unconfirmed_messages_are_written_again_after_a_reconnect() {
        let mut delivery = Delivery::default();
        delivery.add_endpoints(1);
        assert!(delivery.push_events(events(1)));
        assert_eq!(delivery.push_rows("r", 1, 1, rows(2)), 2);
        assert!(delivery.push_events(events(1)));
        assert_eq!(written(&mut delivery), [1, 2, 3]);
        delivery.acked(1);
        assert!(!delivery.has_unwritten());
        delivery.rewind();
        assert_eq!(written(&mut delivery), [2, 3]);
        delivery.acked(3);
        // A late, lower or unknown confirmation harms nothing.
        delivery.acked(2);
        delivery.acked(u64::MAX);
        assert!(delivery.all_confirmed());
        assert_eq!(delivery.rows_buffered(), 0);
        assert_eq!(delivery.resume("r").last_sent_seq, 3);
    }

    #[test]
    fn the_gateways_messages_are_applied_once_and_in_order() {
        let mut delivery = Delivery::default();
        assert_eq!(delivery.incoming(1), Incoming::Apply);
        assert_eq!(delivery.incoming(1), Incoming::Duplicate);
        assert_eq!(delivery.incoming(3), Incoming::Gap);
        assert_eq!(delivery.incoming(2), Incoming::Apply);
        assert_eq!(delivery.incoming(3), Incoming::Apply);
        assert_eq!(delivery.applied(), 3);
    }

    #[test]
    fn five_minutes_fit_and_the_overflow_is_counted_in_the_totals() {
        let mut delivery = Delivery::default();
        delivery.add_endpoints(10);
        for second in 0..300 {
            assert_eq!(delivery.push_rows("r", second, 1, rows(40)), 40);
        }
        let kept = delivery.push_rows("r", 300, 1, rows(2000));
        assert_eq!(kept, 10 * 330 * 4 - 300 * 40);
        delivery.lost_rows(5);
        delivery.push_end(RunEnded::default());
        let all: Vec<_> = std::iter::from_fn(|| delivery.write_next()).collect();
        let Some(Message::RunEnded(ended)) = &all.last().unwrap().message else {
            panic!()
        };
        assert_eq!(ended.rows_sent, 10 * 330 * 4);
        assert_eq!(ended.rows_dropped, 2000 - kept as u64 + 5);
        assert_eq!(
            (ended.last_seq, ended.seq),
            (all.len() as u64 - 1, all.len() as u64)
        );
        // Confirmed rows make room again.
        delivery.acked(2);
        assert_eq!(delivery.push_rows("r", 301, 1, rows(81)), 80);
    }

    #[test]
    fn many_rows_are_split_and_events_are_bounded() {
        let mut delivery = Delivery::default();
        delivery.add_endpoints(20);
        assert_eq!(delivery.push_rows("r", 1, 1, rows(2500)), 2500);
        assert_eq!(written(&mut delivery).len(), 3);
        assert!(delivery.push_events(events(20_000)));
        assert!(!delivery.push_events(events(1)));
        delivery.push_end(RunEnded::default());
        let Some(Message::RunEnded(ended)) =
            delivery.outbox.back().unwrap().message.message.clone()
        else {
            panic!()
        };
        assert_eq!(ended.rows_dropped, 1);
    }
}
