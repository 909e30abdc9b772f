//! Offers and refreshes of ours that the far end refuses with 491.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use callmeter_engine::{
    Action, Assign, MetricId, Role, Scenario, SessionTimer, SessionTimerMode, ShareId, Step, When,
};
use callmeter_metrics::id;

use crate::common::{World, ms, secs};
use crate::{PEER, SDP, header_of, last, reply, with_body};

/// A call to the peer, which allows no UPDATE and has us refresh every 45 s; our INVITE.
fn calling(seed: u64, steps: Vec<Step>) -> (World, String) {
    let mut world = World::new(1, seed);
    // The peer sends neither RTP nor RTCP.
    world.media.deaf_to.insert(8);
    let mut plan = Assign {
        session_timer: SessionTimer {
            mode: SessionTimerMode::Supported,
            expires: secs(90),
            ..SessionTimer::default()
        },
        scenario: Scenario::new(steps).unwrap(),
        duration: secs(300),
        ..world.plan(0, 1, Role::Caller, 1)
    };
    plan.call.duration = secs(120);
    world.assign(0, plan);
    world.start(0, 1, &[format!("sip:peer@{PEER}")]);
    world.run_for(ms(20));
    let invite = last(&world);
    let lines = "Session-Expires: 90;refresher=uac\nRequire: timer\nAllow: INVITE, ACK, BYE\n";
    reply(&mut world, &invite, "200 OK", lines, SDP);
    (world, invite)
}

/// Our next re-INVITE, and the version and direction of what it offers.
fn reinvite(world: &mut World, within: u64) -> (String, String) {
    let from = world.raw.len();
    let sent = |world: &World| {
        let mut sent = world.raw[from..].iter();
        sent.find(|(_, text)| text.starts_with("INVITE ")).cloned()
    };
    world.run_until("a re-INVITE", secs(within), |world| sent(world).is_some());
    let (_, text) = sent(world).unwrap();
    let origin = text.lines().find(|line| line.starts_with("o=")).unwrap();
    let version = origin.split(' ').nth(2).unwrap();
    let direction = text.lines().next_back().unwrap();
    let described = format!("{version} {direction}");
    (text, described)
}

fn sum(world: &World, metric: MetricId) -> f64 {
    world.sites[0].sum(1, metric)
}

/// A refresh repeats the description that stands when it goes out: not the one from before an
/// offer of the peer that was answered while it waited.
#[test]
fn a_refresh_put_off_by_glare_repeats_what_stands() {
    let (mut world, invite) = calling(31, vec![]);
    let (first, described) = reinvite(&mut world, 46);
    assert_eq!(described, "0 a=sendrecv");
    reply(&mut world, &first, "491 Request Pending", "", "");
    // Nothing changed meanwhile.
    let (second, described) = reinvite(&mut world, 4);
    assert_eq!(described, "0 a=sendrecv");
    reply(&mut world, &second, "491 Request Pending", "", "");

    let [from, to, id] = ["To", "From", "Call-ID"].map(|name| header_of(&invite, name));
    let at = world.sites[0].ports[&ShareId(1)];
    let head = format!(
        "INVITE sip:group-1-0@{at} SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKh1\n\
         From: {from};tag=peer\nTo: {to}\nCall-ID: {id}\nCSeq: 1 INVITE\nMax-Forwards: 70\n\
         Contact: <sip:peer@{PEER}>\nSupported: timer\n"
    );
    let hold = SDP.replace("1 1 IN", "1 2 IN") + "a=sendonly\n";
    world.inject(PEER, at, &with_body(&head, &hold));
    world.run_for(ms(20));
    let answer = last(&world);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert!(answer.contains("a=recvonly"), "{answer}");
    let ack = head.replace("INVITE", "ACK").replace("bKh1", "bKh2");
    world.inject(PEER, at, &with_body(&ack, ""));
    // The hold has renewed the session.
    let (_, described) = reinvite(&mut world, 46);
    assert_eq!(described, "1 a=recvonly");
}

/// A peer that always refuses with 491 is asked six times: one offer that failed.
#[test]
fn endless_glare_fails_the_step() {
    let hold = Step {
        when: When::At(secs(1)),
        action: Action::Hold,
    };
    let (mut world, _) = calling(32, vec![hold]);
    for version in 1..=6 {
        let (offer, described) = reinvite(&mut world, 5);
        assert_eq!(described, format!("{version} a=sendonly"));
        reply(&mut world, &offer, "491 Request Pending", "", "");
    }
    world.run_for(secs(5));
    assert!(last(&world).starts_with("ACK "), "no more of them");
    assert_eq!(sum(&world, id::REINVITE_COUNT), 1.0);
    assert_eq!(sum(&world, id::HOLD_COUNT), 0.0);
    assert_eq!(sum(&world, id::SCENARIO_ACTIONS_EXECUTED), 0.0);
    assert_eq!(sum(&world, id::SCENARIO_ACTIONS_FAILED), 1.0);
}
