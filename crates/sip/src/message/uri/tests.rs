use super::*;

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

#[test]
fn all_parts() {
    let uri = uri("SIP:al%69ce:secret@Example.COM:5070;transport=udp;lr?Subject=x");
    assert_eq!(uri.scheme(), Scheme::Sip);
    assert_eq!(uri.user(), "alice");
    assert_eq!(uri.host().to_string(), "Example.COM");
    assert_eq!(uri.port(), Some(5070));
    assert_eq!(uri.param("transport"), Some(&b"udp"[..]));
    assert!(uri.is_loose_router());
    assert_eq!(uri.param("Subject"), None);
    assert_eq!(uri.socket_addr(), None);
}

#[test]
fn user_may_hold_separators() {
    let uri = uri("sip:a;b?c/d=1@192.0.2.1");
    assert_eq!(uri.user(), "a;b?c/d=1");
    assert_eq!(uri.socket_addr(), Some("192.0.2.1:5060".parse().unwrap()));
}

#[test]
fn ipv6_hosts() {
    let plain = uri("sip:[2001:db8::10]");
    assert_eq!(
        plain.socket_addr(),
        Some("[2001:db8::10]:5060".parse().unwrap())
    );
    let full = uri("sip:u@[2001:db8::9:1]:6050;lr");
    assert_eq!(
        full.socket_addr(),
        Some("[2001:db8::9:1]:6050".parse().unwrap())
    );
    assert_eq!(full.host().to_string(), "[2001:db8::9:1]");
}

#[test]
fn web_socket_is_named_the_same_with_tls() {
    for (text, own, wanted) in [
        ("sip:192.0.2.1;transport=ws", Transport::Ws, "192.0.2.1:80"),
        (
            "sip:192.0.2.1;transport=ws",
            Transport::Wss,
            "192.0.2.1:443",
        ),
        (
            "sip:192.0.2.1:80;transport=ws",
            Transport::Wss,
            "192.0.2.1:80",
        ),
        ("sip:192.0.2.1", Transport::Wss, "192.0.2.1:5060"),
    ] {
        let address = uri(text).socket_addr_over(own);
        assert_eq!(address, Some(wanted.parse().unwrap()), "{text} {own}");
    }
}

#[test]
fn other_schemes_are_kept() {
    let uri = uri("tel:+358-555-1234567;postd=pp22");
    assert_eq!(uri.scheme(), Scheme::Other);
    assert_eq!(uri.user(), "");
}

#[test]
fn bad_uris_name_their_fault() {
    for (text, error) in [
        ("alice", UriError::Scheme),
        ("sip:", UriError::Scheme),
        ("1sip:a@b", UriError::Scheme),
        ("sip:a@", UriError::Host),
        ("sip:a@b c", UriError::Character),
        ("sip:a@[::1", UriError::Host),
        ("sip:a@h:0", UriError::Port),
        ("sip:a@h:65536", UriError::Port),
        ("sip:a@h:", UriError::Port),
        ("sip:a@b@c", UriError::Host),
    ] {
        assert_eq!(text.parse::<Uri>(), Err(error), "{text}");
    }
    assert_eq!("sip:a".repeat(1000).parse::<Uri>(), Err(UriError::TooLong));
}

#[test]
fn same_address_ignores_parameters_and_case_of_names() {
    assert!(uri("sip:a@H.example;x=1").same_address(&uri("sip:a@h.EXAMPLE:5060")));
    assert!(!uri("sip:A@h").same_address(&uri("sip:a@h")));
    assert!(!uri("sip:a@h:5061").same_address(&uri("sip:a@h")));
}

/// Each limit is taken, one more is not.
#[test]
fn limits_of_a_uri() {
    let with = |count: usize| format!("sip:a@h{}", ";p".repeat(count)).parse::<Uri>();
    assert!(with(limits::URI_PARAMETERS).is_ok());
    assert_eq!(
        with(limits::URI_PARAMETERS + 1),
        Err(UriError::TooManyParameters)
    );
    let long = |length: usize| format!("sip:{}@h", "a".repeat(length - 6)).parse::<Uri>();
    assert!(long(limits::URI).is_ok());
    assert_eq!(long(limits::URI + 1), Err(UriError::TooLong));
}
