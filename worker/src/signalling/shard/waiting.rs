//! Shares that wait until their server is found (transport auto, RFC 3263).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use callmeter_engine::{Located, Transport};
use callmeter_proto::worker::{Assign, GroupPeers, Registrar, Role};
use callmeter_sip::{
    Host, Uri,
    locate::{Found, Target},
};

use super::Shard;
use crate::signalling::resolver::Question;

/// The transport that is to be found out.
const AUTO: &str = "auto";
/// Interval of keep-alives on connections where the assignment leaves it to what is found.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A share that cannot be placed yet.
pub(super) struct Waiting {
    pub(super) assign: Assign,
    /// The field that names what is looked for.
    field: &'static str,
    /// The run has started meanwhile: what its callers dial.
    pub(super) started: Option<Vec<GroupPeers>>,
}

/// Whether the server of a share has to be found first.
pub(super) fn must_be_found(assign: &Assign) -> bool {
    let registrar = assign.registrar.as_ref();
    registrar.is_some_and(|registrar| registrar.transport == AUTO)
}

impl Shard {
    /// Asks where the server of a share is; what is refused is told by its reason.
    pub(super) fn find_server(&mut self, assign: Assign) -> Result<(), String> {
        let registrar = assign.registrar.clone().unwrap_or_default();
        let (field, target) = target(&registrar)?;
        self.next_waiting += 1;
        let waiting = self.next_waiting;
        self.questions
            .try_send(Question::Server { waiting, target })
            .map_err(|_| "too many names wait to be resolved")?;
        let share = Waiting {
            assign,
            field,
            started: None,
        };
        self.waiting.insert(waiting, share);
        Ok(())
    }

    /// Places a share whose server is found now, or refuses it.
    pub(super) fn located(
        &mut self,
        now: Instant,
        waiting: u64,
        found: Result<Found, String>,
        took: Duration,
    ) {
        // None: its run was stopped meanwhile.
        let Some(Waiting {
            mut assign,
            field,
            started,
        }) = self.waiting.remove(&waiting)
        else {
            return;
        };
        let Found { transport, servers } = match found {
            Ok(found) => found,
            Err(reason) => {
                self.refuse_share(assign, &format!("registrar.{field} {reason}"));
                return;
            }
        };
        tracing::info!(run = assign.run, group = assign.group, %transport, ?servers, "server found");
        if let Err(reason) = apply(transport, &mut assign) {
            self.refuse_share(assign, &reason);
            return;
        }
        let placed = self.place_or_refuse(now, assign, Some(Located { servers, took }));
        if let (Some(id), Some(mut peers)) = (placed, started) {
            self.start_share(now, id, &mut peers);
        }
    }

    /// Refuses the shares of a run that still wait.
    pub(super) fn stop_waiting(&mut self, run: &str) {
        let of = |waiting: &Waiting| waiting.assign.run == run;
        let gone: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, share)| of(share))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(share) = self.waiting.remove(&id) {
                self.refuse_share(share.assign, "stopped before its server was found");
            }
        }
    }
}

/// The server that needs no name to be found.
pub(super) fn given_server(registrar: &Registrar) -> Option<IpAddr> {
    match target(registrar).ok()?.1.host {
        Host::Ip(ip) => Some(ip),
        Host::Name(_) => None,
    }
}

/// What is looked for: the outbound proxy, else the domain.
fn target(registrar: &Registrar) -> Result<(&'static str, Target), String> {
    let (field, host) = if registrar.outbound_proxy.is_empty() {
        ("domain", &registrar.domain)
    } else {
        ("outboundProxy", &registrar.outbound_proxy)
    };
    let uri = format!("sip:{host}").parse::<Uri>();
    let uri = uri
        .ok()
        .filter(|uri| !host.is_empty() && uri.user().is_empty());
    let uri = uri.ok_or_else(|| {
        format!("registrar.{field} is {host}; accepted: a host name or address with transport auto")
    })?;
    let target = Target {
        host: uri.host().clone(),
        port: uri.port(),
        transport: None,
        secure: false,
    };
    Ok((field, target))
}

/// An address that stands where a name could is of the IP version of ours, as those of names are.
pub(super) fn check_version(registrar: &Registrar, own: IpAddr) -> Result<(), String> {
    let Ok((field, target)) = target(registrar) else {
        return Ok(());
    };
    match target.host {
        Host::Ip(ip) if ip.is_ipv4() != own.is_ipv4() => Err(format!(
            "registrar.{field} is {ip}; accepted: an address of the IP version of SIP_IP, {own}"
        )),
        _ => Ok(()),
    }
}

/// Makes the share one of the transport that was found, without what only others have. Refused is
/// what nobody could connect to.
fn apply(transport: Transport, assign: &mut Assign) -> Result<(), String> {
    let answers = assign.role() != Role::Caller;
    let Some(registrar) = &mut assign.registrar else {
        return Ok(());
    };
    registrar.transport = transport.as_str().to_ascii_lowercase();
    let tls = registrar.tls.as_ref();
    let certified = tls.is_some_and(|tls| !tls.server_certificate_pem.is_empty());
    let secure = matches!(transport, Transport::Tls | Transport::Wss);
    if secure && answers && !registrar.register && !certified {
        return Err(format!(
            "registrar.tls.serverCertRef is absent; required where calls are taken by \
             {transport}, which was found, without registering"
        ));
    }
    if transport == Transport::Udp {
        registrar.connection_per_endpoint = false;
    } else if registrar.keep_alive_ms == 0 {
        registrar.keep_alive_ms = KEEP_ALIVE.as_millis() as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only connections are kept alive unasked.
    #[test]
    fn keep_alives_are_those_of_the_transport_found() {
        for (transport, given, wanted) in [
            (Transport::Udp, 0, 0),
            (Transport::Udp, 5000, 5000),
            (Transport::Tcp, 0, 60_000),
            (Transport::Wss, 0, 60_000),
            (Transport::Tls, 5000, 5000),
        ] {
            let mut assign = Assign {
                role: Role::Caller.into(),
                registrar: Some(Registrar {
                    transport: AUTO.into(),
                    keep_alive_ms: given,
                    ..Registrar::default()
                }),
                ..Assign::default()
            };
            apply(transport, &mut assign).unwrap();
            let registrar = assign.registrar.unwrap();
            assert_eq!(registrar.keep_alive_ms, wanted, "{transport}");
            assert!(registrar.transport.eq_ignore_ascii_case(transport.as_str()));
        }
    }

    #[test]
    fn what_cannot_be_looked_for_is_named_as_in_definitions() {
        let mut registrar = Registrar {
            domain: "a b".into(),
            ..Registrar::default()
        };
        let refused = target(&registrar).err().unwrap();
        assert!(refused.starts_with("registrar.domain is a b;"), "{refused}");
        registrar.outbound_proxy = "c d".into();
        let refused = target(&registrar).err().unwrap();
        let wanted = "registrar.outboundProxy is c d;";
        assert!(refused.starts_with(wanted), "{refused}");
    }
}
