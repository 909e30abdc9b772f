//! A far end that answers our refreshes of the session, by re-INVITE as it knows no UPDATE, with a
//! change of its media.

use callmeter_engine::{
    Action, Outcome, Refresher, Role, Scenario, SessionTimer, SessionTimerMode, Step, When,
};
use callmeter_metrics::id;

use crate::common::{World, ms, secs};
use crate::{PEER, SDP, caller_of, last, remotes, reply, respond, starts, stops};

const GRANTED: &str =
    "Require: timer\nSession-Expires: 90;refresher=uac\nAllow: INVITE, ACK, BYE\n";

/// A call of 200 s, answered with a session of 90 s, in which we hold after 60 s.
#[expect(clippy::expect_used, reason = "a helper of tests")]
fn refreshing() -> World {
    let mut world = World::new(1, 11);
    // The peer sends neither RTP nor RTCP.
    world.media.deaf_to.insert(8);
    let mut plan = world.plan(0, 1, Role::Caller, 1);
    plan.duration = secs(300);
    plan.call.duration = secs(200);
    plan.session_timer = SessionTimer {
        mode: SessionTimerMode::Supported,
        expires: secs(90),
        refresher: Refresher::Uac,
    };
    let step = Step {
        when: When::At(secs(60)),
        action: Action::Hold,
    };
    plan.scenario = Scenario::new(vec![step]).expect("a scenario of one step");
    caller_of(&mut world, plan);
    let invite = last(&world);
    reply(&mut world, &invite, "200 OK", GRANTED, SDP);
    assert_eq!(remotes(&world), [(4000, true)]);
    world
}

fn sdp(version: u32, port: u16, direction: &str) -> String {
    let moved = SDP
        .replace("1 1 IN", &format!("1 {version} IN"))
        .replace("audio 4000", &format!("audio {port}"));
    moved + direction
}

/// It moves: RTP goes where the answer says, and the step in progress waits for its own answer.
#[test]
fn the_answer_to_a_refresh_moves_the_media() {
    let mut world = refreshing();
    let first = next_invite(&mut world);
    assert!(!first.contains("a=sendonly"), "{first}");
    reply(&mut world, &first, "200 OK", GRANTED, &sdp(2, 4002, ""));
    assert_eq!(remotes(&world), [(4000, true), (4002, true)]);
    world.run_until("the hold", secs(20), |world| {
        last(world).contains("a=sendonly")
    });
    let site = &world.sites[0];
    assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_EXECUTED), 0.0);
    let hold = last(&world);
    reply(
        &mut world,
        &hold,
        "200 OK",
        GRANTED,
        &sdp(3, 4002, "a=recvonly\n"),
    );
    world.run_for(secs(2));
    let site = &world.sites[0];
    assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_EXECUTED), 1.0);
    assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_FAILED), 0.0);
    assert_eq!(site.sum(1, id::HOLD_COUNT), 1.0);
}

/// It holds by the answer and takes the call up again by the next; one that changes nothing leaves
/// the media alone.
#[test]
fn the_answer_to_a_refresh_holds_and_resumes() {
    let mut world = refreshing();
    for (direction, sending) in [
        ("a=sendrecv\n", vec![true]),
        ("a=sendonly\n", vec![true, false]),
        ("", vec![true, false, true]),
    ] {
        // The hold of the script goes unnoticed: refused, the session stays.
        let mut request = next_invite(&mut world);
        if request.contains("a=sendonly") {
            reply(&mut world, &request, "488 No", "", "");
            request = next_invite(&mut world);
        }
        reply(
            &mut world,
            &request,
            "200 OK",
            GRANTED,
            &sdp(2, 4000, direction),
        );
        assert_eq!(starts(&world), sending, "{direction}");
    }
    assert_eq!(stops(&world), 1);
    world.run_for(secs(2));
    assert_eq!(world.sites[0].sum(1, id::HOLD_COUNT), 1.0);
}

fn next_invite(world: &mut World) -> String {
    let before = last(world);
    world.run_until("a re-INVITE", secs(50), |world| {
        let last = last(world);
        last != before && last.starts_with("INVITE ")
    });
    last(world)
}

/// One that cannot be used changes nothing, and is told.
#[test]
fn an_unusable_answer_to_a_refresh_is_a_warning() {
    let mut world = refreshing();
    let first = next_invite(&mut world);
    reply(&mut world, &first, "200 OK", GRANTED, &sdp(2, 0, ""));
    assert_eq!(remotes(&world), [(4000, true)]);
    world.with(0, |engine, now| {
        engine.stop(now, callmeter_engine::ShareId(1), "test");
    });
    world.run_for(ms(20));
    assert!(last(&world).starts_with("BYE "), "to {PEER}");
    respond(&mut world, "200 OK", "");
    world.run_for(secs(1));
    let (outcome, _, detail) = &world.sites[0].calls(1)[0];
    assert_eq!(*outcome, Outcome::CompletedWithWarnings);
    assert!(detail.contains("refresh of the session"), "{detail}");
}
