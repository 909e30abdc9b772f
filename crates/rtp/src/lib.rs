//! callmeter-rtp
