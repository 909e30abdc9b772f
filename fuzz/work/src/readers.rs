//! All that is done with what a peer sends.

use std::time::Instant;

use bytes::Bytes;
use callmeter_sip::message::{Challenge, HeaderName, Message, NameAddr, Via, masked};
use callmeter_sip::sdp::{Codec, Direction, LocalAudio, accept, answer};
use callmeter_sip::{
    EndpointConfig, EndpointKey, Flow, Framer, Listener, LocalId, Transport, UaConfig, Uri,
    UserAgent,
};

const LOCAL: LocalId = LocalId(1);

/// Every view of a message, and what a user agent makes of it.
pub fn message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = masked(&bytes);
    if let Ok(message) = Message::parse(bytes.clone()) {
        let _ = message.validate();
        let _ = message.request_uri();
        let _ = message.reason();
        for header in [
            HeaderName::Contact,
            HeaderName::Route,
            HeaderName::RecordRoute,
        ] {
            for address in message.addresses(header).unwrap_or_default() {
                uri_views(&address.uri);
            }
            let _ = message.elements(header).count();
        }
        let _ = message.challenges(HeaderName::WwwAuthenticate);
        let _ = message.seconds(HeaderName::Expires);
        let _ = message.value_of("Info-Package");
    }
    let mut ua = UserAgent::new(UaConfig::default(), 1);
    let address = ([192, 0, 2, 1], 5060).into();
    let _ = ua.add_listener(Listener::udp(LOCAL, address, None));
    if let Ok(aor) = "sip:a@192.0.2.1".parse() {
        let _ = ua.add_endpoint(EndpointKey(1), EndpointConfig::new(LOCAL, aor));
    }
    let flow = Flow {
        local: LOCAL,
        transport: Transport::Udp,
        remote: ([192, 0, 2, 50], 5060).into(),
    };
    ua.handle_input(Instant::now(), flow, bytes);
    while ua.poll_output().is_some() {}
}

/// Every view of a URI.
pub fn uri(bytes: &[u8]) {
    if let Ok(uri) = Uri::parse(Bytes::copy_from_slice(bytes)) {
        uri_views(&uri);
    }
}

fn uri_views(uri: &Uri) {
    let _ = uri.user();
    let _ = uri.socket_addr();
    let _ = uri.is_loose_router();
    let _ = uri.same_address(uri);
    let _ = uri.to_string();
}

/// One element of a header field.
pub fn name_addr(bytes: &[u8]) {
    if let Ok(address) = NameAddr::parse(HeaderName::Contact, Bytes::copy_from_slice(bytes)) {
        let _ = address.display_name();
        let _ = address.tag();
        uri_views(&address.uri);
    }
}

/// One element of Via.
pub fn via(bytes: &[u8]) {
    if let Ok(via) = Via::parse(Bytes::copy_from_slice(bytes)) {
        let _ = via.branch();
        let _ = via.param("rport");
    }
}

/// A challenge.
pub fn challenge(bytes: &[u8]) {
    let _ = Challenge::parse(bytes);
}

/// A description, as an offer and as an answer.
pub fn sdp(bytes: &[u8]) {
    let local = LocalAudio {
        session_id: 1,
        session_version: 1,
        address: [192, 0, 2, 1].into(),
        port: 40_000,
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        ptime_ms: 20,
        direction: Direction::SendRecv,
        telephone_events: Some(101),
        refused: None,
    };
    let _ = accept(bytes, &local);
    let _ = answer(bytes, &local);
}

/// A stream that arrives in pieces of so many bytes.
pub fn framer(bytes: &[u8], piece: usize) {
    let mut framer = Framer::new();
    for piece in bytes.chunks(piece) {
        framer.push(piece);
        while let Ok(Some(_)) = framer.next_frame() {}
    }
}
