use proptest::prelude::*;

use super::*;
use crate::message::{Builder, UriError};

const INVITE: &str = "INVITE sip:bob@h;x=1 SIP/2.0\r\n\
    v: SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/TCP b\r\n\
    Via: SIP/2.0/UDP c\r\n\
    f : \"A\" <sip:a@h>;tag=1\r\n\
    t: <sip:bob@h>\r\n\
    i: abc@h\r\n\
    CSeq:  7 \r\n  INVITE\r\n\
    Subject: caf\u{e9} \r\n\
    c: application/sdp\r\n\
    l: 4\r\n\
    \r\n\
    v=0\nrest";

fn parse(text: impl AsRef<[u8]>) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_ref()))
}

#[test]
fn compact_forms_folds_and_spaces() {
    let message = parse(INVITE).unwrap();
    assert_eq!(message.method(), Some(Method::Invite));
    assert_eq!(message.request_uri().unwrap().to_string(), "sip:bob@h;x=1");
    assert_eq!(message.elements(HeaderName::Via).count(), 3);
    assert_eq!(message.value_of("subject"), Some("caf\u{e9}".as_bytes()));
    assert_eq!(message.body(), &b"v=0\n"[..]);
    let Essentials {
        via,
        from,
        to,
        call_id,
        cseq,
    } = message.essentials().unwrap();
    assert_eq!(via.branch(), b"z9hG4bK1");
    assert_eq!(from.display_name(), "A");
    assert_eq!(to.tag(), None);
    assert_eq!(call_id, &b"abc@h"[..]);
    assert_eq!((cseq.number, cseq.method), (7, Method::Invite));
}

#[test]
fn bytes_beyond_utf8_are_kept() {
    let mut text = b"SIP/2.0 200 \xff\xfe\r\nX-Bin: \xc0\x80\r\n\r\n".to_vec();
    text.extend([0xff; 3]);
    let message = parse(&text).unwrap();
    assert_eq!(message.status(), Some(200));
    assert_eq!(message.value_of("x-bin"), Some(&b"\xc0\x80"[..]));
    assert_eq!(message.body(), &[0xff; 3][..]);
}

#[test]
fn faults_of_the_frame() {
    let cases: &[(&str, ParseError)] = &[
        ("\r\n\r\n", ParseError::Empty),
        ("INVITE sip:a@h SIP/2.0", ParseError::NoEnd),
        ("INVITE sip:a@h SIP/2.0\r\nTo: x\r\n", ParseError::NoEnd),
        ("INVITE sip:a@h SIP/7.0\r\n\r\n", ParseError::Version),
        ("SIP/1.0 200 OK\r\n\r\n", ParseError::Version),
        ("INVITE sip:a@h SIP/2.0 \r\n\r\n", ParseError::StartLine),
        ("IN[ITE sip:a@h SIP/2.0\r\n\r\n", ParseError::StartLine),
        ("hello\r\n\r\n", ParseError::StartLine),
        ("SIP/2.0 99 Low\r\n\r\n", ParseError::StartLine),
        ("SIP/2.0 700 High\r\n\r\n", ParseError::StartLine),
        ("SIP/2.0 20\r\n\r\n", ParseError::StartLine),
        (
            "INVITE  SIP/2.0\r\n\r\n",
            ParseError::RequestUri(UriError::Scheme),
        ),
        (
            "INVITE sip:a SIP/2.0\r\nTo: a\r\nbroken\r\n\r\n",
            ParseError::HeaderLine(2),
        ),
        (
            "INVITE sip:a SIP/2.0\r\n: x\r\n\r\n",
            ParseError::HeaderLine(1),
        ),
        (
            "INVITE sip:a SIP/2.0\r\n To: x\r\n\r\n",
            ParseError::HeaderLine(1),
        ),
    ];
    for (text, error) in cases {
        assert_eq!(parse(text).unwrap_err(), *error, "{text:?}");
    }
}

