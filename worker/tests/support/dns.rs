//! A DNS server of the test's own.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, NAPTR, SRV},
    },
};

/// A record of the zone.
pub fn naptr(order: u16, services: &str, replacement: &str) -> RData {
    let text = |text: &str| text.as_bytes().into();
    RData::NAPTR(NAPTR::new(
        order,
        0,
        text("s"),
        text(services),
        text(""),
        name(replacement),
    ))
}

/// A record of the zone.
pub fn srv(priority: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, 0, port, name(target)))
}

/// A record of the zone.
pub fn a() -> RData {
    RData::A(A(Ipv4Addr::LOCALHOST))
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

/// Answers from its zone until it is dropped.
pub struct DnsServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts it on loopback.
    pub fn start(zone: Vec<(&'static str, RData)>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                // What is no question ends it.
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    return;
                };
                let answer = answer(&zone, &question, &noted);
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self {
            address,
            asked,
            thread: Some(thread),
        }
    }

    /// The names and types that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.send_to(b"end", self.address).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(
    zone: &[(&'static str, RData)],
    question: &Message,
    noted: &Mutex<Vec<String>>,
) -> Vec<u8> {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.response_code = ResponseCode::NXDomain;
    for query in &question.queries {
        let wanted = query.name().to_ascii();
        let wanted = wanted.trim_end_matches('.');
        let kind = query.query_type();
        noted.lock().unwrap().push(format!("{wanted} {kind}"));
        for (_, data) in zone.iter().filter(|(owner, _)| *owner == wanted) {
            // The name is there, if not with a record of this type.
            answer.metadata.response_code = ResponseCode::NoError;
            if data.record_type() == kind {
                let record = Record::from_rdata(query.name().clone(), 60, data.clone());
                answer.add_answer(record);
            }
        }
        answer.add_query(query.clone());
    }
    answer.to_vec().unwrap()
}
