//! Transport, certificates, timers, headers and scenarios of a group.

mod dialled;
mod problems;

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
    assert!(group.accept_transfers);
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
        let seconds = if transport == "auto" { 0 } else { 60 };
        assert_eq!(registrar.keep_alive, Duration::from_secs(seconds));
    }
    let timer = read(&json!({"sessionTimer": {}}), "demo").unwrap();
    let expected = SessionTimer {
        mode: SessionTimerMode::Supported,
        expires: Duration::from_secs(1800),
        refresher: Refresher::Uac,
    };
    assert_eq!(timer.session_timer, Some(expected));
    let disabled = json!({"sessionTimer": {"mode": "disabled"}});
    assert_eq!(read(&disabled, "demo").unwrap().session_timer, None);
}

/// Calls of anyone do not have others placed with the accounts of the test, unless it says so.
#[test]
fn strangers_transfer_nobody_by_default() {
    let external = json!({"role": "callee", "target": {"external": true}});
    assert!(!read(&external, "demo").unwrap().accept_transfers);
    let open = json!({"role": "callee", "target": {"external": true}, "acceptTransfers": true});
    assert!(read(&open, "demo").unwrap().accept_transfers);
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
        "acceptTransfers": false,
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
    assert!(!group.accept_transfers);
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

    let udp = json!({"registrar": {"domain": "pbx", "transport": "auto", "sipOverUdp": "always", "wsPath": "/sip"}});
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

/// An INVITE has to fit into a datagram, whatever its headers are: each may be as long as allowed,
/// not all of them.
#[test]
fn headers_have_a_limit_in_all() {
    let headers = |more: &str| {
        let longest = "\u{1d11e}".repeat(1023);
        let mut headers = vec![json!({"name": "X-AA", "value": longest}); 3];
        headers.push(json!({"name": "X-AA", "value": format!("{longest}{more}")}));
        read(&json!({"headers": headers}), "demo")
    };
    let sizes = headers("").unwrap().headers.into_iter();
    let sizes = sizes.map(|it| it.name.len() + it.value.len());
    assert_eq!(sizes.sum::<usize>(), 16_384);
    assert_eq!(
        headers("a").unwrap_err(),
        "groups[0].headers: 16385 bytes; accepted: at most 16384 bytes of names and values"
    );
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
