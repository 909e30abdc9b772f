//! Dialogs (RFC 3261 §12): identifiers, sequence numbers, target and route set.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::flow::{Flow, Transport};
use crate::message::{Essentials, HeaderName, Message, ParseError, Uri};

#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: Bytes,
    pub(crate) remote_tag: Bytes,
    /// From of our requests, tag included.
    pub(crate) local: Bytes,
    /// To of our requests, tag included.
    pub(crate) remote: Bytes,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    target: Uri,
    routes: Vec<Uri>,
    /// The peer's address, and the transport of our own Contact.
    flow: Flow,
}

/// Where an in-dialog request goes (RFC 3261 §12.2.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    pub(crate) request_uri: Uri,
    pub(crate) routes: Vec<Uri>,
    pub(crate) destination: SocketAddr,
}

impl Dialog {
    /// The dialog a 2xx to our INVITE sets up. The route set is Record-Route in reverse (§12.1.2);
    /// an unreadable Record-Route or Contact counts as absent, since the 2xx must be acknowledged
    /// all the same.
    pub(crate) fn of_response(response: &Message, essentials: &Essentials, flow: Flow) -> Self {
        let mut routes = uris(response, HeaderName::RecordRoute).unwrap_or_default();
        routes.reverse();
        let contact = uris(response, HeaderName::Contact)
            .unwrap_or_default()
            .into_iter()
            .next();
        Self {
            call_id: essentials.call_id.clone(),
            remote_tag: essentials.to.tag().unwrap_or_default(),
            local: essentials.from.as_bytes().clone(),
            remote: essentials.to.as_bytes().clone(),
            local_cseq: essentials.cseq.number,
            remote_cseq: None,
            target: contact.unwrap_or_else(|| essentials.to.uri.clone()),
            routes,
            flow,
        }
    }

    /// The dialog an INVITE we answer sets up; `local` is its To with our tag. The route set is
    /// Record-Route in order (§12.1.1).
    pub(crate) fn of_request(
        request: &Message,
        essentials: &Essentials,
        local: Bytes,
        flow: Flow,
    ) -> Result<Self, ParseError> {
        let contact = uris(request, HeaderName::Contact)?.into_iter().next();
        Ok(Self {
            call_id: essentials.call_id.clone(),
            remote_tag: essentials.from.tag().unwrap_or_default(),
            local,
            remote: essentials.from.as_bytes().clone(),
            local_cseq: 0,
            remote_cseq: Some(essentials.cseq.number),
            target: contact.unwrap_or_else(|| essentials.from.uri.clone()),
            routes: uris(request, HeaderName::RecordRoute)?,
            flow,
        })
    }

    /// Takes the Contact of a target refresh request or its 2xx (§12.2).
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        let contact = uris(message, HeaderName::Contact)
            .ok()
            .and_then(|all| all.into_iter().next());
        if let Some(contact) = contact {
            self.target = contact;
        }
    }

    /// Whether a request within the dialog is in order; then its number is taken (§12.2.2).
    pub(crate) fn accept_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// Request-URI, Route set and next hop of a request, for loose and strict routers. A next hop
    /// that is named, not numbered, is taken to be the one the dialog was set up over. So is any over
    /// WebSocket, which has no other way than the connection there is (RFC 7118 §5): behind what ends
    /// its TLS the peer names an inner address.
    pub(crate) fn routing(&self) -> Routing {
        let next = self.routes.first().unwrap_or(&self.target);
        let named = match self.flow.transport {
            Transport::Ws | Transport::Wss => None,
            Transport::Udp | Transport::Tcp | Transport::Tls => next.socket_addr(),
        };
        let destination = named.unwrap_or(self.flow.remote);
        let (request_uri, routes) = match self.routes.split_first() {
            Some((first, rest)) if !first.is_loose_router() => {
                let routes = rest.iter().chain([&self.target]).cloned().collect();
                (first.clone(), routes)
            }
            _ => (self.target.clone(), self.routes.clone()),
        };
        Routing {
            request_uri,
            routes,
            destination,
        }
    }

    /// The flow of the dialog's requests: what came by UDP goes on by TCP where the next hop asks
    /// for it, as a proxy does that was reached by TCP for the size of an INVITE.
    pub(crate) fn request_flow(&self) -> Flow {
        let next = self.routes.first().unwrap_or(&self.target);
        let named = next.param("transport").and_then(Transport::parse);
        let transport = match (self.flow.transport, named) {
            (Transport::Udp, Some(Transport::Tcp)) => Transport::Tcp,
            (own, _) => own,
        };
        Flow {
            remote: self.routing().destination,
            transport,
            ..self.flow
        }
    }

    /// Whether requests go by proxies, not to the peer's own Contact.
    pub(crate) fn is_routed(&self) -> bool {
        !self.routes.is_empty()
    }
}

