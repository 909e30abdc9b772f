//! What workers are told: shares, and whom the callers dial.

use std::time::Duration;

use callmeter_api::calltest::Codec;
use callmeter_proto::worker;

use self::part::Part;
use super::secrets::GroupSecrets;
use super::state::{PlacedShare, Run};
use crate::definition::{self, Credentials, Group, Load, Role, Target, ValidatedTest};

pub(super) mod part;
mod signalling;

/// How long an endpoint may take to register or listen: a REGISTER without any answer gives up
/// after 32 s (RFC 3261 timer F), and is tried once more.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(75);

/// A share that hears nothing for this long after its Assign ends: both waits for readiness, and a
/// worker that was away for a while in between.
const START_WITHIN: Duration = Duration::from_secs(240);

/// The message that gives a worker its share and the part of its group's calls that it has; without
/// number.
pub(super) fn assign(
    run: &str,
    test: &ValidatedTest,
    (share, part): (&PlacedShare, Option<&Part>),
    secrets: &GroupSecrets,
) -> worker::Assign {
    let group = &test.groups[share.group];
    let range = share.first as usize..(share.first + share.count) as usize;
    let of_share = |c: &Credentials| worker::Account {
        user: c.user.clone(),
        password: c.password.expose().to_owned(),
        auth_user: c.auth_user.clone(),
        realm: c.realm.clone(),
    };
    worker::Assign {
        seq: 0,
        run: run.to_owned(),
        group: group.name.clone(),
        first: share.first,
        count: share.count,
        role: role(group).into(),
        registrar: Some(signalling::registrar(group, secrets.tls.as_ref())),
        accounts: secrets
            .accounts
            .get(range.clone())
            .unwrap_or_default()
            .iter()
            .map(of_share)
            .collect(),
        // Given with Start: one way for URIs and for contacts known only then.
        peers: Vec::new(),
        audio: Some(worker::Audio {
            codec: codec(group.audio.codec).to_owned(),
            payload_type: payload_type(group.audio.codec),
            ptime_ms: group.audio.ptime_ms,
            dscp: u32::from(group.audio.dscp),
        }),
        load: Some(if group.calls() {
            let offsets = definition::start_offsets(group);
            worker::Load {
                start_offsets_ms: offsets.get(range).unwrap_or_default().to_vec(),
                at_once: part.map_or(0, |part| part.calls),
                ..load(group)
            }
        } else {
            worker::Load::default()
        }),
        call: Some(worker::Call {
            duration_ms: milliseconds(group.call.duration.unwrap_or(test.duration)),
            // A caller judges by it whether a call can still be answered within the run.
            ring_ms: milliseconds(match group.role {
                Role::Caller => definition::rings(test, share.group),
                Role::Callee | Role::Both => group.call.ring_for,
            }),
            repeat: group.call.repeat || group.calls_by_load(),
            repeat_pause_ms: milliseconds(definition::SETTLE),
            answer_code: u32::from(group.answer_code),
        }),
        duration_ms: milliseconds(test.duration),
        accept_external: group.target == Target::External,
        start_within_ms: milliseconds(START_WITHIN),
        session_timer: group.session_timer.map(signalling::session_timer),
        reliable: signalling::reliable(group.reliable).into(),
        headers: group.headers.iter().map(signalling::header).collect(),
        dtmf: signalling::dtmf(group.dtmf).into(),
        auth_in_dialog: group.auth_in_dialog,
        accept_transfers: group.accept_transfers,
        scenario: group.scenario.iter().map(signalling::action).collect(),
    }
}

/// Whom the callers of a share dial; an empty text stands for a callee that failed.
pub(super) fn peers(run: &Run, share: &PlacedShare, part: Option<&Part>) -> worker::GroupPeers {
    let group = &run.test.groups[share.group];
    let callee_of = |index: u32| match part {
        Some(part) => part.callee(index - share.first),
        None => index,
    };
    let peer = |index: u32| match &group.target {
        Target::Uri(uri) => uri.clone(),
        Target::Group(callees) => {
            let all = &run.endpoints[*callees];
            // In a group that calls itself nobody calls himself.
            let own = u32::from(*callees == share.group);
            let at = callee_of(index) + own;
            let callee = &all[at as usize % all.len()];
            let registered = run.test.groups[*callees].registers();
            match &callee.ready {
                Some(ready) if callee.ended.is_none() && registered && !ready.aor.is_empty() => {
                    ready.aor.clone()
                }
                Some(ready) if callee.ended.is_none() => ready.contact.clone(),
                _ => String::new(),
            }
        }
        Target::None | Target::External => String::new(),
    };
    worker::GroupPeers {
        group: group.name.clone(),
        first: share.first,
        peers: (share.first..share.first + share.count).map(peer).collect(),
    }
}

fn role(group: &Group) -> worker::Role {
    match group.role {
        Role::Caller => worker::Role::Caller,
        Role::Callee => worker::Role::Callee,
        Role::Both => worker::Role::Both,
    }
}

/// When the callers of a share call. Arrivals and concurrency over time are those of the whole
/// group: each share finds its own calls in them.
fn load(group: &Group) -> worker::Load {
    let mut load = worker::Load {
        group_endpoints: group.endpoints,
        ..worker::Load::default()
    };
    match &group.load {
        Load::AllAtOnce | Load::Concurrency(_) => {}
        Load::ArrivalRate(per_second) => {
            if group.calls_by_load() {
                load.arrivals.push(worker::ArrivalPoint {
                    at_ms: 0,
                    per_second: *per_second,
                    ramp: false,
                });
            }
        }
        Load::Arrivals { points, ramp } => {
            let point = |(at, per_second): &(Duration, f64)| worker::ArrivalPoint {
                at_ms: milliseconds(*at),
                per_second: *per_second,
                ramp: *ramp,
            };
            load.arrivals = points.iter().map(point).collect();
            // Nothing follows that the last rate could change to.
            if let Some(last) = load.arrivals.last_mut() {
                last.ramp = false;
            }
        }
        Load::ConcurrencySteps(steps) => {
            let point = |(at, calls): &(Duration, u32)| worker::ConcurrencyPoint {
                at_ms: milliseconds(*at),
                calls: *calls,
            };
            load.concurrency = steps.iter().map(point).collect();
        }
    }
    load
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Pcma => "pcma",
        Codec::Pcmu => "pcmu",
    }
}

/// RFC 3551 table 4.
fn payload_type(codec: Codec) -> u32 {
    match codec {
        Codec::Pcma => 8,
        Codec::Pcmu => 0,
    }
}

/// Never beyond what the protocol carries (49 days, longer than any run).
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
