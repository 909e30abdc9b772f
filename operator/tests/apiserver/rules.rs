//! The rules of the three resources, as the API server evaluates them.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::{Rules, api, merge, object, on_cluster, rules};

fn merged(base: &Value, patch: &Value) -> Value {
    let mut object = base.clone();
    merge(&mut object, patch);
    object
}

/// The message of a refusal; anything but a refusal of the content fails the test.
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>, case: &str) -> String {
    match answer {
        Err(kube::Error::Api(status)) if status.is_invalid() => status.message,
        other => panic!("{case}: {other:?}"),
    }
}

/// R107 apart, every rule of the three resources, as the API server evaluates it.
#[test]
fn each_rule_accepts_one_object_and_refuses_another_naming_the_field() {
    on_cluster("rules", async |client, namespace| {
        let Rules { bases, cases } = rules();
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        for case in cases.iter().filter(|case| case.from.is_none()) {
            let api = api(&client, &namespace, &case.kind);
            let base = &bases[&case.kind];
            let accepted = api
                .create(&dry_run, &object(merged(base, &case.pass)))
                .await;
            assert!(
                accepted.is_ok(),
                "{} {}: {accepted:?}",
                case.kind,
                case.field
            );
            let refused = api
                .create(&dry_run, &object(merged(base, &case.fail)))
                .await;
            let message = refusal(refused, &case.field);
            assert!(message.contains(&case.field), "{}: {message}", case.field);
        }
    });
}

#[test]
fn each_rule_on_updates_accepts_one_change_and_refuses_another() {
    on_cluster("updates", async |client, namespace| {
        let Rules { bases, cases } = rules();
        for case in cases.iter().filter(|case| case.from.is_some()) {
            let api = api(&client, &namespace, &case.kind);
            let base = &bases[&case.kind];
            // An operator that runs in the cluster may accept the object in between; then again.
            let mut accepted = None;
            for _ in 0..5 {
                let stored = store(&api, base, case.from.as_ref().unwrap()).await;
                let answer = update(&api, &stored, &case.pass).await;
                remove(&api, &stored).await;
                if answer.is_ok() {
                    accepted = Some(());
                    break;
                }
            }
            assert!(accepted.is_some(), "{} {}", case.kind, case.field);
            let from = case.fail_from.as_ref().or(case.from.as_ref()).unwrap();
            let stored = store(&api, base, from).await;
            let message = refusal(update(&api, &stored, &case.fail).await, &case.field);
            assert!(message.contains(&case.field), "{}: {message}", case.field);
            remove(&api, &stored).await;
        }
    });
}

/// Stores an object and its status.
async fn store(api: &Api<DynamicObject>, base: &Value, patch: &Value) -> DynamicObject {
    let wanted = merged(base, patch);
    let stored = api
        .create(&PostParams::default(), &object(wanted.clone()))
        .await
        .unwrap();
    match wanted.get("status") {
        None => stored,
        Some(status) => {
            let status = json!({"status": status});
            api.patch_status(
                &stored.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&status),
            )
            .await
            .unwrap()
        }
    }
}

async fn update(
    api: &Api<DynamicObject>,
    stored: &DynamicObject,
    patch: &Value,
) -> kube::Result<DynamicObject> {
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    api.patch(
        &stored.name_any(),
        &params,
        &Patch::Merge(&json!({"spec": patch["spec"]})),
    )
    .await
}

async fn remove(api: &Api<DynamicObject>, stored: &DynamicObject) {
    let name = stored.name_any();
    let free = json!({"metadata": {"finalizers": null}});
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    // Gone at once where nothing holds it.
    let _ = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&free))
        .await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while api.get_opt(&name).await.unwrap().is_some() {
        assert!(
            std::time::Instant::now() < deadline,
            "{name} is not gone in 30 s"
        );
        let _ = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&free))
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
