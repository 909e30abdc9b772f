//! Who may do what.

use super::*;

#[tokio::test]
async fn without_a_known_key_nothing_is_answered() {
    let api = Api::new().await;
    let unknown = format!("cmk_{}", "0".repeat(32));
    for key in ["", "cmk_short", &unknown, "cmw_0000"] {
        for path in [
            "/version",
            "/workers",
            "/runs",
            "/runs/x/live",
            "/metrics",
            "/pools",
        ] {
            let answer = api.send(key, Method::GET, path, Body::empty()).await;
            assert_eq!(
                answer.refusal(),
                (401, "UNAUTHORIZED", "Invalid or expired API key"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn each_role_may_do_its_part_and_no_more() {
    let api = Api::new().await;
    let id = api.worker("a").await["id"].as_str().unwrap().to_owned();
    let worker = json!({"name": "b", "capacity": 1}).to_string();
    let requests = [
        (
            Method::GET,
            "/workers".to_owned(),
            String::new(),
            Role::Viewer,
        ),
        (
            Method::GET,
            format!("/workers/{id}"),
            String::new(),
            Role::Viewer,
        ),
        (
            Method::POST,
            "/runs".to_owned(),
            TEST.to_owned(),
            Role::Tester,
        ),
        (Method::POST, "/workers".to_owned(), worker, Role::Admin),
        (
            Method::POST,
            format!("/workers/{id}/disable"),
            String::new(),
            Role::Admin,
        ),
        (
            Method::POST,
            format!("/workers/{id}/enable"),
            String::new(),
            Role::Admin,
        ),
        (
            Method::POST,
            format!("/workers/{id}/regenerate-token"),
            String::new(),
            Role::Admin,
        ),
        (
            Method::DELETE,
            format!("/workers/{id}"),
            String::new(),
            Role::Admin,
        ),
    ];
    let mut keys = Vec::new();
    for role in [Role::Viewer, Role::Tester, Role::Editor, Role::Admin] {
        keys.push((role, key(&api.auth, "default", role).await));
    }
    for (method, path, body, least) in requests {
        for (role, key) in &keys {
            let answer = api.send(key, method.clone(), &path, body.clone()).await;
            if *role < least {
                let message = format!("role: {role}; accepted: {least} or above");
                assert_eq!(
                    answer.refusal(),
                    (403, "FORBIDDEN", message.as_str()),
                    "{path}"
                );
            } else {
                assert!(answer.status.is_success(), "{role} {path}: {}", answer.body);
            }
        }
    }
}
