//! OPTIONS to the registrar or proxy while a run lasts: metric 44.
#![expect(clippy::float_cmp, reason = "counts are exact")]

mod common;

use std::time::{Duration, Instant};

use callmeter_engine::{Assign, Role, ShareId};
use callmeter_metrics::id;
use common::proxy::Proxy;
use common::{World, ms, secs};

const SERVER: &str = "192.0.2.100:5060";
const US: &str = "192.0.2.1:5061";
const ENDPOINTS: u32 = 50;

/// Callees that nobody calls, in a run of 60 s at a server that answers OPTIONS with `status`.
fn begin(status: Option<&'static str>, change: impl FnOnce(&mut Assign)) -> World {
    let mut world = World::new(1, 44);
    let mut proxy = Proxy::new(SERVER);
    proxy.options = status;
    world.proxy = Some(proxy);
    let mut plan = world.plan(0, 1, Role::Callee, ENDPOINTS);
    plan.registrar.domain = "192.0.2.100".into();
    plan.registrar.options_interval = Some(secs(10));
    change(&mut plan);
    world.assign(0, plan);
    world.start(0, 1, &[]);
    world
}

/// Runs to the end of the run; when each OPTIONS went out.
fn asked(world: &mut World) -> Vec<Instant> {
    let mut times = Vec::new();
    world.run_until("the share to end", secs(70), |world| {
        let sent = world.wire.iter().filter(|(from, to, line)| {
            line.starts_with("OPTIONS ") && from.to_string() == US && to.to_string() == SERVER
        });
        times.resize(sent.count(), world.now);
        !world.sites[0].ended.is_empty()
    });
    times
}

/// Every endpoint asks six times in a minute, spread over the interval, and has the time of each
/// answer in a row of its own. Whatever is answered shows that the server is there.
#[test]
fn endpoints_ask_at_the_interval_and_time_the_answers() {
    for status in [
        "200 OK",
        "404 Not Found",
        "405 Method Not Allowed",
        "481 No",
    ] {
        let mut world = begin(Some(status), |_| {});
        let start = world.now;
        let times = asked(&mut world);
        assert_eq!(times.len(), 6 * ENDPOINTS as usize, "{status}");
        let all = "OPTIONS sip:192.0.2.100 SIP/2.0";
        assert!(
            world
                .wire
                .iter()
                .filter(|w| w.2.starts_with("OPTIONS"))
                .all(|w| w.2 == all)
        );
        // One in each 200 ms of the interval.
        for (number, at) in times.iter().enumerate() {
            let part = ms(200) * number as u32;
            let since = at.duration_since(start);
            assert!(
                (part..=part + ms(200)).contains(&since),
                "{number}: {since:?}"
            );
        }
        let site = &world.sites[0];
        // The last ones may be on their way at the end of the run.
        let rtts = site.values(1, id::OPTIONS_RTT_MS);
        assert!(rtts.len() + 1 >= times.len(), "{}", rtts.len());
        assert!(
            rtts.iter().all(|rtt| (rtt - 10.0).abs() < 0.001),
            "{rtts:?}"
        );
        let rows = site.rows_of(1).filter(|row| {
            row.values
                .iter()
                .any(|value| value.metric == id::OPTIONS_RTT_MS)
        });
        for row in rows {
            assert!(row.per_call && row.call == 0, "{row:?}");
        }
        assert_eq!(site.sum(1, id::OPTIONS_FAILED), 0.0);
        assert_eq!(site.values(1, id::OPTIONS_FAILED).len(), ENDPOINTS as usize);
        site.assert_rows_add_up(1);
        site.aggregate(1);
    }
}

/// The control: without an interval nobody asks, and neither metric has a value.
#[test]
fn without_an_interval_nobody_asks() {
    let mut world = begin(Some("200 OK"), |plan| {
        plan.registrar.options_interval = None;
    });
    assert_eq!(asked(&mut world), []);
    assert_eq!(world.sites[0].values(1, id::OPTIONS_RTT_MS), []);
    assert_eq!(world.sites[0].values(1, id::OPTIONS_FAILED), []);
}

/// 408 says that a proxy got no answer: a failure, and no time.
#[test]
fn an_answer_408_is_a_failure() {
    let mut world = begin(Some("408 Request Timeout"), |_| {});
    let asked = asked(&mut world).len() as f64;
    let site = &world.sites[0];
    assert_eq!(site.values(1, id::OPTIONS_RTT_MS), []);
    let failed = site.sum(1, id::OPTIONS_FAILED);
    assert!(
        failed == asked || failed + 1.0 == asked,
        "{failed} of {asked}"
    );
    assert_eq!(site.sum(1, id::SIP_TIMEOUTS), 0.0);
}

/// A silent server is a failure after 32 s (Timer F), not a storm: an endpoint has one OPTIONS on
/// its way, and nothing of it remains after the run.
#[test]
fn silence_is_a_failure_and_no_storm() {
    let mut world = begin(None, |plan| plan.registrar.options_interval = Some(secs(5)));
    world.run_until("the share to end", secs(70), |world| {
        !world.sites[0].ended.is_empty()
    });
    let mut calls: Vec<&str> = world
        .raw
        .iter()
        .filter(|(_, text)| text.starts_with("OPTIONS"))
        .filter_map(|(_, text)| text.lines().find(|line| line.starts_with("Call-ID")))
        .collect();
    calls.sort_unstable();
    calls.dedup();
    assert_eq!(calls.len(), 2 * ENDPOINTS as usize);
    let site = &world.sites[0];
    assert_eq!(site.values(1, id::OPTIONS_RTT_MS), []);
    assert_eq!(site.sum(1, id::OPTIONS_FAILED), f64::from(ENDPOINTS));
    assert_eq!(site.sum(1, id::SIP_TIMEOUTS), f64::from(ENDPOINTS));
    world.run_for(secs(33));
    assert!(world.sites[0].engine.is_empty());
}

/// The time runs from the first byte, not from the retransmission that was answered.
#[test]
fn a_lost_request_counts_from_its_first_byte() {
    let mut world = begin(Some("200 OK"), |plan| {
        plan.count = 1;
        plan.registrar.options_interval = Some(secs(5));
    });
    world.loss = 1.0;
    world.run_until("the request to be lost", secs(6), |world| {
        !world.wire.is_empty()
    });
    world.loss = 0.0;
    world.run_for(secs(4));
    let rtts = world.sites[0].values(1, id::OPTIONS_RTT_MS);
    assert!(
        rtts.len() == 1 && (rtts[0] - 510.0).abs() < 0.001,
        "{rtts:?}"
    );
}

/// Without a registrar the proxy is asked; a stop ends the asking.
#[test]
fn the_proxy_is_asked_where_there_is_no_registrar() {
    let mut world = begin(Some("200 OK"), |plan| {
        plan.registrar.domain = String::new();
        plan.registrar.outbound_proxy = SERVER.to_owned();
    });
    world.run_for(secs(10));
    let sent = world
        .wire
        .iter()
        .filter(|(_, _, line)| line.starts_with("OPTIONS"));
    assert_eq!(sent.count(), ENDPOINTS as usize);
    let (_, first) = world.raw.first().unwrap();
    assert!(
        first.starts_with("OPTIONS sip:192.0.2.100:5060;lr SIP/2.0\r\n"),
        "{first}"
    );
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "asked for"));
    let before = world.wire.len();
    world.run_for(Duration::from_secs(40));
    assert_eq!(world.wire.len(), before);
    assert!(world.sites[0].engine.is_empty());
}
