//! The custom resources on a real API server: schemas, rules, scale, server-side apply. Runs where
//! `KUBECONFIG` is set and says so where it is not; everything is made in a namespace of its own.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rules;

use std::{
    collections::BTreeMap, env, future::Future, path::Path, process::Command, time::Duration,
};

use callmeter_api::{CallTest, WorkerPool, crds};
use k8s_openapi::{
    api::{
        autoscaling::v1::{Scale, ScaleSpec},
        core::v1::Namespace,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Rules {
    bases: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    kind: String,
    field: String,
    from: Option<Value>,
    fail_from: Option<Value>,
    pass: Value,
    fail: Value,
}

fn rules() -> Rules {
    serde_yaml::from_str(include_str!("../../../crates/api/testdata/rules.yaml")).unwrap()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (key, value) in fields {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(key);
                } else {
                    merge(&mut target[key], value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

/// Runs a case with the definitions installed and a namespace that is deleted afterwards.
fn on_cluster<F: Future<Output = ()>>(name: &str, case: impl FnOnce(Client, String) -> F) {
    if env::var_os("KUBECONFIG").is_none() {
        eprintln!("skipped: KUBECONFIG is not set");
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::try_default().await.unwrap();
        install(&client).await;
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("callmeter-api-{name}-")),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let made = namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap()
            .name_any();
        let outcome =
            tokio::time::timeout(Duration::from_secs(120), case(client, made.clone())).await;
        namespaces
            .delete(&made, &DeleteParams::background())
            .await
            .unwrap();
        outcome.expect("the case ends within two minutes");
    });
}

async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for crd in crds() {
        let name = crd.name_any();
        let params = PatchParams::apply("callmeter-api-test").force();
        api.patch(&name, &params, &Patch::Apply(&crd))
            .await
            .unwrap();
        let established = await_condition(api.clone(), &name, is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .unwrap()
            .unwrap();
    }
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let crd = crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let resource = ApiResource {
        group: crd.spec.group.clone(),
        version: "v1alpha1".into(),
        api_version: format!("{}/v1alpha1", crd.spec.group),
        kind: kind.into(),
        plural: crd.spec.names.plural,
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn pool(name: &str, spec: &Value) -> Value {
    let mut pool = json!({
        "apiVersion": "callmeter.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": name},
        // A running operator leaves it alone but for its status.
        "spec": {"paused": true, "capacity": {"endpointsPerWorker": 25}},
    });
    merge(&mut pool["spec"], spec);
    pool
}

#[test]
fn the_scale_subresource_reads_and_writes_the_number_of_workers() {
    on_cluster("scale", async |client, namespace| {
        let pools = Api::<WorkerPool>::namespaced(client.clone(), &namespace);
        let stored = pools
            .create(
                &PostParams::default(),
                &serde_json::from_value(pool("fra", &json!({}))).unwrap(),
            )
            .await
            .unwrap();
        assert_eq!(stored.spec.replicas, None);
        let mut scale = Scale {
            metadata: ObjectMeta {
                name: Some("fra".into()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(ScaleSpec { replicas: Some(3) }),
            status: None,
        };
        pools
            .replace_scale("fra", &PostParams::default(), &scale)
            .await
            .unwrap();
        let status = json!({"status": {"replicas": 2, "selector": "callmeter.io/pool=fra"}});
        pools
            .patch_status("fra", &PatchParams::default(), &Patch::Merge(&status))
            .await
            .unwrap();
        let read = pools.get_scale("fra").await.unwrap();
        assert_eq!(read.spec.unwrap().replicas, Some(3));
        assert_eq!(
            read.status.unwrap().selector.as_deref(),
            Some("callmeter.io/pool=fra")
        );
        scale.metadata.resource_version = stored.resource_version();
        let stale = pools
            .replace_scale("fra", &PostParams::default(), &scale)
            .await
            .unwrap_err();
        assert!(matches!(stale, kube::Error::Api(status) if status.is_conflict()));
    });
}

/// A default would set a pool of 40 back to it when its manifest stops naming a number.
#[test]
fn a_manifest_that_stops_naming_replicas_leaves_none() {
    on_cluster("replicas", async |client, namespace| {
        let pools = api(&client, &namespace, "WorkerPool");
        let params = PatchParams::apply("git").force();
        let with = pool("fra", &json!({"replicas": 5}));
        let applied = pools
            .patch("fra", &params, &Patch::Apply(&with))
            .await
            .unwrap();
        assert_eq!(applied.data["spec"]["replicas"], 5);
        let without = pools
            .patch("fra", &params, &Patch::Apply(&pool("fra", &json!({}))))
            .await
            .unwrap();
        assert_eq!(without.data["spec"].get("replicas"), None);
    });
}

#[test]
fn the_same_manifest_applied_twice_changes_nothing() {
    on_cluster("apply", async |client, namespace| {
        let Rules { bases, .. } = rules();
        let mut manifests: Vec<(String, Value)> = bases
            .into_iter()
            .filter(|(kind, _)| kind != "CallTest")
            .collect();
        let secrets = json!({"tokens": {"secrets": [{"name": "a", "key": "t"}, {"name": "b", "key": "t"}]}, "template": {"env": [{"name": "TZ", "value": "UTC"}]}});
        manifests.push(("WorkerPool".into(), pool("lists", &secrets)));
        for (kind, mut manifest) in manifests {
            if kind == "WorkerPool" {
                manifest["spec"]["paused"] = true.into();
            }
            let api = api(&client, &namespace, &kind);
            let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
            let params = PatchParams::apply("git").force();
            let first = api
                .patch(&name, &params, &Patch::Apply(&manifest))
                .await
                .unwrap();
            let second = api
                .patch(&name, &params, &Patch::Apply(&manifest))
                .await
                .unwrap();
            // A running operator may add its finalizer and status in between, never to the spec.
            assert_eq!(first.data["spec"], second.data["spec"], "{kind}");
            assert_eq!(
                first.metadata.generation, second.metadata.generation,
                "{kind}"
            );
        }
    });
}

#[test]
fn every_column_is_listed() {
    on_cluster("columns", async |client, namespace| {
        for (plural, columns) in [
            (
                "workerpools",
                "Name Desired Ready Busy Draining Capacity Queued Tokens-Free Revision Available Network Reason Age",
            ),
            (
                "callmeterworkers",
                "Name Phase Connected Load Node Token UpToDate RTP Revision Age",
            ),
            (
                "calltests",
                "Name Phase Progress Endpoints Calls Verdict MOS Run Reason Age",
            ),
        ] {
            let request = http::Request::get(format!(
                "/apis/callmeter.io/v1alpha1/namespaces/{namespace}/{plural}"
            ))
            .header("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
            .body(Vec::new())
            .unwrap();
            let table: Value = client.request(request).await.unwrap();
            let names: Vec<_> = table["columnDefinitions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["name"].as_str().unwrap())
                .collect();
            assert_eq!(names.join(" "), columns);
        }
    });
}

#[test]
fn short_names_and_the_category_find_the_resources() {
    on_cluster("names", async |client, _| {
        let list = client
            .list_api_group_resources("callmeter.io/v1alpha1")
            .await
            .unwrap();
        for (plural, short) in [
            ("workerpools", "cmwp"),
            ("callmeterworkers", "cmw"),
            ("calltests", "cmt"),
        ] {
            let resource = list.resources.iter().find(|r| r.name == plural).unwrap();
            assert_eq!(resource.short_names, Some(vec![short.to_owned()]));
            assert_eq!(resource.categories, Some(vec!["callmeter".to_owned()]));
        }
        assert!(list.resources.iter().any(|r| r.name == "workerpools/scale"));
    });
}

/// kubectl reads YAML 1.1, the gateway and the command line YAML 1.2: what a person writes means
/// the same to both, and the API server takes all of it.
#[test]
fn every_test_definition_reads_the_same_through_kubectl() {
    on_cluster("shapes", |_, namespace| async move {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut files = vec![root.join("crates/api/testdata/shapes.yaml")];
        let samples = std::fs::read_dir(root.join("config/samples")).unwrap();
        let samples = samples.map(|entry| entry.unwrap().path());
        files.extend(samples.filter(|path| path.to_string_lossy().contains("/calltest")));
        assert!(files.len() >= 9, "{files:?}");
        let kubectl = env::var_os("CALLMETER_KUBECTL").unwrap_or_else(|| "kubectl".into());
        for file in files {
            let output = Command::new(&kubectl)
                .args(["create", "--dry-run=server", "--output=json"])
                .args(["--namespace", &namespace, "--filename"])
                .arg(&file)
                .output()
                .unwrap();
            let refusal = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {refusal}", file.display());
            let through_kubectl: CallTest = serde_json::from_slice(&output.stdout).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let by_hand: CallTest = serde_yaml::from_str(&text).unwrap();
            assert_eq!(through_kubectl.spec, by_hand.spec, "{}", file.display());
        }
    });
}
