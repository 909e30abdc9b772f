//! Via (RFC 3261 §20.42) with `rport` and `received` (RFC 3581).

use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use super::error::{HeaderProblem, ParseError};
use super::names::HeaderName;
use super::scan;
use super::uri::{self, Host};
use crate::flow::Transport;

/// One Via element.
#[derive(Clone, Debug)]
pub struct Via {
    /// The transport; `None` for one this stack does not know.
    pub transport: Option<Transport>,
    /// Host of sent-by.
    pub host: Host,
    /// Port of sent-by, if written.
    pub port: Option<u16>,
    raw: Bytes,
    params: usize,
}

impl Via {
    /// Reads one element, `SIP/2.0/UDP host:port;params`.
    pub fn parse(raw: Bytes) -> Result<Self, ParseError> {
        let error = |problem| ParseError::Header(HeaderName::Via, problem);
        let syntax = error(HeaderProblem::Syntax);
        let params = raw
            .iter()
            .position(|&byte| byte == b';')
            .unwrap_or(raw.len());
        let mut parts = raw[..params]
            .splitn(3, |&byte| byte == b'/')
            .map(scan::trim);
        let name = parts.next().unwrap_or_default();
        let version = parts.next().unwrap_or_default();
        let rest = parts.next().ok_or(syntax)?;
        if !name.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return Err(syntax);
        }
        let space = rest
            .iter()
            .position(|&byte| scan::is_lws(byte))
            .ok_or(syntax)?;
        let transport = &rest[..space];
        if !scan::is_token(transport) {
            return Err(syntax);
        }
        let transport = Transport::parse(transport);
        // A semicolon without a parameter does not follow the grammar (RFC 4475 §3.1.2.1).
        if scan::split(&raw[params..], b';')
            .skip(1)
            .any(<[u8]>::is_empty)
        {
            return Err(syntax);
        }
        let sent_by = scan::trim(&rest[space..]);
        let start = scan::offset_of(&raw, sent_by);
        let (host, port) = uri::parse_host_port(&raw, start..start + sent_by.len())
            .map_err(|fault| error(HeaderProblem::Uri(fault)))?;
        Ok(Self {
            transport,
            host,
            port,
            raw,
            params,
        })
    }

    /// The branch, empty if there is none.
    pub fn branch(&self) -> &[u8] {
        self.param("branch").unwrap_or_default()
    }

    /// The value of a parameter, empty for a flag.
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        scan::parameter(&self.raw[self.params..], name)
    }

    /// Where the response to a request from `source` goes over an unreliable transport (RFC 3261
    /// §18.2.2, RFC 3581 §4).
    pub(crate) fn response_address(&self, source: SocketAddr) -> SocketAddr {
        if self.param("rport").is_some() {
            return source;
        }
        self.listens_at(source)
    }

    /// Where the sender of a request from `source` takes responses by connections of ours: at the
    /// port of sent-by (RFC 3261 §18.2.2).
    pub(crate) fn listens_at(&self, source: SocketAddr) -> SocketAddr {
        let default = self.transport.unwrap_or(Transport::Udp).default_port();
        SocketAddr::new(source.ip(), self.port.unwrap_or(default))
    }

    /// Writes the element as the server that got it from `source` must return it: with `received`
    /// where sent-by is another host, and with the value of `rport` where it was asked for.
    pub(crate) fn write_received(&self, source: SocketAddr, out: &mut Vec<u8>) {
        let rport = self.param("rport").is_some();
        let sent_by_is_source = matches!(&self.host, Host::Ip(ip) if *ip == source.ip());
        out.extend_from_slice(scan::trim(&self.raw[..self.params]));
        for param in scan::split(&self.raw[self.params..], b';').filter(|param| !param.is_empty()) {
            let (name, _) = scan::name_value(param);
            let replaced =
                name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received");
            if !replaced {
                out.push(b';');
                out.extend_from_slice(param);
            }
        }
        if rport || !sent_by_is_source {
            // Without brackets: `received` takes IPv6 both ways, most peers write it bare
            // (RFC 5118 §4.5). Writing to memory does not fail.
            let _ = write!(out, ";received={}", source.ip());
        }
        if rport {
            let _ = write!(out, ";rport={}", source.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &'static str) -> Via {
        Via::parse(Bytes::from_static(text.as_bytes())).unwrap()
    }

    fn returned(text: &'static str, source: &str) -> String {
        let mut out = Vec::new();
        via(text).write_received(source.parse().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn odd_spacing_is_taken() {
        let via = via("SIP  / 2.0\r\n / UDP  192.0.2.2 : 5070 ; branch = z9hG4bKabc;rport");
        assert_eq!(via.transport, Some(Transport::Udp));
        assert_eq!(via.host.to_string(), "192.0.2.2");
        assert_eq!(via.port, Some(5070));
        assert_eq!(via.branch(), b"z9hG4bKabc");
        assert_eq!(via.param("rport"), Some(&b""[..]));
    }

    /// RFC 3581 §4
    #[test]
    fn rport_is_filled_in_and_used() {
        let text = "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff";
        assert_eq!(
            returned(text, "192.0.2.1:9988"),
            "SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.1;rport=9988"
        );
        let source = "192.0.2.1:9988".parse().unwrap();
        assert_eq!(via(text).response_address(source), source);
    }

    #[test]
    fn without_rport_the_sent_by_port_is_used() {
        let text = "SIP/2.0/UDP 192.0.2.1:4540;branch=z9hG4bK1";
        assert_eq!(returned(text, "192.0.2.1:9988"), text);
        let source = "192.0.2.1:9988".parse().unwrap();
        assert_eq!(
            via(text).response_address(source),
            "192.0.2.1:4540".parse().unwrap()
        );
        let named = "SIP/2.0/UDP pc.example;branch=z9hG4bK1";
        assert_eq!(
            via(named).response_address(source),
            "192.0.2.1:5060".parse().unwrap()
        );
        assert!(returned(named, "192.0.2.1:9988").ends_with(";received=192.0.2.1"));
    }

    #[test]
    fn a_forged_received_is_replaced() {
        let text = "SIP/2.0/UDP pc.example;received=198.51.100.9;branch=z9hG4bK1";
        assert!(!returned(text, "192.0.2.1:9988").contains("198.51.100.9"));
    }

    #[test]
    fn bad_values_name_the_header() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP ;branch=x",
        ] {
            let error = Via::parse(Bytes::from_static(text.as_bytes())).unwrap_err();
            assert!(
                error.to_string().starts_with("header Via: "),
                "{text}: {error}"
            );
        }
    }
}
