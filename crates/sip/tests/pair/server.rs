//! A registrar and stateless, record-routing proxy with digest authentication.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use callmeter_sip::Uri;
use callmeter_sip::message::{HeaderName, Message};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

pub(crate) const REALM: &str = "example.org";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Contact URIs by user.
    pub(crate) bindings: BTreeMap<String, String>,
    /// Where requests for nobody here go.
    pub(crate) next: Option<SocketAddr>,
    /// Lifetimes asked for, in order.
    pub(crate) asked: Vec<u64>,
    /// Lifetime granted at most, in seconds.
    pub(crate) max_expires: u64,
    /// Refuse shorter ones with 423.
    pub(crate) min_expires: u64,
    pub(crate) realm: &'static str,
    pub(crate) algorithm: &'static str,
    /// The qualities of protection offered, empty for none.
    pub(crate) qop: &'static str,
    pub(crate) password: &'static str,
    /// A nonce is good for one REGISTER.
    pub(crate) one_time: bool,
    /// Answers to REGISTER name the next nonce.
    pub(crate) next_nonce: bool,
    /// Answers to REGISTER name the nonce in use as the next one.
    pub(crate) same_nonce: bool,
    /// More header lines of the 2xx to REGISTER.
    pub(crate) register_lines: String,
    /// Whether INVITEs are challenged too.
    pub(crate) challenge_invite: bool,
    /// Nonces that are called stale when used.
    pub(crate) stale: BTreeSet<String>,
    pub(crate) challenges: usize,
    /// The highest count seen of each nonce.
    pub(crate) counts: BTreeMap<String, u32>,
    /// Vias of the requests whose credentials were good: one that comes again is a retransmission.
    heard: BTreeSet<String>,
    /// The nonce that a session with this one began with.
    began: BTreeMap<String, String>,
    nonce: usize,
}

type Packets = Vec<(SocketAddr, String)>;

impl Server {
    pub(crate) fn new(address: &str, algorithm: &'static str) -> Self {
        Self {
            address: address.parse().unwrap(),
            bindings: BTreeMap::new(),
            next: None,
            asked: Vec::new(),
            max_expires: 120,
            min_expires: 0,
            realm: REALM,
            algorithm,
            qop: "auth,auth-int",
            password: "zanzibar",
            one_time: false,
            next_nonce: false,
            same_nonce: false,
            register_lines: String::new(),
            challenge_invite: true,
            stale: BTreeSet::new(),
            challenges: 0,
            counts: BTreeMap::new(),
            heard: BTreeSet::new(),
            began: BTreeMap::new(),
            nonce: 0,
        }
    }

    pub(crate) fn handle(&mut self, from: SocketAddr, bytes: &Bytes) -> Packets {
        let message = Message::parse(bytes.clone()).unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        if message.status().is_some() {
            return self.pass_response(&text);
        }
        match text.split(' ').next().unwrap() {
            "REGISTER" => vec![(from, self.register(&message))],
            "ACK" if text.contains(";tag=server") => Vec::new(),
            "INVITE" if self.challenge_invite && !text.contains(";tag=server") => {
                let within = super::header(&message, HeaderName::To).contains(";tag=");
                match self.check(&message, "INVITE", HeaderName::ProxyAuthorization) {
                    Err(challenge) if !within => {
                        let line = format!("Proxy-Authenticate: {challenge}\r\n");
                        vec![(from, reply(&message, "407 Authenticate", &line))]
                    }
                    _ => self.pass_request(from, &message, &text),
                }
            }
            _ => self.pass_request(from, &message, &text),
        }
    }

    fn register(&mut self, message: &Message) -> String {
        if let Err(challenge) = self.check(message, "REGISTER", HeaderName::Authorization) {
            let odd = "WWW-Authenticate: Digest realm=\"x\", nonce=\"x\", algorithm=FUTURE-1\r\n";
            let line = format!("{odd}WWW-Authenticate: {challenge}\r\n");
            return reply(message, "401 Unauthorized", &line);
        }
        let expires: u64 = super::header(message, HeaderName::Expires).parse().unwrap();
        self.asked.push(expires);
        if expires > 0 && expires < self.min_expires {
            let line = format!("Min-Expires: {}\r\n", self.min_expires);
            return reply(message, "423 Interval Too Brief", &line);
        }
        let contact = super::header(message, HeaderName::Contact);
        let contact = contact.trim_matches(['<', '>']).to_owned();
        let user = contact.parse::<Uri>().unwrap().user();
        if expires == 0 {
            self.bindings.remove(&user);
            return reply(message, "200 OK", "");
        }
        self.bindings.insert(user, contact.clone());
        let granted = expires.min(self.max_expires);
        let next = self.next_nonce(message);
        let more = &self.register_lines;
        reply(
            message,
            "200 OK",
            &format!("Contact: <{contact}>;expires={granted}\r\n{next}{more}"),
        )
    }

    /// The next nonce, if the server names it; the one used is out of date if it was for once.
    fn next_nonce(&mut self, message: &Message) -> String {
        let value = super::header(message, HeaderName::Authorization);
        let used = field(&value, " nonce").unwrap_or_default();
        let mut line = String::new();
        if self.next_nonce {
            self.nonce += 1;
            let next = format!("n{}", self.nonce);
            line = format!("Authentication-Info: qop=auth, nextnonce=\"{next}\"\r\n");
            let began = self.began.get(&used).unwrap_or(&used).clone();
            self.began.insert(next, began);
        } else if self.same_nonce {
            line = format!("Authentication-Info: nextnonce=\"{used}\"\r\n");
        }
        if self.one_time {
            self.stale.insert(used);
        }
        line
    }

