//! Composing requests and responses.

use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::digest::Authorization;
use crate::flow::{Listener, Transport};
use crate::message::{
    Builder, HeaderName, Message, Method, NameAddr, Uri, Via, reason_phrase, split_list,
};
use crate::transaction::ClientKey;

/// The methods answered other than with 405.
pub(crate) const ALLOW: &[u8] =
    b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";
/// The type of all bodies we write.
pub(crate) const SDP: &str = "application/sdp";

/// A request of ours.
pub(crate) struct Draft<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a Uri,
    pub(crate) listener: &'a Listener,
    pub(crate) key: ClientKey,
    pub(crate) routes: &'a [Uri],
    /// From, tag included.
    pub(crate) from: &'a [u8],
    /// To, with its tag inside a dialog.
    pub(crate) to: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    pub(crate) contact: Option<&'a [u8]>,
    /// Expires in seconds.
    pub(crate) expires: Option<u64>,
    pub(crate) authorization: &'a Authorization,
    /// Writes the header fields only some requests have.
    pub(crate) more: &'a dyn Fn(&mut Builder),
    /// User-Agent, empty for none.
    pub(crate) product: &'a str,
    /// Type of the body, where there is one.
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

/// No further header fields.
pub(crate) fn no_more(_: &mut Builder) {}

impl Draft<'_> {
    pub(crate) fn compose(&self) -> Bytes {
        let Listener {
            transport,
            advertised_host,
            advertised_port,
            ..
        } = self.listener;
        let mut builder = Builder::request(self.method, self.uri.as_bytes());
        builder.header_fmt(
            HeaderName::Via,
            format_args!(
                "SIP/2.0/{transport} {advertised_host}:{advertised_port};rport;branch={}",
                self.key
            ),
        );
        routes(&mut builder, self.routes);
        builder
            .header(HeaderName::MaxForwards, b"70")
            .header(HeaderName::From, self.from)
            .header(HeaderName::To, self.to)
            .header(HeaderName::CallId, self.call_id)
            .header_fmt(
                HeaderName::CSeq,
                format_args!("{} {}", self.cseq, self.method.as_str()),
            );
        if let Some(contact) = self.contact {
            builder.header(HeaderName::Contact, contact);
        }
        if let Some(expires) = self.expires {
            builder.header_fmt(HeaderName::Expires, format_args!("{expires}"));
        }
        for (name, value) in self.authorization.fields() {
            builder.header(name, value);
        }
        match self.method {
            Method::Invite | Method::Update => {
                builder.header(HeaderName::Allow, ALLOW);
            }
            Method::Register => {
                // A proxy on the way may want to stay on it (RFC 3327 §5.1).
                builder.header(HeaderName::Supported, b"path");
            }
            Method::Options => {
                builder.header(HeaderName::Accept, SDP.as_bytes());
            }
            _ => {}
        }
        (self.more)(&mut builder);
        if !self.product.is_empty() {
            builder.named("User-Agent", self.product.as_bytes());
        }
        builder.finish(self.content_type, self.body)
    }
}

/// The same request by another transport: its topmost Via, which we wrote, names it.
pub(crate) fn over(request: Bytes, transport: Transport) -> Bytes {
    const LEAD: &[u8] = b"\r\nVia: SIP/2.0/";
    let line = request.iter().position(|&byte| byte == b'\r');
    let Some(start) = line.filter(|&at| request[at..].starts_with(LEAD)) else {
        return request;
    };
    let start = start + LEAD.len();
    let length = request[start..].iter().position(|&byte| byte == b' ');
    let end = start + length.unwrap_or(0);
    let token = transport.as_str().as_bytes();
    if request[start..end] == *token {
        return request;
    }
    Bytes::from([&request[..start], token, &request[end..]].concat())
}

/// The ACK to a refusal, over the same branch as the INVITE (RFC 3261 §17.1.1.3). Empty if the
/// INVITE, which we wrote, could not be read back.
pub(crate) fn ack_refusal(invite: &Bytes, refusal: &Message) -> Bytes {
    let Ok(invite) = Message::parse(invite.clone()) else {
        return Bytes::new();
    };
    same_branch(&invite, Method::Ack, refusal)
}

