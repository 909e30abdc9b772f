mod tls;

use axum::http::{Request, Response};
use base64::Engine as _;
use kube::client::Body;
use serde_json::json;
use tower_test::mock::Handle;

use super::*;
use crate::definition::{Format, parse};

const TEST: &str = "
duration: 5s
groups:
  - {name: a, endpoints: 2, role: callee, registrar: {domain: pbx}, accounts: {secretRef: {name: sip}, first: 1}}
  - {name: b, endpoints: 1, role: callee, registrar: {domain: pbx}, accounts: {secretRef: {name: sip}, first: 3}}
";

/// Reads the accounts of [`TEST`] from an API server that answers one request this way.
async fn read(status: u16, body: serde_json::Value) -> Result<Vec<Vec<Credentials>>, String> {
    let (test, inline, _) = parse(TEST, Format::Yaml, "demo").unwrap();
    let (service, mut server): (_, Handle<Request<Body>, Response<Body>>) =
        tower_test::mock::pair();
    let reader = SecretReader::new(Some(Client::new(service, "gateway")));
    let answer = tokio::spawn(async move {
        let (request, respond) = server.next_request().await.expect("one request");
        assert_eq!(request.method(), "GET");
        assert_eq!(request.uri().path(), "/api/v1/namespaces/demo/secrets/sip");
        let bytes = serde_json::to_vec(&body).unwrap();
        respond.send_response(
            Response::builder()
                .status(status)
                .body(Body::from(bytes))
                .unwrap(),
        );
        // A second request would wait for ever and fail the test.
        drop(server);
    });
    let secrets = reader.read(&test, &inline, SystemTime::now()).await;
    answer.await.unwrap();
    let groups = secrets?.groups.into_iter();
    Ok(groups.map(|group| group.accounts).collect())
}

fn secret(key: &str, text: &str) -> serde_json::Value {
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sip"}, "data": {key: data}})
}

fn failure(code: u16, reason: &str) -> serde_json::Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

#[tokio::test]
async fn one_secret_is_read_once_and_each_group_has_its_rows() {
    let accounts = read(200, secret("accounts.csv", "u1,p1\nu2,p2\nu3,p3\n"))
        .await
        .unwrap();
    let users: Vec<Vec<&str>> = accounts
        .iter()
        .map(|rows| rows.iter().map(|c| c.user.as_str()).collect())
        .collect();
    assert_eq!(users, [vec!["u1", "u2"], vec!["u3"]]);
    assert_eq!(accounts[1][0].password.expose(), "p3");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_told_by_name_and_never_its_content() {
    let of = "accounts of group ";
    for (status, body, expected) in [
        (
            404,
            failure(404, "NotFound"),
            format!("{of}a: Secret demo/sip does not exist"),
        ),
        (
            403,
            failure(403, "Forbidden"),
            format!("{of}a: Secret demo/sip: the gateway may not read it; "),
        ),
        (
            200,
            secret("users.csv", "u1,hunter2"),
            format!("{of}a: Secret demo/sip has no key accounts.csv"),
        ),
        (
            200,
            secret("accounts.csv", "u1,hunter2\nu2\n"),
            format!("{of}a: Secret demo/sip, key accounts.csv: row 2: has not two to four fields"),
        ),
        (
            200,
            secret("accounts.csv", "u1,hunter2\nu2,hunter2\n"),
            format!(
                "{of}b: Secret demo/sip, key accounts.csv: holds 2 accounts; rows 3 to 3 are needed"
            ),
        ),
        (
            200,
            secret("accounts.csv", "u1,hunter2\nu2,hunter2\nu1,hunter2\n"),
            "groups a and b would both use the account \"u1\" at pbx".to_owned(),
        ),
    ] {
        let refusal = read(status, body).await.unwrap_err();
        assert!(
            refusal.starts_with(&expected) && !refusal.contains("hunter"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn outside_a_cluster_a_secret_cannot_be_read() {
    let (test, inline, _) = parse(TEST, Format::Yaml, "demo").unwrap();
    let refusal = SecretReader::new(None)
        .read(&test, &inline, SystemTime::now())
        .await
        .unwrap_err();
    let expected = "accounts of group a: Secret demo/sip: this gateway runs outside a cluster; accepted: accounts by list or pattern, tls without Secrets";
    assert_eq!(refusal, expected);
}
