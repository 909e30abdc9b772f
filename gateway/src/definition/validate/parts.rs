//! Registrar, accounts, audio, load and calls of a group.

use std::time::Duration;

use callmeter_api::calltest as api;

use super::forms::{is_host, is_label, shown};
use super::{Check, DAY};
use crate::definition::{Accounts, Audio, Call, Load, Registrar};

const DEFAULT_PTIME_MS: u32 = 20;
const DEFAULT_DSCP: u8 = 46;

impl Check<'_> {
    pub(super) fn registrar(&mut self, at: &str, registrar: &api::Registrar) -> Registrar {
        let api::Registrar {
            domain,
            port,
            outbound_proxy,
            register,
        } = registrar;
        if !is_host(domain, 253) {
            self.refuse(
                format!("{at}.domain"),
                format!("{}; accepted: a host name or an IP address", shown(domain)),
            );
        }
        if *port == Some(0) {
            self.refuse(format!("{at}.port"), "0; accepted: 1 to 65535");
        }
        let outbound_proxy = outbound_proxy.clone().unwrap_or_default();
        if !outbound_proxy.is_empty() && !is_host(&outbound_proxy, 259) {
            self.refuse(
                format!("{at}.outboundProxy"),
                format!("{}; accepted: host or host:port", shown(&outbound_proxy)),
            );
        }
        Registrar {
            domain: domain.clone(),
            port: port.unwrap_or(0),
            outbound_proxy,
            register: register.unwrap_or(true),
        }
    }

    pub(super) fn accounts(&mut self, at: &str, accounts: &api::Accounts) -> Accounts {
        let api::Accounts {
            secret_ref: api::SecretRef { name },
            first,
        } = accounts;
        let first = first.unwrap_or(1);
        if !name.split('.').all(is_label) || name.len() > 253 {
            self.refuse(
                format!("{at}.secretRef.name"),
                format!("{}; accepted: the name of a Secret", shown(name)),
            );
        }
        if !(1..=1_000_000).contains(&first) {
            self.refuse(
                format!("{at}.first"),
                format!("{first}; accepted: 1 to 1000000"),
            );
        }
        if self.namespace.is_empty() {
            let accepted = "list or pattern, this test has no namespace a Secret could be in";
            self.refuse(
                format!("{at}.secretRef"),
                format!("{}; accepted: {accepted}", shown(name)),
            );
        }
        Accounts::Secret {
            namespace: self.namespace.to_owned(),
            name: name.clone(),
            first,
        }
    }

    pub(super) fn audio(&mut self, at: &str, audio: Option<&api::Audio>) -> Audio {
        let api::Audio { codec, ptime, dscp } = audio.cloned().unwrap_or_default();
        let ptime_ms = ptime.map_or_else(
            || u64::from(DEFAULT_PTIME_MS),
            callmeter_api::Duration::as_millis,
        );
        if ![10, 20, 30, 40, 60].contains(&ptime_ms) {
            self.refuse(
                format!("{at}.ptime"),
                format!("{ptime_ms}ms; accepted: 10ms, 20ms, 30ms, 40ms, 60ms"),
            );
        }
        let dscp = dscp.unwrap_or(DEFAULT_DSCP);
        if dscp > 63 {
            self.refuse(format!("{at}.dscp"), format!("{dscp}; accepted: 0 to 63"));
        }
        Audio {
            codec: codec.unwrap_or_default(),
            ptime_ms: ptime_ms as u32,
            dscp,
        }
    }

    pub(super) fn load(&mut self, at: &str, load: Option<&api::Load>, endpoints: u32) -> Load {
        match load {
            None => Load::AllAtOnce,
            Some(api::Load {
                concurrency: Some(n),
                arrival_rate: None,
            }) => {
                if !(1..=endpoints).contains(n) {
                    let accepted = format!("1 to {endpoints}, the endpoints of the group");
                    self.refuse(
                        format!("{at}.concurrency"),
                        format!("{n}; accepted: {accepted}"),
                    );
                }
                Load::Concurrency(*n)
            }
            Some(api::Load {
                concurrency: None,
                arrival_rate: Some(rate),
            }) => Load::ArrivalRate(rate.per_second()),
            Some(_) => {
                self.refuse(at, "accepted: exactly one of concurrency, arrivalRate");
                Load::AllAtOnce
            }
        }
    }

    pub(super) fn call(&mut self, at: &str, call: Option<&api::Call>) -> Call {
        let api::Call {
            duration,
            ring_for,
            repeat,
        } = call.cloned().unwrap_or_default();
        if let Some(duration) = duration {
            let field = format!("{at}.duration");
            self.within(
                &field,
                duration.std(),
                Duration::from_secs(1),
                DAY,
                "1s to 24h",
            );
        }
        let ring_for = ring_for.unwrap_or_default().std();
        let most = Duration::from_secs(180);
        self.within(
            &format!("{at}.ringFor"),
            ring_for,
            Duration::ZERO,
            most,
            "0s to 180s",
        );
        Call {
            duration: duration.map(Into::into),
            ring_for,
            repeat: repeat.unwrap_or(false),
        }
    }
}
