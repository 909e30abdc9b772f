//! What the engine emits against what it declares.

use std::collections::HashSet;

use callmeter_engine::{
    Action, ArrivalPoint, Arrivals, Flow, HostFigures, Load, MetricId, Reliable, Role, Scenario,
    ShareId, Step, Transport, When,
};
use callmeter_metrics::{Aggregation, CATALOGUE, by_id, id};

use crate::common::proxy::Proxy;
use crate::common::{World, ms, secs};
use crate::{account, one_call};

/// R102: exactly the metrics declared as measured are emitted: the ones a stream's snapshot alone
/// can show are checked beside the rows, all the others here, over runs that show each.
#[test]
fn declared_and_emitted_metrics_are_the_same() {
    let mut emitted: HashSet<MetricId> = HashSet::new();
    let mut collect = |world: &World| {
        for (_, _, row) in world.sites.iter().flat_map(|site| &site.rows) {
            emitted.extend(row.values.iter().map(|value| value.metric));
        }
    };
    // Registered at a named registrar that is asked with OPTIONS, called, the second call refused, with the host's figures.
    let mut world = World::new(2, 9);
    world.proxy = Some(Proxy::new("192.0.2.100:5060"));
    world
        .names
        .insert("pbx.example".to_owned(), [192, 0, 2, 100].into());
    for (site, role) in [(1, Role::Callee), (0, Role::Caller)] {
        let mut plan = world.plan(site, 1, role, 1);
        plan.registrar.domain = "pbx.example".into();
        plan.registrar.register = true;
        plan.registrar.options_interval = Some(secs(5));
        plan.accounts = vec![account(["ann", "bob"][site])];
        world.assign(site, plan);
    }
    world.run_for(secs(1));
    let peers = world.sites[1].aors(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    let host = HostFigures {
        cpu_percent: Some(1.0),
        memory_mb: Some(1.0),
        udp_rcvbuf_errors: Some(0),
        throttled_ms: Some(0.0),
        steal_percent: Some(0.0),
        ring_overflows: Some(0),
        clock_stepped: Some(false),
    };
    world.with(0, |engine, _| engine.handle_host(host));
    world.run_until_ended(secs(90));
    collect(&world);
    // Refused, cancelled, and media before the answer has come in.
    let mut world = World::new(2, 10);
    world.delay = ms(50);
    world.media.delay = ms(1);
    one_call(&mut world);
    world.run_for(ms(400));
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "test"));
    world.run_until("the caller to end", secs(9), |world| {
        !world.sites[0].ended.is_empty()
    });
    collect(&world);

    // A call by a rate, with a reliable 180, a hold and a transfer in it.
    let mut world = World::new(2, 11);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.reliable = Reliable::Supported;
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.reliable = Reliable::Supported;
    let point = ArrivalPoint {
        at: ms(0),
        per_second: 1.0,
        ramp: false,
    };
    caller.load = Load::Arrivals(Arrivals::new(&[point], 1).unwrap());
    let step = |s, action| Step {
        when: When::At(secs(s)),
        action,
    };
    let to = "sip:nobody@192.0.2.2:5061".parse().unwrap();
    let attended = false;
    let steps = vec![
        step(1, Action::Hold),
        step(2, Action::Resume),
        step(3, Action::Transfer { to, attended }),
    ];
    caller.scenario = Scenario::new(steps).unwrap();
    let flow = Flow {
        local: caller.share.local(),
        transport: Transport::Tls,
        remote: "192.0.2.2:5061".parse().unwrap(),
    };
    world.assign(0, caller);
    world.with(0, |engine, _| {
        engine.handle_connected(flow, ms(2), Some(ms(3)));
    });
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    collect(&world);

    let shown_beside_the_rows = |metric: &callmeter_metrics::Metric| {
        use callmeter_metrics::Category::{Buffer, Quality, Rtp};
        matches!(metric.category, Rtp | Buffer | Quality) || metric.id == id::EARLY_MEDIA_MS
    };
    let missing: Vec<_> = CATALOGUE
        .iter()
        .filter(|metric| metric.measured && metric.aggregation != Aggregation::Derived)
        .filter(|metric| !shown_beside_the_rows(metric) && !emitted.contains(&metric.id))
        .map(|metric| metric.key)
        .collect();
    assert!(
        missing.is_empty(),
        "declared but never emitted: {missing:?}"
    );
    let undeclared: Vec<_> = emitted
        .iter()
        .filter_map(|metric| by_id(*metric))
        .filter(|metric| !metric.measured)
        .map(|metric| metric.key)
        .collect();
    assert!(
        undeclared.is_empty(),
        "emitted but not declared: {undeclared:?}"
    );
}
