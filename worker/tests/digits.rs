//! DTMF digits as telephone events (RFC 4733) through two media pools on the loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use callmeter_engine::media::{
    Codec, DIGIT_GAP_MS, DIGIT_MS, MediaCommand, MediaEvent, StreamId, StreamSnapshot,
    TelephoneEvents,
};
use callmeter_rtp::{HEADER_LEN, RtpHeader};
use callmeter_worker::media::{MediaClient, MediaConfig, MediaPool};

const DEADLINE: Duration = Duration::from_secs(20);
const STREAM: StreamId = StreamId(1);
const EVENTS: u8 = 101;

/// A digit received: its name, milliseconds, and whether its end was reported.
type Heard = (char, u32, bool);

/// The media threads of one worker, with one stream.
struct Site {
    _pool: MediaPool,
    client: MediaClient,
    woken: Receiver<()>,
    local: SocketAddr,
}

impl Site {
    fn new(ip: [u8; 4]) -> Self {
        let config = MediaConfig {
            threads: 1,
            real_time: false,
            ..MediaConfig::new(ip.into(), (20_000, 20_099), 7)
        };
        let (wake, woken) = sync_channel(1);
        let wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let (pool, clients) = MediaPool::start(&config, &[wake]).unwrap();
        let mut site = Self {
            _pool: pool,
            client: clients.into_iter().next().unwrap(),
            woken,
            local: (ip, 0).into(),
        };
        site.client.send(MediaCommand::Open { stream: STREAM });
        site.local = site.wait_for("opened", |event| match event {
            MediaEvent::Opened { local, .. } => Some(*local),
            MediaEvent::OpenFailed { reason, .. } => panic!("{reason}"),
            _ => None,
        });
        site
    }

    /// The first event `pick` accepts; earlier ones are passed over.
    fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&MediaEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while let Some(event) = self.client.poll() {
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let woken = self.woken.recv_timeout(left).is_ok();
            assert!(woken, "no event within 20 s: {what}");
        }
    }

    fn start(&mut self, remote: SocketAddr, telephone_events: Option<TelephoneEvents>) {
        self.client.send(MediaCommand::Start {
            stream: STREAM,
            remote,
            remote_rtcp: (remote.ip(), remote.port() + 1).into(),
            codec: Codec::Pcma,
            payload_type: 8,
            receive_payload_type: 8,
            telephone_events,
            ptime_ms: 20,
            dscp: 46,
            start_sending: true,
        });
    }

    /// Sends digits and waits until their fate is told: sent and dropped.
    fn send_digits(&mut self, digits: &str) -> (u8, u8) {
        self.client.send(MediaCommand::SendDigits {
            stream: STREAM,
            digits: digits.parse().unwrap(),
            digit_ms: DIGIT_MS,
            gap_ms: DIGIT_GAP_MS,
        });
        self.wait_for("digits sent", |event| match event {
            MediaEvent::DigitsSent { sent, dropped, .. } => Some((*sent, *dropped)),
            _ => None,
        })
    }

    /// Ends the stream: the digits that were received, and its figures.
    fn end(mut self) -> (Vec<Heard>, StreamSnapshot) {
        self.client.send(MediaCommand::Remove { stream: STREAM });
        let mut digits = Vec::new();
        let last = self.wait_for("removed", |event| match event {
            MediaEvent::DigitReceived {
                digit,
                duration_ms,
                complete,
                ..
            } => {
                digits.push((digit.as_char(), *duration_ms, *complete));
                None
            }
            MediaEvent::Removed { last, .. } => Some(*last),
            _ => None,
        });
        (digits, last)
    }
}

const AGREED: Option<TelephoneEvents> = Some(TelephoneEvents {
    send: EVENTS,
    receive: EVENTS,
    digits: 0xffff,
});

/// What lies between the two: takes the sender's packets, drops those `lose` names (its argument
/// is the place of an event packet within its digit) and hands on the rest.
struct Path {
    socket: UdpSocket,
    stop: Arc<AtomicBool>,
}

impl Path {
    fn new(ip: [u8; 4]) -> Self {
        let socket = UdpSocket::bind((std::net::IpAddr::from(ip), 21_000)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Self {
            socket,
            stop: Arc::default(),
        }
    }

    fn run(
        &self,
        (of, to): (SocketAddr, SocketAddr),
        lose: fn(usize) -> bool,
    ) -> std::thread::JoinHandle<()> {
        let (socket, stop) = (self.socket.try_clone().unwrap(), Arc::clone(&self.stop));
        std::thread::spawn(move || {
            let (mut event, mut place) = (None, 0);
            let mut wire = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut wire) else {
                    continue;
                };
                if from != of {
                    continue; // what the receiver says
                }
                let (header, _) = RtpHeader::parse(&wire[..len]).unwrap();
                if header.payload_type == EVENTS {
                    place = if event == Some(header.timestamp) {
                        place + 1
                    } else {
                        0
                    };
                    event = Some(header.timestamp);
                    assert_eq!(len, HEADER_LEN + 4);
                    if lose(place) {
                        continue;
                    }
                }
                socket.send_to(&wire[..len], to).unwrap();
            }
        })
    }
}

