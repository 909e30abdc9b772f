use super::*;
use crate::Time;
use proptest::prelude::*;

/// Timestamp units of a packet time of 20 ms at 8 kHz.
const STEP: u32 = 160;
const ALL: u16 = 0xffff;

fn row(digits: &str, duration_ms: u32, gap_ms: u32) -> SendDigits {
    SendDigits {
        digits: digits.parse().unwrap(),
        duration: duration_ms * 8,
        gap: gap_ms * 8,
    }
}

/// Longer than any gap of a row here, in packet times.
const QUIET: usize = 100;

/// What a sender puts on the wire from `start` on, until it is quiet: number of the packet time and
/// packet.
fn packets(sender: &mut EventSender, start: u32, step: u32) -> Vec<(u32, EventPacket)> {
    let mut sent = Vec::new();
    let mut quiet = 0;
    for number in 0..100_000 {
        let timestamp = start.wrapping_add(number * step);
        match sender.next(timestamp, step) {
            Some(packet) => {
                quiet = 0;
                sent.push((number, packet));
            }
            None => quiet += 1,
        }
        while sender.poll_sent().is_some() {}
        if quiet == QUIET {
            return sent;
        }
    }
    panic!("the sender never ends");
}

/// Hands packets to a receiver in the order given, at the time of their number; then time passes.
fn received(arrivals: &[(u32, EventPacket)]) -> Vec<(char, u32, bool)> {
    let mut receiver = EventReceiver::new(8000);
    let mut digits = Vec::new();
    let mut last = 0;
    for (number, packet) in arrivals {
        let at = Time::from_millis(i64::from(*number) * 20);
        receiver.handle_timeout(at);
        last = last.max(*number);
        let wire = packet.report.to_bytes();
        receiver.receive(at, packet.timestamp, packet.marker, &wire);
        digits.extend(std::iter::from_fn(|| receiver.poll()));
    }
    receiver.handle_timeout(Time::from_millis(i64::from(last) * 20 + 5000));
    digits.extend(std::iter::from_fn(|| receiver.poll()));
    let seen = digits.iter();
    seen.map(|d| (d.digit.as_char(), d.duration / 8, d.complete))
        .collect()
}

#[test]
fn digits_have_names_and_codes() {
    let all: Digits = "0123456789*#ABCD".parse().unwrap();
    let codes: Vec<u8> = all.as_slice().iter().map(|digit| digit.event()).collect();
    assert_eq!(codes, (0..16).collect::<Vec<_>>());
    assert_eq!(all.to_string(), "0123456789*#ABCD");
    assert_eq!("d".parse::<Digits>().unwrap().to_string(), "D");
    assert_eq!(Digit::from_event(16), None);
    let error = "12E".parse::<Digits>().unwrap_err();
    let text = "'E' is no DTMF digit, accepted are 0-9 A-D * #";
    assert_eq!(error.to_string(), text);
    let text = "0 DTMF digits, accepted are 1 to 32";
    assert_eq!("".parse::<Digits>().unwrap_err().to_string(), text);
    assert_eq!("1".repeat(33).parse::<Digits>(), Err(DigitError::Count(33)));
}

#[test]
fn a_report_on_the_wire() {
    let report = EventReport {
        event: 11,
        end: true,
        volume: 10,
        duration: 0x0320,
    };
    assert_eq!(report.to_bytes(), [11, 0x8a, 0x03, 0x20]);
    let read: Vec<_> = EventReport::read(&[11, 0xca, 0x03, 0x20, 1, 0, 0, 9, 7]).collect();
    let next = EventReport {
        event: 1,
        end: false,
        volume: 0,
        duration: 9,
    };
    assert_eq!(
        read,
        [(0, report), (800, next)],
        "R is ignored, so is a rest"
    );
}

/// RFC 4733 §2.5.1: one timestamp, growing durations, marker first, the last report three times.
#[test]
fn a_digit_on_the_wire() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("5", 100, 100));
    let sent = packets(&mut sender, 1000, STEP);
    let seen: Vec<_> = sent
        .iter()
        .map(|(number, p)| {
            let EventReport { end, duration, .. } = p.report;
            assert_eq!((p.timestamp, p.report.event), (1000, 5));
            (*number, p.marker, duration, end)
        })
        .collect();
    let expected = [
        (0, true, 160, false),
        (1, false, 320, false),
        (2, false, 480, false),
        (3, false, 640, false),
        (4, false, 800, true),
        (5, false, 800, true),
        (6, false, 800, true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn rows_follow_each_other_and_are_told_in_order() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("11", 100, 100));
    sender.push(row("2", 50, 0));
    let mut starts = Vec::new();
    let mut told = Vec::new();
    for number in 0..40 {
        if let Some(packet) = sender.next(number * STEP, STEP).filter(|p| p.marker) {
            starts.push((number, packet.report.event));
        }
        told.extend(
            sender
                .poll_sent()
                .map(|sent| (number, sent.sent, sent.dropped)),
        );
    }
    // 100 ms of digit, 100 ms of gap; 50 ms end within the third packet.
    assert_eq!(starts, [(0, 1), (10, 1), (20, 2)]);
    assert_eq!(told, [(16, 2, 0), (24, 1, 0)]);
}

