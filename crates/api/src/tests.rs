//! Validation rules, schemas and texts of the resources.

use std::collections::BTreeSet;

use kube::{CustomResourceExt as _, core::cel};
use serde::Deserialize;
use serde_json::Value;

use crate::calltest::{Header, Reliable};
use crate::{CallMeterWorker, CallTest, WorkerPool, crds, pool::MANAGED_ENV};

#[derive(Deserialize)]
struct Rules {
    bases: std::collections::BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    kind: String,
    field: String,
    /// Set for rules about updates: the patch that gives the stored object.
    from: Option<Value>,
    fail_from: Option<Value>,
    pass: Value,
    fail: Value,
}

fn rules() -> Rules {
    serde_yaml::from_str(include_str!("../testdata/rules.yaml")).unwrap()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn merged(base: &Value, patch: &Value) -> Value {
    let mut object = base.clone();
    merge(&mut object, patch);
    object
}

/// Evaluates the rules as the API server does: on the object with its defaults filled in.
fn evaluate(kind: &str, object: Value, old: Option<Value>) -> Result<(), String> {
    fn run<K>(object: Value, old: Option<Value>) -> Result<(), String>
    where
        K: kube::CustomResourceExt + serde::de::DeserializeOwned + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).map_err(|e| e.to_string())?;
        let verdict = match old {
            None => cel::validate_cel(&object),
            Some(old) => cel::validate_cel_update(&object, &serde_json::from_value(old).unwrap()),
        };
        verdict.map_err(|e| e.to_string())
    }
    match kind {
        "WorkerPool" => run::<WorkerPool>(object, old),
        "CallMeterWorker" => run::<CallMeterWorker>(object, old),
        "CallTest" => run::<CallTest>(object, old),
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn every_rule_accepts_one_object_and_refuses_another_naming_the_field() {
    let Rules { bases, cases } = rules();
    for (kind, base) in &bases {
        evaluate(kind, base.clone(), None).unwrap();
    }
    for case in &cases {
        let base = &bases[&case.kind];
        let old = case.from.as_ref().map(|patch| merged(base, patch));
        let accepted = evaluate(&case.kind, merged(base, &case.pass), old.clone());
        assert_eq!(accepted, Ok(()), "{}", case.field);
        let old = case
            .fail_from
            .as_ref()
            .map(|patch| merged(base, patch))
            .or(old);
        let refusal = evaluate(&case.kind, merged(base, &case.fail), old)
            .expect_err(&format!("{} {}", case.field, case.fail));
        assert!(refusal.contains(&case.field), "{}: {refusal}", case.field);
    }
}

fn walk<'a>(value: &'a Value, path: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(path, value);
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                walk(field, &format!("{path}/{key}"), visit);
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(item, path, visit);
            }
        }
        _ => {}
    }
}

#[test]
fn every_rule_has_a_case() {
    let cases = rules().cases;
    for crd in crds() {
        let kind = crd.spec.names.kind.clone();
        let crd = serde_json::to_value(crd).unwrap();
        walk(&crd, "", &mut |path, value| {
            let Some(rules) = value
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
            else {
                return;
            };
            for rule in rules {
                let message = rule["message"].as_str().unwrap();
                assert!(
                    cases
                        .iter()
                        .any(|case| case.kind == kind && message.starts_with(&case.field)),
                    "{kind} {path}: {message}"
                );
            }
        });
    }
}

#[test]
fn the_rule_on_the_environment_names_every_managed_variable() {
    let crd = serde_json::to_string(&WorkerPool::crd()).unwrap();
    for name in MANAGED_ENV {
        assert!(crd.contains(&format!("'{name}'")), "{name}");
    }
}

/// YAML 1.1 (kubectl) reads some bare words as booleans that YAML 1.2 (the command line) reads as
/// text. No field of ours is one of them, and where a value is, its boolean is a value, too.
#[test]
fn no_name_reads_differently_in_another_yaml() {
    let ambiguous: BTreeSet<_> = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~",
    ]
    .into();
    for crd in crds() {
        let crd = serde_json::to_value(crd).unwrap();
        walk(&crd, "", &mut |path, value| {
            if let Some(fields) = value.get("properties").and_then(Value::as_object) {
                for name in fields.keys() {
                    assert!(
                        !ambiguous.contains(name.to_lowercase().as_str()),
                        "{path} {name}"
                    );
                }
            }
            let values = value.get("enum").and_then(Value::as_array);
            for name in values.into_iter().flatten().filter_map(Value::as_str) {
                let boolean = match name.to_lowercase().as_str() {
                    "off" | "no" | "n" | "false" => Value::Bool(false),
                    "on" | "yes" | "y" | "true" => Value::Bool(true),
                    other => {
                        assert!(!ambiguous.contains(other), "{path} {name}");
                        continue;
                    }
                };
                let both = values.is_some_and(|values| values.contains(&boolean));
                assert!(both, "{path} {name}");
            }
        });
    }
}

/// A default inside a list item shows as a difference in Argo CD for ever.
#[test]
fn no_list_item_has_a_default_and_every_list_and_text_of_a_rule_is_bounded() {
    for crd in crds() {
        let crd = serde_json::to_value(crd).unwrap();
        walk(&crd, "", &mut |path, value| {
            if path.contains("/items/") && path.contains("/spec/") {
                // Kubernetes' own types say what their defaults mean in texts only.
                assert!(value.get("default").is_none(), "{path}");
            }
            // Lists of Kubernetes' own types inside ours are not read by any rule.
            let ours = [
                "tolerations",
                "topologySpreadConstraints",
                "resources",
                "conditions",
            ];
            if value.get("type").and_then(Value::as_str) == Some("array")
                && path.contains("openAPIV3Schema")
                && !ours.iter().any(|name| path.contains(&format!("/{name}/")))
            {
                assert!(value.get("maxItems").is_some(), "{path}");
            }
        });
    }
}

