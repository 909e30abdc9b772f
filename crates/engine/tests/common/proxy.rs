//! A registrar and stateless proxy, just enough SIP for the tests.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;

/// Registers whoever answers a challenge, forwards requests by the user of the Request-URI.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) bindings: HashMap<String, String>,
    /// Users that are refused.
    pub(crate) banned: Vec<String>,
    /// Status and header lines of such a refusal.
    pub(crate) refusal: (&'static str, &'static str),
    /// Ask for credentials first.
    pub(crate) challenge: bool,
    pub(crate) granted_s: u32,
    /// Status of the answer to OPTIONS; none: silence.
    pub(crate) options: Option<&'static str>,
}

impl Proxy {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.parse().unwrap(),
            bindings: HashMap::new(),
            banned: Vec::new(),
            refusal: ("403 Forbidden", ""),
            challenge: true,
            granted_s: 120,
            options: Some("200 OK"),
        }
    }

    pub(crate) fn handle(&mut self, from: SocketAddr, bytes: &Bytes) -> Vec<(SocketAddr, Bytes)> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let first = lines.remove(0);
        if first.starts_with("SIP/2.0") {
            return response(&first, lines, body).into_iter().collect();
        }
        if first.starts_with("REGISTER") {
            return vec![(from, self.register(&lines))];
        }
        if first.starts_with("OPTIONS") {
            let answer = self.options.map(|status| (from, reply(&lines, status, "")));
            return answer.into_iter().collect();
        }
        self.request(from, &first, lines, body)
            .into_iter()
            .collect()
    }

    fn register(&mut self, lines: &[String]) -> Bytes {
        let user = user_of(header(lines, "To").unwrap_or_default());
        let contact = header(lines, "Contact").unwrap_or_default();
        if self.banned.contains(&user) {
            let (status, more) = self.refusal;
            return reply(lines, status, more);
        }
        if self.challenge && header(lines, "Authorization").is_none() {
            let challenge = "WWW-Authenticate: Digest realm=\"test\", nonce=\"n1\", \
                             algorithm=MD5, qop=\"auth\"\r\n";
            return reply(lines, "401 Unauthorized", challenge);
        }
        let uri = contact
            .split(['<', '>'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let gone = header(lines, "Expires") == Some("0") || contact.contains("expires=0");
        if gone {
            self.bindings.remove(&user);
            return reply(lines, "200 OK", "");
        }
        let extra = format!("Contact: <{uri}>;expires={}\r\n", self.granted_s);
        self.bindings.insert(user, uri);
        reply(lines, "200 OK", &extra)
    }

    fn request(
        &mut self,
        from: SocketAddr,
        first: &str,
        mut lines: Vec<String>,
        body: &str,
    ) -> Option<(SocketAddr, Bytes)> {
        let mut words = first.split(' ');
        let (method, uri) = (words.next()?, words.next()?);
        let Some(contact) = self.bindings.get(&user_of(uri)) else {
            let ok = method != "ACK";
            return ok.then(|| (from, reply(&lines, "404 Not Found", "")));
        };
        let to: SocketAddr = contact.split('@').nth(1)?.split(';').next()?.parse().ok()?;
        let first = format!("{method} {contact} SIP/2.0");
        let branch = header(&lines, "Via")?
            .split("branch=")
            .nth(1)?
            .split(';')
            .next()?
            .to_owned();
        let via = format!("Via: SIP/2.0/UDP {};branch={branch}.p", self.address);
        lines.insert(0, via);
        Some((to, assemble(&first, &lines, body)))
    }
}

fn response(first: &str, mut lines: Vec<String>, body: &str) -> Option<(SocketAddr, Bytes)> {
    let own = lines.iter().position(|line| line.starts_with("Via:"))?;
    lines.remove(own);
    let via = header(&lines, "Via")?;
    let to = via.split(' ').nth(1)?.split(';').next()?.parse().ok()?;
    Some((to, assemble(first, &lines, body)))
}

fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn user_of(uri: &str) -> String {
    let start = uri.find("sip:").map_or(0, |at| at + 4);
    uri[start..]
        .split('@')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn reply(lines: &[String], status: &str, extra: &str) -> Bytes {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in lines {
        if line.starts_with("To:") && !line.contains("tag=") {
            text.push_str(line);
            text.push_str(";tag=proxy\r\n");
        } else if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
            .iter()
            .any(|n| line.starts_with(n))
        {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text.push_str(extra);
    text.push_str("Content-Length: 0\r\n\r\n");
    Bytes::from(text)
}

fn assemble(first: &str, lines: &[String], body: &str) -> Bytes {
    Bytes::from(format!("{first}\r\n{}\r\n\r\n{body}", lines.join("\r\n")))
}
