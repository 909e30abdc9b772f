//! RTP transport.

use super::metrics;

metrics! {
    /// RTP transport.
    RTP in Category::Rtp;

    PACKETS_SENT = 63, "packets_sent", "Packets sent", "packets",
        Counter, Send, Sum, measured,
        "RTP packets transmitted",
        "RFC 3550";

    PACKETS_RECEIVED = 64, "packets_received", "Packets received", "packets",
        Counter, Recv, Sum, measured,
        "RTP packets received (late and duplicate ones included)",
        "RFC 3550";

    BYTES_SENT = 65, "bytes_sent", "Bytes sent", "bytes",
        Counter, Send, Sum, measured,
        "payload octets sent",
        "RFC 3550";

    BYTES_RECEIVED = 66, "bytes_received", "Bytes received", "bytes",
        Counter, Recv, Sum, measured,
        "payload octets received",
        "RFC 3550";

    PACKETS_SENT_RATE_PS = 67, "packets_sent_rate_ps", "Packets sent rate", "pps",
        Gauge, Send, Distribution, measured,
        "packets in the last second",
        "own";

    PACKETS_RECV_RATE_PS = 68, "packets_recv_rate_ps", "Packets received rate", "pps",
        Gauge, Recv, Distribution, measured,
        "packets in the last second",
        "own";

    BYTES_SENT_RATE_BPS = 69, "bytes_sent_rate_bps", "Send bitrate", "bps",
        Gauge, Send, Distribution, measured,
        "bits in the last second",
        "own";

    BYTES_RECV_RATE_BPS = 70, "bytes_recv_rate_bps", "Receive bitrate", "bps",
        Gauge, Recv, Distribution, measured,
        "bits in the last second",
        "own";

    PACKETS_LOST = 71, "packets_lost", "Packets lost", "packets",
        Counter, Both, Sum, measured,
        "expected − received (may fall when duplicates arrive)",
        "RFC 3550 §6.4.1";

    FRACTION_LOST = 72, "fraction_lost", "Packet loss rate", "%",
        Gauge, Both, Distribution, measured,
        "of the second: lost / expected × 100 (RFC 3550 A.3)",
        "RFC 3550";

    DUPLICATE_PACKETS = 73, "duplicate_packets", "Duplicates", "packets",
        Counter, Recv, Sum, measured,
        "a sequence number seen before",
        "own";

    OUT_OF_ORDER_PACKETS = 74, "out_of_order_packets", "Out of order", "packets",
        Counter, Recv, Sum, measured,
        "arrived after a later number",
        "own";

    SEQUENCE_NUMBER_GAPS = 75, "sequence_number_gaps", "Sequence gap size", "packets",
        Gauge, Recv, Distribution, measured,
        "largest run of missing numbers in the window",
        "own";

    SEQUENCE_NUMBER_JUMPS = 76, "sequence_number_jumps", "Sequence jumps", "count",
        Counter, Recv, Sum, measured,
        "forward discontinuity too big to be loss (MAX_DROPOUT 3000)",
        "RFC 3550 App. A.1";

    SEQUENCE_NUMBER_RESETS = 77, "sequence_number_resets", "Sequence resets", "count",
        Counter, Recv, Sum, measured,
        "counter restarted on the same SSRC",
        "RFC 3550 App. A.1";

    TIMESTAMP_JUMPS = 78, "timestamp_jumps", "Timestamp jumps", "count",
        Counter, Recv, Sum, measured,
        "timestamp step differing from the clock's prediction",
        "RFC 3550 §5.1";

    SSRC_SWITCHES = 79, "ssrc_switches", "SSRC switches", "count",
        Counter, Recv, Sum, measured,
        "SSRC changes within a call",
        "RFC 3550 §8.2";

    MAX_PACKET_SPACING = 80, "max_packet_spacing", "Largest spacing", "ms",
        Gauge, Recv, Distribution, measured,
        "max inter-arrival in a 2 s window",
        "own";

    MIN_PACKET_SPACING = 81, "min_packet_spacing", "Smallest spacing", "ms",
        Gauge, Recv, Distribution, measured,
        "min inter-arrival in a 2 s window",
        "own";

    AVG_PACKET_SPACING = 82, "avg_packet_spacing", "Average spacing", "ms",
        Gauge, Recv, Distribution, measured,
        "mean inter-arrival in a 2 s window",
        "own";

    JITTER_MS = 83, "jitter_ms", "Interarrival jitter", "ms",
        Gauge, Both, Distribution, measured,
        "J += (abs(D) − J)/16",
        "RFC 3550 §6.4.1";

    JITTER_MAX_MS = 84, "jitter_max_ms", "Peak jitter", "ms",
        Aggregate, Both, Derived, measured,
        "max of jitter_ms",
        "own";

    PDV_P95_MS = 85, "pdv_p95_ms", "Packet delay variation, 95th percentile", "ms",
        Gauge, Recv, Distribution, measured,
        "delay above the minimum, 95th percentile of the second",
        "RFC 5481";

    PDV_P99_MS = 86, "pdv_p99_ms", "Packet delay variation, 99th percentile", "ms",
        Gauge, Recv, Distribution, measured,
        "delay above the minimum, 99th percentile of the second",
        "RFC 5481";

    PDV_BUCKETS = 87, "pdv_buckets", "PDV histogram", "count",
        Distribution, Recv, Buckets, planned,
        "packets in 50–70, 70–90, 90–120, 120–150, 150–300, > 300 ms",
        "own";

    LOSS_RUN_HISTOGRAM = 88, "loss_run_histogram", "Loss-run distribution", "count",
        Distribution, Recv, Buckets, planned,
        "loss events by run length, 1…10+",
        "own";

    BURST_DENSITY = 89, "burst_density", "Burst density", "ratio",
        Gauge, Recv, Distribution, measured,
        "loss+discard fraction inside bursts (Gmin 16)",
        "RFC 3611 §4.7.2";

    GAP_DENSITY = 90, "gap_density", "Gap density", "ratio",
        Gauge, Recv, Distribution, measured,
        "loss+discard fraction inside gaps",
        "RFC 3611 §4.7.2";

    BURST_DURATION = 91, "burst_duration", "Burst duration", "ms",
        Gauge, Recv, Distribution, measured,
        "mean burst length",
        "RFC 3611 §4.7.2";

    GAP_DURATION = 92, "gap_duration", "Gap duration", "ms",
        Gauge, Recv, Distribution, measured,
        "mean gap length",
        "RFC 3611 §4.7.2";

    DISCARD_RATE = 93, "discard_rate", "Discard rate", "%",
        Gauge, Recv, Distribution, measured,
        "packets thrown away by the playout model / expected of the second × 100",
        "RFC 3611 §4.7.1";

    REMOTE_FRACTION_LOST = 94, "remote_fraction_lost", "Far end's loss rate", "%",
        Gauge, Send, Distribution, measured,
        "fraction lost as carried in received Receiver Reports",
        "RFC 3550 §6.4";

    REMOTE_JITTER_MS = 95, "remote_jitter_ms", "Far end's jitter", "ms",
        Gauge, Send, Distribution, measured,
        "interarrival jitter as carried in received Receiver Reports",
        "RFC 3550 §6.4";

    REMOTE_PACKETS_LOST = 96, "remote_packets_lost", "Far end's packets lost", "packets",
        Gauge, Send, Distribution, measured,
        "cumulative loss as carried in the last received Receiver Report",
        "RFC 3550 §6.4";

    RTCP_SENT = 97, "rtcp_sent", "RTCP packets sent", "count",
        Counter, Both, Sum, measured,
        "compound packets sent",
        "RFC 3550";

    RTCP_RECEIVED = 98, "rtcp_received", "RTCP packets received", "count",
        Counter, Both, Sum, measured,
        "compound packets received",
        "RFC 3550";

    RTCP_SR_RR_INTERVAL_MS = 99, "rtcp_sr_rr_interval_ms", "RTCP interval", "ms",
        Gauge, Recv, Distribution, measured,
        "time between reports",
        "own";

    PAYLOAD_TYPE_CHANGES = 100, "payload_type_changes", "Payload-type changes", "count",
        Counter, Recv, Sum, measured,
        "switches mid-stream, DTMF events excluded",
        "RFC 3550";

    UNEXPECTED_SOURCE_PACKETS = 101, "unexpected_source_packets", "Packets from an unexpected source", "packets",
        Counter, Recv, Sum, measured,
        "RTP from a source other than the one the stream locked to",
        "RFC 7362 practice";
}
