//! Calls through 5 % loss, both at random and exactly every 20th packet of each stream, against
//! the counters of the filter that drops; scores against the formula.

use std::{collections::BTreeMap, time::Duration};

use callmeter_metrics::by_key;
use callmeter_proto::worker::{Direction, Role, SampleRow};

use crate::emodel;
use crate::machine::LOAD;
use crate::network::{self, PORTS};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    process::{Worker, environment},
    run::{Group, Told, begin, finish},
};

pub(crate) const KEYS: &[&str] = &[
    "packets_lost",
    "fraction_lost",
    "gap_density",
    "jb_packets_lost",
    "r_factor",
    "mos",
    "mos_cq",
    "mos_lq",
    "mos_degradation_loss",
    "mos_degradation_delay",
];

/// Few and long: what is lost at the ends of a stream is missed by nobody.
const PAIRS: u32 = 10;
const CALL_MS: u32 = 32_000;
const PATIENCE: Duration = Duration::from_secs(90);
/// Markings by which the filter tells the directions apart.
const CALLERS: u32 = 46;
const CALLEES: u32 = 10;
const UNDISTURBED: u32 = 12;
/// Percentage points.
const TOLERANCE: f64 = 0.05;

fn rules() -> String {
    let mut rules = format!(
        "ip dscp {CALLERS} counter name sent_random \
         numgen random mod 20 0 counter name lost_random drop\n\
         ip dscp {CALLEES} counter name sent_exact\n"
    );
    for port in (PORTS.rtp_first..PORTS.rtp_first + 500).step_by(2) {
        rules += &format!(
            "ip dscp {CALLEES} udp dport {port} \
             numgen inc mod 20 7 counter name lost_exact drop\n"
        );
    }
    rules
}

/// Lost in percent of what was expected.
fn percent(told: &Told, group: &str) -> f64 {
    let sum = |key| told.sum(group, key, Direction::Recv) as f64;
    let lost = sum("packets_lost");
    lost / (sum("packets_received") + lost) * 100.0
}

/// Loss is what the filter counts, to 0.05 points; MOS is what the formula gives for the reported
/// loss and delay, second by second.
#[test]
pub(crate) fn five_percent_of_loss_are_seen_and_scored() {
    let _load = LOAD.blocking_read();
    calm(five_percent_of_loss);
}

async fn five_percent_of_loss() {
    if !network::enter() {
        return;
    }
    let counters = ["sent_random", "lost_random", "sent_exact", "lost_exact"];
    network::filter(&counters, &rules());
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, PORTS));
    let mut peer = gateway.welcome().await;
    let group = |name, role, count, dscp| Group {
        call_ms: CALL_MS,
        run_ms: CALL_MS + 4000,
        dscp,
        ..Group::new(name, role, count)
    };
    let groups = [
        group("callees", Role::Callee, PAIRS, CALLEES),
        group("callers", Role::Caller, PAIRS, CALLERS),
        group("others", Role::Callee, 1, UNDISTURBED),
        Group {
            dials: Some("others"),
            ..group("control", Role::Caller, 1, UNDISTURBED)
        },
    ];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());

    for (group, sent, lost) in [
        ("callees", "sent_random", "lost_random"),
        ("callers", "sent_exact", "lost_exact"),
    ] {
        let (sent, lost) = (network::counted(sent), network::counted(lost));
        // The truth, and that it is what was meant.
        let truth = lost / sent * 100.0;
        assert!(sent >= f64::from(PAIRS) * 1500.0, "{sent} sent to {group}");
        assert!((4.0..6.0).contains(&truth), "{truth} % dropped");
        let reported = percent(&told, group);
        eprintln!("{group}: {reported} % reported, {truth} % of {sent} dropped");
        assert!(
            (reported - truth).abs() <= TOLERANCE,
            "{reported} % reported to {group}, {truth} % dropped"
        );
    }
    // Every 20th packet: each loss stands alone. At random some come together, most do not.
    for (group, burst_ratios) in [("callers", [1.0, 1.0]), ("callees", [1.0, 2.0])] {
        let scored = assert_scores(&told, group, burst_ratios);
        assert!(scored >= PAIRS as usize * 4, "{scored} seconds of {group}");
    }

    let recv = Direction::Recv;
    let lost = network::counted("lost_exact");
    let formula = |rating: f64| (rating - 1.0, rating + 1.0);
    // Below 60 ms of delay: packet time and the least playout delay; loss costs the rest.
    let (least, most) = formula(emodel::rating(50.0, 5.0, 1.0));
    let view = |group| View { told: &told, group };
    // A packet lost at the very end of a stream is not missed.
    let about = |key| Claim::between(key, recv, Figure::Sum, lost - f64::from(PAIRS), lost);
    let median = |key, least, most| Claim::between(key, recv, Figure::Median, least, most);
    let (worst, best) = (emodel::mos(least), emodel::mos(most));
    let claims = vec![
        about("packets_lost"),
        about("jb_packets_lost"),
        median("fraction_lost", 3.9, 6.1),
        median("gap_density", 0.049, 0.051),
        median("r_factor", least, most),
        median("mos", worst, best),
        median("mos_cq", worst, best),
        median("mos_lq", worst, best + 0.1),
        median("mos_degradation_loss", 85.0, 99.0),
        median("mos_degradation_delay", 1.0, 15.0),
    ];
    prove(&[(view("callers"), claims)], view("control"), KEYS);
}

/// Compares MOS and R of every second that ends a full window of ten with the formula, for the
/// loss of these ten seconds, the delay the row has, and a burst ratio between two ends.
fn assert_scores(told: &Told, group: &str, burst_ratios: [f64; 2]) -> usize {
    let value = |row: &SampleRow, key: &str| {
        let id = by_key(key).unwrap().id.0;
        let found = row.values.iter().find(|value| value.metric == id);
        found.map(|value| value.value)
    };
    let mut endpoints: BTreeMap<u32, Vec<&SampleRow>> = BTreeMap::new();
    for row in &told.rows {
        if row.group == group && !row.per_call && row.direction() == Direction::Recv {
            endpoints.entry(row.endpoint).or_default().push(row);
        }
    }
    let mut scored = 0;
    for rows in endpoints.values() {
        // Rows of signalling alone have no packets.
        let rows: Vec<_> = rows
            .iter()
            .filter(|row| value(row, "packets_received").is_some())
            .collect();
        for window in rows.windows(10) {
            let last = window[9];
            let Some(mos) = value(last, "mos") else {
                continue;
            };
            let sum = |key| -> f64 { window.iter().filter_map(|row| value(row, key)).sum() };
            // A busy machine delays some, or does not send them; they come in runs, and these are
            // not exact.
            let limited = window.iter().any(|row| row.generator_limited);
            if limited || sum("jb_late_packets") > 0.0 {
                continue;
            }
            let lost = sum("jb_packets_lost");
            let loss = lost / (lost + sum("jb_packets_pushed")) * 100.0;
            let delay = if last.delay_partial {
                value(last, "end_system_delay_ms")
            } else {
                value(last, "one_way_delay_ms")
            };
            let ratings = burst_ratios.map(|ratio| emodel::rating(delay.unwrap(), loss, ratio));
            let r = value(last, "r_factor").unwrap();
            let [best, worst] = ratings.map(emodel::mos);
            assert!(
                (worst - 0.02..=best + 0.02).contains(&mos)
                    && (ratings[1] - 0.5..=ratings[0] + 0.5).contains(&r),
                "R {r} and MOS {mos} at {loss} % and {delay:?} ms; the formula: R {ratings:?}"
            );
            scored += 1;
        }
    }
    scored
}
