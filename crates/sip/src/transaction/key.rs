//! What a message is matched to a transaction by (RFC 3261 §17.1.3, §17.2.3).

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::message::{Essentials, Host, Message, Method, StartLine};

/// The cookie in front of every branch of RFC 3261 §8.1.1.7.
const COOKIE: &str = "z9hG4bK";

/// One of our client transactions: the random number in its branch, and whether it is the CANCEL
/// that shares the branch of an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    pub(crate) branch: u64,
    pub(crate) cancel: bool,
}

impl ClientKey {
    /// The key a response belongs to; `None` if the branch is not one of ours.
    pub(crate) fn of_response(essentials: &Essentials) -> Option<Self> {
        let digits = essentials.via.branch().strip_prefix(COOKIE.as_bytes())?;
        Some(Self {
            branch: parse_token(digits)?,
            cancel: essentials.cseq.method == Method::Cancel,
        })
    }
}

/// The branch parameter.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COOKIE}{:016x}", self.branch)
    }
}

/// The number in a tag or branch of ours: 16 lower-case hexadecimal digits.
pub(crate) fn parse_token(digits: &[u8]) -> Option<u64> {
    let ours = digits.len() == 16
        && digits
            .iter()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !ours {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The key of a server transaction: branch, sent-by and method, the method of ACK being INVITE.
/// Requests of RFC 2543 clients have no cookie; then Call-ID, From tag and CSeq stand in.
pub(crate) fn of_request(message: &Message, essentials: &Essentials, method: Method) -> Bytes {
    let mut key = BytesMut::with_capacity(96);
    let branch = essentials.via.branch();
    let is_3261 = branch.len() > COOKIE.len()
        && branch[..COOKIE.len()].eq_ignore_ascii_case(COOKIE.as_bytes());
    key.extend_from_slice(branch);
    key.extend_from_slice(b"\n");
    if !is_3261 {
        key.extend_from_slice(&essentials.call_id);
        key.extend_from_slice(b"\n");
        key.extend_from_slice(&essentials.from.tag().unwrap_or_default());
        key.extend_from_slice(b"\n");
        key.extend_from_slice(&essentials.cseq.number.to_be_bytes());
    }
    match &essentials.via.host {
        Host::Ip(IpAddr::V4(ip)) => {
            key.put_u8(4);
            key.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            key.put_u8(6);
            key.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => key.extend(name.as_bytes().iter().map(u8::to_ascii_lowercase)),
    }
    key.extend_from_slice(&essentials.via.port.unwrap_or(0).to_be_bytes());
    match (method, message.start()) {
        (Method::Ack, _) => key.extend_from_slice(Method::Invite.as_str().as_bytes()),
        (Method::Other, StartLine::Request { name, .. }) => key.extend_from_slice(name),
        (known, _) => key.extend_from_slice(known.as_str().as_bytes()),
    }
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, via: &str, call_id: &str) -> Bytes {
        let text = format!(
            "{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:b@h>;tag=1\r\n\
             To: <sip:a@h>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let message = Message::parse(Bytes::from(text)).unwrap();
        let essentials = message.essentials().unwrap();
        of_request(&message, &essentials, message.method().unwrap())
    }

    #[test]
    fn branch_sent_by_and_method_make_the_key() {
        let invite = request("INVITE", "h:5060;branch=z9hG4bK1", "c");
        assert_eq!(
            invite,
            request("INVITE", "H:5060;branch=z9hG4bK1", "another")
        );
        assert_eq!(invite, request("ACK", "h:5060;branch=z9hG4bK1", "c"));
        assert_ne!(invite, request("CANCEL", "h:5060;branch=z9hG4bK1", "c"));
        assert_ne!(invite, request("INVITE", "h:5061;branch=z9hG4bK1", "c"));
        assert_ne!(invite, request("INVITE", "h:5060;branch=z9hG4bK2", "c"));
        assert_ne!(request("PING", "h", "c"), request("PONG", "h", "c"));
    }

    #[test]
    fn without_cookie_the_call_id_counts() {
        assert_ne!(
            request("INVITE", "h;branch=1", "c"),
            request("INVITE", "h;branch=1", "d")
        );
        assert_eq!(request("INVITE", "h", "c"), request("ACK", "h", "c"));
    }

    #[test]
    fn tokens_are_exact() {
        assert_eq!(parse_token(b"00000000000000ff"), Some(255));
        for bad in [
            &b"ff"[..],
            b"00000000000000FF",
            b"+0000000000000ff",
            b"00000000000000f\xff",
        ] {
            assert_eq!(parse_token(bad), None);
        }
    }
}
