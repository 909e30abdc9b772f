mod accounts;
mod load;
mod shape;
mod signalling;
mod sizes;

use callmeter_api::calltest::CallTestSpec;

use super::*;

const DEMO: &str = "
duration: 40s
groups:
  - name: answerers
    endpoints: 20
    placement: {pool: demo}
    role: callee
    registrar: {domain: kamailio.demo.svc}
    accounts: {secretRef: {name: sip-accounts}, first: 1}
    call: {ringFor: 1s}
  - name: callers
    endpoints: 20
    placement: {pool: other/fra}
    role: caller
    target: {group: answerers}
    registrar: {domain: kamailio.demo.svc}
    accounts: {secretRef: {name: sip-accounts}, first: 21}
    audio: {codec: pcmu, ptime: 30ms, dscp: 0}
    load: {arrivalRate: 5/s}
    call: {duration: 12s, repeat: true}
expect:
  - {metric: mos, stat: p05, min: 4.0}
  - {metric: call_success_rate, group: callers, min: 100}
";

fn yaml(
    text: &str,
    namespace: &str,
) -> Result<(ValidatedTest, InlineAccounts, CallTestSpec), InvalidDefinition> {
    parse(text, Format::Yaml, namespace)
}

/// The problems of the demo with one text replaced by another.
fn refused(from: &str, to: &str) -> String {
    assert!(DEMO.contains(from), "{from}");
    yaml(&DEMO.replacen(from, to, 1), "demo")
        .unwrap_err()
        .to_string()
}

#[test]
fn defaults_are_filled_and_names_are_resolved() {
    let (test, inline, _) = yaml(DEMO, "demo").unwrap();
    assert!(inline.is_empty());
    assert_eq!(
        (test.duration, test.queue_timeout),
        (Duration::from_secs(40), Duration::from_secs(600))
    );
    let [answerers, callers] = test.groups.as_slice() else {
        panic!()
    };
    assert_eq!(answerers.placement, Placement::Pool("demo/demo".into()));
    assert_eq!(callers.placement, Placement::Pool("other/fra".into()));
    assert_eq!(answerers.target, Target::None);
    assert_eq!(callers.target, Target::Group(0));
    assert_eq!(
        answerers.audio,
        Audio {
            codec: Codec::Pcma,
            ptime_ms: 20,
            dscp: 46
        }
    );
    assert_eq!(
        callers.audio,
        Audio {
            codec: Codec::Pcmu,
            ptime_ms: 30,
            dscp: 0
        }
    );
    assert_eq!(
        answerers.call,
        Call {
            duration: None,
            ring_for: Duration::from_secs(1),
            repeat: false
        }
    );
    assert!(answerers.registers() && answerers.answers() && !answerers.calls() && callers.calls());
    let secret = Accounts::Secret {
        namespace: "demo".into(),
        name: "sip-accounts".into(),
        first: 21,
    };
    assert_eq!(callers.accounts, secret);
    assert_eq!(test.expects[0].stat, Stat::P05);
    assert_eq!(
        (test.expects[1].group, test.expects[1].stat),
        (Some(1), Stat::Mean)
    );
}

/// YAML, JSON and a whole resource say the same.
#[test]
fn every_form_reads_the_same() {
    let (test, ..) = yaml(DEMO, "demo").unwrap();
    let value: serde_json::Value = serde_yaml::from_str(DEMO).unwrap();
    let (json, ..) = parse(&value.to_string(), Format::Json, "demo").unwrap();
    assert_eq!(json, test);
    let resource = serde_json::json!({"apiVersion": "callmeter.io/v1alpha1", "kind": "CallTest",
        "metadata": {"name": "demo"}, "spec": value});
    let (resource, ..) = parse(&resource.to_string(), Format::Json, "demo").unwrap();
    assert_eq!(resource, test);
}

