//! Any URI: what can be read is kept byte by byte and is the same address as itself.
#![no_main]

use bytes::Bytes;
use callmeter_sip::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(uri) = Uri::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).expect("it was read before");
    assert_eq!(uri.as_bytes(), again.as_bytes());
    assert!(uri.same_address(&again));
    assert_eq!(uri.host(), again.host());
    assert_eq!(uri.port(), again.port());
    let _ = (uri.user(), uri.socket_addr(), uri.is_loose_router());
    let _ = (uri.has_headers(), uri.param("transport"), uri.to_string());
});
