//! Every field of `/api/v1` × (missing, wrong type, empty, out of range, unknown, contradictory),
//! with the field named in the answer. The fields of a test definition have a table of their own
//! (`definition::tests::shape`); here is what surrounds it.

use super::*;

/// A request that is refused with 400, and what the answer begins with.
type Case = (Method, &'static str, Value, &'static str);

fn labels(n: usize) -> Value {
    (0..n).map(|n| (format!("k{n}"), json!("v"))).collect()
}

fn worker(field: &str, value: Value) -> Value {
    let mut body = json!({"name": "w", "capacity": 10});
    body[field] = value;
    body
}

/// The body of `POST /workers`.
fn cases_of_create() -> Vec<Case> {
    let long = "x".repeat(254);
    let post = |body: Value, message| (Method::POST, "/workers", body, message);
    vec![
        post(json!({}), "definition: missing field `name`"),
        post(json!({"name": "w"}), "definition: missing field `capacity`"),
        post(json!({"capacity": 1}), "definition: missing field `name`"),
        post(
            json!([]),
            "definition: invalid type: sequence, expected a map of its fields",
        ),
        post(
            json!(["w", 10]),
            "definition: invalid type: sequence, expected a map of its fields",
        ),
        post(json!("w"), "definition: invalid type: string \"w\""),
        post(json!(null), "definition: invalid type: null"),
        post(
            worker("name", json!(null)),
            "name: invalid type: null, expected a string",
        ),
        post(
            worker("name", json!(7)),
            "name: invalid type: integer `7`, expected a string",
        ),
        post(worker("name", json!(["w"])), "name: invalid type: sequence"),
        post(
            worker("name", json!("")),
            "name: \"\"; accepted: 1 to 253 printable characters",
        ),
        post(
            worker("name", json!("  ")),
            "name: \"  \"; accepted: 1 to 253",
        ),
        post(
            worker("name", json!("a\nb")),
            "name: \"ab\"; accepted: 1 to 253",
        ),
        post(worker("name", json!(long)), "name: \"xxxx"),
        post(
            worker("capacity", json!(null)),
            "capacity: invalid type: null, expected u32",
        ),
        post(
            worker("capacity", json!("10")),
            "capacity: invalid type: string \"10\", expected u32",
        ),
        post(
            worker("capacity", json!(1.5)),
            "capacity: invalid type: floating point `1.5`",
        ),
        post(
            worker("capacity", json!(-1)),
            "capacity: invalid value: integer `-1`",
        ),
        post(
            worker("capacity", json!(0)),
            "capacity: \"0\"; accepted: 1 to 1000000 endpoints",
        ),
        post(
            worker("capacity", json!(1_000_001)),
            "capacity: \"1000001\"; accepted: 1 to",
        ),
        post(
            worker("capacity", json!(u64::MAX)),
            "capacity: invalid value: integer",
        ),
        post(
            worker("project", json!(7)),
            "project: invalid type: integer `7`",
        ),
        post(
            worker("project", json!("other")),
            "project: \"other\"; accepted: default",
        ),
        post(
            worker("labels", json!([])),
            "labels: invalid type: sequence, expected a map",
        ),
        post(
            worker("labels", json!("a=b")),
            "labels: invalid type: string \"a=b\", expected a map",
        ),
        post(
            worker("labels", json!({"a": 1})),
            "labels.a: invalid type: integer `1`",
        ),
        post(
            worker("labels", json!({"": "v"})),
            "labels: \"=v\"; accepted: keys of 1 to 512",
        ),
        post(
            worker("labels", json!({"k": "x".repeat(513)})),
            "labels: \"k=xxx",
        ),
        post(
            worker("labels", labels(65)),
            "labels: \"65\"; accepted: at most 64 labels",
        ),
        post(worker("token", json!("cmw_0")), "token: is no known field"),
        post(worker("Name", json!("w")), "Name: is no known field"),
    ]
}

