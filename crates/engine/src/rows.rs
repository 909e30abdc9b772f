//! What was measured, as rows of metric values.

mod call;
mod quality;
mod signalling;
mod stream;

use std::collections::BTreeMap;

use callmeter_metrics::{MetricId, RowDirection};

use crate::event::{MetricValue, SampleRow};

pub(crate) use call::{
    call_values, codec_values, connection_values, judge_audio, options_values, put_script,
    registration_values,
};
pub(crate) use signalling::{Counted, put_counts, signalling_values};
pub(crate) use stream::stream_values;

/// Values of one row. What is not finite is left out: unknown is absent.
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<MetricValue>);

impl Values {
    pub(crate) fn put(&mut self, metric: MetricId, value: f64) {
        if value.is_finite() {
            self.0.push(MetricValue { metric, value });
        }
    }

    pub(crate) fn put_some(&mut self, metric: MetricId, value: Option<f64>) {
        if let Some(value) = value {
            self.put(metric, value);
        }
    }

    /// A counter's increment: always in the first row of its owner, later only if it moved.
    pub(crate) fn count(&mut self, metric: MetricId, increment: i64, first: bool) {
        if first || increment != 0 {
            self.put(metric, increment as f64);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One row in the making: endpoint of the share, call, direction, figures of a whole call.
pub(crate) type RowKey = (u32, u32, RowDirection, bool);

/// Rows that are not handed out yet, by second.
#[derive(Debug)]
pub(crate) struct PendingRows {
    first_endpoint: u32,
    /// The second that is not complete yet.
    current: u32,
    seconds: BTreeMap<u32, BTreeMap<RowKey, SampleRow>>,
}

impl PendingRows {
    pub(crate) fn new(first_endpoint: u32) -> Self {
        Self {
            first_endpoint,
            current: 0,
            seconds: BTreeMap::new(),
        }
    }

    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    /// Adds values to a row of a second; a second already handed out becomes the current one.
    pub(crate) fn add(&mut self, second: u32, key: RowKey, values: Values) -> &mut SampleRow {
        let (index, call, direction, per_call) = key;
        let endpoint = self.first_endpoint + index;
        let rows = self.seconds.entry(second.max(self.current)).or_default();
        let row = rows.entry(key).or_insert_with(|| SampleRow {
            endpoint,
            call,
            direction,
            per_call,
            values: Vec::new(),
            generator_limited: false,
            delay_partial: false,
        });
        row.values.extend(values.0);
        row
    }

    /// Whether a row of the current second has a value of a metric.
    pub(crate) fn holds(&self, key: RowKey, metric: MetricId) -> bool {
        let rows = self.seconds.get(&self.current);
        let row = rows.and_then(|rows| rows.get(&key));
        row.is_some_and(|row| row.values.iter().any(|value| value.metric == metric))
    }

    /// Whether a stream of the endpoint broke a validity limit in a second.
    pub(crate) fn is_limited(&self, second: u32, index: u32) -> bool {
        let from = (index, 0, RowDirection::None, false);
        let to = (index, u32::MAX, RowDirection::Recv, true);
        let rows = self
            .seconds
            .get(&second)
            .into_iter()
            .flat_map(|rows| rows.range(from..=to));
        rows.into_iter().any(|(_, row)| row.generator_limited)
    }

    /// Marks all rows of an endpoint's second but those of whole calls.
    pub(crate) fn mark_limited(&mut self, second: u32, index: u32) {
        let from = (index, 0, RowDirection::None, false);
        let to = (index, u32::MAX, RowDirection::Recv, true);
        if let Some(rows) = self.seconds.get_mut(&second) {
            for (_, row) in rows.range_mut(from..=to).filter(|(key, _)| !key.3) {
                row.generator_limited = true;
            }
        }
    }

    /// Takes the rows of the current second, with the index of each row's endpoint in the share,
    /// and goes on to the next second.
    pub(crate) fn take_current(&mut self) -> (u32, Vec<(u32, SampleRow)>) {
        let second = self.current;
        self.current += 1;
        let rows = self.seconds.remove(&second).unwrap_or_default();
        (
            second,
            rows.into_iter().map(|(key, row)| (key.0, row)).collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }
}

#[cfg(test)]
mod tests;
