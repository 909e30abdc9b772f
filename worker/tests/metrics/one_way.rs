//! Calls whose audio does not get through, one way or at all, and a thousand whose does.

use std::time::Duration;

use callmeter_proto::worker::{Direction, Outcome, Role};

use crate::machine::LOAD;
use crate::network::{self, PORTS};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    process::{Worker, environment},
    run::{Group, Told, begin, finish},
};

pub(crate) const KEYS: &[&str] = &["one_way_audio", "missing_audio"];

const PAIRS: u32 = 10;
/// Two reports of each end have come by then, the latest: 3.1 s and 6.2 s (RFC 3550 §6.3).
const CALL_MS: u32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);

/// Who calls, who is called, and the markings of their RTP.
fn pair(names: [&'static str; 2], dscp: [u32; 2], count: u32) -> [Group; 2] {
    let group = |name, role, dscp| Group {
        dscp,
        ..Group::new(name, role, count)
    };
    [
        group(names[1], Role::Callee, dscp[1]),
        Group {
            dials: Some(names[1]),
            ..group(names[0], Role::Caller, dscp[0])
        },
    ]
}

/// What a metric says of all calls of a group.
fn verdicts(told: &Told, group: &str, key: &str) -> Vec<f64> {
    let view = View { told, group };
    let calls = told.calls(group).len() as u32;
    (1..=calls)
        .flat_map(|call| view.values(key, Direction::None, Some(call)))
        .collect()
}

/// With the return path dropped every call is found by both of its ends; with both paths dropped
/// every call is called silent, not one-way.
#[test]
pub(crate) fn one_way_audio_is_found_in_every_call() {
    let _load = LOAD.blocking_read();
    calm(one_way_audio);
}

async fn one_way_audio() {
    if !network::enter() {
        return;
    }
    network::filter(
        &["dropped"],
        "ip dscp 10 counter name dropped drop\nip dscp 12 drop",
    );
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, PORTS));
    let mut peer = gateway.welcome().await;
    let groups: Vec<_> = [
        pair(["callers", "callees"], [46, 10], PAIRS),
        pair(["silent", "silent-callees"], [12, 12], PAIRS),
        pair(["control", "control-callees"], [46, 46], 1),
    ]
    .into_iter()
    .flatten()
    .map(|group| Group {
        call_ms: CALL_MS,
        run_ms: CALL_MS + 3000,
        ..group
    })
    .collect();
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    for (group, said) in [("callers", "one-way audio"), ("silent", "no audio")] {
        for (outcome, detail) in told.calls(group) {
            let found = (outcome, detail.ends_with(said));
            let wanted = (Outcome::CompletedWithWarnings, true);
            assert_eq!(found, wanted, "{group}: {detail}");
        }
    }
    assert!(network::counted("dropped") >= f64::from(PAIRS) * 400.0);
    for (group, one_way, missing) in [
        ("callers", 1.0, 0.0),
        ("callees", 1.0, 0.0),
        ("silent", 0.0, 1.0),
        ("silent-callees", 0.0, 1.0),
    ] {
        for (key, wanted) in [("one_way_audio", one_way), ("missing_audio", missing)] {
            let found = verdicts(&told, group, key);
            assert_eq!(found, vec![wanted; PAIRS as usize], "{key} of {group}");
        }
    }
    let claim = |key| Claim::exactly(key, Direction::None, Figure::AllCalls, PAIRS);
    let view = |group| View { told: &told, group };
    prove(
        &[
            (view("callers"), vec![claim("one_way_audio")]),
            (view("silent"), vec![claim("missing_audio")]),
        ],
        view("control"),
        KEYS,
    );
}

/// None of a thousand good calls is taken for one-way or silent by either end.
#[test]
fn a_thousand_good_calls_raise_no_false_alarm() {
    let _load = LOAD.blocking_read();
    calm(a_thousand_good_calls);
}

async fn a_thousand_good_calls() {
    if !network::enter() {
        return;
    }
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, PORTS));
    let mut peer = gateway.welcome().await;
    let groups = pair(["callers", "callees"], [46, 46], 50).map(|group| Group {
        call_ms: 1200,
        repeat: true,
        run_ms: 36_000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    for group in ["callers", "callees"] {
        let calls = told.calls(group).len();
        // On a busy machine the end of the run may cut one before it has lasted a second.
        let lasted = verdicts(&told, group, "call_duration_ms");
        let whole = lasted.iter().filter(|ms| **ms >= 1000.0).count();
        assert!(whole >= 1000, "{whole} whole calls of {group}");
        for key in ["one_way_audio", "missing_audio"] {
            let found = verdicts(&told, group, key);
            assert!(
                (whole..=calls).contains(&found.len()),
                "{key} of {group}: {} judged, {whole} whole of {calls} calls",
                found.len()
            );
            let alarms = found.iter().filter(|alarm| **alarm != 0.0).count();
            assert_eq!(alarms, 0, "{key} of {group}");
        }
    }
}