#[test]
fn faults_of_a_header_name_it() {
    use HeaderName::{CSeq, CallId, ContentLength, From, To, Via};
    use HeaderProblem::{Length, Method, Missing, Range, Repeated, Syntax};
    let replace = |from: &str, to: &str| {
        assert!(INVITE.contains(from));
        let message = parse(INVITE.replace(from, to))?;
        message.essentials().map(drop)
    };
    let cases = [
        (replace("l: 4", "l: -4"), ContentLength, Syntax),
        (replace("l: 4", "l: 99"), ContentLength, Length),
        (
            replace("l: 4", "l: 4\r\nContent-Length: 5"),
            ContentLength,
            Repeated,
        ),
        (replace("i: abc@h\r\n", ""), CallId, Missing),
        (replace("i: abc@h", "i: a b"), CallId, Syntax),
        (replace("i: abc@h", "i: a\r\ni: b"), CallId, Repeated),
        (replace("  7 ", " 2147483648 "), CSeq, Range),
        (replace("  7 ", " 36893488147419103232 "), CSeq, Range),
        (replace("  7 ", " +7 "), CSeq, Syntax),
        (replace("  7 ", " 7 ACK "), CSeq, Syntax),
        (replace("INVITE\r\nS", "BYE\r\nS"), CSeq, Method),
        (replace("t: <sip:bob@h>", "t: <sip:bob@h"), To, Syntax),
        (replace("f : ", "f: ; "), From, Syntax),
        (replace("v: SIP/2.0/UDP a", "v: SIP/2.0 a"), Via, Syntax),
    ];
    for (position, (result, header, problem)) in cases.into_iter().enumerate() {
        assert_eq!(
            result,
            Err(ParseError::Header(header, problem)),
            "case {position}"
        );
    }
}

/// Each limit is taken, one more is not.
#[test]
fn limits_of_a_message() {
    let message = |lines: &str| {
        let head = "OPTIONS sip:a SIP/2.0\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n\
            Call-ID: c\r\nCSeq: 1 OPTIONS\r\n";
        let message = parse(format!("{head}{lines}\r\n"))?;
        message.validate().map(|()| message)
    };
    let via = "Via: SIP/2.0/UDP h\r\n";
    let vias = |count: usize| message(&via.repeat(count)).map(drop);
    assert_eq!(vias(limits::VIAS), Ok(()));
    assert_eq!(
        vias(limits::VIAS + 1),
        Err(ParseError::Header(HeaderName::Via, HeaderProblem::Range))
    );
    let list = |count: usize| {
        message(&format!(
            "v: {}\r\n",
            vec!["SIP/2.0/UDP h"; count].join(",")
        ))
        .map(drop)
    };
    assert_eq!(list(limits::VIAS), Ok(()));
    assert!(list(limits::VIAS + 1).is_err());
    let fields = |count: usize| message(&format!("{via}{}", "a: b\r\n".repeat(count))).map(drop);
    assert_eq!(fields(limits::HEADERS - 5), Ok(()));
    assert_eq!(
        fields(limits::HEADERS - 4),
        Err(ParseError::TooManyHeaders(limits::HEADERS))
    );
    let long = |length: usize| {
        let line = format!("a: {}", "b".repeat(length - 3));
        message(&format!("{via}{line}\r\n")).map(drop)
    };
    assert_eq!(long(limits::HEADER), Ok(()));
    assert_eq!(
        long(limits::HEADER + 1),
        Err(ParseError::HeaderTooLong(6, limits::HEADER))
    );
    let contacts = |count: usize| {
        let lines = "m: <sip:a@h>\r\n".repeat(count);
        message(&format!("{via}{lines}"))
            .unwrap()
            .addresses(HeaderName::Contact)
    };
    assert_eq!(
        contacts(limits::ADDRESSES).unwrap().len(),
        limits::ADDRESSES
    );
    assert!(contacts(limits::ADDRESSES + 1).is_err());
    let lines = "WWW-Authenticate: Digest realm=r, nonce=n\r\n".repeat(limits::CHALLENGES + 1);
    let challenges = message(&format!("{via}{lines}")).unwrap();
    let challenges = challenges.challenges(HeaderName::WwwAuthenticate);
    assert_eq!(challenges.len(), limits::CHALLENGES);
    let nested = format!("{via}Retry-After: 5 {}\r\n", "(".repeat(4000));
    let nested = message(&nested).unwrap().seconds(HeaderName::RetryAfter);
    assert_eq!(nested, Some(Duration::from_secs(5)));
}

