//! Accounts, audio and calls of a group.

use std::time::Duration;

use callmeter_api::calltest as api;

use super::forms::{is_label, shown};
use super::{Check, DAY};
use crate::definition::accounts::server;
use crate::definition::{Accounts, Audio, Call, Group};

const DEFAULT_PTIME_MS: u32 = 20;
const DEFAULT_DSCP: u8 = 46;

impl Check<'_> {
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

    /// Two groups of one registrar may not use the same rows of one Secret.
    pub(super) fn shared_rows(&mut self, groups: &[Group]) {
        for (i, group) in groups.iter().enumerate() {
            for other in &groups[..i] {
                let (
                    Accounts::Secret { name, first, .. },
                    Accounts::Secret {
                        name: same,
                        first: from,
                        ..
                    },
                ) = (&group.accounts, &other.accounts)
                else {
                    continue;
                };
                // Either may be 0 here: it is refused with all that is wrong.
                let last =
                    |first: &u32, g: &Group| first.saturating_add(g.endpoints).saturating_sub(1);
                let apart = last(first, group) < *from || last(from, other) < *first;
                let registrar = server(group);
                let one = registrar.is_some() && registrar == server(other);
                if name == same && one && !apart {
                    let message = format!(
                        "rows {first} to {} of Secret {name} overlap with rows {from} to {} of group {}",
                        last(first, group),
                        last(from, other),
                        other.name
                    );
                    self.refuse(format!("groups[{i}].accounts.first"), message);
                }
            }
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
