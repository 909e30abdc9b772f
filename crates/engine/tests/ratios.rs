//! The figures that are worked out from many calls, and the counters of SIP messages: over runs
//! whose calls end in every way.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use callmeter_engine::{Account, MetricId, Outcome, Password, Role, RowDirection, ShareId, What};
use callmeter_metrics::{OutcomeTotals, derive, id};
use common::proxy::Proxy;
use common::{World, secs};

/// Callers on site 0, each calling a callee of its own that answers with a code; the last one
/// calls where nobody is.
fn calls(codes: &[u16]) -> World {
    let mut world = World::new(2, 1);
    let mut peers = Vec::new();
    for (index, code) in codes.iter().enumerate() {
        let share = index as u32 + 1;
        let mut callee = world.plan(1, share, Role::Callee, 1);
        callee.call.answer_code = *code;
        callee.duration = secs(50);
        world.assign(1, callee);
        world.start(1, share, &[]);
        peers.extend(world.sites[1].contacts(share));
    }
    peers.push("sip:nobody@192.0.2.77:5060".to_owned());
    let mut callers = world.plan(0, 1, Role::Caller, peers.len() as u32);
    callers.duration = secs(50);
    world.assign(0, callers);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(120));
    world
}

fn derived(world: &World, metric: MetricId) -> Option<f64> {
    let site = &world.sites[0];
    let of = |wanted: &dyn Fn(Outcome) -> bool| {
        let calls = site.totals(1).calls.iter();
        calls.filter(|(o, _)| wanted(*o)).map(|(_, n)| n).sum()
    };
    let completed = site.events.iter().filter(|event| {
        let completed = matches!(
            event.what,
            What::CallEnded {
                outgoing: true,
                completed: true,
                ..
            }
        );
        event.share == ShareId(1) && completed
    });
    let outcomes = OutcomeTotals {
        calls: of(&|_| true),
        success: of(&|o| o == Outcome::Success),
        completed: completed.count() as u64,
    };
    derive(metric, &site.aggregate(1), Some(&outcomes))
}

/// The sum of a metric over one direction's rows of a share.
fn count(world: &World, site: usize, share: u32, direction: RowDirection, metric: MetricId) -> f64 {
    world.sites[site]
        .rows_of(share)
        .filter(|row| row.direction == direction)
        .flat_map(|row| row.values.iter())
        .filter(|value| value.metric == metric)
        .map(|value| value.value)
        .sum()
}

const CODES: [u16; 11] = [200, 200, 302, 480, 486, 500, 503, 504, 600, 603, 408];

/// RFC 6076 §4.6 to §4.9 and the ratios of telephony over twelve attempts: two answered, one sent
/// elsewhere, 480, 486, 600 and 603 each once, 500, 503, 504 and 408 each once, one never answered.
#[test]
fn ratios_of_calls_that_end_in_every_way() {
    let world = calls(&CODES);
    for (metric, expected) in [
        (id::SER, 2.0 / 11.0),
        (id::SEER, 6.0 / 11.0),
        (id::ISA, 5.0 / 12.0),
        (id::SCR, 2.0 / 12.0),
        (id::ASR, 2.0 / 12.0),
        (id::NER, 4.0 / 12.0),
    ] {
        let found = derived(&world, metric).unwrap();
        assert!((found - expected * 100.0).abs() < 1e-9, "{metric}: {found}");
    }
    let duration = derived(&world, id::ACD_S).unwrap();
    assert!((duration - 10.0).abs() < 0.02, "{duration}");
    let aggregate = world.sites[0].aggregate(1);
    let codes = aggregate.tally(id::FINAL_STATUS_CODE).unwrap();
    assert_eq!(codes.get(&200), Some(&2));
    assert!(
        CODES[2..]
            .iter()
            .all(|code| codes.get(&u32::from(*code)) == Some(&1))
    );
    assert_eq!(codes.values().sum::<u64>(), 11, "no code without an answer");

    // Control: calls that all are answered.
    let mut well = World::new(2, 2);
    let callees = well.plan(1, 1, Role::Callee, 3);
    well.assign(1, callees);
    let callers = well.plan(0, 1, Role::Caller, 3);
    well.assign(0, callers);
    let peers = well.sites[1].contacts(1);
    well.start(1, 1, &[]);
    well.start(0, 1, &peers);
    well.run_until_ended(secs(90));
    for (metric, expected) in [
        (id::SER, 100.0),
        (id::SEER, 100.0),
        (id::ISA, 0.0),
        (id::SCR, 100.0),
        (id::ASR, 100.0),
        (id::NER, 100.0),
    ] {
        assert_eq!(derived(&well, metric), Some(expected), "{metric}");
    }
}

