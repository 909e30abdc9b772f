//! What the operator's role must allow, in one table; the chart's role is checked against it.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// (API group, resource, verbs), sorted. No verb reads a Secret.
const RULES: &[(&str, &str, &[&str])] = &[
    ("", "configmaps", &["create", "delete", "get", "patch"]),
    (
        "",
        "pods",
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    ("", "secrets", &["create", "delete"]),
    (
        "callmeter.io",
        "callmeterworkers",
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    ("callmeter.io", "callmeterworkers/status", &["patch"]),
    (
        "callmeter.io",
        "calltests",
        &["get", "list", "patch", "watch"],
    ),
    ("callmeter.io", "calltests/status", &["patch"]),
    (
        "callmeter.io",
        "workerpools",
        &["get", "list", "patch", "watch"],
    ),
    ("callmeter.io", "workerpools/scale", &["update"]),
    ("callmeter.io", "workerpools/status", &["patch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// The same for its own namespace only.
const OWN_NAMESPACE: &[(&str, &str, &[&str])] = &[(
    "coordination.k8s.io",
    "leases",
    &["create", "get", "update"],
)];

fn rules(table: &[(&str, &str, &[&str])]) -> Vec<PolicyRule> {
    let text = |s: &&str| (*s).to_owned();
    table
        .iter()
        .map(|(group, resource, verbs)| PolicyRule {
            api_groups: Some(vec![text(group)]),
            resources: Some(vec![text(resource)]),
            verbs: verbs.iter().map(text).collect(),
            ..PolicyRule::default()
        })
        .collect()
}

/// Rules for every namespace it looks after, and rules for its own.
pub fn print() -> anyhow::Result<String> {
    Ok(format!(
        "# every namespace it looks after\n{}# its own namespace\n{}",
        serde_yaml::to_string(&rules(RULES))?,
        serde_yaml::to_string(&rules(OWN_NAMESPACE))?
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// R7
    #[test]
    fn no_rule_reads_secrets_and_rules_are_sorted() {
        for (group, resource, verbs) in RULES.iter().chain(OWN_NAMESPACE) {
            assert!(verbs.is_sorted(), "{resource}");
            assert!(!resource.contains('*') && !group.contains('*') && !verbs.contains(&"*"));
            if *resource == "secrets" {
                assert_eq!(*verbs, ["create", "delete"]);
            }
        }
        assert!(RULES.is_sorted());
    }

    fn grants(rules: &[PolicyRule]) -> BTreeSet<(String, String, String)> {
        let mut grants = BTreeSet::new();
        for rule in rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    grants.extend(
                        rule.verbs
                            .iter()
                            .map(|verb| (group.clone(), resource.clone(), verb.clone())),
                    );
                }
            }
        }
        grants
    }

    #[test]
    fn the_chart_grants_these_rules_and_no_others() {
        let path = format!(
            "{}/../charts/callmeter/templates/_helpers.tpl",
            env!("CARGO_MANIFEST_DIR")
        );
        let helpers = std::fs::read_to_string(path).unwrap();
        let (_, after) = helpers
            .split_once("{{- define \"callmeter.operatorRules\" -}}")
            .unwrap();
        let body: Vec<&str> = after
            .lines()
            .scan(0, |depth, line| {
                if line.starts_with("{{- if") {
                    *depth += 1;
                } else if line.starts_with("{{- end") {
                    *depth -= 1;
                }
                (*depth >= 0).then_some(line)
            })
            .filter(|line| !line.starts_with("{{"))
            .collect();
        let granted: Vec<PolicyRule> = serde_yaml::from_str(&body.join("\n")).unwrap();
        assert_eq!(grants(&granted), grants(&rules(RULES)));
    }
}
