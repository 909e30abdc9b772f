//! A raw peer that calls one agent, message by message.

use callmeter_sip::message::{HeaderName, Message};

use super::{Net, Policy, config, header, kind, millis};

pub(crate) const PEER: &str = "192.0.2.50:5060";
pub(crate) const US: &str = "192.0.2.1:5060";
pub(crate) const CONTACT: &str = "Contact: <sip:p@192.0.2.50:5060>\r\n";

/// One agent with an endpoint `a`, and raw peers.
pub(crate) fn alone(policy: Policy) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, policy);
    net.endpoint(0, 1, config("sip:a@192.0.2.1"));
    net
}

/// A request of the raw peer.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) user: &'a str,
    pub(crate) branch: &'a str,
    pub(crate) to_tag: &'a str,
    pub(crate) cseq: u32,
    pub(crate) lines: &'a str,
    pub(crate) body: &'a str,
}

pub(crate) const ASK: Ask<'_> = Ask {
    method: "INVITE",
    user: "a",
    branch: "1",
    to_tag: "",
    cseq: 1,
    lines: "",
    body: "",
};

impl Ask<'_> {
    pub(crate) fn text(&self) -> String {
        let Self {
            method,
            user,
            branch,
            to_tag,
            cseq,
            lines,
            body,
        } = self;
        let tag = if to_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={to_tag}")
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} sip:{user}@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.50:5060;rport;branch=z9hG4bK{branch}\r\n\
             From: <sip:p@192.0.2.50>;tag=peer\r\nTo: <sip:{user}@192.0.2.1>{tag}\r\n\
             Call-ID: raw\r\nCSeq: {cseq} {method}\r\n{CONTACT}{lines}{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

pub(crate) fn ask(net: &mut Net, ask: &Ask<'_>) -> Vec<Message> {
    net.send_raw(PEER, US, &ask.text());
    net.run_for(millis(20));
    net.take_raw(PEER)
}

pub(crate) fn kinds(messages: &[Message]) -> Vec<String> {
    messages.iter().map(kind).collect()
}

pub(crate) fn to_tag(message: &Message) -> String {
    header(message, HeaderName::To)
        .split(";tag=")
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

/// Calls the agent and acknowledges its 200; returns its tag.
pub(crate) fn established(net: &mut Net) -> String {
    let got = ask(net, &Ask { body: "v=0", ..ASK });
    assert_eq!(kinds(&got), ["180 INVITE", "200 INVITE"]);
    let tag = to_tag(&got[1]);
    assert_eq!(to_tag(&got[0]), tag);
    ask(
        net,
        &Ask {
            method: "ACK",
            branch: "ack",
            to_tag: &tag,
            ..ASK
        },
    );
    tag
}
