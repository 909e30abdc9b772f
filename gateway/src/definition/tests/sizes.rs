//! What contradicts itself, is too large, or loses something when it is read.

use serde_json::{Value, json};

use super::shape::{full, read};
use super::*;

/// Fields that exclude each other, and sizes past the most.
#[test]
fn contradictions_and_sizes_are_named() {
    let group = |name: &str| json!({"name": name, "endpoints": 1, "role": "callee"});
    let many: Vec<Value> = (0..33).map(|n| group(&format!("g{n}"))).collect();
    let expectation = json!({"metric": "mos", "min": 1});
    let long = "x".repeat(300);
    let uri = format!("sip:{long}");
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        (
            "/groups",
            json!(many),
            "groups",
            "33 entries; accepted: at most 32",
        ),
        (
            "/groups",
            json!([]),
            "groups",
            "is empty; accepted: 1 to 32 entries",
        ),
        (
            "/expect",
            json!(vec![expectation; 33]),
            "expect",
            "33 entries; accepted: at most 32",
        ),
        (
            "/groups/0/accounts",
            json!({"list": [], "pattern": "u{n}", "password": "hunter2"}),
            "groups[0].accounts",
            "accepted: exactly one of secretRef, list, pattern",
        ),
        (
            "/groups/0/accounts",
            json!({"list": [], "secretRef": {"name": "s"}}),
            "groups[0].accounts",
            "accepted: exactly one of secretRef, list, pattern",
        ),
        (
            "/groups/0/accounts",
            json!({"first": 1}),
            "groups[0].accounts",
            "accepted: exactly one of secretRef, list, pattern",
        ),
        (
            "/groups/0/accounts",
            json!("hunter2"),
            "groups[0].accounts",
            "accepted: exactly one of secretRef, list, pattern",
        ),
        (
            "/groups/0/target",
            json!({"external": true, "group": "others"}),
            "groups[0].target",
            "accepted: exactly one of group, uri, external",
        ),
        (
            "/groups/0/target",
            json!({"external": false}),
            "groups[0].target.external",
            "false; accepted: true",
        ),
        (
            "/groups/0/load",
            json!({"concurrency": 1, "arrivalRate": "1/s"}),
            "groups[0].load",
            "accepted: exactly one of arrivalRate, concurrency, ramp, steps",
        ),
        (
            "/groups/0/name",
            json!(long),
            "groups[0].name",
            "accepted: 1 to 63 of a-z",
        ),
        (
            "/groups/2/endpoints",
            json!(100_001),
            "groups[2].endpoints",
            "100001; accepted: 1 to 100000",
        ),
        (
            "/groups/0/registrar/domain",
            json!(long),
            "groups[0].registrar.domain",
            "accepted: a host name",
        ),
        (
            "/groups/0/registrar/port",
            json!(65_536),
            "groups[0].registrar.port",
            "invalid value: integer `65536`, expected u16",
        ),
        (
            "/groups/0/registrar/outboundProxy",
            json!(long),
            "groups[0].registrar.outboundProxy",
            "accepted: host or host:port",
        ),
        (
            "/groups/1/target/uri",
            json!(uri),
            "groups[1].target.uri",
            "accepted: a SIP URI",
        ),
        (
            "/groups/1/load/arrivalRate",
            json!("1000000/s"),
            "groups[1].load.arrivalRate",
            "is no rate; accepted: ",
        ),
        (
            "/groups/2/accounts/first",
            json!(1_000_001),
            "groups[2].accounts.first",
            "1000001; accepted: 1 to 1000000",
        ),
        (
            "/groups/0/audio/dscp",
            json!(256),
            "groups[0].audio.dscp",
            "invalid value: integer `256`, expected u8",
        ),
        (
            "/expect/0/min",
            json!(4.75),
            "expect[0].min",
            "4.75 is above max 4.5",
        ),
        (
            "/expect/0/max",
            json!(5.5),
            "expect[0].max",
            "5.5; accepted: 1 to 5",
        ),
        (
            "/expect/0/min",
            json!(-1),
            "expect[0].min",
            "-1; accepted: 1 to 5",
        ),
        (
            "/expect/0",
            json!({"metric": "call_success_rate", "min": 100.5}),
            "expect[0].min",
            "100.5; accepted: 0 to 100",
        ),
    ];
    for (pointer, value, field, message) in cases {
        let mut changed = full();
        *changed.pointer_mut(pointer).unwrap() = value.clone();
        let problems = read(&changed).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|(f, m)| f == field && m.contains(message)),
            "{pointer} = {value:.60}: {problems:?}"
        );
    }
}

/// Text that a reader would half take: fields given twice, numbers that are none, aliases that
/// multiply.
#[test]
fn text_that_loses_something_is_refused() {
    let bomb = (1..30).fold("a: &a0 [x, x]\n".to_owned(), |text, n| {
        text + &format!("b{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)
    });
    let twice = r#"{"duration": "5s", "duration": "6s", "groups": []}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, format, wanted) in [
        (twice, Format::Json, "the field duration is given twice"),
        ("duration: 5s\nduration: 6s\n", Format::Yaml, "is no YAML: "),
        (
            r#"{"groups": [{"accounts": {"password": "hunter2", "password": "hunter2"}}]}"#,
            Format::Json,
            "the field password is given twice",
        ),
        ("duration: .nan", Format::Yaml, "is infinite or no number"),
        ("duration: .inf", Format::Yaml, "is infinite or no number"),
        (
            r#"{"duration": 1e999}"#,
            Format::Json,
            "is no JSON at line 1",
        ),
        ("{} {}", Format::Json, "is no JSON at line 1, column 4"),
        ("a: 1\n---\nb: 1\n", Format::Yaml, "is no YAML: "),
        (bomb.as_str(), Format::Yaml, "is no YAML: "),
        (deep.as_str(), Format::Json, "is no JSON at line 1"),
        (deep.as_str(), Format::Yaml, "is no YAML: "),
        ("\0", Format::Yaml, "is no YAML: "),
    ] {
        let refusal = parse(text, format, "").unwrap_err().to_string();
        let shown: String = text.chars().take(60).collect();
        assert!(refusal.contains(wanted), "{shown}: {refusal:.300}");
        assert!(!refusal.contains("hunter") && refusal.len() < 1000);
    }
}
