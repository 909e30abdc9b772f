//! What one stream reports each second: fixed size, `Copy`, no allocation.
//!
//! Counters (`*Counters`) run from the start of the stream and never restart; `total` holds
//! them, `second` what this second added. Gauges hold for the second named. A figure that was
//! not measured is `None`, never zero.

/// Everything about one stream at the end of one of its seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StreamSnapshot {
    /// Number of the second since the stream's start, from 0.
    pub second: u32,
    /// Length of the reported window in milliseconds: 1000 but for the last one.
    pub window_ms: u32,
    /// The send direction.
    pub send: SendSnapshot,
    /// The receive direction.
    pub receive: ReceiveSnapshot,
    /// The playout model's jitter buffer.
    pub playout: PlayoutSnapshot,
    /// Telephone events; `None`: neither side sends any.
    pub events: Option<EventCounters>,
    /// RTCP, round-trip time and the far end's view.
    pub rtcp: RtcpSnapshot,
    /// Inputs of the E-model over the last 10 s.
    pub quality: QualityWindow,
    /// The generator's own part: what it lost or did late itself.
    pub generator: GeneratorSnapshot,
}

/// Send direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SendSnapshot {
    /// Since the start of the stream.
    pub total: SendCounters,
    /// In this second.
    pub second: SendCounters,
    /// Whether the stream is sending at the end of the second.
    pub active: bool,
}

/// Counters of the send direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendCounters {
    /// RTP packets the kernel took.
    pub packets: u64,
    /// Payload octets of these packets.
    pub bytes: u64,
}

/// DTMF digits, as telephone events (RFC 4733) or by other means, since the start of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounters {
    /// Digits sent to their end.
    pub sent: u64,
    /// Digits to send that were cut off, never begun or not taken by the far end.
    pub dropped: u64,
    /// Digits received.
    pub received: u64,
    /// Of these: digits whose end was not reported.
    pub incomplete: u64,
}

impl std::ops::Add for EventCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            dropped: self.dropped + other.dropped,
            received: self.received + other.received,
            incomplete: self.incomplete + other.incomplete,
        }
    }
}

/// Receive direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReceiveSnapshot {
    /// Since the start of the stream.
    pub total: ReceiveCounters,
    /// In this second; `lost` may be negative, when late packets or duplicates arrive.
    pub second: ReceiveCounters,
    /// Lost ÷ expected of this second, in percent 0..=100; `None` when nothing was expected.
    pub fraction_lost_pct: Option<f64>,
    /// Largest run of consecutive missing numbers seen in this second, in packets.
    pub largest_gap: u32,
    /// Inter-arrival times over the last 2 s; `None` with fewer than two packets.
    pub spacing: Option<Spacing>,
    /// Interarrival jitter in milliseconds at the end of the second (RFC 3550 A.8); `None` before
    /// the second packet.
    pub jitter_ms: Option<f64>,
    /// Largest `jitter_ms` since the start of the stream, taken at every packet.
    pub jitter_max_ms: Option<f64>,
    /// Delay above the minimum, 95th percentile of this second in milliseconds (RFC 5481 PDV).
    pub pdv_p95_ms: Option<f64>,
    /// The same, 99th percentile.
    pub pdv_p99_ms: Option<f64>,
    /// Packets by delay above the minimum, since the start of the stream; limits in
    /// [`PDV_BUCKETS_MS`], the last bucket is open.
    pub pdv_buckets: [u64; 6],
    /// Loss events by run length, since the start of the stream: index 0 holds runs of one packet,
    /// index 9 runs of ten and more. Counted when the packets' playout time has passed.
    pub loss_runs: [u64; 10],
    /// Bursts and gaps since the start of the stream; `None` while nothing is decided.
    pub burst_gap: Option<BurstGap>,
    /// DSCP of the last packet, 0..=63.
    pub dscp: Option<u8>,
    /// TTL or hop limit of the last packet.
    pub ttl: Option<u8>,
    /// SSRC the stream is locked to.
    pub ssrc: Option<u32>,
}

/// Lower limits in milliseconds of the buckets of [`ReceiveSnapshot::pdv_buckets`]; each ends
/// where the next begins.
pub const PDV_BUCKETS_MS: [u32; 6] = [50, 70, 90, 120, 150, 300];

/// Counters of the receive direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveCounters {
    /// RTP packets received from the locked source, late and duplicate ones included.
    pub packets: u64,
    /// Payload octets of these packets.
    pub bytes: u64,
    /// Packets expected by the sequence numbers (RFC 3550 A.3).
    pub expected: u64,
    /// Expected − received, duplicates counted as received (RFC 3550 A.3).
    pub lost: i64,
    /// Sequence numbers seen before.
    pub duplicates: u64,
    /// Packets that arrived after a later number, duplicates excluded.
    pub out_of_order: u64,
    /// Forward discontinuities too big to be loss (RFC 3550 A.1, `MAX_DROPOUT`).
    pub jumps: u64,
    /// Restarts of the numbering on the same SSRC, backwards (RFC 3550 A.1).
    pub resets: u64,
    /// Timestamp steps that fit neither the packet count nor the time gone by.
    pub timestamp_jumps: u64,
    /// SSRC changes of the locked source.
    pub ssrc_switches: u64,
    /// Payload type changes of the locked source.
    pub payload_type_changes: u64,
    /// Valid RTP from a source other than the locked one.
    pub unexpected_source: u64,
    /// Datagrams that are no valid RTP of a negotiated payload type.
    pub invalid: u64,
}

