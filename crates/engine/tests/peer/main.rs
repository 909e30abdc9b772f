//! A far end that is not ours: early media, late offers, hold, its own BYE, odd requests.
#![expect(clippy::float_cmp, reason = "counts are exact")]

#[path = "../common/mod.rs"]
mod common;
mod digits;
mod glare;
mod late;
mod patience;
mod refresh;
mod streams;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use callmeter_engine::media::MediaCommand;
use callmeter_engine::{
    Action, Assign, Outcome, Phase, Reliable, Role, Scenario, ShareId, Step, When,
};
use callmeter_metrics::id;
use common::{World, ms, secs};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 5060);

const SDP: &str = "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\n\
                   m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=ptime:20\n";

/// A value of a header of the last request or response we sent to the peer.
fn sent(world: &World, header: &str) -> String {
    let text = world
        .raw
        .iter()
        .rev()
        .find(|(to, _)| *to == PEER)
        .map(|(_, text)| text.as_str());
    let mut lines = text.unwrap_or_default().lines();
    let value = lines.find_map(|line| line.strip_prefix(header)?.strip_prefix(": "));
    value.unwrap_or_default().trim().to_owned()
}

fn with_body(head: &str, body: &str) -> String {
    let length = body.replace('\n', "\r\n").len();
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\n"
    };
    format!("{head}{kind}Content-Length: {length}\n\n{body}")
}

/// The peer answers the request we sent last.
fn respond(world: &mut World, status: &str, body: &str) {
    let header = |name: &str| format!("{name}: {}\n", sent(world, name));
    let head = format!(
        "SIP/2.0 {status}\n{}{}To: {};tag=peer\n{}{}Contact: <sip:peer@{PEER}>\n",
        header("Via"),
        header("From"),
        sent(world, "To"),
        header("Call-ID"),
        header("CSeq"),
    );
    let to = world.sites[0].ports[&ShareId(1)];
    world.inject(PEER, to, &with_body(&head, body));
    world.run_for(ms(20));
}

/// The text of what we sent last to the peer.
fn last(world: &World) -> String {
    let mut sent = world.raw.iter().rev();
    let found = sent.find(|(to, _)| *to == PEER);
    found.map(|(_, text)| text.clone()).unwrap_or_default()
}

fn header_of(text: &str, name: &str) -> String {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_default().to_owned()
}

/// The peer answers a request of ours that need not be the last.
fn reply(world: &mut World, request: &str, status: &str, lines: &str, body: &str) {
    let [via, from, to, id, cseq] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header_of(request, name));
    let tag = if to.contains("tag=") { "" } else { ";tag=peer" };
    let head = format!(
        "SIP/2.0 {status}\nVia: {via}\nFrom: {from}\nTo: {to}{tag}\nCall-ID: {id}\nCSeq: {cseq}\n\
         Contact: <sip:peer@{PEER}>\n{lines}"
    );
    let to = world.sites[0].ports[&ShareId(1)];
    world.inject(PEER, to, &with_body(&head, body));
    world.run_for(ms(20));
}

/// The peer sends a request of its own to the endpoint.
fn request(world: &mut World, method: &str, cseq: u32, to_tag: &str, body: &str) {
    request_with(world, method, cseq, to_tag, "", body);
}

/// The same with further header fields.
fn request_with(world: &mut World, method: &str, cseq: u32, to_tag: &str, lines: &str, body: &str) {
    let to = world.sites[0].ports[&ShareId(1)];
    let head = format!(
        "{method} sip:group-1-0@{to} SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{method}{cseq}\n\
         From: <sip:peer@{PEER}>;tag=p1\nTo: <sip:group-1-0@{to}>{to_tag}\nCall-ID: c1@{PEER}\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <sip:peer@{PEER}>\n{lines}"
    );
    world.inject(PEER, to, &with_body(&head, body));
    world.run_for(ms(20));
}

