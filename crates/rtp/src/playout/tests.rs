use super::*;

const PACKET: i64 = 20_000_000;
const MS: i64 = 1_000_000;

/// A stream of 20 ms packets; `delays[n]` is the network delay of packet n in ms, `None` lost.
/// Seconds end as they do in a running stream.
fn play(delays: &[Option<i64>]) -> Playout {
    let mut playout = Playout::new(PACKET);
    let mut events: Vec<(i64, Option<u64>)> = delays
        .iter()
        .enumerate()
        .filter_map(|(n, delay)| Some((n as i64 * PACKET + (*delay)? * MS, Some(n as u64))))
        .collect();
    let end = delays.len() as i64 * PACKET;
    events.extend((1..=end / 1_000_000_000).map(|second| (second * 1_000_000_000, None)));
    events.sort_unstable();
    for (at, number) in events {
        match number {
            Some(number) => playout.receive(PlayoutPacket {
                extended: 70_000 + number,
                arrival: Time::from_nanos(at),
                position: number as i64 * PACKET,
            }),
            None => playout.end_second(Time::from_nanos(at)),
        }
    }
    playout
}

#[test]
fn a_clean_stream_plays_all_and_waits_one_packet() {
    let mut playout = play(&[Some(50); 250]);
    assert_eq!(
        playout.delay_ms(),
        Some(20.0),
        "from 40 down by 10 a second"
    );
    playout.finish();
    let expected = PlayoutCounters {
        pushed: 250,
        ..Default::default()
    };
    assert_eq!(playout.counters(), expected);
    assert_eq!(playout.average_jitter_ms(), Some(0.0));
}

#[test]
fn numbers_are_decided_when_their_time_has_passed_and_not_before() {
    let mut playout = play(&[Some(0), None, Some(0)]);
    // Packet n plays at 20n + 40 ms.
    playout.advance(Time::from_millis(59));
    assert_eq!((playout.counters().pushed, playout.counters().lost), (1, 0));
    playout.advance(Time::from_millis(60));
    assert_eq!((playout.counters().pushed, playout.counters().lost), (1, 1));
    assert_eq!(playout.depth_ms(Time::from_millis(60)), Some(40.0));
    playout.advance(Time::from_millis(80));
    assert_eq!((playout.counters().pushed, playout.counters().lost), (2, 1));
    assert_eq!(playout.depth_ms(Time::from_millis(500)), Some(0.0));
}

#[test]
fn a_late_packet_is_discarded_and_counted_once_in_the_window() {
    let mut delays = vec![Some(0); 50];
    delays[10] = Some(70); // past its 40 ms; arrives after packet 13
    delays[20] = None;
    let mut playout = play(&delays);
    playout.finish();
    let counters = playout.counters();
    assert_eq!((counters.pushed, counters.late, counters.lost), (48, 1, 2));
    assert_eq!(counters.underruns, 0, "later packets were there");
    let window = playout.end_window_second(false, false);
    assert_eq!((window.expected, window.lost, window.discarded), (50, 1, 1));
    assert_eq!(window.ppl_pct, Some(4.0));
    assert_eq!(playout.loss_runs()[0], 2);
}

#[test]
fn a_stall_empties_the_buffer_once() {
    // Packets 25 to 32 are held until 150 ms after packet 25 was due, then come at once.
    let delays: Vec<_> = (0..100_i64)
        .map(|n| {
            if (25..33).contains(&n) {
                Some(150 - 20 * (n - 25))
            } else {
                Some(0)
            }
        })
        .collect();
    let mut playout = play(&delays);
    playout.finish();
    let counters = playout.counters();
    assert_eq!(counters.underruns, 1);
    assert_eq!(counters.pushed + counters.late, 100);
    assert!((1..=6).contains(&counters.late), "{counters:?}");
}

#[test]
fn the_delay_grows_with_jitter_and_falls_slowly() {
    // Every fifth packet takes 60 ms longer: more than 3 % of them.
    let shaky: Vec<_> = (0..250)
        .map(|n| Some(if n % 5 == 4 { 60 } else { 0 }))
        .collect();
    let playout = play(&shaky);
    assert_eq!(
        playout.delay_ms(),
        Some(75.0),
        "class of 60..65 ms and half a packet"
    );
    let late = playout.counters().late;
    assert!((1..=3).contains(&late), "rises at once, {late} late");
    let mut calm = shaky.clone();
    calm.extend([Some(0); 50]);
    let after = play(&calm);
    assert!(after.delay_ms() >= Some(65.0), "{:?}", after.delay_ms());
    calm.extend([Some(0); 1000]);
    assert_eq!(play(&calm).delay_ms(), Some(20.0));
}

#[test]
fn one_outlier_does_not_grow_the_delay() {
    let mut delays = vec![Some(0); 200];
    delays[150] = Some(130);
    let playout = play(&delays);
    assert_eq!(
        (playout.counters().late, playout.delay_ms()),
        (1, Some(20.0))
    );
}

#[test]
fn a_path_that_becomes_slower_for_good_costs_nine_packets() {
    let delays: Vec<_> = (0..200)
        .map(|n| Some(if n < 100 { 10 } else { 310 }))
        .collect();
    let mut playout = play(&delays);
    playout.finish();
    assert_eq!(playout.counters().late, u64::from(OUT_OF_REACH) - 1);
    assert_eq!(playout.counters().underruns, 1);
}

#[test]
fn a_sender_that_runs_far_ahead_overruns_the_buffer() {
    let mut playout = Playout::new(PACKET);
    for number in 0..16_u64 {
        playout.receive(PlayoutPacket {
            extended: 70_000 + number,
            arrival: Time::from_millis(number as i64),
            position: number as i64 * PACKET,
        });
    }
    let overruns = playout.counters().overruns;
    assert!(
        overruns > 0 && overruns < u64::from(OUT_OF_REACH),
        "{overruns}"
    );
}

#[test]
fn a_jump_of_thousands_is_all_lost_and_stays_in_bounds() {
    let mut playout = play(&[Some(0); 50]);
    playout.receive(PlayoutPacket {
        extended: 70_000 + 49 + 2900,
        arrival: Time::from_millis(1000),
        position: 50 * PACKET,
    });
    playout.finish();
    assert_eq!(
        (playout.counters().pushed, playout.counters().lost),
        (51, 2899)
    );
    assert_eq!(playout.loss_runs()[9], 1);
}
