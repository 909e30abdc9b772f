//! Every outcome and every order of phases of an endpoint (product-facts §1.2), each driven through
//! the user agent.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use callmeter_engine::media::Codec;
use callmeter_engine::{Account, Outcome, Password, Phase, Role};
use common::proxy::Proxy;
use common::{World, ms, secs};

use Phase::{
    Calling, Closed, Disconnecting, InCall, Initializing, Negotiating, Registered, Ringing,
};

/// What a case spoils before the start, and while the call runs.
struct Case {
    name: &'static str,
    registered: bool,
    before: fn(&mut World),
    /// What the callee is told to be.
    callee: fn(&mut callmeter_engine::Assign),
    /// What happens when the call has stood for 2 s, or 3 s have passed.
    during: fn(&mut World),
    outcome: Outcome,
    severity: u32,
    /// Phases of the caller's endpoint, then of its call; none if it never had one.
    endpoint: &'static [Phase],
    call: &'static [Phase],
}

fn nothing(_: &mut World) {}
fn as_it_is(_: &mut callmeter_engine::Assign) {}

const LISTENS: &[Phase] = &[Initializing, Closed];
const ANSWERED: &[Phase] = &[Calling, Ringing, Negotiating, InCall, Disconnecting, Closed];

const CASES: &[Case] = &[
    Case {
        name: "as planned",
        registered: false,
        before: nothing,
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::Success,
        severity: 0,
        endpoint: LISTENS,
        call: ANSWERED,
    },
    Case {
        name: "as planned through a registrar",
        registered: true,
        before: nothing,
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::Success,
        severity: 0,
        endpoint: &[Initializing, Registered, Closed],
        call: ANSWERED,
    },
    Case {
        name: "nothing is heard from the far end",
        registered: false,
        before: |world| _ = world.media.deaf_to.insert(1),
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::CompletedWithWarnings,
        severity: 1,
        endpoint: LISTENS,
        call: ANSWERED,
    },
    Case {
        name: "the registrar refuses",
        registered: true,
        before: |world| world.proxy.as_mut().unwrap().banned.push("ann".into()),
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::RegistrationFailed,
        severity: 10,
        endpoint: LISTENS,
        call: &[],
    },
    Case {
        name: "the far end is busy",
        registered: false,
        before: nothing,
        callee: |callee| callee.call.answer_code = 486,
        during: nothing,
        outcome: Outcome::CallFailed,
        severity: 10,
        endpoint: LISTENS,
        call: &[Calling, Ringing, Closed],
    },
    Case {
        name: "no common codec",
        registered: false,
        before: nothing,
        callee: |callee| callee.audio.codec = Codec::Pcmu,
        during: nothing,
        outcome: Outcome::NegotiationFailed,
        severity: 10,
        endpoint: LISTENS,
        call: &[Calling, Ringing, Closed],
    },
    Case {
        name: "nobody is there",
        registered: false,
        before: |world| world.loss = 1.0,
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::Timeout,
        severity: 10,
        endpoint: LISTENS,
        call: &[Calling, Closed],
    },
    Case {
        name: "rings until the run ends",
        registered: false,
        before: nothing,
        callee: |callee| callee.call.ring = secs(600),
        during: nothing,
        outcome: Outcome::Timeout,
        severity: 10,
        endpoint: LISTENS,
        call: &[Calling, Ringing, Disconnecting, Closed],
    },
    Case {
        name: "no port",
        registered: false,
        before: |world| _ = world.media.no_ports.insert(0),
        callee: as_it_is,
        during: nothing,
        outcome: Outcome::OsError,
        severity: 10,
        endpoint: LISTENS,
        call: &[Closed],
    },
    Case {
        name: "the BYE is not answered",
        registered: false,
        before: nothing,
        callee: as_it_is,
        during: |world| world.loss = 1.0,
        outcome: Outcome::TeardownError,
        severity: 10,
        endpoint: LISTENS,
        call: ANSWERED,
    },
];

#[test]
fn every_outcome_with_its_severity_and_phases() {
    for (seed, case) in CASES.iter().enumerate() {
        let mut world = World::new(2, 40 + seed as u64);
        world.proxy = Some(Proxy::new("192.0.2.100:5060"));
        (case.before)(&mut world);
        for (site, role) in [(1, Role::Callee), (0, Role::Caller)] {
            let mut plan = world.plan(site, 1, role, 1);
            if case.registered {
                plan.registrar.domain = "192.0.2.100".into();
                plan.registrar.register = true;
                plan.accounts = vec![Account {
                    user: ["ann", "bob"][site].to_owned(),
                    password: Password::new("secret"),
                    auth_user: String::new(),
                    realm: String::new(),
                }];
            }
            if site == 1 {
                (case.callee)(&mut plan);
            }
            world.assign(site, plan);
        }
        world.run_for(ms(500));
        let peers = if case.registered {
            world.sites[1].aors(1)
        } else {
            world.sites[1].contacts(1)
        };
        world.start(1, 1, &[]);
        if world.sites[0].endpoints(1).is_empty() {
            world.start(0, 1, &peers);
        }
        world.run_for(secs(3));
        (case.during)(&mut world);
        world.run_until("the caller to end", secs(150), |world| {
            !world.sites[0].ended.is_empty()
        });
        let caller = &world.sites[0];
        let name = case.name;
        assert_eq!(caller.endpoints(1)[&0], Some(case.outcome), "{name}");
        assert_eq!(case.outcome.severity(), case.severity, "{name}");
        let calls: Vec<_> = caller.calls(1).into_iter().map(|call| call.0).collect();
        let placed = !case.call.is_empty();
        assert_eq!(calls, vec![case.outcome; usize::from(placed)], "{name}");
        let told = (caller.phases(1, 0, 0), caller.phases(1, 0, 1));
        assert_eq!(told, (case.endpoint.to_vec(), case.call.to_vec()), "{name}");
        // Forward only, and each at most once.
        for phases in [&told.0, &told.1] {
            assert!(
                phases.windows(2).all(|pair| pair[0] < pair[1]),
                "{name}: {phases:?}"
            );
        }
    }
    let driven = |outcome: &Outcome| CASES.iter().any(|case| case.outcome == *outcome);
    assert!(Outcome::ALL.iter().all(driven), "every outcome has a case");
}

/// An outcome stays unless a worse one comes: equal severity keeps the first.
#[test]
fn the_worst_outcome_of_the_calls_is_the_endpoints() {
    let mut world = World::new(2, 60);
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.call.duration = secs(4);
    caller.call.repeat = true;
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    // The first call is well, the second one hears nothing, later ones are well again.
    world.run_for(secs(6));
    world.media.deaf_to.insert(1);
    world.run_for(secs(5));
    world.media.deaf_to.remove(&1);
    world.run_until_ended(secs(90));
    let caller = &world.sites[0];
    let outcomes: Vec<_> = caller.calls(1).into_iter().map(|call| call.0).collect();
    assert_eq!(outcomes[0], Outcome::Success);
    assert!(outcomes.contains(&Outcome::CompletedWithWarnings));
    assert_eq!(outcomes.last(), Some(&Outcome::Success));
    assert_eq!(
        caller.endpoints(1)[&0],
        Some(Outcome::CompletedWithWarnings)
    );
}
