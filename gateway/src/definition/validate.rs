//! The rules of a test definition. They repeat those of the resource's schema, since REST and the
//! command line have no API server in front.

mod dialog;
mod forms;
mod load;
mod parts;
mod registrar;

use std::collections::BTreeMap;
use std::time::Duration;

use callmeter_api::calltest as api;

use super::{
    Accounts, Expectation, Group, InlineAccounts, InvalidDefinition, Problem, Role, Target,
    ValidatedTest,
};
use crate::scheduler::Placement;
pub(crate) use forms::is_label;
use forms::shown;

const DAY: Duration = Duration::from_secs(86_400);

/// Checks a definition and fills its defaults; all problems at once.
pub fn validate(
    spec: &api::CallTestSpec,
    inline: &InlineAccounts,
    namespace: &str,
) -> Result<ValidatedTest, InvalidDefinition> {
    let api::CallTestSpec {
        duration,
        queue_timeout,
        groups,
        expect,
    } = spec;
    let mut check = Check {
        problems: Vec::new(),
        namespace,
    };
    let names = check.group_names(groups);
    check.within(
        "duration",
        duration.std(),
        Duration::from_secs(1),
        DAY,
        "1s to 24h",
    );
    check.within(
        "queueTimeout",
        queue_timeout.std(),
        Duration::ZERO,
        DAY,
        "0s to 24h",
    );
    check.count("groups", groups.len(), 32);
    check.limit("expect", expect.len(), 32);
    let groups: Vec<Group> = groups
        .iter()
        .enumerate()
        .map(|(i, g)| {
            check.group(
                &format!("groups[{i}]"),
                g,
                inline.of(i).is_some(),
                groups,
                &names,
            )
        })
        .collect();
    check.shared_rows(&groups);
    let expects = expect
        .iter()
        .enumerate()
        .map(|(i, e)| check.expect(&format!("expect[{i}]"), e, &names))
        .collect();
    if !check.problems.is_empty() {
        return Err(InvalidDefinition(check.problems));
    }
    Ok(ValidatedTest {
        duration: duration.std(),
        queue_timeout: queue_timeout.std(),
        groups,
        expects,
    })
}

struct Check<'a> {
    problems: Vec<Problem>,
    namespace: &'a str,
}

