mod directions;
mod events;

use super::*;

fn local(codecs: &[Codec]) -> LocalAudio {
    LocalAudio {
        session_id: 7,
        session_version: 1,
        address: "203.0.113.10".parse().unwrap(),
        port: 10_000,
        codecs: codecs.to_vec(),
        ptime_ms: 20,
        direction: Direction::SendRecv,
        telephone_events: None,
        refused: None,
    }
}

fn both() -> LocalAudio {
    local(&[Codec::Pcma, Codec::Pcmu])
}

fn remote(lines: &str) -> Vec<u8> {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    format!("{head}{}\r\n", lines.replace('\n', "\r\n")).into_bytes()
}

/// R15
#[test]
fn an_offer_advertises_the_sdp_address() {
    let text = offer(&both());
    assert_eq!(
        text,
        "v=0\r\no=- 7 1 IN IP4 203.0.113.10\r\ns=-\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    let v6 = LocalAudio {
        address: "2001:db8::1".parse().unwrap(),
        ..both()
    };
    assert!(String::from_utf8_lossy(&offer(&v6)).contains("c=IN IP6 2001:db8::1\r\n"));
}

#[test]
fn offer_and_answer_agree() {
    let caller = local(&[Codec::Pcmu, Codec::Pcma]);
    let callee = LocalAudio {
        address: "198.51.100.7".parse().unwrap(),
        port: 20_000,
        ..local(&[Codec::Pcma])
    };
    let (answer, at_callee) = answer(&offer(&caller), &callee).unwrap();
    let at_caller = accept(&answer, &caller).unwrap();
    assert_eq!(
        (at_callee.codec, at_caller.codec),
        (Codec::Pcma, Codec::Pcma)
    );
    assert_eq!(at_callee.remote_rtp, "203.0.113.10:10000".parse().unwrap());
    assert_eq!(at_callee.remote_rtcp, "203.0.113.10:10001".parse().unwrap());
    assert_eq!(at_caller.remote_rtp, "198.51.100.7:20000".parse().unwrap());
    assert_eq!(at_caller.direction, Direction::SendRecv);
    assert_eq!(
        (at_caller.send_payload_type, at_caller.receive_payload_type),
        (8, 8)
    );
}

#[test]
fn the_offerers_order_decides() {
    let (_, negotiated) = answer(&remote("m=audio 4000 RTP/AVP 18 0 8"), &both()).unwrap();
    assert_eq!(negotiated.codec, Codec::Pcmu);
}

/// Without events of our own those of the offer are left out.
#[test]
fn dynamic_numbers_and_unwanted_events() {
    let lines = "m=audio 4000 RTP/AVP 101 97\na=rtpmap:101 telephone-event/8000\n\
                 a=fmtp:101 0-15\na=rtpmap:97 pcma/8000/1\na=ptime:30";
    let (text, negotiated) = answer(&remote(lines), &both()).unwrap();
    assert_eq!(
        (negotiated.codec, negotiated.send_payload_type),
        (Codec::Pcma, 97)
    );
    assert_eq!(negotiated.receive_payload_type, 97);
    assert_eq!(negotiated.ptime_ms, 30);
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("m=audio 10000 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000\r\n"),
        "{text}"
    );
    let remapped = "m=audio 4000 RTP/AVP 8\na=rtpmap:8 G729/8000";
    assert!(answer(&remote(remapped), &both()).is_err());
}

#[test]
fn other_streams_are_refused_in_place() {
    let lines = "m=video 5000 RTP/AVP 96\na=rtpmap:96 VP8/90000\nm=audio 4000 RTP/SAVP 8\n\
                 m=audio 4002 RTP/AVP 8";
    let (text, negotiated) = answer(&remote(lines), &both()).unwrap();
    assert_eq!(negotiated.remote_rtp.port(), 4002);
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 0 RTP/SAVP 8",
            "m=audio 10000 RTP/AVP 8"
        ]
    );
}