/// Digits from one worker to another over a path that loses some event packets: what the sender
/// was told, what the receiver heard, and the receiver's figures.
fn over(
    net: u8,
    receiver_events: Option<TelephoneEvents>,
    lose: fn(usize) -> bool,
) -> ((u8, u8), Vec<Heard>, StreamSnapshot) {
    let (mut a, mut b) = (Site::new([127, 11, net, 1]), Site::new([127, 11, net, 2]));
    let path = Path::new([127, 11, net, 3]);
    let entry = path.socket.local_addr().unwrap();
    let handle = path.run((a.local, b.local), lose);
    a.start(entry, AGREED);
    b.start(entry, receiver_events);
    b.wait_for("first packet", |event| {
        matches!(event, MediaEvent::FirstPacket { .. }).then_some(())
    });
    let told = a.send_digits("19#");
    // Audio after the digits: nothing of them is on the way any more, and an end that was lost is
    // noticed.
    let sent = a.wait_for("a second after", |event| match event {
        MediaEvent::Second { snapshot, .. } => Some(snapshot.send.total.packets),
        _ => None,
    });
    let mut digits = Vec::new();
    b.wait_for("all that was sent", |event| {
        match event {
            MediaEvent::DigitReceived {
                digit,
                duration_ms,
                complete,
                ..
            } => digits.push((digit.as_char(), *duration_ms, *complete)),
            MediaEvent::Second { snapshot, .. } if snapshot.receive.total.expected >= sent => {
                return Some(());
            }
            _ => {}
        }
        None
    });
    a.client.send(MediaCommand::StopSending { stream: STREAM });
    path.stop.store(true, Ordering::Relaxed);
    handle.join().unwrap();
    let (rest, last) = b.end();
    digits.extend(rest);
    (told, digits, last)
}

#[test]
fn digits_arrive_with_their_duration_and_are_no_change_of_the_audio() {
    let (told, digits, last) = over(1, AGREED, |_| false);
    assert_eq!(told, (3, 0));
    assert_eq!(
        digits,
        [('1', 100, true), ('9', 100, true), ('#', 100, true)]
    );
    let counted = last.events.unwrap();
    assert_eq!((counted.received, counted.incomplete), (3, 0));
    let total = last.receive.total;
    let strange = (
        total.lost,
        total.payload_type_changes,
        total.timestamp_jumps,
    );
    assert_eq!(strange, (0, 0, 0));
    // On a busy machine a packet comes after its time, or before it once the others did.
    let played = last.playout.total;
    assert_eq!(
        played.pushed + played.late + played.overruns,
        total.packets - 3 * 7
    );
    assert_eq!(played.lost, 0);
}

/// Of the seven packets of a digit the first three, and two of the three ends, may be lost.
#[test]
fn lost_first_and_last_packets_change_no_digit() {
    let (told, digits, last) = over(2, AGREED, |place| !(3..=4).contains(&place));
    assert_eq!(told, (3, 0));
    assert_eq!(
        digits,
        [('1', 100, true), ('9', 100, true), ('#', 100, true)]
    );
    assert_eq!(last.receive.total.lost, 3 * 5);
}

#[test]
fn without_any_end_the_digit_is_known_and_its_end_is_not() {
    let (_, digits, last) = over(3, AGREED, |place| place > 3);
    assert_eq!(
        digits,
        [('1', 80, false), ('9', 80, false), ('#', 80, false)]
    );
    let counted = last.events.unwrap();
    assert_eq!((counted.received, counted.incomplete), (3, 3));
}

/// The negative controls: events nobody agreed on are no digits but changes of the payload type,
/// and digits all packets of which are lost do not arrive.
#[test]
fn what_was_not_agreed_or_is_lost_is_no_digit() {
    let (_, digits, last) = over(4, None, |_| false);
    assert!(digits.is_empty() && last.events.is_none(), "{digits:?}");
    assert_eq!(last.receive.total.payload_type_changes, 6);
    let (_, digits, last) = over(5, AGREED, |_| true);
    assert!(
        digits.is_empty() && last.receive.total.lost == 21,
        "{digits:?}"
    );
}

/// Without telephone events, and after a stop, nothing is sent, and that is told.
#[test]
fn digits_that_cannot_be_sent_are_told() {
    let mut site = Site::new([127, 11, 6, 1]);
    assert_eq!(site.send_digits("12"), (0, 2), "not started");
    let far: SocketAddr = ([127, 11, 6, 2], 30_000).into();
    site.start(far, None);
    assert_eq!(site.send_digits("123"), (0, 3), "none agreed on");
    site.start(far, AGREED);
    site.client.send(MediaCommand::SendDigits {
        stream: STREAM,
        digits: "0123456789".parse().unwrap(),
        digit_ms: DIGIT_MS,
        gap_ms: DIGIT_GAP_MS,
    });
    site.client
        .send(MediaCommand::StopSending { stream: STREAM });
    let told = site.wait_for("cut off", |event| match event {
        MediaEvent::DigitsSent { sent, dropped, .. } => Some((*sent, *dropped)),
        _ => None,
    });
    assert_eq!(told, (0, 10));
    assert_eq!(site.send_digits("1"), (0, 1), "nothing is being sent");
}
