//! How the SIP of a share travels and what its user agents do, in the protocol's words.

use std::time::Duration;

use callmeter_proto::worker;

use super::milliseconds;
use crate::definition::{
    Action, Do, Dtmf, Event, Group, Header, Refresher, Reliable, SessionTimer, SessionTimerMode,
    TlsVerify, Transport, When,
};
use crate::run::secrets::TlsMaterial;

/// Lifetime asked for in REGISTER; short, so that a lost worker's bindings do not stay for long.
const REGISTER_EXPIRES: Duration = Duration::from_secs(600);

/// Without a registrar: UDP, straight to the peer.
pub(super) fn registrar(group: &Group, tls: Option<&TlsMaterial>) -> worker::Registrar {
    let expires_s = REGISTER_EXPIRES.as_secs() as u32;
    let Some(registrar) = &group.registrar else {
        return worker::Registrar {
            transport: Transport::Udp.as_str().to_owned(),
            expires_s,
            ..worker::Registrar::default()
        };
    };
    worker::Registrar {
        domain: registrar.domain.clone(),
        port: u32::from(registrar.port),
        transport: registrar.transport.as_str().to_owned(),
        outbound_proxy: registrar.outbound_proxy.clone(),
        register: registrar.register,
        expires_s,
        ws_path: registrar.ws_path.clone(),
        connection_per_endpoint: registrar.connection_per_endpoint,
        keep_alive_ms: milliseconds(registrar.keep_alive),
        options_interval_ms: milliseconds(registrar.options_interval),
        sip_over_udp_always: registrar.sip_over_udp_always,
        tls: registrar
            .tls
            .as_ref()
            .map(|asked| certificates(asked.verify, tls)),
    }
}

fn certificates(verify: TlsVerify, material: Option<&TlsMaterial>) -> worker::Tls {
    let text = |of: fn(&TlsMaterial) -> &str| material.map(of).unwrap_or_default().to_owned();
    let verify = match verify {
        TlsVerify::System => worker::TlsVerify::System,
        TlsVerify::Custom => worker::TlsVerify::Custom,
        TlsVerify::Skip => worker::TlsVerify::Skip,
    };
    worker::Tls {
        verify: verify.into(),
        ca_pem: text(|m| &m.ca_pem),
        client_certificate_pem: text(|m| &m.client.certificates_pem),
        client_key_pem: text(|m| m.client.key_pem.expose()),
        server_certificate_pem: text(|m| &m.server.certificates_pem),
        server_key_pem: text(|m| m.server.key_pem.expose()),
    }
}

pub(super) fn session_timer(timer: SessionTimer) -> worker::SessionTimer {
    let mode = match timer.mode {
        SessionTimerMode::Disabled => worker::SessionTimerMode::Disabled,
        SessionTimerMode::Supported => worker::SessionTimerMode::Supported,
        SessionTimerMode::Required => worker::SessionTimerMode::Required,
    };
    let refresher = match timer.refresher {
        Refresher::Uac => worker::Refresher::Uac,
        Refresher::Uas => worker::Refresher::Uas,
        Refresher::None => worker::Refresher::None,
    };
    worker::SessionTimer {
        mode: mode.into(),
        expires_s: timer.expires.as_secs() as u32,
        refresher: refresher.into(),
    }
}

pub(super) fn reliable(reliable: Reliable) -> worker::Reliable {
    match reliable {
        Reliable::Off => worker::Reliable::Off,
        Reliable::Supported => worker::Reliable::Supported,
        Reliable::Required => worker::Reliable::Required,
    }
}

pub(super) fn dtmf(dtmf: Dtmf) -> worker::Dtmf {
    match dtmf {
        Dtmf::Rfc4733 => worker::Dtmf::Rfc4733,
        Dtmf::Info => worker::Dtmf::Info,
    }
}

pub(super) fn header(header: &Header) -> worker::Header {
    worker::Header {
        name: header.name.clone(),
        value: header.value.clone(),
    }
}

pub(super) fn action(action: &Action) -> worker::ScenarioAction {
    use worker::scenario_action::When as Trigger;
    let (when, event_digits) = match &action.when {
        When::At(at) => (Trigger::AtMs(milliseconds(*at)), String::new()),
        When::Event { event: of, digits } => (Trigger::Event(event(*of).into()), digits.clone()),
    };
    let done = match action.action {
        Do::Hold => worker::ScenarioDo::Hold,
        Do::Resume => worker::ScenarioDo::Resume,
        Do::MediaUpdate => worker::ScenarioDo::MediaUpdate,
        Do::SendDtmf => worker::ScenarioDo::SendDtmf,
        Do::Transfer => worker::ScenarioDo::Transfer,
        Do::HangUp => worker::ScenarioDo::HangUp,
        Do::ReRegister => worker::ScenarioDo::ReRegister,
    };
    worker::ScenarioAction {
        when: Some(when),
        event_digits,
        r#do: done.into(),
        digits: action.digits.clone(),
        transfer_to: action.to.clone(),
        attended: action.attended,
    }
}

fn event(event: Event) -> worker::ScenarioEvent {
    match event {
        Event::Hold => worker::ScenarioEvent::HoldReceived,
        Event::Resume => worker::ScenarioEvent::ResumeReceived,
        Event::Dtmf => worker::ScenarioEvent::DtmfReceived,
        Event::Info => worker::ScenarioEvent::InfoReceived,
        Event::SessionRefresh => worker::ScenarioEvent::SessionRefreshed,
    }
}
