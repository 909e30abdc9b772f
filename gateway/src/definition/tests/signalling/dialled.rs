//! What is dialled, and by which transport.

use super::*;

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
        "sips:100@pbx.example;transport=ws",
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
        ("sip:a@b?Subject=c", "a URI without method= and without ?"),
        ("sip:a@b;lr?", "a URI without method= and without ?"),
        (
            "sips:a@b;method=INVITE",
            "a URI without method= and without ?",
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

/// A group of callers with some fields of its own.
fn callers(change: &Value) -> Result<Group, String> {
    let mut all = json!({"role": "caller", "accounts": null, "registrar": null});
    for (name, value) in change.as_object().unwrap() {
        all[name] = value.clone();
    }
    read(&all, "demo")
}

/// Transport of the group, and the interval of its keep-alives; none: UDP, without a registrar.
fn transport(group: &Group) -> Option<(Transport, u64)> {
    let registrar = group.registrar.as_ref()?;
    assert!(!registrar.register && registrar.domain.is_empty());
    Some((registrar.transport, registrar.keep_alive.as_secs()))
}

#[test]
fn without_a_registrar_the_uri_says_the_transport() {
    for (uri, wanted) in [
        ("sip:100@pbx.example", None),
        ("sip:100@pbx.example;transport=UDP", None),
        ("sip:100@pbx.example;transport=tcp", Some(Transport::Tcp)),
        ("sip:100@pbx.example;transport=tls", Some(Transport::Tls)),
        ("sip:100@pbx.example;lr;Transport=ws", Some(Transport::Ws)),
        ("sip:100@pbx.example;transport=wss", Some(Transport::Wss)),
        ("sips:100@pbx.example", Some(Transport::Tls)),
        (
            "sips:100@pbx.example:5080;transport=tcp",
            Some(Transport::Tls),
        ),
        ("sips:100@pbx.example;transport=ws", Some(Transport::Wss)),
        ("sips:100@pbx.example;transport=wss", Some(Transport::Wss)),
    ] {
        let group = callers(&json!({"target": {"uri": uri}})).unwrap();
        let wanted = wanted.map(|wanted| (wanted, 60));
        assert_eq!(transport(&group), wanted, "{uri}");
    }
}

/// Callees that wait for calls by TCP are not called by UDP.
#[test]
fn without_a_registrar_a_group_is_called_by_its_own_transport() {
    let called = |callees: Value| {
        let mut all = json!({"name": "callees", "endpoints": 2, "role": "callee"});
        for (name, value) in callees.as_object().unwrap() {
            all[name] = value.clone();
        }
        let callers = json!({"name": "callers", "endpoints": 2, "role": "caller", "target": {"group": "callees"}});
        let test = json!({"duration": "60s", "groups": [callers, all]}).to_string();
        let (test, ..) = parse(&test, Format::Json, "demo").unwrap();
        transport(&test.groups[0])
    };
    assert_eq!(called(json!({})), None);
    let tcp = json!({"registrar": {"register": false, "transport": "tcp"}});
    assert_eq!(called(tcp), Some((Transport::Tcp, 60)));
    let both = json!({"role": "both", "target": {"uri": "sip:1@pbx;transport=ws"}});
    assert_eq!(called(both), Some((Transport::Ws, 60)));
    // They are called at their registrar.
    let registered = json!({"registrar": {"domain": "pbx", "transport": "tcp"}, "accounts": {"secretRef": {"name": "sip"}}});
    assert_eq!(called(registered), None);

    // Callers, whom they call, and whom these call.
    let chain = |last: Value, target: &str| {
        let group = |name: &str, role: &str, target: &str| json!({"name": name, "endpoints": 2, "role": role, "target": {"group": target}});
        let groups = [
            group("callers", "caller", "both"),
            group("both", "both", target),
            last,
        ];
        let test = json!({"duration": "60s", "groups": groups}).to_string();
        let (test, ..) = parse(&test, Format::Json, "demo").unwrap();
        [0, 1].map(|index| transport(&test.groups[index]))
    };
    let tcp = json!({"register": false, "transport": "tcp"});
    let last = json!({"name": "last", "endpoints": 2, "role": "callee", "registrar": tcp});
    assert_eq!(chain(last.clone(), "last"), [Some((Transport::Tcp, 60)); 2]);
    // In a circle nobody says how.
    assert_eq!(chain(last, "both"), [None; 2]);
    let back = json!({"name": "last", "endpoints": 2, "role": "both", "target": {"group": "both"}});
    assert_eq!(chain(back, "last"), [None; 2]);
}

#[test]
fn what_is_dialled_straight_names_no_other_transport() {
    let direct = |transport: &str| json!({"register": false, "transport": transport});
    let attended =
        |to: &str| json!([{"when": {"at": "1s"}, "do": "transfer", "to": to, "attended": true}]);
    let uri = |uri: &str| json!({ "uri": uri });
    for (registrar, dialled, asked, by) in [
        (direct("udp"), "sip:1@far;transport=tcp", "tcp", "udp"),
        (direct("udp"), "sips:1@far", "tls", "udp"),
        (direct("tcp"), "sip:1@far;transport=udp", "udp", "tcp"),
        (direct("tcp"), "sips:1@far;transport=tcp", "tls", "tcp"),
        (direct("ws"), "sips:1@far", "tls", "ws"),
        (direct("ws"), "sips:1@far;transport=ws", "wss", "ws"),
        (direct("tls"), "sip:1@far;transport=tcp", "tcp", "tls"),
        (direct("tls"), "sips:1@far;transport=ws", "wss", "tls"),
        (
            json!({"register": false, "domain": "pbx"}),
            "sips:1@far",
            "tls",
            "udp",
        ),
        (
            json!({"register": false, "domain": "pbx", "transport": "auto"}),
            "sips:1@far",
            "tls",
            "auto",
        ),
    ] {
        let expected = format!(
            "\"{dialled}\"; accepted with registrar.transport {asked} only, not with {by}: the call goes straight to its host"
        );
        let target = json!({"registrar": registrar, "target": uri(dialled)});
        let refusal = callers(&target).unwrap_err();
        assert_eq!(refusal, format!("groups[0].target.uri: {expected}"));
        let consulted = json!({"registrar": registrar, "target": uri("sip:1@far"), "scenario": attended(dialled)});
        let refusal = callers(&consulted).unwrap_err();
        assert_eq!(refusal, format!("groups[0].scenario[0].to: {expected}"));
    }
    // Without a registrar the transport is that of the URI, for all that is dialled.
    let two = json!({"target": uri("sip:1@far;transport=tcp"), "scenario": attended("sips:2@far")});
    let refusal = callers(&two).unwrap_err();
    assert!(
        refusal.starts_with("groups[0].scenario[0].to: \"sips:2@far\"; accepted with registrar.transport tls only, not with tcp"),
        "{refusal}"
    );
    // Who takes calls by TLS needs a certificate, wherever that follows from.
    let both = json!({"role": "both", "target": uri("sips:1@far")});
    let refusal = callers(&both).unwrap_err();
    assert!(
        refusal.starts_with(
            "groups[0].registrar.tls.serverCertRef: is required where calls are taken by tls"
        ),
        "{refusal}"
    );
}

/// The same transport, one that is as good, or a hint that only the server and the peer read.
#[test]
fn other_uris_name_any_transport() {
    let mut to_peer = json!([{"when": {"at": "1s"}, "do": "transfer", "to": "sips:1@far"}]);
    let registered = json!({"registrar": {"domain": "pbx"}, "accounts": {"secretRef": {"name": "sip"}}, "target": {"uri": "sips:1@far"}});
    for change in [
        json!({"registrar": {"register": false, "transport": "tls"}, "target": {"uri": "sips:1@far;transport=tcp"}}),
        json!({"registrar": {"register": false, "transport": "wss"}, "target": {"uri": "sip:1@far;transport=ws"}}),
        json!({"registrar": {"register": false, "transport": "wss"}, "target": {"uri": "sips:1@far;transport=ws"}}),
        json!({"registrar": {"register": false, "transport": "tcp"}, "target": {"uri": "sip:1@far"}}),
        json!({"registrar": {"register": false, "transport": "auto", "domain": "pbx"}, "target": {"uri": "sip:1@far"}}),
        json!({"registrar": {"register": false, "domain": "PBX"}, "target": {"uri": "sip:1@pbx;transport=tcp"}}),
        json!({"registrar": {"register": false, "transport": "udp", "outboundProxy": "edge"}, "target": {"uri": "sip:1@far;transport=tcp"}}),
        json!({"target": {"uri": "sip:1@far"}, "scenario": to_peer.take()}),
        registered,
    ] {
        let read = callers(&change);
        assert!(read.is_ok(), "{change}: {}", read.unwrap_err());
    }
}

/// Callees that do not register listen by their transport, with UDP by TCP, too.
#[test]
fn callees_are_dialled_straight_by_the_transport_they_listen_by() {
    let refusal = |callers: Value, callees: Value| {
        let mut groups = json!([
            {"name": "callees", "endpoints": 2, "role": "callee"},
            {"name": "callers", "endpoints": 2, "role": "caller", "target": {"group": "callees"}},
        ]);
        for (index, registrar) in [callees, callers].into_iter().enumerate() {
            if registrar["domain"] == "pbx" {
                let row = 1 + 2 * index;
                groups[index]["accounts"] = json!({"secretRef": {"name": "sip"}, "first": row});
            }
            groups[index]["registrar"] = registrar;
        }
        let test = json!({"duration": "60s", "groups": groups}).to_string();
        parse(&test, Format::Json, "demo")
            .err()
            .map(|it| it.to_string())
    };
    let direct = |transport: &str| match transport {
        "auto" => json!({"register": false, "transport": "auto", "domain": "far"}),
        "tls" | "wss" => {
            json!({"register": false, "transport": transport, "tls": {"serverCertRef": {"name": "s"}}})
        }
        _ => json!({"register": false, "transport": transport}),
    };
    let all = ["udp", "tcp", "tls", "ws", "wss", "auto"];
    for (by, taken) in all.into_iter().flat_map(|by| all.map(|taken| (by, taken))) {
        let fits = by == taken || (by, taken) == ("tcp", "udp") || [by, taken].contains(&"auto");
        let accepted = if taken == "udp" { "udp and tcp" } else { taken };
        let told = format!(
            "groups[1].target.group: \"callees\"; accepted with registrar.transport {accepted} only, not with {by}: groups[0].registrar.transport is {taken}, and the call goes straight to it"
        );
        assert_eq!(refusal(direct(by), direct(taken)), (!fits).then_some(told));
    }
    // By UDP where nothing is said, and straight though there is a domain.
    assert_eq!(refusal(direct("tcp"), json!(null)), None);
    assert_eq!(refusal(json!(null), direct("tls")), None);
    assert!(refusal(direct("tls"), json!(null)).is_some());
    let domain = json!({"register": false, "domain": "far"});
    assert!(refusal(domain, direct("tls")).is_some());
    // What goes through a server goes by that one.
    let registered = json!({"domain": "pbx"});
    let proxied = json!({"register": false, "transport": "udp", "outboundProxy": "edge"});
    for through in [&registered, &proxied] {
        assert_eq!(refusal(through.clone(), direct("tls")), None);
    }
    assert_eq!(refusal(direct("tls"), registered), None);
    assert!(refusal(direct("tls"), proxied).is_some());
}
