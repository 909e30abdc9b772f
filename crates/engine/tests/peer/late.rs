//! Re-INVITEs without SDP: our 200 offers, the ACK answers (RFC 3261 §14.2). PBXs hold and resume
//! by them.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::expect_used, reason = "helpers of tests fail the test")]

use callmeter_engine::media::Digits;
use callmeter_engine::{
    Action, Assign, MetricId, Outcome, Role, RowDirection, Scenario, Step, When,
};
use callmeter_metrics::id;

use crate::common::{World, ms, secs};
use crate::{SDP, last, reply, request, starts, stops, tag_of_ours};

/// A description of the peer: telephone events under a number of its own, a direction.
fn described(version: u32, direction: &str) -> String {
    let described = SDP
        .replace("1 1 IN", &format!("1 {version} IN"))
        .replace("RTP/AVP 8", "RTP/AVP 8 96");
    let events = "a=rtpmap:96 telephone-event/8000\na=fmtp:96 0-15\n";
    format!("{described}{events}a={direction}\n")
}

/// A call of the peer to an endpoint with these steps; the tag of the endpoint.
fn called(seed: u64, steps: Vec<Step>) -> (World, String) {
    let mut world = World::new(1, seed);
    let plan = Assign {
        scenario: Scenario::new(steps).expect("a scenario"),
        ..world.plan(0, 1, Role::Callee, 1)
    };
    world.assign(0, plan);
    world.start(0, 1, &[]);
    request(&mut world, "INVITE", 1, "", &described(1, "sendrecv"));
    world.run_for(secs(1));
    let tag = tag_of_ours(&world);
    request(&mut world, "ACK", 1, &tag, "");
    (world, tag)
}

/// The peer asks for an offer: which version and direction ours has. The number of its telephone
/// events stays that of the session.
fn offered(world: &mut World, cseq: u32, tag: &str) -> (String, String) {
    request(world, "INVITE", cseq, tag, "");
    let offer = last(world);
    assert!(offer.starts_with("SIP/2.0 200 "), "{offer}");
    assert!(offer.contains(" RTP/AVP 8 96\r\n"), "{offer}");
    let origin = offer
        .lines()
        .find(|line| line.starts_with("o="))
        .unwrap_or_default();
    let version = origin.split(' ').nth(2).unwrap_or_default();
    let direction = offer.lines().next_back().unwrap_or_default();
    (version.to_owned(), direction.to_owned())
}

fn sum(world: &World, direction: RowDirection, metric: MetricId) -> f64 {
    let rows = world.sites[0].rows_of(1);
    let values = rows
        .filter(|row| row.direction == direction)
        .flat_map(|row| &row.values);
    let values = values.filter(|value| value.metric == metric);
    values.map(|value| value.value).sum()
}

/// Both are told to the scenario and counted, and digits go on under the peer's number.
#[test]
fn hold_and_resume_by_a_reinvite_without_sdp() {
    let on = |when, action| Step { when, action };
    let steps = vec![
        on(When::HoldReceived, Action::SendDtmf("3".into())),
        on(When::ResumeReceived, Action::SendDtmf("4".into())),
        on(When::DtmfReceived("5".into()), Action::HangUp),
    ];
    let (mut world, tag) = called(21, steps);
    // The peer is not heard by a site.
    world.media.deaf_to.insert(8);
    for (cseq, direction, digit) in [(2, "sendonly", "3"), (3, "sendrecv", "4")] {
        let version = (cseq - 1).to_string();
        let before = starts(&world).len();
        let offer = offered(&mut world, cseq, &tag);
        assert_eq!(offer, (version, "a=sendrecv".to_owned()));
        world.run_for(secs(2));
        assert_eq!(
            starts(&world).len(),
            before,
            "what was agreed on holds until the ACK"
        );
        request(&mut world, "ACK", cseq, &tag, &described(cseq, direction));
        let info = last(&world);
        assert!(info.starts_with("INFO "), "{info}");
        assert!(info.contains(&format!("Signal={digit}")), "{info}");
        reply(&mut world, &info, "200 OK", "", "");
    }
    assert_eq!(
        (starts(&world), stops(&world)),
        (vec![true, false, true], 1)
    );

    let digits: Digits = "5".parse().expect("a digit");
    world.hear(0, 96, digits.as_slice()[0]);
    world.run_for(ms(100));
    let bye = last(&world);
    assert!(bye.starts_with("BYE "), "{bye}");
    reply(&mut world, &bye, "200 OK", "", "");
    world.run_until_ended(secs(90));

    let (send, recv) = (RowDirection::Send, RowDirection::Recv);
    assert_eq!(sum(&world, recv, id::HOLD_COUNT), 1.0);
    assert_eq!(sum(&world, send, id::HOLD_COUNT), 0.0);
    assert_eq!(sum(&world, recv, id::REINVITE_COUNT), 2.0);
    assert_eq!(sum(&world, recv, id::SCENARIO_ACTIONS_EXECUTED), 3.0);
    assert_eq!(sum(&world, recv, id::SCENARIO_ACTIONS_FAILED), 0.0);
    assert_eq!(sum(&world, recv, id::DTMF_RECEIVED), 1.0);
}

