use proptest::prelude::*;

use super::*;

const INVITE: &str =
    "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nContent-Length: 5\r\n\r\nv=0\r\n";
const BYE: &str = "BYE sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nl: 0\r\n\r\n";

/// All frames of `pieces`, each pushed alone, and how it ended.
fn frames<'a>(
    framer: &mut Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<FrameError>) {
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn at_once(bytes: &str) -> (Vec<Frame>, Option<FrameError>) {
    frames(&mut Framer::new(), [bytes.as_bytes()])
}

fn message(text: &str) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
}

fn refused(bytes: &str) -> Option<FrameError> {
    let (found, error) = at_once(bytes);
    assert_eq!(found, [], "{bytes:?}");
    error
}

fn with_length(value: &str) -> String {
    format!("BYE sip:b@h SIP/2.0\r\nContent-Length: {value}\r\n\r\n")
}

/// RFC 3261 §18.3
#[test]
fn messages_are_cut_at_content_length_wherever_the_stream_is_cut() {
    let stream = format!("{INVITE}{BYE}{INVITE}");
    let wanted = [message(INVITE), message(BYE), message(INVITE)];
    assert_eq!(at_once(&stream).0, wanted);
    let bytes = stream.as_bytes();
    assert_eq!(frames(&mut Framer::new(), bytes.chunks(1)).0, wanted);
    for cut in 0..bytes.len() {
        let (front, back) = bytes.split_at(cut);
        let mut framer = Framer::new();
        assert_eq!(frames(&mut framer, [front, back]).0, wanted, "cut at {cut}");
        assert!(!framer.is_within_message());
    }
}

#[test]
fn half_a_message_is_none_and_is_known_as_such() {
    for end in 1..INVITE.len() {
        let mut framer = Framer::new();
        let (found, error) = frames(&mut framer, [&INVITE.as_bytes()[..end]]);
        assert_eq!((found, error), (vec![], None), "{end} bytes");
        assert!(framer.is_within_message(), "{end} bytes");
    }
    assert!(!Framer::new().is_within_message());
}

/// RFC 3261 §7.3.1: a field may be folded and its name be any case.
#[test]
fn content_length_is_read_as_a_header_field_is() {
    for line in [
        "content-length:5",
        "L : 5",
        "Content-Length:\r\n 5",
        "Content-Length: 5 \r\n\t",
        "Subject: a\r\n Content-Length: 9\r\nl: 5",
        "no field at all\r\nl: 5",
    ] {
        let whole = format!("INVITE sip:b@h SIP/2.0\r\n{line}\r\n\r\nv=0\r\n");
        assert_eq!(
            at_once(&format!("{whole}{BYE}")).0,
            [message(&whole), message(BYE)]
        );
    }
    let bare = "BYE sip:b@h SIP/2.0\nl: 2\n\nab";
    assert_eq!(at_once(bare).0, [message(bare)]);
}

#[test]
fn a_length_that_says_nothing_ends_the_stream() {
    let most = limits::MESSAGE - limits::STREAM_HEAD;
    for value in [
        "-1",
        "+1",
        "",
        "5 5",
        "0x5",
        "4294967296",
        "99999999999999999999",
    ] {
        assert_eq!(
            refused(&with_length(value)),
            Some(FrameError::Length(most)),
            "{value:?}"
        );
    }
    let missing = "BYE sip:b@h SIP/2.0\r\nSubject: l: 0\r\n\r\n";
    assert_eq!(refused(missing), Some(FrameError::LengthMissing));
    let twice = "BYE sip:b@h SIP/2.0\r\nl: 0\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(refused(twice), Some(FrameError::LengthRepeated));
}

#[test]
fn a_body_at_its_limit_is_taken_and_one_past_it_is_refused_before_it_comes() {
    let most = limits::MESSAGE - limits::STREAM_HEAD;
    let body = "x".repeat(most);
    let whole = format!("{}{body}", with_length(&most.to_string()));
    assert_eq!(at_once(&whole).0, [message(&whole)]);
    let past = with_length(&(most + 1).to_string());
    assert_eq!(refused(&past), Some(FrameError::Length(most)));
}

