use super::*;

fn token() -> String {
    format!("cmw_{}", "a1b2c3d4e5f67890".repeat(4))
}

fn vars(extra: &[(&str, &str)]) -> Vars {
    let mut vars = Vars::from([
        ("WORKER_TOKEN".to_owned(), token()),
        ("CLOUD_URL".to_owned(), "wg.callmeter.io:443".to_owned()),
    ]);
    for (name, value) in extra {
        vars.insert((*name).to_owned(), (*value).to_owned());
    }
    vars
}

fn read(extra: &[(&str, &str)]) -> Config {
    Config::from_vars(&vars(extra)).unwrap()
}

/// R2, R3, R4, R5, R9 to R12, R17, R18, R22, R23
#[test]
fn the_two_required_variables_are_a_whole_configuration() {
    let config = read(&[]);
    assert_eq!(
        config.gateway,
        GatewayAddress {
            host: "wg.callmeter.io".into(),
            port: 443
        }
    );
    assert_eq!(config.name, None);
    assert_eq!(config.log_level, tracing::Level::INFO);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.health_port, 3030);
    assert_eq!(
        config.sip_ports,
        PortRange {
            first: 5060,
            last: 5080
        }
    );
    assert_eq!(
        config.rtp_ports,
        PortRange {
            first: 10_000,
            last: 65_535
        }
    );
    assert_eq!(config.addresses, GivenAddresses::default());
    assert_eq!(config.drain_timeout, Duration::from_secs(1200));
    assert_eq!(config.ca_file, None);
    assert!(config.labels.is_empty());
    // R28
    assert_eq!(config.rtp_ports.even_pairs(), 27_768);
}

/// R2, R3, R7: every variable × (missing, empty, malformed, out of range).
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_is_wrong_is_named_with_what_is_accepted_and_never_its_value() {
    let long = "x".repeat(300);
    let cloud = format!("cmc_{}", "0".repeat(64));
    let upper = token().to_uppercase();
    let short = token()[..67].to_owned();
    let many = (0..33)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let table: &[(&str, &[&str], &str)] = &[
        (
            "WORKER_TOKEN",
            &["", "token", &cloud, &upper, &short],
            "cmw_ and 64 lowercase",
        ),
        (
            "CLOUD_URL",
            &[
                "",
                "https://wg.example:443",
                "wg.example:0",
                "wg.example:65536",
                "wg.example:",
                ":443",
                "wg.example:443:1",
                "fe80::1",
                "[fe80::1",
                "[fe80::1]x",
                "[10.0.0.1]:1",
                "wg.example/path",
                "wg example",
                "-bad.example",
                "10.0.0.256:443",
                "user@wg.example",
                "wg.example:+1",
            ],
            "host:port",
        ),
        ("WORKER_NAME", &[&long, "a\nb", " padded"], "1 to 128"),
        (
            "LOG_LEVEL",
            &["INFO", "verbose", "5"],
            "error, warn, info, debug or trace",
        ),
        ("LOG_FORMAT", &["JSON", "text"], "json or pretty"),
        (
            "HEALTH_PORT",
            &["0", "65536", "-1", "http", "+80", "80 "],
            "1 to 65535",
        ),
        (
            "SIP_IP",
            &[
                "0.0.0.0",
                "::",
                "224.0.0.1",
                "255.255.255.255",
                "10.0.0",
                "host",
            ],
            "IPv4 or IPv6",
        ),
        (
            "MEDIA_IP",
            &["0.0.0.0", "x", "10.0.0.1:5060"],
            "IPv4 or IPv6",
        ),
        ("SDP_IP", &["0.0.0.0", "x"], "IPv4 or IPv6"),
        (
            "EXTERNAL_IP",
            &["0.0.0.0", "auto", "203.0.113.10/24"],
            "IPv4 or IPv6",
        ),
        ("SIP_PORT_START", &["0", "65536", "sip", "5081"], ""),
        ("SIP_PORT_END", &["0", "65536", "sip", "5059"], ""),
        ("RTP_PORT_MIN", &["0", "65536", "rtp", "65535"], ""),
        ("RTP_PORT_MAX", &["0", "65536", "rtp", "9999", "10000"], ""),
        (
            "WORKER_LABELS",
            &["a", "a=", "=b", "a=b,", "a=b,a=c", "a=ü", &many],
            "key=value",
        ),
        (
            "DRAIN_TIMEOUT",
            &[
                "20",
                "m",
                "-5m",
                "1d",
                "1.5h",
                "169h",
                "5m ",
                "99999999999999999999s",
            ],
            "20m",
        ),
    ];
    for (name, values, form) in table {
        for value in *values {
            let error = Config::from_vars(&vars(&[(name, value)])).unwrap_err();
            assert_eq!(&error.variable, name, "{value:?}: {error}");
            let text = error.to_string();
            assert!(
                text.starts_with(name) && text.contains("accepted: "),
                "{text}"
            );
            assert!(text.contains(form), "{name}={value:?}: {text}");
            assert!(
                value.len() < 6 || !text.contains(value),
                "value shown: {text}"
            );
        }
    }
    for name in ["WORKER_TOKEN", "CLOUD_URL"] {
        let mut missing = vars(&[]);
        missing.remove(name);
        let error = Config::from_vars(&missing).unwrap_err();
        assert_eq!(
            (error.variable, error.problem.as_str()),
            (name, "is required and not set")
        );
    }
}

