//! Reading figures out of an answer: what was not measured is shown as `-`, never as zero.

use serde_json::Value;

/// The number at a JSON pointer.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

/// The text at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The elements of the array at a JSON pointer.
pub(crate) fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A figure with its decimals and unit.
pub(crate) fn shown(figure: Option<f64>, decimals: usize, unit: &str) -> String {
    figure.map_or_else(|| "-".to_owned(), |f| format!("{f:.decimals$}{unit}"))
}
