//! Sample rows of a run or group become one summary per metric and direction.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Aggregation, Direction, MetricId, by_id};
use crate::histogram::Histogram;

/// Direction of a sample row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowDirection {
    /// The endpoint or call as a whole.
    None,
    /// What the endpoint sends.
    Send,
    /// What the endpoint receives.
    Recv,
}

impl RowDirection {
    /// Whether a metric of the catalogue's direction may stand in such a row.
    pub fn allows(self, direction: Direction) -> bool {
        matches!(
            (direction, self),
            (Direction::Undirected, Self::None)
                | (Direction::Send, Self::Send)
                | (Direction::Recv, Self::Recv)
                | (Direction::Both, Self::Send | Self::Recv)
        )
    }

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Send => "send",
            Self::Recv => "recv",
        }
    }
}

/// Why a value was not taken into an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The id is not in this catalogue.
    Unknown(MetricId),
    /// The metric has no such direction.
    Direction(MetricId, RowDirection),
    /// No row carries such a metric (it is derived, or counted in buckets).
    NotASample(MetricId),
    /// The value is not finite, or no code where one is counted.
    Value(MetricId),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "metric {id} is not in this catalogue"),
            Self::Direction(id, direction) => {
                write!(f, "metric {id} has no direction {}", direction.as_str())
            }
            Self::NotASample(id) => write!(f, "metric {id} is derived and carried by no row"),
            Self::Value(id) => write!(f, "metric {id}: the value must be a finite number"),
        }
    }
}

impl std::error::Error for Refused {}

/// The values of one metric in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cell {
    Sum {
        count: u64,
        sum: f64,
    },
    Distribution(Histogram),
    /// Sums over endpoints by second.
    Level(BTreeMap<u32, f64>),
    Tally(BTreeMap<u32, u64>),
    Share {
        count: u64,
        yes: u64,
    },
}

/// What many rows say together. Merging in any order and grouping gives the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Aggregate {
    #[serde(with = "pairs")]
    cells: BTreeMap<(MetricId, RowDirection), Cell>,
}

/// Figures of one metric in one direction; what does not apply to its aggregation is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The metric.
    pub metric: MetricId,
    /// The direction of the rows.
    pub direction: RowDirection,
    /// How many values (of a level: seconds) went in.
    pub count: u64,
    /// Total of a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// Arithmetic mean; of a share: percent of true values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Smallest value, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest value, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Counts by value of codes and enumerations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tally: BTreeMap<u32, u64>,
}

impl Aggregate {
    /// An aggregate of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the value a row of `second` (counted from the run's start) carries.
    pub fn add(
        &mut self,
        second: u32,
        direction: RowDirection,
        metric: MetricId,
        value: f64,
    ) -> Result<(), Refused> {
        let known = by_id(metric).ok_or(Refused::Unknown(metric))?;
        if !direction.allows(known.direction) {
            return Err(Refused::Direction(metric, direction));
        }
        if !value.is_finite() {
            return Err(Refused::Value(metric));
        }
        let empty = Cell::new(known.aggregation).ok_or(Refused::NotASample(metric))?;
        let is_code = value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
        if matches!(empty, Cell::Tally(_)) && !is_code {
            return Err(Refused::Value(metric));
        }
        self.cells
            .entry((metric, direction))
            .or_insert(empty)
            .add(second, value);
        Ok(())
    }

    /// Adds everything another aggregate holds. Levels of equal seconds are added up: both must
    /// count seconds from the start of the same run.
    pub fn merge(&mut self, other: &Self) {
        for (key, cell) in &other.cells {
            match self.cells.get_mut(key) {
                Some(own) => own.merge(cell),
                None => {
                    self.cells.insert(*key, cell.clone());
                }
            }
        }
    }

    /// The summaries of everything that was measured, by metric and direction.
    pub fn summaries(&self) -> Vec<Summary> {
        self.cells
            .iter()
            .map(|(&(metric, direction), cell)| cell.summary(metric, direction))
            .collect()
    }

    /// The summary of one metric in one direction; `None` if it was not measured.
    pub fn summary(&self, metric: MetricId, direction: RowDirection) -> Option<Summary> {
        self.cells
            .get(&(metric, direction))
            .map(|cell| cell.summary(metric, direction))
    }

    /// The distribution of a metric over both directions, or of its undirected rows; `None` if it
    /// was not measured or is no distribution.
    pub fn histogram(&self, metric: MetricId) -> Option<Histogram> {
        let mut merged = Histogram::new();
        for (_, cell) in self.cells_of(metric) {
            if let Cell::Distribution(histogram) = cell {
                merged.merge(histogram);
            }
        }
        (merged.count() > 0).then_some(merged)
    }

