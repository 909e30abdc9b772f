//! A SIP and RTP far end under full control of the test. It keeps count of all it sends and gets:
//! what the worker says is compared with that.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, task::JoinHandle};

use crate::support::soon;

/// The far end of one group with one endpoint.
pub(crate) struct FarEnd {
    sip: UdpSocket,
    pub(crate) rtp: Arc<UdpSocket>,
    pub(crate) rtcp: Arc<UdpSocket>,
    worker: Option<SocketAddr>,
    pub(crate) counts: Counts,
}

/// What went over the SIP socket.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sent: u32,
    pub(crate) received: u32,
    /// Responses by class, each counted once however often it was sent: index 0 is 1xx.
    pub(crate) responses: [u32; 6],
    pub(crate) invites: u32,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    text: String,
    pub(crate) at: Instant,
}

impl FarEnd {
    /// Binds SIP to any port of loopback, and an even RTP port with the RTCP port after it.
    pub(crate) async fn new() -> Self {
        let bind = async |port: u16| UdpSocket::bind(("127.0.0.1", port)).await;
        let (rtp, rtcp) = loop {
            let rtp = bind(0).await.unwrap();
            let port = rtp.local_addr().unwrap().port();
            if port % 2 == 0
                && let Ok(rtcp) = bind(port + 1).await
            {
                break (rtp, rtcp);
            }
        };
        Self {
            sip: bind(0).await.unwrap(),
            rtp: Arc::new(rtp),
            rtcp: Arc::new(rtcp),
            worker: None,
            counts: Counts::default(),
        }
    }

    /// `host:port` of its SIP socket.
    pub(crate) fn address(&self) -> String {
        self.sip.local_addr().unwrap().to_string()
    }

    /// The next request of a method; others are passed over.
    pub(crate) async fn next(&mut self, method: &str) -> Request {
        soon(&format!("a {method} comes"), async {
            loop {
                let request = self.receive().await;
                if request.text.starts_with(&format!("{method} ")) {
                    return request;
                }
            }
        })
        .await
    }

    async fn receive(&mut self) -> Request {
        let mut buffer = [0; 4096];
        let (length, from) = self.sip.recv_from(&mut buffer).await.unwrap();
        self.worker = Some(from);
        self.counts.received += 1;
        let request = Request::new(buffer[..length].to_vec());
        self.counts.invites += u32::from(request.text.starts_with("INVITE "));
        request
    }

    /// Answers a request; `more` are whole header lines.
    pub(crate) async fn answer(&mut self, request: &Request, status: &str, more: &str, body: &str) {
        let class = usize::from(status.as_bytes()[0] - b'1');
        self.counts.responses[class] += 1;
        self.answer_again(request, status, more, body).await;
    }

    /// Sends a response that was sent before.
    pub(crate) async fn answer_again(
        &mut self,
        request: &Request,
        status: &str,
        more: &str,
        body: &str,
    ) {
        self.send(&request.response(status, more, body)).await;
    }

    /// Accepts a call with a description; `more` are whole lines of it.
    pub(crate) async fn accept(&mut self, invite: &Request, format: u8, more: &str) {
        let (contact, body) = self.description(format, more);
        self.answer(invite, "200 OK", &contact, &body).await;
    }

    /// A Contact header and a session description of this end.
    pub(crate) fn description(&self, format: u8, more: &str) -> (String, String) {
        let port = self.rtp.local_addr().unwrap().port();
        let body = format!(
            "v=0\r\no=far 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {format}\r\n{more}"
        );
        (format!("Contact: <sip:far@{}>\r\n", self.address()), body)
    }

    /// Calls somebody at an address.
    pub(crate) async fn call(&mut self, uri: &str, at: SocketAddr) {
        self.worker = Some(at);
        let (contact, body) = self.description(8, "");
        let own = self.address();
        let request = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKinvite\r\n\
             Max-Forwards: 70\r\nFrom: <sip:far@{own}>;tag=far\r\nTo: <{uri}>\r\n\
             Call-ID: call@{own}\r\nCSeq: 1 INVITE\r\n{contact}"
        );
        self.send(&with_body(&request, &body)).await;
    }

    /// Hangs up a call that came with `invite`.
    pub(crate) async fn hang_up(&mut self, invite: &Request) {
        let (from, to) = (invite.header("From"), invite.header("To"));
        let target = invite.contact();
        let own = self.address();
        let request = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKbye\r\n\
             Max-Forwards: 70\r\nFrom: {to};tag=far\r\nTo: {from}\r\nCall-ID: {}\r\n\
             CSeq: 1 BYE\r\n",
            invite.header("Call-ID")
        );
        self.send(&with_body(&request, "")).await;
    }

    /// The next message that is a response.
    pub(crate) async fn response(&mut self) -> Request {
        self.next("SIP/2.0").await
    }

    async fn send(&mut self, message: &str) {
        let to = self.worker.expect("the worker spoke first");
        self.sip.send_to(message.as_bytes(), to).await.unwrap();
        self.counts.sent += 1;
    }
}

