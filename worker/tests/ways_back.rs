//! A caller whose connection breaks before its call is answered, on real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{net::SocketAddr, time::Duration};

use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role};
use support::{
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, assert_complete, begin, finish},
    soon,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The head of the next message, and its body with it.
async fn message(stream: &mut TcpStream) -> String {
    soon("a message comes", async {
        let mut wire = Vec::new();
        while !wire.ends_with(b"\r\n\r\n") {
            wire.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(wire).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        head
    })
    .await
}

/// RFC 3261 §18.2.2: the connection is gone, so the answer comes by one to the port of sent-by.
#[tokio::test]
async fn the_answer_comes_to_where_a_caller_listens_whose_connection_broke() {
    let mut gateway = TestGateway::start().await;
    let own = ports::block();
    let at = SocketAddr::from(([127, 0, 0, 1], own.sip_first));
    let _worker = Worker::spawn(&environment(&gateway, own));
    let mut peer = gateway.welcome().await;
    let group = Group {
        ring_ms: 1500,
        accept_external: true,
        registrar: Some(Registrar {
            transport: "tcp".into(),
            ..Registrar::default()
        }),
        accounts: vec![Account {
            user: "u0".into(),
            ..Account::default()
        }],
        ..Group::new("callees", Role::Callee, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = |method: &str, number: u32, tag: &str, body: &str| {
        let branch = format!("z9hG4bK{method}");
        let length = body.len();
        format!(
            "{method} sip:u0@{at};transport=tcp SIP/2.0\r\n\
             Via: SIP/2.0/TCP 127.0.0.1:{port};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:p@127.0.0.1>;tag=peer\r\nTo: <sip:u0@{at}>{tag}\r\nCall-ID: w\r\n\
             CSeq: {number} {method}\r\nContact: <sip:p@127.0.0.1:{port};transport=tcp>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=audio 9 RTP/AVP 8\r\n";
    let mut first = TcpStream::connect(at).await.unwrap();
    let invite = request("INVITE", 1, "", offer);
    first.write_all(invite.as_bytes()).await.unwrap();
    while !message(&mut first).await.starts_with("SIP/2.0 180 ") {}
    drop(first);
    let mut second = soon("a connection back", listener.accept())
        .await
        .unwrap()
        .0;
    let answer = message(&mut second).await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("To: ")?.split_once(";tag="))
        .map(|(_, tag)| format!(";tag={tag}"))
        .unwrap();
    let ack = request("ACK", 1, &tag, "");
    second.write_all(ack.as_bytes()).await.unwrap();
    let bye = request("BYE", 2, &tag, "");
    second.write_all(bye.as_bytes()).await.unwrap();
    let over = message(&mut second).await;
    assert!(over.starts_with("SIP/2.0 200 "), "{over}");
    finish(&mut peer, &mut told, Duration::from_secs(60)).await;
    assert_complete(&told);
    let calls = told.calls("callees");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].0, Outcome::Success, "{calls:?}");
    let errors = told.sum("callees", "transport_errors", Direction::Send);
    assert_eq!(errors, 0);
}
