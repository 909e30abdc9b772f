//! RFC 4733 §7.1.1

use super::*;

fn wanting() -> LocalAudio {
    LocalAudio {
        telephone_events: Some(101),
        ..both()
    }
}

fn agreed(send: u8, receive: u8, digits: u16) -> TelephoneEvents {
    TelephoneEvents {
        send,
        receive,
        digits,
    }
}

#[test]
fn an_offer_names_them_after_the_codecs() {
    let text = String::from_utf8_lossy(&offer(&wanting())).into_owned();
    let audio = "m=audio 10000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";
    assert!(text.contains(audio), "{text}");
    assert!(!String::from_utf8_lossy(&offer(&both())).contains("telephone"));
}

#[test]
fn the_answer_takes_the_offerers_number() {
    let lines = "m=audio 4000 RTP/AVP 8 96\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-15";
    let (text, negotiated) = answer(&remote(lines), &wanting()).unwrap();
    assert_eq!(negotiated.telephone_events, Some(agreed(96, 96, 0xffff)));
    let text = String::from_utf8_lossy(&text).into_owned();
    let audio = "m=audio 10000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\n\
                 a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n";
    assert!(text.contains(audio), "{text}");
    // Later offers of ours go on with it.
    assert_eq!(TelephoneEvents::number_to_offer(Some(&negotiated)), 96);
}

#[test]
fn both_sides_agree() {
    let (text, at_callee) = answer(&offer(&wanting()), &wanting()).unwrap();
    let at_caller = accept(&text, &wanting()).unwrap();
    assert_eq!(at_callee.telephone_events, Some(agreed(101, 101, 0xffff)));
    assert_eq!(at_caller.telephone_events, at_callee.telephone_events);
}

/// RFC 3264 §6.1: each side sends with the number the other one gave.
#[test]
fn an_answer_with_another_number() {
    let lines = "m=audio 4000 RTP/AVP 8 97\na=rtpmap:97 TELEPHONE-EVENT/8000";
    let negotiated = accept(&remote(lines), &wanting()).unwrap();
    assert_eq!(negotiated.telephone_events, Some(agreed(97, 101, 0xffff)));
    assert_eq!(TelephoneEvents::number_to_offer(Some(&negotiated)), 101);
}

#[test]
fn absent_on_one_side_is_not_negotiated() {
    let with = "m=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000";
    let (text, negotiated) = answer(&remote(with), &both()).unwrap();
    assert_eq!(negotiated.telephone_events, None);
    assert!(!String::from_utf8_lossy(&text).contains("telephone"));
    for without in [
        "m=audio 4000 RTP/AVP 8",
        // Listed, but not said what it is.
        "m=audio 4000 RTP/AVP 8 101",
        // Said what it is, but not listed.
        "m=audio 4000 RTP/AVP 8\na=rtpmap:101 telephone-event/8000",
        // On another clock than the audio.
        "m=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/48000",
        // Under the number of the audio.
        "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=rtpmap:8 telephone-event/8000",
    ] {
        let negotiated = accept(&remote(without), &wanting()).unwrap();
        assert_eq!(negotiated.telephone_events, None, "{without}");
    }
}

#[test]
fn of_several_clocks_that_of_the_audio_is_taken() {
    let lines = "m=audio 4000 RTP/AVP 8 100 101\na=rtpmap:100 telephone-event/48000\n\
                 a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-11";
    let (_, negotiated) = answer(&remote(lines), &wanting()).unwrap();
    assert_eq!(negotiated.telephone_events, Some(agreed(101, 101, 0x0fff)));
}

#[test]
fn the_digits_of_fmtp() {
    let digits = |fmtp: &str| {
        let lines = format!(
            "m=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n{fmtp}\na=sendrecv"
        );
        let (_, negotiated) = answer(&remote(&lines), &wanting()).unwrap();
        negotiated.telephone_events.unwrap().digits
    };
    assert_eq!(digits("a=fmtp:101 0-15"), 0xffff);
    assert_eq!(digits("a=fmtp:101 0-11,66,67"), 0x0fff);
    assert_eq!(digits("a=fmtp:101 events=0-9, 11"), 0x0bff);
    assert_eq!(digits("a=fmtp:101 0-16"), 0xffff);
    assert_eq!(digits("a=fmtp:101 32-49"), 0, "no digit at all");
    assert_eq!(digits("a=fmtp:96 0-3"), 0xffff, "of another number");
    assert_eq!(digits("a=fmtp:101 x-y"), 0xffff);
    assert_eq!(digits("a=fmtp:101 9-3"), 0, "an empty range");
    assert_eq!(digits("a=maxptime:40"), 0xffff);
}

#[test]
fn the_number_of_a_later_offer_clashes_with_nothing() {
    let lines = "m=audio 4000 RTP/AVP 101\na=rtpmap:101 PCMA/8000";
    let (_, negotiated) = answer(&remote(lines), &wanting()).unwrap();
    assert_eq!(negotiated.send_payload_type, 101);
    assert_eq!(TelephoneEvents::number_to_offer(Some(&negotiated)), 100);
    assert_eq!(TelephoneEvents::number_to_offer(None), 101);
}