/// Inter-arrival times over a window, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spacing {
    /// Smallest.
    pub min_ms: f64,
    /// Largest.
    pub max_ms: f64,
    /// Mean.
    pub avg_ms: f64,
}

/// Bursts and gaps of lost and discarded packets (RFC 3611 §4.7.2, Gmin 16).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BurstGap {
    /// Fraction lost or discarded inside bursts, 0..=1; 0 without a burst.
    pub burst_density: f64,
    /// Fraction lost or discarded inside gaps, 0..=1.
    pub gap_density: f64,
    /// Mean length of a burst in milliseconds; 0 without a burst.
    pub burst_duration_ms: f64,
    /// Mean length of a gap in milliseconds.
    pub gap_duration_ms: f64,
    /// Number of bursts.
    pub bursts: u64,
}

/// The playout model: an adaptive jitter buffer that decodes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlayoutSnapshot {
    /// Since the start of the stream.
    pub total: PlayoutCounters,
    /// In this second.
    pub second: PlayoutCounters,
    /// Discarded ÷ expected of this second, in percent (RFC 3611 §4.7.1).
    pub discard_rate_pct: Option<f64>,
    /// Nominal playout delay at the end of the second, in milliseconds: how long a packet of
    /// minimal delay waits (RFC 3611 §4.7.7, JB nominal).
    pub delay_ms: Option<f64>,
    /// The longest a packet may wait before it is thrown away, in milliseconds (JB maximum).
    pub max_delay_ms: Option<f64>,
    /// Smoothed deviation of arrivals from their schedule, in milliseconds.
    pub average_jitter_ms: Option<f64>,
    /// Audio waiting at the end of the second, in milliseconds.
    pub depth_ms: Option<f64>,
}

/// Counters of the playout model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlayoutCounters {
    /// Packets in time for the decoder.
    pub pushed: u64,
    /// Packets given up waiting for: missing at their playout time. One that comes after all is
    /// counted again, as late.
    pub lost: u64,
    /// Packets that arrived after their playout time.
    pub late: u64,
    /// Second copies dropped.
    pub duplicates: u64,
    /// Times the buffer ran empty because the next packet came after its playout time.
    pub underruns: u64,
    /// Packets thrown away because they came too early for the buffer.
    pub overruns: u64,
}

/// RTCP of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RtcpSnapshot {
    /// Compound packets sent since the start of the stream.
    pub sent: u64,
    /// Compound packets sent in this second.
    pub sent_second: u64,
    /// Valid compound packets received since the start of the stream.
    pub received: u64,
    /// Valid compound packets received in this second.
    pub received_second: u64,
    /// Datagrams on the RTCP port that are no valid compound packet of this session, in total.
    pub invalid: u64,
    /// Time between the last two compound packets received, in milliseconds.
    pub interval_ms: Option<f64>,
    /// Last round-trip time in milliseconds (RFC 3550 §6.4.1); `None` before the first.
    pub rtt_ms: Option<f64>,
    /// Whether `rtt_ms` was measured in this second.
    pub rtt_fresh: bool,
    /// Smallest round-trip time since the start of the stream.
    pub rtt_min_ms: Option<f64>,
    /// Largest round-trip time since the start of the stream.
    pub rtt_max_ms: Option<f64>,
    /// The far end's last report about what we send.
    pub remote: Option<RemoteReport>,
    /// Whether the far end said BYE.
    pub bye_received: bool,
}

/// A report block about our own stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RemoteReport {
    /// Lost ÷ expected between its last two reports, in percent.
    pub fraction_lost_pct: f64,
    /// Packets lost since the start of reception; negative with duplicates.
    pub cumulative_lost: i32,
    /// Interarrival jitter in milliseconds, at our clock rate.
    pub jitter_ms: f64,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// Whether it arrived in this second.
    pub fresh: bool,
}

/// Inputs of the E-model, over the last 10 s of decided packets (metrics §3.9).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QualityWindow {
    /// Packets whose playout time passed in the window.
    pub expected: u64,
    /// Of these, never received.
    pub lost: u64,
    /// Of these, received but thrown away by the playout model.
    pub discarded: u64,
    /// Packet loss probability: (lost + discarded) ÷ expected, in percent; `None` while nothing
    /// was expected.
    pub ppl_pct: Option<f64>,
    /// Mean length of loss runs ÷ the mean under random loss (G.107 §3.5, `BurstR`); 1 without
    /// loss and never below 1.
    pub burst_ratio: f64,
    /// Packet time the far end sends with, in milliseconds; `None` before the second packet.
    pub packet_ms: Option<f64>,
    /// The window holds more than one payload type: no score may be given.
    pub mixed_payload_types: bool,
    /// The window holds an interval longer than 2 s without a packet: no score may be given.
    pub silent_over_2s: bool,
}

/// What the generator itself did to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GeneratorSnapshot {
    /// Send time − due time of this second's packets; `None` when none was due.
    pub lateness: Option<Lateness>,
    /// Packets the kernel refused to take, since the start of the stream.
    pub send_errors: u64,
    /// Packets never sent because the thread was too late for them, since the start.
    pub send_skipped: u64,
    /// Datagrams the kernel dropped at this stream's full socket, since the start
    /// (`SO_RXQ_OVFL`).
    pub socket_drops: u64,
    /// The three counters above, added in this second.
    pub drops_second: u64,
    /// The wall clock moved by more than 1 ms against the monotonic one in this second.
    pub clock_stepped: bool,
}

/// Send lateness of one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lateness {
    /// Median in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Largest in milliseconds.
    pub max_ms: f64,
    /// Packets sent more than 1 ms after they were due.
    pub over_1ms: u32,
    /// Packets the figures are of.
    pub packets: u32,
}
