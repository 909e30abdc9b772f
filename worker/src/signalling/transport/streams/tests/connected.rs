#[path = "../../../../../tests/support/certificates.rs"]
#[allow(unreachable_pub, reason = "the tests of the whole worker share it")]
mod certificates;
mod names;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, TcpStream},
};

use callmeter_engine::Transport;
use callmeter_proto::worker::{Registrar, Tls, TlsVerify};
use callmeter_sip::{PING, PONG};
use rustix::net::sockopt;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tungstenite::{
    Message, WebSocket,
    handshake::server::{ErrorResponse, Request, Response},
};

use super::super::*;
use certificates::certificates;

const LOCAL: LocalId = LocalId(0);
const PATIENCE: Duration = Duration::from_secs(20);
const MESSAGE: &[u8] = b"OPTIONS sip:h SIP/2.0\r\nl: 0\r\n\r\n";

/// The connections of one endpoint that has a port of its own, and a peer.
struct Rig {
    streams: Streams,
    poller: Poller,
    listener: TcpListener,
    flow: Flow,
    port: u16,
}

impl Rig {
    fn new(transport: &str) -> Self {
        Self::with(transport, None)
    }

    fn with(transport: &str, tls: Option<Tls>) -> Self {
        Self::of_domain("", transport, tls)
    }

    fn of_domain(domain: &str, transport: &str, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        let registrar = Registrar {
            domain: domain.into(),
            transport: transport.into(),
            connection_per_endpoint: true,
            tls,
            ..Registrar::default()
        };
        let settings = StreamSettings::read(&registrar, false).unwrap().unwrap();
        let held = connect::any_port(Ipv4Addr::LOCALHOST.into()).unwrap();
        let port = held.1.port();
        let flow = Flow {
            local: LOCAL,
            transport: Transport::parse(transport.as_bytes()).unwrap(),
            remote: listener.local_addr().unwrap(),
        };
        let mut streams = Streams::default();
        streams.open(LOCAL, settings, held);
        Self {
            streams,
            poller: Poller::new().unwrap(),
            listener,
            flow,
            port,
        }
    }

    fn send(&mut self, now: Instant) {
        let message = Bytes::from_static(MESSAGE);
        self.streams.send(now, &self.poller, self.flow, message);
    }