/// The CANCEL of an INVITE of ours (RFC 3261 §9.1).
pub(crate) fn cancel(invite: &Bytes) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    Some(same_branch(&invite, Method::Cancel, &invite))
}

/// A request that shares Request-URI, Via, From, Call-ID, CSeq number and Route with an INVITE.
fn same_branch(invite: &Message, method: Method, to: &Message) -> Bytes {
    let uri = invite
        .request_uri()
        .map(|uri| uri.as_bytes().to_vec())
        .unwrap_or_default();
    let number = invite
        .essentials()
        .map_or(0, |essentials| essentials.cseq.number);
    let mut builder = Builder::request(method, &uri);
    builder
        .copy(invite, HeaderName::Via)
        .copy(invite, HeaderName::Route)
        .header(HeaderName::MaxForwards, b"70")
        .copy(invite, HeaderName::From)
        .copy(to, HeaderName::To)
        .copy(invite, HeaderName::CallId)
        .header_fmt(
            HeaderName::CSeq,
            format_args!("{number} {}", method.as_str()),
        );
    builder.finish(SDP, b"")
}

fn routes(builder: &mut Builder, routes: &[Uri]) {
    for route in routes {
        let value = [b"<", route.as_bytes(), b">"].concat();
        builder.header(HeaderName::Route, &value);
    }
}

/// Starts the response to a request from `source`, with what every response copies (RFC 3261
/// §8.2.6); `tag` is added to a To that has none.
pub(crate) fn response(
    request: &Message,
    source: SocketAddr,
    code: u16,
    tag: Option<u64>,
) -> Builder {
    response_as(request, source, code, reason_phrase(code), tag)
}

/// Like [`response`], with a reason phrase; what the request lacks is left out.
pub(crate) fn response_as(
    request: &Message,
    source: SocketAddr,
    code: u16,
    reason: &str,
    tag: Option<u64>,
) -> Builder {
    let mut builder = Builder::response(code, reason);
    copy_vias(&mut builder, request, source);
    builder.copy(request, HeaderName::From);
    if let Some(to) = request.value(HeaderName::To) {
        match tag.filter(|_| !has_tag(request.as_bytes().slice_ref(to))) {
            Some(tag) => builder.header(HeaderName::To, &tagged(to, tag)),
            None => builder.header(HeaderName::To, to),
        };
    }
    builder
        .copy(request, HeaderName::CallId)
        .copy(request, HeaderName::CSeq);
    builder
}

fn has_tag(to: Bytes) -> bool {
    NameAddr::parse(HeaderName::To, to).is_ok_and(|address| address.tag().is_some())
}

/// Octets of a tag parameter of ours.
const TAG: usize = ";tag=0123456789abcdef".len();

/// A From or To value with our tag.
pub(crate) fn tagged(value: &[u8], tag: u64) -> Vec<u8> {
    let mut tagged = Vec::with_capacity(value.len() + TAG);
    tagged.extend_from_slice(value);
    // Writing to memory does not fail.
    let _ = write!(tagged, ";tag={tag:016x}");
    tagged
}

fn copy_vias(builder: &mut Builder, request: &Message, source: SocketAddr) {
    let mut values = request.values(HeaderName::Via);
    let Some(first) = values.next() else {
        return;
    };
    let mut elements = split_list(first);
    let mut top = Vec::with_capacity(first.len() + 48);
    if let Some(element) = elements.next() {
        match Via::parse(request.as_bytes().slice_ref(element)) {
            Ok(via) => via.write_received(source, &mut top),
            Err(_) => top.extend_from_slice(element),
        }
    }
    for element in elements {
        top.extend_from_slice(b", ");
        top.extend_from_slice(element);
    }
    builder.header(HeaderName::Via, &top);
    for value in values {
        builder.header(HeaderName::Via, value);
    }
}
