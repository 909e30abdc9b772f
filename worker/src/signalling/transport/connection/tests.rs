use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use callmeter_engine::{LocalId, Transport};
use callmeter_sip::{PING, PONG};

use super::{
    super::{carrier::MOST_QUEUED, stream::Stream, wire::Wire},
    *,
};

/// A connection of ours that is open, and its far end.
fn open(keep_alive: Option<Duration>) -> (Connection, TcpStream, Instant) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = listener.local_addr().unwrap();
    let own = TcpStream::connect(remote).unwrap();
    own.set_nonblocking(true).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let flow = Flow {
        local: LocalId(0),
        transport: Transport::Tcp,
        remote,
    };
    let now = Instant::now();
    let carrier = Box::new(Stream::new(Wire::Tcp(own)));
    let mut connection = Connection::new(now, flow, carrier, true, keep_alive);
    let turn = connection.turn(now, &mut Vec::new()).ok().unwrap();
    assert_eq!(turn.opened, Some((Duration::ZERO, None)));
    (connection, far, now)
}

/// Takes turns until `done`; the bytes are on their way.
fn turns(connection: &mut Connection, now: Instant, done: impl Fn(&Connection, &Turn) -> bool) {
    let begin = Instant::now();
    loop {
        let turn = connection.turn(now, &mut Vec::new()).ok().unwrap();
        if done(connection, &turn) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::yield_now();
    }
}

#[test]
fn a_message_without_its_end_is_given_up() {
    const WHOLE: &[u8] = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";
    let (mut connection, mut far, now) = open(None);
    assert_eq!(connection.next(), None);
    far.write_all(&WHOLE[..9]).unwrap();
    turns(&mut connection, now, |c, _| c.half_since.is_some());
    let due = connection.next().unwrap();
    assert_eq!(due, now + MESSAGE_WITHIN);
    assert!(connection.timeout(now + MESSAGE_WITHIN / 2).is_ok());
    // The control: its rest comes, and nothing is due any more.
    far.write_all(&WHOLE[9..]).unwrap();
    turns(&mut connection, now, |_, turn| turn.messages.len() == 1);
    assert_eq!(connection.next(), None);

    far.write_all(&WHOLE[..9]).unwrap();
    turns(&mut connection, now, |c, _| c.half_since.is_some());
    let broken = connection.timeout(due).err().unwrap();
    assert_eq!(broken.reason, "the peer's message: no end within 32 s");
    assert!(broken.malformed);
}

#[test]
fn an_idle_connection_is_kept_alive_once_per_interval() {
    let interval = Duration::from_secs(30);
    let (mut connection, mut far, now) = open(Some(interval));
    assert_eq!(connection.next(), Some(now + interval));
    assert!(connection.timeout(now + interval).is_ok());
    assert_eq!(connection.next(), Some(now + interval * 2));
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, PING);

    // It has promised no answer.
    assert!(connection.timeout(now + interval * 2).is_ok());
    far.read_exact(&mut bytes).unwrap();

    // A peer that reads nothing is asked once per interval, too.
    let stuffing = Bytes::from(vec![0; MOST_QUEUED / 2 + 1]);
    let mut at = now + interval * 2;
    while connection.queue(stuffing.clone()).is_ok() {
        connection.turn(at, &mut Vec::new()).ok().unwrap();
    }
    at += interval;
    assert!(connection.timeout(at).is_ok());
    assert_eq!(connection.next(), Some(at + interval));
}

/// RFC 5626 §4.4.1: who keeps the flow answers keep-alives, or has lost it.
#[test]
fn a_kept_connection_is_over_when_a_keep_alive_has_no_answer() {
    for (own, asked, seconds) in [
        (None, Some(30), 30),
        (Some(60), Some(30), 30),
        (Some(60), None, 60),
    ] {
        let seconds_of = |it: Option<u64>| it.map(Duration::from_secs);
        let (connection, far, now) = open(seconds_of(own));
        answers_are_wanted(
            connection,
            far,
            now,
            seconds_of(asked),
            Duration::from_secs(seconds),
        );
    }
}

fn answers_are_wanted(
    mut connection: Connection,
    mut far: TcpStream,
    now: Instant,
    asked: Option<Duration>,
    interval: Duration,
) {
    connection.keep_alive(asked);
    let first = now + interval;
    assert!(connection.timeout(first).is_ok());
    assert_eq!(connection.next(), Some(first + PONG_WITHIN));
    far.write_all(PONG).unwrap();
    turns(&mut connection, first, |c, _| c.pinged.is_none());
    assert_eq!(connection.next(), Some(first + interval));

    let second = first + interval;
    assert!(connection.timeout(second).is_ok());
    let due = connection.next().unwrap();
    assert_eq!(due, second + PONG_WITHIN);
    let broken = connection.timeout(due).err().unwrap();
    assert_eq!(broken.reason, "keep-alive: no answer within 10 s");
    assert!(!broken.malformed);
}