    /// The peer takes a connection, which comes from the one port.
    fn accept(&self) -> TcpStream {
        let (stream, from) = self.listener.accept().unwrap();
        assert_eq!(from.port(), self.port);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What is sent from now on goes to another port of the peer.
    fn listens_elsewhere(&mut self) {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_timeout(&other, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        self.flow.remote = other.local_addr().unwrap();
        self.listener = other;
    }

    /// Gives the connections their turns until `wanted` finds what it looks for.
    fn turns<T>(&mut self, now: Instant, mut wanted: impl FnMut(StreamEvent) -> Option<T>) -> T {
        self.turns_until(now, |streams| {
            std::iter::from_fn(|| streams.poll_event()).find_map(&mut wanted)
        })
    }

    fn turns_until<T>(
        &mut self,
        now: Instant,
        mut done: impl FnMut(&mut Streams) -> Option<T>,
    ) -> T {
        let begin = Instant::now();
        loop {
            let mut ready = Vec::new();
            self.poller
                .wait(Duration::from_millis(10), |token| ready.push(token))
                .unwrap();
            for token in ready {
                self.streams.ready(now, &self.poller, token);
            }
            self.streams.go_on(now);
            if let Some(found) = done(&mut self.streams) {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "nothing came");
        }
    }

    fn opened(&mut self, now: Instant) {
        self.turns(now, |event| match event {
            StreamEvent::Opened { .. } => Some(()),
            other => panic!("{other:?}"),
        });
    }

    /// Why a connection broke, and whether for its names.
    fn broken(&mut self, now: Instant) -> (String, bool) {
        self.turns(now, |event| match event {
            StreamEvent::Broken {
                reason, misnamed, ..
            } => Some((reason, misnamed)),
            _ => None,
        })
    }
}

fn read(far: &mut TcpStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, wanted);
}

/// A peer that says nothing and keeps its end open holds up nobody: contacts name the one port.
#[test]
fn the_port_is_free_for_the_next_connection_when_one_has_failed() {
    let mut rig = Rig::new("tcp");
    let now = Instant::now();
    rig.send(now);
    rig.opened(now);
    let mut silent = rig.accept();
    read(&mut silent, MESSAGE);
    let every = Duration::from_secs(30);
    rig.streams.keep_alive(rig.flow, Some(every));
    rig.streams.handle_timeout(now + every, &rig.poller);
    read(&mut silent, PING);
    let over = rig.streams.next_timeout().unwrap();
    rig.streams.handle_timeout(over, &rig.poller);
    let (reason, _) = rig.broken(over);
    assert_eq!(reason, "keep-alive: no answer within 10 s");

    rig.send(over);
    rig.opened(over);
    read(&mut rig.accept(), MESSAGE);
    drop(silent);
}

#[test]
fn the_port_is_free_when_a_handshake_has_failed() {
    let mut rig = Rig::new("ws");
    let now = Instant::now();
    let refused = "the peer answered HTTP 404 Not Found";
    let mut kept_open = Vec::new();
    for _ in 0..2 {
        rig.send(now);
        // It is on its way before the connection is accepted.
        rig.streams.go_on(now);
        let mut far = rig.accept();
        far.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
        let reason = rig.broken(now).0;
        assert!(reason.ends_with(refused), "{reason}");
        kept_open.push(far);
    }
}

/// Nothing of what was sent is lost at the end, however late the peer reads it.
#[test]
fn a_local_transport_that_closes_lets_the_peer_read_on() {
    let mut rig = Rig::new("tcp");
    let now = Instant::now();
    rig.send(now);
    rig.opened(now);
    let mut far = rig.accept();
    rig.streams.close(ShareId::of(LOCAL));
    read(&mut far, MESSAGE);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

/// A server of TLS with a certificate for these names, and what trusts it.
fn tls_server(names: &[&str]) -> (Arc<ServerConfig>, Tls) {
    let own = certificates(names, false);
    let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        );
    let trusted = Tls {
        verify: TlsVerify::Custom.into(),
        ca_pem: own.ca,
        ..Tls::default()
    };
    (Arc::new(config.unwrap()), trusted)
}

/// RFC 8446 §6.1: who closes says so, lest the end be taken for an attack; many peers do not.
#[test]
fn the_end_of_tls_is_told_and_understood() {
    let now = Instant::now();
    for told in [true, false] {
        let (config, trusted) = tls_server(&["127.0.0.1"]);
        let mut rig = Rig::with("tls", Some(trusted));
        rig.send(now);
        let stream = rig.accept();
        let far = std::thread::spawn(move || {
            let session = rustls::ServerConnection::new(config).unwrap();
            let mut far = StreamOwned::new(session, stream);
            let mut bytes = vec![0; MESSAGE.len()];
            far.read_exact(&mut bytes).unwrap();
            if !told {
                far.sock.shutdown(Shutdown::Write).unwrap();
            }
            far.read(&mut [0]).map_err(|error| error.kind())
        });
        rig.opened(now);
        if told {
            rig.turns_until(now, |streams| (!streams.is_unfinished()).then_some(()));
            rig.streams.close(ShareId::of(LOCAL));
            assert_eq!(far.join().unwrap(), Ok(0));
        } else {
            assert_eq!(rig.broken(now).0, "connection closed by the peer");
        }
    }
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the signature is the library's"
)]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let sip = "sip".parse().unwrap();
    response.headers_mut().insert("Sec-WebSocket-Protocol", sip);
    Ok(response)
}

