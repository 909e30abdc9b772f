//! Whole runs without a registrar: two engines, a link, media in virtual time.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod common;

use std::collections::BTreeSet;

use callmeter_engine::{Outcome, Phase, Role, RowDirection, ShareId};
use callmeter_metrics::{OutcomeTotals, derive, emodel, id};
use common::media::PLAYOUT_MS;
use common::{World, ms, secs};

/// Two callers on site 0, two callees on site 1, two calls each.
fn two_by_two(world: &mut World) {
    let mut callees = world.plan(1, 1, Role::Callee, 2);
    callees.duration = secs(30);
    world.assign(1, callees);
    let mut callers = world.plan(0, 1, Role::Caller, 2);
    callers.duration = secs(30);
    callers.call.repeat = true;
    callers.start_offsets = vec![ms(0), ms(250)];
    world.assign(0, callers);
    let peers = world.sites[1].contacts(1);
    assert_eq!(peers.len(), 2);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

/// R99, R100, R105: every call answered and ended by the caller's BYE, both ends' counts agree,
/// and 32 s later nothing of the run is left.
#[test]
fn two_endpoints_make_two_calls_each_and_leave_nothing_behind() {
    let mut world = World::new(2, 1);
    two_by_two(&mut world);
    world.run_until_ended(secs(60));

    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 4)]);
        assert!(!site.totals(1).forced);
        assert_eq!(
            site.endpoints(1).into_values().collect::<Vec<_>>(),
            [Some(Outcome::Success); 2]
        );
        assert!(
            site.calls(1)
                .iter()
                .all(|(_, status, _)| *status == Some(200))
        );
        site.assert_rows_add_up(1);
        for endpoint in 0..2 {
            assert_eq!(
                site.phases(1, endpoint, 0),
                [Phase::Initializing, Phase::Closed]
            );
        }
    }
    for call in 1..=2 {
        use Phase::{Calling, Closed, Disconnecting, InCall, Negotiating, Ringing};
        let caller = [Calling, Ringing, Negotiating, InCall, Disconnecting, Closed];
        assert_eq!(world.sites[0].phases(1, 0, call), caller);
        let callee = [Ringing, Negotiating, InCall, Disconnecting, Closed];
        assert_eq!(world.sites[1].phases(1, 0, call), callee);
    }
    // Packets received = packets sent at the other end, to the packet.
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    for (one, other) in [(caller, callee), (callee, caller)] {
        let sent = one.sum(1, id::PACKETS_SENT);
        assert!(sent > 1900.0, "about 500 a call: {sent}");
        assert_eq!(other.sum(1, id::PACKETS_RECEIVED), sent);
        assert_eq!(other.sum(1, id::BYTES_RECEIVED), one.sum(1, id::BYTES_SENT));
    }
    assert_eq!(world.media.open_streams(), 0);

    let engines_empty = |world: &World| world.sites.iter().all(|site| site.engine.is_empty());
    world.run_for(secs(30));
    assert!(
        !engines_empty(&world),
        "late requests are answered for 32 s"
    );
    world.run_for(secs(3));
    assert!(engines_empty(&world));
    assert!(world.sites.iter().all(|site| site.closed == [ShareId(1)]));
    // Nothing is sent or done any more, and in the end nothing is even waited for.
    let messages = world.wire.len();
    world.run_for(secs(180));
    assert_eq!(world.wire.len(), messages);
    assert!(
        world
            .sites
            .iter()
            .all(|site| site.engine.next_timeout().is_none())
    );
}

/// Each time is the link's: one way 5 ms, ringing 1 s, talking 10 s.
#[test]
fn call_times_are_those_of_the_link() {
    let mut world = World::new(2, 2);
    two_by_two(&mut world);
    world.run_until_ended(secs(60));
    let caller = &world.sites[0];
    let callee = &world.sites[1];
    for (site, metric, expected) in [
        (caller, id::TIME_TO_TRYING_MS, 10.0),
        (caller, id::TIME_TO_RINGING_MS, 10.0),
        (caller, id::POST_DIAL_DELAY_MS, 10.0),
        (caller, id::CALL_SETUP_TIME_MS, 1010.0),
        (caller, id::RING_DURATION_MS, 1000.0),
        (caller, id::CALL_DURATION_MS, 10_000.0),
        (caller, id::DISCONNECT_DELAY_MS, 10.0),
        (callee, id::RING_DURATION_MS, 1000.0),
        (callee, id::ACK_DELAY_MS, 10.0),
        (callee, id::CALL_DURATION_MS, 10_010.0),
    ] {
        let found = site.values(1, metric);
        assert_eq!(found.len(), 4, "{metric}");
        assert!(
            found.iter().all(|ms| (ms - expected).abs() < 1.0),
            "{metric}: {found:?}"
        );
    }
    for (site, metric) in [
        (caller, id::ACK_DELAY_MS),
        (callee, id::CALL_SETUP_TIME_MS),
        (callee, id::DISCONNECT_DELAY_MS),
        (caller, id::FAILED_SRD_MS),
        (caller, id::CANCEL_DELAY_MS),
        (caller, id::DNS_TIME_MS),
        (caller, id::REGISTRATION_TIME_MS),
    ] {
        assert_eq!(site.values(1, metric), [], "{metric}");
    }
    // RTP takes 10 ms: the callee's first packet is 10 ms after its 200, the caller's 5 ms before.
    let first = caller.values(1, id::TIME_TO_FIRST_MEDIA_MS);
    assert!(
        first.len() == 4 && first.iter().all(|ms| (ms - 5.0).abs() < 1.5),
        "{first:?}"
    );
    assert_eq!(caller.sum(1, id::INVITE_SENT), 4.0);
    assert_eq!(callee.sum(1, id::INVITE_RECEIVED), 4.0);
    assert_eq!(caller.sum(1, id::SIP_RETRANSMISSIONS), 0.0);
    assert_eq!(
        caller.sum(1, id::SIP_MESSAGES_SENT),
        12.0,
        "INVITE, ACK, BYE"
    );
    assert_eq!(caller.values(1, id::FINAL_STATUS_CODE), [200.0; 4]);
    assert_eq!(caller.values(1, id::CALL_RESULT), [0.0; 4]);
    assert_eq!(caller.values(1, id::ONE_WAY_AUDIO), [0.0; 4]);
    assert_eq!(callee.values(1, id::MISSING_AUDIO), [0.0; 4]);
}

