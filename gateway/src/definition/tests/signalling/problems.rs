//! What is refused, and by which words.

use super::*;

#[test]
fn every_problem_names_field_value_and_what_is_accepted() {
    let registrar = |value: Value| json!({ "registrar": value });
    let tls = |value: Value| registrar(json!({"domain": "pbx", "transport": "tls", "tls": value}));
    let action = |value: Value| json!({"scenario": [value]});
    let header = |name: &str, value: &str| json!({"headers": [{"name": name, "value": value}]});
    let long = "x".repeat(1025);
    let cases: Vec<(Value, &str)> = vec![
        (
            registrar(json!({"transport": "tcp"})),
            "registrar.domain: is required; only with register false and a transport there may be none",
        ),
        (
            registrar(json!({"register": false})),
            "registrar.domain: is required; only with",
        ),
        (
            registrar(json!({"register": false, "transport": "auto"})),
            "registrar.domain: is required with transport auto where there is no outboundProxy",
        ),
        (
            registrar(json!({"register": false, "transport": "auto", "outboundProxy": ""})),
            "registrar.domain: is required with transport auto where there is no outboundProxy",
        ),
        (
            registrar(json!({"register": false, "transport": "tcp", "port": 5080})),
            "registrar.port: 5080; is accepted with registrar.domain only",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "auto", "port": 5080})),
            "registrar.port: 5080; is not accepted with transport auto",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "sctp"})),
            "registrar.transport: unknown variant `sctp`, expected one of `udp`, `tcp`, `tls`, `ws`, `wss`, `auto`",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "tls", "wsPath": "/"})),
            "registrar.wsPath: is accepted with transport ws, wss, auto only, not with tls",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "ws", "wsPath": "ws"})),
            "registrar.wsPath: \"ws\"; accepted: a path like /ws",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "ws", "wsPath": "/a b"})),
            "registrar.wsPath: \"/a b\"; accepted: a path like /ws",
        ),
        (
            registrar(json!({"domain": "pbx", "connection": "shared"})),
            "registrar.connection: is accepted with transport tcp, tls, ws, wss, auto only, not with udp",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "tcp", "connection": "own"})),
            "registrar.connection: unknown variant `own`, expected `shared` or `perEndpoint`",
        ),
        (
            registrar(json!({"domain": "pbx", "keepAlive": "999ms"})),
            "registrar.keepAlive: 999ms; accepted: 1s to 10m",
        ),
        (
            registrar(json!({"domain": "pbx", "keepAlive": "601s"})),
            "registrar.keepAlive: 10m1s; accepted: 1s to 10m",
        ),
        (
            registrar(json!({"domain": "pbx", "optionsInterval": "4999ms"})),
            "registrar.optionsInterval: 4s999ms; accepted: 5s to 1h",
        ),
        (
            registrar(json!({"domain": "pbx", "optionsInterval": "3601s"})),
            "registrar.optionsInterval: 1h1s; accepted: 5s to 1h",
        ),
        (
            registrar(json!({"register": false, "transport": "udp", "optionsInterval": "5s"})),
            "registrar.optionsInterval: is accepted with registrar.domain or registrar.outboundProxy only",
        ),
        (
            registrar(
                json!({"register": false, "transport": "udp", "optionsInterval": "5s", "outboundProxy": ""}),
            ),
            "registrar.optionsInterval: is accepted with registrar.domain or",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "tcp", "sipOverUdp": "always"})),
            "registrar.sipOverUdp: is accepted with transport udp, auto only, not with tcp",
        ),
        (
            registrar(json!({"domain": "pbx", "sipOverUdp": "never"})),
            "registrar.sipOverUdp: unknown variant `never`, expected `auto` or `always`",
        ),
        (
            registrar(json!({"domain": "pbx", "transport": "ws", "tls": {}})),
            "registrar.tls: is accepted with transport tls, wss, auto only, not with ws",
        ),
        (
            tls(json!({"verify": "none"})),
            "registrar.tls.verify: unknown variant `none`, expected one of `system`, `custom`, `skip`",
        ),
        (
            tls(json!({"verify": "custom"})),
            "registrar.tls.caRef: is required with verify custom",
        ),
        (
            tls(json!({"caRef": {"name": "ca"}})),
            "registrar.tls.caRef: is accepted with verify custom only",
        ),
        (
            tls(json!({"verify": "custom", "caRef": {"name": "C"}})),
            "registrar.tls.caRef.name: \"C\"; accepted: the name of a Secret",
        ),
        (
            tls(json!({"verify": "custom", "caRef": {"name": "ca", "key": "a/b"}})),
            "registrar.tls.caRef.key: \"a/b\"; accepted: a key of the Secret",
        ),
        (
            tls(json!({"clientCertRef": {"name": ""}})),
            "registrar.tls.clientCertRef.name: \"\"; accepted: the name of a Secret",
        ),
        (
            tls(json!({"serverCertRef": {}})),
            "registrar.tls.serverCertRef: missing field `name`",
        ),
        (
            tls(json!({"serverCertRef": "hunter2"})),
            "registrar.tls.serverCertRef: accepted: a map with the name of a Secret",
        ),
        (
            json!({"accounts": null, "registrar": {"register": false, "transport": "wss", "tls": {}}}),
            "registrar.tls.serverCertRef: is required where calls are taken by wss without registering",
        ),
        (
            json!({"accounts": null, "registrar": {"register": false, "transport": "tcp", "connection": "perEndpoint"}}),
            "registrar.connection: \"perEndpoint\"; accepted: shared where calls are taken without registering",
        ),
        (
            json!({"answer": {"code": 199}}),
            "answer.code: 199; accepted: 200, or a refusal of 300 to 699",
        ),
        (
            json!({"answer": {"code": 201}}),
            "answer.code: 201; accepted: 200",
        ),
        (
            json!({"answer": {"code": 700}}),
            "answer.code: 700; accepted: 200",
        ),
        (
            json!({"role": "caller", "target": {"uri": "sip:1@pbx"}, "answer": {"code": 486}}),
            "answer: is accepted with role callee and both only",
        ),
        (
            json!({"sessionTimer": {"mode": "on"}}),
            "sessionTimer.mode: unknown variant `on`, expected one of `disabled`, `supported`, `required`",
        ),
        (
            json!({"sessionTimer": {"expires": "89s"}}),
            "sessionTimer.expires: 1m29s; accepted: 90s to 7200s, whole seconds",
        ),
        (
            json!({"sessionTimer": {"expires": "7201s"}}),
            "sessionTimer.expires: 2h1s; accepted: 90s to 7200s",
        ),
        (
            json!({"sessionTimer": {"expires": "90500ms"}}),
            "sessionTimer.expires: 1m30s500ms; accepted: 90s to 7200s, whole seconds",
        ),
        (
            json!({"sessionTimer": {"refresher": "us"}}),
            "sessionTimer.refresher: unknown variant `us`, expected one of `uac`, `uas`, `none`",
        ),
        (
            json!({"sessionTimer": {"mode": "disabled", "expires": "90s"}}),
            "sessionTimer.expires: is accepted with mode supported and required only",
        ),
        (
            json!({"sessionTimer": {"mode": "disabled", "refresher": "uac"}}),
            "sessionTimer.refresher: is accepted with mode supported and required only",
        ),
        (
            json!({"reliable": "on"}),
            "reliable: unknown variant `on`, expected one of `off`, `supported`, `required`",
        ),
        (
            json!({"reliable": true}),
            "reliable: invalid value: boolean `true`, expected `off`, `supported` or `required`",
        ),
        (
            header("Via", "x"),
            "headers[0].name: \"Via\"; accepted: one that the SIP stack does not write itself, like X-Test",
        ),
        (
            header("CALL-ID", "x"),
            "headers[0].name: \"CALL-ID\"; accepted: one that",
        ),
        (
            header("l", "0"),
            "headers[0].name: \"l\"; accepted: one that",
        ),
        (
            header("", "x"),
            "headers[0].name: \"\"; accepted: a header name of RFC 3261",
        ),
        (
            header("X Test", "x"),
            "headers[0].name: \"X Test\"; accepted: a header name of RFC 3261",
        ),
        (
            header("X-Test:", "x"),
            "headers[0].name: \"X-Test:\"; accepted: a header name",
        ),
        (
            header("X-Test", "a\r\nVia: b"),
            "headers[0].value: accepted: at most 1024 characters, none of them a control character",
        ),
        (
            header("X-Test", "a\n"),
            "headers[0].value: accepted: at most 1024",
        ),
        (
            header("X-Test", &long),
            "headers[0].value: accepted: at most 1024",
        ),
        (
            json!({"headers": vec![json!({"name": "X-Y", "value": "z"}); 33]}),
            "headers: 33 entries; accepted: at most 32",
        ),
        (
            json!({"dtmf": "inband"}),
            "dtmf: unknown variant `inband`, expected `rfc4733` or `info`",
        ),
        (
            json!({"authInDialog": "yes"}),
            "authInDialog: invalid type: string \"yes\", expected a boolean",
        ),
        (
            json!({"acceptTransfers": 1}),
            "acceptTransfers: invalid type: integer `1`, expected a boolean",
        ),
        (
            json!({"scenario": vec![json!({"when": {"at": "1s"}, "do": "hold"}); 31]}),
            "scenario: 31 entries; accepted: at most 30",
        ),
        (
            action(json!({"when": {}, "do": "hold"})),
            "scenario[0].when: accepted: exactly one of at, event",
        ),
        (
            action(json!({"when": {"at": "1s", "event": "hold"}, "do": "hold"})),
            "scenario[0].when: accepted: exactly one of at, event",
        ),
        (
            action(json!({"when": {"at": "25h"}, "do": "hold"})),
            "scenario[0].when.at: 25h; accepted: 0s to 24h",
        ),
        (
            action(json!({"when": {"event": "bye"}, "do": "hold"})),
            "scenario[0].when.event: unknown variant `bye`, expected one of `hold`, `resume`, `dtmf`, `info`, `sessionRefresh`",
        ),
        (
            action(json!({"when": {"event": "info", "digits": "1"}, "do": "hold"})),
            "scenario[0].when.digits: is accepted with event dtmf only",
        ),
        (
            action(json!({"when": {"event": "dtmf", "digits": "1x"}, "do": "hold"})),
            "scenario[0].when.digits: \"1x\"; accepted: 1 to 16 of 0-9, A-D, * and #",
        ),
        (
            action(json!({"when": {"event": "dtmf", "digits": ""}, "do": "hold"})),
            "scenario[0].when.digits: \"\"; accepted: 1 to 16",
        ),
        (
            action(json!({"when": {"event": "dtmf", "digits": 1}, "do": "hold"})),
            "scenario[0].when.digits: invalid type: integer `1`, expected a string",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "sing"})),
            "scenario[0].do: unknown variant `sing`, expected one of `hold`, `resume`, `mediaUpdate`, `sendDtmf`, `transfer`, `hangUp`, `reRegister`",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "sendDtmf"})),
            "scenario[0].digits: is required with do sendDtmf",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "hold", "digits": "1"})),
            "scenario[0].digits: is accepted with do sendDtmf only",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "sendDtmf", "digits": "a"})),
            "scenario[0].digits: \"a\"; accepted: 1 to 64 of 0-9, A-D, * and #",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "transfer"})),
            "scenario[0].to: is required with do transfer",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "hangUp", "to": "sip:1@pbx"})),
            "scenario[0].to: is accepted with do transfer only",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "transfer", "to": "tel:1"})),
            "scenario[0].to: \"tel:1\"; accepted: a SIP URI like sip:100@pbx.example or sips:100@pbx.example",
        ),
        (
            action(json!({"when": {"at": "1s"}, "do": "hold", "attended": false})),
            "scenario[0].attended: is accepted with do transfer only",
        ),
        (
            json!({"accounts": null, "registrar": null, "scenario": [{"when": {"at": "1s"}, "do": "reRegister"}]}),
            "scenario[0].do: reRegister is accepted in a group that registers at a registrar only",
        ),
    ];
    for (change, expected) in cases {
        let refusal = read(&change, "demo").unwrap_err();
        let expected = format!("groups[0].{expected}");
        assert!(refusal.starts_with(&expected), "{change:.200}: {refusal}");
        assert!(
            !refusal.contains("hunter") && refusal.len() < 400,
            "{refusal}"
        );
    }
}

