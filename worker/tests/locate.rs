//! Transport auto: servers found by NAPTR, SRV and address records (RFC 3263), of a DNS server of
//! the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{Direction, Registrar, Role, Tls, TlsVerify, endpoint_event::What};
use hickory_resolver::proto::{op::ResponseCode, rr::RData};
use support::{
    certificates::certificates,
    dns::{DnsServer, Failing, a, naptr, srv},
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

const PATIENCE: Duration = Duration::from_secs(60);
const CALLS: usize = 4;

/// Callers that look for `pbx.example` in the zone that `zone` makes of the port the callees listen
/// on, and of one nobody listens on.
async fn run(
    callees: Registrar,
    callers: Registrar,
    zone: impl Fn(u16, u16) -> Vec<(&'static str, RData)>,
) -> (Told, Vec<String>) {
    run_with(callees, callers, zone, Vec::new()).await
}

/// The same at a DNS server that fails some questions.
async fn run_with(
    callees: Registrar,
    callers: Registrar,
    zone: impl Fn(u16, u16) -> Vec<(&'static str, RData)>,
    failing: Failing,
) -> (Told, Vec<String>) {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let (own, dead) = (ports.sip_first, ports::block().sip_first);
    let dns = DnsServer::start_broken(zone(own, dead), None, failing);
    let mut variables = environment(&gateway, ports);
    variables.push(("SIP_DNS_SERVER".into(), dns.address.to_string()));
    let _worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let count = CALLS as u32;
    let callees = Group {
        registrar: Some(callees),
        ..Group::new("callees", Role::Callee, count)
    };
    let callers = Group {
        registrar: Some(Registrar {
            domain: "pbx.example".into(),
            transport: "auto".into(),
            ..callers
        }),
        peers: (0..CALLS)
            .map(|n| format!("sip:callees-{n}@pbx.example"))
            .collect(),
        ..Group::new("callers", Role::Caller, count)
    };
    let mut told = begin(&mut peer, "run-1", &[callees, callers]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    (told, dns.asked())
}

fn by(transport: &str) -> Registrar {
    Registrar {
        transport: transport.into(),
        ..Registrar::default()
    }
}

fn assert_called(told: &Told, transport: &str) {
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(told.calls("callers").len(), CALLS);
    assert_eq!(told.calls("callees").len(), CALLS);
    let sent = told.sum("callers", "packets_sent", Direction::Send);
    assert!(sent > 0, "no media");
    let time = told.values("callers", "dns_time_ms");
    assert_eq!(time.len(), 1, "{time:?}");
    assert!(time[0] > 0.0 && time[0] < 4000.0, "{time:?}");
    for contact in told.contacts("callers").values() {
        let wanted = match transport {
            "udp" => String::new(),
            other => format!(";transport={other}"),
        };
        assert!(contact.ends_with(&wanted), "{contact}");
        assert_eq!(contact.contains("transport="), transport != "udp");
    }
}

#[tokio::test]
async fn naptr_and_srv_records_lead_to_tcp_on_an_odd_port() {
    let zone = |port, _| {
        vec![
            ("pbx.example", naptr(20, "SIP+D2U", "_sip._udp.pbx.example")),
            ("pbx.example", naptr(10, "SIP+D2T", "_sip._tcp.pbx.example")),
            ("_sip._tcp.pbx.example", srv(0, port, "one.pbx.example")),
            ("one.pbx.example", a()),
        ]
    };
    let (told, mut asked) = run(by("tcp"), Registrar::default(), zone).await;
    assert_called(&told, "tcp");
    // A question is asked again if its answer takes a third of a second.
    asked.dedup();
    let wanted = ["pbx.example NAPTR", "_sip._tcp.pbx.example SRV"];
    assert_eq!(asked[..2], wanted, "{asked:?}");
    assert!(
        asked[2..].iter().all(|name| name.starts_with("one.")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn without_naptr_records_the_usual_services_are_tried() {
    let zone = |port, _| {
        vec![
            ("_sip._udp.pbx.example", srv(0, port, "one.pbx.example")),
            ("one.pbx.example", a()),
            ("pbx.example", a()),
        ]
    };
    let (told, _) = run(by("udp"), Registrar::default(), zone).await;
    assert_called(&told, "udp");
}

/// The name in the certificate is that of the domain, not of the server (RFC 5922 §7.2).
#[tokio::test]
async fn a_service_over_tls_shows_a_certificate_of_the_domain() {
    let own = certificates(&["pbx.example"], false);
    let callees = Registrar {
        tls: Some(Tls {
            server_certificate_pem: own.certificate.clone(),
            server_key_pem: own.key.clone(),
            ..Tls::default()
        }),
        ..by("tls")
    };
    let callers = Registrar {
        tls: Some(Tls {
            verify: TlsVerify::Custom.into(),
            ca_pem: own.ca.clone(),
            ..Tls::default()
        }),
        ..Registrar::default()
    };
    let zone = |port, _| {
        vec![
            (
                "pbx.example",
                naptr(1, "SIPS+D2T", "_sips._tcp.pbx.example"),
            ),
            ("_sips._tcp.pbx.example", srv(0, port, "one.pbx.example")),
            ("one.pbx.example", a()),
        ]
    };
    let (told, _) = run(callees, callers, zone).await;
    assert_called(&told, "tls");
}

/// RFC 3263 §4.3.
#[tokio::test]
async fn a_dead_server_gives_way_to_the_next() {
    let zone = |port, dead| {
        vec![
            ("_sip._tcp.pbx.example", srv(1, dead, "one.pbx.example")),
            ("_sip._tcp.pbx.example", srv(2, port, "one.pbx.example")),
            ("one.pbx.example", a()),
        ]
    };
    let (told, _) = run(by("tcp"), Registrar::default(), zone).await;
    assert_called(&told, "tcp");
    let errors = told.sum("callers", "transport_errors", Direction::Send);
    assert!(errors >= 1, "the first server was not tried");
}

/// The control: with only the dead one the calls fail.
#[tokio::test]
async fn a_dead_server_alone_fails_the_calls() {
    let zone = |_, dead| {
        vec![
            ("_sip._tcp.pbx.example", srv(1, dead, "one.pbx.example")),
            ("one.pbx.example", a()),
        ]
    };
    let (told, _) = run(by("tcp"), Registrar::default(), zone).await;
    assert_eq!(told.failed().len(), CALLS, "{:?}", told.failed());
}

/// Two servers, of which the first one's name is not resolved.
fn two_servers(port: u16, dead: u16) -> Vec<(&'static str, RData)> {
    vec![
        ("_sip._tcp.pbx.example", srv(1, dead, "gone.pbx.example")),
        ("_sip._tcp.pbx.example", srv(2, port, "one.pbx.example")),
        ("one.pbx.example", a()),
    ]
}

/// RFC 2782, RFC 3263 §4.3: the other servers are there all the same.
#[tokio::test]
async fn a_server_whose_name_is_not_resolved_gives_way_to_the_next() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let failing = vec![("gone.pbx.example A", Some(code))];
        let (told, _) = run_with(by("tcp"), Registrar::default(), two_servers, failing).await;
        assert_called(&told, "tcp");
    }
    let silent = vec![("gone.pbx.example A", None)];
    let (told, _) = run_with(by("tcp"), Registrar::default(), two_servers, silent).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(told.calls("callers").len(), CALLS);
}

/// There are servers that know no NAPTR records, and do not say that there are none.
#[tokio::test]
async fn records_that_a_server_answers_with_an_error_are_none() {
    for code in [ResponseCode::NotImp, ResponseCode::FormErr] {
        let failing = ["pbx.example NAPTR", "_sip._udp.pbx.example SRV"].map(|it| (it, Some(code)));
        let failing = failing.to_vec();
        let (told, _) = run_with(by("tcp"), Registrar::default(), two_servers, failing).await;
        assert_called(&told, "tcp");
    }
}

fn assert_refused(told: &Told, wanted: &[&str]) {
    let failed = told.events.iter().filter_map(|event| match &event.what {
        Some(What::Ended(end)) if event.group == "callers" => Some(&end.detail),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed.len(), CALLS, "{failed:?}");
    for reason in failed {
        assert!(wanted.iter().all(|it| reason.contains(it)), "{reason}");
    }
}

#[tokio::test]
async fn a_domain_that_is_nowhere_refuses_the_group_by_name() {
    let (told, _) = run(by("udp"), Registrar::default(), |_, _| Vec::new()).await;
    assert_refused(&told, &["registrar.domain pbx.example: no address found"]);
}

#[tokio::test]
async fn a_search_without_end_tells_what_was_not_answered() {
    let code = Some(ResponseCode::ServFail);
    let failing = vec![("one.pbx.example A", code)];
    let (told, _) = run_with(by("tcp"), Registrar::default(), two_servers, failing).await;
    let wanted = [
        "pbx.example: no address found",
        "; one.pbx.example: DNS error",
    ];
    assert_refused(&told, &wanted);
    // Of the servers of TLS nothing is known: nothing goes by UDP instead, to what may be no SIP
    // server at all.
    let secure = |port, _| {
        vec![
            (
                "pbx.example",
                naptr(1, "SIPS+D2T", "_sips._tcp.pbx.example"),
            ),
            ("pbx.example", naptr(2, "SIP+D2U", "_sip._udp.pbx.example")),
            ("_sips._tcp.pbx.example", srv(0, port, "one.pbx.example")),
            ("_sip._udp.pbx.example", srv(0, port, "two.pbx.example")),
            ("one.pbx.example", a()),
            ("two.pbx.example", a()),
            ("pbx.example", a()),
        ]
    };
    for failing in [
        vec![("one.pbx.example A", code)],
        vec![("one.pbx.example A", None)],
        vec![("_sips._tcp.pbx.example SRV", Some(ResponseCode::Refused))],
        vec![("pbx.example NAPTR", code)],
        vec![("pbx.example NAPTR", Some(ResponseCode::Refused))],
    ] {
        let (told, asked) = run_with(by("udp"), Registrar::default(), secure, failing).await;
        assert_refused(&told, &["registrar.domain pbx.example: no address found"]);
        assert!(!asked.iter().any(|it| it.starts_with("two.")), "{asked:?}");
    }
    // Nor after silence.
    let silent = vec![("pbx.example NAPTR", None)];
    let (told, asked) = run_with(by("tcp"), Registrar::default(), two_servers, silent).await;
    assert_refused(&told, &["registrar.domain pbx.example: "]);
    assert!(
        asked.iter().all(|it| it == "pbx.example NAPTR"),
        "{asked:?}"
    );
}

/// Where callees without registering could not be called for want of a certificate.
#[tokio::test]
async fn a_callee_found_to_use_tls_needs_a_certificate() {
    let zone = vec![
        (
            "pbx.example",
            naptr(1, "SIPS+D2T", "_sips._tcp.pbx.example"),
        ),
        ("_sips._tcp.pbx.example", srv(0, 5061, "one.pbx.example")),
        ("one.pbx.example", a()),
    ];
    let own = certificates(&["pbx.example"], false);
    for tls in [None, Some(own.shown())] {
        let certified = tls.is_some();
        let mut gateway = TestGateway::start().await;
        let dns = DnsServer::start(zone.clone());
        let mut variables = environment(&gateway, ports::block());
        variables.push(("SIP_DNS_SERVER".into(), dns.address.to_string()));
        let _worker = Worker::spawn(&variables);
        let mut peer = gateway.welcome().await;
        let callees = Group {
            registrar: Some(Registrar {
                domain: "pbx.example".into(),
                tls,
                ..by("auto")
            }),
            ..Group::new("callees", Role::Callee, 1)
        };
        let mut told = begin(&mut peer, "run-1", &[callees]).await;
        finish(&mut peer, &mut told, PATIENCE).await;
        assert_complete(&told);
        assert_eq!(told.contacts("callees").len(), usize::from(certified));
        let refused = told.events.iter().any(|event| match &event.what {
            Some(What::Ended(end)) => end.detail.contains(
                "registrar.tls.serverCertRef is absent; required where calls are taken by \
                 TLS, which was found, without registering",
            ),
            _ => false,
        });
        assert_eq!(refused, !certified, "{:?}", told.events);
    }
}

/// A literal address has no resolver to say so.
#[tokio::test]
async fn an_address_of_the_other_ip_version_refuses_the_group_by_name() {
    for (transport, registrar, reason) in [
        (
            "udp",
            Registrar {
                domain: "[2001:db8::1]".into(),
                ..Registrar::default()
            },
            "registrar.domain is 2001:db8::1; accepted: an address of the IP version of SIP_IP, 127.0.0.1",
        ),
        (
            "auto",
            Registrar {
                domain: "[2001:db8::1]".into(),
                ..Registrar::default()
            },
            "registrar.domain",
        ),
        (
            "tcp",
            Registrar {
                domain: "pbx.example".into(),
                outbound_proxy: "[2001:db8::1]:5070".into(),
                ..Registrar::default()
            },
            "registrar.outboundProxy is 2001:db8::1; accepted: an address of the IP version of SIP_IP",
        ),
    ] {
        let mut gateway = TestGateway::start().await;
        let _worker = Worker::spawn(&environment(&gateway, ports::block()));
        let mut peer = gateway.welcome().await;
        let callees = Group {
            registrar: Some(Registrar {
                transport: transport.into(),
                ..registrar
            }),
            ..Group::new("callees", Role::Callee, 1)
        };
        let mut told = begin(&mut peer, "run-1", &[callees]).await;
        finish(&mut peer, &mut told, PATIENCE).await;
        assert_complete(&told);
        let named = |event: &callmeter_proto::worker::EndpointEvent| match &event.what {
            Some(What::Ended(end)) => end.detail.contains(reason),
            _ => false,
        };
        assert!(told.events.iter().any(named), "{:?}", told.events);
    }
}
