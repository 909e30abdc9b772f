//! callmeter-engine
