//! Network, security and the generator itself.

use super::metrics;

metrics! {
    /// Network, security and the generator itself.
    NETWORK in Category::Network;

    RTT_MS = 155, "rtt_ms", "Round-trip time", "ms",
        Gauge, Both, Distribution, measured,
        "A − LSR − DLSR",
        "RFC 3550 §6.4.1";

    RTT_MIN_MS = 156, "rtt_min_ms", "Lowest round-trip time", "ms",
        Aggregate, Both, Derived, measured,
        "minimum of rtt_ms",
        "own";

    RTT_MAX_MS = 157, "rtt_max_ms", "Highest round-trip time", "ms",
        Aggregate, Both, Derived, measured,
        "maximum of rtt_ms",
        "own";

    ONE_WAY_DELAY_MS = 158, "one_way_delay_ms", "One-way delay", "ms",
        Gauge, Both, Distribution, measured,
        "RTT/2 + packet time + playout delay; absent while RTT is unknown",
        "ITU-T G.114";

    END_SYSTEM_DELAY_MS = 159, "end_system_delay_ms", "End-system delay", "ms",
        Gauge, Both, Distribution, measured,
        "our own parts of the delay: packet time + playout delay",
        "RFC 3611 §4.7.3";

    CLOCK_DRIFT_ESTIMATE = 160, "clock_drift_estimate", "Clock drift", "ppm",
        Gauge, Recv, Distribution, planned,
        "slope of sender NTP/RTP against local clock, ~20 SRs",
        "own";

    CLOCK_SKEW_ESTIMATE = 161, "clock_skew_estimate", "Clock skew", "ppm",
        Gauge, Recv, Distribution, planned,
        "sender–receiver clock difference",
        "own";

    DSCP_RECEIVED = 162, "dscp_received", "DSCP on arrival", "0–63",
        Gauge, Recv, Distribution, measured,
        "marking seen on received RTP",
        "RFC 4594";

    TTL_RECEIVED = 163, "ttl_received", "TTL / hop limit", "hops",
        Gauge, Recv, Distribution, measured,
        "path change indicator",
        "own";

    SRTP_DECRYPT_FAILURES = 164, "srtp_decrypt_failures", "SRTP decryption failures", "count",
        Counter, Recv, Sum, planned,
        "packets failing authentication/decryption",
        "RFC 3711";

    SRTP_REPLAY_DROPS = 165, "srtp_replay_drops", "SRTP replay drops", "count",
        Counter, Recv, Sum, planned,
        "rejected by the replay list",
        "RFC 3711";

    DTLS_REHANDSHAKES = 166, "dtls_rehandshakes", "DTLS rehandshakes", "count",
        Counter, Both, Sum, planned,
        "after the first",
        "RFC 5764";

    TLS_VERSION = 167, "tls_version", "TLS version", "enum",
        PerCall, Undirected, Tally, planned,
        "negotiated protocol version",
        "own";

    TLS_CIPHER = 168, "tls_cipher", "TLS cipher suite", "enum",
        PerCall, Undirected, Tally, planned,
        "negotiated cipher suite",
        "own";

    CERT_DAYS_LEFT = 169, "cert_days_left", "Certificate days left", "days",
        PerCall, Undirected, Distribution, planned,
        "server certificate's remaining validity",
        "own";

    WORKER_CPU_PCT = 170, "worker_cpu_pct", "Generator's CPU", "%",
        Gauge, Undirected, Distribution, measured,
        "CPU of the worker process, in percent of one core",
        "own";

    WORKER_MEM_MB = 171, "worker_mem_mb", "Generator's memory", "MB",
        Gauge, Undirected, Distribution, measured,
        "resident memory of the worker process",
        "own";

    TX_LATENESS_P50_MS = 172, "tx_lateness_p50_ms", "Send lateness, median", "ms",
        Gauge, Send, Distribution, measured,
        "send time − due time, median of the second",
        "own";

    TX_LATENESS_P99_MS = 187, "tx_lateness_p99_ms", "Send lateness, 99th percentile", "ms",
        Gauge, Send, Distribution, measured,
        "send time − due time, 99th percentile of the second",
        "own";

    TX_LATENESS_MAX_MS = 188, "tx_lateness_max_ms", "Send lateness, largest", "ms",
        Gauge, Send, Distribution, measured,
        "send time − due time, largest of the second",
        "own";

    RX_SOCKET_DROPS = 189, "rx_socket_drops", "Socket drops", "count",
        Counter, Undirected, Sum, measured,
        "datagrams the receive socket dropped (SO_RXQ_OVFL)",
        "own";

    UDP_RCVBUF_ERRORS = 190, "udp_rcvbuf_errors", "Node receive buffer errors", "count",
        Counter, Undirected, Sum, measured,
        "the node's UDP RcvbufErrors",
        "own";

    CPU_THROTTLED_MS = 191, "cpu_throttled_ms", "CPU throttled", "ms",
        Counter, Undirected, Sum, measured,
        "time the cgroup was throttled",
        "own";

    CPU_STEAL_PCT = 192, "cpu_steal_pct", "CPU steal", "%",
        Counter, Undirected, Distribution, measured,
        "steal of the machine, in percent of all cores",
        "own";

    RING_OVERFLOWS = 193, "ring_overflows", "Queue overflows", "count",
        Counter, Undirected, Sum, measured,
        "messages dropped at the worker's own queues",
        "own";

    CLOCK_STEPPED = 194, "clock_stepped", "Clock steps", "count",
        Counter, Undirected, Sum, measured,
        "seconds in which the wall clock moved more than 1 ms against the monotonic one",
        "own";

    GENERATOR_LIMITED = 195, "generator_limited", "Generator limited", "bool",
        Gauge, Undirected, Share, measured,
        "this second broke a limit (send lateness p99 > 2 ms, any local drop, throttling): its \
        other figures are not the network's",
        "own";
}
