//! callmeter-gateway

fn main() {}