fn uris(message: &Message, header: HeaderName) -> Result<Vec<Uri>, ParseError> {
    Ok(message
        .addresses(header)?
        .into_iter()
        .map(|address| address.uri)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::LocalId;

    fn dialog(record_route: &str, contact: &str) -> Dialog {
        dialog_over(Transport::Udp, record_route, contact)
    }

    fn dialog_over(transport: Transport, record_route: &str, contact: &str) -> Dialog {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 5 INVITE\r\n{record_route}\
             Contact: {contact}\r\n\r\n"
        );
        let message = Message::parse(Bytes::from(text)).unwrap();
        let flow = Flow {
            local: LocalId(1),
            transport,
            remote: "192.0.2.9:5060".parse().unwrap(),
        };
        Dialog::of_response(&message, &message.essentials().unwrap(), flow)
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn without_route_the_contact_is_the_next_hop() {
        let routing = dialog("", "<sip:b@192.0.2.5:5070>").routing();
        assert_eq!(routing.request_uri, uri("sip:b@192.0.2.5:5070"));
        assert_eq!(routing.destination, "192.0.2.5:5070".parse().unwrap());
        assert_eq!(routing.routes, []);
    }

    #[test]
    fn a_named_next_hop_is_the_one_of_the_setup() {
        let routing = dialog("", "<sip:b@pc.example>").routing();
        assert_eq!(routing.destination, "192.0.2.9:5060".parse().unwrap());
    }

    /// RFC 7118 §5
    #[test]
    fn web_socket_is_left_for_no_address() {
        let inner = "<sip:b@10.0.0.5:8080;transport=ws>";
        let proxies = "Record-Route: <sip:10.0.0.2:8080;transport=ws;lr>\r\n";
        for transport in Transport::ALL {
            let own = matches!(transport, Transport::Ws | Transport::Wss);
            for (routes, given) in [("", "10.0.0.5:8080"), (proxies, "10.0.0.2:8080")] {
                let flow = dialog_over(transport, routes, inner).request_flow();
                let wanted = if own { "192.0.2.9:5060" } else { given };
                assert_eq!(flow.remote, wanted.parse().unwrap(), "{transport}");
                assert_eq!(flow.transport, transport);
            }
        }
    }

    #[test]
    fn loose_routes_are_reversed_for_the_caller() {
        let dialog = dialog(
            "Record-Route: <sip:192.0.2.2;lr>\r\nRecord-Route: <sip:192.0.2.1;lr>\r\n",
            "<sip:b@192.0.2.5>",
        );
        let routing = dialog.routing();
        assert_eq!(routing.request_uri, uri("sip:b@192.0.2.5"));
        assert_eq!(
            routing.routes,
            [uri("sip:192.0.2.1;lr"), uri("sip:192.0.2.2;lr")]
        );
        assert_eq!(routing.destination, "192.0.2.1:5060".parse().unwrap());
        assert!(dialog.is_routed());
    }

    /// RFC 3261 §12.2.1.1
    #[test]
    fn a_strict_router_gets_the_request_uri() {
        let dialog = dialog(
            "Record-Route: <sip:192.0.2.2;lr>, <sip:192.0.2.1>\r\n",
            "<sip:b@192.0.2.5>",
        );
        let routing = dialog.routing();
        assert_eq!(routing.request_uri, uri("sip:192.0.2.1"));
        assert_eq!(
            routing.routes,
            [uri("sip:192.0.2.2;lr"), uri("sip:b@192.0.2.5")]
        );
        assert_eq!(routing.destination, "192.0.2.1:5060".parse().unwrap());
    }

    #[test]
    fn sequence_numbers_only_grow() {
        let mut dialog = dialog("", "<sip:b@192.0.2.5>");
        assert!(dialog.accept_cseq(7));
        assert!(!dialog.accept_cseq(7));
        assert!(!dialog.accept_cseq(6));
        assert!(dialog.accept_cseq(9));
    }
}