#[test]
fn every_problem_names_field_value_and_what_is_accepted() {
    for (from, to, expected) in [
        (
            "duration: 40s",
            "duration: 40",
            "duration: invalid type: integer `40`",
        ),
        (
            "duration: 40s",
            "duration: 0s",
            "duration: 0s; accepted: 1s to 24h",
        ),
        (
            "duration: 40s",
            "duration: 25h",
            "duration: 25h; accepted: 1s to 24h",
        ),
        (
            "duration: 40s",
            "duration: 40 s",
            "duration: `40 s` is no duration; accepted: ",
        ),
        ("duration: 40s", "durtion: 40s", "missing field `duration`"),
        (
            "duration: 40s",
            "duration: 40s\nqueueTimeout: 25h",
            "queueTimeout: 25h; accepted: 0s to 24h",
        ),
        (
            "name: callers",
            "name: Callers",
            "groups[1].name: \"Callers\"; accepted: 1 to 63 of a-z, 0-9 and -",
        ),
        (
            "name: callers",
            "name: answerers",
            "groups[1].name: \"answerers\" is the name of groups[0] too",
        ),
        (
            "endpoints: 20",
            "endpoints: 0",
            "groups[0].endpoints: 0; accepted: 1 to 100000",
        ),
        (
            "endpoints: 20",
            "endpoints: -1",
            "groups[0].endpoints: invalid value: integer `-1`",
        ),
        (
            "role: caller\n",
            "role: robber\n",
            "groups[1].role: unknown variant `robber`, expected one of `caller`, `callee`, `both`",
        ),
        (
            "placement: {pool: demo}",
            "placement: {pool: De/mo}",
            "groups[0].placement.pool: \"De/mo\"; accepted: name or namespace/name",
        ),
        (
            "placement: {pool: demo}",
            "placement: {region: eu}",
            "groups[0].placement.region: is no known field",
        ),
        (
            "target: {group: answerers}",
            "target: {group: nobody}",
            "groups[1].target.group: \"nobody\"; accepted: a group of this test with the role callee or both",
        ),
        (
            "target: {group: answerers}",
            "target: {group: callers}",
            "groups[1].target.group: \"callers\"; accepted: ",
        ),
        (
            "endpoints: 20\n    placement: {pool: demo}\n    role: callee",
            "endpoints: 1\n    role: both\n    target: {group: answerers}",
            "groups[0].target.group: \"answerers\"; accepted with endpoints 2 or more: nobody calls himself",
        ),
        (
            "target: {group: answerers}",
            "target: {uri: 'tel:1'}",
            "groups[1].target.uri: \"tel:1\"; accepted: a SIP URI",
        ),
        (
            "target: {group: answerers}",
            "target: {external: true}",
            "groups[1].target: external is accepted with role callee only",
        ),
        (
            "target: {group: answerers}",
            "target: {}",
            "groups[1].target: accepted: exactly one of group, uri, external",
        ),
        (
            "    target: {group: answerers}\n",
            "",
            "groups[1].target: is required for role caller and both",
        ),
        (
            "role: callee\n",
            "role: callee\n    target: {group: answerers}\n",
            "groups[0].target: a callee dials nobody",
        ),
        (
            "domain: kamailio.demo.svc",
            "domain: 'a b'",
            "groups[0].registrar.domain: \"a b\"; accepted: a host name, an IPv4 address or an IPv6 address in brackets, without a port",
        ),
        (
            "domain: kamailio.demo.svc",
            "domain: a, port: 0",
            "groups[0].registrar.port: 0; accepted: 1 to 65535",
        ),
        (
            "domain: kamailio.demo.svc",
            "domain: a, outboundProxy: 'p q'",
            "groups[0].registrar.outboundProxy: \"p q\"; accepted: host or host:port",
        ),
        (
            "    accounts: {secretRef: {name: sip-accounts}, first: 1}\n",
            "",
            "groups[0].accounts: is required to register",
        ),
        (
            "first: 1}",
            "first: 0}",
            "groups[0].accounts.first: 0; accepted: 1 to 1000000",
        ),
        (
            "first: 21",
            "first: 20",
            "groups[1].accounts.first: rows 20 to 39 of Secret sip-accounts overlap with rows 1 to 20 of group answerers",
        ),
        (
            "name: sip-accounts",
            "name: Sip",
            "groups[0].accounts.secretRef.name: \"Sip\"; accepted: the name of a Secret",
        ),
        (
            "ptime: 30ms",
            "ptime: 25ms",
            "groups[1].audio.ptime: 25ms; accepted: 10ms, 20ms, 30ms, 40ms, 60ms",
        ),
        (
            "dscp: 0",
            "dscp: 64",
            "groups[1].audio.dscp: 64; accepted: 0 to 63",
        ),
        (
            "codec: pcmu",
            "codec: opus",
            "groups[1].audio.codec: unknown variant `opus`, expected `pcma` or `pcmu`",
        ),
        (
            "arrivalRate: 5/s",
            "concurrency: 21",
            "groups[1].load.concurrency: 21; accepted: 1 to 20, the endpoints of the group",
        ),
        (
            "arrivalRate: 5/s",
            "arrivalRate: 0/s",
            "groups[1].load.arrivalRate: 0/s; accepted: a rate above 0, like 5/s",
        ),
        (
            "arrivalRate: 5/s",
            "arrivalRate: 5/s, concurrency: 2",
            "groups[1].load: accepted: exactly one of arrivalRate, concurrency, ramp, steps",
        ),
        (
            "duration: 12s",
            "duration: 0s",
            "groups[1].call.duration: 0s; accepted: 1s to 24h",
        ),
        (
            "ringFor: 1s",
            "ringFor: 181s",
            "groups[0].call.ringFor: 3m1s; accepted: 0s to 180s",
        ),
        (
            "ringFor: 1s",
            "ringfor: 1s",
            "groups[0].call.ringfor: is no known field",
        ),
        (
            "metric: mos",
            "metric: mots",
            "expect[0].metric: unknown variant `mots`, expected `mos` or `call_success_rate`",
        ),
        ("min: 4.0", "stat2: 1", "expect[0].stat2: is no known field"),
        (", min: 4.0", "", "expect[0]: accepted: min, max or both"),
        (
            "min: 4.0",
            "min: 4.0, max: 3.0",
            "expect[0].min: 4 is above max 3",
        ),
        (
            "group: callers",
            "group: nobody",
            "expect[1].group: \"nobody\"; accepted: a group of this test",
        ),
    ] {
        let refusal = refused(from, to);
        assert!(refusal.contains(expected), "{to}: {refusal}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text = DEMO.replacen("endpoints: 20", "endpoints: 0", 1).replacen(
        "duration: 40s",
        "duration: 0s",
        1,
    );
    let refusal = yaml(&text, "demo").unwrap_err();
    let fields: Vec<&str> = refusal
        .problems()
        .iter()
        .map(|p| p.field.as_str())
        .collect();
    assert_eq!(fields, ["duration", "groups[0].endpoints"]);
}

#[test]
fn what_is_no_map_or_no_text_of_the_format_is_refused() {
    for (text, format, expected) in [
        (
            "[]",
            Format::Json,
            "definition: accepted: a map with duration, groups and expect",
        ),
        (
            "{",
            Format::Json,
            "definition: is no JSON at line 1, column 1",
        ),
        ("a: [", Format::Yaml, "definition: is no YAML: "),
        (
            "kind: CallTest",
            Format::Yaml,
            "spec: is missing; accepted: a test definition",
        ),
    ] {
        let refusal = parse(text, format, "").unwrap_err().to_string();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn without_a_namespace_pools_are_named_in_full_and_secrets_are_refused() {
    let refusal = yaml(DEMO, "").unwrap_err().to_string();
    assert!(
        refusal.contains("groups[0].placement.pool: \"demo\"; accepted: namespace/name"),
        "{refusal}"
    );
    assert!(
        refusal
            .contains("groups[0].accounts.secretRef: \"sip-accounts\"; accepted: list or pattern"),
        "{refusal}"
    );
}

#[test]
fn only_an_arrival_rate_without_repeats_spreads_the_callers() {
    let (test, ..) = yaml(&DEMO.replacen(", repeat: true", "", 1), "demo").unwrap();
    let offsets = start_offsets(&test.groups[1]);
    assert_eq!((offsets.len(), &offsets[..3]), (20, &[0, 200, 400][..]));
    assert!(!test.groups[1].calls_by_load());
    // The workers place repeated calls by the rate itself.
    let (repeated, ..) = yaml(DEMO, "demo").unwrap();
    assert!(repeated.groups[1].calls_by_load());
    for load in [
        "    load: {arrivalRate: 5/s}\n",
        "    load: {concurrency: 8}\n",
        "",
    ] {
        let text = DEMO.replacen("    load: {arrivalRate: 5/s}\n", load, 1);
        let (test, ..) = yaml(&text, "demo").unwrap();
        assert!(start_offsets(&test.groups[1]).is_empty(), "{load}");
    }
}
