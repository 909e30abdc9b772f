//! What of a worker's message is taken: a worker is authenticated, not trusted with more than its
//! own endpoints.

use std::time::Duration;

use callmeter_proto::worker::{self, Direction, endpoint_event::What};

use crate::link::{RunMessage, WorkerId};
use crate::run::{OwedShare, Run};
use crate::store::SampleRow;

/// Longest text for people that is kept, bytes.
const MAX_DETAIL: usize = 512;
/// Longest URI of an endpoint, bytes.
const MAX_URI: usize = 512;
/// Seconds a worker may measure beyond the duration of a run: hanging up and un-registering take
/// 70 s at most.
const BEYOND: Duration = Duration::from_secs(180);

/// Cuts texts for people, and takes away addresses that are none: an endpoint without one is not
/// called.
pub(super) fn bound_texts(message: &mut RunMessage) {
    let RunMessage::Events(events) = message else {
        return;
    };
    for event in &mut events.events {
        match &mut event.what {
            Some(What::Ready(ready)) => {
                for uri in [&mut ready.contact, &mut ready.aor] {
                    if uri.len() > MAX_URI || !uri.bytes().all(|b| b.is_ascii_graphic()) {
                        tracing::warn!(
                            group = event.group,
                            endpoint = event.endpoint,
                            bytes = uri.len(),
                            "an address is refused; accepted: at most {MAX_URI} printable characters"
                        );
                        uri.clear();
                    }
                }
            }
            Some(What::CallEnded(end)) => cut(&mut end.detail),
            Some(What::Ended(end)) => cut(&mut end.detail),
            Some(What::Phase(_)) | None => {}
        }
    }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_DETAIL));
}

/// The rows of a message as they are stored.
pub(super) fn sample_rows(samples: &worker::Samples) -> Vec<SampleRow> {
    let row = |row: &worker::SampleRow| SampleRow {
        group: row.group.clone(),
        endpoint: row.endpoint,
        second: samples.second,
        call: row.call,
        direction: row.direction,
        per_call: row.per_call,
        generator_limited: row.generator_limited,
        delay_partial: row.delay_partial,
        values: row.values.iter().map(|v| (v.metric, v.value)).collect(),
    };
    samples.rows.iter().map(row).collect()
}

/// Takes out rows of endpoints that are not the worker's, of a direction that does not exist, or of
/// a second after the run; says how many.
pub(super) fn refuse_foreign(rows: &mut Vec<SampleRow>, run: &Run, worker: WorkerId) -> usize {
    let own: Vec<OwedShare> = run.shares_of(worker).collect();
    let last = (run.test().duration + BEYOND).as_secs();
    let told = rows.len();
    rows.retain(|row| {
        let known = matches!(
            Direction::try_from(row.direction),
            Ok(Direction::None | Direction::Send | Direction::Recv)
        );
        known
            && u64::from(row.second) <= last
            && own
                .iter()
                .any(|share| share.holds(&row.group, row.endpoint))
    });
    told - rows.len()
}
