//! Session timers (RFC 4028) against SIPp with a script for each side that refreshes, and one that
//! finds the interval too small.

use std::time::Duration;

use callmeter_proto::worker::{
    Assign, Direction, Outcome, Refresher, Role, SessionTimer, SessionTimerMode,
};

use crate::proof::{Claim, Figure, View, prove};
use crate::script::{Script, run_against};
use crate::support::{calm::calm, run::Group};

pub(crate) const KEYS: &[&str] = &["session_timer_refreshes"];

/// The shortest session interval there is, and when its refresher is to refresh (§7.2).
const EXPIRES_S: u32 = 90;
const REFRESH: Duration = Duration::from_secs(45);
const PATIENCE: Duration = Duration::from_secs(80);

/// It leaves the refreshes to the worker, and takes one.
fn is_refreshed() -> String {
    let granted = "Require: timer\nSession-Expires: 90;refresher=uac";
    Script::of_invite(&[("Session-Expires", "90")])
        .answers_call(
            "200 OK",
            &format!("Allow: INVITE, ACK, BYE, UPDATE\n{granted}"),
        )
        .takes("ACK")
        .takes_with("UPDATE", &[("Session-Expires", "90;refresher=uac")])
        .answers("200 OK", granted)
        .ends()
}

/// It refreshes twice itself.
fn refreshes() -> String {
    let asked = "Supported: timer\nSession-Expires: 90;refresher=uac";
    Script::callee()
        .answers_call(
            "200 OK",
            "Require: timer\nSession-Expires: 90;refresher=uas",
        )
        .takes("ACK")
        .asks("UPDATE", 1, asked, "")
        .takes_response(200)
        .asks("UPDATE", 2, asked, "")
        .takes_response(200)
        .ends()
}

/// It finds the interval too small (422), and says what would do.
fn demands_more() -> String {
    let enough = [("Session-Expires", "120"), ("Min-SE", "120")];
    Script::callee()
        .answers_call("422 Session Interval Too Small", "Min-SE: 120")
        .takes("ACK")
        .takes_call(&enough)
        .answers_call(
            "200 OK",
            "Require: timer\nSession-Expires: 120;refresher=uac",
        )
        .takes("ACK")
        .ends()
}

fn knows_none() -> String {
    Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .ends()
}

/// A refresh is counted when it was accepted, whoever sent it; a call without a timer has none.
#[test]
pub(crate) fn refreshes_are_those_that_were_accepted() {
    calm(refreshes_accepted);
}

async fn refreshes_accepted() {
    let beyond = REFRESH.as_millis() as u32 + 3000;
    let parts = [
        ("ours", is_refreshed(), beyond),
        ("theirs", refreshes(), 3000),
        ("too short", demands_more(), 3000),
        ("control", knows_none(), beyond),
    ]
    .map(|(name, script, call_ms)| {
        let group = Group {
            call_ms,
            run_ms: beyond + 3000,
            more: Assign {
                session_timer: Some(SessionTimer {
                    mode: SessionTimerMode::Supported.into(),
                    expires_s: EXPIRES_S,
                    refresher: Refresher::Uac.into(),
                }),
                ..Assign::default()
            },
            ..Group::new(name, Role::Caller, 1)
        };
        (group, script, Outcome::Success)
    });
    let run = run_against(parts, PATIENCE).await;
    let Some((told, logs)) = run else { return };
    let invite = &logs[0].requests("INVITE")[0];
    let refreshed = logs[0].between_requests(invite, &logs[0].requests("UPDATE")[0]);
    assert!(
        (REFRESH..REFRESH + Duration::from_secs(2)).contains(&refreshed),
        "refreshed after {refreshed:?}"
    );
    assert_eq!(told.sum("too short", "sip_4xx", Direction::Recv), 1);

    let sum = |count| {
        Claim::exactly(
            "session_timer_refreshes",
            Direction::None,
            Figure::Sum,
            count,
        )
    };
    let view = |group| View { told: &told, group };
    let claims = [(view("ours"), vec![sum(1)]), (view("theirs"), vec![sum(2)])];
    prove(&claims, view("control"), KEYS);
}
