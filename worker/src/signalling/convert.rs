//! The engine's plain types and the protocol's messages, one into the other.

mod dialog;

use std::{net::IpAddr, time::Duration};

use callmeter_engine as engine;
use callmeter_metrics::RowDirection;
use callmeter_proto::worker as proto;
use callmeter_sip::{Listener, Password, Transport, sdp::Codec};

/// Registration lifetime asked for where the assignment names none (RFC 3261 §10.2.1.1).
const DEFAULT_EXPIRES: Duration = Duration::from_secs(3600);
/// How long callers wait for Start where the assignment does not say.
const DEFAULT_START_WITHIN: Duration = Duration::from_secs(600);

/// Reads an assignment for the share and SIP port it gets. Passwords leave the message.
pub(super) fn assign(
    message: proto::Assign,
    share: engine::ShareId,
    listener: Listener,
    sdp_address: IpAddr,
) -> Result<engine::Assign, engine::Invalid> {
    let registrar = message.registrar.unwrap_or_default();
    let audio = message
        .audio
        .ok_or_else(|| invalid("audio", "", "codec and packet time"))?;
    let call = message
        .call
        .ok_or_else(|| invalid("call", "", "duration and ring time"))?;
    let load = message.load.unwrap_or_default();
    Ok(engine::Assign {
        share,
        role: match proto::Role::try_from(message.role) {
            Ok(proto::Role::Caller) => engine::Role::Caller,
            Ok(proto::Role::Callee) => engine::Role::Callee,
            Ok(proto::Role::Both) => engine::Role::Both,
            Ok(proto::Role::Unspecified) | Err(_) => {
                return Err(invalid("role", message.role, "caller, callee or both"));
            }
        },
        group: message.group,
        run: message.run,
        first: message.first,
        count: message.count,
        registrar: engine::Registrar {
            port: u16::try_from(registrar.port)
                .map_err(|_| invalid("registrar.port", registrar.port, "0 to 65535"))?,
            transport: transport(&registrar.transport)?,
            domain: registrar.domain,
            outbound_proxy: registrar.outbound_proxy,
            register: registrar.register,
            expires: match registrar.expires_s {
                0 => DEFAULT_EXPIRES,
                seconds => Duration::from_secs(seconds.into()),
            },
            options_interval: (registrar.options_interval_ms > 0)
                .then(|| millis(registrar.options_interval_ms)),
            located: None,
        },
        accounts: message.accounts.into_iter().map(account).collect(),
        peers: message.peers,
        audio: read_audio(&audio)?,
        start_offsets: load.start_offsets_ms.iter().copied().map(millis).collect(),
        load: read_load(&load)?,
        call: engine::CallPlan {
            duration: millis(call.duration_ms),
            ring: millis(call.ring_ms),
            repeat: call.repeat,
            pause: millis(call.repeat_pause_ms),
            answer_code: match call.answer_code {
                0 => 200,
                code => u16::try_from(code)
                    .map_err(|_| invalid("call.answer_code", code, "200, or 300 to 699"))?,
            },
        },
        auth_in_dialog: message.auth_in_dialog,
        accept_transfers: message.accept_transfers,
        reliable: dialog::reliable(message.reliable)?,
        session_timer: dialog::session_timer(message.session_timer.as_ref())?,
        headers: message.headers.into_iter().map(dialog::header).collect(),
        dtmf: dialog::dtmf(message.dtmf)?,
        scenario: dialog::scenario(&message.scenario)?,
        duration: millis(message.duration_ms),
        accept_external: message.accept_external,
        start_within: match message.start_within_ms {
            0 => DEFAULT_START_WITHIN,
            ms => millis(ms),
        },
        listener,
        listeners: Vec::new(),
        sdp_address,
    })
}

/// Which shape the calls have: by offsets, so many at a time, by a rate or by a level.
fn read_load(load: &proto::Load) -> Result<engine::Load, engine::Invalid> {
    match (load.arrivals.is_empty(), load.concurrency.is_empty()) {
        (true, true) if load.at_once == 0 => Ok(engine::Load::Offsets),
        (true, true) => Ok(engine::Load::AtOnce(load.at_once)),
        _ if load.at_once > 0 => Err(invalid(
            "load.at_once",
            load.at_once,
            "0 beside load.arrivals or load.concurrency",
        )),
        (false, true) => {
            let point = |point: &proto::ArrivalPoint| engine::ArrivalPoint {
                at: millis(point.at_ms),
                per_second: point.per_second,
                ramp: point.ramp,
            };
            let points: Vec<_> = load.arrivals.iter().map(point).collect();
            engine::Arrivals::new(&points, load.group_endpoints).map(engine::Load::Arrivals)
        }
        (true, false) => {
            let point = |point: &proto::ConcurrencyPoint| engine::ConcurrencyPoint {
                at: millis(point.at_ms),
                calls: point.calls,
            };
            let points = load.concurrency.iter().map(point).collect();
            engine::Levels::new(points).map(engine::Load::Concurrency)
        }
        (false, false) => Err(invalid(
            "load.concurrency",
            format_args!("{} points", load.concurrency.len()),
            "none beside load.arrivals",
        )),
    }
}

fn transport(text: &str) -> Result<Transport, engine::Invalid> {
    if text.is_empty() {
        return Ok(Transport::Udp);
    }
    Transport::parse(text.as_bytes()).ok_or_else(|| {
        invalid(
            "registrar.transport",
            text,
            "udp, tcp, tls, ws, wss or auto",
        )
    })
}

fn account(account: proto::Account) -> engine::Account {
    let proto::Account {
        user,
        password,
        auth_user,
        realm,
    } = account;
    engine::Account {
        user,
        password: Password::new(password),
        auth_user,
        realm,
    }
}