fn tag_of_ours(world: &World) -> String {
    let to = sent(world, "To");
    format!(";tag={}", to.split("tag=").nth(1).unwrap_or_default())
}

fn starts(world: &World) -> Vec<bool> {
    let sending = world
        .media
        .commands
        .iter()
        .filter_map(|(_, _, command)| match command {
            MediaCommand::Start { start_sending, .. } => Some(*start_sending),
            _ => None,
        });
    sending.collect()
}

/// The ports the stream was told to send to, and whether to send yet.
fn remotes(world: &World) -> Vec<(u16, bool)> {
    let commands = world.media.commands.iter();
    let told = commands.filter_map(|(_, _, command)| match command {
        MediaCommand::Start {
            remote,
            start_sending,
            ..
        } => Some((remote.port(), *start_sending)),
        _ => None,
    });
    told.collect()
}

fn stops(world: &World) -> usize {
    let stop = |c: &MediaCommand| matches!(c, MediaCommand::StopSending { .. });
    world
        .media
        .commands
        .iter()
        .filter(|(_, _, command)| stop(command))
        .count()
}

fn caller(world: &mut World) {
    let plan = world.plan(0, 1, Role::Caller, 1);
    caller_of(world, plan);
}

/// The INVITE of a caller is on its way to the peer.
fn caller_of(world: &mut World, plan: Assign) {
    world.assign(0, plan);
    world.start(0, 1, &[format!("sip:peer@{PEER}")]);
    world.run_for(ms(20));
    assert!(sent(world, "CSeq").ends_with("INVITE"));
}

/// 183 with SDP: heard before the answer, spoken after it; the delay to it is the post-dial delay.
#[test]
fn early_media_is_heard_before_the_answer() {
    let mut world = World::new(1, 1);
    // The peer sends neither RTP nor RTCP.
    world.media.deaf_to.insert(8);
    caller(&mut world);
    respond(&mut world, "183 Session Progress", SDP);
    assert_eq!(starts(&world), [false]);
    world.run_for(secs(2));
    assert_eq!(world.sites[0].phases(1, 0, 1), [Phase::Calling]);
    respond(&mut world, "200 OK", SDP);
    assert_eq!(starts(&world), [false, true]);
    assert_eq!(world.sites[0].phases(1, 0, 1).last(), Some(&Phase::InCall));
    assert!(sent(&world, "CSeq").ends_with("ACK"));
    world.run_for(secs(10));
    assert!(sent(&world, "CSeq").ends_with("BYE"));
    respond(&mut world, "200 OK", "");
    world.run_until_ended(secs(5));
    let site = &world.sites[0];
    assert_eq!(site.values(1, id::TIME_TO_RINGING_MS), [], "183 is no 180");
    assert_eq!(site.values(1, id::POST_DIAL_DELAY_MS).len(), 1);
    assert_eq!(site.values(1, id::MISSING_AUDIO), [1.0]);
    assert_eq!(site.totals(1).calls, [(Outcome::CompletedWithWarnings, 1)]);
}

/// An offer by UPDATE before the answer, once a reliable 183 has agreed on a first session
/// (RFC 3311 §5.2): answered, and heard from the new address; the 200 makes us speak to it.
#[test]
fn an_offer_before_the_answer_is_answered() {
    let mut world = World::new(1, 7);
    let plan = Assign {
        reliable: Reliable::Supported,
        ..world.plan(0, 1, Role::Caller, 1)
    };
    world.assign(0, plan);
    world.start(0, 1, &[format!("sip:peer@{PEER}")]);
    world.run_for(ms(20));
    let invite = last(&world);
    let reliable = "Require: 100rel\nRSeq: 1\n";
    reply(&mut world, &invite, "183 Session Progress", reliable, SDP);
    let prack = last(&world);
    assert!(prack.starts_with("PRACK "), "{prack}");
    reply(&mut world, &prack, "200 OK", "", "");
    assert_eq!(remotes(&world), [(4000, false)]);

    let moved = SDP
        .replace("1 1 IN", "1 2 IN")
        .replace("audio 4000", "audio 4002");
    let [from, to, id] = ["To", "From", "Call-ID"].map(|name| header_of(&invite, name));
    let at = world.sites[0].ports[&ShareId(1)];
    let head = format!(
        "UPDATE sip:group-1-0@{at} SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKu1\n\
         From: {from};tag=peer\nTo: {to}\nCall-ID: {id}\nCSeq: 1 UPDATE\nMax-Forwards: 70\n\
         Contact: <sip:peer@{PEER}>\n"
    );
    world.inject(PEER, at, &with_body(&head, &moved));
    world.run_for(ms(20));
    let answer = last(&world);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert!(answer.contains("m=audio "), "{answer}");
    assert_eq!(remotes(&world).last(), Some(&(4002, false)));

    reply(&mut world, &invite, "200 OK", "", "");
    assert_eq!(remotes(&world).last(), Some(&(4002, true)));
    assert_eq!(world.sites[0].phases(1, 0, 1).last(), Some(&Phase::InCall));
}

