//! Registrations as a registrar answers them (RFC 3261 §10), message by message.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Duration;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndpointConfig, EndpointKey, Failure, RegistrationFailed, UaEvent};

use pair::account::{SERVER, account, register, registered};
use pair::peer::US;
use pair::{Net, header, kind, millis, nothing, reply};

const KEY: EndpointKey = EndpointKey(1);
const OTHER: &str = "192.0.2.77:5060";

fn net(config: EndpointConfig) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, nothing);
    net.endpoint(0, 1, config);
    net
}

fn following() -> EndpointConfig {
    EndpointConfig {
        follow_redirects: true,
        ..account("a")
    }
}

fn failures(net: &Net) -> Vec<RegistrationFailed> {
    let events = net.agents[0].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::RegistrationFailed(failed) => Some(failed.clone()),
            _ => None,
        })
        .collect()
}

fn codes(net: &Net) -> Vec<Option<u16>> {
    let failures = failures(net).into_iter();
    failures
        .map(|failed| match failed.failure {
            Failure::Status { code, .. } => Some(code),
            Failure::Timeout | Failure::FlowFailed(_) | Failure::NotBound => None,
        })
        .collect()
}

/// The next request at a raw address.
fn request(net: &mut Net, at: &str) -> Message {
    net.run_for(millis(20));
    net.take_raw(at).pop().unwrap()
}

/// Answers the next request at a raw address, and returns it.
fn answer(net: &mut Net, at: &str, status: &str, lines: &str) -> Message {
    let request = request(net, at);
    net.send_raw(at, US, &reply(&request, status, "r", lines, ""));
    net.run_for(millis(20));
    request
}

/// RFC 3261 §10.2.4, §10.3: the lifetime is that of our Contact among all of the 2xx.
#[test]
fn the_lifetime_granted() {
    let ours = "<sip:a@192.0.2.1:5060>";
    let rows = [
        (
            format!("Contact: <sip:z@192.0.2.7>;expires=9, {ours};expires=61\r\n"),
            Some(61),
        ),
        (
            format!("Contact: <sip:z@192.0.2.7>\r\nContact: {ours};q=0.5\r\nExpires: 70\r\n"),
            Some(70),
        ),
        (
            format!("m: {ours};expires=nonsense\r\nExpires: 71\r\n"),
            Some(71),
        ),
        (
            format!("Contact: {ours};expires=4294967295\r\n"),
            Some(4_294_967_295),
        ),
        (format!("Contact: {ours};expires=4294967296\r\n"), Some(120)),
        (
            format!("Contact: {ours}\r\nExpires: 18446744073709551615\r\n"),
            Some(120),
        ),
        (String::new(), Some(120)),
        ("Contact: <sip:z@192.0.2.7>;expires=9\r\n".to_owned(), None),
        (format!("Contact: {ours};expires=0\r\n"), None),
    ];
    for (lines, granted) in rows {
        let mut net = net(account("a"));
        register(&mut net, 0, 120);
        answer(&mut net, SERVER, "200 OK", &lines);
        let got: Vec<_> = registered(&net, 0).iter().map(|it| it.granted).collect();
        assert_eq!(
            got,
            Vec::from_iter(granted.map(Duration::from_secs)),
            "{lines}"
        );
        let failed = failures(&net);
        assert_eq!(failed.len(), usize::from(granted.is_none()));
        assert!(failed.iter().all(|it| it.failure == Failure::NotBound));
    }
}

/// RFC 3261 §10.2.8: once, if it asks for more and not for ever.
#[test]
fn a_longer_lifetime_is_asked_for_once() {
    for (first, second, asked, code) in [
        ("Min-Expires: 90\r\n", "200 OK", vec!["30", "90"], None),
        ("Min-Expires: 90\r\n", "423 No", vec!["30", "90"], Some(423)),
        ("Min-Expires: 30\r\n", "", vec!["30"], Some(423)),
        (
            "Min-Expires: 86400\r\n",
            "200 OK",
            vec!["30", "86400"],
            None,
        ),
        ("Min-Expires: 86401\r\n", "", vec!["30"], Some(423)),
        ("", "", vec!["30"], Some(423)),
    ] {
        let mut net = net(account("a"));
        register(&mut net, 0, 30);
        let mut seen = vec![answer(&mut net, SERVER, "423 Interval Too Brief", first)];
        if !second.is_empty() {
            let lines = "Min-Expires: 100\r\n";
            seen.push(answer(&mut net, SERVER, second, lines));
        }
        assert!(net.take_raw(SERVER).is_empty());
        let got: Vec<_> = seen
            .iter()
            .map(|message| header(message, HeaderName::Expires))
            .collect();
        assert_eq!(
            (got, codes(&net)),
            (
                asked.iter().map(ToString::to_string).collect(),
                Vec::from_iter(code.map(Some))
            )
        );
        let counters = net.agents[0].ua.counters();
        assert_eq!(counters.reg_attempts, 1);
        assert_eq!(counters.reg_success, u64::from(code.is_none()));
    }
}

