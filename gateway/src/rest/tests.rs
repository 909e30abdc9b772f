mod access;
mod fields;
mod runs;
mod samples;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use callmeter_metrics::CATALOGUE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::keys::{KeyFiles, Keys};
use crate::link::SESSION_EVENTS;
use crate::run::secrets::SecretReader;
use crate::run::service::{RunConfig, RunService};

const TEST: &str =
    "{duration: 5s, groups: [{name: a, endpoints: 3, role: callee, target: {external: true}}]}";

/// The API on a real database, with the real session and run layers.
struct Api {
    router: Router,
    auth: Auth,
    store: Store,
    owner: String,
    _folder: TempDir,
    _shutdown: tokio_util::sync::DropGuard,
}

struct Answer {
    status: StatusCode,
    allow: Option<String>,
    body: Value,
}

impl Api {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let keys = Keys::load(&KeyFiles::beside(folder.path()), &store)
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let (events, inbox) = mpsc::channel(SESSION_EVENTS);
        let (sessions, task) =
            Sessions::start(store.clone(), keys.pepper.clone(), events, shutdown.clone())
                .await
                .unwrap();
        tokio::spawn(task);
        let config = RunConfig {
            store: store.clone(),
            seal: keys.seal.clone(),
            sessions: sessions.clone(),
            secrets: SecretReader::new(None),
            events: inbox,
        };
        let (runs, live, service) = RunService::start(config).await.unwrap();
        tokio::spawn(service.run(shutdown.clone()));
        let auth = Auth::new(store.clone(), keys.pepper.clone(), None);
        let owner = key(&auth, "default", Role::Owner).await;
        let state = RestState {
            auth: auth.clone(),
            sessions,
            runs,
            live,
            store: store.clone(),
        };
        let router = router(state);
        Self {
            router,
            auth,
            store,
            owner,
            _folder: folder,
            _shutdown: shutdown.drop_guard(),
        }
    }

    async fn send(&self, key: &str, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"));
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let allow = response
            .headers()
            .get("allow")
            .map(|v| v.to_str().unwrap().to_owned());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap();
        let answer = Answer {
            status,
            allow,
            body,
        };
        assert!(
            answer.body["meta"]["requestId"]
                .as_str()
                .is_some_and(|id| id.len() == 36),
            "{}",
            answer.body
        );
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&self.owner, Method::GET, path, Body::empty())
            .await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&self.owner, Method::POST, path, body.to_owned())
            .await
    }

    async fn worker(&self, name: &str) -> Value {
        let made = self
            .post(
                "/workers",
                &json!({"name": name, "capacity": 10}).to_string(),
            )
            .await;
        assert_eq!(made.status, StatusCode::CREATED);
        made.body["data"].clone()
    }
}

impl Answer {
    fn refusal(&self) -> (u16, &str, &str) {
        let error = &self.body["error"];
        (
            self.status.as_u16(),
            error["code"].as_str().unwrap(),
            error["message"].as_str().unwrap(),
        )
    }
}

async fn key(auth: &Auth, organisation: &str, role: Role) -> String {
    let (_, text) = auth.make_key(organisation, "test", role).await.unwrap();
    text.expose().to_owned()
}

