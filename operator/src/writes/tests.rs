use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower_test::mock::Handle;

use super::*;

type Server = Handle<Request<Body>, Response<Body>>;

fn writer(leads: bool) -> (Writer, Server) {
    let (service, server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let leadership = Leadership::default();
    leadership.set(leads.then(|| Instant::now() + Duration::from_secs(60)));
    (
        Writer::new(
            Client::new(service, "demo"),
            leadership,
            Metrics::new().unwrap(),
        ),
        server,
    )
}

fn pod() -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some("demo".into());
    pod.metadata.name = Some("fra-aaaaaaaa".into());
    pod.metadata.uid = Some("pod-uid".into());
    pod.metadata.resource_version = Some("7".into());
    pod
}

/// Takes one request, gives its method, path and body, and answers it.
async fn answer(server: &mut Server, code: StatusCode, body: Value) -> (Method, String, Value) {
    let (request, send) = server.next_request().await.unwrap();
    let (parts, sent) = request.into_parts();
    let bytes = sent.collect_bytes().await.unwrap();
    let sent = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap()
    };
    let response = Response::builder()
        .status(code)
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap();
    send.send_response(response);
    (parts.method, parts.uri.to_string(), sent)
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "reason": reason, "code": code})
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease() {
    let (writer, mut server) = writer(false);
    let refused = writer.post("make a pod", &pod(), false).await;
    assert!(matches!(refused, Err(Error::NotLeader)));
    let refused = writer.delete("delete a pod", &pod(), None).await;
    assert!(matches!(refused, Err(Error::NotLeader)));
    drop(writer);
    assert!(server.next_request().await.is_none());
}

#[tokio::test]
async fn a_post_of_what_is_there_is_told_apart() {
    let (writer, mut server) = writer(true);
    let serve = tokio::spawn(async move {
        answer(
            &mut server,
            StatusCode::CONFLICT,
            status(409, "AlreadyExists"),
        )
        .await
    });
    assert!(matches!(
        writer.post("make a pod", &pod(), true).await,
        Ok(Posted::Exists)
    ));
    let (method, path, _) = serve.await.unwrap();
    assert_eq!(method, Method::POST);
    assert_eq!(
        path,
        "/api/v1/namespaces/demo/pods?&dryRun=All&fieldManager=callmeter-pool"
    );
}

#[tokio::test]
async fn a_deletion_names_the_uid_and_bears_that_another_object_has_the_name() {
    let (writer, mut server) = writer(true);
    let serve = tokio::spawn(async move {
        answer(&mut server, StatusCode::CONFLICT, status(409, "Conflict")).await
    });
    writer
        .delete("delete a pod", &pod(), Some(60))
        .await
        .unwrap();
    let (method, path, body) = serve.await.unwrap();
    assert_eq!(
        (method, path.as_str()),
        (Method::DELETE, "/api/v1/namespaces/demo/pods/fra-aaaaaaaa?")
    );
    assert_eq!(body["preconditions"], json!({"uid": "pod-uid"}));
    assert_eq!(body["gracePeriodSeconds"], 60);
}

#[tokio::test]
async fn an_apply_goes_to_this_very_object_by_its_manager() {
    let (writer, mut server) = writer(true);
    let serve =
        tokio::spawn(
            async move { answer(&mut server, StatusCode::OK, json!({"metadata": {}})).await },
        );
    let fields = json!({"metadata": {"annotations": {"a": "b"}}});
    writer
        .apply("mark a pod", Manager::Drain, &pod(), fields)
        .await
        .unwrap();
    let (method, path, body) = serve.await.unwrap();
    assert_eq!(method, Method::PATCH);
    assert_eq!(
        path,
        "/api/v1/namespaces/demo/pods/fra-aaaaaaaa?&force=true&fieldManager=callmeter-drain"
    );
    let metadata = json!({"name": "fra-aaaaaaaa", "namespace": "demo", "uid": "pod-uid", "annotations": {"a": "b"}});
    assert_eq!(
        body,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    );
}

#[tokio::test]
async fn a_finalizer_leaves_those_of_others_and_names_the_version() {
    let (writer, mut server) = writer(true);
    let mut held = pod();
    held.metadata.finalizers = Some(vec!["other".into(), "ours".into()]);
    let serve =
        tokio::spawn(
            async move { answer(&mut server, StatusCode::OK, json!({"metadata": {}})).await },
        );
    writer
        .finalizer("let go", &held, "ours", false)
        .await
        .unwrap();
    let (_, _, body) = serve.await.unwrap();
    assert_eq!(
        body["metadata"],
        json!({"uid": "pod-uid", "resourceVersion": "7", "finalizers": ["other"]})
    );
}

#[tokio::test]
async fn replicas_go_to_scale_with_the_version_they_were_decided_on() {
    let (writer, mut server) = writer(true);
    let mut pool: WorkerPool =
        crate::pool::validate::tests::pool("{capacity: {endpointsPerWorker: 25}}");
    pool.metadata.resource_version = Some("41".into());
    let serve = tokio::spawn(async move {
        answer(&mut server, StatusCode::CONFLICT, status(409, "Conflict")).await
    });
    assert_eq!(
        writer.scale(Manager::Autoscaler, &pool, 3).await.unwrap(),
        None
    );
    let (method, path, body) = serve.await.unwrap();
    assert_eq!(method, Method::PUT);
    assert!(
        path.starts_with("/apis/callmeter.io/v1alpha1/namespaces/demo/workerpools/fra/scale?"),
        "{path}"
    );
    assert!(
        path.ends_with("fieldManager=callmeter-autoscaler"),
        "{path}"
    );
    assert_eq!(body["spec"]["replicas"], 3);
    assert_eq!(body["metadata"]["resourceVersion"], "41");
}
