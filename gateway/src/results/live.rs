//! The last complete second of a run, for the terminal and the page.

use callmeter_metrics::{Aggregate, MetricId, id};
use serde::Serialize;

use super::{GroupResults, RunResults};

/// Rows of the newest seconds may still be on their way.
const INCOMPLETE_SECONDS: u32 = 2;

/// Figures of one second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveFigures {
    /// Second since the start of the run.
    pub second: u32,
    /// By group, in the order of the definition.
    pub groups: Vec<LiveGroup>,
}

/// One group in one second; what was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveGroup {
    /// Mean MOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// 5th percentile of MOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_p05: Option<f64>,
    /// Mean interarrival jitter, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Mean loss, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
    /// Mean round-trip time, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// RTP packets sent in this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<f64>,
    /// RTP packets received in this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<f64>,
    /// The workers' own send lateness, 99th percentile, the worst endpoint's; milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_lateness_p99_ms: Option<f64>,
}

impl RunResults {
    /// The newest second of which all rows should have come.
    pub fn live(&self) -> LiveFigures {
        let newest = self
            .groups
            .iter()
            .filter_map(|g| g.recent.keys().next_back().copied())
            .max();
        let second = newest.unwrap_or(0).saturating_sub(INCOMPLETE_SECONDS);
        LiveFigures {
            second,
            groups: self.groups.iter().map(|g| g.live(second)).collect(),
        }
    }
}

impl GroupResults {
    fn live(&self, second: u32) -> LiveGroup {
        let Some(of) = self.recent.get(&second) else {
            return LiveGroup::default();
        };
        LiveGroup {
            mos: mean(of, id::MOS),
            mos_p05: of.histogram(id::MOS).and_then(|h| h.quantile(0.05)),
            jitter_ms: mean(of, id::JITTER_MS),
            loss_percent: mean(of, id::FRACTION_LOST),
            rtt_ms: mean(of, id::RTT_MS),
            packets_sent: of.total(id::PACKETS_SENT),
            packets_received: of.total(id::PACKETS_RECEIVED),
            tx_lateness_p99_ms: of.histogram(id::TX_LATENESS_P99_MS).and_then(|h| h.max()),
        }
    }
}

/// Arithmetic mean of a distribution.
pub(super) fn mean(of: &Aggregate, metric: MetricId) -> Option<f64> {
    of.histogram(metric).and_then(|h| h.mean())
}
