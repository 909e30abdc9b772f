//! The conditions of a pool.

use callmeter_api::{
    condition::{Desired, Reason, Type},
    worker::DrainReason,
};

use super::Outcome;
use crate::{
    fleet::Demand,
    pool::{dereference::Inputs, member::Member, validate::ValidatedPool},
};

/// All conditions of a pool that can be acted on.
pub(super) fn conditions(pool: &ValidatedPool, inputs: &Inputs, outcome: &Outcome) -> Vec<Desired> {
    let members = &inputs.members;
    let count = |test: &dyn Fn(&Member) -> bool| members.iter().filter(|m| test(m)).count() as u32;
    let desired = outcome.desired;
    let live = count(&Member::is_live);
    let ready = count(&|m| m.is_live() && m.ready);
    let available = count(&|m| m.is_live() && m.ready && m.drain.is_none());
    let leaving = count(&|m| m.terminating || m.drain == Some(DrainReason::ScaleDown));

    let mut all = vec![
        if desired == 0 {
            Desired::new(
                Type::Available,
                true,
                Reason::ZeroRequested,
                "no worker is asked for",
            )
        } else if available >= desired {
            Desired::new(
                Type::Available,
                true,
                Reason::MinimumReplicas,
                "as many workers take work as asked for",
            )
        } else {
            let message = format!("{available} of {desired} workers take work");
            Desired::new(Type::Available, false, Reason::BelowDesired, message)
        },
        if ready < desired || leaving > 0 || live != desired {
            let message =
                format!("{ready} of {desired} workers are ready, {leaving} on their way out");
            Desired::new(Type::Progressing, true, Reason::Scaling, message)
        } else {
            Desired::new(Type::Progressing, false, Reason::Complete, "")
        },
        scaling_up(desired, live, ready, outcome),
        if leaving > 0 {
            let message = format!("{leaving} workers finish what they have");
            Desired::new(Type::ScalingDown, true, Reason::WaitingForDrain, message)
        } else {
            Desired::new(Type::ScalingDown, false, Reason::Complete, "")
        },
        tokens(outcome),
        Desired::new(Type::PortsAllocatable, true, Reason::BlocksFree, ""),
        degraded(pool, inputs, outcome),
        if pool.paused {
            Desired::new(
                Type::Paused,
                true,
                Reason::PausedByUser,
                "nothing is changed while spec.paused is true",
            )
        } else {
            Desired::new(Type::Paused, false, Reason::NotPaused, "")
        },
    ];
    all.extend(autoscaling(inputs, outcome));
    if pool.deleting {
        let message = format!("{} workers are drained before the pool goes", members.len());
        all.push(Desired::new(Type::Deleting, true, Reason::Deleted, message));
    }
    all
}

fn scaling_up(desired: u32, live: u32, ready: u32, outcome: &Outcome) -> Desired {
    if outcome.plan.lacking > 0 {
        let message = format!("{} workers have no token", outcome.plan.lacking);
        Desired::new(Type::ScalingUp, true, Reason::NoFreeTokens, message)
    } else if live < desired || ready < desired {
        let message = format!("{ready} of {desired} workers are ready");
        Desired::new(Type::ScalingUp, true, Reason::Scaling, message)
    } else {
        Desired::new(Type::ScalingUp, false, Reason::Complete, "")
    }
}

fn tokens(outcome: &Outcome) -> Desired {
    let plan = &outcome.plan;
    if let Some(token) = plan.held_elsewhere.first() {
        let message = format!(
            "spec.tokens.secrets: a worker of another pool holds {}/{}",
            token.name, token.key
        );
        Desired::new(
            Type::TokensSufficient,
            false,
            Reason::DuplicateToken,
            message,
        )
    } else if plan.lacking > 0 {
        let message = format!("spec.tokens.secrets: {} more are needed", plan.lacking);
        Desired::new(Type::TokensSufficient, false, Reason::NoFreeTokens, message)
    } else {
        Desired::new(Type::TokensSufficient, true, Reason::AsExpected, "")
    }
}

fn degraded(pool: &ValidatedPool, inputs: &Inputs, outcome: &Outcome) -> Desired {
    if let Some((reason, message)) = inputs.members.iter().find_map(|m| m.blocked.clone()) {
        return Desired::new(Type::Degraded, true, reason, message);
    }
    if pool.own_gateway && (outcome.unregistered.is_some() || !inputs.gateway_live) {
        let why = outcome
            .unregistered
            .as_deref()
            .unwrap_or("its stream of workers is down");
        return Desired::new(
            Type::Degraded,
            true,
            Reason::GatewayUnreachable,
            format!("the gateway cannot be asked: {why}"),
        );
    }
    Desired::new(Type::Degraded, false, Reason::AsExpected, "")
}

fn autoscaling(inputs: &Inputs, outcome: &Outcome) -> Vec<Desired> {
    let Some(decision) = &outcome.decision else {
        return vec![Desired::new(
            Type::AutoscalingActive,
            false,
            Reason::Disabled,
            "spec.autoscaling is not set",
        )];
    };
    let active = if decision.fresh && inputs.demand != Demand::Stale {
        Desired::new(Type::AutoscalingActive, true, Reason::SignalFresh, "")
    } else {
        let message = "the gateway's figures are too old; the number of workers is held";
        Desired::new(Type::AutoscalingActive, false, Reason::StaleSignal, message)
    };
    let limited = Desired::new(
        Type::AutoscalingLimited,
        decision.limited != Reason::WithinLimits,
        decision.limited,
        decision.text.clone(),
    );
    vec![active, limited]
}
