//! callmeter-media
