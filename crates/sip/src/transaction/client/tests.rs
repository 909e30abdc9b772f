use super::*;

/// What can happen to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A response of this class comes.
    Response(u16),
    /// Timer A or E fires.
    Resend,
    /// Timer B or F fires.
    Timeout,
    /// Timer D, K or M fires.
    Linger,
    /// The flow it goes by is gone.
    TransportError,
}

/// The columns of the tables.
const EVENTS: [Event; 7] = [
    Event::Response(180),
    Event::Response(200),
    Event::Response(486),
    Event::Resend,
    Event::Timeout,
    Event::Linger,
    Event::TransportError,
];

/// What comes of an event in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// The new state and what is done with the response.
    Is(ClientState, OnResponse),
    /// So many milliseconds after the state was entered; the state stays.
    Again(u128),
    /// So many milliseconds after the state was entered; the transaction is gone.
    Gone(u128, OnTimer),
    /// It cannot happen: the timer does not run in this state.
    Never,
    /// The user is told; the transaction is gone.
    Fails,
    /// The state stays.
    Stays,
}

use Cell::{Again, Fails, Gone, Is, Never, Stays};
use ClientState::{Accepted, Calling, Completed, Proceeding};
use OnResponse::{Absorb, AckAgain, Another2xx, Deliver, DeliverAndAck};
use OnTimer::{Over, Timeout};

type Row = (ClientState, [Cell; EVENTS.len()]);

