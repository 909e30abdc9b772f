//! Offers of ours that are answered when their step has been given up.
#![expect(clippy::float_cmp, reason = "counts are exact")]

use callmeter_engine::{Action, Role, Scenario, Step, When};
use callmeter_metrics::id;

use crate::common::{World, ms, secs};
use crate::{PEER, SDP, last, reply, starts};

/// A far end that answers a hold 100 at once and 200 after 45 s: the hold has failed by then, but
/// stands, and the resume that waited for it goes out.
#[test]
fn the_late_end_of_an_offer_is_not_that_of_the_next_step() {
    let step = |at, action| Step {
        when: When::At(secs(at)),
        action,
    };
    let mut world = World::new(1, 41);
    // The peer sends neither RTP nor RTCP.
    world.media.deaf_to.insert(8);
    let mut plan = world.plan(0, 1, Role::Caller, 1);
    plan.duration = secs(300);
    plan.call.duration = secs(120);
    let steps = vec![step(5, Action::Hold), step(30, Action::Resume)];
    plan.scenario = Scenario::new(steps).unwrap();
    world.assign(0, plan);
    world.start(0, 1, &[format!("sip:peer@{PEER}")]);
    world.run_for(ms(20));
    let invite = last(&world);
    reply(&mut world, &invite, "200 OK", "", SDP);

    world.run_for(secs(5));
    let hold = last(&world);
    assert!(
        hold.starts_with("INVITE ") && hold.contains("a=sendonly"),
        "{hold}"
    );
    reply(&mut world, &hold, "100 Trying", "", "");
    world.run_for(secs(45));
    let held = SDP.replace("1 1 IN", "1 2 IN") + "a=recvonly\n";
    reply(&mut world, &hold, "200 OK", "", &held);

    world.run_for(secs(1));
    let resume = last(&world);
    assert!(
        resume.starts_with("INVITE ") && resume.contains("a=sendrecv"),
        "{resume}"
    );
    reply(
        &mut world,
        &resume,
        "200 OK",
        "",
        &SDP.replace("1 1 IN", "1 3 IN"),
    );
    assert_eq!(starts(&world), [true; 3]);
    world.run_for(secs(2));
    let sum = |metric| world.sites[0].sum(1, metric);
    assert_eq!(sum(id::SCENARIO_ACTIONS_FAILED), 1.0, "the hold");
    assert_eq!(sum(id::SCENARIO_ACTIONS_EXECUTED), 1.0, "the resume");
    assert_eq!(sum(id::REINVITE_COUNT), 2.0);
}
