use super::*;

/// What can happen to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The request comes again.
    Request,
    /// An ACK with its branch comes.
    Ack,
    /// The user sends a response of this class.
    Respond(u16),
    /// Nothing was sent for 200 ms.
    Trying100,
    /// Timer G fires.
    Resend,
    /// Timer H fires.
    Unacknowledged,
    /// Timer I, J or L fires.
    Linger,
    /// Its last response cannot be sent.
    TransportError,
}

/// The columns of the tables.
const EVENTS: [Event; 10] = [
    Event::Request,
    Event::Ack,
    Event::Respond(180),
    Event::Respond(200),
    Event::Respond(486),
    Event::Trying100,
    Event::Resend,
    Event::Unacknowledged,
    Event::Linger,
    Event::TransportError,
];

/// What comes of an event in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// The new state and what is done about a request or ACK.
    Is(ServerState, OnRequest),
    /// The response is sent; the new state.
    Sent(ServerState),
    /// The response may not be sent any more; nothing changes.
    Late,
    /// So many milliseconds after the state was entered; the state stays.
    Timer(u128, OnServerTimer),
    /// So many milliseconds after the state was entered; the transaction is gone.
    Gone(u128, OnServerTimer),
    /// It cannot happen: the timer does not run in this state, and an ACK is matched to INVITE
    /// transactions alone (RFC 3261 §17.2.3).
    Never,
    /// What becomes of it.
    Failed(OnTransportError),
}

use Cell::{Failed, Gone, Is, Late, Never, Sent, Timer};
use OnRequest::{Absorb, Ack2xx, Resend};
use OnServerTimer::{Over, SendTrying, Timeout};
use OnTransportError::{Inform, Nothing};
use ServerState::{Accepted, Completed, Confirmed, Proceeding, Trying};

type Row = (ServerState, [Cell; EVENTS.len()]);

/// Figure 7 with RFC 6026 figure 1, by which no state ends with a transport error. Trying is its
/// Proceeding before anything was sent.
const INVITE_UDP: [Row; 5] = [
    // state, INVITE, ACK, 1xx, 2xx, 3xx to 6xx, 200 ms, timer G, timer H, timer I or L,
    // transport error
    (
        Trying,
        [
            Is(Trying, Absorb),
            Is(Trying, Absorb),
            Sent(Proceeding),
            Sent(Accepted),
            Sent(Completed),
            Timer(200, SendTrying),
            Never,
            Never,
            Never,
            Failed(Nothing),
        ],
    ),
    (
        Proceeding,
        [
            Is(Proceeding, Resend),
            Is(Proceeding, Absorb),
            Sent(Proceeding),
            Sent(Accepted),
            Sent(Completed),
            Never,
            Never,
            Never,
            Never,
            Failed(Inform),
        ],
    ),
    (
        Completed,
        [
            Is(Completed, Resend),
            Is(Confirmed, Absorb),
            Late,
            Late,
            Late,
            Never,
            Timer(500, OnServerTimer::Resend),
            Gone(32_000, Timeout),
            Never,
            Failed(Inform),
        ],
    ),
    (
        Confirmed,
        [
            Is(Confirmed, Absorb),
            Is(Confirmed, Absorb),
            Late,
            Late,
            Late,
            Never,
            Never,
            Never,
            Gone(5000, Over),
            Failed(Nothing),
        ],
    ),
    // The dialog sends its 2xx again; a response of the machine's own is not due.
    (
        Accepted,
        [
            Is(Accepted, Absorb),
            Is(Accepted, Ack2xx),
            Late,
            Late,
            Late,
            Never,
            Never,
            Never,
            Gone(32_000, Over),
            Failed(Inform),
        ],
    ),
];

/// The same without timer G, and with I of 0.
const INVITE_TCP: [Row; 5] = [
    INVITE_UDP[0],
    INVITE_UDP[1],
    (
        Completed,
        [
            Is(Completed, Resend),
            Is(Confirmed, Absorb),
            Late,
            Late,
            Late,
            Never,
            Never,
            Gone(32_000, Timeout),
            Never,
            Failed(Inform),
        ],
    ),
    (
        Confirmed,
        [
            Is(Confirmed, Absorb),
            Is(Confirmed, Absorb),
            Late,
            Late,
            Late,
            Never,
            Never,
            Never,
            Gone(0, Over),
            Failed(Nothing),
        ],
    ),
    INVITE_UDP[4],
];