#[test]
fn a_gap_shorter_than_the_repetitions_is_stretched() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("12", 20, 0));
    let numbers: Vec<_> = packets(&mut sender, 0, STEP)
        .iter()
        .map(|(number, p)| (*number, p.report.event, p.timestamp))
        .collect();
    let expected = [
        (0, 1, 0),
        (1, 1, 0),
        (2, 1, 0),
        (3, 2, 480),
        (4, 2, 480),
        (5, 2, 480),
    ];
    assert_eq!(numbers, expected);
}

#[test]
fn what_the_far_end_does_not_take_is_dropped_and_told() {
    let mut sender = EventSender::new(0x0fff);
    sender.push(row("A1BC", 20, 0));
    sender.push(row("D", 20, 0));
    let events: Vec<_> = packets(&mut sender, 0, STEP)
        .iter()
        .map(|(_, packet)| packet.report.event)
        .collect();
    assert_eq!(events, [1, 1, 1]);
    let mut sender = EventSender::new(0x0fff);
    sender.push(row("A1BC", 20, 0));
    sender.push(row("D", 20, 0));
    let mut told = Vec::new();
    for number in 0..10 {
        sender.next(number * STEP, STEP);
        told.extend(sender.poll_sent());
    }
    let told: Vec<_> = told.iter().map(|t| (t.sent, t.dropped)).collect();
    assert_eq!(told, [(1, 3), (0, 1)]);
}

#[test]
fn stopping_tells_what_was_sent() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("123", 20, 20));
    sender.push(row("4", 20, 20));
    for number in 0..5 {
        sender.next(number * STEP, STEP);
    }
    sender.stop();
    let first = DigitsSent {
        sent: 2,
        dropped: 1,
    };
    assert_eq!(
        sender.poll_sent(),
        Some(first),
        "only repetitions were left of 2"
    );
    let second = DigitsSent {
        sent: 0,
        dropped: 1,
    };
    assert_eq!(sender.poll_sent(), Some(second));
    assert_eq!(sender.poll_sent(), None);
    assert_eq!(sender.next(5 * STEP, STEP), None);
}

#[test]
fn more_rows_than_fit_are_dropped_at_once() {
    let mut sender = EventSender::new(ALL);
    for _ in 0..33 {
        sender.push(row("12", 20, 20));
    }
    assert_eq!(
        sender.poll_sent(),
        Some(DigitsSent {
            sent: 0,
            dropped: 2
        })
    );
    assert_eq!(sender.poll_sent(), None);
}

/// RFC 4733 §2.5.1.3: 20 s are three segments; only the last one ends the event.
#[test]
fn a_long_event_has_segments_and_is_one_digit() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("7", 20_000, 0));
    let sent = packets(&mut sender, 0xffff_0000, STEP);
    let segments: Vec<_> = sent
        .iter()
        .filter(|(_, p)| p.report.duration == u16::MAX)
        .map(|(_, p)| p.timestamp.wrapping_sub(0xffff_0000))
        .collect();
    assert_eq!(segments, [0, 0, 0, 65535, 65535, 65535]);
    let ends: Vec<_> = sent.iter().filter(|(_, p)| p.report.end).collect();
    assert_eq!(ends.len(), 3);
    let (_, last) = ends[0];
    assert_eq!(last.timestamp.wrapping_sub(0xffff_0000), 2 * 65535);
    assert_eq!(u32::from(last.report.duration), 160_000 - 2 * 65535);
    assert_eq!(sent.iter().filter(|(_, p)| p.marker).count(), 1);
    assert_eq!(received(&sent), [('7', 20_000, true)]);
}

#[test]
fn losses_of_the_ends_of_an_event() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("5", 100, 100));
    let sent = packets(&mut sender, 77, STEP);
    assert_eq!(
        received(&sent[2..]),
        [('5', 100, true)],
        "the first ones lost"
    );
    assert_eq!(
        received(&sent[6..]),
        [('5', 100, true)],
        "one copy of the end"
    );
    assert_eq!(received(&sent[..4]), [('5', 80, false)], "all ends lost");
    assert_eq!(received(&[]), []);
}

/// The next event, and not the patience, ends one whose end was lost.
#[test]
fn the_same_digit_twice_is_two_digits_by_the_timestamp() {
    let mut sender = EventSender::new(ALL);
    sender.push(row("99", 100, 60));
    let sent = packets(&mut sender, u32::MAX - 900, STEP);
    assert_eq!(received(&sent), [('9', 100, true), ('9', 100, true)]);
    let without_ends: Vec<_> = sent
        .iter()
        .filter(|(number, p)| !p.report.end || *number > 10)
        .copied()
        .collect();
    assert_eq!(
        received(&without_ends),
        [('9', 80, false), ('9', 100, true)]
    );
    // The same packets under one timestamp are one digit: it is the timestamp that tells.
    let merged: Vec<_> = sent
        .iter()
        .map(|(number, p)| (*number, EventPacket { timestamp: 5, ..*p }))
        .collect();
    assert_eq!(received(&merged), [('9', 100, true)]);
}

