//! Metrics driven to known values by the worker binary under real impairment: a far end that keeps
//! count itself, packet filters that count what they drop, a CPU quota, a stopped process. Every
//! value comes with a control: the same question to an undisturbed call has another answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod connections;
mod digits;
mod emodel;
mod far_end;
mod host;
mod loss;
mod lossy;
mod machine;
mod network;
mod one_way;
mod proof;
mod refused;
mod script;
mod signalling;
mod starved;
mod strays;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod timers;
mod unanswered;
mod within;

use std::collections::BTreeSet;

/// A test and what it claims.
type Claimed = (fn(), &'static [&'static str]);

/// The tests, and the metrics each of them claims; it fails unless it proves exactly these.
const CLAIMED: [Claimed; 13] = [
    (
        signalling::signalling_and_times_are_what_the_far_end_did,
        signalling::KEYS,
    ),
    (
        stream::stream_figures_are_what_the_far_end_did,
        stream::KEYS,
    ),
    (loss::five_percent_of_loss_are_seen_and_scored, loss::KEYS),
    (one_way::one_way_audio_is_found_in_every_call, one_way::KEYS),
    (
        starved::a_run_on_a_twentieth_of_a_cpu_is_marked,
        starved::KEYS,
    ),
    (host::drops_at_the_socket_are_the_generators_own, host::KEYS),
    (
        within::what_happens_within_calls_is_what_sipp_did,
        within::KEYS,
    ),
    (
        refused::calls_that_fail_take_as_long_as_sipp_says,
        refused::KEYS,
    ),
    (timers::refreshes_are_those_that_were_accepted, timers::KEYS),
    (strays::what_goes_astray_is_what_sipp_sent, strays::KEYS),
    (
        connections::connections_take_as_long_as_their_servers,
        connections::KEYS,
    ),
    (
        unanswered::timeouts_are_what_the_far_end_left_unanswered,
        unanswered::KEYS,
    ),
    (digits::digits_are_those_baresip_speaks_of, digits::KEYS),
];

/// R102: at least 40 metrics of the catalogue are driven to a known value by a test here, each with
/// a control that fails the same question.
#[test]
fn forty_metrics_and_more_are_proven() {
    let mut keys = BTreeSet::new();
    for key in CLAIMED.iter().flat_map(|(_, keys)| *keys) {
        let metric = callmeter_metrics::by_key(key).unwrap_or_else(|| panic!("no metric {key}"));
        assert!(metric.measured, "{key} is claimed but only planned");
        keys.insert(*key);
    }
    eprintln!("{} metrics proven: {keys:?}", keys.len());
    assert!(keys.len() >= 40, "{}", keys.len());
}