/// R5: an empty optional variable is an unset one.
#[test]
fn empty_optional_variables_are_unset() {
    let names = [
        "WORKER_NAME",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "HEALTH_PORT",
        "SIP_IP",
        "MEDIA_IP",
        "SDP_IP",
        "EXTERNAL_IP",
        "SIP_PORT_START",
        "SIP_PORT_END",
        "RTP_PORT_MIN",
        "RTP_PORT_MAX",
        "CLOUD_CA_FILE",
        "POD_NAMESPACE",
        "POD_NAME",
        "POD_UID",
        "NODE_NAME",
        "WORKER_LABELS",
        "DRAIN_TIMEOUT",
    ];
    let empty: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    assert_eq!(format!("{:?}", read(&empty)), format!("{:?}", read(&[])));
}

#[test]
fn values_are_taken_as_given() {
    let config = read(&[
        ("CLOUD_URL", "[2001:db8::1]:8443"),
        ("CLOUD_CA_FILE", "/ca.pem"),
        ("WORKER_NAME", "dc-frankfurt-01"),
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", "pretty"),
        ("HEALTH_PORT", "8080"),
        ("SIP_PORT_START", "5081"),
        ("SIP_PORT_END", "5101"),
        ("RTP_PORT_MIN", "10001"),
        ("RTP_PORT_MAX", "10101"),
        ("POD_NAMESPACE", "demo"),
        ("POD_NAME", "fra-0"),
        ("POD_UID", "u-1"),
        ("NODE_NAME", "node-1"),
        ("WORKER_LABELS", "callmeter.io/pool=demo/fra,zone=a"),
        ("DRAIN_TIMEOUT", "1h30m5s"),
    ]);
    assert_eq!(config.gateway.authority(), "[2001:db8::1]:8443");
    assert_eq!(config.name.as_deref(), Some("dc-frankfurt-01"));
    assert_eq!(config.log_level, tracing::Level::TRACE);
    assert_eq!(config.log_format, LogFormat::Pretty);
    assert_eq!(config.health_port, 8080);
    // R19
    assert_eq!(
        config.sip_ports,
        PortRange {
            first: 5081,
            last: 5101
        }
    );
    // R27: 10001 is odd, so the pairs are 10002/10003 to 10100/10101.
    assert_eq!(config.endpoints_by_ports(), 50);
    assert_eq!(config.pod.node, "node-1");
    assert_eq!(config.labels["callmeter.io/pool"], "demo/fra");
    assert_eq!(config.drain_timeout, Duration::from_secs(5405));
    assert_eq!(
        read(&[("CLOUD_URL", "gateway")]).gateway.authority(),
        "gateway:443"
    );
    assert_eq!(
        read(&[("CLOUD_URL", "10.1.2.3:9")]).gateway.authority(),
        "10.1.2.3:9"
    );
    assert_eq!(
        read(&[("CLOUD_URL", "[::1]")]).gateway.authority(),
        "[::1]:443"
    );
}

