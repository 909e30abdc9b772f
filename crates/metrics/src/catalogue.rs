//! The table of metrics: one entry per metric, whatever the number of directions.

mod audio;
mod buffer;
mod network;
mod quality;
mod rtp;
mod signalling;
mod timing;
mod video;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Raised whenever a metric is added or the meaning of one changes; ids are never used again.
pub const CATALOGUE_VERSION: u32 = 4;

/// Number of a metric; stored and sent instead of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricId(pub u32);

impl fmt::Display for MetricId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Families of metrics (R103).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// SIP signalling.
    Signalling,
    /// Call timing.
    Timing,
    /// RTP transport.
    Rtp,
    /// Jitter buffer.
    Buffer,
    /// Codec and audio.
    Audio,
    /// Video and feedback.
    Video,
    /// Network, security and the generator itself.
    Network,
    /// Quality scores.
    Quality,
}

impl Category {
    /// All families, in the order of the catalogue.
    pub const ALL: [Self; 8] = [
        Self::Signalling,
        Self::Timing,
        Self::Rtp,
        Self::Buffer,
        Self::Audio,
        Self::Video,
        Self::Network,
        Self::Quality,
    ];

    /// Heading of the family.
    pub fn title(self) -> &'static str {
        match self {
            Self::Signalling => "SIP signalling",
            Self::Timing => "Call timing",
            Self::Rtp => "RTP transport",
            Self::Buffer => "Jitter buffer",
            Self::Audio => "Codec and audio",
            Self::Video => "Video and feedback",
            Self::Network => "Network, security and the generator itself",
            Self::Quality => "Quality scores",
        }
    }
}

/// How often a metric has a value, and what the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A level of the second.
    Gauge,
    /// The increment of the second (negative only for `packets_lost`, when duplicates arrive).
    Counter,
    /// One value per call, or (call 0) per registration or OPTIONS.
    PerCall,
    /// Worked out from other metrics at the end; no row carries it.
    Aggregate,
    /// Counts over fixed buckets.
    Distribution,
}

/// Which directions of an endpoint have the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The endpoint or call as a whole.
    Undirected,
    /// What the endpoint sends.
    Send,
    /// What the endpoint receives.
    Recv,
    /// Both, as separate values.
    Both,
}

/// How the values of many rows become one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Added up.
    Sum,
    /// Kept as a mergeable histogram: count, mean, min, max, percentiles over the values.
    Distribution,
    /// Added up over endpoints second by second, then a histogram over the seconds.
    Level,
    /// Counted by value (codes and enumerations; see [`crate::labels`]).
    Tally,
    /// Share of true values, in percent.
    Share,
    /// Bucket by bucket.
    Buckets,
    /// Worked out from others by [`crate::derive`].
    Derived,
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its number.
    pub id: MetricId,
    /// Its name in the API, in columns and conditions.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// How often it has a value.
    pub kind: Kind,
    /// Which directions have it.
    pub direction: Direction,
    /// How rows become one figure.
    pub aggregation: Aggregation,
    /// The family it belongs to.
    pub category: Category,
    /// True if workers of this version measure it; else it is planned and never has a value.
    pub measured: bool,
    /// What exactly it is.
    pub definition: &'static str,
    /// Where the definition comes from; `own` where it is ours.
    pub source: &'static str,
}

