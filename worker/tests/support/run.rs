//! A run as a gateway would give it out, and what came back of it.

use std::collections::BTreeMap;

use callmeter_metrics::by_key;
use callmeter_proto::worker::{
    Account, Assign, Audio, Call, Direction, EndpointEvent, GroupPeers, Header, Load, Outcome,
    Registrar, Role, RunEnded, SampleRow, Start, endpoint_event::What, from_worker::Message as Up,
    to_worker::Message as Down,
};

use super::{gateway::Peer, soon};

/// One group of a run.
#[derive(Clone)]
pub struct Group {
    pub name: &'static str,
    pub role: Role,
    pub count: u32,
    pub call_ms: u32,
    pub ring_ms: u32,
    pub repeat: bool,
    pub run_ms: u32,
    /// Calls begin evenly spread over this time.
    pub start_over_ms: u32,
    pub codec: &'static str,
    pub registrar: Option<Registrar>,
    pub accounts: Vec<Account>,
    pub peers: Vec<String>,
    /// Header fields of a hundred bytes that its INVITEs have more.
    pub fill: usize,
    pub accept_external: bool,
    /// Marking of its RTP.
    pub dscp: u32,
    /// The callees its callers without `peers` call; none: the first group of callees.
    pub dials: Option<&'static str>,
    /// All that has no field here.
    pub more: Assign,
}

impl Group {
    pub fn new(name: &'static str, role: Role, count: u32) -> Self {
        Self {
            name,
            role,
            count,
            call_ms: 1000,
            ring_ms: 0,
            repeat: false,
            run_ms: 4000,
            start_over_ms: count * 20,
            codec: "pcma",
            registrar: None,
            accounts: Vec::new(),
            peers: Vec::new(),
            fill: 0,
            accept_external: false,
            dscp: 46,
            dials: None,
            more: Assign::default(),
        }
    }

    fn start_offsets(&self) -> impl Iterator<Item = u32> {
        let (over, count) = (u64::from(self.start_over_ms), u64::from(self.count));
        (0..count).map(move |index| (index * over / count) as u32)
    }

    pub fn assign(&self, seq: u64, run: &str) -> Assign {
        let payload_type = if self.codec == "pcma" { 8 } else { 0 };
        Assign {
            seq,
            run: run.into(),
            group: self.name.into(),
            first: 0,
            count: self.count,
            role: self.role.into(),
            registrar: self.registrar.clone(),
            accounts: self.accounts.clone(),
            peers: self.peers.clone(),
            headers: (0..self.fill).map(filling).collect(),
            audio: Some(Audio {
                codec: self.codec.into(),
                payload_type,
                ptime_ms: 20,
                dscp: self.dscp,
            }),
            load: Some(Load {
                start_offsets_ms: self.start_offsets().collect(),
                ..Load::default()
            }),
            call: Some(Call {
                duration_ms: self.call_ms,
                ring_ms: self.ring_ms,
                repeat: self.repeat,
                ..self.more.call.unwrap_or_default()
            }),
            duration_ms: self.run_ms,
            accept_external: self.accept_external,
            start_within_ms: 20_000,
            ..self.more.clone()
        }
    }
}

fn filling(number: usize) -> Header {
    Header {
        name: format!("X-Fill-{number}"),
        value: "x".repeat(88),
    }
}

/// Everything a worker said about one run.
#[derive(Debug, Default)]
pub struct Told {
    pub events: Vec<EndpointEvent>,
    pub rows: Vec<SampleRow>,
    pub ended: Option<RunEnded>,
}

impl Told {
    pub fn take(&mut self, message: &Up) {
        match message {
            Up::Events(events) => self.events.extend(events.events.iter().cloned()),
            Up::Samples(samples) => self.rows.extend(samples.rows.iter().cloned()),
            Up::RunEnded(ended) => self.ended = Some(ended.clone()),
            _ => {}
        }
    }

    /// This and what another worker said about its part of the run.
    pub fn with(mut self, other: Self) -> Self {
        self.events.extend(other.events);
        self.rows.extend(other.rows);
        self
    }

    /// Contacts of the READY endpoints of a group by index.
    pub fn contacts(&self, group: &str) -> BTreeMap<u32, String> {
        let ready = |event: &EndpointEvent| match &event.what {
            Some(What::Ready(ready)) if event.group == group => {
                Some((event.endpoint, ready.contact.clone()))
            }
            _ => None,
        };
        self.events.iter().filter_map(ready).collect()
    }

    /// Outcomes of the ended calls of a group, with their details.
    pub fn calls(&self, group: &str) -> Vec<(Outcome, String)> {
        let ended = |event: &EndpointEvent| match &event.what {
            Some(What::CallEnded(call)) if event.group == group => Some((
                call.outcome(),
                format!("{} {}", call.sip_status, call.detail),
            )),
            _ => None,
        };
        self.events.iter().filter_map(ended).collect()
    }

    /// Calls that did not end as planned, of all groups.
    pub fn failed(&self) -> Vec<String> {
        let groups: std::collections::BTreeSet<_> = self.events.iter().map(|e| &e.group).collect();
        let all = groups.into_iter().flat_map(|group| self.calls(group));
        all.filter(|(outcome, _)| *outcome != Outcome::Success)
            .map(|(outcome, detail)| format!("{outcome:?} {detail}"))
            .collect()
    }

    /// Sum of a counter metric over all rows of a group.
    pub fn sum(&self, group: &str, key: &str, direction: Direction) -> i64 {
        let id = id_of(key);
        let mine =
            |row: &&SampleRow| row.group == group && row.direction() == direction && !row.per_call;
        let values = self.rows.iter().filter(mine).flat_map(|row| &row.values);
        whole(
            values
                .filter(|value| value.metric == id)
                .map(|value| value.value)
                .sum(),
        )
    }