/// The answer of a far end that is not ours to the last request it got of a method.
fn reply(world: &mut World, peer: &str, method: &str, status: &str, body: &str) {
    let peer = peer.parse().unwrap();
    let asked = world.raw.iter().rev();
    let request = asked
        .filter(|(to, _)| *to == peer)
        .find(|(_, text)| text.starts_with(method))
        .map(|(_, text)| text.clone())
        .unwrap();
    let copied: String = request
        .lines()
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .flat_map(|line| {
            let untagged = line.starts_with("To:") && !line.contains("tag=");
            [line, if untagged { ";tag=peer\n" } else { "\n" }]
        })
        .collect();
    let length = body.replace('\n', "\r\n").len();
    let text = format!(
        "SIP/2.0 {status}\n{copied}Contact: <sip:peer@{peer}>\nContent-Type: application/sdp\n\
         Content-Length: {length}\n\n{body}"
    );
    let to = world.sites[0].ports[&ShareId(1)];
    world.inject(peer, to, &text);
}

/// RFC 6076 §4.9: of a call that stands and one that rings when the test is stopped, and one whose
/// BYE is refused, all without a failure, only the first is a session that completes.
#[test]
fn only_sessions_that_end_by_bye_and_its_200_complete() {
    const PEER: &str = "192.0.2.9:5060";
    const SDP: &str = "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\n\
                       m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\n";
    let mut world = World::new(2, 5);
    for (share, ring) in [(1, 1), (2, 100)] {
        let mut callee = world.plan(1, share, Role::Callee, 1);
        callee.call.ring = secs(ring);
        world.assign(1, callee);
        world.start(1, share, &[]);
    }
    let mut peers = world.sites[1].contacts(1);
    peers.extend(world.sites[1].contacts(2));
    peers.push(format!("sip:peer@{PEER}"));
    let callers = world.plan(0, 1, Role::Caller, 3);
    world.assign(0, callers);
    world.start(0, 1, &peers);
    world.run_for(secs(1));
    reply(&mut world, PEER, "INVITE", "200 OK", SDP);
    world.run_for(secs(4));
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "test"));
    reply(&mut world, PEER, "BYE", "481 Gone", "");
    world.run_until_ended(secs(120));
    let site = &world.sites[0];
    let outcomes = [(Outcome::Success, 1), (Outcome::CompletedWithWarnings, 2)];
    assert_eq!(site.totals(1).calls, outcomes, "{:?}", site.calls(1));
    let found = derived(&world, id::SCR).unwrap();
    assert!((found - 100.0 / 3.0).abs() < 1e-9, "{found}");
    assert!((derived(&world, id::ASR).unwrap() - 200.0 / 3.0).abs() < 1e-9);
}

/// Every response is counted once where it is sent and once where it arrives, in its class; so is
/// every message.
#[test]
fn responses_and_messages_add_up_between_both_ends() {
    let world = calls(&CODES);
    let shares = 1..=CODES.len() as u32;
    let callees = |direction, metric| -> f64 {
        shares
            .clone()
            .map(|share| count(&world, 1, share, direction, metric))
            .sum()
    };
    for (metric, expected) in [
        // 180 to each; no 100: the callee rings at once.
        (id::SIP_1XX, 11.0),
        // Two answers, the answers to two BYEs.
        (id::SIP_2XX, 4.0),
        (id::SIP_3XX, 1.0),
        (id::SIP_4XX, 3.0),
        (id::SIP_5XX, 3.0),
        (id::SIP_6XX, 2.0),
    ] {
        let received = count(&world, 0, 1, RowDirection::Recv, metric);
        assert_eq!(received, expected, "{metric}");
        assert_eq!(callees(RowDirection::Send, metric), expected, "{metric}");
        assert_eq!(count(&world, 0, 1, RowDirection::Send, metric), 0.0);
        assert_eq!(callees(RowDirection::Recv, metric), 0.0);
    }
    // INVITE and ACK to each of eleven, two BYEs; seven more INVITEs to nobody.
    let sent = count(&world, 0, 1, RowDirection::Send, id::SIP_MESSAGES_SENT);
    assert_eq!(sent, 24.0 + 7.0);
    assert_eq!(callees(RowDirection::Recv, id::SIP_MESSAGES_RECEIVED), 24.0);
    let answers = callees(RowDirection::Send, id::SIP_MESSAGES_SENT);
    assert_eq!(answers, 24.0);
    let received = count(&world, 0, 1, RowDirection::Recv, id::SIP_MESSAGES_RECEIVED);
    assert_eq!(received, answers);
    let again = count(&world, 0, 1, RowDirection::Send, id::SIP_RETRANSMISSIONS);
    assert_eq!(again, 6.0, "of the INVITE nobody heard");
    assert_eq!(world.sites[0].sum(1, id::SIP_TIMEOUTS), 1.0);
}

