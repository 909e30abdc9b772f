//! The documentation holds what it must, its examples are what they say, and none holds a token.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

use std::{collections::BTreeMap, process::Command};

use serde_yaml::Value;

const PAGE: &str = include_str!("../../docs/worker.md");
const README: &str = include_str!("../../README.md");

/// The YAML examples of a page.
fn examples(page: &str) -> Vec<(&str, Value)> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split_once("```").expect("a block ends").0)
        .map(|text| {
            let value = serde_yaml::from_str(text);
            (
                text,
                value.unwrap_or_else(|error| panic!("{error}: {text}")),
            )
        })
        .collect()
}

/// The compose examples of the page, by what is in them.
fn compose(holds: &str) -> (&'static str, Value) {
    let found = examples(PAGE)
        .into_iter()
        .filter(|(text, _)| text.contains("services:") && text.contains(holds));
    let [(text, value)] = found.collect::<Vec<_>>().try_into().expect("one example");
    (text, value["services"]["callmeter-worker"].clone())
}

/// The page in one line, so that a sentence is found across line ends.
fn flat(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// R4, R6, R7: every example parses; what names a token or a password names a variable or a file.
#[test]
fn every_example_parses_and_none_holds_a_token() {
    let pages = [("docs/worker.md", PAGE), ("README.md", README)];
    for (name, page) in pages {
        let examples = examples(page);
        assert!(examples.len() >= 3, "{name}");
        let mut workers = 0;
        for (text, value) in examples {
            let whole = &value["services"]["callmeter-worker"];
            // What is added to a service stands alone.
            let worker = if whole.is_null() { &value } else { whole };
            if worker["environment"].is_null() {
                continue;
            }
            workers += 1;
            let environment = &worker["environment"];
            assert_eq!(environment["CLOUD_URL"], "wg.callmeter.io:443", "{text}");
            let by_file = text.contains("/run/secrets/");
            let by_variable = environment["WORKER_TOKEN"] == "${WORKER_TOKEN}";
            assert!(by_variable != by_file, "{text}");
        }
        assert!(workers >= 1, "{name}");
        // `cmw_` is followed by words only, never by the body of a token.
        for (at, _) in page.match_indices("cmw_") {
            let body = page[at + 4..].bytes().take_while(u8::is_ascii_hexdigit);
            assert!(body.count() < 8, "{name}: {:.40}", &page[at..]);
        }
    }
}

/// R57: the documented example of a token has the form.
#[test]
fn the_documented_token_has_the_form() {
    let token = format!("cmw_{}", "a1b2c3d4e5f67890".repeat(4));
    assert_eq!(token.len(), 68);
    assert!(callmeter_proto::WorkerToken::parse(&token).is_ok());
}

/// R1, R9 to R12, R14 to R18, R22, R23, R31: every variable with its default.
#[test]
fn every_variable_is_documented_with_its_default() {
    let row = |variable: &str| {
        let cell = format!("`{variable}`");
        let mut rows = PAGE.lines().filter(|line| line.starts_with("| `"));
        let found = rows.find(|line| line.split('|').nth(1).is_some_and(|c| c.contains(&cell)));
        found.unwrap_or_else(|| panic!("no row of {variable}"))
    };
    for (variable, default) in [
        ("WORKER_TOKEN", "required"),
        ("CLOUD_URL", "required"),
        ("WORKER_NAME", "the name given at creation"),
        ("LOG_LEVEL", "`info`"),
        ("LOG_FORMAT", "`json`"),
        ("HEALTH_PORT", "`3030`"),
        ("SIP_IP", "auto-detected"),
        ("MEDIA_IP", "`SIP_IP`"),
        ("SDP_IP", "`MEDIA_IP`"),
        ("EXTERNAL_IP", "auto"),
        ("SIP_PORT_START", "`5060`"),
        ("SIP_PORT_END", "`5080`"),
        ("RTP_PORT_MIN", "`10000`"),
        ("RTP_PORT_MAX", "`65535`"),
    ] {
        let shown = row(variable).split('|').nth(2).unwrap();
        assert!(shown.contains(default), "{variable}: {shown}");
    }
    for variable in [
        "CLOUD_CA_FILE",
        "POD_NAMESPACE",
        "POD_NAME",
        "POD_UID",
        "NODE_NAME",
        "WORKER_LABELS",
        "DRAIN_TIMEOUT",
    ] {
        assert!(PAGE.contains(&format!("`{variable}`")), "{variable}");
    }
}

/// R45, R51, R82, R86: the compose file for production.
#[test]
fn the_production_example_is_whole() {
    let (text, worker) = compose("healthcheck:");
    assert_eq!(yaml(text)["version"], "3.8");
    assert_eq!(worker["image"], "worker:latest");
    assert_eq!(worker["container_name"], "callmeter-worker");
    assert_eq!(worker["restart"], "unless-stopped");
    assert_eq!(worker["ports"], yaml("['3030:3030']"));
    assert_eq!(
        worker["healthcheck"],
        yaml(
            "{test: [CMD, curl, -f, 'http://localhost:3030/health'], interval: 30s, timeout: 5s, \
             retries: 3, start_period: 15s}"
        )
    );
    assert_eq!(
        worker["deploy"]["resources"],
        yaml("{limits: {cpus: '4.0', memory: 4G}, reservations: {cpus: '2.0', memory: 2G}}")
    );
    assert_eq!(
        worker["logging"],
        yaml("{driver: json-file, options: {max-size: 50m, max-file: '5'}}")
    );
    for variable in [
        "SIP_IP",
        "MEDIA_IP",
        "SDP_IP",
        "RTP_PORT_MIN",
        "RTP_PORT_MAX",
    ] {
        let comment = format!("# {variable}: \"");
        assert!(text.contains(&comment), "no comment of {variable}");
    }
}

/// R83, R84, R85: host networking, when and at what price.
#[test]
fn the_host_network_example_is_whole() {
    let mut examples = examples(PAGE).into_iter();
    let (_, worker) = examples
        .find(|(text, _)| text.contains("network_mode:"))
        .expect("an example");
    assert_eq!(worker["network_mode"], "host");
    assert_eq!(
        worker["environment"],
        yaml(
            "{WORKER_TOKEN: '${WORKER_TOKEN}', CLOUD_URL: 'wg.callmeter.io:443', SIP_IP: 10.0.1.50}"
        )
    );
    // Ports that are published mean nothing there.
    assert!(worker["ports"].is_null());
    let page = flat(PAGE);
    for sentence in [
        "Above 100 concurrent endpoints host networking is recommended",
        "there is no isolation",
        "the health, SIP and RTP ports are used on the host directly",
        "check that nothing else uses them",
    ] {
        assert!(page.contains(sentence), "{sentence}");
    }
}

/// R8: the way by Docker secrets, with the command of the example: the worker gets the token of
/// the file.
#[test]
fn the_docker_secret_reaches_the_worker() {
    let (text, worker) = compose("secrets:");
    assert_eq!(
        yaml(text)["secrets"]["worker_token"]["file"],
        "./worker_token"
    );
    assert_eq!(worker["secrets"], yaml("[worker_token]"));
    let entry: Vec<String> = serde_yaml::from_value(worker["entrypoint"].clone()).unwrap();
    let [shell, flag, script] = entry.try_into().expect("a shell and its script");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("worker_token");
    std::fs::write(&file, "cmw_from-a-file\n").unwrap();
    // Compose makes one $ of two; the secret is where the test can put it.
    let script = script
        .replace("$$", "$")
        .replace("/run/secrets/worker_token", file.to_str().unwrap())
        .replace("exec callmeter-worker", "exec env");
    let output = Command::new(shell)
        .args([&flag, &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("WORKER_TOKEN=cmw_from-a-file\n"),
        "{printed}"
    );
}

/// R74 to R78, R80: the sizing table, and an example that fits it.
#[test]
fn the_sizing_table_is_as_promised() {
    let rows: BTreeMap<String, Vec<String>> = PAGE
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with(" Mbps |"))
        .map(|line| {
            let mut cells = line
                .trim_matches('|')
                .split('|')
                .map(|c| c.trim().to_owned());
            (cells.next().unwrap(), cells.collect())
        })
        .collect();
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let expected = BTreeMap::from([
        ("10–25".to_owned(), row(["1", "512 MB", "10 Mbps"])),
        ("25–50".to_owned(), row(["2", "1 GB", "25 Mbps"])),
        ("50–100".to_owned(), row(["2–4", "2 GB", "50 Mbps"])),
        ("100–200".to_owned(), row(["4", "4 GB", "100 Mbps"])),
        ("200–500".to_owned(), row(["8", "8 GB", "250 Mbps"])),
    ]);
    assert_eq!(rows, expected);
}

/// R8, R21, R25, R26, R28, R41, R67, R68, R79, R80, R87, R97, R98: what has to be told in words.
#[test]
fn what_must_be_told_is_told() {
    let page = flat(PAGE);
    for (requirement, sentence) in [
        (
            "R97",
            "A worker needs a worker licence (a fresh gateway of your own grants every worker one), a Docker host",
        ),
        (
            "R98",
            "Where Docker runs and the gateway can be reached, tests can run",
        ),
        ("R8", "A restricted environment file"),
        ("R8", "A secrets manager"),
        ("R8", "Docker secrets"),
        (
            "R21",
            "Set `SIP_IP` and `MEDIA_IP` on hosts with several interfaces, custom Docker subnets or host networking",
        ),
        ("R25", "An audio endpoint takes about 2 ports"),
        ("R26", "one with audio and video about 4"),
        ("R28", "55,536, enough for any capacity"),
        ("R41", "Do not run `trace` in production"),
        ("R41", "gigabytes an hour, and slows the worker down"),
        ("R65", "Regenerating ends the old token at once"),
        (
            "R67",
            "until you update `WORKER_TOKEN` and restart the container",
        ),
        ("R68", "(Vault, AWS, GCP, Azure)"),
        ("R68", "`chmod 600 .env`, and `.env` in `.gitignore`"),
        ("R68", "Rotate it from time to time"),
        ("R68", "One token per worker"),
        (
            "R79",
            "3 to 5 times the CPU and 5 to 10 times the bandwidth per endpoint",
        ),
        (
            "R80",
            "Let the worker's capacity match what its container gets",
        ),
        (
            "R87",
            "The image is tagged `latest`; updating is pulling the new one by hand",
        ),
    ] {
        assert!(page.contains(sentence), "{requirement}: {sentence}");
    }
}
