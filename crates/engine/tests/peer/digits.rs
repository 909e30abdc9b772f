//! Digits to a far end that takes them, refuses them or says nothing.
#![expect(clippy::float_cmp, reason = "counts are exact")]

use std::net::SocketAddr;

use callmeter_engine::{Action, Assign, Dtmf, Role, Scenario, Step, When};
use callmeter_metrics::{RowDirection, id};

use crate::common::{World, ms, secs};
use crate::{PEER, SDP, reply, respond};

/// A digit counts as sent once its INFO is accepted. The rest of its step is lost when one is
/// refused, or not answered before the call ends; all of it where RTP has no telephone events. A
/// step that never began has no digits to lose.
#[test]
fn digits_are_sent_when_the_far_end_took_them() {
    const OK: &str = "200 OK";
    const REFUSED: &str = "415 Unsupported Media Type";
    for (dtmf, answers, sent, lost) in [
        (Dtmf::Info, &[OK, OK, OK, OK][..], 4.0, 0.0),
        (Dtmf::Info, &[OK, REFUSED, OK], 2.0, 2.0),
        (Dtmf::Info, &[OK, REFUSED], 1.0, 3.0),
        (Dtmf::Info, &[OK], 1.0, 2.0),
        (Dtmf::Rfc4733, &[], 0.0, 4.0),
    ] {
        let mut world = World::new(1, 8);
        let steps = ["123", "4"].map(|digits| Step {
            when: When::At(secs(9)),
            action: Action::SendDtmf(digits.into()),
        });
        let plan = Assign {
            dtmf,
            scenario: Scenario::new(steps.into()).expect("a scenario"),
            ..world.plan(0, 1, Role::Caller, 1)
        };
        world.assign(0, plan);
        world.start(0, 1, &[format!("sip:peer@{PEER}")]);
        world.run_for(ms(20));
        respond(&mut world, "200 OK", SDP);
        world.run_for(secs(9));
        for status in answers {
            respond(&mut world, status, "");
        }
        let bye = |(to, text): &&(SocketAddr, String)| *to == PEER && text.starts_with("BYE ");
        world.run_until("a BYE", secs(2), |world| world.raw.iter().any(|m| bye(&m)));
        let (_, text) = world.raw.iter().find(bye).expect("a BYE").clone();
        reply(&mut world, &text, "200 OK", "", "");
        world.run_until_ended(secs(60));
        let figure = |metric| {
            let rows = world.sites[0].rows_of(1);
            rows.filter(|row| row.direction == RowDirection::Send)
                .flat_map(|row| &row.values)
                .filter(|value| value.metric == metric)
                .map(|value| value.value)
                .sum::<f64>()
        };
        assert_eq!(
            [figure(id::DTMF_SENT), figure(id::DTMF_ERRORS)],
            [sent, lost],
            "{dtmf:?} {answers:?}"
        );
    }
}
