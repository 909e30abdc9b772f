mod table;

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

/// The default RTP range is no choice of anyone and contradicts nothing.
#[test]
fn custom_sip_ports_may_lie_in_the_default_rtp_range() {
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
