//! The binary of the operator.
fn main() {}
