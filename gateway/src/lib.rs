//! callmeter-gateway