/// Turns the lines of a family into constants of ids and the family's part of the table.
macro_rules! metrics {
    (
        $(#[$doc:meta])* $table:ident in $category:ident :: $family:ident;
        $($name:ident = $id:literal, $key:literal, $title:literal, $unit:literal,
          $kind:ident, $direction:ident, $aggregation:ident, $state:ident,
          $definition:literal, $source:literal;)*
    ) => {
        use super::{Aggregation, Category, Direction, Kind, Metric, MetricId};

        $(#[$doc])*
        pub(super) const $table: &[Metric] = &[$(Metric {
            id: MetricId($id),
            key: $key,
            name: $title,
            unit: $unit,
            kind: Kind::$kind,
            direction: Direction::$direction,
            aggregation: Aggregation::$aggregation,
            category: $category::$family,
            measured: metrics!(@$state),
            definition: $definition,
            source: $source,
        }),*];

        $(
            #[doc = concat!($title, ": ", $definition)]
            pub const $name: MetricId = MetricId($id);
        )*
    };
    (@measured) => { true };
    (@planned) => { false };
}
use metrics;

/// Every metric's id by name.
pub mod id {
    pub use super::audio::*;
    pub use super::buffer::*;
    pub use super::network::*;
    pub use super::quality::*;
    pub use super::rtp::*;
    pub use super::signalling::*;
    pub use super::timing::*;
    pub use super::video::*;
}

const PARTS: [&[Metric]; 8] = [
    signalling::SIGNALLING,
    timing::TIMING,
    rtp::RTP,
    buffer::BUFFER,
    audio::AUDIO,
    video::VIDEO,
    network::NETWORK,
    quality::QUALITY,
];

const COUNT: usize = {
    let mut count = 0;
    let mut part = 0;
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// Every metric, by ascending id: the metric with id n stands at n − 1.
pub static CATALOGUE: [Metric; COUNT] = {
    let mut all = [PARTS[0][0]; COUNT];
    let mut part = 0;
    while part < PARTS.len() {
        let mut i = 0;
        while i < PARTS[part].len() {
            all[PARTS[part][i].id.0 as usize - 1] = PARTS[part][i];
            i += 1;
        }
        part += 1;
    }
    all
};

/// The metric of an id; `None` for an id of a newer catalogue.
pub fn by_id(id: MetricId) -> Option<&'static Metric> {
    CATALOGUE.get((id.0 as usize).checked_sub(1)?)
}

/// The metric of a key, such as `mos`.
pub fn by_key(key: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().find(|metric| metric.key == key)
}

/// The metrics that workers of this version measure, by ascending id.
pub fn measured() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().filter(|metric| metric.measured)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_keys_are_unique_and_without_gaps() {
        let mut keys = HashSet::new();
        for (index, metric) in CATALOGUE.iter().enumerate() {
            assert_eq!(metric.id.0 as usize, index + 1, "{}", metric.key);
            assert!(keys.insert(metric.key), "{} twice", metric.key);
            assert_eq!(by_key(metric.key), Some(metric));
            assert_eq!(by_id(metric.id), Some(metric));
        }
        assert!(CATALOGUE.len() >= 195);
        assert_eq!(by_id(MetricId(0)), None);
        assert_eq!(by_id(MetricId(CATALOGUE.len() as u32 + 1)), None);
    }

    /// R102, R103
    #[test]
    fn over_sixty_metrics_are_measured_and_no_family_of_audio_is_empty() {
        assert!(measured().count() > 60, "{}", measured().count());
        for category in Category::ALL {
            let any = measured().any(|metric| metric.category == category);
            assert_eq!(any, category != Category::Video, "{category:?}");
        }
    }

    #[test]
    fn kind_and_aggregation_agree() {
        for metric in &CATALOGUE {
            let fits = match metric.kind {
                Kind::Aggregate => metric.aggregation == Aggregation::Derived,
                Kind::Distribution => metric.aggregation == Aggregation::Buckets,
                Kind::Gauge | Kind::Counter | Kind::PerCall => !matches!(
                    metric.aggregation,
                    Aggregation::Derived | Aggregation::Buckets
                ),
            };
            assert!(fits, "{}", metric.key);
            assert!(!metric.definition.contains("  "), "{}", metric.key);
        }
    }

    /// The keys CallMeter publishes are spelt the same.
    #[test]
    fn published_keys_keep_their_numbers() {
        for (number, key) in [
            (63, "packets_sent"),
            (64, "packets_received"),
            (72, "fraction_lost"),
            (83, "jitter_ms"),
            (101, "unexpected_source_packets"),
            (155, "rtt_ms"),
            (173, "r_factor"),
            (174, "mos"),
            (188, "tx_lateness_max_ms"),
            (195, "generator_limited"),
        ] {
            assert_eq!(by_id(MetricId(number)).map(|m| m.key), Some(key));
        }
    }
}
