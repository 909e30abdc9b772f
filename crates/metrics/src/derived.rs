//! The metrics no row carries: worked out from an aggregate and the counts of outcomes.

use crate::aggregate::{Aggregate, RowDirection};
use crate::catalogue::{MetricId, id};
use crate::labels::CallResult;

/// Seconds with at least this MOS count as good (`pct_seconds_good`).
pub const GOOD_MOS: f64 = 3.5;

/// Calls by outcome, as the ends of the calls reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeTotals {
    /// Calls that ended, placed and received ones as the caller of [`derive()`] chose to count.
    pub calls: u64,
    /// Of these, with outcome SUCCESS.
    pub success: u64,
    /// Of all calls placed, those that were answered and ended through BYE and its 200, with or
    /// without warnings.
    pub completed: u64,
}

/// The value of a derived metric; `None` if what it needs was not measured, if there was nothing
/// to relate to, or if the metric is not a derived one.
///
/// `outcomes` is what `scr` and `call_success_rate` are worked out from.
pub fn derive(metric: MetricId, from: &Aggregate, outcomes: Option<&OutcomeTotals>) -> Option<f64> {
    match metric {
        id::REG_SUCCESS_RATIO => {
            percent(from.total(id::REG_SUCCESS)?, from.total(id::REG_ATTEMPTS)?)
        }
        id::REG_INEFFECTIVE_RATIO => {
            percent(from.total(id::REG_FAILED)?, from.total(id::REG_ATTEMPTS)?)
        }
        id::SER => effective(from, &[]),
        id::SEER => effective(from, &[480, 486, 600, 603]),
        id::ISA => percent(ineffective(from), attempts(from)?),
        id::SCR => percent(outcomes?.completed as f64, attempts(from)?),
        id::ASR => percent(answered(from) as f64, attempts(from)?),
        id::NER => {
            let refused = codes(from, |code| code == 486 || code == 603);
            percent((answered(from) + refused) as f64, attempts(from)?)
        }
        id::ACD_S => from
            .histogram(id::CALL_DURATION_MS)?
            .mean()
            .map(|mean| mean / 1000.0),
        id::JITTER_MAX_MS => from.histogram(id::JITTER_MS)?.max(),
        id::RTT_MIN_MS => from.histogram(id::RTT_MS)?.min(),
        id::RTT_MAX_MS => from.histogram(id::RTT_MS)?.max(),
        id::MOS_MIN => from.summary(id::MOS, RowDirection::Recv)?.min,
        id::MOS_P05 => from.histogram(id::MOS)?.quantile(0.05),
        id::PCT_SECONDS_GOOD => {
            let mos = from.histogram(id::MOS)?;
            percent(mos.count_at_least(GOOD_MOS) as f64, mos.count() as f64)
        }
        id::CALL_SUCCESS_RATE => outcomes.and_then(|o| percent(o.success as f64, o.calls as f64)),
        _ => None,
    }
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole * 100.0)
}

fn attempts(from: &Aggregate) -> Option<f64> {
    from.total(id::INVITE_SENT)
}

fn codes(from: &Aggregate, wanted: impl Fn(u32) -> bool) -> u64 {
    let counts = from.tally(id::FINAL_STATUS_CODE).into_iter().flatten();
    counts
        .filter(|(code, _)| wanted(**code))
        .map(|(_, n)| n)
        .sum()
}

fn answered(from: &Aggregate) -> u64 {
    codes(from, |code| (200..300).contains(&code))
}

/// RFC 6076 §4.6 and §4.7: answered, or refused in a way that shows the far user was reached, over
/// all attempts that were not redirected.
fn effective(from: &Aggregate, also: &[u32]) -> Option<f64> {
    let reached = answered(from) + codes(from, |code| also.contains(&code));
    let redirected = codes(from, |code| (300..400).contains(&code));
    percent(reached as f64, attempts(from)? - redirected as f64)
}

