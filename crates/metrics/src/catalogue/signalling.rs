//! SIP signalling.

use super::metrics;

metrics! {
    /// SIP signalling.
    SIGNALLING in Category::Signalling;

    REG_ATTEMPTS = 1, "reg_attempts", "Registration attempts", "count",
        Counter, Undirected, Sum, measured,
        "REGISTER transactions started (a challenged retry belongs to the same attempt)",
        "RFC 3261 §10";

    REG_SUCCESS = 2, "reg_success", "Registrations accepted", "count",
        Counter, Undirected, Sum, measured,
        "REGISTER answered 2xx",
        "RFC 3261 §10";

    REG_FAILED = 3, "reg_failed", "Registrations failed", "count",
        Counter, Undirected, Sum, measured,
        "final non-2xx answer (after the 401/407 retry) or timeout of a REGISTER",
        "RFC 3261 §10";

    REG_SUCCESS_RATIO = 4, "reg_success_ratio", "Registration success ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "reg_success / reg_attempts × 100",
        "own";

    REG_INEFFECTIVE_RATIO = 5, "reg_ineffective_ratio", "Ineffective registration attempts (IRA)", "%",
        Aggregate, Undirected, Derived, measured,
        "failed registrations / attempts × 100",
        "RFC 6076 §4.2";

    REG_EXPIRES_S = 6, "reg_expires_s", "Granted registration lifetime", "s",
        PerCall, Undirected, Distribution, measured,
        "Expires granted by the registrar",
        "RFC 3261 §10.3";

    AUTH_CHALLENGES = 7, "auth_challenges", "Authentication challenges", "count",
        Counter, Undirected, Sum, measured,
        "401/407 received",
        "RFC 3261 §22";

    INVITE_SENT = 8, "invite_sent", "Call attempts", "count",
        Counter, Undirected, Sum, measured,
        "INVITE transactions that start a dialog",
        "RFC 3261 §13";

    INVITE_RECEIVED = 9, "invite_received", "Incoming calls", "count",
        Counter, Undirected, Sum, measured,
        "dialog-starting INVITEs received",
        "RFC 3261 §13";

    SIP_1XX = 10, "sip_1xx", "SIP 1xx responses", "count",
        Counter, Both, Sum, measured,
        "1xx responses received and sent",
        "RFC 3261 §21";

    SIP_2XX = 11, "sip_2xx", "SIP 2xx responses", "count",
        Counter, Both, Sum, measured,
        "2xx responses received and sent",
        "RFC 3261 §21";

    SIP_3XX = 12, "sip_3xx", "SIP 3xx responses", "count",
        Counter, Both, Sum, measured,
        "3xx responses received and sent",
        "RFC 3261 §21";

    SIP_4XX = 13, "sip_4xx", "SIP 4xx responses", "count",
        Counter, Both, Sum, measured,
        "4xx responses received and sent",
        "RFC 3261 §21";

    SIP_5XX = 14, "sip_5xx", "SIP 5xx responses", "count",
        Counter, Both, Sum, measured,
        "5xx responses received and sent",
        "RFC 3261 §21";

    SIP_6XX = 15, "sip_6xx", "SIP 6xx responses", "count",
        Counter, Both, Sum, measured,
        "6xx responses received and sent",
        "RFC 3261 §21";

    SIP_MESSAGES_SENT = 16, "sip_messages_sent", "SIP messages sent", "count",
        Counter, Both, Sum, measured,
        "all SIP messages put on the wire",
        "RFC 3261";

    SIP_MESSAGES_RECEIVED = 17, "sip_messages_received", "SIP messages received", "count",
        Counter, Both, Sum, measured,
        "all SIP messages taken from the wire",
        "RFC 3261";

    SIP_RETRANSMISSIONS = 18, "sip_retransmissions", "Retransmissions sent", "count",
        Counter, Send, Sum, measured,
        "requests/responses sent again by the transaction timers",
        "RFC 3261 §17";

    SIP_RETRANSMISSIONS_RECV = 19, "sip_retransmissions_recv", "Retransmissions received", "count",
        Counter, Recv, Sum, measured,
        "duplicates absorbed by the transaction layer",
        "RFC 3261 §17";

    SIP_TIMEOUTS = 20, "sip_timeouts", "Transaction timeouts", "count",
        Counter, Undirected, Sum, measured,
        "Timer B/F/H expiries",
        "RFC 3261 §17";

    SIP_UNEXPECTED = 21, "sip_unexpected", "Unexpected messages", "count",
        Counter, Recv, Sum, measured,
        "messages not fitting the dialog's state",
        "RFC 3261 §12.2";

    SIP_OUT_OF_DIALOG = 22, "sip_out_of_dialog", "Out-of-call messages", "count",
        Counter, Recv, Sum, measured,
        "messages matching no known call",
        "RFC 3261 §12.2.2";

    TRANSPORT_ERRORS = 23, "transport_errors", "Transport errors", "count",
        Counter, Both, Sum, measured,
        "send failures, connection resets, TLS failures",
        "RFC 3261 §18.4";

    SER = 24, "ser", "Session establishment ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "INVITEs answered 200 / (INVITEs − answered 3xx) × 100",
        "RFC 6076 §4.6";

    SEER = 25, "seer", "Session establishment effectiveness ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "INVITEs answered 200, 480, 486, 600 or 603 / (INVITEs − 3xx) × 100",
        "RFC 6076 §4.7";

    ISA = 26, "isa", "Ineffective session attempts", "%",
        Aggregate, Undirected, Derived, measured,
        "INVITEs ending 408, 500, 503, 504 or without an answer / INVITEs × 100",
        "RFC 6076 §4.8";

    SCR = 27, "scr", "Session completion ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "calls placed that were answered and ended by a BYE that was received or answered 2xx / \
        INVITEs × 100",
        "RFC 6076 §4.9";

    ASR = 28, "asr", "Answer-seizure ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "answered (2xx) / attempts × 100",
        "ITU-T E.411";

    NER = 29, "ner", "Network effectiveness ratio", "%",
        Aggregate, Undirected, Derived, measured,
        "(answered + user refusals such as 486/603) / attempts × 100",
        "ITU-T E.425";

    ACD_S = 30, "acd_s", "Average call duration", "s",
        Aggregate, Undirected, Derived, measured,
        "sum of connected time / answered calls",
        "own";

    CALLS_ACTIVE = 31, "calls_active", "Concurrent calls", "count",
        Gauge, Undirected, Level, measured,
        "dialogs in INCALL",
        "own";

    CAPS = 32, "caps", "Call attempts per second", "1/s",
        Gauge, Undirected, Level, measured,
        "attempts in the last second",
        "own";

    FINAL_STATUS_CODE = 33, "final_status_code", "Final status code", "code",
        PerCall, Undirected, Tally, measured,
        "last final response to the INVITE, of calls placed; absent if there was none",
        "RFC 3261 §21";

    CALL_RESULT = 34, "call_result", "Call result", "enum",
        PerCall, Undirected, Tally, measured,
        "of calls placed: answered, busy (486, 600), rejected (403, 603), timeout (408 or no \
        answer), cancelled (487), unavailable (480, 503, or a connection that failed), failed (any \
        other)",
        "RFC 3261 §21, §8.1.3.1";

    REINVITE_COUNT = 35, "reinvite_count", "Re-INVITEs and UPDATEs", "count",
        Counter, Both, Sum, measured,
        "re-INVITE and UPDATE requests with an offer, refreshes of the session by re-INVITE among \
        them, sent and received; one sent again after a challenge or glare counts once",
        "RFC 3261 §14, RFC 3311";

    HOLD_COUNT = 36, "hold_count", "Holds", "count",
        Counter, Both, Sum, measured,
        "holds the far end accepted (sent) and holds of the far end (received)",
        "RFC 3264 §8.4";

    REFER_COUNT = 37, "refer_count", "Transfers", "count",
        Counter, Both, Sum, measured,
        "transfers asked for by REFER, sent and received",
        "RFC 3515";

    SCENARIO_ACTIONS_EXECUTED = 38, "scenario_actions_executed", "Scenario actions executed", "count",
        Counter, Both, Sum, measured,
        "scenario steps that ran: those due at a time (sent) and those due on an event (received)",
        "own";

    SCENARIO_ACTIONS_FAILED = 39, "scenario_actions_failed", "Scenario actions failed", "count",
        Counter, Both, Sum, measured,
        "steps that timed out, were refused or never ran because the call ended first: those due \
        at a time (sent) and those due on an event (received); with the executed ones all steps of \
        all calls",
        "own";

    SESSION_TIMER_REFRESHES = 40, "session_timer_refreshes", "Session-timer refreshes", "count",
        Counter, Undirected, Sum, measured,
        "refreshes of session timers that were accepted, of either side",
        "RFC 4028";

    ARRIVALS_MISSED = 197, "arrivals_missed", "Calls not placed in time", "count",
        Counter, Undirected, Sum, measured,
        "calls due by the rate of the load while their endpoint still had a call or was not ready",
        "own";

    OPTIONS_FAILED = 198, "options_failed", "OPTIONS without answer", "count",
        Counter, Undirected, Sum, measured,
        "OPTIONS to the registrar or proxy that got no final response, or 408; those answered have \
        an options_rtt_ms",
        "own";
}
