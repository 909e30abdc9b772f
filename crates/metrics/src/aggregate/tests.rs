use super::*;
use crate::catalogue::id;

fn with(rows: &[(u32, RowDirection, MetricId, f64)]) -> Aggregate {
    let mut aggregate = Aggregate::new();
    for &(second, direction, metric, value) in rows {
        aggregate.add(second, direction, metric, value).unwrap();
    }
    aggregate
}

#[test]
fn what_was_not_measured_is_absent() {
    let aggregate = with(&[(0, RowDirection::Recv, id::MOS, 4.4)]);
    assert!(aggregate.summary(id::MOS, RowDirection::Send).is_none());
    assert!(aggregate.summary(id::RTT_MS, RowDirection::Recv).is_none());
    assert!(aggregate.total(id::PACKETS_SENT).is_none());
    assert!(aggregate.histogram(id::RTT_MS).is_none());
    assert!(aggregate.tally(id::CALL_RESULT).is_none());
    assert_eq!(aggregate.summaries().len(), 1);
}

#[test]
fn counters_add_up_and_gauges_keep_their_distribution() {
    let aggregate = with(&[
        (0, RowDirection::Send, id::PACKETS_SENT, 50.0),
        (1, RowDirection::Send, id::PACKETS_SENT, 49.0),
        (0, RowDirection::Recv, id::MOS, 4.0),
        (1, RowDirection::Recv, id::MOS, 2.0),
    ]);
    assert_eq!(aggregate.total(id::PACKETS_SENT), Some(99.0));
    let mos = aggregate.summary(id::MOS, RowDirection::Recv).unwrap();
    assert_eq!(
        (mos.count, mos.mean, mos.min, mos.max),
        (2, Some(3.0), Some(2.0), Some(4.0))
    );
    assert_eq!(mos.sum, None);
    assert!((mos.p95.unwrap() - 4.0).abs() < 0.004);
}

#[test]
fn levels_add_up_over_endpoints_before_they_are_compared() {
    let rows: Vec<_> = [(0, 1.0), (0, 1.0), (0, 1.0), (1, 1.0), (1, 0.0)]
        .map(|(second, value)| (second, RowDirection::None, id::CALLS_ACTIVE, value))
        .into();
    let calls = with(&rows)
        .summary(id::CALLS_ACTIVE, RowDirection::None)
        .unwrap();
    assert_eq!(
        (calls.count, calls.max, calls.min),
        (2, Some(3.0), Some(1.0))
    );
}

#[test]
fn codes_are_counted_and_flags_become_a_share() {
    let aggregate = with(&[
        (0, RowDirection::None, id::FINAL_STATUS_CODE, 200.0),
        (0, RowDirection::None, id::FINAL_STATUS_CODE, 200.0),
        (0, RowDirection::None, id::FINAL_STATUS_CODE, 486.0),
        (0, RowDirection::None, id::ONE_WAY_AUDIO, 0.0),
        (0, RowDirection::None, id::ONE_WAY_AUDIO, 1.0),
    ]);
    let codes = aggregate.tally(id::FINAL_STATUS_CODE).unwrap();
    assert_eq!(
        codes.clone().into_iter().collect::<Vec<_>>(),
        [(200, 2), (486, 1)]
    );
    let share = aggregate
        .summary(id::ONE_WAY_AUDIO, RowDirection::None)
        .unwrap();
    assert_eq!((share.count, share.mean), (2, Some(50.0)));
}

#[test]
fn values_that_do_not_belong_are_refused_by_name() {
    let mut aggregate = Aggregate::new();
    let mut refused =
        |direction, metric, value| aggregate.add(0, direction, metric, value).unwrap_err();
    let none = MetricId(100_000);
    assert_eq!(
        refused(RowDirection::None, none, 1.0),
        Refused::Unknown(none)
    );
    assert_eq!(
        refused(RowDirection::Send, id::PACKETS_RECEIVED, 1.0),
        Refused::Direction(id::PACKETS_RECEIVED, RowDirection::Send)
    );
    assert_eq!(
        refused(RowDirection::Recv, id::MOS, f64::NAN),
        Refused::Value(id::MOS)
    );
    assert_eq!(
        refused(RowDirection::None, id::SER, 1.0),
        Refused::NotASample(id::SER)
    );
    assert_eq!(
        refused(RowDirection::None, id::FINAL_STATUS_CODE, 200.5),
        Refused::Value(id::FINAL_STATUS_CODE)
    );
    assert_eq!(aggregate, Aggregate::new());
}

#[test]
fn merged_parts_and_stored_copies_equal_the_whole() {
    let rows = [
        (0, RowDirection::Send, id::PACKETS_SENT, 50.0),
        (0, RowDirection::Recv, id::JITTER_MS, 1.5),
        (0, RowDirection::None, id::CALLS_ACTIVE, 1.0),
        (0, RowDirection::None, id::CALL_RESULT, 0.0),
        (0, RowDirection::None, id::GENERATOR_LIMITED, 0.0),
        (0, RowDirection::Send, id::PACKETS_SENT, 25.0),
        (0, RowDirection::Recv, id::JITTER_MS, 9.5),
        (0, RowDirection::None, id::CALLS_ACTIVE, 1.0),
        (0, RowDirection::None, id::CALL_RESULT, 1.0),
        (0, RowDirection::None, id::GENERATOR_LIMITED, 1.0),
    ];
    let whole = with(&rows);
    let mut merged = with(&rows[..5]);
    merged.merge(&with(&rows[5..]));
    assert_eq!(merged, whole);
    let text = serde_json::to_string(&whole).unwrap();
    assert_eq!(serde_json::from_str::<Aggregate>(&text).unwrap(), whole);
}