#[test]
fn sizes_are_capped() {
    assert_eq!(
        parse(vec![b'a'; 65_536]).unwrap_err(),
        ParseError::TooLong(65_535)
    );
    let many = format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "a: b\r\n".repeat(257));
    assert_eq!(parse(many).unwrap_err(), ParseError::TooManyHeaders(256));
    let routes = format!(
        "OPTIONS sip:a SIP/2.0\r\nRoute: {}\r\n\r\n",
        "<sip:a>,".repeat(65)
    );
    let routes = parse(routes).unwrap().addresses(HeaderName::Route);
    assert_eq!(
        routes.unwrap_err(),
        ParseError::Header(HeaderName::Route, HeaderProblem::Range)
    );
}

#[test]
fn seconds_allow_comments() {
    let message =
        parse("SIP/2.0 503 x\r\nRetry-After: 120 (busy);duration=3\r\nExpires: x\r\n\r\n");
    let message = message.unwrap();
    assert_eq!(
        message.seconds(HeaderName::RetryAfter),
        Some(Duration::from_secs(120))
    );
    assert_eq!(message.seconds(HeaderName::Expires), None);
}

/// Reads everything there is to read.
fn read_all(bytes: Bytes) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let _ = message.essentials();
    let _ = message.request_uri();
    for header in [
        HeaderName::Contact,
        HeaderName::Route,
        HeaderName::RecordRoute,
    ] {
        let _ = message.addresses(header);
    }
    let _ = message.challenges(HeaderName::WwwAuthenticate);
    let _ = message.seconds(HeaderName::Expires);
    let _ = message.body();
}

const RESPONSE: &str = "SIP/2.0 401 No\r\n\
    Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;rport=7;received=192.0.2.1\r\n\
    From: <sip:a@h>;tag=1\r\nTo: \"x\\\"\" <sip:a@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
    Contact: <sip:a@[::1]:5060;lr?x=%41>;expires=60, sip:b@h;q=0.5\r\n\
    WWW-Authenticate: Digest realm=\"r\", nonce=\"n\\\\\", qop=\"auth,auth-int\"\r\n\
    Record-Route: <sip:p;lr>,\r\n <sip:q;lr>\r\nExpires: 3600\r\n\r\n";

proptest! {
    #[test]
    fn mutated_messages_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        cut in any::<prop::sample::Index>(),
        response in any::<bool>(),
    ) {
        let mut bytes = if response { RESPONSE } else { INVITE }.as_bytes().to_vec();
        for (index, byte) in &changes {
            // Structure bytes break more than random ones.
            let byte = b"\r\n \t:;,<>\"\\=@[]%/?"
                .get(usize::from(*byte) % 40)
                .copied()
                .unwrap_or(*byte);
            let position = index.index(bytes.len());
            bytes[position] = byte;
        }
        read_all(Bytes::from(bytes.clone()));
        bytes.truncate(cut.index(bytes.len()));
        read_all(Bytes::from(bytes));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(Bytes::from(bytes));
    }

    #[test]
    fn what_is_built_is_read_back(
        user in "[a-zA-Z0-9_.!~*'-]{1,20}",
        tag in "[a-zA-Z0-9.-]{1,20}",
        call_id in "[a-zA-Z0-9@.-]{1,40}",
        number in 0u32..(1 << 31),
        value in "[^\r\n\0]{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let uri = format!("sip:{user}@192.0.2.1:5060");
        let mut builder = Builder::request(Method::Info, uri.as_bytes());
        builder
            .header(HeaderName::Via, b"SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKx;rport")
            .header_fmt(HeaderName::From, format_args!("<{uri}>;tag={tag}"))
            .header_fmt(HeaderName::To, format_args!("<{uri}>"))
            .header(HeaderName::CallId, call_id.as_bytes())
            .header_fmt(HeaderName::CSeq, format_args!("{number} INFO"))
            .named("X-Value", value.as_bytes());
        let message = Message::parse(builder.finish("text/plain", &body)).unwrap();
        let essentials = message.essentials().unwrap();
        prop_assert_eq!(message.request_uri().unwrap().user(), user);
        prop_assert_eq!(essentials.from.tag().unwrap(), tag.as_bytes());
        prop_assert_eq!(essentials.call_id, call_id.as_bytes());
        prop_assert_eq!(essentials.cseq.number, number);
        prop_assert_eq!(message.value_of("x-value"), Some(value.trim_matches([' ', '\t']).as_bytes()));
        prop_assert_eq!(message.body(), body);
    }
}
