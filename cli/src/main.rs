//! callmeter
fn main() {}