    /// Total of a counter over all directions; `None` if it was not measured.
    pub fn total(&self, metric: MetricId) -> Option<f64> {
        let mut total = None;
        for (_, cell) in self.cells_of(metric) {
            if let Cell::Sum { sum, .. } = cell {
                *total.get_or_insert(0.0) += sum;
            }
        }
        total
    }

    /// Counts by value of a code or enumeration; `None` if it was not measured.
    pub fn tally(&self, metric: MetricId) -> Option<&BTreeMap<u32, u64>> {
        self.cells_of(metric).find_map(|(_, cell)| match cell {
            Cell::Tally(counts) => Some(counts),
            _ => None,
        })
    }

    fn cells_of(&self, metric: MetricId) -> impl Iterator<Item = (&RowDirection, &Cell)> {
        self.cells
            .range((metric, RowDirection::None)..=(metric, RowDirection::Recv))
            .map(|((_, direction), cell)| (direction, cell))
    }
}

impl Cell {
    fn new(aggregation: Aggregation) -> Option<Self> {
        match aggregation {
            Aggregation::Sum => Some(Self::Sum { count: 0, sum: 0.0 }),
            Aggregation::Distribution => Some(Self::Distribution(Histogram::new())),
            Aggregation::Level => Some(Self::Level(BTreeMap::new())),
            Aggregation::Tally => Some(Self::Tally(BTreeMap::new())),
            Aggregation::Share => Some(Self::Share { count: 0, yes: 0 }),
            Aggregation::Buckets | Aggregation::Derived => None,
        }
    }

    fn add(&mut self, second: u32, value: f64) {
        match self {
            Self::Sum { count, sum } => {
                *count += 1;
                *sum += value;
            }
            Self::Distribution(histogram) => {
                histogram.record(value);
            }
            Self::Level(seconds) => *seconds.entry(second).or_default() += value,
            Self::Tally(counts) => *counts.entry(value as u32).or_default() += 1,
            Self::Share { count, yes } => {
                *count += 1;
                *yes += u64::from(value != 0.0);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Sum { count, sum }, Self::Sum { count: n, sum: s }) => {
                *count += n;
                *sum += s;
            }
            (Self::Distribution(own), Self::Distribution(other)) => own.merge(other),
            (Self::Level(own), Self::Level(other)) => {
                for (second, value) in other {
                    *own.entry(*second).or_default() += value;
                }
            }
            (Self::Tally(own), Self::Tally(other)) => {
                for (code, n) in other {
                    *own.entry(*code).or_default() += n;
                }
            }
            (Self::Share { count, yes }, Self::Share { count: n, yes: y }) => {
                *count += n;
                *yes += y;
            }
            // The catalogue gives both the same form; stored aggregates of another version that
            // disagree keep the first.
            _ => {}
        }
    }

    fn summary(&self, metric: MetricId, direction: RowDirection) -> Summary {
        let mut summary = Summary {
            metric,
            direction,
            count: 0,
            sum: None,
            mean: None,
            min: None,
            max: None,
            p50: None,
            p95: None,
            p99: None,
            tally: BTreeMap::new(),
        };
        match self {
            Self::Sum { count, sum } => {
                summary.count = *count;
                summary.sum = Some(*sum);
            }
            Self::Distribution(histogram) => summary.fill(histogram),
            Self::Level(seconds) => {
                let mut histogram = Histogram::new();
                for &value in seconds.values() {
                    histogram.record(value);
                }
                summary.fill(&histogram);
            }
            Self::Tally(counts) => {
                summary.count = counts.values().sum();
                summary.tally.clone_from(counts);
            }
            Self::Share { count, yes } => {
                summary.count = *count;
                summary.sum = Some(*yes as f64);
                summary.mean = (*count > 0).then(|| *yes as f64 / *count as f64 * 100.0);
            }
        }
        summary
    }
}

impl Summary {
    fn fill(&mut self, histogram: &Histogram) {
        self.count = histogram.count();
        self.mean = histogram.mean();
        self.min = histogram.min();
        self.max = histogram.max();
        self.p50 = histogram.quantile(0.50);
        self.p95 = histogram.quantile(0.95);
        self.p99 = histogram.quantile(0.99);
    }
}

/// A map with composite keys as a list of pairs, which every format can hold.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Cell, MetricId, RowDirection};

    type Cells = BTreeMap<(MetricId, RowDirection), Cell>;

    pub(super) fn serialize<S: Serializer>(
        cells: &Cells,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(cells)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Cells, D::Error> {
        Ok(
            Vec::<((MetricId, RowDirection), Cell)>::deserialize(source)?
                .into_iter()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests;
