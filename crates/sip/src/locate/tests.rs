use super::*;

fn uri_host(host: &str) -> Host {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let uri: crate::message::Uri = format!("sip:{host}").parse().unwrap();
    uri.host().clone()
}

fn target(host: &str) -> Target {
    Target {
        host: uri_host(host),
        port: None,
        transport: None,
        secure: false,
    }
}

fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Naptr {
    Naptr {
        order,
        preference,
        flags: "s".into(),
        services: services.into(),
        replacement: replacement.into(),
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv {
        priority,
        weight,
        port,
        target: target.into(),
    }
}

/// A zone: NAPTR and SRV records and addresses by name.
#[derive(Default)]
struct Zone {
    naptr: Vec<(&'static str, Naptr)>,
    srv: Vec<(&'static str, Srv)>,
    addresses: Vec<(&'static str, &'static str)>,
}

fn of<T: Clone>(records: &[(&'static str, T)], name: &str) -> Vec<T> {
    let own = records.iter().filter(|(owner, _)| *owner == name);
    own.map(|(_, record)| record.clone()).collect()
}

impl Zone {
    /// What is found, and what was asked for on the way.
    fn locate(&self, target: &Target) -> (Result<Found, String>, Vec<String>) {
        self.locate_by(target, &Transport::ALL, 1)
    }

    fn locate_by(
        &self,
        target: &Target,
        spoken: &[Transport],
        random: u64,
    ) -> (Result<Found, String>, Vec<String>) {
        let mut locate = Locate::new(target, spoken, random);
        let mut asked = Vec::new();
        while let Some(question) = locate.question() {
            let (name, answer) = match question {
                Question::Naptr(name) => {
                    let records = of(&self.naptr, &name);
                    (name, Answer::Naptr(records))
                }
                Question::Srv { name, .. } => {
                    let records = of(&self.srv, &name);
                    (name, Answer::Srv(records))
                }
                Question::Addresses { name, .. } => {
                    let found = of(&self.addresses, &name);
                    let ips = found.iter().map(|ip| ip.parse().unwrap()).collect();
                    (name, Answer::Addresses(ips))
                }
            };
            asked.push(name);
            assert!(asked.len() < 1000, "no end: {asked:?}");
            locate.answer(answer);
        }
        let found = locate.found().unwrap().clone();
        (found.map_err(|error| error.to_string()), asked)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what was found")]
fn found(transport: Transport, servers: &[&str]) -> Result<Found, String> {
    Ok(Found {
        transport,
        servers: servers
            .iter()
            .map(|server| server.parse().unwrap())
            .collect(),
    })
}

/// The example of RFC 3263 §4.1: TLS is preferred, then TCP, then UDP.
fn example() -> Zone {
    Zone {
        naptr: vec![
            (
                "example.com",
                naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
            ),
            (
                "example.com",
                naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
            ),
            (
                "example.com",
                naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
            ),
        ],
        srv: vec![
            (
                "_sips._tcp.example.com",
                srv(0, 1, 5071, "server1.example.com"),
            ),
            (
                "_sip._tcp.example.com",
                srv(0, 1, 5060, "server1.example.com"),
            ),
            (
                "_sip._tcp.example.com",
                srv(1, 2, 5062, "server2.example.com"),
            ),
        ],
        addresses: vec![
            ("server1.example.com", "192.0.2.1"),
            ("server2.example.com", "192.0.2.2"),
            ("server2.example.com", "2001:db8::2"),
            ("example.com", "192.0.2.80"),
        ],
    }
}

#[test]
fn the_service_a_domain_prefers_is_taken() {
    let zone = example();
    let (result, asked) = zone.locate(&target("example.com"));
    assert_eq!(result, found(Transport::Tls, &["192.0.2.1:5071"]));
    let wanted = [
        "example.com",
        "_sips._tcp.example.com",
        "server1.example.com",
    ];
    assert_eq!(asked, wanted);

    // Who does not speak TLS takes the next one, all its servers in order.
    let plain = [Transport::Udp, Transport::Tcp];
    let (result, _) = zone.locate_by(&target("example.com"), &plain, 1);
    let servers = ["192.0.2.1:5060", "192.0.2.2:5062", "[2001:db8::2]:5062"];
    assert_eq!(result, found(Transport::Tcp, &servers));
}

#[test]
fn a_service_without_servers_gives_way_to_the_next() {
    let mut zone = example();
    zone.srv
        .retain(|(name, _)| *name != "_sips._tcp.example.com");
    let (result, _) = zone.locate(&target("example.com"));
    assert_eq!(result.unwrap().transport, Transport::Tcp);
    // "." says that there is no such service (RFC 2782).
    zone.srv
        .retain(|(_, record)| record.port != 5060 && record.port != 5062);
    zone.srv.push(("_sip._tcp.example.com", srv(0, 0, 0, ".")));
    let (result, _) = zone.locate(&target("example.com"));
    // What is left is the domain's own address by the transport every server has.
    assert_eq!(result, found(Transport::Udp, &["192.0.2.80:5060"]));
}

/// RFC 3263 §4.1: a domain says by what it can be reached. Nothing goes to its own address by
/// anything else, in the clear least of all.
#[test]
fn the_address_of_the_domain_is_called_by_a_service_it_names() {
    const TLS: &str = "SIPS+D2T";
    let located = |services: &[&str], host: Option<&'static str>| {
        let record = |(n, service): (usize, &&str)| {
            let name = format!("_{n}.example.com");
            ("example.com", naptr(n as u16, 0, service, &name))
        };
        let servers = host.map(|host| ("_0.example.com", srv(0, 0, 5071, host)));
        let zone = Zone {
            naptr: services.iter().enumerate().map(record).collect(),
            srv: servers.into_iter().collect(),
            addresses: vec![("example.com", "192.0.2.80")],
        };
        zone.locate(&target("example.com")).0
    };
    let by = |transport, port: u16| found(transport, &[format!("192.0.2.80:{port}").as_str()]);
    // Without SRV records, with one that denies the service, with a host without an address.
    for host in [None, Some("."), Some("nowhere.example.com")] {
        assert_eq!(located(&[TLS], host), by(Transport::Tls, 5061), "{host:?}");
    }
    for (services, transport, port) in [
        (&["SIP+D2T"][..], Transport::Tcp, 5060),
        (&[TLS, "SIP+D2T"], Transport::Tls, 5061),
        (&[TLS, "SIP+D2T", "SIP+D2U"], Transport::Udp, 5060),
        (&["SIPS+D2W"], Transport::Wss, 443),
        // The control: one that names nothing.
        (&[], Transport::Udp, 5060),
    ] {
        assert_eq!(located(services, None), by(transport, port), "{services:?}");
    }
}

#[test]
fn without_naptr_records_the_usual_services_are_asked_for() {
    let mut zone = example();
    zone.naptr.clear();
    let (result, asked) = zone.locate(&target("example.com"));
    assert_eq!(result.unwrap().transport, Transport::Tcp);
    let wanted = [
        "example.com",
        "_sip._udp.example.com",
        "_sip._tcp.example.com",
    ];
    assert_eq!(asked[..3], wanted);
    // A sips URI takes TLS or nothing.
    let secure = Target {
        secure: true,
        ..target("example.com")
    };
    let (result, asked) = zone.locate(&secure);
    assert_eq!(result, found(Transport::Tls, &["192.0.2.1:5071"]));
    assert_eq!(asked[1], "_sips._tcp.example.com");
}

/// RFC 3263 §4.2: a port or an address leaves nothing to choose.
#[test]
fn what_is_named_is_not_looked_up() {
    let zone = example();
    let with_port = Target {
        port: Some(5090),
        ..target("example.com")
    };
    let (result, asked) = zone.locate(&with_port);
    assert_eq!(result, found(Transport::Udp, &["192.0.2.80:5090"]));
    assert_eq!(asked, ["example.com"]);

    for (host, secure, wanted) in [
        (
            "192.0.2.9",
            false,
            found(Transport::Udp, &["192.0.2.9:5060"]),
        ),
        (
            "192.0.2.9",
            true,
            found(Transport::Tls, &["192.0.2.9:5061"]),
        ),
        (
            "2001:db8::9",
            false,
            found(Transport::Udp, &["[2001:db8::9]:5060"]),
        ),
    ] {
        let by_address = Target {
            secure,
            ..target(host)
        };
        let (result, asked) = zone.locate(&by_address);
        assert_eq!((result, asked.len()), (wanted, 0));
    }

    // A transport parameter goes straight to its SRV records, else to the address.
    for (transport, wanted) in [
        (Transport::Tls, found(Transport::Tls, &["192.0.2.1:5071"])),
        (Transport::Ws, found(Transport::Ws, &["192.0.2.80:80"])),
        (Transport::Wss, found(Transport::Wss, &["192.0.2.80:443"])),
    ] {
        let by_transport = Target {
            transport: Some(transport),
            ..target("example.com")
        };
        assert_eq!(zone.locate(&by_transport).0, wanted);
    }
    let unspoken = Target {
        transport: Some(Transport::Tls),
        ..target("example.com")
    };
    let (result, _) = zone.locate_by(&unspoken, &[Transport::Udp], 1);
    let wanted = "example.com: transport TLS is not among those that are spoken";
    assert_eq!(result, Err(wanted.to_owned()));
}

/// A service that has a server goes without those that are not known; for one that may have some no
/// other one is taken, lest TLS be given up for a lost datagram.
#[test]
fn no_answer_is_not_a_no() {
    let secure = naptr(1, 0, "SIPS+D2T", "_sips._tcp.pbx");
    let clear = naptr(2, 0, "SIP+D2U", "_sip._udp.pbx");
    let service = [
        Answer::Naptr(vec![secure, clear]),
        Answer::Srv(vec![srv(1, 0, 5061, "one.pbx"), srv(2, 0, 5061, "two.pbx")]),
    ];
    let ip = |text: &str| Some(Answer::Addresses(vec![text.parse().unwrap()]));
    let none = || Some(Answer::Addresses(Vec::new()));
    let result = |answers: Vec<Option<Answer>>, over: bool| {
        let mut locate = Locate::new(&target("pbx"), &Transport::ALL, 1);
        for answer in answers {
            assert!(locate.found().is_none());
            match answer {
                Some(answer) => locate.answer(answer),
                None => locate.pass_over(),
            }
        }
        if over {
            locate.give_up();
        }
        locate
            .found()
            .cloned()
            .map(|found| found.map_err(|error| error.to_string()))
    };
    let after = |hosts: [Option<Answer>; 2]| {
        let answers = service.clone().map(Some).into_iter().chain(hosts);
        result(answers.collect(), false)
    };
    let one = || Some(found(Transport::Tls, &["192.0.2.1:5061"]));
    assert_eq!(after([None, ip("192.0.2.1")]), one());
    assert_eq!(after([ip("192.0.2.1"), None]), one());
    let no = "pbx: no address found (asked for one.pbx, two.pbx)";
    for hosts in [[None, None], [None, none()], [none(), None]] {
        assert_eq!(after(hosts), Some(Err(no.to_owned())));
    }
    // All said that they have none: the next service.
    assert_eq!(after([none(), none()]), None);
    // Records that were not answered for, and those of the domain itself.
    let naptr = || Some(service[0].clone());
    let no = || Some(Err("pbx: no address found".to_owned()));
    assert_eq!(result(vec![None], false), no());
    assert_eq!(result(vec![naptr(), None], false), no());
    let nothing = || Some(Answer::Srv(Vec::new()));
    let domain = vec![
        Some(Answer::Naptr(Vec::new())),
        nothing(),
        nothing(),
        nothing(),
        None,
    ];
    let services = "pbx: no address found (asked for _sip._udp.pbx, _sip._tcp.pbx, _sips._tcp.pbx)";
    assert_eq!(result(domain, false), Some(Err(services.to_owned())));
    // At the end of its time.
    let begun = vec![naptr(), Some(service[1].clone()), ip("192.0.2.1")];
    assert_eq!(result(begun, true), one());
    assert_eq!(result(vec![naptr()], true), no());
}

/// Whether there are such records is known from those that name them.
#[test]
fn services_that_the_domain_names_are_told_apart() {
    for (records, wanted) in [
        (vec![naptr(1, 0, "SIP+D2U", "_sip._udp.pbx")], true),
        (Vec::new(), false),
    ] {
        let mut locate = Locate::new(&target("pbx"), &Transport::ALL, 1);
        locate.answer(Answer::Naptr(records));
        let name = "_sip._udp.pbx".to_owned();
        let named = wanted;
        assert_eq!(locate.question(), Some(Question::Srv { name, named }));
    }
}

/// A search list may complete the name that somebody wrote, not that of a record (RFC 2782).
#[test]
fn names_of_records_are_whole() {
    let asked = |answers: &[Answer]| {
        let mut locate = Locate::new(&target("pbx"), &[Transport::Udp], 1);
        for answer in answers {
            locate.answer(answer.clone());
        }
        locate.question()
    };
    let (naptr, srv) = (Answer::Naptr(Vec::new()), srv(0, 0, 5060, "pbx"));
    let addresses = |whole| {
        let name = "pbx".to_owned();
        Some(Question::Addresses { name, whole })
    };
    let of_record = asked(&[naptr.clone(), Answer::Srv(vec![srv])]);
    assert_eq!(of_record, addresses(true));
    let as_written = asked(&[naptr, Answer::Srv(Vec::new())]);
    assert_eq!(as_written, addresses(false));
    let with_port = Target {
        port: Some(5070),
        ..target("pbx")
    };
    let with_port = Locate::new(&with_port, &[Transport::Udp], 1).question();
    assert_eq!(with_port, addresses(false));
}

/// The name of the domain is that of its server, too, and has no address of use: that is the end of
/// this service, not of the search.
#[test]
fn a_service_at_the_domain_itself_gives_way_to_the_next() {
    let zone = Zone {
        srv: vec![
            ("_sip._udp.example.com", srv(0, 0, 5060, "example.com")),
            ("_sip._tcp.example.com", srv(0, 0, 5060, "sip.example.com")),
        ],
        addresses: vec![("sip.example.com", "192.0.2.5")],
        ..Zone::default()
    };
    let (result, _) = zone.locate(&target("example.com"));
    assert_eq!(result, found(Transport::Tcp, &["192.0.2.5:5060"]));
}

/// RFC 7118 §6.
#[test]
fn web_socket_is_found_by_its_own_services() {
    let zone = Zone {
        naptr: vec![
            ("w.example", naptr(1, 1, "SIPS+D2W", "_sips._ws.w.example")),
            ("w.example", naptr(2, 1, "sip+d2w", "_sip._ws.w.example")),
        ],
        srv: vec![("_sip._ws.w.example", srv(0, 0, 8080, "ws.w.example"))],
        addresses: vec![("ws.w.example", "192.0.2.3")],
    };
    let (result, _) = zone.locate(&target("w.example"));
    assert_eq!(result, found(Transport::Ws, &["192.0.2.3:8080"]));
}

#[test]
fn records_that_lead_nowhere_are_passed_over() {
    let wrong = |flags: &str, services: &str, replacement: &str| Naptr {
        flags: flags.into(),
        ..naptr(1, 1, services, replacement)
    };
    let zone = Zone {
        naptr: vec![
            ("odd.example", wrong("u", "SIP+D2U", "")),
            ("odd.example", wrong("s", "SIP+D2U", "")),
            ("odd.example", wrong("a", "SIP+D2T", "host.odd.example")),
            ("odd.example", wrong("s", "E2U+sip", "_x.odd.example")),
            (
                "odd.example",
                wrong("s", "SIP+D2S", "_sip._sctp.odd.example"),
            ),
            (
                "odd.example",
                wrong("S", "sip+d2t", "_sip._tcp.odd.example"),
            ),
        ],
        srv: vec![("_sip._tcp.odd.example", srv(0, 0, 5060, "host.odd.example"))],
        addresses: vec![("host.odd.example", "192.0.2.4")],
    };
    let (result, asked) = zone.locate(&target("odd.example"));
    assert_eq!(result, found(Transport::Tcp, &["192.0.2.4:5060"]));
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[test]
fn nothing_found_says_what_was_asked_for() {
    let (result, _) = Zone::default().locate(&target("nowhere.example"));
    let wanted = "nowhere.example: no address found (asked for _sip._udp.nowhere.example, \
                  _sip._tcp.nowhere.example, _sips._tcp.nowhere.example)";
    assert_eq!(result, Err(wanted.to_owned()));
}

/// RFC 2782: by priority, then in proportion to the weights.
#[test]
fn servers_of_one_priority_share_by_weight() {
    let zone = Zone {
        srv: vec![
            ("_sip._udp.big.example", srv(2, 0, 5060, "c.big.example")),
            ("_sip._udp.big.example", srv(1, 75, 5060, "a.big.example")),
            ("_sip._udp.big.example", srv(1, 25, 5060, "b.big.example")),
        ],
        addresses: vec![
            ("a.big.example", "192.0.2.1"),
            ("b.big.example", "192.0.2.2"),
            ("c.big.example", "192.0.2.3"),
        ],
        ..Zone::default()
    };
    let mut first_a = 0;
    for random in 0..1000 {
        let (result, _) = zone.locate_by(&target("big.example"), &Transport::ALL, random);
        let servers = result.unwrap().servers;
        assert_eq!(servers.len(), 3);
        assert_eq!(servers[2], "192.0.2.3:5060".parse().unwrap());
        first_a += u32::from(servers[0] == "192.0.2.1:5060".parse().unwrap());
    }
    // 750 are to be expected, 14 the standard deviation.
    assert!((690..=810).contains(&first_a), "{first_a} of 1000");
}

/// A hostile zone costs a bounded number of questions.
#[test]
fn a_zone_without_end_is_left() {
    let mut zone = Zone::default();
    for n in 0..500u16 {
        zone.naptr
            .push(("h.example", naptr(n, 0, "SIP+D2U", "_s.h.example")));
        zone.srv.push(("_s.h.example", srv(n, 0, n, "t.h.example")));
        zone.addresses.push(("t.h.example", "192.0.2.1"));
    }
    let (result, asked) = zone.locate(&target("h.example"));
    assert_eq!(result.unwrap().servers.len(), MOST_RECORDS);
    assert_eq!(asked.len(), 2 + MOST_RECORDS);
    zone.addresses.clear();
    let (result, asked) = zone.locate(&target("h.example"));
    assert!(result.is_err());
    assert_eq!(asked.len(), 1 + MOST_SERVICES * (1 + MOST_RECORDS) + 1);
}

/// As many as are followed, and one more: that one is left out.
#[test]
fn the_last_ones_followed() {
    let most = |count: usize| -> Vec<u16> { (0..count as u16).collect() };
    for more in 0..2 {
        let mut zone = Zone::default();
        for n in most(MOST_SERVICES + more) {
            zone.naptr
                .push(("h.example", naptr(n, 0, "SIP+D2U", "_s.h.example")));
        }
        let (result, asked) = zone.locate(&target("h.example"));
        assert!(result.is_err());
        assert_eq!(asked.len(), 1 + MOST_SERVICES + 1);

        let mut zone = Zone::default();
        for n in most(MOST_RECORDS + more) {
            zone.srv
                .push(("_sip._udp.h.example", srv(n, 0, 1 + n, "t.h.example")));
        }
        zone.addresses.push(("t.h.example", "192.0.2.1"));
        let servers = zone.locate(&target("h.example")).0.unwrap().servers;
        let ports: Vec<_> = servers.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, (1..=MOST_RECORDS as u16).collect::<Vec<_>>());

        let mut zone = Zone::default();
        for n in most(MOST_SERVERS + more) {
            let address: &str = format!("192.0.2.{n}").leak();
            zone.addresses.push(("h.example", address));
        }
        let servers = zone.locate(&target("h.example")).0.unwrap().servers;
        let last = format!("192.0.2.{}:5060", MOST_SERVERS - 1);
        assert_eq!(servers.len(), MOST_SERVERS);
        assert_eq!(servers.last(), Some(&last.parse().unwrap()));
    }
}

/// The caller mixes answers up: nothing is found, nothing hangs.
#[test]
fn an_answer_to_something_else_is_an_empty_one() {
    let mut locate = Locate::new(&target("example.com"), &Transport::ALL, 1);
    for _ in 0..10 {
        locate.answer(Answer::Naptr(Vec::new()));
    }
    assert!(locate.found().unwrap().is_err());
}
