//! callmeter-worker
fn main() {}
