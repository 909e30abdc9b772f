//! One engine and what it said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use callmeter_engine::{
    EndpointEvent, Engine, MetricId, Outcome, Phase, SampleRow, ShareId, ShareTotals, What,
};
use callmeter_metrics::Aggregate;

/// One engine and everything it said.
pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) ip: IpAddr,
    pub(crate) ports: HashMap<ShareId, SocketAddr>,
    pub(crate) events: Vec<EndpointEvent>,
    pub(crate) rows: Vec<(ShareId, u32, SampleRow)>,
    pub(crate) ended: Vec<(ShareId, ShareTotals)>,
    pub(crate) closed: Vec<ShareId>,
}

impl Site {
    /// The contact of each endpoint that is READY, by index.
    pub(crate) fn contacts(&self, share: u32) -> Vec<String> {
        self.ready(share)
            .into_iter()
            .map(|(contact, _)| contact)
            .collect()
    }

    /// The address of record of each endpoint that is READY, by index.
    pub(crate) fn aors(&self, share: u32) -> Vec<String> {
        self.ready(share).into_iter().map(|(_, aor)| aor).collect()
    }

    fn ready(&self, share: u32) -> Vec<(String, String)> {
        let mut found = BTreeMap::new();
        for event in self
            .events
            .iter()
            .filter(|event| event.share == ShareId(share))
        {
            if let What::Ready { contact, aor } = &event.what {
                found.insert(event.endpoint, (contact.clone(), aor.clone()));
            }
        }
        found.into_values().collect()
    }

    /// Outcome, status and detail of every call of a share, in the order they ended.
    pub(crate) fn calls(&self, share: u32) -> Vec<(Outcome, Option<u16>, String)> {
        let of_share = self
            .events
            .iter()
            .filter(|event| event.share == ShareId(share));
        of_share
            .filter_map(|event| match &event.what {
                What::CallEnded {
                    outcome,
                    sip_status,
                    detail,
                    ..
                } => Some((*outcome, *sip_status, detail.clone())),
                _ => None,
            })
            .collect()
    }

    /// Whose INVITE left when, in ms since the start of a share that was started as soon as it was
    /// received; 1 ms before each, a port was asked for.
    pub(crate) fn invites(&self, share: u32) -> Vec<(u32, u64)> {
        let of_share = self
            .events
            .iter()
            .filter(|event| event.share == ShareId(share));
        of_share
            .filter(|event| event.what == What::Phase(Phase::Calling))
            .map(|event| (event.endpoint, event.at.as_millis() as u64 - 1))
            .collect()
    }

    /// Final outcome of every endpoint of a share that has ended, by index.
    pub(crate) fn endpoints(&self, share: u32) -> BTreeMap<u32, Option<Outcome>> {
        let of_share = self
            .events
            .iter()
            .filter(|event| event.share == ShareId(share));
        of_share
            .filter_map(|event| match &event.what {
                What::Ended { outcome, .. } => Some((event.endpoint, *outcome)),
                _ => None,
            })
            .collect()
    }

    /// Phases of one call (0: of the endpoint), in order.
    pub(crate) fn phases(&self, share: u32, endpoint: u32, call: u32) -> Vec<Phase> {
        let of_call = self.events.iter().filter(|event| {
            event.share == ShareId(share) && event.endpoint == endpoint && event.call == call
        });
        of_call
            .filter_map(|event| match event.what {
                What::Phase(phase) => Some(phase),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn totals(&self, share: u32) -> &ShareTotals {
        &self
            .ended
            .iter()
            .find(|(id, _)| *id == ShareId(share))
            .expect("the share to end")
            .1
    }

    /// Every value of a metric of a share, in the order it came.
    pub(crate) fn values(&self, share: u32, metric: MetricId) -> Vec<f64> {
        self.rows_of(share)
            .flat_map(|row| row.values.iter())
            .filter(|value| value.metric == metric)
            .map(|value| value.value)
            .collect()
    }

    pub(crate) fn sum(&self, share: u32, metric: MetricId) -> f64 {
        self.values(share, metric).iter().sum()
    }

    pub(crate) fn rows_of(&self, share: u32) -> impl Iterator<Item = &SampleRow> {
        self.rows
            .iter()
            .filter(move |(id, ..)| *id == ShareId(share))
            .map(|(_, _, row)| row)
    }

    /// All rows of a share as the gateway would sum them up; panics on a value out of place.
    pub(crate) fn aggregate(&self, share: u32) -> Aggregate {
        let mut aggregate = Aggregate::new();
        for (_, second, row) in self.rows.iter().filter(|(id, ..)| *id == ShareId(share)) {
            for value in &row.values {
                aggregate
                    .add(*second, row.direction, value.metric, value.value)
                    .unwrap();
            }
        }
        aggregate
    }

    /// Rows are unique, and as many as the totals say.
    pub(crate) fn assert_rows_add_up(&self, share: u32) {
        let mut seen = HashSet::new();
        let totals = self.totals(share);
        let mut counted = vec![0_u64; totals.count as usize];
        for (id, second, row) in &self.rows {
            if *id == ShareId(share) {
                let key = (*second, row.endpoint, row.call, row.direction, row.per_call);
                assert!(seen.insert(key), "row twice: {key:?}");
                let metrics: HashSet<_> = row.values.iter().map(|value| value.metric).collect();
                assert_eq!(
                    metrics.len(),
                    row.values.len(),
                    "a metric twice: {key:?} {row:?}"
                );
                counted[(row.endpoint - totals.first) as usize] += 1;
            }
        }
        assert_eq!(counted, totals.rows_per_endpoint);
    }
}
