use super::*;

/// R107: no worker: the run does not start and says why.
#[tokio::test]
async fn a_run_without_workers_ends_with_the_reason_and_is_listed() {
    let api = Api::new().await;
    let made = api.post("/runs?name=smoke&key=k1", TEST).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let id = made.body["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made.body["data"]["name"], "smoke");
    let again = api.post("/runs?name=smoke&key=k1", TEST).await;
    assert_eq!(again.body["data"]["id"], id.as_str());

    // The event stream goes on to the last state and ends.
    let request = Request::get(format!("/api/v1/runs/{id}/live"))
        .header("authorization", format!("Bearer {}", api.owner))
        .header("accept", "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let stream = api.router.clone().oneshot(request).await.unwrap();
    let text = to_bytes(stream.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let last = text
        .lines()
        .rfind(|line| line.starts_with("data: "))
        .unwrap();
    let last: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    assert_eq!(
        (&last["status"], &last["verdict"]),
        (&"CANNOT_RUN_FOR_NOW".into(), &"Unknown".into())
    );

    let shown = api.get(&format!("/runs/{id}")).await.body["data"].clone();
    let reason =
        "project default: 3 endpoints asked, at most 0 (0 workers ONLINE, no pool that can grow)";
    assert_eq!(
        (&shown["status"], &shown["reason"]),
        (&"CANNOT_RUN_FOR_NOW".into(), &reason.into())
    );
    assert_eq!(
        api.get(&format!("/runs/{id}/results")).await.body["data"]["verdict"],
        "Unknown"
    );
    let listed = api.get("/runs").await.body;
    assert_eq!(
        (
            &listed["data"][0]["id"],
            &listed["meta"]["pagination"]["total"]
        ),
        (&id.as_str().into(), &1.into())
    );
    assert_eq!(
        api.post(&format!("/runs/{id}/stop"), "").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn passwords_of_a_definition_come_back_in_no_answer() {
    let api = Api::new().await;
    let test = "{duration: 5s, groups: [{name: a, endpoints: 2, role: callee, target: {external: true}, \
        registrar: {domain: pbx}, accounts: {pattern: 'u{n}', password: hunter2}}]}";
    let made = api.post("/runs", test).await;
    let id = made.body["data"]["id"].as_str().unwrap().to_owned();
    let shown = api.get(&format!("/runs/{id}")).await.body.to_string();
    let all = format!("{} {shown} {}", made.body, api.get("/runs").await.body);
    assert!(!all.contains("hunter2") && all.contains("pbx"), "{all}");
    let record = api.store.run_by_id(&id).await.unwrap().unwrap();
    let sealed = record.accounts.unwrap();
    assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
}

/// Certificates and keys are taken by reference only; what is given instead comes back in no answer.
#[tokio::test]
async fn keys_of_a_definition_are_refused_and_come_back_in_no_answer() {
    let api = Api::new().await;
    let test = |tls: Value| {
        json!({"duration": "5s", "groups": [{"name": "a", "endpoints": 1, "role": "caller", "target": {"uri": "sips:1@pbx"},
            "registrar": {"domain": "pbx", "register": false, "transport": "tls", "tls": tls}}]})
        .to_string()
    };
    let pem = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
    let at = "groups[0].registrar.tls";
    for (tls, message) in [
        (
            json!({"clientKey": pem}),
            format!("{at}: holds a certificate or key; accepted: caRef"),
        ),
        (
            json!({"clientKey": "hunter2"}),
            format!("{at}.clientKey: is no known field"),
        ),
        (
            json!({"clientCertRef": "hunter2"}),
            format!("{at}.clientCertRef: accepted: a map with the name of a Secret"),
        ),
        (
            json!({"clientCertRef": {"name": "fleet"}}),
            format!(
                "{at}.clientCertRef: \"fleet\"; accepted in a CallTest, this test has no namespace a Secret could be in"
            ),
        ),
    ] {
        let refused = api.post("/runs", &test(tls)).await;
        let (status, code, told) = refused.refusal();
        assert_eq!((status, code), (400, "VALIDATION_ERROR"), "{told}");
        assert!(told.starts_with(&message), "{told}");
        assert!(!refused.body.to_string().contains("hunter2"), "{told}");
    }
    let taken = api.post("/runs", &test(json!({"verify": "skip"}))).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.body);
}

/// A load that the endpoints cannot serve is taken, and said at once and in the report.
#[tokio::test]
async fn warnings_of_a_run_are_told() {
    let api = Api::new().await;
    let test = "{duration: 5s, groups: [{name: a, endpoints: 1, role: caller, target: {uri: 'sip:1@pbx'}, \
        load: {steps: [{at: 0s, rate: 2/s}]}, call: {duration: 1s}}]}";
    let made = api.post("/runs", test).await.body["data"].clone();
    let told = json!([
        "group a: 2 new calls per second of 1.5 s each take 3 endpoints, it has 1; calls that find none free are not placed"
    ]);
    assert_eq!(made["warnings"], told);
    let id = made["id"].as_str().unwrap();
    let live = api.get(&format!("/runs/{id}/live")).await;
    assert_eq!(live.status, StatusCode::OK);
    assert_eq!(
        api.get(&format!("/runs/{id}")).await.body["data"]["warnings"],
        told
    );
    let results = api.get(&format!("/runs/{id}/results")).await;
    assert_eq!(results.body["data"]["warnings"], told);
    let quiet = api.post("/runs", TEST).await;
    assert_eq!(quiet.body["data"]["warnings"], json!([]));
}

/// Every endpoint with the key of another organisation: it sees nothing and changes nothing.
#[tokio::test]
async fn nothing_of_one_organisation_is_visible_to_another() {
    let api = Api::new().await;
    let worker = api.worker("ours").await["id"].as_str().unwrap().to_owned();
    let run = api.post("/runs", TEST).await.body["data"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for statement in [
        "INSERT INTO organisations (slug, name, worker_licence) VALUES ('other', 'Other', 'enterprise')",
        "INSERT INTO projects (organisation, slug, name) VALUES ('other', 'default', 'Default')",
    ] {
        sqlx::query(statement)
            .execute(api.store.writer())
            .await
            .unwrap();
    }
    let foreign = key(&api.auth, "other", Role::Owner).await;
    for list in ["/workers", "/runs", "/pools"] {
        let answer = api.send(&foreign, Method::GET, list, Body::empty()).await;
        assert_eq!(answer.body["data"], json!([]), "{list}");
    }
    for (method, path) in [
        (Method::GET, format!("/workers/{worker}")),
        (Method::DELETE, format!("/workers/{worker}")),
        (Method::POST, format!("/workers/{worker}/regenerate-token")),
        (Method::POST, format!("/workers/{worker}/disable")),
        (Method::POST, format!("/workers/{worker}/enable")),
        (Method::GET, format!("/runs/{run}")),
        (Method::GET, format!("/runs/{run}/live")),
        (Method::GET, format!("/runs/{run}/results")),
        (Method::POST, format!("/runs/{run}/stop")),
    ] {
        let answer = api.send(&foreign, method, &path, Body::empty()).await;
        assert_eq!(answer.refusal().0, 404, "{path}: {}", answer.body);
    }
    assert_eq!(
        api.get(&format!("/workers/{worker}")).await.body["data"]["disabled"],
        false
    );
}