/// MOS of every second is the full formula's for the delay of that second: our own parts until
/// RTCP has measured the round trip, then all of it.
#[test]
fn mos_is_the_formulas_for_the_reported_delay() {
    let mut world = World::new(2, 3);
    world.media.delay = ms(40);
    two_by_two(&mut world);
    world.run_until_ended(secs(60));
    let mos_at = |delay_ms: f64| {
        let observed = emodel::Observed {
            delay_ms,
            loss_percent: 0.0,
            burst_ratio: 1.0,
        };
        emodel::Rating::new(&emodel::Parameters::g711(observed)).mos()
    };
    let own = PLAYOUT_MS + 20.0;
    let (mut partial, mut whole) = (0, 0);
    for row in world.sites[0]
        .rows_of(1)
        .filter(|row| row.direction == RowDirection::Recv)
    {
        let value = |metric| {
            row.values
                .iter()
                .find(|v| v.metric == metric)
                .map(|v| v.value)
        };
        let Some(mos) = value(id::MOS) else { continue };
        let delay = value(id::ONE_WAY_DELAY_MS);
        assert_eq!(delay.is_none(), row.delay_partial);
        assert_eq!(value(id::END_SYSTEM_DELAY_MS), Some(own));
        if let Some(delay) = delay {
            whole += 1;
            assert!((delay - (own + 40.0)).abs() < 1e-9, "{delay}");
            assert!((mos - 4.355).abs() < 0.005, "100 ms: {mos}");
        } else {
            partial += 1;
            assert!((mos - 4.375).abs() < 0.005, "60 ms: {mos}");
        }
        assert!((mos - mos_at(delay.unwrap_or(own))).abs() < 1e-9);
    }
    assert!(partial >= 12 && whole >= 12, "{partial} {whole}");
}

/// Loss shows in the counters, the rate and the score, and only there.
#[test]
fn lost_packets_are_counted_and_cost_mos() {
    let mut world = World::new(2, 4);
    world.media.lose_every = 50;
    two_by_two(&mut world);
    world.run_until_ended(secs(60));
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    let (sent, received) = (
        caller.sum(1, id::PACKETS_SENT),
        callee.sum(1, id::PACKETS_RECEIVED),
    );
    let lost = callee.sum(1, id::PACKETS_LOST);
    assert_eq!(
        received + lost,
        sent - f64::from(u8::from(received + lost < sent))
    );
    assert!((lost / sent - 0.02).abs() < 0.002, "{lost} of {sent}");
    let aggregate = callee.aggregate(1);
    let mos = aggregate.summary(id::MOS, RowDirection::Recv).unwrap();
    assert!(
        mos.mean.unwrap() < 4.25 && mos.min.unwrap() > 4.0,
        "{mos:?}"
    );
    assert_eq!(caller.totals(1).calls, [(Outcome::Success, 4)]);
}