/// Query parameters and the rest.
fn cases_of_requests() -> Vec<Case> {
    let none = || json!({});
    let get = |path, message| (Method::GET, path, Value::Null, message);
    vec![
        get("/workers?page=0", "page: \"0\"; accepted: 1 to 4294967295"),
        get("/workers?page=", "page: \"\"; accepted: 1 to"),
        get("/workers?page=-1", "page: \"-1\"; accepted: 1 to"),
        get(
            "/workers?page=4294967296",
            "page: \"4294967296\"; accepted: 1 to",
        ),
        get("/workers?page=1&page=2", "page: is given twice"),
        get("/workers?perPage=0", "perPage: \"0\"; accepted: 1 to 200"),
        get("/runs?perPage=201", "perPage: \"201\"; accepted: 1 to 200"),
        get("/runs?perPage=x", "perPage: \"x\"; accepted: 1 to 200"),
        get("/runs?page=%FF", "page: \"\u{fffd}\"; accepted: 1 to"),
        get("/pools?pages=1", "pages: is no known parameter"),
        get("/metrics?PAGE=1", "PAGE: is no known parameter"),
        (
            Method::DELETE,
            "/workers/x?force=yes",
            Value::Null,
            "force: accepted: true or false",
        ),
        (
            Method::DELETE,
            "/workers/x?force=true&force=false",
            Value::Null,
            "force: is given twice",
        ),
        (
            Method::DELETE,
            "/workers/x?forced=true",
            Value::Null,
            "forced: is no known parameter",
        ),
        (
            Method::POST,
            "/runs?project=x",
            none(),
            "definition: missing field `duration`",
        ),
        (
            Method::POST,
            "/runs?name=a%0Ab",
            none(),
            "name: accepted: at most 253 printable",
        ),
        (
            Method::POST,
            "/runs?key=a%00b",
            none(),
            "key: accepted: at most 253 printable",
        ),
        (
            Method::POST,
            "/runs?key=a&key=b",
            none(),
            "key: is given twice",
        ),
        (
            Method::POST,
            "/runs?names=a",
            none(),
            "names: is no known parameter",
        ),
        (
            Method::POST,
            "/runs/x/stop",
            json!({"reason": 7}),
            "reason: invalid type: integer `7`",
        ),
        (
            Method::POST,
            "/runs/x/stop",
            json!({"reason": "a\nb"}),
            "reason: accepted: at most 253",
        ),
        (
            Method::POST,
            "/runs/x/stop",
            json!({"reason": "x".repeat(254)}),
            "reason: accepted: at most 253",
        ),
        (
            Method::POST,
            "/runs/x/stop",
            json!({"why": "x"}),
            "why: is no known field",
        ),
        (
            Method::POST,
            "/runs/x/stop",
            json!([]),
            "definition: invalid type: sequence",
        ),
    ]
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let api = Api::new().await;
    for (method, path, body, message) in cases_of_create().into_iter().chain(cases_of_requests()) {
        let body = if body.is_null() && method != Method::POST {
            String::new()
        } else {
            body.to_string()
        };
        let refused = api.send(&api.owner, method, path, body.clone()).await;
        let (status, code, told) = refused.refusal();
        assert_eq!(
            (status, code),
            (400, "VALIDATION_ERROR"),
            "{path} {body:.80}: {told}"
        );
        // A whole body is named as what it is, not as a definition.
        let message = message.replace("definition: ", "body: ");
        let message = if path.starts_with("/runs?") {
            message.replace("body: ", "definition: ")
        } else {
            message
        };
        assert!(told.starts_with(&message), "{path} {body:.80}: {told}");
    }
    assert_eq!(api.get("/workers").await.body["data"], json!([]));
    assert_eq!(api.get("/runs").await.body["data"], json!([]));
}

/// Bodies that are no JSON, or lose something when they are read.
#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let api = Api::new().await;
    for (body, message) in [
        ("{", "body: is no JSON at line 1, column 1"),
        ("{} x", "body: is no JSON at line 1, column 4"),
        ("\u{feff}{}", "body: is no JSON at line 1, column"),
        (
            "{\"name\": \"a\", \"name\": \"b\", \"capacity\": 1}",
            "body: is not accepted: the field name is given twice",
        ),
        (
            "{\"name\": \"a\", \"capacity\": 1e999}",
            "body: is no JSON at line 1",
        ),
    ] {
        let refused = api.post("/workers", body).await;
        let (status, code, told) = refused.refusal();
        assert_eq!((status, code), (400, "VALIDATION_ERROR"), "{body}: {told}");
        assert!(told.starts_with(message), "{body}: {told}");
    }
    let request = Request::post("/api/v1/runs")
        .header("authorization", format!("Bearer {}", api.owner))
        .body(Body::from(&b"duration: \xff"[..]))
        .unwrap();
    let answer = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(body["error"]["message"], "body: is not UTF-8 text");
}

/// Content types of a definition: named with what is accepted.
#[tokio::test]
async fn content_types_are_checked() {
    let api = Api::new().await;
    let submit = async |kind: &str, body: &'static str| {
        let request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {}", api.owner))
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap();
        let answer = api.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        (
            status,
            body["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let json_test = "{\"duration\": \"5s\", \"groups\": [{\"name\": \"a\", \"endpoints\": 1, \
                     \"role\": \"callee\", \"target\": {\"external\": true}}]}";
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/yaml",
        "text/yaml",
    ] {
        assert_eq!(
            submit(kind, json_test).await,
            (201, String::new()),
            "{kind}"
        );
    }
    assert_eq!(
        submit("text/plain", json_test).await,
        (
            400,
            "Content-Type: \"text/plain\"; accepted: application/json, application/yaml".to_owned()
        )
    );
    let (status, told) = submit("application/json", TEST).await;
    assert_eq!(status, 400);
    assert!(
        told.starts_with("definition: is no JSON at line 1"),
        "{told}"
    );
}

/// Ids in the path that name nothing, of any form.
#[tokio::test]
async fn ids_that_name_nothing_are_told() {
    let api = Api::new().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let long = "x".repeat(300);
    for id in [unknown, "x", "%00", "..", long.as_str()] {
        for (method, path, what) in [
            (Method::GET, format!("/workers/{id}"), "worker: "),
            (Method::DELETE, format!("/workers/{id}"), "worker: "),
            (Method::POST, format!("/workers/{id}/disable"), "worker: "),
            (Method::POST, format!("/workers/{id}/enable"), "worker: "),
            (
                Method::POST,
                format!("/workers/{id}/regenerate-token"),
                "worker: ",
            ),
            (Method::GET, format!("/runs/{id}"), "run: "),
            (Method::GET, format!("/runs/{id}/live"), "run: "),
            (Method::GET, format!("/runs/{id}/results"), "run: "),
            (Method::POST, format!("/runs/{id}/stop"), "run: "),
        ] {
            let answer = api.send(&api.owner, method, &path, Body::empty()).await;
            let (status, code, told) = answer.refusal();
            assert_eq!((status, code), (404, "NOT_FOUND"), "{path}: {told}");
            assert!(
                told.starts_with(what)
                    && told.contains("does not exist; accepted: ")
                    && told.len() < 200,
                "{path}: {told}"
            );
        }
    }
}