#[test]
fn replicas_have_no_default() {
    let crd = serde_json::to_value(WorkerPool::crd()).unwrap();
    let replicas = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["replicas"];
    assert_eq!(replicas["type"], "integer");
    assert!(replicas.get("default").is_none());
}

#[test]
fn a_definition_reads_the_same_from_yaml_and_json() {
    let yaml = r#"
duration: 1m
queueTimeout: 10m
groups:
  - name: callers
    endpoints: 20
    placement: {pool: demo/fra}
    role: caller
    target: {group: answerers}
    registrar: {domain: pbx.example, port: 5060, transport: wss, wsPath: /ws, connection: perEndpoint, keepAlive: 30s, optionsInterval: 30s,
      outboundProxy: "pbx.example:5060", register: true,
      tls: {verify: custom, caRef: {name: pbx-ca, key: ca.crt}, clientCertRef: {name: fleet}, serverCertRef: {name: fleet}}}
    accounts: {secretRef: {name: sip-accounts}, first: 1}
    audio: {codec: pcma, ptime: 20ms, dscp: 46}
    load: {ramp: [{at: 0s, rate: 1/s}, {at: 1m, rate: 20/s}]}
    call: {duration: 10s, ringFor: 500ms, repeat: true}
    sessionTimer: {mode: required, expires: 30m, refresher: none}
    reliable: "off"
    headers: [{name: X-Test, value: "a: b"}]
    dtmf: info
    authInDialog: true
    acceptTransfers: false
    scenario:
      - {when: {at: 5s}, do: hold}
      - {when: {event: dtmf, digits: "1"}, do: transfer, to: "sip:100@pbx.example;transport=tcp", attended: true}
      - {when: {event: sessionRefresh}, do: sendDtmf, digits: "12#"}
  - {name: answerers, endpoints: 20, role: callee, registrar: {domain: pbx.example, sipOverUdp: always}, accounts: {secretRef: {name: sip-accounts}, first: 21}, answer: {code: 486}, reliable: supported}
  - {name: steps, endpoints: 20, role: caller, target: {group: answerers}, load: {steps: [{at: 0s, concurrency: 5}, {at: 30s, concurrency: 20}]}}
expect:
  - {metric: mos, stat: p05, min: 3.5}
  - {metric: call_success_rate, min: 99.5}
"#;
    let spec: crate::calltest::CallTestSpec = serde_yaml::from_str(yaml).unwrap();
    let written = serde_yaml::to_string(&spec).unwrap();
    let again: crate::calltest::CallTestSpec = serde_yaml::from_str(&written).unwrap();
    assert_eq!(spec, again);
    let json: crate::calltest::CallTestSpec =
        serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(spec, json);
    let given: Value = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), given);
}

/// A bare `off` is a text in YAML 1.2 and the boolean false in YAML 1.1; both are in the schema.
#[test]
fn a_bare_off_means_the_same_in_every_yaml() {
    for (given, read) in [
        (r#""off""#, Some(Reliable::Off)),
        ("false", Some(Reliable::Off)),
        (r#""supported""#, Some(Reliable::Supported)),
        (r#""required""#, Some(Reliable::Required)),
        ("true", None),
        (r#""on""#, None),
        ("0", None),
        ("null", None),
    ] {
        assert_eq!(serde_json::from_str(given).ok(), read, "{given}");
    }
    assert_eq!(serde_json::to_value(Reliable::Off).unwrap(), "off");
    let crd = serde_json::to_value(CallTest::crd()).unwrap();
    let reliable = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["groups"]["items"]["properties"]["reliable"];
    assert_eq!(
        reliable["enum"],
        serde_json::json!([false, "off", "supported", "required"])
    );
    assert_eq!(reliable["x-kubernetes-preserve-unknown-fields"], true);
    assert!(reliable.get("type").is_none(), "{reliable}");
}

/// The rule of the schema and the list that the gateway checks name the same headers.
#[test]
fn the_rule_on_headers_names_every_reserved_one() {
    let crd = serde_json::to_string(&CallTest::crd()).unwrap();
    let names = Header::RESERVED.join("|");
    assert!(
        crd.contains(&format!("matches('(?i)^({names})$')")),
        "{names}"
    );
}

/// Paths of the fields of a schema that hold a value, as the page of the test definition names them.
fn leaves(schema: &Value, path: &str, found: &mut Vec<String>) {
    let item = &schema["items"];
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            let dot = if path.is_empty() { "" } else { "." };
            leaves(field, &format!("{path}{dot}{name}"), found);
        }
    } else if item.is_object() {
        leaves(item, &format!("{path}[]"), found);
    } else {
        found.push(path.to_owned());
    }
}

#[test]
fn every_field_of_a_test_definition_is_documented() {
    let crd = serde_json::to_value(CallTest::crd()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    leaves(spec, "", &mut fields);
    assert!(fields.len() > 55, "{}", fields.len());
    let page = include_str!("../../../docs/tests.md");
    for field in &fields {
        assert!(page.contains(&format!("\n| `{field}` |")), "{field}");
    }
    // No row is of a field that is none.
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (field, _) in rows {
        let known = |leaf: &String| leaf == field || leaf.starts_with(&format!("{field}."));
        let list = field.strip_suffix("[]").unwrap_or(field);
        assert!(
            fields
                .iter()
                .any(|leaf| known(leaf) || leaf.starts_with(&format!("{list}[]."))),
            "{field}"
        );
    }
}
