//! What valid messages mean.

use bytes::Bytes;
use callmeter_sip::message::HeaderName::{To, Via as V};
use callmeter_sip::message::{NameAddr, Via};
use callmeter_sip::sdp::{self, Codec, Direction, LocalAudio};

use crate::{parsed, rfc4475, rfc5118};

/// What the valid messages of RFC 4475 §3.1.1 mean.
#[test]
fn values_are_read_as_meant() {
    let message = parsed(&rfc4475("wsinv")).unwrap();
    let uri = message.request_uri().unwrap();
    assert_eq!(uri.user(), "vivekg");
    assert_eq!(uri.param("unknownparam"), Some(&b""[..]));
    let to = NameAddr::parse(To, Bytes::copy_from_slice(message.value(To).unwrap())).unwrap();
    assert_eq!(to.tag().unwrap(), &b"1918181833n"[..]);
    assert_eq!(message.elements(V).count(), 3);
    assert_eq!(
        message.value_of("newfangledheader"),
        Some(&b"newfangled value\r\n continued newfangled value"[..])
    );
    let via = message.elements(V).next().unwrap();
    let via = Via::parse(Bytes::copy_from_slice(via)).unwrap();
    assert_eq!(via.host.to_string(), "192.0.2.2");
    assert_eq!(via.branch(), b"390skdjuw");

    let user = |name: &str| {
        parsed(&rfc4475(name))
            .unwrap()
            .request_uri()
            .unwrap()
            .user()
    };
    assert_eq!(user("esc01"), "sips:user@example.com");
    assert_eq!(user("semiuri"), "user;par=u@example.net");
    let to = |name: &str| {
        let message = parsed(&rfc4475(name)).unwrap();
        NameAddr::parse(To, Bytes::copy_from_slice(message.value(To).unwrap())).unwrap()
    };
    assert_eq!(to("escnull").uri.user(), "null-\0-null");
    assert_eq!(to("esc02").display_name(), "%Z%45");
    assert_eq!(to("unksm2").uri.to_string(), "isbn:2983792873");

    // The second request in the datagram is no part of the first.
    let dblreq = parsed(&rfc4475("dblreq")).unwrap();
    assert!(dblreq.body().is_empty());
    assert_eq!(parsed(&rfc4475("noreason")).unwrap().reason(), "");
    let unreason = parsed(&rfc4475("unreason")).unwrap();
    assert!(unreason.reason().starts_with("= 2**3 * 5**2"));
    let transports = parsed(&rfc4475("transports")).unwrap();
    let known: Vec<_> = transports
        .elements(V)
        .map(|via| Via::parse(Bytes::copy_from_slice(via)).unwrap().transport)
        .map(|transport| transport.is_some())
        .collect();
    assert_eq!(known, [true, false, true, false, true]);
    let inv2543 = parsed(&rfc4475("inv2543")).unwrap();
    assert!(inv2543.body().starts_with(b"v=0"));
}

/// RFC 5118: where an IPv6 address ends.
#[test]
fn addresses_end_where_they_should() {
    let uri = |name: &str| parsed(&rfc5118(name)).unwrap().request_uri().unwrap();
    let place = |name: &str| (uri(name).host().to_string(), uri(name).port());
    assert_eq!(
        place("port-ambiguous"),
        ("[2001:db8::10:5070]".into(), None)
    );
    assert_eq!(
        place("port-unambiguous"),
        ("[2001:db8::10]".into(), Some(5070))
    );
    let three = uri("ipv6-bug-abnf-3-colons");
    let two = uri("ipv6-correct-abnf-2-colons");
    assert!(three.same_address(&two), "{three} and {two}");
    for (name, received) in [
        ("via-received-param-with-delim", &b"[2001:db8::9:255]"[..]),
        ("via-received-param-no-delim", b"2001:db8::9:255"),
    ] {
        let message = parsed(&rfc5118(name)).unwrap();
        let via = Bytes::copy_from_slice(message.value(V).unwrap());
        assert_eq!(Via::parse(via).unwrap().param("received"), Some(received));
    }
    let vias = parsed(&rfc5118("mult-ip-in-header")).unwrap();
    let hosts: Vec<_> = vias
        .elements(V)
        .map(|via| Via::parse(Bytes::copy_from_slice(via)).unwrap())
        .map(|via| (via.host.to_string(), via.port))
        .collect();
    assert_eq!(
        hosts,
        [
            ("[2001:db8::9:1]".to_owned(), Some(6050)),
            ("192.0.2.1".to_owned(), None),
            ("[2001:db8::9:255]".to_owned(), None),
        ]
    );
}

/// RFC 5118 §4.6, §4.8, §4.9: the descriptions can be answered.
#[test]
fn addresses_in_descriptions() {
    let local = LocalAudio {
        session_id: 1,
        session_version: 1,
        address: "2001:db8::99".parse().unwrap(),
        port: 40_000,
        codecs: vec![Codec::Pcmu],
        ptime_ms: 20,
        direction: Direction::SendRecv,
        telephone_events: Some(101),
        refused: None,
    };
    for (name, remote) in [
        ("ipv6-in-sdp", "[2001:db8::20]:6000"),
        ("mult-ip-in-sdp", "192.0.2.1:22334"),
        ("ipv4-mapped-ipv6", "[::ffff:192.0.2.2]:6000"),
    ] {
        let body = parsed(&rfc5118(name)).unwrap().body();
        // Two of them offer G726-32 alone, which is not ours.
        let body = String::from_utf8(body.to_vec()).unwrap();
        let body = body.replace("RTP/AVP 2\r\na=rtpmap:2 G726-32/8000", "RTP/AVP 0");
        let (_, negotiated) = sdp::answer(body.as_bytes(), &local).unwrap();
        assert_eq!(negotiated.remote_rtp, remote.parse().unwrap(), "{name}");
    }
}