/// RFC 3264 §8: a description has at least the streams of the one before, each in its place.
#[test]
fn refused_streams_are_in_later_offers() {
    let lines = "m=video 5000 RTP/AVP 96\nm=audio 4002 RTP/AVP 8\nm=text 5002 RTP/AVP 98";
    let (text, _) = answer(&remote(lines), &both()).unwrap();
    let later = LocalAudio {
        refused: Refused::of_answer(&text),
        ..both()
    };
    let text = offer(&later);
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 10000 RTP/AVP 8 0",
            "m=text 0 RTP/AVP 98"
        ]
    );
    let answered = "m=video 0 RTP/AVP 96\nm=audio 4004 RTP/AVP 8\nm=text 0 RTP/AVP 98";
    let negotiated = accept(&remote(answered), &later).unwrap();
    assert_eq!(negotiated.remote_rtp.port(), 4004);
    assert_eq!(
        accept(&remote("m=audio 4004 RTP/AVP 8"), &later),
        Err(SdpError::StreamCount {
            offered: 3,
            answered: 1
        })
    );
    let (audio, _) = answer(&remote("m=audio 4002 RTP/AVP 8"), &both()).unwrap();
    assert_eq!(Refused::of_answer(&audio), None);
}

#[test]
fn rtcp_may_be_elsewhere() {
    let rtcp = |attribute: &str| {
        let lines = format!("m=audio 4000 RTP/AVP 8\n{attribute}");
        answer(&remote(&lines), &both()).unwrap().1.remote_rtcp
    };
    assert_eq!(rtcp("a=rtcp:4711"), "192.0.2.1:4711".parse().unwrap());
    assert_eq!(
        rtcp("a=rtcp:4711 IN IP4 192.0.2.9"),
        "192.0.2.9:4711".parse().unwrap()
    );
    assert_eq!(rtcp("a=rtcp-mux"), "192.0.2.1:4001".parse().unwrap());
}

/// RFC 3264 §8.4
#[test]
fn hold_in_both_styles() {
    let held = |lines: &str| {
        let (text, negotiated) = answer(&remote(lines), &both()).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            text.contains(&format!("a={}\r\n", negotiated.direction.as_str())),
            "{text}"
        );
        (negotiated.held, negotiated.direction)
    };
    let audio = "m=audio 4000 RTP/AVP 8";
    assert_eq!(held(audio), (false, Direction::SendRecv));
    assert_eq!(
        held(&format!("{audio}\na=sendonly")),
        (true, Direction::RecvOnly)
    );
    assert_eq!(
        held(&format!("{audio}\na=inactive")),
        (true, Direction::Inactive)
    );
    assert_eq!(
        held(&format!("{audio}\na=recvonly")),
        (false, Direction::SendOnly)
    );
    assert_eq!(
        held(&format!("{audio}\nc=IN IP4 0.0.0.0")),
        (true, Direction::RecvOnly)
    );
    assert_eq!(
        held(&format!("a=sendonly\n{audio}")),
        (true, Direction::RecvOnly)
    );
}

/// What we hold stays held, whatever the far end offers: to one who holds us, too, nobody sends
/// (RFC 3264 §6.1).
#[test]
fn the_answer_of_who_holds() {
    let local = LocalAudio {
        direction: Direction::answered(true),
        ..both()
    };
    for (offered, answered) in [
        ("sendrecv", Direction::SendOnly),
        ("recvonly", Direction::SendOnly),
        ("sendonly", Direction::Inactive),
        ("inactive", Direction::Inactive),
    ] {
        let offer = remote(&format!("m=audio 4000 RTP/AVP 8\na={offered}"));
        let (text, negotiated) = answer(&offer, &local).unwrap();
        assert_eq!(negotiated.direction, answered, "to {offered}");
        let line = format!("a={}\r\n", answered.as_str());
        assert!(
            String::from_utf8_lossy(&text).contains(&line),
            "to {offered}"
        );
    }
}

