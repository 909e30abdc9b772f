//! Packets that the worker's own machine drops are told apart from the network's losses: a stopped
//! process, a full socket, and the kernel's counter.

use std::time::Duration;

use callmeter_proto::worker::{Direction, Role};
use rustix::process::Signal;

use crate::far_end::{Counter, FarEnd, Talker};
use crate::machine::LOAD;
use crate::network::{self, PORTS};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    gateway::{Peer, TestGateway},
    process::{Worker, environment},
    run::{Group, Told, begin, finish, id_of},
};

pub(crate) const KEYS: &[&str] = &["rx_socket_drops", "udp_rcvbuf_errors"];

/// More than any receive buffer holds.
const FLOOD: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// UDP datagrams that this namespace dropped for lack of buffer.
fn dropped() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let names = lines.next().unwrap().split(' ');
    let mut values = names.zip(lines.next().unwrap().split(' '));
    let found = values.find(|(name, _)| *name == "RcvbufErrors").unwrap().1;
    found.parse().unwrap()
}

/// A call of eight seconds; `disturb` is done to the worker after the first.
async fn call(peer: &mut Peer, run: &str, mut disturb: impl AsyncFnMut(&mut Talker)) -> Told {
    let mut far = FarEnd::new().await;
    // What the worker sends must not fill a buffer: those drops would be counted, too.
    let heard = Counter::start(&far.rtp, 12);
    let group = Group {
        peers: vec![format!("sip:far@{}", far.address())],
        call_ms: 8000,
        run_ms: 9500,
        ..Group::new("callers", Role::Caller, 1)
    };
    let script = async {
        let invite = far.next("INVITE").await;
        far.accept(&invite, 8, "").await;
        far.next("ACK").await;
        let mut talker = Talker::new(&far.rtp, invite.media(), 8, 20);
        talker.talk(50).await;
        disturb(&mut talker).await;
        talker.talk(50).await;
        let bye = far.next("BYE").await;
        far.answer(&bye, "200 OK", "", "").await;
    };
    let told = async {
        let mut told = begin(peer, run, &[group]).await;
        finish(peer, &mut told, PATIENCE).await;
        told
    };
    let (told, ()) = tokio::join!(told, script);
    heard.finish().await;
    assert_eq!(told.failed(), Vec::<String>::new());
    told
}

/// What the kernel drops at the socket of a stopped worker is counted as the worker's own, to the
/// packet, and marks the second.
#[test]
pub(crate) fn drops_at_the_socket_are_the_generators_own() {
    let _load = LOAD.blocking_read();
    calm(drops_at_the_socket);
}

async fn drops_at_the_socket() {
    if !network::enter() {
        return;
    }
    let mut gateway = TestGateway::start().await;
    let worker = Worker::spawn(&environment(&gateway, PORTS));
    let mut peer = gateway.welcome().await;
    let undisturbed = call(&mut peer, "run-1", async |_| ()).await;
    assert!(dropped() < 0.5, "{} dropped", dropped());
    let flooded = call(&mut peer, "run-2", async |talker: &mut Talker| {
        worker.signal(Signal::STOP);
        for _ in 0..FLOOD {
            let wire = talker.packet();
            talker.sequence = talker.sequence.wrapping_add(1);
            talker.timestamp = talker.timestamp.wrapping_add(160);
            talker.put(&wire).await;
        }
        worker.signal(Signal::CONT);
        talker.rest();
    })
    .await;
    let truth = dropped();
    assert!(truth > 0.0 && truth < f64::from(FLOOD), "{truth} dropped");
    let none = Direction::None;
    let claims = KEYS
        .iter()
        .map(|key| Claim::exactly(key, none, Figure::Sum, truth))
        .collect();
    let view = |told| View {
        told,
        group: "callers",
    };
    prove(&[(view(&flooded), claims)], view(&undisturbed), KEYS);
    let drops = id_of("rx_socket_drops");
    let of_drops = flooded.rows.iter().filter(|row| {
        let mut values = row.values.iter();
        values.any(|value| value.metric == drops && value.value > 0.0)
    });
    for second in of_drops {
        assert!(second.generator_limited, "{second:?}");
    }
}