/// Type and length of a body, and the body.
fn with_body(head: &str, body: &str) -> String {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Request {
    /// One that has come now.
    pub(crate) fn new(wire: Vec<u8>) -> Self {
        Self {
            text: String::from_utf8(wire).unwrap(),
            at: Instant::now(),
        }
    }

    /// A response to it; `more` are whole header lines.
    pub(crate) fn response(&self, status: &str, more: &str, body: &str) -> String {
        let mut response = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for line in self.headers(name) {
                response += line;
                if name == "To" && !line.contains(";tag=") && !status.starts_with("100") {
                    response += ";tag=far";
                }
                response += "\r\n";
            }
        }
        with_body(&(response + more), body)
    }

    fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.split("\r\n").take_while(|line| !line.is_empty());
        lines.filter(move |line| {
            let found = line.split(':').next().unwrap_or_default().trim();
            found.eq_ignore_ascii_case(name)
        })
    }

    /// The value of a header that is there once.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> &'a str {
        let line = self
            .headers(name)
            .next()
            .unwrap_or_else(|| panic!("no {name}: {}", self.text));
        line.split_once(':').unwrap().1.trim()
    }

    /// The URI of its Contact.
    pub(crate) fn contact(&self) -> &str {
        let contact = self.header("Contact");
        let from = contact.find('<').map_or(0, |at| at + 1);
        let to = contact.find('>').unwrap_or(contact.len());
        &contact[from..to]
    }

    /// Where it wants RTP.
    pub(crate) fn media(&self) -> SocketAddr {
        let line = |start: &str| {
            let mut lines = self.text.split("\r\n");
            let found = lines.find_map(|line| line.strip_prefix(start));
            found.unwrap_or_else(|| panic!("no {start}: {}", self.text))
        };
        let ip = line("c=IN IP4 ").parse().unwrap();
        let port = line("m=audio ").split(' ').next().unwrap().parse().unwrap();
        SocketAddr::new(ip, port)
    }
}

/// Counts the datagrams of a socket in the background, and their payload octets.
pub(crate) struct Counter {
    socket: Arc<UdpSocket>,
    header: u64,
    packets: Arc<AtomicU64>,
    octets: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Counter {
    /// Each datagram begins with a header of `header` octets.
    pub(crate) fn start(socket: &Arc<UdpSocket>, header: u64) -> Self {
        let (packets, octets) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let task = {
            let (socket, packets, octets) = (socket.clone(), packets.clone(), octets.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 2048];
                while let Ok(length) = socket.recv(&mut buffer).await {
                    packets.fetch_add(1, Ordering::Relaxed);
                    octets.fetch_add(length as u64 - header, Ordering::Relaxed);
                }
            })
        };
        Self {
            socket: socket.clone(),
            header,
            packets,
            octets,
            task,
        }
    }

    /// Packets and octets, once nothing more is on its way.
    pub(crate) async fn finish(self) -> (f64, f64) {
        self.task.abort();
        // It ended by the abort.
        let _ = self.task.await;
        let (mut packets, mut octets) = (
            self.packets.load(Ordering::Relaxed),
            self.octets.load(Ordering::Relaxed),
        );
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            packets += 1;
            octets += length as u64 - self.header;
        }
        (packets as f64, octets as f64)
    }
}

/// Sends RTP on a schedule of its own.
pub(crate) struct Talker {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    packet_ms: u32,
    due: tokio::time::Instant,
    pub(crate) sent: u32,
}

impl Talker {
    pub(crate) fn new(socket: &Arc<UdpSocket>, to: SocketAddr, payload_type: u8, ms: u32) -> Self {
        Self {
            socket: socket.clone(),
            to,
            payload_type,
            sequence: 1000,
            timestamp: 8000,
            ssrc: 0x0102_0304,
            packet_ms: ms,
            due: tokio::time::Instant::now(),
            sent: 0,
        }
    }

    /// The packet of this moment, not sent.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut wire = vec![0x80, self.payload_type];
        wire.extend(self.sequence.to_be_bytes());
        wire.extend(self.timestamp.to_be_bytes());
        wire.extend(self.ssrc.to_be_bytes());
        wire.resize(12 + self.octets(), 0xd5);
        wire
    }

    /// Payload octets of a packet.
    pub(crate) fn octets(&self) -> usize {
        self.packet_ms as usize * 8
    }

    /// Waits until the packet is due, `late` more, and goes on to the next one without sending.
    pub(crate) async fn skip(&mut self, late: Duration) {
        tokio::time::sleep_until(self.due + late).await;
        self.due += Duration::from_millis(self.packet_ms.into());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.packet_ms * 8);
    }

    /// Sends this wire now.
    pub(crate) async fn put(&mut self, wire: &[u8]) {
        self.socket.send_to(wire, self.to).await.unwrap();
        self.sent += 1;
    }

    /// Sends the packet when it is due.
    pub(crate) async fn send(&mut self) {
        let wire = self.packet();
        self.skip(Duration::ZERO).await;
        self.put(&wire).await;
    }

    /// The next packet is due now.
    pub(crate) fn rest(&mut self) {
        self.due = tokio::time::Instant::now();
    }

    /// Sends so many packets.
    pub(crate) async fn talk(&mut self, packets: u32) {
        for _ in 0..packets {
            self.send().await;
        }
    }
}
