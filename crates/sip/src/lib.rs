//! callmeter-sip
