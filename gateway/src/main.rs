//! callmeter-gateway
fn main() {}
