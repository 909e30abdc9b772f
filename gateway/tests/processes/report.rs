//! Figures of a report.

use serde_json::Value;

/// No `group` of a report has this name, or the figure is not there: the report is shown.
pub(crate) fn figure(report: &Value, group: &str, pointer: &str) -> f64 {
    let groups = report["groups"].as_array().unwrap();
    let found = groups
        .iter()
        .find(|g| g["name"] == group)
        .and_then(|g| g.pointer(pointer)?.as_f64());
    found.unwrap_or_else(|| panic!("no {pointer} of {group}: {report:#}"))
}

/// A whole number of a report.
pub(crate) fn count(report: &Value, group: &str, pointer: &str) -> u64 {
    let figure = figure(report, group, pointer);
    assert!(
        figure >= 0.0 && figure.fract() < f64::EPSILON,
        "{pointer} of {group}: {figure}"
    );
    figure as u64
}

/// A metric of a group by key, direction and statistic.
pub(crate) fn metric(report: &Value, group: &str, key: &str, direction: &str, stat: &str) -> f64 {
    let groups = report["groups"].as_array().unwrap();
    let metrics = groups.iter().find(|g| g["name"] == group).unwrap()["metrics"]
        .as_array()
        .unwrap();
    let found = metrics
        .iter()
        .find(|m| m["metric"] == key && m["direction"] == direction);
    found
        .and_then(|m| m[stat].as_f64())
        .unwrap_or_else(|| panic!("no {stat} of {key}: {report:#}"))
}

/// MOS of G.711 without loss by the full formula of ITU-T G.107, worked out apart from our code at
/// four delays; between them it is close to straight.
pub(crate) fn mos_at(delay_ms: f64) -> f64 {
    const POINTS: [(f64, f64); 4] = [(0.0, 4.41), (40.0, 4.385), (60.0, 4.375), (100.0, 4.355)];
    let pair = POINTS
        .windows(2)
        .find(|p| delay_ms <= p[1].0)
        .expect("a delay on loopback");
    let [(from, high), (to, low)] = [pair[0], pair[1]];
    high + (low - high) * (delay_ms - from) / (to - from)
}
