//! callmeter-api
