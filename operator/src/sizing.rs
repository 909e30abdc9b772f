//! Requests and limits of a worker, from the capacity table that the product documents.

use std::collections::BTreeMap;

use callmeter_api::pool::Media;
use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
};

/// One row of the table: up to this many audio endpoints.
struct Row {
    endpoints: u32,
    cpu_request: u32,
    cpu_limit: u32,
    memory: &'static str,
}

/// A capacity takes the first row that holds it. The row up to 100 asks for less than it may use:
/// the table gives a range there.
const TABLE: [Row; 5] = [
    Row {
        endpoints: 25,
        cpu_request: 1,
        cpu_limit: 1,
        memory: "512Mi",
    },
    Row {
        endpoints: 50,
        cpu_request: 2,
        cpu_limit: 2,
        memory: "1Gi",
    },
    Row {
        endpoints: 100,
        cpu_request: 2,
        cpu_limit: 4,
        memory: "2Gi",
    },
    Row {
        endpoints: 200,
        cpu_request: 4,
        cpu_limit: 4,
        memory: "4Gi",
    },
    Row {
        endpoints: 500,
        cpu_request: 8,
        cpu_limit: 8,
        memory: "8Gi",
    },
];

/// Video takes this many times the CPU of audio.
const VIDEO_CPU: u32 = 4;

/// Requests and limits for a capacity; `None` above the table, where only the user can tell.
pub(crate) fn documented(endpoints: u32, media: Media) -> Option<ResourceRequirements> {
    let row = TABLE.iter().find(|row| endpoints <= row.endpoints)?;
    let factor = match media {
        Media::Audio => 1,
        Media::AudioVideo => VIDEO_CPU,
    };
    let amounts = |cpu: u32| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity((cpu * factor).to_string())),
            ("memory".to_owned(), Quantity(row.memory.to_owned())),
        ])
    };
    Some(ResourceRequirements {
        requests: Some(amounts(row.cpu_request)),
        limits: Some(amounts(row.cpu_limit)),
        claims: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(endpoints: u32, media: Media) -> Option<[String; 4]> {
        let resources = documented(endpoints, media)?;
        let (requests, limits) = (resources.requests?, resources.limits?);
        Some(
            [
                &requests["cpu"],
                &limits["cpu"],
                &requests["memory"],
                &limits["memory"],
            ]
            .map(|q| q.0.clone()),
        )
    }

    /// R80
    #[test]
    fn both_edges_of_every_row() {
        for (low, high, expected) in [
            (1, 25, ["1", "1", "512Mi", "512Mi"]),
            (26, 50, ["2", "2", "1Gi", "1Gi"]),
            (51, 100, ["2", "4", "2Gi", "2Gi"]),
            (101, 200, ["4", "4", "4Gi", "4Gi"]),
            (201, 500, ["8", "8", "8Gi", "8Gi"]),
        ] {
            assert_eq!(texts(low, Media::Audio).unwrap(), expected, "{low}");
            assert_eq!(texts(high, Media::Audio).unwrap(), expected, "{high}");
        }
        assert_eq!(texts(501, Media::Audio), None);
    }

    #[test]
    fn video_takes_four_times_the_cpu() {
        assert_eq!(
            texts(100, Media::AudioVideo).unwrap(),
            ["8", "16", "2Gi", "2Gi"]
        );
    }
}
