use callmeter_proto::fleet::WorkerRow;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::worker::{
    facts::PodFacts,
    token::tests::pod,
    validate::tests::{settings, worker},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn row() -> WorkerRow {
    WorkerRow {
        id: "w1".into(),
        pod_uid: "pod-uid".into(),
        instance: vec![7],
        connected: true,
        status: WorkerStatus::Online.into(),
        effective_capacity: 25,
        ..WorkerRow::default()
    }
}

fn built(
    worker: &CallMeterWorker,
    second: i64,
    pod: Option<PodFacts>,
    view: View,
) -> CallMeterWorkerStatus {
    let valid = super::super::validate::validate(worker, &settings()).unwrap();
    let applied = Applied {
        drain: worker.status.clone().unwrap_or_default().drain,
        ..Applied::default()
    };
    build(
        worker,
        &valid,
        &Inputs {
            now: at(second),
            pod,
            view,
        },
        &applied,
    )
}

fn online(row: WorkerRow) -> CallMeterWorkerStatus {
    built(&worker("{}"), 0, Some(pod()), View::Row(Box::new(row)))
}

fn condition(status: &CallMeterWorkerStatus, type_: Type) -> (&str, &str) {
    let found = status
        .conditions
        .iter()
        .find(|c| c.type_ == type_.as_str())
        .unwrap();
    (found.status.as_str(), found.reason.as_str())
}

#[test]
fn an_online_worker() {
    insta::assert_yaml_snapshot!(online(row()));
}

#[test]
fn phases_follow_pod_and_gateway() {
    let of = |pod: Option<PodFacts>, view: View| built(&worker("{}"), 0, pod, view).phase.unwrap();
    let seen = |row: WorkerRow| View::Row(Box::new(row));
    assert_eq!(of(None, View::Absent), WorkerPhase::Pending);
    assert_eq!(
        of(
            Some(PodFacts {
                node: None,
                ..pod()
            }),
            View::Absent
        ),
        WorkerPhase::Pending
    );
    assert_eq!(of(Some(pod()), View::Absent), WorkerPhase::Starting);
    assert_eq!(of(Some(pod()), seen(row())), WorkerPhase::Online);
    assert_eq!(
        of(
            Some(pod()),
            seen(WorkerRow {
                connected: false,
                ..row()
            })
        ),
        WorkerPhase::Offline
    );
    assert_eq!(
        of(
            Some(pod()),
            seen(WorkerRow {
                disabled: true,
                ..row()
            })
        ),
        WorkerPhase::Error
    );
    assert_eq!(
        of(
            Some(pod()),
            seen(WorkerRow {
                fence_seq: 4,
                ..row()
            })
        ),
        WorkerPhase::Draining
    );
    let unhealthy = WorkerRow {
        status: WorkerStatus::Error.into(),
        ..row()
    };
    assert_eq!(of(Some(pod()), seen(unhealthy)), WorkerPhase::Error);
}

#[test]
fn the_load_counts_reserved_endpoints_and_is_unknown_without_the_gateway() {
    assert_eq!(online(row()).load, Some(WorkerLoad::Idle));
    assert_eq!(
        online(WorkerRow {
            reserved_endpoints: 1,
            ..row()
        })
        .load,
        Some(WorkerLoad::Busy)
    );
    let full = online(WorkerRow {
        active_endpoints: 20,
        reserved_endpoints: 5,
        ..row()
    });
    assert_eq!(full.load, Some(WorkerLoad::Full));
    let unknown = built(&worker("{}"), 0, Some(pod()), View::Unknown);
    assert_eq!(unknown.load, Some(WorkerLoad::Unknown));
    assert_eq!(condition(&unknown, Type::Busy).0, "Unknown");
    assert_eq!(
        condition(&unknown, Type::GatewayConnected),
        ("True", "PodReadiness")
    );
}

#[test]
fn a_reduced_capacity_is_told_with_both_numbers() {
    let status = online(WorkerRow {
        effective_capacity: 10,
        ..row()
    });
    let mismatch = status
        .conditions
        .iter()
        .find(|c| c.type_ == "CapacityMismatch")
        .unwrap();
    assert_eq!(mismatch.status, "True");
    assert!(mismatch.message.contains("25") && mismatch.message.contains("10"));
}

#[test]
fn an_older_template_shows() {
    let mut newer = worker("{}");
    newer.spec.revision = "def".into();
    let status = built(&newer, 0, Some(pod()), View::Row(Box::new(row())));
    assert_eq!(
        condition(&status, Type::UpToDate),
        ("False", "OutdatedTemplate")
    );
    assert_eq!(status.revision.as_deref(), Some("abc"));
}

/// An idle pass writes nothing.
#[test]
fn the_status_of_an_unchanged_worker_does_not_change() {
    let mut unchanged = worker("{}");
    for _ in 0..3 {
        let status = built(&unchanged, 0, Some(pod()), View::Row(Box::new(row())));
        unchanged.status = Some(status);
    }
    let later = built(&unchanged, 5000, Some(pod()), View::Row(Box::new(row())));
    assert_eq!(Some(later), unchanged.status);
}

/// Numbers of endpoints belong to metrics: a call that begins or ends is no write.
#[test]
fn the_status_does_not_follow_single_calls() {
    let busy = |active| {
        let status = online(WorkerRow {
            active_endpoints: active,
            ..row()
        });
        serde_json::to_string(&status).unwrap()
    };
    assert_eq!(busy(2), busy(9));
}

/// The scheduler does not say which ports are taken; the worker says which ones it needs.
#[test]
fn a_worker_whose_ports_are_taken_everywhere_names_them() {
    let on_host = worker(
        "{spec: {network: {mode: HostNetwork, block: {rtpStart: 10000, rtpEnd: 10299, sipStart: 5060, sipEnd: 5079, health: 3031}}}}",
    );
    let waiting = |why: &str| PodFacts {
        node: None,
        running: false,
        unschedulable: Some(why.into()),
        ..pod()
    };
    let taken =
        "0/3 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.";
    let status = built(&on_host, 0, Some(waiting(taken)), View::Absent);
    assert_eq!(
        condition(&status, Type::PortsBound),
        ("False", "PortConflict")
    );
    assert_eq!(condition(&status, Type::Ready), ("False", "PortConflict"));
    let told = status.conditions.iter().find(|c| c.type_ == "PortsBound");
    let message = &told.unwrap().message;
    assert!(
        message.contains("RTP 10000-10299, SIP 5060-5079, health 3031"),
        "{message}"
    );
    assert_eq!(status.phase, Some(WorkerPhase::Pending));

    let full = built(
        &on_host,
        0,
        Some(waiting("0/3 nodes: Insufficient cpu.")),
        View::Absent,
    );
    assert_eq!(condition(&full, Type::Ready), ("False", "Unschedulable"));
    assert!(!full.conditions.iter().any(|c| c.type_ == "PortsBound"));
    let placed = built(&on_host, 0, Some(pod()), View::Row(Box::new(row())));
    assert_eq!(
        condition(&placed, Type::PortsBound),
        ("True", "PortsClaimed")
    );
}

/// A gateway that says what this version does not know, or numbers at their ends: nothing of it
/// passes for ONLINE, for idle or for a refusal.
#[test]
fn a_row_out_of_range_is_read_as_the_least_it_can_mean() {
    use callmeter_proto::fleet::Refusal;
    for status in [0, 77, -1, i32::MAX] {
        let strange = online(WorkerRow { status, ..row() });
        let gateway = strange.gateway.as_ref().expect("what the gateway says");
        assert_eq!(gateway.state.as_deref(), Some("OFFLINE"), "{status}");
    }
    let refused = |reason| {
        let refusal = Refusal {
            reason,
            pod_uid: "pod-uid".into(),
            at_unix_ms: i64::MIN,
        };
        let refused = online(WorkerRow {
            connected: false,
            status: WorkerStatus::Offline.into(),
            last_refusal: Some(refusal),
            ..row()
        });
        let (status, reason) = condition(&refused, Type::TokenValid);
        (status.to_owned(), reason.to_owned())
    };
    assert_eq!(refused(1), ("False".into(), "InvalidToken".into()));
    for unknown in [0, 77, -1] {
        assert_eq!(refused(unknown).0, "Unknown", "{unknown}");
    }
    let most = online(WorkerRow {
        active_endpoints: u32::MAX,
        reserved_endpoints: u32::MAX,
        effective_capacity: u32::MAX,
        fence_seq: u64::MAX,
        instance: vec![7; 1000],
        ..row()
    });
    assert_eq!(most.load, Some(WorkerLoad::Full));
    let nothing = online(WorkerRow::default());
    assert_ne!(nothing.phase, Some(WorkerPhase::Online));
}