/// RFC 3608: what starts something goes by the Service-Route of the last 2xx, behind the
/// configured proxy, as long as the registration stands.
#[test]
fn the_service_route_is_kept_and_used() {
    let proxy = format!("sip:{SERVER};lr");
    let mut net = net(EndpointConfig {
        route: vec![proxy.parse().unwrap()],
        ..account("a")
    });
    let routes = |message: &Message| -> Vec<String> {
        let values = message.values(HeaderName::Route);
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    let own = format!("<{proxy}>");
    register(&mut net, 0, 60);
    let lines = "Service-Route: <sip:192.0.2.5;lr>, <sip:h1@example.org;lr>\r\n\
        Service-Route: <sip:h2@example.org;lr>\r\n";
    let lines = format!("Path: <sip:192.0.2.4;lr>\r\n{lines}");
    let first = answer(&mut net, SERVER, "200 OK", &lines);
    assert_eq!(routes(&first), [own.as_str()]);
    assert_eq!(header(&first, HeaderName::Supported), "path");
    net.call("sip:b@example.org");
    let invite = answer(&mut net, SERVER, "486 Busy Here", "");
    let whole = [
        own.as_str(),
        "<sip:192.0.2.5;lr>",
        "<sip:h1@example.org;lr>",
        "<sip:h2@example.org;lr>",
    ];
    assert_eq!(
        (kind(&invite), routes(&invite)),
        ("INVITE".to_owned(), whole.map(str::to_owned).to_vec())
    );
    assert_eq!(
        routes(&request(&mut net, SERVER)),
        routes(&invite),
        "the ACK"
    );
    let target = "sip:example.org".parse().unwrap();
    net.with(0, |ua, now| ua.options(now, KEY, &target))
        .unwrap();
    assert_eq!(
        routes(&answer(&mut net, SERVER, "200 OK", "")),
        routes(&invite)
    );
    // The refresh replaces it; the proxy is not named twice.
    net.run_for(millis(31_000));
    let lines = format!("Service-Route: {own}\r\nService-Route: <sip:192.0.2.6;lr>\r\n");
    let refresh = answer(&mut net, SERVER, "200 OK", &lines);
    assert_eq!(
        (kind(&refresh), routes(&refresh)),
        ("REGISTER".to_owned(), vec![own.clone()])
    );
    net.call("sip:b@example.org");
    let invite = answer(&mut net, SERVER, "486 Busy Here", "");
    assert_eq!(routes(&invite), [own.as_str(), "<sip:192.0.2.6;lr>"]);
    net.take_raw(SERVER);
    net.with(0, |ua, now| ua.unregister(now, KEY)).unwrap();
    answer(&mut net, SERVER, "200 OK", "");
    net.call("sip:b@example.org");
    assert_eq!(routes(&request(&mut net, SERVER)), [own.as_str()]);
}

/// Of a Service-Route that is longer, eight are kept.
#[test]
fn eight_of_a_service_route_are_kept() {
    for count in [8, 9] {
        let mut net = net(account("a"));
        register(&mut net, 0, 60);
        let lines: Vec<_> = (1..=count)
            .map(|n| format!("Service-Route: <sip:h{n}@example.org;lr>\r\n"))
            .collect();
        let lines = lines.concat();
        answer(&mut net, SERVER, "200 OK", &lines);
        net.call("sip:b@example.org");
        let invite = request(&mut net, SERVER);
        let routes: Vec<_> = invite.values(HeaderName::Route).collect();
        let last = format!("<sip:h{}@example.org;lr>", routes.len());
        assert_eq!(routes.len(), 8, "{count}");
        assert_eq!(routes.last(), Some(&last.as_bytes()));
    }
}

/// A redirection is a refusal, unless the endpoint follows; then digests stay with the next hop.
#[test]
fn a_redirected_registration() {
    let moved = format!("Contact: <sip:{OTHER}>\r\n");
    let mut refused = net(account("a"));
    register(&mut refused, 0, 60);
    answer(&mut refused, SERVER, "302 Moved Temporarily", &moved);
    assert_eq!(codes(&refused), [Some(302)]);
    assert!(refused.take_raw(OTHER).is_empty());

    let mut net = net(following());
    register(&mut net, 0, 60);
    let first = answer(&mut net, SERVER, "302 Moved Temporarily", &moved);
    let second = answer(&mut net, OTHER, "200 OK", "");
    assert_eq!(
        second.request_uri().unwrap().to_string(),
        format!("sip:{OTHER}")
    );
    assert_eq!(
        header(&first, HeaderName::CallId),
        header(&second, HeaderName::CallId)
    );
    assert_eq!(registered(&net, 0).len(), 1);
    // The refresh begins where the endpoint is configured to, and may be sent elsewhere.
    net.run_for(millis(31_000));
    answer(&mut net, SERVER, "301 Moved Permanently", &moved);
    let challenge = "WWW-Authenticate: Digest realm=\"example.org\", nonce=\"1\"\r\n";
    answer(&mut net, OTHER, "401 Unauthorized", challenge);
    assert!(net.take_raw(OTHER).is_empty());
    assert_eq!(codes(&net), [Some(401)]);
    assert!(failures(&net)[0].refresh);
}

/// What goes back repeats most of the challenge; where that would be longer than a header field may
/// be, nothing goes back, and the registration or call ends as refused at once (found by fuzzing).
#[test]
fn a_challenge_too_long_to_be_answered() {
    const WHY: &str = "Unauthorized (the challenge is too long to be answered in a header field)";
    for (length, answered) in [(10, true), (7900, true), (8100, false)] {
        let nonce = "n".repeat(length);
        let line = format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\"\r\n");

        let mut net = net(account("a"));
        register(&mut net, 0, 120);
        answer(&mut net, SERVER, "401 Unauthorized", &line);
        if answered {
            assert!(failures(&net).is_empty(), "{length}");
            let second = answer(&mut net, SERVER, "401 Unauthorized", &line);
            assert!(second.value(HeaderName::Authorization).is_some());
        } else {
            assert!(net.take_raw(SERVER).is_empty(), "nothing goes again");
        }
        let reason = if answered { "Unauthorized" } else { WHY };
        let refused = Failure::Status {
            code: 401,
            reason: reason.to_owned(),
        };
        assert_eq!(failures(&net)[0].failure, refused, "{length}");

        net.call("sip:b@example.org");
        answer(&mut net, SERVER, "401 Unauthorized", &line);
        if answered {
            let second = answer(&mut net, SERVER, "401 Unauthorized", &line);
            assert!(second.value(HeaderName::Authorization).is_some());
        }
        let end = net.agents[0].ends()[0];
        assert_eq!((end.status, &end.phrase[..]), (Some(401), reason));
        assert!(net.take_raw(SERVER).iter().all(|last| kind(last) == "ACK"));
    }
}