/// R102: the summaries a report shows, from the rows alone.
#[test]
fn rows_add_up_to_a_report() {
    let mut world = World::new(2, 5);
    two_by_two(&mut world);
    world.run_until_ended(secs(60));
    let aggregate = world.sites[0].aggregate(1);
    let outcomes = OutcomeTotals {
        calls: 4,
        success: 4,
        completed: 4,
    };
    for (metric, expected) in [
        (id::ASR, 100.0),
        (id::SER, 100.0),
        (id::SCR, 100.0),
        (id::CALL_SUCCESS_RATE, 100.0),
        (id::PCT_SECONDS_GOOD, 100.0),
        (id::ACD_S, 10.0),
        (id::RTT_MAX_MS, 20.0),
    ] {
        let found = derive(metric, &aggregate, Some(&outcomes)).unwrap();
        assert!((found - expected).abs() < 0.01, "{metric}: {found}");
    }
    let active = aggregate
        .summary(id::CALLS_ACTIVE, RowDirection::None)
        .unwrap();
    assert_eq!((active.max, active.min), (Some(2.0), Some(0.0)));
    let rate = aggregate
        .summary(id::PACKETS_SENT_RATE_PS, RowDirection::Send)
        .unwrap();
    assert!((rate.p50.unwrap() - 50.0).abs() < 1.5, "{rate:?}");
}

/// A caller whose callee is in a call gets 486 and does not disturb it.
#[test]
fn a_busy_callee_refuses_the_second_caller() {
    let mut world = World::new(2, 6);
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let mut callers = world.plan(0, 1, Role::Caller, 2);
    callers.start_offsets = vec![ms(0), secs(3)];
    world.assign(0, callers);
    let peer = world.sites[1].contacts(1).remove(0);
    world.start(1, 1, &[]);
    world.start(0, 1, &[peer.clone(), peer]);
    world.run_until_ended(secs(90));
    let caller = &world.sites[0];
    assert_eq!(
        caller.totals(1).calls,
        [(Outcome::Success, 1), (Outcome::CallFailed, 1)]
    );
    let outcomes = [Some(Outcome::Success), Some(Outcome::CallFailed)];
    assert_eq!(
        caller.endpoints(1).into_values().collect::<Vec<_>>(),
        outcomes
    );
    assert_eq!(
        caller.calls(1)[0],
        (
            Outcome::CallFailed,
            Some(486),
            "refused: 486 Busy Here".into()
        )
    );
    assert_eq!(
        caller.aggregate(1).tally(id::CALL_RESULT).unwrap().get(&1),
        Some(&1)
    );
    let failed = caller.values(1, id::FAILED_SRD_MS);
    assert!(
        failed.len() == 1 && (failed[0] - 10.0).abs() < 1.0,
        "{failed:?}"
    );
    assert_eq!(world.sites[1].totals(1).calls, [(Outcome::Success, 1)]);
    assert_eq!(caller.sum(1, id::SIP_4XX), 1.0);
}

/// A caller whose callee failed ends `CALL_FAILED` without dialling, the others are not held up.
#[test]
fn a_caller_without_its_callee_never_dials() {
    let mut world = World::new(2, 7);
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let mut callers = world.plan(0, 1, Role::Caller, 2);
    callers.call.repeat = true;
    world.assign(0, callers);
    let peer = world.sites[1].contacts(1).remove(0);
    world.start(1, 1, &[]);
    world.start(0, 1, &[String::new(), peer]);
    world.run_until_ended(secs(90));
    let caller = &world.sites[0];
    assert_eq!(caller.endpoints(1)[&0], Some(Outcome::CallFailed));
    assert_eq!(caller.endpoints(1)[&1], Some(Outcome::Success));
    let invited: BTreeSet<_> = world
        .wire
        .iter()
        .filter(|(.., line)| line.starts_with("INVITE"))
        .map(|w| w.1)
        .collect();
    assert_eq!(invited.len(), 1);
    let failed = caller
        .totals(1)
        .calls
        .iter()
        .find(|(o, _)| *o == Outcome::CallFailed);
    assert_eq!(failed, Some(&(Outcome::CallFailed, 1)));
}

/// A share that takes external calls gives an unknown user to the endpoint idle longest; when
/// none is idle it answers 486. Without that, an unknown user is 404.
#[test]
fn external_calls_go_to_the_longest_idle() {
    let mut world = World::new(2, 8);
    let mut open = world.plan(1, 1, Role::Callee, 2);
    open.accept_external = true;
    world.assign(1, open);
    let closed = world.plan(1, 2, Role::Callee, 1);
    world.assign(1, closed);
    let mut callers = world.plan(0, 1, Role::Caller, 4);
    callers.start_offsets = vec![ms(0), ms(100), ms(200), ms(300)];
    world.assign(0, callers);
    world.start(1, 1, &[]);
    world.start(1, 2, &[]);
    let anyone = "sip:anyone@192.0.2.2:5061".to_owned();
    let stranger = "sip:anyone@192.0.2.2:5062".to_owned();
    world.start(0, 1, &[anyone.clone(), anyone.clone(), anyone, stranger]);
    world.run_until_ended(secs(90));
    let statuses: BTreeSet<_> = world.sites[0]
        .calls(1)
        .into_iter()
        .map(|call| call.1)
        .collect();
    assert_eq!(statuses, [Some(200), Some(404), Some(486)].into());
    assert_eq!(world.sites[1].phases(1, 0, 1).len(), 5);
    assert_eq!(world.sites[1].phases(1, 1, 1).len(), 5);
    assert_eq!(world.sites[1].totals(2).calls, []);
}
