//! What the control task and the log are told of shares.

use std::time::Instant;

use callmeter_engine::{EndpointEvent, LocalId, SampleRow, ShareId, ShareTotals};

use super::{GATHER, Gathered, Shard};
use crate::signalling::{convert, messages::Report};

impl Shard {
    /// Events of one run go together until something else is to be said, or for a moment.
    pub(super) fn report_event(&mut self, now: Instant, event: EndpointEvent) {
        let Some(share) = self.shares.get(&event.share) else {
            return;
        };
        let message = convert::event(&share.group, event);
        match &mut self.gathered {
            Some(held) if held.run == share.run => held.events.push(message),
            _ => {
                let run = share.run.clone();
                self.flush_events();
                self.gathered = Some(Gathered {
                    run,
                    events: vec![message],
                    due: now + GATHER,
                });
            }
        }
    }

    pub(super) fn flush_events(&mut self) {
        if let Some(Gathered { run, events, .. }) = self.gathered.take() {
            self.reports.push(Report::Events { run, events });
        }
    }

    pub(super) fn report_rows(&mut self, id: ShareId, second: u32, rows: Vec<SampleRow>) {
        self.flush_events();
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let rows = rows
            .into_iter()
            .map(|row| convert::row(&share.group, row))
            .collect();
        self.reports.push(Report::Rows {
            run: share.run.clone(),
            second,
            rows,
        });
    }

    pub(super) fn report_end(&mut self, id: ShareId, totals: ShareTotals) {
        self.flush_events();
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        share.ended = true;
        tracing::info!(
            run = share.run,
            group = share.group,
            port = share.port,
            "share ended"
        );
        self.reports.push(Report::ShareEnded {
            run: share.run.clone(),
            group: share.group.clone(),
            first: share.first,
            calls: convert::calls(totals.calls),
        });
    }

    /// A peer's connection was closed or could not be accepted: said once for each share and reason,
    /// counted each time.
    pub(super) fn turned_away(&mut self, local: LocalId, reason: &str) {
        self.stats.turned_away.add(1);
        let share = self.shares.get_mut(&ShareId::of(local));
        if let Some(share) = share.filter(|share| !share.turned_away.iter().any(|it| it == reason))
        {
            share.turned_away.push(reason.to_owned());
            tracing::warn!(
                run = share.run,
                group = share.group,
                port = share.port,
                "SIP connections of peers are turned away: {reason}"
            );
        }
    }
}
