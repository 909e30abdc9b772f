//! What happens within a call, against SIPp with a script for each: holds, transfers, reliable
//! ringing. The times are those of SIPp's log.

use std::time::Duration;

use callmeter_proto::worker::{
    Assign, Direction, Outcome, Reliable, Role, ScenarioAction, ScenarioDo, scenario_action::When,
};

use crate::machine::LOAD;
use crate::proof::{Claim, Figure, View, prove};
use crate::script::{Script, run_against};
use crate::support::{calm::calm, run::Group};

pub(crate) const KEYS: &[&str] = &[
    "reinvite_count",
    "hold_count",
    "hold_delay_ms",
    "resume_delay_ms",
    "refer_count",
    "transfer_delay_ms",
    "prack_delay_ms",
    "scenario_actions_executed",
    "scenario_actions_failed",
];

const PATIENCE: Duration = Duration::from_secs(60);
/// Where SIPp is sent; it does not call there.
const THIRD: &str = "sip:third@127.0.0.1:9";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(at_ms: u32, what: ScenarioDo) -> ScenarioAction {
    ScenarioAction {
        when: Some(When::AtMs(at_ms)),
        r#do: what.into(),
        transfer_to: THIRD.into(),
        ..ScenarioAction::default()
    }
}

/// The worker holds and resumes, each answered slowly; then SIPp does.
fn holds() -> String {
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .takes_with("INVITE", &[("", "a=sendonly")])
        .waits(ms(150))
        .accepts(2, "recvonly")
        .takes("ACK")
        .takes_with("INVITE", &[("", "a=sendrecv")])
        .waits(ms(350))
        .accepts(3, "sendrecv")
        .takes("ACK")
        .offers(1, 4, "sendonly")
        .offers(2, 5, "sendrecv")
        .offers(3, 6, "sendrecv")
        .ends()
}

/// A blind transfer: it is told of progress at once, of the answer later.
fn is_transferred() -> String {
    let event = |state: &str| {
        format!(
            "Event: refer\nSubscription-State: {state}\n\
             Content-Type: message/sipfrag;version=2.0"
        )
    };
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .takes_with("REFER", &[("Refer-To", THIRD)])
        .answers("202 Accepted", "Contact: <sip:far@[local_ip]:[local_port]>")
        .asks(
            "NOTIFY",
            1,
            &event("active;expires=60"),
            "SIP/2.0 100 Trying\n",
        )
        .takes_response(200)
        .waits(ms(300))
        .asks(
            "NOTIFY",
            2,
            &event("terminated;reason=noresource"),
            "SIP/2.0 200 OK\n",
        )
        .takes_response(200)
        .ends()
}

/// A transfer that is declined: the call goes on.
fn declines() -> String {
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .takes("REFER")
        .answers("603 Decline", "")
        .ends()
}

/// Ringing that has to be acknowledged (RFC 3262), and is, for a caller who asks for that.
fn rings_reliably() -> String {
    Script::of_invite(&[("Require", "100rel")])
        .answers_call("183 Session Progress", "Require: 100rel\nRSeq: 7")
        .takes_with("PRACK", &[("RAck", "7 [0-9]+ INVITE")])
        .waits(ms(200))
        .answers("200 OK", "")
        .answers_call("200 OK", "")
        .takes("ACK")
        .ends()
}

fn answers() -> String {
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .ends()
}

/// Every figure of what happens within calls is what SIPp's log says; a plain call has none.
#[test]
pub(crate) fn what_happens_within_calls_is_what_sipp_did() {
    let _load = LOAD.blocking_read();
    calm(what_happens_within_calls);
}

async fn what_happens_within_calls() {
    let hold = vec![at(300, ScenarioDo::Hold), at(600, ScenarioDo::Resume)];
    let transfer = vec![at(300, ScenarioDo::Transfer)];
    let parts = [
        ("hold", holds(), hold, Reliable::Off),
        (
            "transfer",
            is_transferred(),
            transfer.clone(),
            Reliable::Off,
        ),
        ("declined", declines(), transfer, Reliable::Off),
        ("reliable", rings_reliably(), vec![], Reliable::Required),
        ("control", answers(), vec![], Reliable::Off),
    ]
    .map(|(name, script, scenario, reliable)| {
        let group = Group {
            call_ms: 3000,
            run_ms: 6000,
            more: Assign {
                scenario,
                reliable: reliable.into(),
                ..Assign::default()
            },
            ..Group::new(name, Role::Caller, 1)
        };
        (group, script, Outcome::Success)
    });
    let run = Box::pin(run_against(parts, PATIENCE)).await;
    let Some((told, [held, transferred, _, reliable, _])) = run else {
        return;
    };

    let (none, send, recv) = (Direction::None, Direction::Send, Direction::Recv);
    let offers = held.requests("INVITE");
    assert_eq!(offers.len(), 3, "{held:?}");
    let refer = &transferred.requests("REFER")[0];
    let prack = &reliable.requests("PRACK")[0];
    let sum = |key, direction, count| Claim::exactly(key, direction, Figure::Sum, count);
    let lasts = |key, known| Claim::lasts(key, none, Figure::Call(1), known);
    let view = |group| View { told: &told, group };
    let claims = [
        (
            view("hold"),
            vec![
                sum("reinvite_count", send, 2),
                sum("reinvite_count", recv, 3),
                sum("hold_count", send, 1),
                sum("hold_count", recv, 1),
                lasts("hold_delay_ms", held.answered(&offers[1])),
                lasts("resume_delay_ms", held.answered(&offers[2])),
                sum("scenario_actions_executed", send, 2),
            ],
        ),
        (
            view("transfer"),
            vec![
                sum("refer_count", send, 1),
                lasts(
                    "transfer_delay_ms",
                    transferred.until_request(refer, "NOTIFY"),
                ),
                sum("scenario_actions_executed", send, 1),
            ],
        ),
        (
            view("declined"),
            vec![sum("scenario_actions_failed", send, 1)],
        ),
        (
            view("reliable"),
            vec![lasts(
                "prack_delay_ms",
                reliable.response_to_answer(183, prack),
            )],
        ),
    ];
    prove(&claims, view("control"), KEYS);
    // A declined transfer has no time.
    assert_eq!(
        view("declined").values("transfer_delay_ms", none, Some(1)),
        Vec::<f64>::new()
    );
}
