//! Retransmissions counted by a relay between the worker and SIPp that loses datagrams both ways.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use callmeter_proto::worker::{Direction, Role};

use crate::proof::{Claim, Figure, View, prove};
use crate::script::{Script, Scripted};
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
};

const KEYS: &[&str] = &[
    "sip_retransmissions",
    "sip_retransmissions_recv",
    "sip_messages_sent",
    "sip_messages_received",
];

const CALLS: u32 = 8;
/// Timer F, and the stay of SIPp.
const PATIENCE: Duration = Duration::from_secs(80);

/// What went through a relay, one way.
#[derive(Debug, Default)]
struct Way {
    came: u32,
    lost: u32,
    /// Datagrams that came before, octet by octet.
    came_again: u32,
    /// Datagrams handed on that were handed on before.
    passed_again: u32,
    all: HashSet<Vec<u8>>,
    passed: HashSet<Vec<u8>>,
}

impl Way {
    /// Takes a datagram; false: it gets lost, as every `nth` does.
    fn passes(&mut self, datagram: &[u8], nth: u32) -> bool {
        self.came += 1;
        self.came_again += u32::from(!self.all.insert(datagram.to_vec()));
        if nth > 0 && self.came.is_multiple_of(nth) {
            self.lost += 1;
            return false;
        }
        self.passed_again += u32::from(!self.passed.insert(datagram.to_vec()));
        true
    }
}

/// A relay in front of a far end.
struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[Way; 2]>,
}

impl Relay {
    /// Loses every `nth[0]`th datagram of the worker and every `nth[1]`th of the far end; 0: none.
    fn start(socket: UdpSocket, far: SocketAddr, nth: [u32; 2]) -> Self {
        let wait = Duration::from_millis(100);
        socket.set_read_timeout(Some(wait)).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut ways = [Way::default(), Way::default()];
            let (mut worker, mut buffer) = (None, [0; 4096]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let (way, to) = if from == far {
                    (1, worker.expect("the worker spoke first"))
                } else {
                    worker = Some(from);
                    (0, far)
                };
                if ways[way].passes(&buffer[..length], nth[way]) {
                    socket.send_to(&buffer[..length], to).unwrap();
                }
            }
            ways
        });
        Self {
            address,
            stop,
            thread,
        }
    }

    fn finish(self) -> [Way; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// SIPp behind a relay, which stands in its Contact, too.
async fn behind_a_relay(nth: [u32; 2]) -> Option<(Scripted, Relay)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let contact = format!("far@{}", socket.local_addr().unwrap());
    let script = Script::callee()
        .answers_call("200 OK", "")
        .takes("ACK")
        .ends_after(Duration::from_secs(16))
        .replace("far@[local_ip]:[local_port]", &contact)
        // The BYE may overtake an ACK that was lost.
        .replace("\"ACK\"", "\"ACK\" optional=\"true\"");
    let sipp = Scripted::spawn_for(&script, CALLS).await?;
    let far = (Ipv4Addr::LOCALHOST, sipp.port()).into();
    Some((sipp, Relay::start(socket, far, nth)))
}

/// Every call succeeds over a path that loses a third of what goes out and a quarter of what comes
/// in; what was sent again and what came again is what the relay saw.
#[test]
fn retransmissions_are_those_a_lossy_relay_saw() {
    calm(retransmissions);
}

async fn retransmissions() {
    let Some((sipp, lossy)) = behind_a_relay([3, 4]).await else {
        return;
    };
    let Some((other_sipp, clear)) = behind_a_relay([0, 0]).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = |name, relay: &Relay| Group {
        peers: vec![format!("sip:far@{}", relay.address); CALLS as usize],
        // Time for several answers and ACKs.
        call_ms: 8000,
        run_ms: 30_000,
        ..Group::new(name, Role::Caller, CALLS)
    };
    let groups = [group("driven", &lossy), group("control", &clear)];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    sipp.finish().await;
    other_sipp.finish().await;
    let [out, back] = lossy.finish();
    assert!(out.lost >= 8 && back.lost >= 4, "{out:?} {back:?}");
    assert!(
        out.came_again >= 8 && back.passed_again >= 1,
        "{out:?} {back:?}"
    );
    // Whoever loses nothing sends nothing again: 3 messages a call out, 2 back.
    let [straight_out, straight_back] = clear.finish();
    assert_eq!((straight_out.lost, straight_back.lost), (0, 0));

    let (send, recv) = (Direction::Send, Direction::Recv);
    let sum = |key, direction, count| Claim::exactly(key, direction, Figure::Sum, count);
    let view = |group| View { told: &told, group };
    let claims = vec![
        sum("sip_retransmissions", send, out.came_again),
        sum("sip_retransmissions_recv", recv, back.passed_again),
        sum("sip_messages_sent", send, out.came),
        sum("sip_messages_received", recv, back.came - back.lost),
    ];
    prove(&[(view("driven"), claims)], view("control"), KEYS);
    let again = told.sum("control", "sip_retransmissions", send);
    assert_eq!(again, i64::from(straight_out.came_again));
}