/// A registrar that points round and round is given up, and so is one that points nowhere.
#[test]
fn redirections_end() {
    let mut net = net(following());
    register(&mut net, 0, 60);
    let mut at = SERVER.to_owned();
    for hop in 1..=6 {
        let next = format!("192.0.2.{}:5060", 100 + hop);
        // Where it came from is not asked again.
        let back = if hop == 1 { &next } else { &at };
        let lines = format!("Contact: <tel:1>, <sip:{next}>, <sip:{back}>\r\n");
        answer(&mut net, &at, "302 Moved", &lines);
        if hop < 6 {
            at = next;
        }
    }
    net.run_for(millis(20));
    assert!(net.raw.is_empty());
    assert_eq!(codes(&net), [Some(302)]);
    assert_eq!(net.agents[0].sent.len(), 6);
}

/// What the registrar says about coming back is handed up; who comes back goes on with the same
/// Call-ID and a higher CSeq (RFC 3261 §10.2), though the binding has run out.
#[test]
fn who_was_sent_away_comes_back() {
    let mut net = net(account("a"));
    register(&mut net, 0, 60);
    let mut seen = vec![answer(
        &mut net,
        SERVER,
        "503 Service Unavailable",
        "Retry-After: 7 (in a while);duration=9\r\n",
    )];
    let failed = failures(&net).remove(0);
    assert_eq!(
        (failed.retry_after, failed.refresh),
        (Some(Duration::from_secs(7)), false)
    );
    register(&mut net, 0, 60);
    seen.push(answer(&mut net, SERVER, "200 OK", ""));
    // The refresh, at half time, is lost with all its repetitions.
    net.run_for(millis(65_000));
    seen.push(net.take_raw(SERVER).pop().unwrap());
    let failed = failures(&net).remove(1);
    assert_eq!((&failed.failure, failed.refresh), (&Failure::Timeout, true));
    register(&mut net, 0, 60);
    seen.push(answer(&mut net, SERVER, "200 OK", ""));
    let refreshed: Vec<_> = registered(&net, 0).iter().map(|it| it.refresh).collect();
    assert_eq!(refreshed, [false, false]);
    let numbers: Vec<_> = seen
        .iter()
        .map(|message| header(message, HeaderName::CSeq))
        .collect();
    assert_eq!(
        numbers,
        ["1 REGISTER", "2 REGISTER", "3 REGISTER", "4 REGISTER"]
    );
    assert!(
        seen.iter()
            .all(|it| header(it, HeaderName::CallId) == header(&seen[0], HeaderName::CallId))
    );
}
