//! Any challenge to a REGISTER: what is sent next can be read and never has the password.
#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::{Challenge, HeaderName, Message};
use callmeter_sip::{
    Credentials, EndpointConfig, EndpointKey, Flow, Listener, LocalId, Output, Password,
    Registration, Transport, UaConfig, UserAgent,
};
use libfuzzer_sys::fuzz_target;

const LOCAL: LocalId = LocalId(1);
const PASSWORD: &str = "open sesame, says 0451";

fn sent(ua: &mut UserAgent) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some(output) = ua.poll_output() {
        if let Output::Transmit(transmit) = output {
            found.push(Message::parse(transmit.bytes).expect("ours can be read"));
        }
    }
    found
}

fuzz_target!(|data: &[u8]| {
    // A line end would begin another header field: target message has those.
    if data.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return;
    }
    let _ = Challenge::parse(data);
    let now = Instant::now();
    let remote = "192.0.2.9:5060".parse().unwrap();
    let mut ua = UserAgent::new(UaConfig::default(), 1);
    let address = "192.0.2.1:5060".parse().unwrap();
    ua.add_listener(Listener::udp(LOCAL, address, None))
        .unwrap();
    let mut config = EndpointConfig::new(LOCAL, "sip:a@example.org".parse().unwrap());
    config.next_hop = Some(remote);
    config.credentials = Some(Credentials {
        username: "a".to_owned(),
        password: Password::new(PASSWORD),
        realm: None,
    });
    ua.add_endpoint(EndpointKey(1), config).unwrap();
    let registration = Registration {
        registrar: "sip:example.org".parse().unwrap(),
        expires: Duration::from_secs(60),
    };
    ua.register(now, EndpointKey(1), registration).unwrap();
    let register = sent(&mut ua).remove(0);
    let mut reply = b"SIP/2.0 401 Unauthorized\r\n".to_vec();
    for header in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = register.value_of(header).expect("ours has it");
        let tag: &[u8] = if header == "To" { b";tag=x" } else { b"" };
        reply.extend([header.as_bytes(), b": ", value, tag, b"\r\n"].concat());
    }
    reply.extend(
        [
            b"WWW-Authenticate: ",
            data,
            b"\r\nContent-Length: 0\r\n\r\n",
        ]
        .concat(),
    );
    let flow = Flow {
        local: LOCAL,
        transport: Transport::Udp,
        remote,
    };
    ua.handle_input(now, flow, Bytes::from(reply));
    for message in sent(&mut ua) {
        message.validate().expect("ours is valid");
        assert!(message.values(HeaderName::Authorization).count() <= 1);
        let text = message.as_bytes();
        let told = text
            .windows(PASSWORD.len())
            .any(|part| part == PASSWORD.as_bytes());
        assert!(!told, "the password is on the wire");
    }
});
