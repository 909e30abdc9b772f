//! A gateway that says what it should not: each message × what is out of range, unknown, repeated or
//! out of order. Nothing panics, nothing is taken twice, and what is ignored is told.

use callmeter_proto::worker::{GroupPeers, HeartbeatAck};

use super::*;

impl Bench {
    fn down(&mut self, message: Down) {
        self.session.from_gateway(self.now, message);
    }

    fn ignored(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_notice())
            .filter_map(|notice| match notice {
                Notice::Ignored(what) => Some(what),
                Notice::Work(_) => None,
            })
            .collect()
    }
}

fn share(seq: u64, group: &str, first: u32, count: u32) -> Assign {
    Assign {
        seq,
        run: "r".into(),
        group: group.into(),
        first,
        count,
        ..Assign::default()
    }
}

/// Shares that cannot be: each is named, takes no memory, and the run can still end.
#[test]
fn shares_out_of_range_or_given_twice_are_refused_by_field() {
    let cases = [
        (
            share(2, "b", 0, u32::MAX),
            "assignment 2 of run r: group b: count is 4294967295; accepted: at most 65536",
        ),
        (
            share(2, "b", u32::MAX, 2),
            "assignment 2 of run r: group b: first is 4294967295 with count 2; accepted: at most \
             4294967295 in all",
        ),
        (
            share(2, "a", 10, 5),
            "assignment 2 of run r: group a: first is 10 with count 5; accepted: no endpoint \
             twice, 10 to 14 are assigned",
        ),
        (
            share(2, "a", 14, 1),
            "assignment 2 of run r: group a: first is 14 with count 1; accepted: no endpoint \
             twice, 10 to 14 are assigned",
        ),
        (
            share(2, "a", 0, 11),
            "assignment 2 of run r: group a: first is 0 with count 11; accepted: no endpoint \
             twice, 10 to 14 are assigned",
        ),
    ];
    for (bad, wanted) in cases {
        let mut bench = Bench::connected();
        bench.down(Down::Assign(share(1, "a", 10, 5)));
        bench.down(Down::Assign(bad));
        assert_eq!(bench.ignored(), [wanted]);
        assert_eq!(bench.commands().len(), 1, "{wanted}");
        assert_eq!(bench.session.active_endpoints(), 5, "{wanted}");
        bench.start(3);
        bench.session.from_shards(Report::ShareEnded {
            run: "r".into(),
            group: "a".into(),
            first: 10,
            calls: Vec::new(),
        });
        let sent = bench.sent();
        let Some(Message::RunEnded(end)) = sent.last() else {
            panic!("{wanted}: {sent:?}")
        };
        assert_eq!(end.shares.len(), 1, "only what was taken");
    }
    // Neighbours are no overlap.
    let mut bench = Bench::connected();
    for (seq, first) in [(1, 10), (2, 5), (3, 15)] {
        bench.down(Down::Assign(share(seq, "a", first, 5)));
    }
    assert_eq!(bench.ignored(), Vec::<String>::new());
    assert_eq!(bench.session.active_endpoints(), 15);
}

/// Numbers at their ends: of messages, confirmations, deadlines and fences.
#[test]
fn numbers_at_their_ends_are_survived() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.rows("a", &[0]);
    bench.commands();
    let run = || "r".to_owned();
    for seq in [0, u64::MAX] {
        bench.down(Down::Ack(Ack { run: run(), seq }));
        bench.down(Down::Assign(share(seq, "b", 0, 1)));
        bench.down(Down::Start(Start {
            seq,
            run: run(),
            peers: vec![GroupPeers::default()],
        }));
        bench.down(Down::Stop(Stop {
            seq,
            run: run(),
            reason: String::new(),
        }));
        bench.down(Down::Fence(Fence {
            reason: "x".repeat(10_000),
            ends_in_ms: Some(seq),
            fence_seq: seq,
        }));
        bench.down(Down::Unfence(Unfence { fence_seq: seq }));
    }
    assert_eq!(bench.commands(), [], "nothing of it is applied");
    assert_eq!(bench.session.rows_buffered(), 0, "everything was confirmed");
    assert!(!bench.pass(1));
    // The run goes on as if nothing had been said.
    bench.start(2);
    assert_eq!(bench.commands().len(), 1);
    bench.share_ended("a", 0);
    assert_eq!(bench.session.active_runs(), 0);
}

/// A Welcome that answers for runs nobody has, twice, or confirms what was never sent.
#[test]
fn verdicts_out_of_range_are_survived() {
    let mut bench = Bench::connected();
    bench.assign(1, "a", 1);
    bench.rows("a", &[0]);
    bench.session.disconnected(bench.now);
    let verdict = |run: &str, go_on, acked_seq| ResumeVerdict {
        run: run.into(),
        go_on,
        acked_seq,
    };
    let welcome = Welcome {
        resume: vec![
            verdict("", true, 0),
            verdict("unknown", false, u64::MAX),
            verdict("r", true, u64::MAX),
        ],
        effective_capacity: u32::MAX,
        fence: Some(Fence {
            ends_in_ms: Some(u64::MAX),
            ..Fence::default()
        }),
        ..Welcome::default()
    };
    bench.session.connected(bench.now, &welcome);
    assert_eq!(bench.session.active_endpoints(), 1);
    assert_eq!(bench.session.rows_buffered(), 0);
    assert!(!bench.pass(0));
}

/// Messages about runs this worker does not have, and a second Welcome, change nothing and are told.
#[test]
fn messages_about_nothing_are_told() {
    let mut bench = Bench::connected();
    let run = || "nowhere".to_owned();
    bench.down(Down::Assign(Assign {
        run: run(),
        ..share(7, "a", 0, 1)
    }));
    bench.down(Down::Start(Start {
        seq: 7,
        run: run(),
        peers: Vec::new(),
    }));
    bench.down(Down::Stop(Stop {
        seq: 7,
        run: run(),
        reason: String::new(),
    }));
    bench.down(Down::Ack(Ack { run: run(), seq: 7 }));
    bench.down(Down::Welcome(Welcome::default()));
    bench.down(Down::HeartbeatAck(HeartbeatAck {}));
    assert_eq!(
        bench.ignored(),
        [
            "assignment 7 of run nowhere, which is not known",
            "message 7 of run nowhere, which is not known",
            "message 7 of run nowhere, which is not known",
            "a second Welcome",
        ]
    );
    assert_eq!(bench.commands(), []);
    assert!(bench.session.hello().resume.is_empty(), "no run was made");
}
