//! A DNS server of the test's own.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
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
    slow: Arc<Mutex<Spent>>,
    thread: Option<JoinHandle<()>>,
}

/// What went by about the slow domain. A question that comes again, because a busy machine brought
/// the answer late, is not counted.
#[derive(Default)]
struct Spent {
    answered: HashSet<String>,
    /// When the first question came and the last first answer left.
    times: Option<(Instant, Instant)>,
}

impl Spent {
    fn answers(&mut self, question: &Message, asked: Instant) {
        let queries = question.queries.iter();
        let name: Vec<_> = queries.map(ToString::to_string).collect();
        if self.answered.insert(name.join(", ")) {
            let first = self.times.map_or(asked, |(first, _)| first.min(asked));
            self.times = Some((first, Instant::now()));
        }
    }
}

/// A domain whose names it is asked for take their time.
#[derive(Clone, Copy)]
pub struct Slow {
    pub domain: &'static str,
    /// Of each answer.
    pub delay: Duration,
}

/// Questions, `name TYPE`, that are answered with an error; without a code with nothing at all.
pub type Failing = Vec<(&'static str, Option<ResponseCode>)>;

impl Slow {
    fn concerns(&self, question: &Message) -> bool {
        let mut names = question.queries.iter().map(|query| query.name().to_ascii());
        names.any(|name| name.trim_end_matches('.').ends_with(self.domain))
    }
}

impl DnsServer {
    /// Starts it on loopback.
    pub fn start(zone: Vec<(&'static str, RData)>) -> Self {
        Self::start_with(zone, None)
    }

    /// The same; answers of a domain do not hold up the others.
    pub fn start_with(zone: Vec<(&'static str, RData)>, slow: Option<Slow>) -> Self {
        Self::start_broken(zone, slow, Vec::new())
    }

    /// The same, with errors.
    pub fn start_broken(
        zone: Vec<(&'static str, RData)>,
        slow: Option<Slow>,
        failing: Failing,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let spent = Arc::<Mutex<Spent>>::default();
        let slow_ones = Arc::clone(&spent);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let mut late = Vec::new();
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                let asked = Instant::now();
                // What is no question ends it.
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    break;
                };
                let Some(answer) = answer(&zone, &failing, &question, &noted) else {
                    continue;
                };
                let Some(slow) = slow.filter(|slow| slow.concerns(&question)) else {
                    socket.send_to(&answer, from).unwrap();
                    continue;
                };
                let (socket, spent) = (socket.try_clone().unwrap(), Arc::clone(&slow_ones));
                late.push(std::thread::spawn(move || {
                    std::thread::sleep(slow.delay);
                    spent.lock().unwrap().answers(&question, asked);
                    socket.send_to(&answer, from).unwrap();
                }));
            }
            for answer in late {
                answer.join().unwrap();
            }
        });
        Self {
            address,
            asked,
            slow: spent,
            thread: Some(thread),
        }
    }

    /// The names and types that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// From the first question about the slow domain to the last answer.
    pub fn slow_for(&self) -> Duration {
        let times = self.slow.lock().unwrap().times;
        let (first, last) = times.expect("the slow domain is asked for");
        last.duration_since(first)
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
    failing: &Failing,
    question: &Message,
    noted: &Mutex<Vec<String>>,
) -> Option<Vec<u8>> {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.response_code = ResponseCode::NXDomain;
    for query in &question.queries {
        let wanted = query.name().to_ascii();
        let wanted = wanted.trim_end_matches('.');
        let kind = query.query_type();
        let asked = format!("{wanted} {kind}");
        let failed = failing.iter().find(|(failing, _)| *failing == asked);
        noted.lock().unwrap().push(asked);
        if let Some((_, code)) = failed {
            answer.metadata.response_code = (*code)?;
            answer.add_query(query.clone());
            continue;
        }
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
    Some(answer.to_vec().unwrap())
}