impl Check<'_> {
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            field: field.into(),
            message: message.into(),
        });
    }

    fn within(
        &mut self,
        field: &str,
        value: Duration,
        min: Duration,
        max: Duration,
        accepted: &str,
    ) {
        if value < min || value > max {
            let value = callmeter_api::Duration::from_millis(value.as_millis() as u64);
            self.refuse(field, format!("{value}; accepted: {accepted}"));
        }
    }

    fn count(&mut self, field: &str, n: usize, most: usize) {
        if n == 0 {
            self.refuse(field, format!("is empty; accepted: 1 to {most} entries"));
        }
        self.limit(field, n, most);
    }

    fn limit(&mut self, field: &str, n: usize, most: usize) {
        if n > most {
            self.refuse(field, format!("{n} entries; accepted: at most {most}"));
        }
    }

    fn group_names<'g>(&mut self, groups: &'g [api::Group]) -> BTreeMap<&'g str, usize> {
        let mut names = BTreeMap::new();
        for (i, group) in groups.iter().enumerate() {
            let name = group.name.as_str();
            let field = format!("groups[{i}].name");
            if !is_label(name) {
                self.refuse(
                    &field,
                    format!(
                        "{}; accepted: 1 to 63 of a-z, 0-9 and -, ends without -",
                        shown(name)
                    ),
                );
            }
            if let Some(other) = names.insert(name, i) {
                self.refuse(
                    field,
                    format!("{} is the name of groups[{other}] too", shown(name)),
                );
            }
        }
        names
    }

    fn group(
        &mut self,
        at: &str,
        group: &api::Group,
        has_inline: bool,
        all: &[api::Group],
        names: &BTreeMap<&str, usize>,
    ) -> Group {
        let api::Group {
            name,
            endpoints,
            placement,
            role,
            target,
            registrar,
            accounts,
            audio,
            load,
            call,
            answer,
            session_timer,
            reliable,
            headers,
            dtmf,
            auth_in_dialog,
            scenario,
        } = group;
        if !(1..=100_000).contains(endpoints) {
            self.refuse(
                format!("{at}.endpoints"),
                format!("{endpoints}; accepted: 1 to 100000"),
            );
        }
        let registrar = registrar
            .as_ref()
            .map(|r| self.registrar(&format!("{at}.registrar"), *role, r));
        let registers = registrar.as_ref().is_some_and(|r| r.register);
        let accounts = match accounts {
            Some(accounts) => self.accounts(&format!("{at}.accounts"), accounts),
            None if has_inline => Accounts::Inline,
            None => Accounts::None,
        };
        if registers && accounts == Accounts::None {
            let message =
                "is required to register at registrar.domain; or set registrar.register to false";
            self.refuse(format!("{at}.accounts"), message);
        }
        Group {
            name: name.clone(),
            endpoints: *endpoints,
            placement: self.placement(&format!("{at}.placement"), placement.as_ref()),
            role: *role,
            target: self.target(&format!("{at}.target"), *role, target.as_ref(), all, names),
            registrar,
            accounts,
            audio: self.audio(&format!("{at}.audio"), audio.as_ref()),
            load: self.load(at, load.as_ref(), call.as_ref(), *endpoints),
            call: self.call(&format!("{at}.call"), call.as_ref()),
            answer_code: self.answer(&format!("{at}.answer"), *role, answer.as_ref()),
            session_timer: self
                .session_timer(&format!("{at}.sessionTimer"), session_timer.as_ref()),
            reliable: reliable.unwrap_or_default(),
            headers: self.headers(
                &format!("{at}.headers"),
                headers.as_deref().unwrap_or_default(),
            ),
            dtmf: dtmf.unwrap_or_default(),
            auth_in_dialog: auth_in_dialog.unwrap_or(false),
            scenario: self.scenario(
                &format!("{at}.scenario"),
                registers,
                scenario.as_deref().unwrap_or_default(),
            ),
        }
    }

    fn placement(&mut self, at: &str, placement: Option<&api::Placement>) -> Placement {
        let Some(api::Placement { pool: Some(pool) }) = placement else {
            return Placement::Anywhere;
        };
        let (namespace, name) = pool.split_once('/').unwrap_or((self.namespace, pool));
        let field = format!("{at}.pool");
        if !is_label(name) || !(namespace.is_empty() || is_label(namespace)) {
            self.refuse(
                &field,
                format!(
                    "{}; accepted: name or namespace/name of a WorkerPool",
                    shown(pool)
                ),
            );
        } else if namespace.is_empty() {
            self.refuse(
                &field,
                format!(
                    "{}; accepted: namespace/name, this test has no namespace",
                    shown(pool)
                ),
            );
        }
        Placement::Pool(format!("{namespace}/{name}"))
    }

    fn target(
        &mut self,
        at: &str,
        role: Role,
        target: Option<&api::Target>,
        all: &[api::Group],
        names: &BTreeMap<&str, usize>,
    ) -> Target {
        let Some(target) = target else {
            if role != Role::Callee {
                self.refuse(
                    at,
                    "is required for role caller and both; accepted: group or uri",
                );
            }
            return Target::None;
        };
        let chosen = match target {
            api::Target {
                group: Some(group),
                uri: None,
                external: None,
            } => match names.get(group.as_str()) {
                Some(&index) if all[index].role != Role::Caller => Target::Group(index),
                _ => {
                    let accepted = "a group of this test with the role callee or both";
                    self.refuse(
                        format!("{at}.group"),
                        format!("{}; accepted: {accepted}", shown(group)),
                    );
                    Target::None
                }
            },
            api::Target {
                group: None,
                uri: Some(uri),
                external: None,
            } => {
                self.sip_uri(&format!("{at}.uri"), uri);
                Target::Uri(uri.clone())
            }
            api::Target {
                group: None,
                uri: None,
                external: Some(external),
            } => {
                if !external {
                    self.refuse(format!("{at}.external"), "false; accepted: true");
                }
                Target::External
            }
            _ => {
                self.refuse(at, "accepted: exactly one of group, uri, external");
                return Target::None;
            }
        };
        match (role, &chosen) {
            (Role::Callee, Target::Group(_) | Target::Uri(_)) => {
                self.refuse(
                    at,
                    "a callee dials nobody; accepted with role callee: external",
                );
            }
            (Role::Caller | Role::Both, Target::External) => {
                self.refuse(
                    at,
                    "external is accepted with role callee only; accepted here: group or uri",
                );
            }
            _ => {}
        }
        chosen
    }

    fn expect(
        &mut self,
        at: &str,
        expect: &api::Expect,
        names: &BTreeMap<&str, usize>,
    ) -> Expectation {
        let api::Expect {
            metric,
            stat,
            group,
            min,
            max,
        } = expect;
        if min.is_none() && max.is_none() {
            self.refuse(at, "accepted: min, max or both");
        }
        let range = match metric {
            api::ExpectMetric::Mos => 1.0..=5.0,
            api::ExpectMetric::CallSuccessRate => 0.0..=100.0,
        };
        for (name, bound) in [("min", min), ("max", max)] {
            if let Some(bound) = bound.filter(|bound| !range.contains(bound)) {
                let (least, most) = (range.start(), range.end());
                let message = format!("{bound}; accepted: {least} to {most}");
                self.refuse(format!("{at}.{name}"), message);
            }
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            self.refuse(format!("{at}.min"), format!("{min} is above max {max}"));
        }
        let index = group
            .as_ref()
            .and_then(|name| names.get(name.as_str()).copied());
        if let (Some(name), None) = (group, index) {
            self.refuse(
                format!("{at}.group"),
                format!("{}; accepted: a group of this test", shown(name)),
            );
        }
        Expectation {
            metric: *metric,
            stat: stat.unwrap_or_default(),
            group: index,
            min: *min,
            max: *max,
        }
    }

    /// Two groups of one registrar may not use the same rows of one Secret.
    fn shared_rows(&mut self, groups: &[Group]) {
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
                let server = |g: &Group| g.registrar.as_ref().map(|r| (r.domain.clone(), r.port));
                let last = |first: &u32, g: &Group| first.saturating_add(g.endpoints) - 1;
                let apart = last(first, group) < *from || last(from, other) < *first;
                if name == same && server(group) == server(other) && !apart {
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
}
