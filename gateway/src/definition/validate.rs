//! The rules of a test definition. They repeat those of the resource's schema, since REST and the
//! command line have no API server in front.

mod dialled;
mod dialog;
mod forms;
mod load;
mod parts;
mod registrar;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use callmeter_api::calltest as api;

use super::{
    Accounts, Expectation, Group, InlineAccounts, InvalidDefinition, Problem, Role, Target,
    ValidatedTest,
};
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
            target: _,
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
            accept_transfers,
            scenario,
        } = group;
        let implied = dialled::implied(group, all);
        if !(1..=100_000).contains(endpoints) {
            self.refuse(
                format!("{at}.endpoints"),
                format!("{endpoints}; accepted: 1 to 100000"),
            );
        }
        let registrar = registrar
            .as_ref()
            .or(implied.as_ref())
            .map(|r| self.registrar(&format!("{at}.registrar"), *role, r));
        let registers = registrar.as_ref().is_some_and(|r| r.register);
        self.transport_of_calls(at, group, registrar.as_ref());
        self.transport_of_callees(at, group, registrar.as_ref(), all);
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
        let target = self.target(&format!("{at}.target"), group, all, names);
        Group {
            name: name.clone(),
            endpoints: *endpoints,
            placement: self.placement(&format!("{at}.placement"), placement.as_ref()),
            role: *role,
            // A stranger could have calls placed with the accounts of the test.
            accept_transfers: accept_transfers.unwrap_or(target != Target::External),
            target,
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
}
