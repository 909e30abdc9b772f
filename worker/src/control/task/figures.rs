//! What the metrics of the process say of the session.

use crate::{control::Session, telemetry::Telemetry};

/// Sets the gauges to this moment, and counts the rows given up since the call before.
pub(super) fn tell(session: &mut Session, telemetry: &Telemetry) {
    telemetry
        .endpoints_active
        .set(session.active_endpoints().into());
    telemetry.runs_active.set(session.active_runs() as i64);
    telemetry.rows_buffered.set(session.rows_buffered() as i64);
    telemetry.rows_dropped.inc_by(session.take_rows_dropped());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use callmeter_proto::worker::{
        Assign, Hello, SampleRow, Welcome, to_worker::Message as ToWorker,
    };

    use super::*;
    use crate::{control::Identity, signalling::Report};

    /// Rows kept for an endpoint: 330 s of 4.
    const KEPT: usize = 1320;

    fn shown(telemetry: &Telemetry, name: &str) -> String {
        let text = String::from_utf8(telemetry.render()).unwrap();
        let of_line = |line: &str| {
            let value = line.strip_prefix(&format!("callmeter_worker_{name} "))?;
            Some(value.to_owned())
        };
        text.lines().find_map(of_line).unwrap()
    }

    /// What a full buffer gives up, and what never reached it, each once.
    #[test]
    fn rows_given_up_are_counted_once() {
        let (now, run) = (Instant::now(), || "r".to_owned());
        let identity = Identity::new([7; 16], Hello::default());
        let mut session = Session::new(now, identity, Duration::ZERO, 1);
        session.connected(now, &Welcome::default());
        let assign = Assign {
            seq: 1,
            run: run(),
            group: "a".into(),
            count: 1,
            ..Assign::default()
        };
        session.from_gateway(now, ToWorker::Assign(assign));
        let rows = |count: usize| Report::Rows {
            run: run(),
            second: 1,
            rows: vec![
                SampleRow {
                    group: "a".into(),
                    ..SampleRow::default()
                };
                count
            ],
        };
        let telemetry = Telemetry::new().unwrap();
        let counts = [
            (rows(KEPT), "0"),
            (rows(7), "7"),
            (
                Report::RowsLost {
                    run: run(),
                    rows: 5,
                },
                "12",
            ),
        ];
        for (report, dropped) in counts {
            session.from_shards(report);
            for _ in 0..2 {
                tell(&mut session, &telemetry);
                let of_all = shown(&telemetry, "sample_rows_dropped_total");
                assert_eq!(of_all, dropped);
            }
        }
        assert_eq!(shown(&telemetry, "sample_rows_buffered"), KEPT.to_string());
        assert_eq!(shown(&telemetry, "endpoints_active"), "1");
        assert_eq!(shown(&telemetry, "runs_active"), "1");
    }
}