#[test]
fn a_head_at_its_limit_is_taken_and_one_past_it_is_refused() {
    let limit = limits::STREAM_HEAD;
    let head = |length: usize| {
        let (front, back) = ("BYE sip:b@h SIP/2.0\r\nl: 0\r\nSubject: ", "\r\n\r\n");
        let filler = "x".repeat(length - front.len() - back.len());
        format!("{front}{filler}{back}")
    };
    let full = head(limit);
    assert_eq!(at_once(&full).0, [message(&full)]);
    let mut slow = Framer::new();
    assert_eq!(
        frames(&mut slow, full.as_bytes().chunks(7)).0,
        [message(&full)]
    );
    let past = head(limit + 1);
    assert_eq!(refused(&past), Some(FrameError::HeadTooLong(limit)));
    // The end never comes: the limit is reached without it.
    let endless = "x".repeat(limit);
    assert_eq!(refused(&endless), Some(FrameError::HeadTooLong(limit)));
    assert_eq!(refused(&endless[1..]), None);
}

#[test]
fn an_error_is_final_and_frames_before_it_stand() {
    let mut framer = Framer::new();
    let stream = format!("{BYE}{}{BYE}", with_length("-1"));
    let (found, error) = frames(&mut framer, [stream.as_bytes()]);
    assert_eq!(found, [message(BYE)]);
    let (found, again) = frames(&mut framer, [BYE.as_bytes()]);
    assert_eq!((found, again), (vec![], error));
    assert!(error.is_some() && !framer.is_within_message());
}

/// RFC 5626 §3.5.1, RFC 3261 §7.5
#[test]
fn a_double_line_end_between_messages_is_a_ping_and_a_single_one_nothing() {
    assert_eq!(at_once("\r\n\r\n").0, [Frame::Ping]);
    assert_eq!(
        frames(&mut Framer::new(), b"\r\n\r\n".chunks(1)).0,
        [Frame::Ping]
    );
    assert_eq!(at_once("\r\n").0, []);
    assert_eq!(
        at_once(&format!("\r\n{BYE}\r\n{BYE}")).0,
        [message(BYE), message(BYE)]
    );
    assert_eq!(
        at_once(&format!("{BYE}\r\n\r\n{BYE}")).0,
        [message(BYE), Frame::Ping, message(BYE)]
    );
    // Within a body a double line end is content.
    let body = "BYE sip:b@h SIP/2.0\r\nl: 4\r\n\r\n\r\n\r\n";
    assert_eq!(at_once(body).0, [message(body)]);
}

/// RFC 5626 §3.5.1
#[test]
fn a_line_end_after_a_ping_of_ours_is_its_pong() {
    let mut framer = Framer::new();
    framer.expect_pong();
    framer.expect_pong();
    assert_eq!(frames(&mut framer, [PONG]).0, [Frame::Pong]);
    assert_eq!(
        frames(&mut framer, [BYE.as_bytes(), PONG, PING]).0,
        [message(BYE), Frame::Pong, Frame::Ping]
    );
}

proptest! {
    /// What is found depends on the bytes alone, not on how they are cut.
    #[test]
    fn pieces_change_nothing(
        stream in "(\r\n|\n|\r|l: [0-9]{1,2}\r\n|BYE a SIP/2.0\r\n|[a-z: -]{0,6}|l: 0\r\n\r\n){0,24}",
        cuts in prop::collection::vec(1_usize..9, 1..40),
    ) {
        let bytes = stream.as_bytes();
        let mut pieces = Vec::new();
        let mut rest = bytes;
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(frames(&mut Framer::new(), pieces), frames(&mut Framer::new(), [bytes]));
    }

    /// No bytes make it panic, and what it hands on has the bytes that came.
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (found, _) = frames(&mut Framer::new(), [&bytes[..]]);
        let length: usize = found.iter().map(|frame| match frame {
            Frame::Message(message) => message.len(),
            Frame::Ping | Frame::Pong => 0,
        }).sum();
        prop_assert!(length <= bytes.len());
    }
}
