//! Any description as an offer and as an answer: an answer of ours can be read again.
#![no_main]

use callmeter_sip::sdp::{Codec, Direction, LocalAudio, SdpError, accept, answer, offer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let local = LocalAudio {
        session_id: 1,
        session_version: 1,
        address: "192.0.2.1".parse().unwrap(),
        port: 40_000,
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        ptime_ms: 20,
        direction: Direction::SendRecv,
        telephone_events: Some(101),
        refused: None,
    };
    assert!(answer(&offer(&local), &local).is_ok());
    let _ = accept(data, &local);
    if let Ok((body, _)) = answer(data, &local) {
        let again = answer(&body, &local);
        assert!(!matches!(again, Err(SdpError::Malformed(_))), "{again:?}");
    }
});
