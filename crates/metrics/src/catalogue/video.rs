//! Video and feedback.

use super::metrics;

metrics! {
    /// Video and feedback.
    VIDEO in Category::Video;

    NACK_COUNT = 137, "nack_count", "NACK messages", "count",
        Counter, Both, Sum, planned,
        "generic NACK packets",
        "RFC 4585";

    PLI_COUNT = 138, "pli_count", "PLI messages", "count",
        Counter, Both, Sum, planned,
        "picture loss indications",
        "RFC 4585";

    FIR_COUNT = 139, "fir_count", "FIR messages", "count",
        Counter, Both, Sum, planned,
        "full intra requests",
        "RFC 5104";

    SLI_COUNT = 140, "sli_count", "SLI messages", "count",
        Counter, Both, Sum, planned,
        "slice loss indications",
        "RFC 4585";

    RPSI_COUNT = 141, "rpsi_count", "RPSI messages", "count",
        Counter, Both, Sum, planned,
        "reference picture selections (our guess at the unknown fifth)",
        "RFC 4585";

    VIDEO_FPS = 142, "video_fps", "Frame rate", "fps",
        Gauge, Both, Distribution, planned,
        "frames encoded / decoded per second",
        "own";

    VIDEO_RESOLUTION_MPX = 143, "video_resolution_mpx", "Resolution", "MPx",
        Gauge, Both, Distribution, planned,
        "width × height / 10⁶",
        "own";

    VIDEO_WIDTH = 144, "video_width", "Frame width", "px",
        Gauge, Both, Distribution, planned,
        "pixels",
        "own";

    VIDEO_HEIGHT = 145, "video_height", "Frame height", "px",
        Gauge, Both, Distribution, planned,
        "pixels",
        "own";

    VIDEO_FREEZE_COUNT = 146, "video_freeze_count", "Freeze events", "count",
        Counter, Recv, Sum, planned,
        "no new frame for max(3 × mean frame time, mean + 150 ms)",
        "threshold from W3C WebRTC stats freezeCount";

    VIDEO_FREEZE_DURATION_MS = 147, "video_freeze_duration_ms", "Freeze duration", "ms",
        Counter, Recv, Sum, planned,
        "time frozen",
        "own";

    KEYFRAME_INTERVAL_MS = 148, "keyframe_interval_ms", "Keyframe interval", "ms",
        Gauge, Send, Distribution, planned,
        "time between keyframes",
        "own";

    KEYFRAMES_SENT = 149, "keyframes_sent", "Keyframes sent", "count",
        Counter, Both, Sum, planned,
        "I-frames sent",
        "own";

    KEYFRAMES_RECEIVED = 150, "keyframes_received", "Keyframes received", "count",
        Counter, Both, Sum, planned,
        "I-frames received",
        "own";

    KEYFRAME_REQUESTS_SENT = 151, "keyframe_requests_sent", "Keyframe requests sent", "count",
        Counter, Both, Sum, planned,
        "PLI and FIR sent",
        "own";

    KEYFRAME_REQUESTS_RECEIVED = 152, "keyframe_requests_received", "Keyframe requests received", "count",
        Counter, Both, Sum, planned,
        "PLI and FIR received",
        "own";

    FRAMES_DROPPED = 153, "frames_dropped", "Frames dropped", "count",
        Counter, Recv, Sum, planned,
        "decoded late or undecodable",
        "WebRTC stats";

    AV_SYNC_MS = 154, "av_sync_ms", "Lip-sync offset", "ms",
        Gauge, Recv, Distribution, planned,
        "audio − video presentation time through SR/NTP",
        "RFC 3550 §6.4";
}
