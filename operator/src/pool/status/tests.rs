use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::pool::{
    validate::tests::{pool, valid},
    victims::tests::idle,
};

const SPEC: &str = "{replicas: 2, capacity: {endpointsPerWorker: 25}}";

fn inputs(members: Vec<Member>) -> Inputs {
    Inputs {
        now: Timestamp::from_second(1_000_000).unwrap(),
        clock: Instant::now(),
        workers: BTreeMap::new(),
        members,
        elsewhere: BTreeSet::new(),
        blocks: vec![],
        demand: Demand::Fresh {
            active: 3,
            queued: 7,
        },
        gateway_live: true,
    }
}

fn outcome(desired: u32) -> Outcome {
    Outcome {
        desired,
        ..Outcome::default()
    }
}

fn condition(status: &WorkerPoolStatus, type_: Type) -> (&str, &str) {
    let found = status
        .conditions
        .iter()
        .find(|c| c.type_ == type_.as_str())
        .unwrap();
    (found.status.as_str(), found.reason.as_str())
}

#[test]
fn a_pool_with_one_busy_and_one_idle_worker() {
    let members = vec![
        Member {
            endpoints: Some(3),
            ..idle("a")
        },
        idle("b"),
    ];
    insta::assert_yaml_snapshot!(build(
        &pool(SPEC),
        &valid(SPEC),
        &inputs(members),
        &outcome(2)
    ));
}

/// The scale subresource reads these from the first write on.
#[test]
fn an_empty_pool_has_its_selector_and_its_zero() {
    let status = serde_json::to_value(build(
        &pool(SPEC),
        &valid(SPEC),
        &inputs(vec![]),
        &outcome(0),
    ))
    .unwrap();
    assert_eq!(status["selector"], "callmeter.io/pool=fra");
    assert_eq!(status["replicas"], 0);
}

#[test]
fn an_idle_pass_changes_nothing() {
    let mut on = pool(SPEC);
    let members = vec![idle("a"), idle("b")];
    on.status = Some(build(
        &on,
        &valid(SPEC),
        &inputs(members.clone()),
        &outcome(2),
    ));
    let mut later = inputs(members);
    later.now = Timestamp::from_second(2_000_000).unwrap();
    assert_eq!(
        Some(build(&on, &valid(SPEC), &later, &outcome(2))),
        on.status
    );
}

#[test]
fn what_keeps_a_pool_from_its_number_is_told() {
    let lacking = Outcome {
        plan: Plan {
            lacking: 3,
            ..Plan::default()
        },
        ..outcome(2)
    };
    let status = build(&pool(SPEC), &valid(SPEC), &inputs(vec![]), &lacking);
    assert_eq!(
        condition(&status, Type::TokensSufficient),
        ("False", "NoFreeTokens")
    );
    assert_eq!(
        condition(&status, Type::ScalingUp),
        ("True", "NoFreeTokens")
    );
    assert_eq!(
        condition(&status, Type::Available),
        ("False", "BelowDesired")
    );
    let forbidden = Member {
        ready: false,
        blocked: Some((
            Reason::PodSecurityForbidden,
            "kubectl label namespace demo …".into(),
        )),
        ..idle("a")
    };
    let status = build(
        &pool(SPEC),
        &valid(SPEC),
        &inputs(vec![forbidden]),
        &outcome(1),
    );
    assert_eq!(
        condition(&status, Type::Degraded),
        ("True", "PodSecurityForbidden")
    );
    let mut silent = inputs(vec![idle("a")]);
    silent.gateway_live = false;
    let status = build(&pool(SPEC), &valid(SPEC), &silent, &outcome(1));
    assert_eq!(
        condition(&status, Type::Degraded),
        ("True", "GatewayUnreachable")
    );
}

#[test]
fn a_pool_that_cannot_be_acted_on_says_why() {
    let now = Time(Timestamp::from_second(1).unwrap());
    let status = invalid(&pool(SPEC), "spec.network.ports: no block", &now);
    assert_eq!(
        condition(&status, Type::Degraded),
        ("True", "ValidationFailed")
    );
    assert_eq!(
        condition(&status, Type::PortsAllocatable),
        ("False", "WindowTooSmall")
    );
}

#[test]
fn the_time_of_a_decision_is_that_of_its_change() {
    let mut on = pool(SPEC);
    let decision = |desired, fresh| Outcome {
        decision: Some(Decision {
            desired,
            limited: Reason::WithinLimits,
            fresh,
            text: String::new(),
            again: None,
        }),
        ..outcome(desired)
    };
    let first = build(&on, &valid(SPEC), &inputs(vec![]), &decision(1, true))
        .autoscaling
        .unwrap();
    assert_eq!(first.last_scale_time, None);
    on.status.get_or_insert_default().autoscaling = Some(first);
    let changed = build(&on, &valid(SPEC), &inputs(vec![]), &decision(2, true))
        .autoscaling
        .unwrap();
    assert!(changed.last_scale_time.is_some() && changed.signal_stale_since.is_none());
    let stale = build(&on, &valid(SPEC), &inputs(vec![]), &decision(1, false))
        .autoscaling
        .unwrap();
    assert!(stale.signal_stale_since.is_some());
}