/// Who holds offers that it sends only: the far end, which may hold as well, says what it wants.
#[test]
fn an_offer_that_was_asked_for_keeps_our_hold() {
    let hold = Step {
        when: When::At(secs(1)),
        action: Action::Hold,
    };
    let (mut world, tag) = called(22, vec![hold]);
    world.run_for(secs(1));
    let invite = last(&world);
    assert!(invite.starts_with("INVITE "), "{invite}");
    reply(&mut world, &invite, "200 OK", "", &described(2, "recvonly"));
    for (cseq, answer, sends) in [(2, "inactive", false), (3, "recvonly", true)] {
        let offer = offered(&mut world, cseq, &tag);
        assert_eq!(offer, (cseq.to_string(), "a=sendonly".to_owned()));
        request(&mut world, "ACK", cseq, &tag, &described(cseq + 1, answer));
        assert_eq!(starts(&world).last(), Some(&sends));
    }
    request(&mut world, "BYE", 4, &tag, "");
    world.run_until_ended(secs(90));
    assert_eq!(sum(&world, RowDirection::Send, id::HOLD_COUNT), 1.0);
    assert_eq!(sum(&world, RowDirection::Recv, id::HOLD_COUNT), 1.0);
}

/// An ACK cannot be refused: without an answer, or with one we cannot use, the call ends.
#[test]
fn an_ack_without_an_answer_ends_the_call() {
    let unusable = described(2, "sendrecv").replace("RTP/AVP 8", "RTP/AVP 18");
    let missing = "the ACK has no SDP answer to our offer";
    for (body, detail) in [
        ("", missing),
        (&unusable, "SDP has none of the codecs PCMA"),
    ] {
        let (mut world, tag) = called(23, vec![]);
        offered(&mut world, 2, &tag);
        request(&mut world, "ACK", 2, &tag, body);
        let bye = last(&world);
        assert!(bye.starts_with("BYE "), "{bye}");
        reply(&mut world, &bye, "200 OK", "", "");
        world.run_for(secs(2));
        let (outcome, _, said) = world.sites[0].calls(1).remove(0);
        assert_eq!((outcome, &said[..]), (Outcome::NegotiationFailed, detail));
    }
}

/// A re-INVITE we refuse changes nothing, the version of our description neither.
#[test]
fn a_refused_offer_leaves_the_version() {
    let (mut world, tag) = called(24, vec![]);
    let unusable = described(2, "sendrecv").replace("RTP/AVP 8", "RTP/AVP 18");
    request(&mut world, "INVITE", 2, &tag, &unusable);
    assert!(last(&world).starts_with("SIP/2.0 488 "));
    request(&mut world, "ACK", 2, &tag, "");
    let offer = offered(&mut world, 3, &tag);
    assert_eq!(offer, ("1".to_owned(), "a=sendrecv".to_owned()));
}
