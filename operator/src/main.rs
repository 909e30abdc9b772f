//! callmeter-operator
fn main() {}
