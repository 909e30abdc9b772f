//! Jitter buffer.

use super::metrics;

metrics! {
    /// Jitter buffer.
    BUFFER in Category::Buffer;

    JB_PACKETS_PUSHED = 102, "jb_packets_pushed", "Packets pushed", "packets",
        Counter, Recv, Sum, measured,
        "packets that reached the playout model in time",
        "own";

    JB_PACKETS_LOST = 103, "jb_packets_lost", "Packets lost at the buffer", "packets",
        Counter, Recv, Sum, measured,
        "packets the playout model gave up waiting for",
        "own";

    JB_LATE_PACKETS = 104, "jb_late_packets", "Late packets", "packets",
        Counter, Recv, Sum, measured,
        "packets that arrived after their playout time",
        "own";

    JB_DUPLICATES = 105, "jb_duplicates", "Duplicates dropped", "packets",
        Counter, Recv, Sum, measured,
        "second copies the playout model dropped",
        "own";

    JB_AVERAGE_JITTER_MS = 106, "jb_average_jitter_ms", "Buffer's average jitter", "ms",
        Gauge, Recv, Distribution, measured,
        "smoothed deviation from schedule inside the playout model",
        "own";

    JB_RTX_REQUESTS = 107, "jb_rtx_requests", "Retransmission requests", "count",
        Counter, Recv, Sum, planned,
        "NACK-driven requests",
        "own";

    JB_RTX_SUCCESS = 108, "jb_rtx_success", "Retransmissions in time", "count",
        Counter, Recv, Sum, planned,
        "recovered before playout",
        "own";

    JB_RTX_PER_PACKET = 109, "jb_rtx_per_packet", "Requests per recovered packet", "ratio",
        Gauge, Recv, Distribution, planned,
        "mean tries",
        "own";

    JB_RTX_RTT_MS = 110, "jb_rtx_rtt_ms", "Retransmission RTT", "ms",
        Gauge, Recv, Distribution, planned,
        "request → retransmitted packet",
        "own";

    JB_DELAY_MS = 111, "jb_delay_ms", "Current buffer delay", "ms",
        Gauge, Recv, Distribution, measured,
        "nominal playout delay",
        "RFC 3611 §4.7.7 JB nominal";

    JB_MAX_DELAY_MS = 112, "jb_max_delay_ms", "Maximum buffer delay", "ms",
        Gauge, Recv, Distribution, measured,
        "JB maximum",
        "RFC 3611 §4.7.7";

    JB_UNDERRUNS = 113, "jb_underruns", "Buffer underruns", "count",
        Counter, Recv, Sum, measured,
        "times the buffer ran empty",
        "own";

    JB_OVERRUNS = 114, "jb_overruns", "Buffer overruns", "count",
        Counter, Recv, Sum, measured,
        "times the buffer was full",
        "own";
}
