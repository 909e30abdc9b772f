//! Interoperation with SIPp 3.6.1, with RTP, both ways: 20 endpoints with 50 calls each, none
//! failed, nothing sent twice, every packet accounted for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{Account, Direction, Outcome, Role};
use support::{
    calm::calm,
    gateway::TestGateway,
    network::{self, UdpCounters},
    peer_process::{Sipp, SippTotals, program},
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};
use tokio::sync::Mutex;

const ENDPOINTS: u32 = 20;
const CALLS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(150);
/// Held by a test that wants nothing sent twice: a message comes late beside another thousand calls.
static ALONE: Mutex<()> = Mutex::const_new(());

fn users() -> Vec<Account> {
    let account = |n: u32| Account {
        user: format!("u{n}"),
        ..Account::default()
    };
    (0..ENDPOINTS).map(account).collect()
}

fn calls_of(told: &Told, endpoint: u32) -> usize {
    use callmeter_proto::worker::endpoint_event::What;
    let ended = told.events.iter().filter(|event| {
        event.endpoint == endpoint && matches!(event.what, Some(What::CallEnded(_)))
    });
    ended.count()
}

/// SIPp echoes each packet once: what the worker sent is what it received. What a busy SIPp does
/// not read, and what it echoes later than a stream stays open after its call, the kernel counts
/// in a network of the test's own; elsewhere there must be nothing of either.
fn assert_echoed(told: &Told, group: &str, calls: usize, call_ms: i64, counted: bool) {
    let sent = told.sum(group, "packets_sent", Direction::Send);
    let received = told.sum(group, "packets_received", Direction::Recv);
    assert_eq!(told.sum(group, "rx_socket_drops", Direction::None), 0);
    let missed = if counted {
        let kernel = UdpCounters::read();
        // Reports go to a port that SIPp has not open.
        let late = kernel.no_ports - told.sum(group, "rtcp_sent", Direction::Send);
        eprintln!("{received} of {sent} packets in time, {late} late, {kernel:?}");
        late + kernel.full
    } else {
        0
    };
    assert_eq!(sent, received + missed, "packets of {group}");
    assert!(
        (0..=sent / 100).contains(&missed),
        "{missed} of {sent} missed"
    );
    // 50 packets a second, less one at each end.
    let least = calls as i64 * (call_ms / 20 - 2);
    assert!(
        sent >= least,
        "{sent} packets in {calls} calls, at least {least} wanted"
    );
    if missed == 0 {
        assert_eq!(told.sum(group, "packets_lost", Direction::Recv), 0);
    }
}

/// A peer that is missing is passed over unless all have to be there. This test runs itself again.
#[test]
fn a_missing_peer_fails_where_peers_must_be_there() {
    const AGAIN: &str = "CALLMETER_LOOK_FOR_A_MISSING_PEER";
    if std::env::var_os(AGAIN).is_some() {
        assert_eq!(program("a-peer-nobody-has"), None);
        return;
    }
    for (peers, passes) in [("", true), ("0", true), ("1", false)] {
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_missing_peer_fails_where_peers_must_be_there"])
            .envs([(AGAIN, "1"), ("CALLMETER_PEERS", peers)])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&again.stdout);
        assert_eq!(again.status.success(), passes, "{peers:?}: {told}");
        let why = "a-peer-nobody-has is missing; install it with scripts/prerequisites";
        assert_eq!(told.contains(why), !passes, "{told}");
    }
}

/// R99 to R101: the worker calls, SIPp answers.
#[test]
fn sipp_answers_a_thousand_calls() {
    let _alone = ALONE.blocking_lock();
    calm(sipp_answers);
}

async fn sipp_answers() {
    let Some(path) = program("sipp") else { return };
    let counted = network::enter();
    let peer_ports = ports::block();
    let folder = tempfile::tempdir().unwrap();
    let mut sipp = Sipp::spawn(&path, folder, peer_ports, &["-sn", "uas"]);
    sipp.listens(peer_ports.sip_first).await;

    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        call_ms: 500,
        repeat: true,
        run_ms: 50_000,
        peers: vec![format!("sip:echo@127.0.0.1:{}", peer_ports.sip_first); ENDPOINTS as usize],
        ..Group::new("callers", Role::Caller, ENDPOINTS)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_complete(&told);
    let calls = told.calls("callers").len();
    for endpoint in 0..ENDPOINTS {
        let own = calls_of(&told, endpoint);
        assert!(own >= CALLS, "{own} calls of endpoint {endpoint}");
    }
    assert_echoed(&told, "callers", calls, 500, counted);
    assert_eq!(told.retransmissions(), 0);
    let totals = sipp.stop().await;
    let wanted = SippTotals {
        successful: calls as u64,
        failed: 0,
        retransmissions: 0,
        unexpected: 0,
    };
    assert_eq!(totals, wanted);
}

/// R100, R101: SIPp calls, the worker answers.
#[test]
fn sipp_places_a_thousand_calls() {
    let _alone = ALONE.blocking_lock();
    calm(sipp_calls);
}

async fn sipp_calls() {
    let Some(path) = program("sipp") else { return };
    let counted = network::enter();
    let mut gateway = TestGateway::start().await;
    let own = ports::block();
    let _worker = Worker::spawn(&environment(&gateway, own));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        accounts: users(),
        run_ms: 66_000,
        ..Group::new("callees", Role::Callee, ENDPOINTS)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let contact = told.contacts("callees")[&0].clone();
    let port: u16 = contact.rsplit(':').next().unwrap().parse().unwrap();

    let peer_ports = ports::block();
    let folder = tempfile::tempdir().unwrap();
    let list: Vec<_> = (0..ENDPOINTS).map(|n| format!("u{n};")).collect();
    std::fs::write(
        folder.path().join("users.csv"),
        format!("SEQUENTIAL\n{}\n", list.join("\n")),
    )
    .unwrap();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/uac.xml");
    let remote = format!("127.0.0.1:{port}");
    let total = (ENDPOINTS as usize * CALLS).to_string();
    let mut sipp = Sipp::spawn(
        &path,
        folder,
        peer_ports,
        &[
            "-sf",
            scenario,
            "-inf",
            "users.csv",
            "-m",
            &total,
            "-r",
            "20",
            "-l",
            "20",
            &remote,
        ],
    );
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(sipp.0.exit_code().await, Some(0));
    let wanted = SippTotals {
        successful: 1000,
        failed: 0,
        retransmissions: 0,
        unexpected: 0,
    };
    assert_eq!(sipp.totals(), wanted);
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_complete(&told);
    let outcomes = told.calls("callees");
    assert!(
        outcomes
            .iter()
            .all(|(outcome, _)| *outcome == Outcome::Success)
    );
    for endpoint in 0..ENDPOINTS {
        assert_eq!(calls_of(&told, endpoint), CALLS, "endpoint {endpoint}");
    }
    assert_echoed(&told, "callees", outcomes.len(), 400, counted);
    assert_eq!(told.retransmissions(), 0);
}