/// RFC 6076 §4.8: attempts that ended 408, 500, 503, 504 or without any answer.
fn ineffective(from: &Aggregate) -> f64 {
    let results = from.tally(id::CALL_RESULT);
    let of = |result: CallResult| {
        let count = results.and_then(|counts| counts.get(&result.code()));
        count.copied().unwrap_or_default()
    };
    let failed = codes(from, |code| matches!(code, 500 | 504));
    // Those with 503, and those whose connection failed, which have no code.
    let unavailable = of(CallResult::Unavailable).saturating_sub(codes(from, |code| code == 480));
    (failed + unavailable + of(CallResult::Timeout)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Aggregation, CATALOGUE};

    /// Ten attempts: five answered, one each of 302, 486, 603, 503, and one never answered.
    fn ten_calls() -> Aggregate {
        let mut aggregate = Aggregate::new();
        let mut add = |direction, metric, value| {
            aggregate.add(1, direction, metric, value).unwrap();
        };
        let mut calls = vec![Some(200); 5];
        calls.extend([Some(302), Some(486), Some(603), Some(503), None]);
        for status in calls {
            add(RowDirection::None, id::INVITE_SENT, 1.0);
            if let Some(status) = status {
                add(RowDirection::None, id::FINAL_STATUS_CODE, f64::from(status));
            }
            let result = CallResult::from_status(status).code();
            add(RowDirection::None, id::CALL_RESULT, f64::from(result));
        }
        for duration in [1000.0, 3000.0] {
            add(RowDirection::None, id::CALL_DURATION_MS, duration);
        }
        for (mos, rtt, jitter) in [
            (4.4, 10.0, 1.0),
            (4.4, 20.0, 2.0),
            (2.0, 30.0, 7.0),
            (4.0, 5.0, 0.5),
        ] {
            add(RowDirection::Recv, id::MOS, mos);
            add(RowDirection::Recv, id::RTT_MS, rtt);
            add(RowDirection::Recv, id::JITTER_MS, jitter);
        }
        for (metric, n) in [
            (id::REG_ATTEMPTS, 8.0),
            (id::REG_SUCCESS, 6.0),
            (id::REG_FAILED, 2.0),
        ] {
            add(RowDirection::None, metric, n);
        }
        aggregate
    }

    #[test]
    fn every_derived_metric_has_its_worked_value() {
        let outcomes = OutcomeTotals {
            calls: 10,
            success: 4,
            completed: 5,
        };
        let aggregate = ten_calls();
        for (metric, expected) in [
            (id::REG_SUCCESS_RATIO, 75.0),
            (id::REG_INEFFECTIVE_RATIO, 25.0),
            (id::SER, 5.0 / 9.0 * 100.0),
            (id::SEER, 7.0 / 9.0 * 100.0),
            (id::ISA, 20.0),
            (id::SCR, 50.0),
            (id::ASR, 50.0),
            (id::NER, 70.0),
            (id::ACD_S, 2.0),
            (id::JITTER_MAX_MS, 7.0),
            (id::RTT_MIN_MS, 5.0),
            (id::RTT_MAX_MS, 30.0),
            (id::MOS_MIN, 2.0),
            (id::MOS_P05, 2.0),
            (id::PCT_SECONDS_GOOD, 75.0),
            (id::CALL_SUCCESS_RATE, 40.0),
        ] {
            let found = derive(metric, &aggregate, Some(&outcomes)).unwrap();
            assert!(
                (found - expected).abs() < expected / 1000.0,
                "{metric}: {found}"
            );
        }
    }

    /// A connection that failed is an ineffective attempt although nobody answered 503; a user who is
    /// not there (480) is none.
    #[test]
    fn attempts_without_a_connection_are_ineffective() {
        let mut aggregate = Aggregate::new();
        for status in [Some(200), Some(480), Some(503), None] {
            let mut add = |metric, value| {
                aggregate.add(1, RowDirection::None, metric, value).unwrap();
            };
            add(id::INVITE_SENT, 1.0);
            if let Some(status) = status {
                add(id::FINAL_STATUS_CODE, f64::from(status));
            }
            let result = status.map_or(CallResult::Unavailable, |status| {
                CallResult::from_status(Some(status))
            });
            add(id::CALL_RESULT, f64::from(result.code()));
        }
        assert_eq!(derive(id::ISA, &aggregate, None), Some(50.0));
    }

    #[test]
    fn nothing_is_derived_from_nothing() {
        for metric in CATALOGUE
            .iter()
            .filter(|m| m.aggregation == Aggregation::Derived)
        {
            assert_eq!(
                derive(metric.id, &Aggregate::new(), None),
                None,
                "{}",
                metric.key
            );
            let none = OutcomeTotals::default();
            assert_eq!(
                derive(metric.id, &Aggregate::new(), Some(&none)),
                None,
                "{}",
                metric.key
            );
        }
    }

    #[test]
    fn exactly_the_derived_metrics_marked_as_measured_have_a_value() {
        let outcomes = OutcomeTotals {
            calls: 10,
            success: 4,
            completed: 5,
        };
        let aggregate = ten_calls();
        for metric in &CATALOGUE {
            let has = derive(metric.id, &aggregate, Some(&outcomes)).is_some();
            let derived = metric.aggregation == Aggregation::Derived && metric.measured;
            assert_eq!(has, derived, "{}", metric.key);
        }
    }
}
