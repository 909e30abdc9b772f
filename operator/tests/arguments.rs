//! Every argument of the operator, by flag and by environment × (missing, empty, malformed, out of
//! range): status 2, naming the argument, the value and what is accepted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::process::{Command, Output};

/// A good environment; the files need not be there to be named.
const GOOD: [(&str, &str); 4] = [
    ("FLEET_URL", "https://gateway.callmeter.svc:9443"),
    ("FLEET_TOKEN_FILE", "/var/run/secrets/callmeter/token"),
    ("GATEWAY_URL", "gateway.callmeter.svc:443"),
    ("WORKER_IMAGE", "worker:latest"),
];

/// Flag, variable, values that are refused, and what is said to be accepted.
const TABLE: &[(&str, &str, &[&str], &str)] = &[
    (
        "--fleet-url",
        "FLEET_URL",
        &[
            "",
            "gateway:9443",
            "http://gateway:9443",
            "https://",
            "https://a:0",
            "https://a:b",
            "https://a/x",
            "https://u@a",
        ],
        "accepted: https://host:port",
    ),
    (
        "--gateway-url",
        "GATEWAY_URL",
        &[
            "",
            "https://wg.example:443",
            "wg.example",
            "wg.example:0",
            "wg.example:65536",
            "a b:1",
            "[::1]",
            "[x]:1",
            ":443",
        ],
        "accepted: host:port without a scheme",
    ),
    (
        "--worker-image",
        "WORKER_IMAGE",
        &["", "a b", "ü"],
        "accepted: an image",
    ),
    (
        "--project",
        "PROJECT",
        &["", "a b", "a/b"],
        "accepted: 1 to 253 letters",
    ),
    (
        "--watch-namespace",
        "WATCH_NAMESPACE",
        &["", "A", "a_b", "-a", "a-"],
        "accepted: a namespace",
    ),
    (
        "--namespace",
        "POD_NAMESPACE",
        &["", "a/b"],
        "accepted: a namespace",
    ),
    (
        "--pod-name",
        "POD_NAME",
        &["", "a b"],
        "accepted: 1 to 253 letters",
    ),
    (
        "--fleet-token-file",
        "FLEET_TOKEN_FILE",
        &[""],
        "a value is required",
    ),
    (
        "--fleet-ca-file",
        "FLEET_CA_FILE",
        &[""],
        "a value is required",
    ),
    (
        "--gateway-ca-file",
        "GATEWAY_CA_FILE",
        &[""],
        "a value is required",
    ),
    (
        "--metrics-addr",
        "METRICS_ADDR",
        &["", "8080", "a:8080", "0.0.0.0:65536"],
        "invalid socket address",
    ),
    (
        "--health-addr",
        "HEALTH_ADDR",
        &["", ":8081"],
        "invalid socket address",
    ),
    (
        "--log-level",
        "LOG_LEVEL",
        &["", "loud", "INFO"],
        "error, warn, info, debug, trace",
    ),
    ("--log-format", "LOG_FORMAT", &["", "xml"], "json, pretty"),
];

fn operator(environment: &[(&str, &str)], arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callmeter-operator"))
        .arg("run")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn assert_refused(output: &Output, what: &str, told: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {text}");
    for told in told {
        assert!(text.contains(told), "{what}: {text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_what_is_accepted() {
    for (flag, variable, values, accepted) in TABLE {
        for value in *values {
            let mut environment: Vec<_> = GOOD.to_vec();
            environment.retain(|(name, _)| name != variable);
            let by_flag = operator(&environment, &[format!("{flag}={value}")]);
            assert_refused(
                &by_flag,
                &format!("{flag}={value}"),
                &[flag, value, accepted],
            );
            environment.push((variable, value));
            let by_variable = operator(&environment, &[]);
            assert_refused(
                &by_variable,
                &format!("{variable}={value}"),
                &[flag, value, accepted],
            );
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    for (variable, _) in GOOD {
        let environment: Vec<_> = GOOD.into_iter().filter(|(n, _)| *n != variable).collect();
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        assert_refused(&operator(&environment, &[]), variable, &[&flag]);
    }
    assert_refused(
        &operator(&GOOD, &["--colour=red".into()]),
        "unknown",
        &["--colour"],
    );
}