#[test]
fn refusals_say_why() {
    let refused = |lines: &str| {
        let error = answer(&remote(lines), &local(&[Codec::Pcma])).unwrap_err();
        (error.status(), error.to_string())
    };
    assert_eq!(
        refused("m=audio 4000 RTP/AVP 0 18"),
        (488, "SDP has none of the codecs PCMA".to_owned())
    );
    assert_eq!(refused("m=audio 0 RTP/AVP 8").0, 488);
    assert_eq!(refused("m=video 4000 RTP/AVP 8").0, 488);
    let (code, text) = refused("m=audio 4000 RTP/AVP 8\nc=IN IP4 pc.example");
    assert_eq!(code, 488);
    assert!(text.contains("pc.example"), "{text}");
    assert_eq!(answer(b"hello", &both()).unwrap_err().status(), 400);
    assert_eq!(
        answer(&vec![b'v'; 20_000], &both()).unwrap_err().status(),
        513
    );
}

#[test]
fn an_answer_must_match_the_offer() {
    let two = remote("m=audio 4000 RTP/AVP 8\nm=audio 4002 RTP/AVP 8");
    assert_eq!(
        accept(&two, &both()).unwrap_err(),
        SdpError::StreamCount {
            offered: 1,
            answered: 2
        }
    );
    assert_eq!(
        accept(&remote("m=audio 0 RTP/AVP 8"), &both()),
        Err(SdpError::NoAudio)
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_never_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        position in 0usize..150,
        byte in proptest::num::u8::ANY,
    ) {
        let _ = accept(&bytes, &both());
        let mut mutated = offer(&both()).to_vec();
        let position = position % mutated.len();
        mutated[position] = byte;
        let _ = answer(&mutated, &both());
    }
}

/// Each limit is taken, one more is not.
#[test]
fn limits_of_a_description() {
    let audio = "m=audio 4000 RTP/AVP 8";
    let media = |count: usize| answer(&remote(&vec![audio; count].join("\n")), &both());
    assert!(media(limits::SDP_MEDIA).is_ok());
    assert_eq!(
        media(limits::SDP_MEDIA + 1).unwrap_err(),
        SdpError::TooMany("media descriptions", limits::SDP_MEDIA)
    );
    let attributes = |count: usize| {
        answer(
            &remote(&format!("{audio}{}", "\na=x".repeat(count))),
            &both(),
        )
    };
    assert!(attributes(limits::SDP_ATTRIBUTES).is_ok());
    let error = attributes(limits::SDP_ATTRIBUTES + 1).unwrap_err();
    assert_eq!(error.status(), 513);
    // Ours at the last place that is looked at, and past it.
    let formats = |others: usize| {
        let others = " 18".repeat(others);
        answer(&remote(&format!("m=audio 4000 RTP/AVP{others} 8")), &both())
    };
    assert!(formats(limits::SDP_FORMATS - 1).is_ok());
    assert!(formats(limits::SDP_FORMATS).is_err());
}

/// Our answer, offered again, has the refused streams and the payload types of the far end: so has
/// the answer to it.
#[test]
fn what_stands_is_answered_again() {
    let lines = "m=video 5000 RTP/AVP 99\nm=audio 4000 RTP/AVP 96\na=rtpmap:96 PCMA/8000";
    let (stands, agreed) = answer(&remote(lines), &both()).unwrap();
    let stands = String::from_utf8(stands.to_vec()).unwrap();
    assert!(stands.contains("m=video 0 RTP/AVP 99\r\nm=audio 10000 RTP/AVP 96"));
    let again = |lines: &str| accept_again(&remote(lines), &both(), &agreed);
    let refused = "m=video 0 RTP/AVP 99\n";
    let audio = "m=audio 4002 RTP/AVP 96\na=rtpmap:96 PCMA/8000";
    let same = again(&format!("{refused}{}", audio.replace("4002", "4000")));
    assert_eq!(same.unwrap(), agreed);
    let moved = again(&format!("{refused}{audio}\na=sendonly")).unwrap();
    assert_eq!(moved.remote_rtp, "192.0.2.1:4002".parse().unwrap());
    assert_eq!(moved.receive_payload_type, 96);
    assert!(moved.held);
    let none = again(&format!("{refused}m=audio 0 RTP/AVP 96"));
    assert_eq!(none, Err(SdpError::NoAudio));
}
