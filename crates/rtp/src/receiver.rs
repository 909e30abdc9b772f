//! Measurement of one received stream, packet by packet.

use crate::jitter::Jitter;
use crate::pdv::Pdv;
use crate::playout::{Playout, PlayoutPacket};
use crate::rtcp::ReceptionReport;
use crate::sequence::{Sequence, Verdict};
use crate::source::Arrival;
use crate::spacing::SpacingMeter;
use crate::{PlayoutSnapshot, QualityWindow, ReceiveCounters, ReceiveSnapshot, Time};

/// Silence that forbids a score, in nanoseconds (metrics §3.9).
const SILENCE: i64 = 2_000_000_000;
/// Longest packet time that is taken for one, in milliseconds.
const MAX_PACKET_MS: u32 = 200;

/// The newest packet in sequence order.
#[derive(Debug, Clone, Copy)]
struct Newest {
    extended: u64,
    timestamp: u32,
    /// Timestamp without wraps, in units.
    position: i64,
    at: Time,
}

#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    clock_rate: u32,
    ssrc: Option<u32>,
    sequence: Sequence,
    /// A packet of another SSRC, or with a number far off: counts if the next one follows it.
    stranger: Option<Arrival>,
    suspect: Option<Arrival>,
    newest: Option<Newest>,
    /// Timestamp units of the far end's packets, and the step that would change it if repeated.
    packet_units: i64,
    last_step: i64,
    observed_packet: bool,
    payload_type: Option<u8>,
    jitter: Jitter,
    jitter_max_ms: Option<f64>,
    spacing: SpacingMeter,
    pdv: Pdv,
    playout: Playout,
    counters: ReceiveCounters,
    dscp: Option<u8>,
    ttl: Option<u8>,
    largest_gap: u32,
    mixed: bool,
    silent: bool,
    last_total: ReceiveCounters,
    last_playout: crate::PlayoutCounters,
}

impl Receiver {
    pub(crate) fn new(clock_rate: u32, ptime_ms: u32) -> Self {
        Self {
            clock_rate,
            ssrc: None,
            sequence: Sequence::new(0),
            stranger: None,
            suspect: None,
            newest: None,
            packet_units: i64::from(clock_rate / 1000 * ptime_ms),
            last_step: 0,
            observed_packet: false,
            payload_type: None,
            jitter: Jitter::new(clock_rate),
            jitter_max_ms: None,
            spacing: SpacingMeter::default(),
            pdv: Pdv::new(),
            playout: Playout::new(i64::from(ptime_ms) * 1_000_000),
            counters: ReceiveCounters::default(),
            dscp: None,
            ttl: None,
            largest_gap: 0,
            mixed: false,
            silent: false,
            last_total: ReceiveCounters::default(),
            last_playout: crate::PlayoutCounters::default(),
        }
    }

    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    pub(crate) fn invalid(&mut self) {
        self.counters.invalid += 1;
    }

    /// Datagrams that were no packet of the stream's source.
    pub(crate) fn refused(&self) -> u64 {
        self.counters.invalid + self.counters.unexpected_source
    }

    pub(crate) fn unexpected(&mut self, packets: u64) {
        self.counters.unexpected_source += packets;
    }

    pub(crate) fn note_header_fields(&mut self, dscp: Option<u8>, ttl: Option<u8>) {
        (self.dscp, self.ttl) = (dscp.or(self.dscp), ttl.or(self.ttl));
    }

    /// Takes a packet of the locked source.
    pub(crate) fn take(&mut self, packet: &Arrival) {
        match self.ssrc {
            None => {
                self.ssrc = Some(packet.header.ssrc);
                self.sequence = Sequence::new(packet.header.sequence);
            }
            Some(ssrc) if ssrc == packet.header.ssrc => self.drop_stranger(),
            Some(_) => {
                let Some(before) = self.stranger.filter(|before| packet.follows(before)) else {
                    self.drop_stranger();
                    self.stranger = Some(*packet);
                    return;
                };
                self.stranger = None;
                self.counters.ssrc_switches += 1;
                self.ssrc = Some(packet.header.ssrc);
                self.restart(&before);
            }
        }
        self.count(packet);
    }

    fn drop_stranger(&mut self) {
        self.counters.invalid += u64::from(self.stranger.take().is_some());
    }

