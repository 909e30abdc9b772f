//! Quality scores.

use super::metrics;

metrics! {
    /// Quality scores.
    QUALITY in Category::Quality;

    R_FACTOR = 173, "r_factor", "R-factor", "0–100",
        Gauge, Both, Distribution, measured,
        "E-model rating R, full formula",
        "ITU-T G.107";

    MOS = 174, "mos", "MOS", "1–5",
        Gauge, Both, Distribution, measured,
        "MOS from R (estimated conversational quality)",
        "ITU-T G.107";

    MOS_LQ = 175, "mos_lq", "MOS-LQ", "1–5",
        Gauge, Recv, Distribution, measured,
        "from R with Id = 0",
        "RFC 3611 §4.7.5";

    MOS_CQ = 176, "mos_cq", "MOS-CQ", "1–5",
        Gauge, Recv, Distribution, measured,
        "from R with delay",
        "RFC 3611 §4.7.5";

    MOS_MIN = 177, "mos_min", "MOS of the worst second", "1–5",
        Aggregate, Both, Derived, measured,
        "minimum of mos",
        "ITU-T G.107";

    MOS_P05 = 178, "mos_p05", "MOS, 5th percentile", "1–5",
        Aggregate, Both, Derived, measured,
        "5th percentile of mos over seconds",
        "ITU-T G.107";

    MOS_DEGRADATION_CODEC = 179, "mos_degradation_codec", "Quality lost to the codec", "%",
        Gauge, Recv, Distribution, measured,
        "share of Ie in the rating lost (Ie,eff + Id)",
        "ITU-T G.107";

    MOS_DEGRADATION_LOSS = 180, "mos_degradation_loss", "Quality lost to packet loss", "%",
        Gauge, Recv, Distribution, measured,
        "share of Ie,eff − Ie in the rating lost (Ie,eff + Id)",
        "ITU-T G.107";

    MOS_DEGRADATION_DELAY = 181, "mos_degradation_delay", "Quality lost to delay", "%",
        Gauge, Recv, Distribution, measured,
        "share of Id in the rating lost (Ie,eff + Id)",
        "ITU-T G.107";

    MOS_WB = 182, "mos_wb", "Wideband MOS", "1–5",
        Gauge, Recv, Distribution, planned,
        "wideband E-model for G.722 and Opus",
        "ITU-T G.107.1";

    MOS_REFERENCE = 183, "mos_reference", "Reference-based score", "1–5",
        PerCall, Recv, Distribution, planned,
        "sent file against received audio (ViSQOL or similar)",
        "own";

    VIDEO_QUALITY_SCORE = 184, "video_quality_score", "Video score", "1–5",
        Gauge, Recv, Distribution, planned,
        "from freezes, fps, resolution, loss",
        "own";

    PCT_SECONDS_GOOD = 185, "pct_seconds_good", "Seconds in good quality", "%",
        Aggregate, Both, Derived, measured,
        "share of seconds with MOS of at least 3.5",
        "own";

    CALL_SUCCESS_RATE = 186, "call_success_rate", "Call success rate", "%",
        Aggregate, Undirected, Derived, measured,
        "calls with outcome SUCCESS / all calls × 100: of those placed, in groups of callees of those \
        taken",
        "own";
}
