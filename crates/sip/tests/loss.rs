//! Whole calls while a third of the messages is lost, both ways: every call ends once at either
//! end, and nothing of it stays.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Instant;

use callmeter_sip::{CallEvent, EndReason, EndpointKey, Held, OfferBy, UaEvent, UserAgent};

use pair::account::{net, register, registered};
use pair::{ANSWER, Net, again, answer_at_once, millis, ring_only};

const KEY: EndpointKey = EndpointKey(1);
const LOSS: f64 = 0.3;

/// How a call is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    CallerHangsUp,
    CalleeHangsUp,
    BothHangUp,
    CallerCancels,
    CalleeRefuses,
}

const PLANS: [Plan; 5] = [
    Plan::CallerHangsUp,
    Plan::CalleeHangsUp,
    Plan::BothHangUp,
    Plan::CallerCancels,
    Plan::CalleeRefuses,
];

impl Plan {
    /// The ends that show that it went as planned, of the caller and the callee.
    fn ends(self) -> (EndReason, EndReason) {
        use EndReason::{Cancelled, CancelledByPeer, LocalBye, Refused, Rejected, RemoteBye};
        match self {
            Self::CallerHangsUp => (LocalBye, RemoteBye),
            Self::CalleeHangsUp => (RemoteBye, LocalBye),
            Self::BothHangUp => (LocalBye, LocalBye),
            Self::CallerCancels => (Cancelled, CancelledByPeer),
            Self::CalleeRefuses => (Refused, Rejected),
        }
    }

    fn answers(self) -> bool {
        !matches!(self, Self::CallerCancels | Self::CalleeRefuses)
    }
}

/// Places a call and ends it by plan, 20 s later.
fn run(net: &mut Net, plan: Plan, target: &str) {
    let call = net.call(target);
    net.run_for(millis(20_000));
    let incoming = net.agents[1].events.iter().find_map(|event| match event {
        UaEvent::Incoming(incoming) => Some(incoming.call),
        _ => None,
    });
    if let Some(incoming) = incoming
        && net.agents[1].stands(incoming)
    {
        match plan {
            Plan::CalleeHangsUp | Plan::BothHangUp => net.hang_up(1, incoming),
            Plan::CalleeRefuses => net
                .with(1, |ua, now| ua.reject(now, incoming, 486))
                .unwrap(),
            Plan::CallerHangsUp | Plan::CallerCancels => {}
        }
    }
    let standing = net.agents[0].stands(call);
    let ours = !matches!(plan, Plan::CalleeHangsUp | Plan::CalleeRefuses);
    if standing && (ours || incoming.is_none()) {
        net.hang_up(0, call);
    }
}

/// Asserts what must hold whatever was lost; whether the call went as planned.
fn check(net: &Net, plan: Plan, row: &str) -> bool {
    let mut ends = Vec::new();
    for (index, agent) in net.agents.iter().enumerate() {
        let begun = agent
            .call_events()
            .iter()
            .filter(|name| **name == "incoming")
            .count();
        let begun = begun + usize::from(index == 0);
        assert!(begun <= 1, "{row}: one call");
        assert_eq!(
            agent.ends().len(),
            begun,
            "{row}: {:?}",
            agent.call_events()
        );
        assert_eq!(agent.standing(), 0, "{row}");
        let held = Held {
            listeners: 1,
            endpoints: 1,
            ..Held::default()
        };
        assert_eq!(agent.ua.held(), held, "{row}");
        let counters = agent.ua.counters();
        assert_eq!(counters.malformed, 0, "{row}");
        ends.extend(agent.ends().first().map(|end| end.reason));
    }
    ends == [plan.ends().0, plan.ends().1]
}