/// Figure 5 with RFC 6026 figure 2; D is 32 s. The figure has a transport error in Completed, of the
/// ACK: the one that was sent is not undone by the end of its flow. It has none in Proceeding, where
/// nothing is sent: ours is the end of the flow, by which the answer would come.
const INVITE_UDP: [Row; 4] = [
    // state, 1xx, 2xx, 3xx to 6xx, timer A, timer B, timer D or M, transport error
    (
        Calling,
        [
            Is(Proceeding, Deliver),
            Is(Accepted, Deliver),
            Is(Completed, DeliverAndAck),
            Again(500),
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    (
        Proceeding,
        [
            Is(Proceeding, Deliver),
            Is(Accepted, Deliver),
            Is(Completed, DeliverAndAck),
            Never,
            Never,
            Never,
            Fails,
        ],
    ),
    (
        Completed,
        [
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Is(Completed, AckAgain),
            Never,
            Never,
            Gone(32_000, Over),
            Stays,
        ],
    ),
    (
        Accepted,
        [
            Is(Accepted, Absorb),
            Is(Accepted, Another2xx),
            Is(Accepted, Absorb),
            Never,
            Never,
            Gone(32_000, Over),
            Stays,
        ],
    ),
];

/// The same without timer A, and with D of 0.
const INVITE_TCP: [Row; 4] = [
    (
        Calling,
        [
            Is(Proceeding, Deliver),
            Is(Accepted, Deliver),
            Is(Completed, DeliverAndAck),
            Never,
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    INVITE_UDP[1],
    (
        Completed,
        [
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Is(Completed, AckAgain),
            Never,
            Never,
            Gone(0, Over),
            Stays,
        ],
    ),
    INVITE_UDP[3],
];

/// Figure 6; Calling is its Trying. Accepted is never entered.
const OTHER_UDP: [Row; 3] = [
    // state, 1xx, 2xx, 3xx to 6xx, timer E, timer F, timer K, transport error
    (
        Calling,
        [
            Is(Proceeding, Deliver),
            Is(Completed, Deliver),
            Is(Completed, Deliver),
            Again(500),
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    (
        Proceeding,
        [
            Is(Proceeding, Deliver),
            Is(Completed, Deliver),
            Is(Completed, Deliver),
            Again(500),
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    (
        Completed,
        [
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Never,
            Never,
            Gone(5000, Over),
            Stays,
        ],
    ),
];

/// The same without timer E, and with K of 0.
const OTHER_TCP: [Row; 3] = [
    (
        Calling,
        [
            Is(Proceeding, Deliver),
            Is(Completed, Deliver),
            Is(Completed, Deliver),
            Never,
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    (
        Proceeding,
        [
            Is(Proceeding, Deliver),
            Is(Completed, Deliver),
            Is(Completed, Deliver),
            Never,
            Gone(32_000, Timeout),
            Never,
            Fails,
        ],
    ),
    (
        Completed,
        [
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Is(Completed, Absorb),
            Never,
            Never,
            Gone(0, Over),
            Stays,
        ],
    ),
];

/// Every state a transaction can be in, entered at `now`.
fn in_state(state: ClientState, invite: bool, reliable: bool, now: Instant) -> ClientMachine {
    let mut machine = ClientMachine::new(now, invite, reliable);
    match state {
        Calling => {}
        Proceeding => drop(machine.on_response(now, 180)),
        Completed => drop(machine.on_response(now, 486)),
        Accepted => drop(machine.on_response(now, 200)),
    }
    assert_eq!(machine.state(), state);
    machine
}

fn cell(mut machine: ClientMachine, event: Event, start: Instant) -> Cell {
    if let Event::Response(status) = event {
        let action = machine.on_response(start, status);
        return Is(machine.state(), action);
    }
    if event == Event::TransportError {
        return if machine.on_transport_error() {
            Fails
        } else {
            Stays
        };
    }
    let before = machine.state();
    while let Some(at) = machine.next() {
        let elapsed = (at - start).as_millis();
        match (event, machine.on_timer(at)) {
            (Event::Resend, OnTimer::Resend) => {
                assert_eq!(machine.state(), before);
                return Again(elapsed);
            }
            (_, OnTimer::Wait | OnTimer::Resend) => {}
            (Event::Timeout, end @ Timeout) | (Event::Linger, end @ Over) => {
                return Gone(elapsed, end);
            }
            (_, Timeout | Over) => return Never,
        }
    }
    Never
}

/// RFC 3261 figures 5 and 6, RFC 6026 figure 2: every state and event.
#[test]
fn every_state_and_event() {
    let now = Instant::now();
    for (invite, reliable, table) in [
        (true, false, &INVITE_UDP[..]),
        (true, true, &INVITE_TCP),
        (false, false, &OTHER_UDP),
        (false, true, &OTHER_TCP),
    ] {
        for (state, cells) in table {
            for (event, expected) in EVENTS.into_iter().zip(cells) {
                let machine = in_state(*state, invite, reliable, now);
                assert_eq!(
                    cell(machine, event, now),
                    *expected,
                    "INVITE {invite}, reliable {reliable}, {state:?} + {event:?}"
                );
            }
        }
    }
}

/// The class alone counts.
#[test]
fn every_status_is_its_class() {
    let now = Instant::now();
    for (class, statuses) in [(180, 100..200), (200, 200..300), (486, 300..700)] {
        for status in statuses {
            for (invite, state) in [(true, Calling), (true, Completed), (false, Proceeding)] {
                let machine = in_state(state, invite, false, now);
                assert_eq!(
                    cell(machine, Event::Response(status), now),
                    cell(machine, Event::Response(class), now),
                    "{status}"
                );
            }
        }
    }
}

/// Runs a machine to its end and lists when it sends again and ends, in milliseconds.
fn timeline(mut machine: ClientMachine, start: Instant) -> (Vec<u128>, u128, OnTimer) {
    let mut resent = Vec::new();
    while let Some(at) = machine.next() {
        let elapsed = (at - start).as_millis();
        match machine.on_timer(at) {
            OnTimer::Resend => resent.push(elapsed),
            OnTimer::Wait => {}
            end => return (resent, elapsed, end),
        }
    }
    (resent, u128::MAX, OnTimer::Wait)
}

/// RFC 3261 table 4: timers A, B, D, E, F, K, M
#[test]
fn timers_of_udp() {
    let start = Instant::now();
    let run = |invite, state| timeline(in_state(state, invite, false, start), start);
    let doubling = vec![500, 1500, 3500, 7500, 15_500, 31_500];
    assert_eq!(run(true, Calling), (doubling, 32_000, Timeout));
    let capped = vec![
        500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    assert_eq!(run(false, Calling), (capped, 32_000, Timeout));
    let every_t2: Vec<_> = (0..8).map(|count| 500 + count * 4000).collect();
    assert_eq!(run(false, Proceeding), (every_t2, 32_000, Timeout));
    assert_eq!(run(true, Proceeding), (vec![], u128::MAX, OnTimer::Wait));
    assert_eq!(run(true, Completed), (vec![], 32_000, Over));
    assert_eq!(run(true, Accepted), (vec![], 32_000, Over));
    assert_eq!(run(false, Completed), (vec![], 5000, Over));
}

#[test]
fn reliable_transports_send_once() {
    let start = Instant::now();
    let machine = ClientMachine::new(start, true, true);
    assert_eq!(timeline(machine, start), (vec![], 32_000, Timeout));
    let mut machine = ClientMachine::new(start, false, true);
    machine.on_response(start, 200);
    assert_eq!(timeline(machine, start), (vec![], 0, Over));
}

/// RFC 3261 §9.1
#[test]
fn a_cancelled_invite_ends_without_a_final_response() {
    let start = Instant::now();
    let mut machine = in_state(Proceeding, true, false, start);
    machine.end_by(start + LIFETIME);
    assert_eq!(timeline(machine, start), (vec![], 32_000, Timeout));
}
