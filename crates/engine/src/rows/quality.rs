//! The E-model over a second (reference: metrics §3.9).

use callmeter_metrics::emodel::{Observed, Parameters, Rating};
use callmeter_metrics::id;

use super::Values;
use crate::media::StreamSnapshot;

/// Adds delay and scores to the row of what is received; true if the delay holds our own parts
/// only because RTT is unknown.
///
/// T = RTT/2 + packet time + playout delay; loss is what was lost or discarded over the last 10 s.
/// No score over a window with more than one payload type or a silence above 2 s.
pub(super) fn put_quality(values: &mut Values, snapshot: &StreamSnapshot) -> bool {
    let window = &snapshot.quality;
    let (Some(packet), Some(playout)) = (window.packet_ms, snapshot.playout.delay_ms) else {
        return false;
    };
    let own = packet + playout;
    values.put(id::END_SYSTEM_DELAY_MS, own);
    let rtt = snapshot.rtcp.rtt_ms;
    values.put_some(id::ONE_WAY_DELAY_MS, rtt.map(|rtt| rtt / 2.0 + own));

    let Some(loss_percent) = window.ppl_pct else {
        return false;
    };
    if window.mixed_payload_types || window.silent_over_2s {
        return false;
    }
    let rating = Rating::new(&Parameters::g711(Observed {
        delay_ms: own + rtt.unwrap_or_default() / 2.0,
        loss_percent,
        burst_ratio: window.burst_ratio,
    }));
    values.put(id::R_FACTOR, rating.r());
    values.put(id::MOS, rating.mos());
    values.put(id::MOS_LQ, rating.mos_listening());
    values.put(id::MOS_CQ, rating.mos());
    if let Some(shares) = rating.degradation() {
        values.put(id::MOS_DEGRADATION_CODEC, shares.codec);
        values.put(id::MOS_DEGRADATION_LOSS, shares.loss);
        values.put(id::MOS_DEGRADATION_DELAY, shares.delay);
    }
    rtt.is_none()
}
