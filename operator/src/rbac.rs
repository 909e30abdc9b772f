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
}
