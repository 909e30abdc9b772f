//! Call timing.

use super::metrics;

metrics! {
    /// Call timing.
    TIMING in Category::Timing;

    DNS_TIME_MS = 41, "dns_time_ms", "DNS resolution time", "ms",
        PerCall, Undirected, Distribution, measured,
        "time to resolve the next hop of the call or registration; absent for addresses",
        "RFC 3263";

    TCP_CONNECT_MS = 42, "tcp_connect_ms", "Transport connect time", "ms",
        PerCall, Undirected, Distribution, measured,
        "SYN → established (TCP/TLS/WSS), once for each connection of ours: in the row of the \
        registration or call placed it was made for, of one made again in that of the next \
        registration or call placed",
        "own";

    TLS_HANDSHAKE_MS = 43, "tls_handshake_ms", "TLS handshake time", "ms",
        PerCall, Undirected, Distribution, measured,
        "ClientHello → finished, in the row of its tcp_connect_ms",
        "own";

    OPTIONS_RTT_MS = 44, "options_rtt_ms", "OPTIONS response time", "ms",
        PerCall, Undirected, Distribution, measured,
        "OPTIONS to the registrar or proxy → final response, of whatever code but 408",
        "RFC 3261 §11";

    REGISTRATION_TIME_MS = 45, "registration_time_ms", "Registration time", "ms",
        PerCall, Undirected, Distribution, measured,
        "first REGISTER → 200, a challenge and its retry included",
        "RFC 6076 §4.1";

    TIME_TO_TRYING_MS = 46, "time_to_trying_ms", "Time to first response", "ms",
        PerCall, Undirected, Distribution, measured,
        "INVITE → 100 or any other first response",
        "RFC 3261 §17.1.1";

    TIME_TO_RINGING_MS = 47, "time_to_ringing_ms", "Time to ringing", "ms",
        PerCall, Undirected, Distribution, measured,
        "INVITE → 180",
        "RFC 3261 §13";

    POST_DIAL_DELAY_MS = 48, "post_dial_delay_ms", "Post-dial delay (SRD, successful)", "ms",
        PerCall, Undirected, Distribution, measured,
        "INVITE → first ringback indication (180, or 183 with SDP)",
        "RFC 6076 §4.3";

    FAILED_SRD_MS = 49, "failed_srd_ms", "Session request delay, failed", "ms",
        PerCall, Undirected, Distribution, measured,
        "INVITE → final failure response",
        "RFC 6076 §4.3";

    RING_DURATION_MS = 50, "ring_duration_ms", "Ring duration", "ms",
        PerCall, Undirected, Distribution, measured,
        "180 → 200 OK",
        "RFC 3261 §13";

    CALL_SETUP_TIME_MS = 51, "call_setup_time_ms", "Call setup time", "ms",
        PerCall, Undirected, Distribution, measured,
        "INVITE → 200 OK",
        "RFC 3261 §13";

    ACK_DELAY_MS = 52, "ack_delay_ms", "Answer to ACK", "ms",
        PerCall, Undirected, Distribution, measured,
        "200 OK sent → ACK received (callee)",
        "RFC 3261 §13";

    TIME_TO_FIRST_MEDIA_MS = 53, "time_to_first_media_ms", "Time to first media", "ms",
        PerCall, Undirected, Distribution, measured,
        "200 OK → first RTP received; absent if RTP came earlier (early_media_ms)",
        "RFC 3264";

    EARLY_MEDIA_MS = 54, "early_media_ms", "Early media length", "ms",
        PerCall, Undirected, Distribution, measured,
        "first RTP before answer → answer",
        "RFC 3261 §13";

    DTLS_HANDSHAKE_MS = 55, "dtls_handshake_ms", "DTLS handshake time", "ms",
        PerCall, Undirected, Distribution, planned,
        "first DTLS record → SRTP keys",
        "RFC 5764";

    CALL_DURATION_MS = 56, "call_duration_ms", "Call duration (SDT)", "ms",
        PerCall, Undirected, Distribution, measured,
        "200 OK → BYE",
        "RFC 6076 §4.5";

    DISCONNECT_DELAY_MS = 57, "disconnect_delay_ms", "Session disconnect delay (SDD)", "ms",
        PerCall, Undirected, Distribution, measured,
        "BYE → its 2xx or timeout",
        "RFC 6076 §4.4";

    CANCEL_DELAY_MS = 58, "cancel_delay_ms", "Cancel delay", "ms",
        PerCall, Undirected, Distribution, measured,
        "CANCEL → 487",
        "RFC 3261";

    HOLD_DELAY_MS = 59, "hold_delay_ms", "Hold delay", "ms",
        PerCall, Undirected, Distribution, measured,
        "first re-INVITE of the call that holds → its 200",
        "RFC 3264 §8.4";

    RESUME_DELAY_MS = 60, "resume_delay_ms", "Resume delay", "ms",
        PerCall, Undirected, Distribution, measured,
        "first re-INVITE of the call that resumes → its 200",
        "RFC 3264 §8.4";

    TRANSFER_DELAY_MS = 61, "transfer_delay_ms", "Transfer delay", "ms",
        PerCall, Undirected, Distribution, measured,
        "last REFER of the call → final NOTIFY",
        "RFC 3515";

    PRACK_DELAY_MS = 62, "prack_delay_ms", "PRACK delay", "ms",
        PerCall, Undirected, Distribution, measured,
        "first reliable 18x of the call → 200 to its PRACK, at both ends",
        "RFC 3262";

    REGISTRATION_AUTH_TIME_MS = 196, "registration_auth_time_ms", "Registration request delay (RRD)", "ms",
        PerCall, Undirected, Distribution, measured,
        "authenticated REGISTER → 200; without a challenge the same as registration_time_ms",
        "RFC 6076 §4.1";
}
