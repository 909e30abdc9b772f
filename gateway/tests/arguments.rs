//! Every argument of the gateway, by flag and by environment × (missing, empty, malformed, out of
//! range, contradictory): status 2 for what is malformed, 1 for what the host does not have, naming
//! the argument, the value and what is accepted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Flag, variable, values that are refused, and what is said to be accepted.
const TABLE: &[(&str, &str, &[&str], &str)] = &[
    (
        "--log-level",
        "LOG_LEVEL",
        &["", "loud"],
        "error, warn, info, debug, trace",
    ),
    ("--log-format", "LOG_FORMAT", &["", "xml"], "json, pretty"),
    ("--data-dir", "DATA_DIR", &[""], "a value is required"),
    ("--pepper-file", "PEPPER_FILE", &[""], "a value is required"),
    (
        "--seal-key-file",
        "SEAL_KEY_FILE",
        &[""],
        "a value is required",
    ),
    ("--tls-cert", "TLS_CERT", &[""], "a value is required"),
    ("--tls-key", "TLS_KEY", &[""], "a value is required"),
    (
        "--workers-addr",
        "WORKERS_ADDR",
        &["", "8443", "a:8443", "127.0.0.1:65536"],
        "invalid socket address",
    ),
    (
        "--fleet-addr",
        "FLEET_ADDR",
        &["", "::1:9443"],
        "invalid socket address",
    ),
    (
        "--rest-addr",
        "REST_ADDR",
        &["", "127.0.0.1"],
        "invalid socket address",
    ),
    (
        "--fleet-subjects",
        "FLEET_SUBJECTS",
        &[
            "",
            "operator",
            "system:serviceaccount:a",
            "system:serviceaccount:A:b",
            "system:serviceaccount:a:",
        ],
        "accepted: system:serviceaccount:namespace:name",
    ),
];

fn gateway(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callmeter-gateway"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn assert_refused(output: &Output, code: i32, what: &str, told: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    for told in told {
        assert!(text.contains(told), "{what}: no {told}: {text}");
    }
}

#[test]
fn what_is_malformed_is_named_with_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, variable, values, accepted) in TABLE {
        for value in *values {
            let argument = format!("{flag}={value}");
            let by_flag = gateway(folder.path(), &[], &["serve", &argument]);
            assert_refused(&by_flag, 2, &argument, &[flag, value, accepted]);
            let by_variable = gateway(folder.path(), &[(variable, value)], &["serve"]);
            assert_refused(&by_variable, 2, variable, &[flag, value, accepted]);
        }
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "nothing was made");
}

/// What contradicts another argument, or what the host does not have.
#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("file"), "no certificate").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let data = format!("--data-dir={}", at("data"));
    let (cert, key) = (
        format!("--tls-cert={}", at("file")),
        format!("--tls-key={}", at("file")),
    );
    let (none, other) = (
        format!("--tls-cert={}", at("none")),
        format!("--tls-key={}", at("none")),
    );
    let workers = format!("--workers-addr={taken}");
    let loopback = ["--fleet-addr=127.0.0.1:0", "--rest-addr=127.0.0.1:0"];
    let [fleet, rest] = loopback;
    let in_file = format!("--data-dir={}", at("file"));
    let free = "--workers-addr=127.0.0.1:0";
    let subject = "--fleet-subjects=system:serviceaccount:a:b";
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["serve", &cert], 2, &["--tls-key"]),
        (&["serve", &key], 2, &["--tls-cert"]),
        (
            &["serve", &data, &none, &other, free, fleet, rest],
            1,
            &["none"],
        ),
        (
            &["serve", &data, &cert, &key, free, fleet, rest],
            1,
            &["file"],
        ),
        (&["serve", &data, &workers, fleet, rest], 1, &[&taken]),
        // Without TLS nothing but loopback.
        (
            &["serve", &data, "--workers-addr=0.0.0.0:0", fleet, rest],
            1,
            &["0.0.0.0:0", "accepted without --tls-cert"],
        ),
        (
            &["serve", &in_file, free, fleet, rest],
            1,
            &["data directory", "file"],
        ),
        (
            &["serve", &data, free, fleet, rest, subject],
            1,
            &["--fleet-subjects", "accepted there: nothing"],
        ),
    ];
    for (arguments, code, told) in cases {
        assert_refused(
            &gateway(folder.path(), &[], arguments),
            code,
            &arguments.join(" "),
            told,
        );
    }
}

/// The commands beside `serve`.
#[test]
fn commands_name_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--data-dir={}", folder.path().join("data").display());
    let long = format!("--name={}", "x".repeat(101));
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&[], 2, &["Usage"]),
        (&["sevre"], 2, &["sevre", "serve"]),
        (&["keys", "create", &data], 2, &["--role"]),
        (
            &["keys", "create", &data, "--role=king"],
            2,
            &["king", "viewer, tester, editor, admin, owner"],
        ),
        (
            &["keys", "create", &data, "--role=owner", "--name="],
            2,
            &["--name"],
        ),
        (
            &["keys", "create", &data, "--role=owner", &long],
            2,
            &["--name", "accepted: 1 to 100"],
        ),
        (&["keys", "delete", &data], 2, &["<ID>"]),
        (
            &["keys", "delete", &data, "nobody"],
            1,
            &["\"nobody\" is no API key; accepted: "],
        ),
    ];
    for (arguments, code, told) in cases {
        assert_refused(
            &gateway(folder.path(), &[], arguments),
            code,
            &arguments.join(" "),
            told,
        );
    }
}