fn read_audio(audio: &proto::Audio) -> Result<engine::Audio, engine::Invalid> {
    let codec = match audio.codec.as_str() {
        "pcma" => Codec::Pcma,
        "pcmu" => Codec::Pcmu,
        other => return Err(invalid("audio.codec", other, "pcma or pcmu")),
    };
    let payload_type = audio.payload_type;
    // RFC 3551 §6; 0 is also a field that is not set.
    let fixed = match codec {
        Codec::Pcma => 8,
        Codec::Pcmu => 0,
    };
    if payload_type != 0 && payload_type != fixed {
        return Err(invalid(
            "audio.payload_type",
            payload_type,
            "8 for pcma, 0 for pcmu",
        ));
    }
    Ok(engine::Audio {
        codec,
        ptime_ms: u16::try_from(audio.ptime_ms)
            .map_err(|_| invalid("audio.ptime_ms", audio.ptime_ms, "10 to 200 in steps of 10"))?,
        dscp: u8::try_from(audio.dscp).map_err(|_| invalid("audio.dscp", audio.dscp, "0 to 63"))?,
    })
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn invalid(field: &str, value: impl std::fmt::Display, accepted: &'static str) -> engine::Invalid {
    engine::Invalid {
        field: field.to_owned(),
        value: format!("{value}"),
        accepted,
    }
}

/// An event of an endpoint of `group`.
pub(super) fn event(group: &str, event: engine::EndpointEvent) -> proto::EndpointEvent {
    use proto::endpoint_event::What;
    let engine::EndpointEvent {
        share: _,
        endpoint,
        call,
        what,
        at,
    } = event;
    let what = match what {
        engine::What::Ready { contact, aor } => What::Ready(proto::Ready { contact, aor }),
        engine::What::Phase(phase) => What::Phase(self::phase(phase).into()),
        engine::What::CallEnded {
            outcome,
            sip_status,
            detail,
            outgoing,
            completed,
        } => What::CallEnded(proto::CallEnded {
            outcome: self::outcome(outcome).into(),
            sip_status: sip_status.unwrap_or_default().into(),
            detail,
            outgoing,
            completed: Some(completed),
        }),
        engine::What::Ended { outcome, detail } => What::Ended(proto::EndpointEnded {
            outcome: outcome
                .map_or(proto::Outcome::Unspecified, self::outcome)
                .into(),
            detail,
        }),
    };
    proto::EndpointEvent {
        group: group.to_owned(),
        endpoint,
        call,
        what: Some(what),
        at_us: at.as_micros() as u64,
    }
}

/// The end of an endpoint that never began, because its share was refused.
pub(super) fn refused(group: &str, endpoint: u32, detail: &str) -> proto::EndpointEvent {
    use proto::endpoint_event::What;
    let outcome = proto::Outcome::Oserror.into();
    proto::EndpointEvent {
        group: group.to_owned(),
        endpoint,
        what: Some(What::Ended(proto::EndpointEnded {
            outcome,
            detail: detail.to_owned(),
        })),
        ..proto::EndpointEvent::default()
    }
}

fn phase(phase: engine::Phase) -> proto::Phase {
    match phase {
        engine::Phase::Initializing => proto::Phase::Initializing,
        engine::Phase::Registered => proto::Phase::Registered,
        engine::Phase::Calling => proto::Phase::Calling,
        engine::Phase::Ringing => proto::Phase::Ringing,
        engine::Phase::Negotiating => proto::Phase::Negotiating,
        engine::Phase::InCall => proto::Phase::Incall,
        engine::Phase::Disconnecting => proto::Phase::Disconnecting,
        engine::Phase::Closed => proto::Phase::Closed,
    }
}

fn outcome(outcome: engine::Outcome) -> proto::Outcome {
    match outcome {
        engine::Outcome::Success => proto::Outcome::Success,
        engine::Outcome::CompletedWithWarnings => proto::Outcome::CompletedWithWarnings,
        engine::Outcome::RegistrationFailed => proto::Outcome::RegistrationFailed,
        engine::Outcome::CallFailed => proto::Outcome::CallFailed,
        engine::Outcome::NegotiationFailed => proto::Outcome::NegotiationFailed,
        engine::Outcome::Timeout => proto::Outcome::Timeout,
        engine::Outcome::OsError => proto::Outcome::Oserror,
        engine::Outcome::TeardownError => proto::Outcome::TeardownError,
    }
}

/// A row of an endpoint of `group`.
pub(super) fn row(group: &str, row: engine::SampleRow) -> proto::SampleRow {
    let engine::SampleRow {
        endpoint,
        call,
        direction,
        per_call,
        values,
        generator_limited,
        delay_partial,
    } = row;
    let direction = match direction {
        RowDirection::None => proto::Direction::None,
        RowDirection::Send => proto::Direction::Send,
        RowDirection::Recv => proto::Direction::Recv,
    };
    let value = |v: engine::MetricValue| proto::MetricValue {
        metric: v.metric.0,
        value: v.value,
    };
    proto::SampleRow {
        group: group.to_owned(),
        endpoint,
        call,
        direction: direction.into(),
        per_call,
        values: values.into_iter().map(value).collect(),
        generator_limited,
        delay_partial,
    }
}

/// Calls of a share by outcome.
pub(super) fn calls(calls: Vec<(engine::Outcome, u64)>) -> Vec<proto::OutcomeCount> {
    let count = |(outcome, calls)| proto::OutcomeCount {
        outcome: self::outcome(outcome).into(),
        calls,
    };
    calls.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests;