/// An answer we cannot use: acknowledged, ended by BYE, `NEGOTIATION_FAILED`.
#[test]
fn an_unusable_answer_fails_the_negotiation() {
    let mut world = World::new(1, 2);
    caller(&mut world);
    respond(
        &mut world,
        "200 OK",
        &SDP.replace("RTP/AVP 8", "RTP/AVP 18"),
    );
    assert!(sent(&world, "CSeq").ends_with("BYE"));
    respond(&mut world, "200 OK", "");
    world.run_until_ended(secs(5));
    assert_eq!(world.sites[0].calls(1)[0].0, Outcome::NegotiationFailed);
    assert_eq!(starts(&world), Vec::<bool>::new());
}

/// The peer hangs up first: we stop sending at once and count it as a success.
#[test]
fn the_far_end_may_hang_up() {
    let mut world = World::new(1, 3);
    let callee = world.plan(0, 1, Role::Callee, 1);
    world.assign(0, callee);
    world.start(0, 1, &[]);
    request(&mut world, "INVITE", 1, "", SDP);
    world.run_for(secs(1));
    let tag = tag_of_ours(&world);
    request(&mut world, "ACK", 1, &tag, "");
    assert_eq!(starts(&world), [true]);
    world.run_for(secs(4));
    request(&mut world, "BYE", 2, &tag, "");
    assert_eq!(stops(&world), 1);
    world.run_for(secs(1));
    assert_eq!(
        world.sites[0].calls(1)[0].0,
        Outcome::CompletedWithWarnings,
        "nothing was heard"
    );
    assert_eq!(world.media.open_streams(), 0);
    let duration = world.sites[0].values(1, id::CALL_DURATION_MS);
    assert!((duration[0] - 4045.0).abs() < 25.0, "{duration:?}");
}

/// An INVITE without SDP is answered with our offer; media starts with the answer in the ACK.
#[test]
fn a_late_offer_is_ours() {
    let mut world = World::new(1, 4);
    let callee = world.plan(0, 1, Role::Callee, 1);
    world.assign(0, callee);
    world.start(0, 1, &[]);
    request(&mut world, "INVITE", 1, "", "");
    world.run_for(secs(1));
    assert_eq!(starts(&world), Vec::<bool>::new());
    assert_eq!(sent(&world, "Content-Type"), "application/sdp");
    let tag = tag_of_ours(&world);
    request(&mut world, "ACK", 1, &tag, SDP);
    assert_eq!(starts(&world), [true]);
    assert_eq!(world.sites[0].phases(1, 0, 1).last(), Some(&Phase::InCall));
}

