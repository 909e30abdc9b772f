//! Where a group's endpoints run, and whom they call.

use std::collections::BTreeMap;

use callmeter_api::calltest as api;

use super::Check;
use super::forms::{is_label, shown};
use crate::definition::{Role, Target};
use crate::scheduler::Placement;

impl Check<'_> {
    pub(super) fn placement(&mut self, at: &str, placement: Option<&api::Placement>) -> Placement {
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

    pub(super) fn target(
        &mut self,
        at: &str,
        caller: &api::Group,
        all: &[api::Group],
        names: &BTreeMap<&str, usize>,
    ) -> Target {
        let role = caller.role;
        let Some(target) = &caller.target else {
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
                Some(&index) if all[index].role != Role::Caller => {
                    if *group == caller.name && caller.endpoints == 1 {
                        let problem = "accepted with endpoints 2 or more: nobody calls himself";
                        self.refuse(
                            format!("{at}.group"),
                            format!("{}; {problem}", shown(group)),
                        );
                    }
                    Target::Group(index)
                }
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
}
