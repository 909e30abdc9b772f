//! Transactions the far end leaves without an answer: Timers B, F and H (RFC 3261 §17).

use std::time::Duration;

use callmeter_proto::worker::{Assign, Call, Direction, Outcome, Role};

use crate::far_end::FarEnd;
use crate::proof::{Claim, Figure, View, prove};
use crate::signalling::quick;
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
};

pub(crate) const KEYS: &[&str] = &["sip_timeouts"];

/// 64 times T1, and what is before and after it.
const PATIENCE: Duration = Duration::from_secs(80);

/// Takes an INVITE, and says nothing.
async fn hears(mut far: FarEnd) -> FarEnd {
    far.next("INVITE").await;
    far
}

/// Takes a call, and says nothing to its BYE.
async fn answers(mut far: FarEnd) -> FarEnd {
    let invite = far.next("INVITE").await;
    far.accept(&invite, 8, "").await;
    far.next("BYE").await;
    far
}

/// Calls, and does not acknowledge the refusal.
async fn calls(mut far: FarEnd, contact: String) -> FarEnd {
    let at = contact.rsplit('@').next().unwrap().parse().unwrap();
    far.call(&contact, at).await;
    far.next("SIP/2.0 486").await;
    far
}

/// Each transaction without an answer is a timeout: an INVITE, a BYE, and a refusal of ours
/// without its ACK. A call with all its answers has none.
#[test]
pub(crate) fn timeouts_are_what_the_far_end_left_unanswered() {
    calm(timeouts);
}

async fn timeouts() {
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let (silent, no_bye, control) = (
        FarEnd::new().await,
        FarEnd::new().await,
        FarEnd::new().await,
    );
    let caller = |name, far: &FarEnd| Group {
        peers: vec![format!("sip:far@{}", far.address())],
        ..Group::new(name, Role::Caller, 1)
    };
    let groups = [
        caller("invite", &silent),
        caller("bye", &no_bye),
        caller("control", &control),
        Group {
            run_ms: 36_000,
            accept_external: true,
            more: Assign {
                call: Some(Call {
                    answer_code: 486,
                    ..Call::default()
                }),
                ..Assign::default()
            },
            ..Group::new("ack", Role::Callee, 1)
        },
    ];
    let silent = tokio::spawn(hears(silent));
    let no_bye = tokio::spawn(answers(no_bye));
    let control = tokio::spawn(quick(control));
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let contact = told.contacts("ack")[&0].clone();
    let no_ack = calls(FarEnd::new().await, contact).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    for (group, outcome) in [("invite", Outcome::Timeout), ("control", Outcome::Success)] {
        let calls = told.calls(group);
        assert!(
            matches!(&calls[..], [(ended, _)] if *ended == outcome),
            "{group} {calls:?}"
        );
    }
    control.await.unwrap();
    drop((silent.await.unwrap(), no_bye.await.unwrap(), no_ack));

    let once = || {
        vec![Claim::exactly(
            "sip_timeouts",
            Direction::None,
            Figure::Sum,
            1,
        )]
    };
    let view = |group| View { told: &told, group };
    let claims = ["invite", "bye", "ack"].map(|group| (view(group), once()));
    prove(&claims, view("control"), KEYS);
}
