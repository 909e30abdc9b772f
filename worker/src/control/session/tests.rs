mod drain;
mod hostile;

use callmeter_proto::worker::{
    Ack, Assign, EndpointEnded, EndpointEvent, Fence, Outcome, OutcomeCount, ResumeVerdict,
    SampleRow, Start, Stop, Unfence, endpoint_event::What, to_worker::Message as Down,
};

use super::*;

struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let identity = Identity::new([7; 16], Hello::default());
        let session = Session::new(now, identity, Duration::from_secs(1200), 1);
        Self { session, now }
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        bench.session.connected(bench.now, &Welcome::default());
        bench
    }

    fn assign(&mut self, seq: u64, group: &str, count: u32) {
        let assign = Assign {
            seq,
            run: "r".into(),
            group: group.into(),
            count,
            ..Assign::default()
        };
        self.session.from_gateway(self.now, Down::Assign(assign));
    }

    fn start(&mut self, seq: u64) {
        let start = Start {
            seq,
            run: "r".into(),
            peers: vec![],
        };
        self.session.from_gateway(self.now, Down::Start(start));
    }

    fn ack(&mut self, seq: u64) {
        self.session.from_gateway(
            self.now,
            Down::Ack(Ack {
                run: "r".into(),
                seq,
            }),
        );
    }

    fn rows(&mut self, group: &str, endpoints: &[u32]) {
        let row = |&endpoint| SampleRow {
            group: group.into(),
            endpoint,
            ..SampleRow::default()
        };
        let rows = endpoints.iter().map(row).collect();
        self.session.from_shards(Report::Rows {
            run: "r".into(),
            second: 1,
            rows,
        });
    }

    fn share_ended(&mut self, group: &str, calls: u64) {
        self.session.from_shards(Report::ShareEnded {
            run: "r".into(),
            group: group.into(),
            first: 0,
            calls: vec![OutcomeCount {
                outcome: Outcome::Success.into(),
                calls,
            }],
        });
    }

    fn pass(&mut self, seconds: u64) -> bool {
        self.now += Duration::from_secs(seconds);
        self.session.handle_timeout(self.now)
    }

    fn sent(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.session.poll_transmit())
            .filter_map(|m| m.message)
            .collect()
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.session.poll_command()).collect()
    }

    fn welcome(&mut self, go_on: bool, acked_seq: u64) {
        let verdict = ResumeVerdict {
            run: "r".into(),
            go_on,
            acked_seq,
        };
        let welcome = Welcome {
            resume: vec![verdict],
            ..Welcome::default()
        };
        self.session.connected(self.now, &welcome);
    }
}

fn stop_of(cause: StopCause) -> Command {
    Command::Stop {
        run: "r".into(),
        cause,
    }
}

#[test]
fn a_run_from_assignment_to_its_confirmed_end() {
    let mut bench = Bench::connected();
    bench.assign(1, "callers", 2);
    bench.assign(2, "callees", 2);
    bench.start(3);
    let acks: Vec<_> = (1..=3)
        .map(|seq| {
            Message::Ack(Ack {
                run: "r".into(),
                seq,
            })
        })
        .collect();
    assert_eq!(bench.sent(), acks);
    assert_eq!(bench.commands().len(), 3);
    assert_eq!(bench.session.active_endpoints(), 4);
    bench.rows("callers", &[0, 1, 1]);
    let ended = |endpoint| EndpointEvent {
        group: "callees".into(),
        endpoint,
        what: Some(What::Ended(EndpointEnded::default())),
        ..EndpointEvent::default()
    };
    bench.session.from_shards(Report::Events {
        run: "r".into(),
        events: vec![ended(0)],
    });
    assert_eq!(bench.session.active_endpoints(), 3);
    bench.share_ended("callers", 3);
    assert_eq!(bench.session.active_runs(), 1);
    bench.session.from_shards(Report::Events {
        run: "r".into(),
        events: vec![ended(1)],
    });
    bench.share_ended("callees", 3);
    assert_eq!(
        (
            bench.session.active_runs(),
            bench.session.active_endpoints()
        ),
        (0, 0)
    );
    let sent = bench.sent();
    let Some(Message::RunEnded(end)) = sent.last() else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (end.seq, end.last_seq, end.rows_sent, end.forced),
        (4, 3, 3, false)
    );
    let callers = end
        .shares
        .iter()
        .find(|share| share.group == "callers")
        .unwrap();
    assert_eq!(
        (callers.rows_per_endpoint.as_slice(), callers.calls[0].calls),
        (&[1, 2][..], 3)
    );
    // Kept until the gateway confirms it, then gone without residue (R105).
    assert_eq!(bench.session.hello().resume.len(), 1);
    bench.ack(4);
    assert!(bench.session.hello().resume.is_empty());
}