/// Hold stops what we send, resume starts it again, the stream stays.
#[test]
fn hold_and_resume_by_the_far_end() {
    let mut world = World::new(1, 5);
    let callee = world.plan(0, 1, Role::Callee, 1);
    world.assign(0, callee);
    world.start(0, 1, &[]);
    request(&mut world, "INVITE", 1, "", SDP);
    world.run_for(secs(1));
    let tag = tag_of_ours(&world);
    request(&mut world, "ACK", 1, &tag, "");
    let hold = SDP.replace("1 1 IN", "1 2 IN") + "a=sendonly\n";
    request(&mut world, "INVITE", 2, &tag, &hold);
    assert_eq!((starts(&world), stops(&world)), (vec![true, false], 1));
    request(&mut world, "ACK", 2, &tag, "");
    request(
        &mut world,
        "INVITE",
        3,
        &tag,
        &SDP.replace("1 1 IN", "1 3 IN"),
    );
    assert_eq!(starts(&world), [true, false, true]);
    request(&mut world, "ACK", 3, &tag, "");
    request(&mut world, "BYE", 4, &tag, "");
    world.run_for(secs(2));
    assert_eq!(world.sites[0].calls(1).len(), 1);
}

/// Nobody acknowledges our answer: the call ends as TIMEOUT, by our BYE.
#[test]
fn an_answer_that_is_never_acknowledged_times_out() {
    let mut world = World::new(1, 6);
    let callee = world.plan(0, 1, Role::Callee, 1);
    world.assign(0, callee);
    world.start(0, 1, &[]);
    request(&mut world, "INVITE", 1, "", SDP);
    world.run_for(secs(34));
    assert!(sent(&world, "CSeq").ends_with("BYE"));
    world.run_until_ended(secs(120));
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Timeout, 1)]);
}

/// A callee that sends provisional responses reliably, and the 180 it sends to an INVITE without
/// SDP: its text and the tag of ours.
fn rings_with_an_offer(world: &mut World) -> (String, String) {
    let plan = Assign {
        reliable: Reliable::Supported,
        ..world.plan(0, 1, Role::Callee, 1)
    };
    world.assign(0, plan);
    world.start(0, 1, &[]);
    request_with(world, "INVITE", 1, "", "Supported: 100rel\n", "");
    let ringing = last(world);
    assert!(ringing.starts_with("SIP/2.0 180 "), "{ringing}");
    assert!(ringing.contains("m=audio "), "{ringing}");
    let tag = tag_of_ours(world);
    (ringing, tag)
}

/// The PRACK of a response.
fn prack(world: &mut World, response: &str, tag: &str, body: &str) {
    let rack = format!("RAck: {} 1 INVITE\n", header_of(response, "RSeq"));
    request_with(world, "PRACK", 2, tag, &rack, body);
}

/// An INVITE without SDP from a peer that takes reliable responses: our 180 offers, the PRACK
/// answers (RFC 3262 §5). Heard by that before the answer, spoken after it.
#[test]
fn an_offer_in_180_is_answered_by_the_prack() {
    let mut world = World::new(1, 8);
    let (ringing, tag) = rings_with_an_offer(&mut world);
    prack(&mut world, &ringing, &tag, SDP);
    assert_eq!(remotes(&world), [(4000, false)]);
    // The peer moves before the answer.
    let moved = SDP
        .replace("1 1 IN", "1 2 IN")
        .replace("audio 4000", "audio 4002");
    request(&mut world, "UPDATE", 3, &tag, &moved);
    assert!(last(&world).starts_with("SIP/2.0 200 "));
    assert_eq!(remotes(&world).last(), Some(&(4002, false)));
    world.run_for(secs(1));
    let answer = last(&world);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert!(header_of(&answer, "CSeq").ends_with("INVITE"));
    assert!(!answer.contains("m=audio "), "{answer}");
    assert_eq!(remotes(&world).last(), Some(&(4002, true)));
    request(&mut world, "ACK", 1, &tag, "");
    assert_eq!(world.sites[0].phases(1, 0, 1).last(), Some(&Phase::InCall));
    request(&mut world, "BYE", 4, &tag, "");
    world.run_for(secs(1));
    assert_eq!(world.sites[0].calls(1)[0].0, Outcome::Success);
}

