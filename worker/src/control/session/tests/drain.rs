//! A worker that is to go: fence, drain, deadline.

use super::*;

/// R124: nothing is cut, the process ends after the last confirmed message.
#[test]
fn sigterm_asks_for_a_fence_and_waits_for_the_run() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.start(2);
    bench.sent();
    bench.commands();
    assert!(bench.session.signal(bench.now));
    assert!(!bench.session.signal(bench.now));
    let sent = bench.sent();
    assert!(
        matches!(&sent[..], [Message::DrainRequest(request)] if request.ends_in_ms == 1_200_000),
        "{sent:?}"
    );
    bench
        .session
        .from_gateway(bench.now, Down::Fence(Fence::default()));
    assert!(!bench.pass(600));
    assert_eq!(bench.commands(), []);
    // A reconnect asks again, with the time that is left.
    bench.session.disconnected(bench.now);
    bench.welcome(true, 0);
    let sent = bench.sent();
    assert!(
        matches!(&sent[..], [Message::DrainRequest(request)] if request.ends_in_ms == 600_000),
        "{sent:?}"
    );
    bench.share_ended("a", 1);
    assert!(!bench.pass(6));
    bench.ack(1);
    assert!(bench.pass(0));
}

#[test]
fn at_the_drain_deadline_calls_are_cut_and_the_run_is_forced() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.start(2);
    bench.commands();
    bench.session.signal(bench.now);
    let fence = Fence {
        ends_in_ms: Some(30_000),
        ..Fence::default()
    };
    bench.session.from_gateway(bench.now, Down::Fence(fence));
    assert_eq!(
        bench.session.next_timeout(),
        Some(bench.now + Duration::from_secs(30))
    );
    bench.pass(30);
    assert_eq!(bench.commands(), [stop_of(StopCause::DrainDeadline)]);
    bench.share_ended("a", 1);
    bench.sent().last().map_or_else(
        || panic!("nothing sent"),
        |message| assert!(matches!(message, Message::RunEnded(end) if end.forced)),
    );
    bench.ack(1);
    assert!(bench.pass(0));
}

#[test]
fn a_lifted_fence_leaves_the_worker_at_work() {
    let mut bench = Bench::connected();
    let fence = Fence {
        ends_in_ms: Some(10_000),
        ..Fence::default()
    };
    bench.session.from_gateway(bench.now, Down::Fence(fence));
    bench
        .session
        .from_gateway(bench.now, Down::Unfence(Unfence::default()));
    bench.assign(1, "a", 1);
    bench.commands();
    assert!(!bench.pass(60));
    assert_eq!(bench.commands(), []);
}