/// A WebSocket that is open, and its far end, which has read the first message.
fn web_socket(now: Instant) -> (Rig, WebSocket<TcpStream>) {
    let mut rig = Rig::new("ws");
    rig.send(now);
    let stream = rig.accept();
    let far = std::thread::spawn(|| {
        let mut far = tungstenite::accept_hdr(stream, agree).unwrap();
        assert_eq!(far.read().unwrap().into_data(), MESSAGE);
        far
    });
    rig.opened(now);
    rig.turns_until(now, |_| far.is_finished().then_some(()));
    (rig, far.join().unwrap())
}

/// RFC 7118 §6, RFC 6455 §5.5.2: a pong of WebSocket's own is an answer, whatever else comes.
#[test]
fn a_web_socket_is_over_when_a_ping_has_no_answer() {
    let now = Instant::now();
    let every = Duration::from_secs(30);
    let (mut rig, mut far) = web_socket(now);
    rig.streams.keep_alive(rig.flow, Some(every));
    let first = now + every;
    rig.streams.handle_timeout(first, &rig.poller);
    assert!(matches!(far.read().unwrap(), Message::Ping(_)));
    // It goes with the next flush.
    far.flush().unwrap();
    rig.turns_until(first, |streams| {
        let heard = streams.connections.values().all(|one| !one.is_unanswered());
        heard.then_some(())
    });

    let second = first + every;
    rig.streams.handle_timeout(second, &rig.poller);
    assert!(matches!(far.read().unwrap(), Message::Ping(_)));
    let within = Duration::from_secs(10);
    rig.streams
        .handle_timeout(second + Duration::from_millis(9_999), &rig.poller);
    assert!(rig.streams.poll_event().is_none());
    rig.streams.handle_timeout(second + within, &rig.poller);
    let (reason, _) = rig.broken(second + within);
    assert_eq!(reason, "keep-alive: no answer within 10 s");
}

/// Some peers keep a WebSocket alive as they do a stream (RFC 5626 §3.5.1).
#[test]
fn a_double_crlf_by_web_socket_is_answered() {
    let now = Instant::now();
    let (mut rig, mut far) = web_socket(now);
    let far = std::thread::spawn(move || {
        let ping = std::str::from_utf8(PING).unwrap();
        far.send(Message::text(ping)).unwrap();
        let answer = far.read().unwrap().into_data();
        (far, answer)
    });
    rig.turns_until(now, |_| far.is_finished().then_some(()));
    let (_far, answer) = far.join().unwrap();
    assert_eq!(answer, PONG);
    assert!(rig.streams.poll_event().is_none());
}

/// A peer may connect to us from the address and port that we have connected to.
#[test]
fn one_of_two_connections_of_a_flow_may_end() {
    let now = Instant::now();
    let mut rig = Rig::new("tcp");
    rig.streams.close(ShareId::of(LOCAL));
    let registrar = Registrar {
        transport: "tcp".into(),
        ..Registrar::default()
    };
    let settings = StreamSettings::read(&registrar, false).unwrap().unwrap();
    let ours = connect::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = ours.local_addr().unwrap();
    rig.streams
        .listen(&rig.poller, LOCAL, settings, (ours, 10))
        .unwrap();
    let (socket, far) = connect::any_port(Ipv4Addr::LOCALHOST.into()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    rig.flow.remote = far;
    rig.send(now);
    rig.opened(now);
    let listener = TcpListener::from(socket);
    let dialled = listener.accept().unwrap().0;

    let mut back = connect::connect(connect::bound(far).unwrap(), at).unwrap();
    rig.turns_until(now, |streams| {
        (streams.connections.len() == 2).then_some(())
    });
    drop(dialled);
    rig.turns_until(now, |streams| {
        (streams.connections.len() == 1).then_some(())
    });
    assert!(rig.streams.poll_event().is_none());
    rig.send(now);
    rig.streams.go_on(now);
    back.set_nonblocking(false).unwrap();
    read(&mut back, MESSAGE);
}