/// An answer in the PRACK that is missing or that we cannot use: the call is refused.
#[test]
fn a_prack_without_an_answer_fails_the_negotiation() {
    let unusable = SDP.replace("RTP/AVP 8", "RTP/AVP 18");
    for (body, code) in [("", "400"), (&unusable[..], "488")] {
        for answered in [false, true] {
            let mut world = World::new(1, 9);
            let (ringing, tag) = rings_with_an_offer(&mut world);
            if answered {
                world.run_for(secs(1));
            }
            prack(&mut world, &ringing, &tag, body);
            let bye = answered && code == "488";
            let end = last(&world);
            if bye {
                // The 200 that waited for the PRACK has gone: acknowledged, then ended.
                request(&mut world, "ACK", 1, &tag, "");
                assert!(sent(&world, "CSeq").ends_with("BYE"));
                respond(&mut world, "200 OK", "");
            } else {
                assert!(end.starts_with(&format!("SIP/2.0 {code} ")), "{end}");
            }
            world.run_for(secs(2));
            assert_eq!(world.sites[0].calls(1)[0].0, Outcome::NegotiationFailed);
            assert_eq!(starts(&world), Vec::<bool>::new());
        }
    }
}

/// A PBX that takes a transfer and hangs up before it tells of it: told is what counts, and no
/// further step starts.
#[test]
fn a_transfer_is_told_of_after_the_far_end_hung_up() {
    let step = |at, action| Step {
        when: When::At(ms(at)),
        action,
    };
    let transfer = Action::Transfer {
        to: format!("sip:third@{PEER}").parse().unwrap(),
        attended: false,
    };
    for (code, executed) in [(200, 1.0), (486, 0.0)] {
        let mut world = World::new(1, 10);
        // The peer sends neither RTP nor RTCP.
        world.media.deaf_to.insert(8);
        let mut plan = world.plan(0, 1, Role::Caller, 1);
        plan.scenario = Scenario::new(vec![
            step(500, transfer.clone()),
            step(2000, Action::HangUp),
        ])
        .unwrap();
        world.assign(0, plan);
        world.start(0, 1, &[format!("sip:peer@{PEER}")]);
        world.run_for(ms(20));
        let invite = last(&world);
        respond(&mut world, "200 OK", SDP);
        world.run_for(ms(500));
        let refer = last(&world);
        assert!(refer.starts_with("REFER "), "{refer}");
        respond(&mut world, "202 Accepted", "");
        let [from, to, id] = ["To", "From", "Call-ID"].map(|name| header_of(&invite, name));
        let at = world.sites[0].ports[&ShareId(1)];
        let mut within = |cseq: u32, method: &str, lines: &str, body: &str| {
            let head = format!(
                "{method} sip:group-1-0@{at} SIP/2.0\n\
                 Via: SIP/2.0/UDP {PEER};branch=z9hG4bKt{cseq}\n\
                 From: {from};tag=peer\nTo: {to}\nCall-ID: {id}\nCSeq: {cseq} {method}\n\
                 Max-Forwards: 70\nContact: <sip:peer@{PEER}>\n{lines}"
            );
            world.inject(PEER, at, &with_body(&head, body));
            world.run_for(secs(2));
            last(&world)
        };
        assert!(within(1, "BYE", "", "").starts_with("SIP/2.0 200 "));
        let lines = "Event: refer\nSubscription-State: terminated;reason=noresource\n";
        let told = within(2, "NOTIFY", lines, &format!("SIP/2.0 {code} Whatever\n"));
        assert!(told.starts_with("SIP/2.0 200 "), "{told}");
        world.run_for(secs(3));
        let site = &world.sites[0];
        assert_eq!(site.calls(1).len(), 1);
        assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_EXECUTED), executed);
        assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_FAILED), 2.0 - executed);
        assert_eq!(
            site.values(1, id::MISSING_AUDIO),
            [],
            "it stood for half a second"
        );
        assert_eq!(world.media.open_streams(), 0);
    }
}