    /// A new numbering begins at `first`, which is counted.
    fn restart(&mut self, first: &Arrival) {
        self.sequence.restart(first.header.sequence);
        self.interrupt();
        self.count(first);
    }

    /// Timestamps before and after cannot be compared.
    fn interrupt(&mut self) {
        self.newest = None;
        self.jitter.interrupt();
        self.pdv.interrupt();
        self.playout.interrupt();
    }

    fn count(&mut self, packet: &Arrival) {
        let verdict = self.sequence.update(packet.header.sequence);
        let extended = match verdict {
            Verdict::Suspect => {
                self.counters.invalid += u64::from(self.suspect.replace(*packet).is_some());
                return;
            }
            Verdict::Restart { forward } => {
                let counter = if forward {
                    &mut self.counters.jumps
                } else {
                    &mut self.counters.resets
                };
                *counter += 1;
                if let Some(before) = self.suspect.take() {
                    self.restart(&before);
                    self.count(packet);
                }
                return;
            }
            Verdict::Duplicate => {
                self.counters.bytes += packet.payload_len as u64;
                self.counters.duplicates += 1;
                self.playout.duplicate();
                return;
            }
            Verdict::Advanced { extended, gap } => {
                self.largest_gap = self.largest_gap.max(gap);
                extended
            }
            Verdict::Late { extended } => {
                self.counters.out_of_order += 1;
                extended
            }
        };
        self.counters.invalid += u64::from(self.suspect.take().is_some());
        self.counters.bytes += packet.payload_len as u64;
        if let Some(last) = self.spacing.last() {
            self.silent |= packet.at.nanos_since(last) > SILENCE;
        }
        self.spacing.update(packet.at);
        if packet.event {
            // Its timestamp is the start of the event: no clock to measure by (RFC 4733 §2.2.1).
            self.playout.receive_event(packet.at, extended);
        } else {
            self.note_payload_type(packet.header.payload_type);
            self.measure_time(extended, packet);
        }
    }

    fn note_payload_type(&mut self, payload_type: u8) {
        if self
            .payload_type
            .replace(payload_type)
            .is_some_and(|before| before != payload_type)
        {
            self.counters.payload_type_changes += 1;
            self.mixed = true;
        }
    }

    /// Jitter, delay variation and playout: all that rests on the timestamp.
    fn measure_time(&mut self, extended: u64, packet: &Arrival) {
        let timestamp = packet.header.timestamp;
        let mut position = i64::from(timestamp);
        if let Some(newest) = self.newest {
            let delta = i64::from(timestamp.wrapping_sub(newest.timestamp) as i32);
            position = newest.position + delta;
            if extended > newest.extended && self.is_jump(&newest, extended, delta, packet.at) {
                self.counters.timestamp_jumps += 1;
                self.interrupt();
            } else if extended == newest.extended + 1 {
                self.learn_packet_time(delta);
            }
        }
        if self.newest.is_none_or(|newest| extended > newest.extended) {
            self.newest = Some(Newest {
                extended,
                timestamp,
                position,
                at: packet.at,
            });
        }
        self.jitter.update(packet.at, timestamp);
        if let Some(jitter) = self.jitter.in_millis() {
            self.jitter_max_ms = Some(self.jitter_max_ms.map_or(jitter, |max| max.max(jitter)));
        }
        let position_nanos =
            (i128::from(position) * 1_000_000_000 / i128::from(self.clock_rate)) as i64;
        self.pdv.update(packet.at.as_nanos() - position_nanos);
        self.playout.receive(PlayoutPacket {
            extended,
            arrival: packet.at,
            position: position_nanos,
        });
    }

    /// Whether the step fits neither the packets in between nor the time gone by (silence
    /// suppression lets timestamps run on without packets).
    fn is_jump(&self, newest: &Newest, extended: u64, delta: i64, at: Time) -> bool {
        let by_count = (extended - newest.extended) as i64 * self.packet_units;
        let elapsed = i128::from(at.nanos_since(newest.at)) * i128::from(self.clock_rate);
        let by_clock = (elapsed / 1_000_000_000) as i64;
        (delta - by_count).abs() > self.packet_units / 2
            && (delta - by_clock).abs() > 2 * self.packet_units
    }