/// Figure 8. Confirmed and Accepted are never entered.
const OTHER_UDP: [Row; 3] = [
    // state, request, ACK, 1xx, 2xx, 3xx to 6xx, 200 ms, timer G, timer H, timer J, transport error
    (
        Trying,
        [
            Is(Trying, Absorb),
            Never,
            Sent(Proceeding),
            Sent(Completed),
            Sent(Completed),
            Never,
            Never,
            Never,
            Never,
            Failed(Nothing),
        ],
    ),
    (
        Proceeding,
        [
            Is(Proceeding, Resend),
            Never,
            Sent(Proceeding),
            Sent(Completed),
            Sent(Completed),
            Never,
            Never,
            Never,
            Never,
            Failed(OnTransportError::Over),
        ],
    ),
    (
        Completed,
        [
            Is(Completed, Resend),
            Never,
            Late,
            Late,
            Late,
            Never,
            Never,
            Never,
            Gone(32_000, Over),
            Failed(OnTransportError::Over),
        ],
    ),
];

/// The same with J of 0.
const OTHER_TCP: [Row; 3] = [
    OTHER_UDP[0],
    OTHER_UDP[1],
    (
        Completed,
        [
            Is(Completed, Resend),
            Never,
            Late,
            Late,
            Late,
            Never,
            Never,
            Never,
            Gone(0, Over),
            Failed(OnTransportError::Over),
        ],
    ),
];

/// Every state a transaction can be in, entered at `now`.
fn in_state(state: ServerState, invite: bool, reliable: bool, now: Instant) -> ServerMachine {
    let mut machine = ServerMachine::new(now, invite, reliable);
    match state {
        Trying => {}
        Proceeding => drop(machine.on_respond(now, 180)),
        Completed => drop(machine.on_respond(now, 486)),
        Accepted => drop(machine.on_respond(now, 200)),
        Confirmed => {
            machine.on_respond(now, 486);
            machine.on_ack(now);
        }
    }
    assert_eq!(machine.state(), state);
    machine
}

fn cell(mut machine: ServerMachine, event: Event, start: Instant) -> Cell {
    let before = machine;
    match event {
        Event::Ack if !machine.invite => return Never,
        Event::Request => {
            let action = machine.on_request();
            return Is(machine.state(), action);
        }
        Event::Ack => {
            let action = machine.on_ack(start);
            return Is(machine.state(), action);
        }
        Event::Respond(status) => {
            if machine.on_respond(start, status) {
                return Sent(machine.state());
            }
            assert_eq!(machine, before);
            return Late;
        }
        Event::TransportError => return Failed(machine.on_transport_error()),
        Event::Trying100 | Event::Resend | Event::Unacknowledged | Event::Linger => {}
    }
    while let Some(at) = machine.next() {
        let elapsed = (at - start).as_millis();
        match (event, machine.on_timer(at)) {
            (Event::Trying100, done @ SendTrying)
            | (Event::Resend, done @ OnServerTimer::Resend) => {
                assert_eq!(machine.state(), before.state());
                return Timer(elapsed, done);
            }
            (Event::Unacknowledged, end @ Timeout) | (Event::Linger, end @ Over) => {
                return Gone(elapsed, end);
            }
            (_, Timeout | Over) => return Never,
            (_, SendTrying | OnServerTimer::Resend | OnServerTimer::Wait) => {}
        }
    }
    Never
}

/// RFC 3261 figures 7 and 8, RFC 6026 figure 1: every state and event.
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

fn timeline(mut machine: ServerMachine, start: Instant) -> Vec<(u128, OnServerTimer)> {
    let mut events = Vec::new();
    while let Some(at) = machine.next() {
        let event = machine.on_timer(at);
        events.push(((at - start).as_millis(), event));
        if matches!(event, Over | Timeout) {
            break;
        }
    }
    events
}

/// RFC 3261 table 4: timers G, H, I, J, L
#[test]
fn timers_of_udp() {
    let start = Instant::now();
    let run = |invite, state| timeline(in_state(state, invite, false, start), start);
    let mut refused: Vec<_> = [
        500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ]
    .map(|at| (at, OnServerTimer::Resend))
    .to_vec();
    refused.push((32_000, Timeout));
    assert_eq!(run(true, Completed), refused);
    assert_eq!(run(true, Trying), [(200, SendTrying)]);
    assert_eq!(run(true, Proceeding), []);
    assert_eq!(run(true, Confirmed), [(5000, Over)]);
    assert_eq!(run(true, Accepted), [(32_000, Over)]);
    assert_eq!(run(false, Completed), [(32_000, Over)]);
    assert_eq!(run(false, Trying), []);
}
