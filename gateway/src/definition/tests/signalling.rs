//! Transport, certificates, timers, headers and scenarios of a group.

use serde_json::{Value, json};

use super::*;

/// A callee that registers by TLS, with every field of its kind.
fn group() -> Value {
    json!({
        "name": "g",
        "endpoints": 2,
        "role": "callee",
        "registrar": {"domain": "pbx", "transport": "tls", "tls": {"verify": "skip"}},
        "accounts": {"secretRef": {"name": "sip"}},
    })
}

/// Reads a test of one group with some of its fields replaced; `null` takes one away.
fn read(change: &Value, namespace: &str) -> Result<Group, String> {
    let mut group = group();
    for (name, value) in change.as_object().unwrap() {
        group[name] = value.clone();
        if value.is_null() {
            group.as_object_mut().unwrap().remove(name);
        }
    }
    let test = json!({"duration": "60s", "groups": [group]}).to_string();
    match parse(&test, Format::Json, namespace) {
        Ok((test, ..)) => Ok(test.groups.into_iter().next().unwrap()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[test]
fn defaults_are_those_of_a_plain_user_agent() {
    let bare = json!({"registrar": null, "accounts": null});
    let group = read(&bare, "demo").unwrap();
    assert_eq!(group.registrar, None);
    assert_eq!(
        (group.answer_code, group.session_timer, group.reliable),
        (200, None, Reliable::Off)
    );
    assert_eq!((group.dtmf, group.auth_in_dialog), (Dtmf::Rfc4733, false));
    assert!(group.headers.is_empty() && group.scenario.is_empty());

    let plain = read(&json!({"registrar": {"domain": "pbx"}}), "demo").unwrap();
    let expected = Registrar {
        domain: "pbx".into(),
        port: 0,
        transport: Transport::Udp,
        ws_path: "/".into(),
        connection_per_endpoint: false,
        keep_alive: Duration::ZERO,
        options_interval: Duration::ZERO,
        sip_over_udp_always: false,
        outbound_proxy: String::new(),
        register: true,
        tls: None,
    };
    assert_eq!(plain.registrar.unwrap(), expected);
    for transport in ["tcp", "tls", "ws", "wss", "auto"] {
        let given = json!({"registrar": {"domain": "pbx", "transport": transport}});
        let registrar = read(&given, "demo").unwrap().registrar.unwrap();
        assert_eq!(registrar.transport.as_str(), transport);
        assert_eq!(registrar.keep_alive, Duration::from_secs(60));
    }
    let timer = read(&json!({"sessionTimer": {}}), "demo").unwrap();
    let expected = SessionTimer {
        mode: SessionTimerMode::Supported,
        expires: Duration::from_secs(1800),
        refresher: Refresher::None,
    };
    assert_eq!(timer.session_timer, Some(expected));
    let disabled = json!({"sessionTimer": {"mode": "disabled"}});
    assert_eq!(read(&disabled, "demo").unwrap().session_timer, None);
}

#[test]
fn every_field_is_taken() {
    let given = json!({
        "registrar": {"domain": "pbx", "port": 443, "transport": "wss", "wsPath": "/sip?x=1", "connection": "perEndpoint",
            "keepAlive": "30s", "optionsInterval": "1h", "outboundProxy": "edge:443", "register": true,
            "tls": {"verify": "custom", "caRef": {"name": "pbx.ca"}, "clientCertRef": {"name": "client"}, "serverCertRef": {"name": "server"}}},
        "answer": {"code": 603},
        "sessionTimer": {"mode": "required", "expires": "2h", "refresher": "uas"},
        "reliable": "required",
        "headers": [{"name": "X-Test", "value": "a: \"b\"; c"}, {"name": "x-test", "value": ""}],
        "dtmf": "info",
        "authInDialog": true,
        "scenario": [
            {"when": {"at": "0s"}, "do": "hold"},
            {"when": {"at": "1500ms"}, "do": "resume"},
            {"when": {"event": "hold"}, "do": "mediaUpdate"},
            {"when": {"event": "resume"}, "do": "sendDtmf", "digits": "0123456789ABCD*#"},
            {"when": {"event": "dtmf", "digits": "1"}, "do": "transfer", "to": "sips:1@pbx;transport=tcp", "attended": true},
            {"when": {"event": "info"}, "do": "transfer", "to": "sip:1@pbx"},
            {"when": {"event": "sessionRefresh"}, "do": "reRegister"},
            {"when": {"event": "dtmf"}, "do": "hangUp"},
        ],
    });
    let group = read(&given, "demo").unwrap();
    let registrar = group.registrar.unwrap();
    let tls = Tls {
        namespace: "demo".into(),
        verify: TlsVerify::Custom,
        ca: Some(("pbx.ca".into(), "ca.crt".into())),
        client: Some("client".into()),
        server: Some("server".into()),
    };
    assert_eq!(registrar.tls, Some(tls));
    assert_eq!(
        (
            registrar.port,
            registrar.ws_path.as_str(),
            registrar.keep_alive
        ),
        (443, "/sip?x=1", Duration::from_secs(30))
    );
    assert_eq!(registrar.options_interval, Duration::from_secs(3600));
    assert!(registrar.connection_per_endpoint);
    assert_eq!(
        (group.answer_code, group.reliable),
        (603, Reliable::Required)
    );
    assert_eq!(
        group.session_timer.unwrap().expires,
        Duration::from_secs(7200)
    );
    assert_eq!((group.dtmf, group.auth_in_dialog), (Dtmf::Info, true));
    assert_eq!(group.headers.len(), 2);
    let done: Vec<Do> = group.scenario.iter().map(|action| action.action).collect();
    assert_eq!(
        done,
        [
            Do::Hold,
            Do::Resume,
            Do::MediaUpdate,
            Do::SendDtmf,
            Do::Transfer,
            Do::Transfer,
            Do::ReRegister,
            Do::HangUp
        ]
    );
    assert_eq!(
        group.scenario[1].when,
        When::At(Duration::from_millis(1500))
    );
    let transfer = Action {
        when: When::Event {
            event: Event::Dtmf,
            digits: "1".into(),
        },
        action: Do::Transfer,
        digits: String::new(),
        to: "sips:1@pbx;transport=tcp".into(),
        attended: true,
    };
    assert_eq!(group.scenario[4], transfer);
    assert!(!group.scenario[5].attended);

    let udp = json!({"registrar": {"domain": "pbx", "transport": "auto", "sipOverUdp": "always"}});
    assert!(
        read(&udp, "demo")
            .unwrap()
            .registrar
            .unwrap()
            .sip_over_udp_always
    );
    // Without a server: the transport of the calls themselves.
    let direct = json!({"accounts": null, "registrar": {"register": false, "transport": "tls",
        "tls": {"serverCertRef": {"name": "server"}}}});
    let registrar = read(&direct, "demo").unwrap().registrar.unwrap();
    assert_eq!((registrar.domain.as_str(), registrar.register), ("", false));
}

#[test]
fn a_bare_off_is_read_as_kubectl_reads_it() {
    for given in [json!("off"), json!(false)] {
        let group = read(&json!({ "reliable": given }), "demo").unwrap();
        assert_eq!(group.reliable, Reliable::Off);
    }
}

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
            "registrar.wsPath: is accepted with transport ws, wss only, not with tls",
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

/// Material in place of a reference, or anywhere in `tls`.
#[test]
fn certificates_and_keys_stand_in_no_definition() {
    let pem = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
    for tls in [
        json!({"clientKey": pem}),
        json!({"caRef": pem}),
        json!({"caRef": {"name": pem}}),
        json!({"caRef": {"name": "ca", pem: 1}}),
        json!({"verify": pem}),
        json!([pem]),
        json!(pem),
    ] {
        let change = json!({"registrar": {"domain": "pbx", "transport": "tls", "tls": tls}});
        let refusal = read(&change, "demo").unwrap_err();
        let expected = "groups[0].registrar.tls: holds a certificate or key; accepted: caRef, \
                        clientCertRef and serverCertRef with the name of a Secret of the test's namespace";
        assert_eq!(refusal, expected, "{change}");
    }
}

#[test]
fn without_a_namespace_there_is_no_secret() {
    let tls = json!({"accounts": null, "registrar": {"register": false, "transport": "tls",
        "tls": {"serverCertRef": {"name": "server"}}}});
    let refusal = read(&tls, "").unwrap_err();
    assert_eq!(
        refusal,
        "groups[0].registrar.tls.serverCertRef: \"server\"; accepted in a CallTest, this test has no namespace a Secret could be in"
    );
    let skip = json!({"role": "caller", "target": {"uri": "sips:1@pbx"}, "accounts": null,
        "registrar": {"register": false, "transport": "tls", "tls": {"verify": "skip"}}});
    assert!(read(&skip, "").is_ok());
}

#[test]
fn uris_that_are_dialled_name_transports_that_exist() {
    let dial = |uri: &str| {
        let change =
            json!({"role": "caller", "target": {"uri": uri}, "accounts": null, "registrar": null});
        read(&change, "demo").map(|group| group.target)
    };
    for uri in [
        "sip:100@pbx.example",
        "sips:100@pbx.example",
        "sip:pbx.example;transport=tcp",
        "sip:100@[2001:db8::1]:5061;Transport=TLS;lr",
        "sips:100@pbx.example;transport=ws?Subject=a",
    ] {
        assert_eq!(dial(uri).unwrap(), Target::Uri(uri.into()));
    }
    for (uri, accepted) in [
        ("sip:", "a SIP URI like"),
        ("sip:a b", "a SIP URI like"),
        ("sip:<a>", "a SIP URI like"),
        ("SIP", "a SIP URI like"),
        (
            "sip:a@b;transport=sctp",
            "transport udp, tcp, tls, ws or wss",
        ),
        ("sip:a@b;transport", "transport udp, tcp, tls, ws or wss"),
        (
            "sips:a@b;transport=udp",
            "transport tcp, tls, ws or wss in a sips: URI",
        ),
    ] {
        let refusal = dial(uri).unwrap_err();
        let expected = format!("groups[0].target.uri: \"{uri}\"; accepted: {accepted}");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}

/// The examples people start from.
#[test]
fn every_sample_is_taken() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");
    let mut samples = vec![std::path::PathBuf::from(format!(
        "{root}/demo/calltest.yaml"
    ))];
    let entries = std::fs::read_dir(format!("{root}/samples")).unwrap();
    samples.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("calltest")
    }));
    samples.push(format!("{root}/../crates/api/testdata/shapes.yaml").into());
    assert!(samples.len() >= 10, "{samples:?}");
    for path in samples {
        let text = std::fs::read_to_string(&path).unwrap();
        let read = parse(&text, Format::Yaml, "demo");
        assert!(read.is_ok(), "{}: {}", path.display(), read.unwrap_err());
    }
}

/// No worker refuses a header field that a definition may have.
#[test]
fn what_a_worker_writes_itself_is_reserved() {
    for own in callmeter_engine::Header::OWN {
        let name = own.to_ascii_lowercase();
        assert!(Header::RESERVED.contains(&name.as_str()), "{own}");
    }
}
