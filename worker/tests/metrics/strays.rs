//! What reaches a callee, and what goes wrong before a call: SIPp as a caller that sends what
//! belongs nowhere and as a registrar that refuses, and a port nobody listens at.

use std::time::Duration;

use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role};

use crate::machine::LOAD;
use crate::proof::{Claim, Figure, View, prove};
use crate::script::Scripted;
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
};

pub(crate) const KEYS: &[&str] = &[
    "invite_received",
    "ack_delay_ms",
    "calls_active",
    "sip_unexpected",
    "sip_out_of_dialog",
    "reg_failed",
    "transport_errors",
];

const PATIENCE: Duration = Duration::from_secs(60);

/// A call comes and is acknowledged late, a MESSAGE and a BYE belong to none; a registrar refuses;
/// a connection is refused. A callee nobody calls knows nothing of all that.
#[test]
pub(crate) fn what_goes_astray_is_what_sipp_sent() {
    let _load = LOAD.blocking_read();
    calm(what_goes_astray);
}

async fn what_goes_astray() {
    let Some(forbids) = Scripted::spawn(include_str!("../peers/forbids.xml")).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let account = Account {
        user: "u0".into(),
        password: "planted-sip-password".into(),
        ..Account::default()
    };
    let callee = |name| Group {
        accounts: vec![account.clone()],
        run_ms: 5000,
        ..Group::new(name, Role::Callee, 1)
    };
    // Of no other worker here, and of nobody who takes any free port.
    let closed = ports::block().sip_first;
    let groups = [
        callee("called"),
        callee("control"),
        Group {
            registrar: Some(Registrar {
                domain: "far.test".into(),
                outbound_proxy: format!("127.0.0.1:{}", forbids.port()),
                register: true,
                expires_s: 300,
                ..Registrar::default()
            }),
            ..callee("forbidden")
        },
        Group {
            registrar: Some(Registrar {
                transport: "tcp".into(),
                ..Registrar::default()
            }),
            peers: vec![format!("sip:nobody@127.0.0.1:{closed}")],
            run_ms: 5000,
            ..Group::new("unheard", Role::Caller, 1)
        },
    ];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let contact = told.contacts("called")[&0].clone();
    let caller = Scripted::call(include_str!("../peers/strays.xml"), &contact).unwrap();
    finish(&mut peer, &mut told, PATIENCE).await;
    forbids.finish().await;
    let log = caller.finish().await;
    let called = told.calls("called");
    assert!(matches!(&called[..], [(Outcome::Success, _)]), "{called:?}");
    let unheard = told.calls("unheard");
    assert!(
        matches!(&unheard[..], [(Outcome::CallFailed, _)]),
        "{unheard:?}"
    );

    let none = Direction::None;
    let once = |key, direction| Claim::exactly(key, direction, Figure::Sum, 1);
    let view = |group| View { told: &told, group };
    let claims = [
        (
            view("called"),
            vec![
                once("invite_received", none),
                Claim::lasts("ack_delay_ms", none, Figure::Call(1), log.acknowledged()),
                Claim::exactly("calls_active", none, Figure::Highest, 1),
                once("sip_unexpected", Direction::Recv),
                once("sip_out_of_dialog", Direction::Recv),
            ],
        ),
        (view("forbidden"), vec![once("reg_failed", none)]),
        (
            view("unheard"),
            vec![once("transport_errors", Direction::Send)],
        ),
    ];
    prove(&claims, view("control"), KEYS);
}
