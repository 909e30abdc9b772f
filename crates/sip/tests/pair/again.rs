//! Two agents that make their offers again when these met (491).

use std::time::{Duration, Instant};

use callmeter_sip::{CallEvent, CallKey, OfferBy, UaError, UaEvent};

use super::{Agent, Net, millis};

/// When offers of an agent that met others are due again, in order.
pub(crate) fn due(agent: &Agent) -> Vec<Instant> {
    let events = agent.events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::Call {
                at,
                event: CallEvent::OfferMet { wait },
                ..
            } => Some(*at + *wait),
            _ => None,
        })
        .collect()
}

/// Lets time pass in which agents 0 and 1 make offers again, each in its call and by its request.
pub(crate) fn run_for(
    net: &mut Net,
    calls: [(CallKey, OfferBy); 2],
    body: &'static [u8],
    time: Duration,
) {
    let end = net.now + time;
    let mut made = [0, 0];
    while net.now < end {
        net.run_for(millis(10));
        for (agent, (call, by)) in calls.into_iter().enumerate() {
            let due = due(&net.agents[agent]);
            if due.get(made[agent]).is_some_and(|at| *at <= net.now) {
                let again = net.with(agent, |ua, now| ua.offer_again(now, call, body, by));
                // Waits for one of the other side to be acknowledged.
                let waits = matches!(again, Err(UaError::OfferPending(_)));
                made[agent] += usize::from(!waits);
            }
        }
    }
}
