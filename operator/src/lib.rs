//! callmeter-operator