    /// Checks the credentials of a request; a challenge if they are missing or wrong.
    fn check(&mut self, message: &Message, method: &str, name: HeaderName) -> Result<(), String> {
        let value = super::header(message, name);
        let nonce = field(&value, " nonce").unwrap_or_default();
        let stale = self.stale.contains(&nonce);
        let known = nonce.strip_prefix('n').and_then(|count| count.parse().ok());
        if known.is_some_and(|count: usize| count <= self.nonce)
            && !stale
            && field(&value, " response") == Some(self.response(&value, message, method))
        {
            if let Some(count) = field(&value, " nc") {
                let count = u32::from_str_radix(&count, 16).unwrap();
                let first = self.heard.insert(super::header(message, HeaderName::Via));
                let last = self.counts.entry(nonce).or_default();
                let grows = count > *last || (count == *last && !first);
                assert!(grows, "a count that does not grow");
                *last = count;
            }
            return Ok(());
        }
        self.nonce += 1;
        self.challenges += 1;
        let stale = if stale { ", stale=true" } else { "" };
        let qop = match self.qop {
            "" => String::new(),
            offered => format!(", qop=\"{offered}\""),
        };
        Err(format!(
            "Digest realm=\"{}\", nonce=\"n{}\"{qop}, algorithm={}{stale}",
            self.realm, self.nonce, self.algorithm
        ))
    }

    /// RFC 7616 §3.4.1
    fn response(&self, value: &str, message: &Message, method: &str) -> String {
        let part = |name: &str| field(value, name).unwrap_or_default();
        assert_eq!(part(" algorithm"), self.algorithm);
        let nonce = part(" nonce");
        let mut a1 = self.hash(&format!(
            "{}:{}:{}",
            part("username"),
            self.realm,
            self.password
        ));
        if self.algorithm.ends_with("-sess") {
            let began = self.began.get(&nonce).unwrap_or(&nonce);
            a1 = self.hash(&format!("{a1}:{began}:{}", part(" cnonce")));
        }
        let qop = part(" qop");
        assert!(
            self.qop.split(',').any(|offered| offered == qop),
            "{qop} was not offered"
        );
        let a2 = if qop == "auth-int" {
            let body = String::from_utf8(message.body().to_vec()).unwrap();
            format!("{method}:{}:{}", part(" uri"), self.hash(&body))
        } else {
            format!("{method}:{}", part(" uri"))
        };
        let a2 = self.hash(&a2);
        let middle = match &*qop {
            "" => nonce,
            _ => format!("{nonce}:{}:{}:{qop}", part(" nc"), part(" cnonce")),
        };
        self.hash(&format!("{a1}:{middle}:{a2}"))
    }

    fn hash(&self, text: &str) -> String {
        match self.algorithm.trim_end_matches("-sess") {
            "MD5" => hex::encode(Md5::digest(text)),
            "SHA-256" => hex::encode(Sha256::digest(text)),
            "SHA-512-256" => hex::encode(Sha512_256::digest(text)),
            other => panic!("no {other} here"),
        }
    }

    fn pass_request(&self, from: SocketAddr, message: &Message, text: &str) -> Packets {
        let uri = message.request_uri().unwrap();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        let own = format!("<sip:{};lr>", self.address);
        if let Some(route) = lines.iter().position(|line| line.starts_with("Route: ")) {
            assert_eq!(
                lines[route],
                format!("Route: {own}"),
                "a loose route to this proxy"
            );
            lines.remove(route);
        }
        let method = text.split(' ').next().unwrap();
        let ours = uri
            .socket_addr()
            .is_none_or(|address| address == self.address);
        let route = lines.iter().find_map(|line| line.strip_prefix("Route: <"));
        let target = if let Some(route) = route {
            let (uri, _) = route.split_once('>').unwrap();
            uri.parse::<Uri>().unwrap().socket_addr()
        } else if !ours {
            uri.socket_addr()
        } else if let Some(contact) = self.bindings.get(&uri.user()) {
            lines[0] = format!("{method} {contact} SIP/2.0");
            contact.parse::<Uri>().unwrap().socket_addr()
        } else if self.next.is_some() {
            self.next
        } else {
            let response = reply(message, "404 Not Found", "");
            return if method == "ACK" {
                Vec::new()
            } else {
                vec![(from, response)]
            };
        };
        let upstream = super::header(message, HeaderName::Via);
        let branch = upstream.split("branch=z9hG4bK").nth(1).unwrap();
        let via = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKp{branch}", self.address);
        lines.insert(1, via);
        if method == "INVITE" {
            lines.insert(1, format!("Record-Route: {own}"));
        }
        vec![(target.unwrap(), lines.join("\r\n"))]
    }

    fn pass_response(&self, text: &str) -> Packets {
        let mut lines: Vec<&str> = text.split("\r\n").collect();
        let vias: Vec<_> = (0..lines.len())
            .filter(|i| lines[*i].starts_with("Via: "))
            .collect();
        assert!(lines[vias[0]].contains(&self.address.to_string()));
        let next = lines[vias[1]]
            .split([' ', ';'])
            .nth(2)
            .unwrap()
            .parse()
            .unwrap();
        lines.remove(vias[0]);
        vec![(next, lines.join("\r\n"))]
    }
}

/// A parameter of credentials, without quotes.
pub(crate) fn field(value: &str, name: &str) -> Option<String> {
    let start = value.find(&format!("{name}="))? + name.len() + 1;
    let rest = value[start..].trim_start_matches('"');
    Some(rest[..rest.find(['"', ',']).unwrap_or(rest.len())].to_owned())
}

fn reply(request: &Message, status: &str, lines: &str) -> String {
    super::reply(request, status, "server", lines, "")
}