#[test]
fn contradictions_between_variables_are_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("SIP_PORT_START", "6000"), ("SIP_PORT_END", "5999")],
            "SIP_PORT_END contradicts SIP_PORT_START",
        ),
        (
            &[("RTP_PORT_MIN", "30000"), ("RTP_PORT_MAX", "20000")],
            "RTP_PORT_MAX contradicts RTP_PORT_MIN",
        ),
        (
            &[("SIP_PORT_START", "5090")],
            "SIP_PORT_START contradicts SIP_PORT_END",
        ),
        (
            &[("RTP_PORT_MIN", "10001"), ("RTP_PORT_MAX", "10002")],
            "leave no room",
        ),
        (
            &[
                ("SIP_PORT_START", "10000"),
                ("SIP_PORT_END", "10010"),
                ("RTP_PORT_MIN", "10010"),
            ],
            "RTP_PORT_MIN to RTP_PORT_MAX overlaps",
        ),
    ];
    for (extra, wanted) in cases {
        let error = Config::from_vars(&vars(extra)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    // The default RTP range is no choice of anyone and contradicts nothing.
    read(&[("SIP_PORT_START", "15060"), ("SIP_PORT_END", "15080")]);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// R13, R14, R15, R16
#[test]
fn addresses_fall_back_in_all_eight_combinations() {
    let detected = ip("192.0.2.9");
    let (s, m, d) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"));
    for bits in 0..8 {
        let given = GivenAddresses {
            sip: (bits & 1 != 0).then_some(s),
            media: (bits & 2 != 0).then_some(m),
            sdp: (bits & 4 != 0).then_some(d),
            external: None,
        };
        let sip = if bits & 1 != 0 { s } else { detected };
        let media = if bits & 2 != 0 { m } else { sip };
        let sdp = if bits & 4 != 0 { d } else { media };
        let resolved = Addresses::resolve(given, detected).unwrap();
        assert_eq!(
            resolved,
            Addresses {
                sip,
                media,
                sdp,
                external: sip
            },
            "{bits:03b}"
        );
    }
}

/// R31, R32, R33, R34
#[test]
fn the_documented_nat_case_binds_one_address_and_shows_another() {
    let config = read(&[
        ("SIP_IP", "10.0.1.50"),
        ("SDP_IP", "203.0.113.10"),
        ("EXTERNAL_IP", "203.0.113.10"),
    ]);
    let addresses = Addresses::resolve(config.addresses, ip("127.0.0.1")).unwrap();
    assert_eq!(addresses.sip, ip("10.0.1.50"));
    assert_eq!(addresses.media, ip("10.0.1.50"));
    assert_eq!(addresses.sdp, ip("203.0.113.10"));
    assert_eq!(addresses.external, ip("203.0.113.10"));
}

#[test]
fn addresses_of_two_ip_versions_contradict_each_other() {
    let sdp = GivenAddresses {
        sdp: Some(ip("2001:db8::1")),
        ..Default::default()
    };
    let error = Addresses::resolve(sdp, ip("10.0.0.1")).unwrap_err();
    assert_eq!(error.variable, "SDP_IP");
    let external = GivenAddresses {
        external: Some(ip("2001:db8::1")),
        ..Default::default()
    };
    let error = Addresses::resolve(external, ip("10.0.0.1")).unwrap_err();
    assert_eq!(error.variable, "EXTERNAL_IP");
}

/// R13
#[test]
fn the_outbound_address_is_found_without_a_packet() {
    let gateway = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    gateway.set_nonblocking(true).unwrap();
    let found = detect_outbound(&[gateway.local_addr().unwrap()]).unwrap();
    assert_eq!(found, ip("127.0.0.1"));
    let mut buffer = [0; 1];
    assert!(gateway.recv(&mut buffer).is_err(), "a packet was sent");
}

/// R7
#[test]
fn debug_of_the_configuration_hides_the_token() {
    assert!(!format!("{:?}", read(&[])).contains("a1b2c3d4"));
}
