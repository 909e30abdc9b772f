//! Claims about metric values, each checked twice: it must hold where the value was driven, and
//! must not hold where it was not.

use std::collections::BTreeSet;

use callmeter_proto::worker::{Direction, SampleRow};

use crate::support::run::{Told, id_of};

/// How the values of many rows become the one that is claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    /// Of the seconds: added up.
    Sum,
    /// Of the seconds: the largest.
    Highest,
    /// Of the seconds: the one in the middle.
    Median,
    /// Of the call with this number.
    Call(u32),
    /// Of the first call of each endpoint: added up.
    AllCalls,
}

/// The values of one group of a run.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) told: &'a Told,
    pub(crate) group: &'a str,
}

/// A metric, and what its value must be.
#[derive(Debug)]
pub(crate) struct Claim {
    key: &'static str,
    direction: Direction,
    figure: Figure,
    least: f64,
    most: f64,
}

impl Claim {
    /// The value is this number.
    pub(crate) fn exactly(
        key: &'static str,
        direction: Direction,
        figure: Figure,
        value: impl Into<f64>,
    ) -> Self {
        let value = value.into();
        // Parts of a sum are whole numbers or short fractions.
        Self::between(key, direction, figure, value - 1e-6, value + 1e-6)
    }

    /// The value is one of these, ends included.
    pub(crate) fn between(
        key: &'static str,
        direction: Direction,
        figure: Figure,
        least: f64,
        most: f64,
    ) -> Self {
        Self {
            key,
            direction,
            figure,
            least,
            most,
        }
    }

    /// The value in milliseconds is `known`, as measured by the other side, or a little more:
    /// the machine may be busy.
    pub(crate) fn lasts(
        key: &'static str,
        direction: Direction,
        figure: Figure,
        known: std::time::Duration,
    ) -> Self {
        let known = known.as_secs_f64() * 1000.0;
        Self::between(key, direction, figure, known - 10.0, known + 100.0)
    }

    fn holds(&self, view: View) -> Result<(), String> {
        let Self {
            key,
            direction,
            figure,
            least,
            most,
        } = *self;
        let found = view.figure(key, direction, figure);
        let right = found.is_some_and(|value| (least..=most).contains(&value));
        let said = format!("{key} of {}: {found:?}, not {least}..={most}", view.group);
        right.then_some(()).ok_or(said)
    }
}

impl View<'_> {
    /// The values of a metric, second by second or call by call.
    pub(crate) fn values(&self, key: &str, direction: Direction, call: Option<u32>) -> Vec<f64> {
        let id = id_of(key);
        let wanted = |row: &&SampleRow| {
            row.group == self.group
                && row.direction() == direction
                && row.per_call == call.is_some()
                && call.is_none_or(|call| row.call == call)
        };
        let rows = self.told.rows.iter().filter(wanted);
        rows.flat_map(|row| &row.values)
            .filter(|value| value.metric == id)
            .map(|value| value.value)
            .collect()
    }

    fn figure(&self, key: &str, direction: Direction, figure: Figure) -> Option<f64> {
        let call = match figure {
            Figure::Call(call) => Some(call),
            Figure::AllCalls => Some(1),
            Figure::Sum | Figure::Highest | Figure::Median => None,
        };
        let mut values = self.values(key, direction, call);
        values.sort_by(f64::total_cmp);
        match figure {
            Figure::Sum | Figure::AllCalls => (!values.is_empty()).then(|| values.iter().sum()),
            Figure::Highest => values.last().copied(),
            Figure::Median => values.get(values.len() / 2).copied(),
            Figure::Call(_) => match values.as_slice() {
                [] => None,
                [value] => Some(*value),
                _ => panic!("{key} of {}: {values:?} of one call", self.group),
            },
        }
    }
}

/// Every claim holds of the group it is about and fails of `control`; together they are about
/// exactly `keys`.
pub(crate) fn prove(claims: &[(View, Vec<Claim>)], control: View, keys: &[&str]) {
    let mut wrong = Vec::new();
    let mut proven = BTreeSet::new();
    for (driven, claims) in claims {
        for claim in claims {
            proven.insert(claim.key);
            wrong.extend(claim.holds(*driven).err());
            if claim.holds(control).is_ok() {
                wrong.push(format!("{claim:?} holds of the control, too"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(proven, keys.iter().copied().collect());
}
