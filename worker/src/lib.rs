//! callmeter-worker