    /// The values a metric has in the rows of a group, in the order they came.
    pub fn values(&self, group: &str, key: &str) -> Vec<f64> {
        let id = id_of(key);
        let rows = self.rows.iter().filter(|row| row.group == group);
        rows.flat_map(|row| &row.values)
            .filter(|value| value.metric == id)
            .map(|value| value.value)
            .collect()
    }

    /// SIP messages sent again or received again, of all endpoints.
    pub fn retransmissions(&self) -> i64 {
        let counters: Vec<u32> = ["sip_retransmissions", "sip_retransmissions_recv"]
            .map(id_of)
            .into();
        let values = self.rows.iter().flat_map(|row| &row.values);
        let wanted = values.filter(|value| counters.contains(&value.metric));
        whole(wanted.map(|value| value.value).sum())
    }

    /// Ids of all metrics that have a value.
    pub fn metrics(&self) -> std::collections::BTreeSet<u32> {
        self.rows
            .iter()
            .flat_map(|row| &row.values)
            .map(|value| value.metric)
            .collect()
    }
}

/// The number of a metric in rows.
pub fn id_of(key: &str) -> u32 {
    let metric = by_key(key);
    metric.unwrap_or_else(|| panic!("no metric {key}")).id.0
}

/// A counter is a whole number.
fn whole(value: f64) -> i64 {
    assert!(value.fract().abs() < f64::EPSILON, "{value}");
    value as i64
}

/// Assigns the groups, waits until every answering endpoint is READY or has ended, and starts
/// the run; callers without peers of their own call the contacts of `callees`.
pub async fn begin(peer: &mut Peer, run: &str, groups: &[Group]) -> Told {
    let told = ready(peer, run, groups).await;
    start(peer, &told, run, groups).await;
    told
}

/// Assigns the groups and waits until every endpoint is READY or has ended.
pub async fn ready(peer: &mut Peer, run: &str, groups: &[Group]) -> Told {
    let mut told = Told::default();
    for (index, group) in groups.iter().enumerate() {
        peer.send(Down::Assign(group.assign(index as u64 + 1, run)))
            .await;
    }
    let all: u32 = groups.iter().map(|group| group.count).sum();
    soon("all endpoints are READY or have ended", async {
        while settled(&told) < all {
            let message = peer.next().await.expect("the stream goes on");
            told.take(&message);
        }
    })
    .await;
    told
}

/// Starts a run whose endpoints are READY.
pub async fn start(peer: &mut Peer, told: &Told, run: &str, groups: &[Group]) {
    let seq = groups.len() as u64 + 1;
    peer.send(Down::Start(start_of(told, seq, run, groups)))
        .await;
}

/// The message that starts a run whose answering endpoints are READY.
pub fn start_of(told: &Told, seq: u64, run: &str, groups: &[Group]) -> Start {
    let mut peers = Vec::new();
    for group in groups
        .iter()
        .filter(|group| group.role == Role::Caller && group.peers.is_empty())
    {
        let callees = groups
            .iter()
            .find(|callees| match group.dials {
                Some(name) => callees.name == name,
                None => callees.role == Role::Callee,
            })
            .expect("callees");
        let contacts = told.contacts(callees.name);
        let of = |index: u32| {
            contacts
                .get(&(index % callees.count))
                .cloned()
                .unwrap_or_default()
        };
        peers.push(GroupPeers {
            group: group.name.into(),
            first: 0,
            peers: (0..group.count).map(of).collect(),
        });
    }
    Start {
        seq,
        run: run.into(),
        peers,
    }
}

/// Endpoints that are READY or have ended.
pub fn settled(told: &Told) -> u32 {
    let settles =
        |event: &&EndpointEvent| matches!(event.what, Some(What::Ready(_) | What::Ended(_)));
    let endpoints: std::collections::BTreeSet<_> = told
        .events
        .iter()
        .filter(settles)
        .map(|e| (e.group.clone(), e.endpoint))
        .collect();
    endpoints.len() as u32
}

/// Reads on until the run has ended.
pub async fn finish(peer: &mut Peer, told: &mut Told, patience: std::time::Duration) -> RunEnded {
    let read = async {
        while told.ended.is_none() {
            let message = peer.next().await.expect("the stream goes on");
            told.take(&message);
        }
    };
    let ended = tokio::time::timeout(patience, read).await;
    assert!(
        ended.is_ok(),
        "the run has not ended within {patience:?}: {told:?}"
    );
    told.ended.clone().expect("read until it came")
}

/// The totals must be what was sent: rows per endpoint, rows in all, calls.
pub fn assert_complete(told: &Told) {
    let ended = told.ended.as_ref().expect("the run has ended");
    assert_eq!(
        (ended.rows_sent, ended.rows_dropped),
        (told.rows.len() as u64, 0)
    );
    for share in &ended.shares {
        for (offset, rows) in share.rows_per_endpoint.iter().enumerate() {
            let endpoint = share.first + offset as u32;
            let got = told
                .rows
                .iter()
                .filter(|r| r.group == share.group && r.endpoint == endpoint);
            assert_eq!(
                got.count() as u64,
                *rows,
                "rows of {} {endpoint}",
                share.group
            );
        }
        let total: u64 = share.calls.iter().map(|count| count.calls).sum();
        assert_eq!(
            told.calls(&share.group).len() as u64,
            total,
            "calls of {}",
            share.group
        );
        let is_end =
            |e: &&EndpointEvent| e.group == share.group && matches!(e.what, Some(What::Ended(_)));
        assert_eq!(
            told.events.iter().filter(is_end).count() as u32,
            share.count,
            "{}",
            share.group
        );
    }
}
