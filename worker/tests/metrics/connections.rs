//! What it takes until the first message can be sent: names, connections and handshakes, against
//! a DNS server, a listener and a server of TLS that are slow on purpose.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{Direction, Outcome, Registrar, Role};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::far_end::Request;
use crate::machine::LOAD;
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    certificates::certificates,
    dns::{DnsServer, Slow, a, naptr, srv},
    eventually,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, finish, ready, start},
    soon,
    tls::server,
};

pub(crate) const KEYS: &[&str] = &["dns_time_ms", "tcp_connect_ms", "tls_handshake_ms"];

const PATIENCE: Duration = Duration::from_secs(60);
/// Of each answer of the slow domain, and of its handshakes.
const SLOW: Slow = Slow {
    domain: "slow.example",
    delay: Duration::from_millis(150),
};
const HANDSHAKE: Duration = Duration::from_millis(300);

/// Refuses the one call that comes over a connection; the connection stays until its other end
/// closes it.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut wire = Vec::new();
    soon("an INVITE comes", async {
        while !wire.ends_with(b"\r\n\r\n") {
            wire.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    let busy = Request::new(wire).response("486 Busy Here", "", "");
    stream.write_all(busy.as_bytes()).await.unwrap();
    tokio::spawn(async move {
        // It breaks off with the worker.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let accepted = soon("a connection comes", listener.accept()).await;
    accepted.unwrap().0
}

/// Takes a connection, and the handshake so much later: how long that took.
async fn secure(listener: TcpListener, acceptor: TlsAcceptor, delay: Duration) -> Duration {
    let stream = accept(&listener).await;
    let accepted = Instant::now();
    tokio::time::sleep(delay).await;
    let handshake = soon("a handshake", acceptor.accept(stream)).await;
    let took = accepted.elapsed();
    refuse(handshake.unwrap()).await;
    took
}

/// A listener with one place for who is not accepted yet, and who holds it: a SYN is dropped, and
/// comes again when the caller's kernel thinks fit.
async fn crowded() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let first = TcpStream::connect(listener.local_addr().unwrap()).await;
    (listener, first.unwrap())
}

/// Whether a SYN to this port of loopback waits for its answer.
fn waits_for(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, to, SYN_SENT, ..] if to == remote)
    })
}

/// Makes room as soon as a SYN was dropped: when the connection stood after that.
async fn make_room(listener: TcpListener) -> (Instant, Instant) {
    let port = listener.local_addr().unwrap().port();
    let dropped = eventually("a SYN is dropped", async || {
        waits_for(port).then(Instant::now)
    })
    .await;
    accept(&listener).await;
    let stream = accept(&listener).await;
    let stood = Instant::now();
    refuse(stream).await;
    (dropped, stood)
}

/// Each of the three takes as long as its server had it take; where nobody is slow it takes next
/// to nothing.
#[test]
pub(crate) fn connections_take_as_long_as_their_servers() {
    // It bears no others beside it: next to nothing is less than a busy machine takes.
    let _load = LOAD.blocking_write();
    calm(connections);
}

async fn connections() {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (named, slow, quick) = (listen().await, listen().await, listen().await);
    let (named, slow, quick) = (named.unwrap(), slow.unwrap(), quick.unwrap());
    let (full, _first) = crowded().await;
    let at = |listener: &TcpListener| -> SocketAddr { listener.local_addr().unwrap() };
    let zone = vec![
        (SLOW.domain, naptr(1, "SIP+D2T", "_sip._tcp.slow.example")),
        (
            "_sip._tcp.slow.example",
            srv(1, at(&named).port(), "one.slow.example"),
        ),
        ("one.slow.example", a()),
        (
            "quick.example",
            naptr(1, "SIPS+D2T", "_sips._tcp.quick.example"),
        ),
        (
            "_sips._tcp.quick.example",
            srv(1, at(&quick).port(), "one.quick.example"),
        ),
        ("one.quick.example", a()),
    ];
    let dns = DnsServer::start_with(zone, Some(SLOW));
    let own = certificates(&["127.0.0.1", "quick.example"], false);
    let (trusted, pem) = (own.trusted(), format!("{}{}", own.certificate, own.key));
    let mut gateway = TestGateway::start().await;
    let acceptor = TlsAcceptor::from(server(&pem));
    let mut variables = environment(&gateway, ports::block());
    variables.push(("SIP_DNS_SERVER".into(), dns.address.to_string()));
    let _worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let groups = [
        ("names", "auto", SLOW.domain, SLOW.domain.to_owned()),
        ("connect", "tcp", "", at(&full).to_string()),
        ("handshake", "tls", "", at(&slow).to_string()),
        (
            "control",
            "auto",
            "quick.example",
            "quick.example".to_owned(),
        ),
    ]
    .map(|(name, transport, domain, host)| Group {
        registrar: Some(Registrar {
            domain: domain.into(),
            transport: transport.into(),
            tls: Some(trusted.clone()),
            ..Registrar::default()
        }),
        peers: vec![format!("sip:far@{host}")],
        ..Group::new(name, Role::Caller, 1)
    });
    let mut told = ready(&mut peer, "run-1", &groups).await;
    let plain = tokio::spawn(async move { refuse(accept(&named).await).await });
    let slow = tokio::spawn(secure(slow, acceptor.clone(), HANDSHAKE));
    let quick = tokio::spawn(secure(quick, acceptor, Duration::ZERO));
    let begun = Instant::now();
    start(&mut peer, &told, "run-1", &groups).await;
    let (_, (dropped, stood)) =
        tokio::join!(finish(&mut peer, &mut told, PATIENCE), make_room(full));
    for group in &groups {
        let calls = told.calls(group.name);
        let busy = |detail: &str| detail.starts_with("486 ");
        assert!(
            matches!(&calls[..], [(Outcome::CallFailed, detail)] if busy(detail)),
            "{} {calls:?}",
            group.name
        );
    }
    plain.await.unwrap();
    quick.await.unwrap();
    let handshake = slow.await.unwrap();

    let none = Direction::None;
    let lasts = |key, known| Claim::lasts(key, none, Figure::Call(1), known);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    // The server may learn late that it is over.
    let (least, most) = (ms(HANDSHAKE) - 10.0, ms(handshake) + 100.0);
    let handshake = Claim::between("tls_handshake_ms", none, Figure::Call(1), least, most);
    // The SYN left after the start, and before it was seen to be without an answer; the machine may
    // be busy.
    let (least, most) = (ms(stood - dropped) - 10.0, ms(stood - begun) + 100.0);
    let connect = Claim::between("tcp_connect_ms", none, Figure::Call(1), least, most);
    let view = |group| View { told: &told, group };
    let claims = [
        (view("names"), vec![lasts("dns_time_ms", dns.slow_for())]),
        (view("connect"), vec![connect]),
        (view("handshake"), vec![handshake]),
    ];
    prove(&claims, view("control"), KEYS);
    for key in KEYS {
        let values = view("control").values(key, none, Some(1));
        assert!(
            matches!(values[..], [value] if (0.0..100.0).contains(&value)),
            "{key} of the control: {values:?}"
        );
    }
}
