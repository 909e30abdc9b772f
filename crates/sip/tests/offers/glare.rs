//! Offers that meet each other, a BYE or loss.

use std::time::Duration;

use callmeter_sip::{CallEvent, CallKey, EndReason, OfferBy, UaEvent};

use crate::pair::{Net, again};
use crate::{HOLD, offer, said, standing};

/// Lets time pass in which both make offers again that met others.
fn run_for(net: &mut Net, calls: [CallKey; 2], by: [OfferBy; 2], time: Duration) {
    let calls = [(calls[0], by[0]), (calls[1], by[1])];
    again::run_for(net, calls, HOLD, time);
}

/// RFC 3261 §14.1
#[test]
fn offers_that_meet_are_refused_491_and_sent_again_at_different_times() {
    for seed in 1..20 {
        let (mut net, calls) = standing(0.0, seed);
        let wire = net.wire.len();
        offer(&mut net, 0, calls[0], OfferBy::Invite);
        offer(&mut net, 1, calls[1], OfferBy::Invite);
        run_for(
            &mut net,
            calls,
            [OfferBy::Invite; 2],
            Duration::from_secs(10),
        );
        let invites: Vec<_> = net.wire[wire..]
            .iter()
            .filter(|(.., kind)| kind == "INVITE")
            .map(|(at, from, ..)| (from.ip().to_string(), at.as_millis()))
            .collect();
        assert_eq!(net.times_of("491 INVITE").len(), 2, "{invites:?}");
        let [_, _, (callee, first), (caller, second)] = &invites[..] else {
            panic!("{invites:?}");
        };
        assert_eq!((&callee[..], &caller[..]), ("192.0.2.2", "192.0.2.1"));
        // 20 ms after the offer the 491 is back.
        assert!((1020..=3020).contains(first), "{first}");
        assert!((3120..=5020).contains(second), "{second}");
        for agent in &net.agents {
            let answered = said(agent, 0);
            let answered = answered.iter().filter(|said| *said == "answered v=0 held");
            assert_eq!(answered.count(), 1);
            assert_eq!(agent.ua.counters().reinvites_sent, 1);
        }
    }
}

/// RFC 3311 §5.2
#[test]
fn an_update_that_meets_a_reinvite_is_refused_491() {
    let (mut net, calls) = standing(0.0, 1);
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    offer(&mut net, 1, calls[1], OfferBy::Update);
    let by = [OfferBy::Invite, OfferBy::Update];
    run_for(&mut net, calls, by, Duration::from_secs(10));
    assert_eq!(net.times_of("491 INVITE").len(), 1);
    assert_eq!(net.times_of("491 UPDATE").len(), 1);
    for agent in &net.agents {
        assert!(said(agent, 0).contains(&"answered v=0 held".to_owned()));
    }
}

/// A peer that always refuses with 491 is not asked for ever.
#[test]
fn endless_glare_is_given_up() {
    let (mut net, calls) = standing(0.0, 1);
    net.agents[1].policy = |ua, now, event| {
        if let UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } = event
        {
            ua.reject(now, *call, 491).unwrap();
        }
    };
    let from = net.agents[0].events.len();
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    run_for(
        &mut net,
        calls,
        [OfferBy::Invite; 2],
        Duration::from_secs(60),
    );
    let said = said(&net.agents[0], from);
    let (last, before) = said.split_last().unwrap();
    assert_eq!(
        (before, &last[..]),
        (&vec!["offer met".to_owned(); 5][..], "refused Some(491)")
    );
    assert_eq!(net.times_of("491 INVITE").len(), 6);
    assert_eq!(net.agents[0].standing(), 1);
}

#[test]
fn a_reinvite_that_crosses_a_bye_ends_with_the_call() {
    let (mut net, calls) = standing(0.0, 1);
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    net.hang_up(1, calls[1]);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::RemoteBye);
    assert_eq!(net.agents[1].ends()[0].reason, EndReason::LocalBye);
    // The same from one side: BYE right after the re-INVITE.
    let (mut net2, calls) = standing(0.0, 1);
    offer(&mut net2, 0, calls[0], OfferBy::Invite);
    net2.hang_up(0, calls[0]);
    net2.run_out();
    assert_eq!(net2.agents[0].ends()[0].reason, EndReason::LocalBye);
    for agent in net.agents.iter().chain(&net2.agents) {
        assert_eq!(agent.ends().len(), 1);
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions), (0, 0));
        let counters = agent.ua.counters();
        assert_eq!((counters.timeouts, counters.malformed), (0, 0));
    }
}

#[test]
fn under_loss_every_offer_ends_once() {
    for seed in 1..40 {
        let (mut net, calls) = standing(0.0, seed);
        net.set_loss(0.3);
        let from = [0, 1].map(|agent| net.agents[agent].events.len());
        let by = if seed % 2 == 0 {
            OfferBy::Invite
        } else {
            OfferBy::Update
        };
        offer(&mut net, 0, calls[0], by);
        if seed % 3 == 0 {
            offer(&mut net, 1, calls[1], OfferBy::Invite);
        }
        run_for(
            &mut net,
            calls,
            [by, OfferBy::Invite],
            Duration::from_secs(120),
        );
        let done = |agent: usize| {
            let said = said(&net.agents[agent], from[agent]);
            let ended = said
                .iter()
                .filter(|said| said.starts_with("answered") || said.starts_with("refused"));
            (ended.count(), said)
        };
        let (count, said) = done(0);
        assert_eq!(count, 1, "seed {seed}: {said:?}");
        if seed % 3 == 0 && !said.iter().any(|said| said.contains("bye")) {
            assert_eq!(done(1).0, 1, "seed {seed}");
        }
        net.set_loss(0.0);
        if net.agents[0].standing() == 1 {
            net.hang_up(0, calls[0]);
        }
        net.run_out();
        for agent in &net.agents {
            assert_eq!(agent.ends().len(), 1, "seed {seed}");
            assert_eq!(agent.ua.held().transactions, 0, "seed {seed}");
        }
    }
}