#[test]
fn a_resent_assignment_is_confirmed_again_and_applied_once() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.assign(1, "a", 1);
    assert_eq!(bench.commands().len(), 1);
    assert_eq!(bench.sent().len(), 2);
    // A gap is not applied; what is confirmed stays at the last applied one.
    bench.assign(3, "c", 1);
    assert_eq!(bench.commands().len(), 0);
    assert_eq!(
        bench.sent(),
        [Message::Ack(Ack {
            run: "r".into(),
            seq: 1
        })]
    );
    assert_eq!(bench.session.active_endpoints(), 1);
}

/// R91, R94
#[test]
fn within_five_minutes_the_run_goes_on_where_it_was() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.start(2);
    bench.rows("a", &[0]);
    bench.rows("a", &[0]);
    bench.sent();
    bench.commands();
    bench.session.disconnected(bench.now);
    bench.rows("a", &[0]);
    assert!(!bench.session.has_transmit());
    assert!(!bench.pass(299));
    assert_eq!(bench.commands(), []);
    let resume = bench.session.hello().resume;
    assert_eq!(
        (resume[0].last_applied_seq, resume[0].last_sent_seq),
        (2, 3)
    );
    bench.welcome(true, 1);
    let seqs: Vec<_> = bench
        .sent()
        .into_iter()
        .map(|message| match message {
            Message::Samples(samples) => samples.seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seqs, [2, 3]);
    assert!(!bench.pass(600));
    assert_eq!(bench.commands(), []);
}

#[test]
fn past_five_minutes_without_a_gateway_endpoints_end() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.start(2);
    bench.commands();
    bench.session.disconnected(bench.now);
    // A failed attempt in between does not begin the time anew.
    bench.now += Duration::from_secs(200);
    bench.session.disconnected(bench.now);
    assert!(!bench.pass(99));
    assert_eq!(bench.commands(), []);
    assert!(!bench.pass(1));
    assert_eq!(bench.commands(), [stop_of(StopCause::GatewayLost)]);
    bench.share_ended("a", 1);
    assert!(!bench.pass(300));
    assert_eq!(bench.commands(), []);
    // Later it is still delivered.
    bench.welcome(true, 0);
    let sent = bench.sent();
    assert!(
        matches!(&sent[..], [Message::RunEnded(end)] if end.forced),
        "{sent:?}"
    );
}

#[test]
fn a_run_the_gateway_has_ended_is_dropped() {
    for named in [true, false] {
        let mut bench = Bench::connected();
        bench.assign(1, "a", 1);
        bench.commands();
        bench.session.disconnected(bench.now);
        if named {
            bench.welcome(false, 0);
        } else {
            bench.session.connected(bench.now, &Welcome::default());
        }
        assert!(matches!(
            &bench.commands()[..],
            [Command::Stop {
                cause: StopCause::Requested(_),
                ..
            }]
        ));
        assert_eq!(bench.session.active_endpoints(), 0);
        // Its last words find no run and are dropped.
        bench.rows("a", &[0]);
        bench.share_ended("a", 0);
        assert_eq!(bench.sent(), []);
    }
}

#[test]
fn a_stop_ends_the_run_with_its_shares() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    let stop = Stop {
        seq: 2,
        run: "r".into(),
        reason: "user".into(),
    };
    bench
        .session
        .from_gateway(bench.now, Down::Stop(stop.clone()));
    bench.session.from_gateway(bench.now, Down::Stop(stop));
    let commands = bench.commands();
    assert_eq!(
        commands[1..],
        [stop_of(StopCause::Requested("user".into()))]
    );
    bench.share_ended("a", 0);
    assert_eq!(bench.session.active_runs(), 0);
    let sent = bench.sent();
    assert!(matches!(sent.last(), Some(Message::RunEnded(end)) if !end.forced));
}

#[test]
fn shares_refused_before_the_start_do_not_end_the_run_too_early() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.share_ended("a", 0);
    assert_eq!(bench.session.active_runs(), 1);
    bench.assign(2, "b", 1);
    bench.start(3);
    assert_eq!(bench.session.active_runs(), 1);
    bench.share_ended("b", 1);
    assert_eq!(bench.session.active_runs(), 0);
}

#[test]
fn a_run_that_never_starts_ends_with_its_shares() {
    let mut bench = Bench::connected();
    let assign = Assign {
        seq: 1,
        run: "r".into(),
        count: 1,
        start_within_ms: 5000,
        ..Assign::default()
    };
    bench.session.from_gateway(bench.now, Down::Assign(assign));
    bench.share_ended("", 0);
    assert_eq!(
        bench.session.next_timeout(),
        Some(bench.now + Duration::from_secs(5))
    );
    bench.pass(4);
    assert_eq!(bench.session.active_runs(), 1);
    bench.pass(1);
    assert_eq!(bench.session.active_runs(), 0);
}