    fn learn_packet_time(&mut self, step: i64) {
        let longest = i64::from(self.clock_rate / 1000 * MAX_PACKET_MS);
        if step > 0 && step <= longest && step == self.last_step {
            self.observed_packet = true;
            if step != self.packet_units {
                self.packet_units = step;
                let nanos = step * 1_000_000_000 / i64::from(self.clock_rate);
                self.playout.set_packet_nanos(nanos);
            }
        }
        self.last_step = step;
    }

    /// What a report block says now; starts the next interval of its loss fraction.
    pub(crate) fn report(&mut self) -> Option<ReceptionReport> {
        let ssrc = self.ssrc?;
        let (cumulative_lost, fraction_lost) = self.sequence.report_loss();
        Some(ReceptionReport {
            ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence: self.sequence.highest_for_report(),
            jitter: self.jitter.in_units(),
        })
    }

    /// The stream ends: nothing waits for its playout time any more.
    pub(crate) fn finish(&mut self) {
        self.playout.finish();
    }

    /// Ends a second.
    pub(crate) fn end_second(
        &mut self,
        now: Time,
    ) -> (ReceiveSnapshot, PlayoutSnapshot, QualityWindow) {
        self.playout.end_second(now);
        let total = ReceiveCounters {
            packets: self.sequence.received(),
            expected: self.sequence.expected(),
            lost: self.sequence.lost(),
            ..self.counters
        };
        let second = receive_delta(&total, &self.last_total);
        self.last_total = total;
        let pdv = self.pdv.end_second();
        let silent = self.silent
            || self
                .spacing
                .last()
                .is_some_and(|last| now.nanos_since(last) > SILENCE);
        let packet_ms = self.packet_units as f64 * 1e3 / f64::from(self.clock_rate);
        let quality = QualityWindow {
            packet_ms: self.observed_packet.then_some(packet_ms),
            ..self.playout.end_window_second(self.mixed, silent)
        };
        let receive = ReceiveSnapshot {
            total,
            second,
            fraction_lost_pct: (second.expected > 0)
                .then(|| second.lost.max(0) as f64 * 100.0 / second.expected as f64),
            largest_gap: self.largest_gap,
            spacing: self.spacing.end_second(),
            jitter_ms: self.jitter.in_millis(),
            jitter_max_ms: self.jitter_max_ms,
            pdv_p95_ms: pdv.map(|pdv| pdv.p95_ms),
            pdv_p99_ms: pdv.map(|pdv| pdv.p99_ms),
            pdv_buckets: self.pdv.buckets(),
            loss_runs: self.playout.loss_runs(),
            burst_gap: self.playout.burst_gap(),
            dscp: self.dscp,
            ttl: self.ttl,
            ssrc: self.ssrc,
        };
        (self.largest_gap, self.mixed, self.silent) = (0, false, false);
        (receive, self.playout_second(now, second.expected), quality)
    }

    fn playout_second(&mut self, now: Time, expected: u64) -> PlayoutSnapshot {
        let total = self.playout.counters();
        let last = std::mem::replace(&mut self.last_playout, total);
        let second = crate::PlayoutCounters {
            pushed: total.pushed - last.pushed,
            lost: total.lost - last.lost,
            late: total.late - last.late,
            duplicates: total.duplicates - last.duplicates,
            underruns: total.underruns - last.underruns,
            overruns: total.overruns - last.overruns,
        };
        PlayoutSnapshot {
            total,
            second,
            discard_rate_pct: (expected > 0)
                .then(|| (second.late + second.overruns) as f64 * 100.0 / expected as f64),
            delay_ms: self.playout.delay_ms(),
            max_delay_ms: self.playout.max_delay_ms(),
            average_jitter_ms: self.playout.average_jitter_ms(),
            depth_ms: self.playout.depth_ms(now),
        }
    }
}

fn receive_delta(now: &ReceiveCounters, before: &ReceiveCounters) -> ReceiveCounters {
    ReceiveCounters {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
        expected: now.expected - before.expected,
        lost: now.lost - before.lost,
        duplicates: now.duplicates - before.duplicates,
        out_of_order: now.out_of_order - before.out_of_order,
        jumps: now.jumps - before.jumps,
        resets: now.resets - before.resets,
        timestamp_jumps: now.timestamp_jumps - before.timestamp_jumps,
        ssrc_switches: now.ssrc_switches - before.ssrc_switches,
        payload_type_changes: now.payload_type_changes - before.payload_type_changes,
        unexpected_source: now.unexpected_source - before.unexpected_source,
        invalid: now.invalid - before.invalid,
    }
}