/// R60, R64, R72
#[tokio::test]
async fn a_worker_is_made_shown_disabled_and_deleted_and_its_token_shown_once() {
    let api = Api::new().await;
    let made = api.worker("dc-frankfurt-01").await;
    let (id, token) = (
        made["id"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert!(callmeter_proto::WorkerToken::parse(token).is_ok());
    let path = format!("/workers/{id}");
    let shown = api.get(&path).await;
    assert_eq!(
        (shown.status, &shown.body["data"]["name"]),
        (StatusCode::OK, &"dc-frankfurt-01".into())
    );
    assert_eq!(shown.body["data"]["status"], "OFFLINE");
    let all = api.get("/workers").await.body.to_string() + &shown.body.to_string();
    assert!(!all.contains("cmw_"), "{all}");
    let again = api.post(&format!("{path}/regenerate-token"), "").await.body;
    let renewed = again["data"]["token"].as_str().unwrap();
    assert!(renewed != token && renewed.starts_with("cmw_"));
    assert_eq!(
        api.post(&format!("{path}/disable"), "").await.body["data"]["disabled"],
        true
    );
    assert_eq!(
        api.post(&format!("{path}/enable"), "").await.body["data"]["disabled"],
        false
    );
    let deleted = api
        .send(&api.owner, Method::DELETE, &path, Body::empty())
        .await;
    assert_eq!(
        (deleted.status, &deleted.body["data"]["id"]),
        (StatusCode::OK, &id.into())
    );
    let gone = format!(
        "worker: \"{id}\" does not exist; accepted: the id of a worker of this organisation"
    );
    for answer in [
        api.get(&path).await,
        api.post(&format!("{path}/disable"), "").await,
    ] {
        assert_eq!(answer.refusal(), (404, "NOT_FOUND", gone.as_str()));
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::new().await;
    for n in 0..30 {
        api.worker(&format!("w{n:02}")).await;
    }
    let first = api.get("/workers").await.body;
    assert_eq!(first["data"].as_array().unwrap().len(), 25);
    assert_eq!(
        first["meta"]["pagination"],
        json!({"page": 1, "perPage": 25, "total": 30, "totalPages": 2})
    );
    let second = api.get("/workers?page=2").await.body;
    assert_eq!(
        (
            second["data"].as_array().unwrap().len(),
            &second["data"][0]["name"]
        ),
        (5, &"w25".into())
    );
    let third = api.get("/workers?page=3&perPage=200").await.body;
    assert_eq!(
        (&third["data"], &third["meta"]["pagination"]["totalPages"]),
        (&json!([]), &1.into())
    );
    for (query, message) in [
        ("page=0", "page: \"0\"; accepted: 1 to 4294967295"),
        ("page=x", "page: \"x\"; accepted: 1 to 4294967295"),
        ("perPage=201", "perPage: \"201\"; accepted: 1 to 200"),
        ("per_page=1", "per_page: is no known parameter"),
    ] {
        let refused = api.get(&format!("/workers?{query}")).await;
        assert_eq!(refused.refusal(), (400, "VALIDATION_ERROR", message));
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let api = Api::new().await;
    for (path, body, message) in [
        ("/workers", "{\"name\": \"a\"}", "missing field `capacity`"),
        (
            "/workers",
            "{\"name\": \"a\", \"capacity\": -1}",
            "capacity: invalid value: integer `-1`, expected u32",
        ),
        (
            "/workers",
            "{\"name\": \"a\", \"capacity\": 0}",
            "capacity: \"0\"; accepted: 1 to 1000000 endpoints",
        ),
        (
            "/workers",
            "{\"name\": \"\", \"capacity\": 1}",
            "name: \"\"; accepted: ",
        ),
        (
            "/workers",
            "{\"name\": \"a\", \"capacity\": 1, \"colour\": 1}",
            "colour: is no known field",
        ),
        (
            "/workers",
            "{\"name\": \"a\", \"capacity\": 1, \"project\": \"x\"}",
            "project: \"x\"; accepted: default",
        ),
        ("/workers", "{", "body: is no JSON at line 1, column 1"),
        ("/runs", "{", "definition: is no YAML: "),
        (
            "/runs",
            "duration: 5s\ngroups: []",
            "groups: is empty; accepted: 1 to 32 entries",
        ),
        ("/runs?nmae=x", TEST, "nmae: is no known parameter"),
        ("/runs?project=x", TEST, "project: \"x\"; accepted: default"),
        ("/runs/x/stop", "{\"why\": 1}", "why: is no known field"),
    ] {
        let refused = api.post(path, body).await;
        let (status, code, told) = refused.refusal();
        assert_eq!((status, code), (400, "VALIDATION_ERROR"), "{path}: {told}");
        assert!(told.contains(message), "{path}: {told}");
    }
    let huge = api.post("/runs", &"#".repeat(MAX_BODY + 1)).await;
    assert_eq!(
        huge.refusal(),
        (
            413,
            "PAYLOAD_TOO_LARGE",
            "body: too large; accepted: at most 4194304 bytes"
        )
    );
    let nowhere = api.get("/nowhere").await;
    assert_eq!(nowhere.refusal().1, "NOT_FOUND");
    let method = api
        .send(&api.owner, Method::DELETE, "/runs", Body::empty())
        .await;
    assert_eq!(
        (method.refusal().1, method.allow.as_deref()),
        ("METHOD_NOT_ALLOWED", Some("GET,HEAD,POST"))
    );
    let request = Request::post("/api/v1/runs")
        .header("authorization", format!("Bearer {}", api.owner))
        .header("content-type", "text/plain")
        .body(Body::from(TEST))
        .unwrap();
    assert_eq!(
        api.router.clone().oneshot(request).await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
}

/// R102
#[tokio::test]
async fn the_catalogue_and_the_versions_are_told() {
    let api = Api::new().await;
    let metrics = api.get("/metrics?perPage=200").await.body;
    assert_eq!(metrics["data"].as_array().unwrap().len(), CATALOGUE.len());
    assert!(
        metrics["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|m| m["key"] == "mos")
    );
    let version = api.get("/version").await.body["data"].clone();
    assert_eq!(version["catalogueVersion"], CATALOGUE_VERSION);
}

#[tokio::test]
async fn probes_need_no_key() {
    let api = Api::new().await;
    for path in ["/healthz", "/readyz"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(
            api.router.clone().oneshot(request).await.unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }
    api.store.close().await;
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