#[test]
fn hosts_are_read_as_workers_read_them() {
    let domain = |domain: &str| json!({"registrar": {"domain": domain}});
    let proxy = |proxy: &str| json!({"registrar": {"domain": "pbx", "outboundProxy": proxy}});
    let long = format!("{}.example", "x".repeat(64));
    for wrong in [
        "2001:db8::1",
        "[2001:db8::1",
        "[192.0.2.1]",
        "[pbx]",
        "[]",
        "[::1]:5060",
        "pbx.example:5070",
        "192.0.2.1:5070",
        "256.0.2.1",
        "192.0.2",
        "100",
        "pbx..example",
        ".",
        "",
        "a b",
        "a@b",
        "a;lr",
        "::::",
        &long,
    ] {
        let refusal = read(&domain(wrong), "demo").unwrap_err();
        let shown: String = wrong.chars().take(64).collect();
        let expected = format!(
            "groups[0].registrar.domain: \"{shown}\"; accepted: a host name, an IPv4 address or an IPv6 address in brackets, without a port"
        );
        assert_eq!(refusal, expected);
    }
    for wrong in [
        "sbc:99999",
        "sbc:65536",
        "sbc:0",
        "sbc:",
        "sbc:+5",
        "sbc:a",
        ":5060",
        "::::",
        "2001:db8::1",
        "2001:db8::1:5060",
        "[2001:db8::1]:",
        "[2001:db8::1]5060",
        "[sbc]:5060",
        "256.0.2.1:5060",
        "sbc:5060:5060",
    ] {
        let refusal = read(&proxy(wrong), "demo").unwrap_err();
        let expected = format!(
            "groups[0].registrar.outboundProxy: \"{wrong}\"; accepted: host or host:port, the port 1 to 65535, an IPv6 address in brackets"
        );
        assert_eq!(refusal, expected);
    }
    for right in [
        "pbx",
        "pbx.example",
        "pbx.example.",
        "sip_1.pbx-2.example",
        "1.pbx",
        "192.0.2.1",
        "[2001:db8::1]",
        "[::ffff:192.0.2.1]",
    ] {
        assert!(read(&domain(right), "demo").is_ok(), "{right}");
        for port in ["", ":1", ":5060", ":65535"] {
            let right = format!("{right}{port}");
            assert!(read(&proxy(&right), "demo").is_ok(), "{right}");
        }
    }
}
