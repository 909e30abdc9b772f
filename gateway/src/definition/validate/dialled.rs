//! URIs that endpoints dial, and the transport they ask for.

use callmeter_api::calltest as api;
use callmeter_sip::message::Scheme;
use callmeter_sip::{Host, Uri};

use super::Check;
use super::forms::shown;
use crate::definition::{Registrar, Role, Transport};

const SIP_URI: &str =
    "a SIP URI like sip:100@pbx.example or sips:100@pbx.example, at most 255 characters";
/// A Request-URI has neither (RFC 3261 §19.1.1, table 1).
const BARE: &str = "a URI without method= and without ?; header fields of calls are in headers";

/// What is read of a URI that is dialled.
struct Dialled {
    host: Host,
    /// The transport it names; none: any.
    transport: Option<Transport>,
    /// `sip:` with `transport=ws`: the token of WebSocket with and without TLS (RFC 7118 §5.2).
    any_web_socket: bool,
}

impl Dialled {
    /// Reads one as workers do; else what is accepted.
    fn read(text: &str) -> Result<Self, &'static str> {
        let scheme = text.starts_with("sip:") || text.starts_with("sips:");
        let uri: Option<Uri> = text.parse().ok();
        let uri = uri.filter(|_| scheme && text.len() <= 255);
        let uri = uri.ok_or(SIP_URI)?;
        if uri.has_headers() || uri.param("method").is_some() {
            return Err(BARE);
        }
        let secure = uri.scheme() == Scheme::Sips;
        let named = uri.param("transport").map(<[u8]>::to_ascii_lowercase);
        let transport = match (secure, named.as_deref()) {
            (true, Some(b"udp")) => return Err("transport tcp, tls, ws or wss in a sips: URI"),
            (true, None | Some(b"tcp" | b"tls")) | (false, Some(b"tls")) => Some(Transport::Tls),
            (true, Some(b"ws" | b"wss")) | (false, Some(b"wss")) => Some(Transport::Wss),
            (false, None) => None,
            (false, Some(b"udp")) => Some(Transport::Udp),
            (false, Some(b"tcp")) => Some(Transport::Tcp),
            (false, Some(b"ws")) => Some(Transport::Ws),
            (_, Some(_)) => return Err("transport udp, tcp, tls, ws or wss"),
        };
        Ok(Self {
            host: uri.host().clone(),
            transport,
            any_web_socket: transport == Some(Transport::Ws),
        })
    }

    /// Whether a call to it goes to its host, not to the group's server first.
    fn is_straight(&self, registrar: Option<&Registrar>) -> bool {
        let Some(registrar) = registrar else {
            return true;
        };
        let domain = Host::parse(registrar.domain.clone().into());
        let own = domain.is_ok_and(|domain| domain.same(&self.host));
        registrar.outbound_proxy.is_empty() && !registrar.register && !own
    }
}

/// The registrar that a group without one has by what it dials, if that goes not by UDP: the one it
/// could as well have written.
pub(super) fn implied(group: &api::Group, all: &[api::Group]) -> Option<api::Registrar> {
    if group.registrar.is_some() || group.role == Role::Callee {
        return None;
    }
    let known = |transport: &Transport| !matches!(transport, Transport::Udp | Transport::Auto);
    let transport = dialled_by(group, all).filter(known);
    transport.map(|transport| api::Registrar {
        register: Some(false),
        transport: Some(transport),
        ..api::Registrar::default()
    })
}

/// The transport by which a group without a registrar dials: that of the URI, or the one by which
/// the group it dials takes calls, which without a registrar is the one that this dials by.
fn dialled_by<'a>(mut group: &'a api::Group, all: &'a [api::Group]) -> Option<Transport> {
    // Groups that dial each other in a circle name none.
    for _ in all {
        let target = group.target.as_ref()?;
        if let Some(uri) = &target.uri {
            return Dialled::read(uri).ok()?.transport;
        }
        let name = target.group.as_ref()?;
        group = all.iter().find(|callees| &callees.name == name)?;
        match &group.registrar {
            Some(registrar) if registrar.registers() => return None,
            Some(registrar) => return registrar.transport,
            None => {}
        }
    }
    None
}

impl Check<'_> {
    /// A URI that is dialled or transferred to.
    pub(super) fn sip_uri(&mut self, at: &str, uri: &str) {
        if let Err(accepted) = Dialled::read(uri) {
            self.refuse(at, format!("{}; accepted: {accepted}", shown(uri)));
        }
    }

    /// What endpoints dial straight goes by the transport of their group, so it may name no other.
    pub(super) fn transport_of_calls(
        &mut self,
        at: &str,
        group: &api::Group,
        registrar: Option<&Registrar>,
    ) {
        let target = group.target.as_ref().and_then(|it| it.uri.as_ref());
        let target = target.map(|uri| (format!("{at}.target.uri"), uri));
        let actions = group.scenario.iter().flatten().enumerate();
        let consulted = actions.filter(|(_, it)| it.attended == Some(true));
        let consulted = consulted.filter_map(|(index, it)| {
            let uri = it.to.as_ref()?;
            Some((format!("{at}.scenario[{index}].to"), uri))
        });
        let by = registrar.map_or(Transport::Udp, |registrar| registrar.transport);
        for (field, uri) in target.into_iter().chain(consulted) {
            let Ok(dialled) = Dialled::read(uri) else {
                continue;
            };
            let Some(asked) = dialled.transport else {
                continue;
            };
            let fits = asked == by || (by == Transport::Wss && dialled.any_web_socket);
            if !fits && dialled.is_straight(registrar) {
                let message = format!(
                    "{}; accepted with registrar.transport {} only, not with {}: the call goes straight to its host",
                    shown(uri),
                    asked.as_str(),
                    by.as_str()
                );
                self.refuse(field, message);
            }
        }
    }

    /// Callees that do not register are dialled where they listen: by their own transport.
    pub(super) fn transport_of_callees(
        &mut self,
        at: &str,
        group: &api::Group,
        registrar: Option<&Registrar>,
        all: &[api::Group],
    ) {
        let straight = registrar.is_none_or(|it| !it.register && it.outbound_proxy.is_empty());
        let name = group.target.as_ref().and_then(|it| it.group.as_ref());
        let Some((index, callees)) = name.and_then(|name| {
            let mut all = all.iter().enumerate();
            all.find(|(_, callees)| callees.name == *name && callees.role != Role::Caller)
        }) else {
            return;
        };
        let implied = implied(callees, all);
        let theirs = callees.registrar.as_ref().or(implied.as_ref());
        if !straight || theirs.is_some_and(api::Registrar::registers) {
            return;
        }
        let by = registrar.map_or(Transport::Udp, |it| it.transport);
        let taken = theirs.and_then(|it| it.transport).unwrap_or_default();
        let accepted = match taken {
            // What DNS says is known when the run begins.
            Transport::Auto => return,
            Transport::Udp => "udp and tcp",
            other => other.as_str(),
        };
        let fits = by == taken || (by, taken) == (Transport::Tcp, Transport::Udp);
        if !fits && by != Transport::Auto {
            let message = format!(
                "{}; accepted with registrar.transport {accepted} only, not with {}: groups[{index}].registrar.transport is {}, and the call goes straight to it",
                shown(&callees.name),
                by.as_str(),
                taken.as_str(),
            );
            self.refuse(format!("{at}.target.group"), message);
        }
    }
}
