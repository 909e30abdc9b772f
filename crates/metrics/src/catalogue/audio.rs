//! Codec and audio.

use super::metrics;

metrics! {
    /// Codec and audio.
    AUDIO in Category::Audio;

    AUDIO_CODEC = 115, "audio_codec", "Negotiated codec", "enum",
        PerCall, Both, Tally, measured,
        "negotiated codec, as its static payload type (PCMU 0, PCMA 8)",
        "RFC 3264";

    AUDIO_PACKETIZATION_MS = 116, "audio_packetization_ms", "Packetization interval", "ms",
        PerCall, Both, Distribution, measured,
        "ptime",
        "RFC 4566 §6";

    PLC_EVENTS = 117, "plc_events", "PLC events", "count/s",
        Counter, Recv, Sum, planned,
        "concealment activations (any codec with a PLC in our decoder)",
        "own";

    PLC_DURATION_MS = 118, "plc_duration_ms", "PLC duration", "ms/s",
        Gauge, Recv, Distribution, planned,
        "synthesised audio per second",
        "own";

    CONCEALMENT_RATIO = 119, "concealment_ratio", "Concealment ratio", "%",
        Gauge, Recv, Distribution, planned,
        "concealed / played time",
        "RFC 7294";

    OPUS_PACKET_LOSS = 120, "opus_packet_loss", "Opus packet loss", "%",
        Gauge, Recv, Distribution, planned,
        "gapped / (pushed + gapped) × 100",
        "own";

    OPUS_LAST_PACKET_DURATION_MS = 121, "opus_last_packet_duration_ms", "Opus packet duration", "ms",
        Gauge, Recv, Distribution, planned,
        "duration of the last packet",
        "own";

    OPUS_DECODER_GAIN_DB = 122, "opus_decoder_gain_db", "Opus decoder gain", "dB",
        Gauge, Recv, Distribution, planned,
        "gain applied",
        "own";

    OPUS_BANDWIDTH_HZ = 123, "opus_bandwidth_hz", "Opus audio bandwidth", "Hz",
        Gauge, Recv, Distribution, planned,
        "from the TOC byte: 4, 6, 8, 12, 20 kHz",
        "RFC 6716";

    OPUS_FEC_RECOVERED = 124, "opus_fec_recovered", "Opus in-band FEC recoveries", "count",
        Counter, Recv, Sum, planned,
        "frames rebuilt from LBRR",
        "RFC 6716";

    SIGNAL_LEVEL_DBOV = 125, "signal_level_dbov", "Speech level", "dBov",
        Gauge, Recv, Distribution, planned,
        "RMS gated by voice activity",
        "RFC 3611 §4.7.4";

    NOISE_LEVEL_DBOV = 126, "noise_level_dbov", "Noise level", "dBov",
        Gauge, Recv, Distribution, planned,
        "RMS outside speech",
        "RFC 3611 §4.7.4";

    AUDIO_LEVEL_RMS_DBOV = 127, "audio_level_rms_dbov", "Audio level", "dBov",
        Gauge, Recv, Distribution, planned,
        "RMS of everything",
        "own";

    SNR_DB = 128, "snr_db", "Signal-to-noise ratio", "dB",
        Gauge, Recv, Distribution, planned,
        "signal − noise level",
        "own";

    CLIPPING_RATIO = 129, "clipping_ratio", "Clipped samples", "%",
        Gauge, Recv, Distribution, planned,
        "samples at full scale",
        "own";

    SILENCE_RATIO = 130, "silence_ratio", "Silence ratio", "%",
        Gauge, Recv, Distribution, planned,
        "intervals below −50 dBov",
        "own";

    ONE_WAY_AUDIO = 131, "one_way_audio", "One-way audio", "bool",
        PerCall, Undirected, Share, measured,
        "answered, and one direction lacks RTP",
        "own";

    MISSING_AUDIO = 132, "missing_audio", "No audio", "bool",
        PerCall, Undirected, Share, measured,
        "answered, and both directions lack RTP",
        "own";

    RERL_DB = 133, "rerl_db", "Residual echo return loss", "dB",
        PerCall, Recv, Distribution, planned,
        "echo of our own reference in the received audio",
        "RFC 3611 §4.7.4";

    DTMF_SENT = 134, "dtmf_sent", "DTMF digits sent", "count",
        Counter, Both, Sum, measured,
        "RFC 4733 events sent to their end, and digits whose INFO was accepted",
        "RFC 4733";

    DTMF_RECEIVED = 135, "dtmf_received", "DTMF digits received", "count",
        Counter, Both, Sum, measured,
        "RFC 4733 events and INFO digits received",
        "RFC 4733";

    DTMF_ERRORS = 136, "dtmf_errors", "DTMF digit errors", "count",
        Counter, Both, Sum, measured,
        "digits not sent to their end or not accepted, or received without their end",
        "RFC 4733";
}
