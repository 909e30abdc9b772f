//! Any datagram: read, shown in a trace, and given to a user agent with an endpoint.
#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message, masked};
use callmeter_sip::{
    EndpointConfig, EndpointKey, Flow, Listener, LocalId, Output, Transport, UaConfig, UserAgent,
};
use libfuzzer_sys::fuzz_target;

const LOCAL: LocalId = LocalId(1);

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = masked(data);
    if let Ok(message) = Message::parse(bytes.clone()) {
        let _ = message.validate();
        let _ = message.request_uri();
        let _ = message.reason();
        for header in [
            HeaderName::Contact,
            HeaderName::Route,
            HeaderName::RecordRoute,
        ] {
            let _ = message.addresses(header);
        }
        let _ = message.challenges(HeaderName::WwwAuthenticate);
        assert!(message.body().len() <= data.len());
    }
    let mut ua = UserAgent::new(UaConfig::default(), 1);
    let address = "192.0.2.1:5060".parse().unwrap();
    ua.add_listener(Listener::udp(LOCAL, address, None))
        .unwrap();
    let config = EndpointConfig::new(LOCAL, "sip:a@192.0.2.1".parse().unwrap());
    ua.add_endpoint(EndpointKey(1), config).unwrap();
    let flow = Flow {
        local: LOCAL,
        transport: Transport::Udp,
        remote: "192.0.2.50:5060".parse().unwrap(),
    };
    let mut now = Instant::now();
    ua.handle_input(now, flow, bytes);
    // What it sends back can be read; a call that came in rings and ends by itself.
    for _ in 0..100 {
        while let Some(output) = ua.poll_output() {
            if let Output::Transmit(transmit) = output {
                assert!(Message::parse(transmit.bytes).is_ok());
            }
        }
        let Some(next) = ua.next_timeout() else { break };
        now = now.max(next) + Duration::from_millis(1);
        ua.handle_timeout(now);
    }
});