/// What belongs to no call and what does not fit its call is counted for the endpoint it is
/// addressed to; a run without such messages counts none.
#[test]
fn strays_are_counted_for_their_endpoint() {
    for strays in [false, true] {
        let mut world = World::new(2, 3);
        let callees = world.plan(1, 1, Role::Callee, 2);
        world.assign(1, callees);
        let callers = world.plan(0, 1, Role::Caller, 2);
        world.assign(0, callers);
        let peers = world.sites[1].contacts(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_for(secs(3));
        let from = "192.0.2.9:5060".parse().unwrap();
        let to = "192.0.2.2:5061".parse().unwrap();
        let methods = ["BYE", "INFO", "ACK", "PUBLISH"];
        for (n, method) in methods.iter().enumerate().filter(|_| strays) {
            let tag = if *method == "PUBLISH" {
                ""
            } else {
                ";tag=gone"
            };
            let text = format!(
                "{method} sip:group-1-1@192.0.2.2:5061 SIP/2.0\n\
                 Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKs{n}\n\
                 From: <sip:x@192.0.2.9>;tag=f\nTo: <sip:group-1-1@192.0.2.2>{tag}\n\
                 Call-ID: stray{n}\nCSeq: 1 {method}\nMax-Forwards: 70\nContent-Length: 0\n\n"
            );
            world.inject(from, to, &text);
        }
        world.run_until_ended(secs(90));
        let n = f64::from(u8::from(strays));
        let callee = &world.sites[1];
        assert_eq!(callee.sum(1, id::SIP_OUT_OF_DIALOG), 3.0 * n);
        assert_eq!(callee.sum(1, id::SIP_UNEXPECTED), n);
        let received = |endpoint| -> f64 {
            let rows = callee.rows_of(1).filter(|row| row.endpoint == endpoint);
            rows.flat_map(|row| row.values.iter())
                .filter(|value| value.metric == id::SIP_MESSAGES_RECEIVED)
                .map(|value| value.value)
                .sum()
        };
        assert_eq!((received(0), received(1)), (3.0, 3.0 + 4.0 * n));
    }
}

/// Three REGISTERs, one refused, and two un-REGISTERs: one attempt of five failed.
#[test]
fn ratios_of_registrations() {
    for (banned, success, failed) in [(true, 80.0, 20.0), (false, 100.0, 0.0)] {
        let mut world = World::new(1, 4);
        let mut proxy = Proxy::new("192.0.2.100:5060");
        if banned {
            proxy.banned.push("cy".to_owned());
        }
        world.proxy = Some(proxy);
        let mut plan = world.plan(0, 1, Role::Callee, 3);
        plan.registrar.domain = "192.0.2.100".into();
        plan.registrar.register = true;
        plan.accounts = ["ann", "bob", "cy"]
            .map(|user| Account {
                user: user.to_owned(),
                password: Password::new("secret"),
                auth_user: String::new(),
                realm: String::new(),
            })
            .to_vec();
        plan.duration = secs(10);
        world.assign(0, plan);
        world.run_for(secs(1));
        world.start(0, 1, &[]);
        world.run_until_ended(secs(60));
        assert_eq!(derived(&world, id::REG_SUCCESS_RATIO), Some(success));
        assert_eq!(derived(&world, id::REG_INEFFECTIVE_RATIO), Some(failed));
        assert_eq!(
            world.sites[0].sum(1, id::REG_FAILED),
            f64::from(u8::from(banned))
        );
    }
}
