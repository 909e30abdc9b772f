//! Calls that come to nothing, against SIPp with a script for each: refused, late and later, and
//! cancelled while it rings. The times are those of SIPp's log.

use std::time::Duration;

use callmeter_metrics::labels::CallResult;
use callmeter_proto::worker::{Direction, Outcome, Role};

use crate::machine::LOAD;
use crate::proof::{Claim, Figure, View, prove};
use crate::script::{Script, run_against};
use crate::support::{calm::calm, run::Group};

pub(crate) const KEYS: &[&str] = &[
    "failed_srd_ms",
    "cancel_delay_ms",
    "final_status_code",
    "call_result",
];

const PATIENCE: Duration = Duration::from_secs(60);
const STAY: Duration = Duration::from_millis(500);

fn refuses(after_ms: u64, status: &str) -> String {
    Script::callee()
        .waits(Duration::from_millis(after_ms))
        .answers_call(status, "")
        .takes("ACK")
        .closes(STAY)
}

/// It rings until the run is over and the call cancelled, and is slow to end it.
fn rings() -> String {
    Script::callee()
        .answers_call("180 Ringing", "")
        .takes("CANCEL")
        .answers("200 OK", "")
        .waits(Duration::from_millis(250))
        .answers_call("487 Request Terminated", "")
        .takes("ACK")
        .closes(STAY)
}

fn answers() -> String {
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .ends()
}

/// The delay of a failed session request is from its INVITE to its refusal, that of a cancelled
/// one to the 487, which is so long after its CANCEL (RFC 6076 §4.3.2). A call that is answered
/// has neither.
#[test]
pub(crate) fn calls_that_fail_take_as_long_as_sipp_says() {
    let _load = LOAD.blocking_read();
    calm(calls_that_fail);
}

async fn calls_that_fail() {
    let failed = Outcome::CallFailed;
    let parts = [
        ("busy", refuses(150, "486 Busy Here"), failed),
        ("broken", refuses(400, "503 Service Unavailable"), failed),
        ("cancelled", rings(), Outcome::Timeout),
        ("control", answers(), Outcome::Success),
    ]
    .map(|(name, script, outcome)| {
        let group = Group {
            run_ms: 3000,
            ..Group::new(name, Role::Caller, 1)
        };
        (group, script, outcome)
    });
    let run = run_against(parts, PATIENCE).await;
    let Some((told, [busy, broken, cancelled, _])) = run else {
        return;
    };

    let none = Direction::None;
    let lasts = |key, known| Claim::lasts(key, none, Figure::Call(1), known);
    let is = |key, value: f64| Claim::exactly(key, none, Figure::Call(1), value);
    let result = |result: CallResult| is("call_result", f64::from(result.code()));
    let view = |group| View { told: &told, group };
    let claims = [
        (
            view("busy"),
            vec![
                lasts("failed_srd_ms", busy.answered("1 INVITE")),
                is("final_status_code", 486.0),
                result(CallResult::Busy),
            ],
        ),
        (
            view("broken"),
            vec![
                lasts("failed_srd_ms", broken.answered("1 INVITE")),
                is("final_status_code", 503.0),
                result(CallResult::Unavailable),
            ],
        ),
        (
            view("cancelled"),
            vec![
                lasts("failed_srd_ms", cancelled.answered("1 INVITE")),
                lasts("cancel_delay_ms", cancelled.until_response("1 CANCEL", 487)),
                is("final_status_code", 487.0),
                result(CallResult::Cancelled),
            ],
        ),
    ];
    prove(&claims, view("control"), KEYS);
    for refused in ["busy", "broken"] {
        let delays = view(refused).values("cancel_delay_ms", none, Some(1));
        assert!(delays.is_empty(), "{delays:?}");
    }
}
