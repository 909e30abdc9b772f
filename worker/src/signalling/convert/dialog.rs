//! What user agents do beside plain calls: timers, header fields, digits, scenarios.

use std::time::Duration;

use callmeter_engine as engine;
use callmeter_proto::worker as proto;

use super::{invalid, millis};

/// Session timers; off where the assignment names none.
pub(super) fn session_timer(
    timer: Option<&proto::SessionTimer>,
) -> Result<engine::SessionTimer, engine::Invalid> {
    let Some(timer) = timer else {
        return Ok(engine::SessionTimer::default());
    };
    let mode = match proto::SessionTimerMode::try_from(timer.mode) {
        Ok(proto::SessionTimerMode::Unspecified | proto::SessionTimerMode::Disabled) => {
            return Ok(engine::SessionTimer::default());
        }
        Ok(proto::SessionTimerMode::Supported) => engine::SessionTimerMode::Supported,
        Ok(proto::SessionTimerMode::Required) => engine::SessionTimerMode::Required,
        Err(_) => {
            return Err(invalid(
                "session_timer.mode",
                timer.mode,
                "disabled, supported or required",
            ));
        }
    };
    let refresher = match proto::Refresher::try_from(timer.refresher) {
        Ok(proto::Refresher::Unspecified | proto::Refresher::Uac) => engine::Refresher::Uac,
        Ok(proto::Refresher::Uas) => engine::Refresher::Uas,
        Ok(proto::Refresher::None) => engine::Refresher::None,
        Err(_) => {
            return Err(invalid(
                "session_timer.refresher",
                timer.refresher,
                "uac, uas or none",
            ));
        }
    };
    Ok(engine::SessionTimer {
        mode,
        expires: Duration::from_secs(timer.expires_s.into()),
        refresher,
    })
}

pub(super) fn header(header: proto::Header) -> engine::Header {
    let proto::Header { name, value } = header;
    engine::Header { name, value }
}

/// What endpoints do within a call, at most 30 steps.
pub(super) fn scenario(
    actions: &[proto::ScenarioAction],
) -> Result<engine::Scenario, engine::Invalid> {
    let steps: Result<Vec<_>, _> = actions
        .iter()
        .enumerate()
        .map(|(index, action)| {
            Ok(engine::Step {
                when: when(index, action)?,
                action: do_what(index, action)?,
            })
        })
        .collect();
    engine::Scenario::new(steps?)
}

fn when(index: usize, action: &proto::ScenarioAction) -> Result<engine::When, engine::Invalid> {
    use proto::ScenarioEvent as Of;
    use proto::scenario_action::When;
    let event = match action.when {
        Some(When::AtMs(ms)) => return Ok(engine::When::At(millis(ms))),
        Some(When::Event(event)) => event,
        None => {
            let field = format!("scenario[{index}].when");
            return Err(invalid(&field, "", "a time or an event"));
        }
    };
    Ok(match Of::try_from(event) {
        Ok(Of::HoldReceived) => engine::When::HoldReceived,
        Ok(Of::ResumeReceived) => engine::When::ResumeReceived,
        Ok(Of::DtmfReceived) => engine::When::DtmfReceived(action.event_digits.clone()),
        Ok(Of::InfoReceived) => engine::When::InfoReceived,
        Ok(Of::SessionRefreshed) => engine::When::SessionRefreshed,
        Ok(Of::Unspecified) | Err(_) => {
            return Err(invalid(
                &format!("scenario[{index}].event"),
                event,
                "hold, resume, DTMF or INFO received, session refreshed",
            ));
        }
    })
}

fn do_what(
    index: usize,
    action: &proto::ScenarioAction,
) -> Result<engine::Action, engine::Invalid> {
    use proto::ScenarioDo as Do;
    Ok(match Do::try_from(action.r#do) {
        Ok(Do::Hold) => engine::Action::Hold,
        Ok(Do::Resume) => engine::Action::Resume,
        Ok(Do::MediaUpdate) => engine::Action::MediaUpdate,
        Ok(Do::SendDtmf) => engine::Action::SendDtmf(action.digits.clone()),
        Ok(Do::HangUp) => engine::Action::HangUp,
        Ok(Do::ReRegister) => engine::Action::ReRegister,
        Ok(Do::Transfer) => {
            let field = format!("scenario[{index}].transfer_to");
            let to = &action.transfer_to;
            engine::Action::Transfer {
                to: to.parse().map_err(|_| invalid(&field, to, "a SIP URI"))?,
                attended: action.attended,
            }
        }
        Ok(Do::Unspecified) | Err(_) => {
            return Err(invalid(
                &format!("scenario[{index}].do"),
                action.r#do,
                "hold, resume, media update, send DTMF, transfer, hang up or re-register",
            ));
        }
    })
}

/// How digits are sent; in RTP where the assignment does not say.
pub(super) fn dtmf(dtmf: i32) -> Result<engine::Dtmf, engine::Invalid> {
    match proto::Dtmf::try_from(dtmf) {
        Ok(proto::Dtmf::Unspecified | proto::Dtmf::Rfc4733) => Ok(engine::Dtmf::Rfc4733),
        Ok(proto::Dtmf::Info) => Ok(engine::Dtmf::Info),
        Err(_) => Err(invalid("dtmf", dtmf, "rfc4733 or info")),
    }
}

/// Reliable provisional responses; off where the assignment does not say.
pub(super) fn reliable(reliable: i32) -> Result<engine::Reliable, engine::Invalid> {
    match proto::Reliable::try_from(reliable) {
        Ok(proto::Reliable::Unspecified | proto::Reliable::Off) => Ok(engine::Reliable::Off),
        Ok(proto::Reliable::Supported) => Ok(engine::Reliable::Supported),
        Ok(proto::Reliable::Required) => Ok(engine::Reliable::Required),
        Err(_) => Err(invalid("reliable", reliable, "off, supported or required")),
    }
}
