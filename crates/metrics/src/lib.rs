//! THE metric catalogue, its aggregation, and the E-model. Pure: no IO, no clock.
//!
//! - [`CATALOGUE`] is the one table from which the API, the docs page, the Prometheus names and
//!   the stored columns are derived.
//! - [`Histogram`] and [`Aggregate`] turn sample rows into summaries; both merge, so that
//!   percentiles over workers and groups come from merged histograms and never from averages.
//! - [`emodel`] is ITU-T G.107 in full.

mod aggregate;
mod catalogue;
mod derived;
pub mod emodel;
mod histogram;
pub mod labels;
mod markdown;

pub use aggregate::{Aggregate, Refused, RowDirection, Summary};
pub use catalogue::{
    Aggregation, CATALOGUE, CATALOGUE_VERSION, Category, Direction, Kind, Metric, MetricId, by_id,
    by_key, id, measured,
};
pub use derived::{GOOD_MOS, OutcomeTotals, derive};
pub use histogram::{Histogram, MalformedHistogram};
pub use markdown::catalogue_page;
