//! callmeter-metrics