#[test]
fn what_is_no_digit_is_passed_over() {
    let mut receiver = EventReceiver::new(8000);
    let at = Time::ZERO;
    let wire = |event, duration| {
        EventReport {
            event,
            end: true,
            volume: 0,
            duration,
        }
        .to_bytes()
    };
    receiver.receive(at, 0, true, &wire(16, 800)); // hook flash
    receiver.receive(at, 800, true, &wire(1, 0)); // no duration
    receiver.receive(at, 1600, true, &[1, 0x80, 3]); // no report
    assert_eq!(receiver.poll(), None);
    let packed = [wire(1, 400), wire(2, 400)].concat();
    receiver.receive(at, 2400, true, &packed);
    receiver.receive(at, 2400, true, &packed);
    let digits: String = std::iter::from_fn(|| receiver.poll())
        .map(|digit| digit.digit.as_char())
        .collect();
    assert_eq!(digits, "12", "several events in one packet");
}

#[test]
fn a_flood_of_digits_nobody_polls_has_a_bound() {
    let mut receiver = EventReceiver::new(8000);
    let report = EventReport {
        event: 1,
        end: true,
        volume: 0,
        duration: 10,
    };
    for n in 0..1000 {
        receiver.receive(Time::ZERO, n * 100, true, &report.to_bytes().repeat(300));
    }
    assert_eq!(std::iter::from_fn(|| receiver.poll()).count(), 8);
}

#[test]
fn timestamps_that_start_anew_are_no_late_packets() {
    let mut receiver = EventReceiver::new(8000);
    let report = EventReport {
        event: 3,
        end: true,
        volume: 0,
        duration: 800,
    };
    let mut count = |timestamp, interrupted| {
        if interrupted {
            receiver.interrupt();
        }
        receiver.receive(Time::ZERO, timestamp, true, &report.to_bytes());
        std::iter::from_fn(|| receiver.poll()).count()
    };
    assert_eq!(count(1_000_000, false), 1);
    assert_eq!(count(999_000, false), 0, "an event before the newest");
    assert_eq!(count(500_000, false), 1, "a minute back");
    assert_eq!(count(499_000, true), 1, "another source");
}

proptest! {
    /// Whatever is lost, doubled and displaced by up to 100 ms: as long as one packet of each
    /// digit comes, the digits are right and in order; their duration is that of the last report.
    #[test]
    fn digits_survive_loss_copies_and_disorder(
        digits in "[0-9A-D*#]{1,12}",
        start in any::<u32>(),
        duration_ms in 20_u32..400,
        step_ms in prop_oneof![Just(10_u32), Just(20), Just(30), Just(60)],
        fate in proptest::collection::vec((0_u8..10, 0_u32..6), 600),
    ) {
        let mut sender = EventSender::new(ALL);
        sender.push(row(&digits, duration_ms, 500));
        let step = step_ms * 8;
        let sent = packets(&mut sender, start, step);
        let mut arrivals = Vec::new();
        let mut kept: Vec<(u32, char, u32, bool)> = Vec::new();
        for ((number, packet), (chance, delay)) in sent.iter().zip(fate.iter().cycle()) {
            if *chance < 4 {
                continue; // lost
            }
            let EventReport { event, end, duration, .. } = packet.report;
            let name = Digit::from_event(event).unwrap().as_char();
            match kept.last_mut().filter(|last| last.0 == packet.timestamp) {
                Some(last) => {
                    last.2 = last.2.max(duration.into());
                    last.3 |= end;
                }
                None => kept.push((packet.timestamp, name, duration.into(), end)),
            }
            let at = number * step_ms + delay * 20;
            arrivals.push((at, *packet));
            if *chance == 9 {
                arrivals.push((at + 40, *packet));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        let mut receiver = EventReceiver::new(8000);
        let mut seen = Vec::new();
        for (at, packet) in &arrivals {
            let at = Time::from_millis((*at).into());
            receiver.receive(at, packet.timestamp, packet.marker, &packet.report.to_bytes());
            seen.extend(std::iter::from_fn(|| receiver.poll()));
        }
        receiver.handle_timeout(Time::from_millis(1_000_000));
        seen.extend(std::iter::from_fn(|| receiver.poll()));
        prop_assert_eq!(seen.len(), kept.len());
        for (seen, (_, name, duration, complete)) in seen.iter().zip(&kept) {
            prop_assert_eq!(seen.digit.as_char(), *name);
            prop_assert_eq!((seen.duration, seen.complete), (*duration, *complete));
        }
    }

    #[test]
    fn any_octets_are_taken(
        packets in proptest::collection::vec(
            (any::<u32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)),
            0..50,
        ),
    ) {
        let mut receiver = EventReceiver::new(8000);
        for (timestamp, marker, payload) in &packets {
            receiver.receive(Time::ZERO, *timestamp, *marker, payload);
            let ended = std::iter::from_fn(|| receiver.poll()).count();
            prop_assert!(ended <= 5);
        }
    }
}
