//! Messages and events as text.

use callmeter_sip::CallEvent;
use callmeter_sip::message::{HeaderName, Message};

pub(crate) fn event_name(event: &CallEvent) -> &'static str {
    match event {
        CallEvent::Progress { code: 100, .. } => "100",
        CallEvent::Progress { code: 180, .. } => "180",
        CallEvent::Progress { .. } => "1xx",
        CallEvent::Answered { .. } => "answered",
        CallEvent::Confirmed { .. } => "confirmed",
        CallEvent::Offer { .. } => "offer",
        CallEvent::OfferAnswered { .. } => "offer answered",
        CallEvent::OfferMet { .. } => "offer met",
        CallEvent::OfferRefused { .. } => "offer refused",
        CallEvent::RefreshAnswered { .. } => "refresh answered",
        CallEvent::SessionRefreshed { ours: true } => "refreshed",
        CallEvent::SessionRefreshed { ours: false } => "refreshed by peer",
        CallEvent::SessionExpired => "expired",
        CallEvent::Pracked { .. } => "pracked",
        CallEvent::Referred { .. } => "referred",
        CallEvent::ReferAnswered { .. } => "refer answered",
        CallEvent::TransferProgress { last: false, .. } => "transfer",
        CallEvent::TransferProgress { last: true, .. } => "transferred",
        CallEvent::Replaced => "replaced",
        CallEvent::Info { .. } => "info",
        CallEvent::InfoAnswered { .. } => "info answered",
        CallEvent::AckMissing => "ack missing",
        CallEvent::ByeSent => "bye sent",
        CallEvent::ByeReceived => "bye received",
        CallEvent::Ended(_) => "ended",
    }
}

/// `INVITE` or `200 INVITE`.
pub(crate) fn kind(message: &Message) -> String {
    let cseq = String::from_utf8_lossy(message.value(HeaderName::CSeq).unwrap()).into_owned();
    let method = cseq.split(' ').next_back().unwrap().to_owned();
    match message.status() {
        Some(code) => format!("{code} {method}"),
        None => method,
    }
}

/// A header's first value as text.
pub(crate) fn header(message: &Message, name: HeaderName) -> String {
    String::from_utf8_lossy(message.value(name).unwrap_or_default()).into_owned()
}

/// A response of a raw peer to a request it got, with a To tag and more header lines.
pub(crate) fn reply(request: &Message, status: &str, tag: &str, lines: &str, body: &str) -> String {
    let mut vias = String::new();
    for via in request.values(HeaderName::Via) {
        vias += &format!("Via: {}\r\n", String::from_utf8_lossy(via));
    }
    let from = header(request, HeaderName::From);
    let to = header(request, HeaderName::To);
    let to = if to.contains(";tag=") || tag.is_empty() {
        to
    } else {
        format!("{to};tag={tag}")
    };
    let call_id = header(request, HeaderName::CallId);
    let cseq = header(request, HeaderName::CSeq);
    let length = body.len();
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A message of the archive of RFC 5118 as it would be on the wire: lines end with CRLF, an empty
/// line ends the headers, Content-Length is that of the body.
pub(crate) fn wire(archived: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(archived).unwrap().replace('\n', "\r\n");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| (text.trim_end(), ""));
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name @ "Content-Length", _)) => format!("{name}: {}", body.len()),
        _ => line.to_owned(),
    });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\n\r\n{body}").into_bytes()
}
