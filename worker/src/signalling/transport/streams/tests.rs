//! Connections of peers, and of ours.

mod connected;

use std::{io::Read as _, net::TcpStream, thread};

use callmeter_engine::Transport;
use callmeter_proto::worker::Registrar;
use callmeter_sip::LARGEST_MESSAGE;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

use super::*;

const LOCAL: LocalId = LocalId(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// A local transport that takes so many connections, and where.
fn listening(transport: &str, most: usize) -> (Streams, Poller, SocketAddr) {
    let registrar = Registrar {
        transport: transport.into(),
        ..Registrar::default()
    };
    let settings = StreamSettings::read(&registrar, true).unwrap().unwrap();
    let listener = connect::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = listener.local_addr().unwrap();
    let poller = Poller::new().unwrap();
    let mut streams = Streams::default();
    streams
        .listen(&poller, LOCAL, settings, (listener, most))
        .unwrap();
    (streams, poller, at)
}

/// Takes turns until one brings what is looked for.
fn until<T>(
    streams: &mut Streams,
    poller: &Poller,
    mut wanted: impl FnMut(&Streams, Option<StreamEvent>) -> Option<T>,
) -> T {
    let begin = Instant::now();
    let mut ready = Vec::new();
    loop {
        let event = streams.poll_event();
        let more = event.is_some();
        if let Some(found) = wanted(streams, event) {
            return found;
        }
        if more {
            continue;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing came");
        ready.clear();
        poller
            .wait(Duration::from_millis(10), |token| ready.push(token))
            .unwrap();
        for token in &ready {
            streams.ready(Instant::now(), poller, *token);
        }
        streams.go_on(Instant::now());
    }
}

fn open(streams: &Streams) -> usize {
    streams.connections.len()
}

/// As many as the limit stay; each further one is closed and told of, until one of them goes.
#[test]
fn as_many_connections_are_taken_as_the_limit_says() {
    let (mut streams, poller, at) = listening("tcp", 3);
    let mut peers: Vec<_> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
    until(&mut streams, &poller, |streams, event| {
        assert!(event.is_none(), "{event:?}");
        (open(streams) == 3).then_some(())
    });
    for _ in 0..2 {
        let mut excess = TcpStream::connect(at).unwrap();
        until(&mut streams, &poller, |_, event| match event? {
            StreamEvent::TurnedAway { local, reason } => {
                let wanted = "3 are open, the most a group takes on a worker";
                assert_eq!((local, &reason[..]), (LOCAL, wanted));
                Some(())
            }
            other => panic!("{other:?}"),
        });
        excess.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(excess.read(&mut [0]).unwrap(), 0, "it is closed");
    }
    assert_eq!(open(&streams), 3);
    peers.pop();
    until(&mut streams, &poller, |streams, _| {
        (open(streams) == 2).then_some(())
    });
    peers.push(TcpStream::connect(at).unwrap());
    until(&mut streams, &poller, |streams, event| {
        assert!(event.is_none(), "{event:?}");
        (open(streams) == 3).then_some(())
    });
}

/// A client over WebSocket that sends so many bytes in a message.
fn send(at: SocketAddr, length: usize) -> thread::JoinHandle<WebSocket<TcpStream>> {
    thread::spawn(move || {
        let stream = TcpStream::connect(at).unwrap();
        let uri = format!("ws://{at}/").parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("sip");
        let (mut socket, _) = tungstenite::client(request, stream).unwrap();
        // It fails if the other side hangs up before it has read all.
        let _ = socket.send(Message::Binary(vec![b'x'; length].into()));
        socket
    })
}

#[test]
fn a_message_over_web_socket_may_have_as_many_bytes_as_a_datagram() {
    let (mut streams, poller, at) = listening("ws", 10);
    let client = send(at, LARGEST_MESSAGE);
    until(&mut streams, &poller, |_, event| match event? {
        StreamEvent::Message { flow, bytes } => {
            assert_eq!(flow.transport, Transport::Ws);
            assert_eq!(bytes.len(), LARGEST_MESSAGE);
            Some(())
        }
        other => panic!("{other:?}"),
    });
    let _first = client.join().unwrap();
    assert_eq!(open(&streams), 1);

    let client = send(at, LARGEST_MESSAGE + 1);
    until(&mut streams, &poller, |_, event| match event? {
        StreamEvent::Broken {
            reason, malformed, ..
        } => {
            let most = LARGEST_MESSAGE;
            let size = most + 1;
            let wanted = format!("the peer's message has {size} bytes, more than {most}");
            assert_eq!(reason, wanted);
            assert!(malformed);
            Some(())
        }
        other => panic!("{other:?}"),
    });
    let _second = client.join().unwrap();
    assert_eq!(open(&streams), 1, "the other one stays");
}
