//! The real binary with an environment it cannot work in: status 2, and the reason in the log and
//! in the termination log. The whole table of values is that of `config::tests::table`; here each
//! variable has one, and what only the host can tell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use support::process::{TOKEN_BODY, Worker};

/// A variable, a value it is refused with, and how the refusal begins.
const REFUSED: &[(&str, &str, &str)] = &[
    ("WORKER_TOKEN", "", "WORKER_TOKEN is required and not set"),
    ("WORKER_TOKEN", "cmw_0123", "WORKER_TOKEN is malformed"),
    ("CLOUD_URL", "", "CLOUD_URL is required and not set"),
    ("CLOUD_URL", "https://localhost", "CLOUD_URL has a scheme"),
    ("CLOUD_URL", "localhost:0", "CLOUD_URL has the port 0"),
    ("WORKER_NAME", "a\tb", "WORKER_NAME is not a name"),
    ("LOG_LEVEL", "loud", "LOG_LEVEL is not a log level"),
    ("LOG_FORMAT", "xml", "LOG_FORMAT is not a log format"),
    ("HEALTH_PORT", "65536", "HEALTH_PORT is 65536"),
    ("SIP_IP", "10.0.0", "SIP_IP is not an IP address"),
    ("SIP_IP", "192.0.2.1", "SIP_IP cannot be bound: 192.0.2.1"),
    ("MEDIA_IP", "0.0.0.0", "MEDIA_IP is 0.0.0.0"),
    (
        "MEDIA_IP",
        "192.0.2.1",
        "MEDIA_IP cannot be bound: 192.0.2.1",
    ),
    (
        "SDP_IP",
        "2001:db8::1",
        "SDP_IP is 2001:db8::1 and contradicts MEDIA_IP",
    ),
    (
        "EXTERNAL_IP",
        "2001:db8::1",
        "EXTERNAL_IP is 2001:db8::1 and contradicts SIP_IP",
    ),
    (
        "SIP_PORT_START",
        "5090",
        "SIP_PORT_START contradicts SIP_PORT_END",
    ),
    (
        "SIP_PORT_END",
        "5059",
        "SIP_PORT_END contradicts SIP_PORT_START",
    ),
    ("RTP_PORT_MIN", "65535", "RTP_PORT_MIN and RTP_PORT_MAX"),
    ("RTP_PORT_MAX", "10000", "RTP_PORT_MAX and RTP_PORT_MIN"),
    ("CLOUD_CA_FILE", "/none.pem", "CLOUD_CA_FILE cannot be read"),
    ("CLOUD_CA_FILE", "/tmp", "CLOUD_CA_FILE cannot be read"),
    (
        "CLOUD_CA_FILE",
        "/dev/null",
        "CLOUD_CA_FILE holds no certificate",
    ),
    (
        "CLOUD_CA_FILE",
        "/etc/passwd",
        "CLOUD_CA_FILE holds no certificate",
    ),
    (
        "POD_NAMESPACE",
        "a/b",
        "POD_NAMESPACE has another character",
    ),
    ("POD_NAME", "a b", "POD_NAME has another character"),
    ("POD_UID", "$(UID)", "POD_UID has another character"),
    ("NODE_NAME", "a,b", "NODE_NAME has another character"),
    ("WORKER_LABELS", "a", "WORKER_LABELS has a pair without"),
    (
        "DRAIN_TIMEOUT",
        "200h",
        "DRAIN_TIMEOUT is 720000 s, longer than 168h",
    ),
];

/// A worker with a good environment but for one variable.
fn with(variable: &str, value: &str) -> Worker {
    let mut variables = vec![
        ("WORKER_TOKEN", format!("cmw_{TOKEN_BODY}")),
        ("CLOUD_URL", "localhost:9".to_owned()),
        ("SIP_IP", "127.0.0.1".to_owned()),
    ];
    variables.retain(|(name, _)| *name != variable);
    variables.push((variable, value.to_owned()));
    Worker::spawn(&variables)
}

async fn assert_refused(mut worker: Worker, wanted: &str) {
    assert_eq!(worker.exit_code().await, 2, "{wanted}");
    let (log, last_words) = (worker.log(), worker.last_words());
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let errors: Vec<&str> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .filter_map(|line| line["message"].as_str())
        .collect();
    assert_eq!(errors, [last_words.as_str()], "{log}");
    assert!(
        last_words.starts_with(wanted) && last_words.contains("; accepted: "),
        "{wanted}: {last_words}"
    );
    assert!(!log.contains(TOKEN_BODY) && !last_words.contains(TOKEN_BODY));
}

/// R2, R3, R7: whatever is wrong is named, and the process ends with 2.
#[tokio::test]
async fn a_wrong_environment_is_named_and_ends_the_process() {
    for (variable, value, wanted) in REFUSED {
        assert_refused(with(variable, value), wanted).await;
    }
}

/// Nothing set at all, a cloud worker's token, a certificate that is none.
#[tokio::test]
async fn what_takes_more_than_one_value_is_named() {
    let nothing: [(&str, &str); 0] = [];
    assert_refused(Worker::spawn(&nothing), "WORKER_TOKEN is required").await;
    let cloud = format!("cmc_{TOKEN_BODY}");
    assert_refused(
        with("WORKER_TOKEN", &cloud),
        "WORKER_TOKEN is a cloud worker's",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("ca.pem");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert_refused(
        with("CLOUD_CA_FILE", broken.to_str().unwrap()),
        "CLOUD_CA_FILE holds a certificate that cannot be read",
    )
    .await;
}

/// The last words of a refusal come in the format that was asked for, as far as it is known.
#[tokio::test]
async fn a_refusal_is_pretty_where_that_is_asked_for() {
    let mut worker = Worker::spawn(&[("LOG_FORMAT", "pretty")]);
    assert_eq!(worker.exit_code().await, 2);
    let log = worker.log();
    assert!(
        log.contains("\u{1b}[") && log.contains("WORKER_TOKEN is required"),
        "{log}"
    );
}