/// R105
#[test]
fn calls_between_two_user_agents() {
    let mut planned = [0; PLANS.len()];
    let mut repeated = 0;
    for seed in 0..500 {
        let index = seed as usize % PLANS.len();
        let plan = PLANS[index];
        let policy = if plan.answers() {
            answer_at_once
        } else {
            ring_only
        };
        let mut net = Net::pair(LOSS, seed, policy);
        run(&mut net, plan, "sip:b@192.0.2.2");
        net.run_out();
        planned[index] += u32::from(check(&net, plan, &format!("seed {seed}, {plan:?}")));
        for agent in &net.agents {
            repeated += agent.ua.counters().retransmissions_sent;
        }
    }
    // Of 100 each. What fails is lost seven times in a row, or a BYE that crosses.
    for (plan, planned) in PLANS.iter().zip(planned) {
        assert!(planned >= 90, "{plan:?}: {planned}");
    }
    assert!(repeated > 1000, "{repeated}");
}

/// R105: registration with digest, the call by the proxy, deregistration, all of it over the lossy
/// link. The proxy is stateless, so that a message is lost on each of two legs.
#[test]
fn calls_by_a_proxy_with_digest() {
    let (mut planned, mut both) = (0, 0);
    for seed in 0..300 {
        let plan = PLANS[seed as usize % PLANS.len()];
        let row = format!("seed {seed}, {plan:?}");
        let mut net = net(LOSS, seed, "SHA-512-256");
        if !plan.answers() {
            net.agents[1].policy = ring_only;
        }
        for agent in [0, 1] {
            register(&mut net, agent, 3600);
        }
        net.run_for(millis(40_000));
        let bound = [0, 1].map(|agent| !registered(&net, agent).is_empty());
        run(&mut net, plan, "sip:b@example.org");
        net.run_for(millis(200_000));
        for agent in [0, 1] {
            // Not registered, if that was lost for good.
            let _ = net.with(agent, |ua, now| ua.unregister(now, KEY));
        }
        net.run_out();
        let as_planned = check(&net, plan, &row);
        if bound == [true, true] {
            both += 1;
            planned += u32::from(as_planned);
        }
    }
    assert!(both >= 270, "{both} of 300 registered");
    assert!(planned >= 200, "{planned} of {both} as planned");
}

/// Answers calls and offers at once.
fn answer_all(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    match event {
        UaEvent::Incoming(incoming) => ua.answer(now, incoming.call, ANSWER).unwrap(),
        UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } => ua.answer(now, *call, ANSWER).unwrap(),
        _ => {}
    }
}

/// R105: offers within calls, of both sides at once too, and INFO.
#[test]
fn changes_within_calls() {
    let (mut agreed, mut planned) = (0, 0);
    for seed in 0..300 {
        let mut net = Net::pair(0.0, seed, answer_all);
        net.agents[0].policy = answer_all;
        let call = net.call("sip:b@192.0.2.2");
        net.run_for(millis(1000));
        let incoming = net.agents[1].incoming();
        net.set_loss(LOSS);
        let by = |ours: bool| {
            if ours {
                OfferBy::Invite
            } else {
                OfferBy::Update
            }
        };
        if seed % 3 != 0 {
            let offer = |ua: &mut UserAgent, now| ua.offer(now, call, ANSWER, by(seed % 2 == 0));
            net.with(0, offer).unwrap();
        }
        if seed % 3 != 1 {
            let offer = |ua: &mut UserAgent, now| ua.offer(now, incoming, ANSWER, OfferBy::Invite);
            net.with(1, offer).unwrap();
        }
        let calls = [(call, by(seed % 2 == 0)), (incoming, OfferBy::Invite)];
        again::run_for(&mut net, calls, ANSWER, millis(70_000));
        if net.agents[0].stands(call) {
            // May find a request under way, or the call just ending; both are refused by name.
            let _ = net.with(0, |ua, now| ua.info(now, call, "text/plain", "x"));
            net.run_for(millis(5000));
            let _ = net.with(0, |ua, now| ua.hang_up(now, call));
        }
        net.run_out();
        let row = format!("seed {seed}");
        planned += u32::from(check(&net, Plan::CallerHangsUp, &row));
        agreed += net
            .agents
            .iter()
            .flat_map(|agent| &agent.events)
            .filter(|event| {
                matches!(
                    event,
                    UaEvent::Call {
                        event: CallEvent::OfferAnswered { .. },
                        ..
                    }
                )
            })
            .count();
    }
    assert!(planned >= 250, "{planned} of 300");
    assert!(agreed >= 350, "{agreed} of 400 offers");
}
