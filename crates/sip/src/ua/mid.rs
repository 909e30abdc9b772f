//! Requests of ours within a dialog, BYE aside: who waits for what, and what a response means to
//! the dialog (RFC 3261 §12.2.1).

mod asked;

use std::time::Instant;

use bytes::Bytes;

use super::auth::Challenged;
use super::call::{Call, State};
use super::endpoint::Endpoint;
use super::event::{CallKey, EndReason, MidTimes};
use super::offer::MAX_GLARES;
use super::refer::{Referral, Transfer};
use super::reliable::Provisionals;
use super::session::Session;
use super::{UaError, UserAgent};
use crate::compose::Draft;
use crate::flow::Flow;
use crate::message::{Builder, Essentials, Message, Method};
use crate::transaction::{ClientKey, Owner};

pub(super) use asked::{Asked, Purpose};

/// Most requests of one call that wait for their final response.
const MAX_ASKED: usize = 16;

/// What only calls that do more than INVITE and BYE have.
#[derive(Debug, Default)]
pub(super) struct Mid {
    /// Our requests that wait for their final response.
    pub(super) asked: Vec<Asked>,
    /// How often the offer that may be made again has met one of the peer; 0: none may.
    pub(super) met: u8,
    pub(super) session: Option<Session>,
    /// Callee: what is sent reliably before the final response.
    pub(super) provisionals: Option<Provisionals>,
    /// The longest Min-SE of the 422 we got, in seconds; 0 for none.
    pub(super) min_se: u32,
    /// The transfer we asked for.
    pub(super) transfer: Option<Transfer>,
    /// The transfer the peer asks for.
    pub(super) referral: Option<Referral>,
    /// CSeq number of the first REFER of the peer, whatever it was answered.
    pub(super) first_refer: Option<u32>,
    /// The session is over, the subscription of a transfer is not.
    pub(super) outlived: bool,
    /// Callee: the call this one replaces when it is answered.
    pub(super) replaces: Option<CallKey>,
    pub(super) times: MidTimes,
}

impl Mid {
    /// The transactions of the requests that wait.
    pub(super) fn keys(&self) -> impl Iterator<Item = ClientKey> {
        self.asked.iter().map(|asked| asked.key)
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let session = self.session.as_ref().map(Session::next);
        let provisional = self.provisionals.as_ref().and_then(Provisionals::next);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.until);
        let referral = self.referral.as_ref();
        let referral = referral.map(Referral::next);
        [session, provisional, transfer, referral]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the peer may ask for a transfer: there is none, or all has been said of the one before.
    pub(super) fn takes_refer(&self) -> bool {
        let referral = self.referral.as_ref();
        self.asked.len() < MAX_ASKED
            && referral.is_none_or(|referral| referral.notices.last_is_under_way())
    }

    pub(super) fn provisionals_mut(&mut self) -> &mut Provisionals {
        self.provisionals.get_or_insert_default()
    }
}

impl Call {
    /// Whether an INVITE or UPDATE of ours within the dialog waits for its final response.
    pub(super) fn is_offering(&self) -> bool {
        let mid = self.mid.as_ref();
        mid.is_some_and(|mid| mid.asked.iter().any(Asked::is_offer))
    }

    /// Whether an offer of either side waits for its answer, or a 2xx of ours for its ACK, so that
    /// no further offer may be sent (RFC 3261 §14.1, RFC 3311 §5.1).
    pub(super) fn is_negotiating(&self) -> bool {
        self.is_offering() || self.offer.is_some() || self.unacknowledged.is_some()
    }
}

impl UserAgent {
    /// Checks that a call stands and has room for one more request.
    pub(super) fn standing(&mut self, key: CallKey) -> Result<&mut Call, UaError> {
        let call = self.calls.get(&key).ok_or(UaError::UnknownCall(key))?;
        if !matches!(call.state, State::Up) {
            return Err(UaError::WrongState(key));
        }
        self.with_room(key)
    }

    /// Checks that a call has room for one more request.
    pub(super) fn with_room(&mut self, key: CallKey) -> Result<&mut Call, UaError> {
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        let waiting = call.mid.as_ref().map_or(0, |mid| mid.asked.len());
        if waiting >= MAX_ASKED {
            return Err(UaError::TooManyRequests(key));
        }
        Ok(call)
    }

    /// Puts a request on the wire, the first time or again, under a new number.
    pub(super) fn ask(&mut self, now: Instant, key: CallKey, mut asked: Asked) {
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        asked.key = client;
        if asked.peer.is_empty() {
            let call = self.calls.get(&key);
            asked.peer = call.and_then(Call::peer_tag).unwrap_or_default();
        }
        asked.authorization =
            self.authorization_within(key, &asked.peer, asked.method, &asked.body);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let endpoint = call.endpoint;
        let Some(dialog) = call.dialog_with_mut(&asked.peer) else {
            return;
        };
        dialog.local_cseq += 1;
        asked.cseq = dialog.local_cseq;
        let flow = dialog.request_flow();
        if let Some(message) = self.compose_asked(key, &asked) {
            let owner = (Owner::Within(key), endpoint);
            let request = (asked.method, message);
            self.transactions
                .start(&mut self.core, now, client, flow, request, owner);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.mid.get_or_insert_default().asked.push(asked);
        }
    }

    fn compose_asked(&self, key: CallKey, asked: &Asked) -> Option<Bytes> {
        let call = self.calls.get(&key)?;
        let dialog = call.dialog_with(&asked.peer)?;
        let routing = dialog.routing();
        let endpoint = call.endpoint.and_then(|key| self.endpoints.get(&key));
        let more = |builder: &mut Builder| {
            for (name, value) in &asked.lines {
                builder.header(*name, value);
            }
            if asked.is_offer() {
                self.write_session(call, builder);
            }
        };
        // INFO and PRACK do not refresh the target (RFC 6086 §4.2.1).
        let contact = match asked.method {
            Method::Info => None,
            _ => endpoint.map(Endpoint::contact_within),
        };
        let draft = Draft {
            method: asked.method,
            uri: &routing.request_uri,
            listener: &self.listeners.get(&call.local)?.listener,
            key: asked.key,
            routes: &routing.routes,
            from: &dialog.local,
            to: &dialog.remote,
            call_id: &dialog.call_id,
            cseq: asked.cseq,
            contact,
            expires: None,
            authorization: &asked.authorization,
            more: &more,
            product: &self.config.product,
            content_type: &asked.content_type,
            body: &asked.body,
        };
        Some(draft.compose())
    }

    /// A response to a request within a dialog.
    pub(super) fn on_asked_response(
        &mut self,
        now: Instant,
        key: CallKey,
        found: (ClientKey, Flow),
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) {
        let (client, flow) = found;
        if status < 200 {
            if essentials.cseq.method == Method::Invite {
                // Timer B has gone: a re-INVITE is not waited for longer than a call that rings.
                let until = now + self.config.ring_timeout;
                self.transactions.end_by(&mut self.core, client, until);
            }
            return;
        }
        let Some(mut asked) = self.take_asked(key, client) else {
            return;
        };
        let is_ok = status < 300;
        if is_ok && asked.is_offer() {
            let call = self.calls.get_mut(&key);
            if let Some(dialog) = call.and_then(|call| call.dialog_with_mut(&asked.peer)) {
                dialog.refresh_target(message);
            }
            if asked.method == Method::Invite {
                self.acknowledge(key, client, &asked, essentials);
            }
        }
        let ending = self
            .calls
            .get(&key)
            .is_none_or(|call| matches!(call.state, State::Ending { .. }));
        if ending && asked.is_of_session() {
            if asked.is_of_transfer() {
                self.on_asked_end(now, key, asked, Some((message, status)));
            }
            return;
        }
        if status == 401 || status == 407 {
            let challenged = Challenged {
                response: message,
                method: asked.method,
                destination: flow.remote,
            };
            if self.challenged_within(key, &asked.peer, &challenged, &mut asked.retries) {
                if !self.puts_off(key, &asked) {
                    self.ask(now, key, asked);
                }
                return;
            }
        }
        if status == 422 && asked.glares < MAX_GLARES && self.takes_longer_session(key, message) {
            asked.glares += 1;
            self.ask(now, key, asked);
            return;
        }
        if is_ok {
            self.accepted_within(key, asked.method, flow.remote, message);
            if asked.is_offer() {
                self.session_of_2xx(now, key, message, false);
            }
        }
        let loses = self.stands(key) && asked.is_of_session();
        self.on_asked_end(now, key, asked, Some((message, status)));
        if loses && (status == 408 || status == 481) {
            self.lose_dialog(now, key);
        }
        self.arm(key);
    }

    /// No final response to a request within a dialog: the dialog is gone (RFC 3261 §12.2.1.2).
    pub(super) fn on_asked_timeout(&mut self, now: Instant, key: CallKey, client: ClientKey) {
        let Some(asked) = self.take_asked(key, client) else {
            return;
        };
        let call = self.calls.get(&key);
        let ending = call.is_none_or(|call| matches!(call.state, State::Ending { .. }));
        if !ending || asked.is_of_transfer() {
            let loses = self.stands(key) && asked.is_of_session();
            self.on_asked_end(now, key, asked, None);
            if loses {
                self.lose_dialog(now, key);
            }
        }
    }

    /// Whether a call stands. One that rings is ended by its INVITE alone, even if the end of an
    /// UPDATE lets its 2xx go.
    fn stands(&self, key: CallKey) -> bool {
        let call = self.calls.get(&key);
        call.is_some_and(|call| matches!(call.state, State::Up))
    }

    fn take_asked(&mut self, key: CallKey, client: ClientKey) -> Option<Asked> {
        let mid = self.calls.get_mut(&key)?.mid.as_mut()?;
        let index = mid.asked.iter().position(|asked| asked.key == client)?;
        Some(mid.asked.swap_remove(index))
    }

    /// The final response, or none in time, to whom it is for.
    pub(super) fn on_asked_end(
        &mut self,
        now: Instant,
        key: CallKey,
        asked: Asked,
        response: Option<(&Message, u16)>,
    ) {
        let code = response.map(|(_, status)| status);
        match asked.purpose {
            Purpose::Offer => self.on_offer_end(now, key, asked, response),
            Purpose::Refresh => self.on_refresh_end(now, key, &asked, response),
            Purpose::Refer => self.on_refer_end(now, key, code),
            Purpose::Notify { refer } => self.on_notify_end(now, key, refer, response),
            Purpose::Info => self.on_info_end(now, key, code),
        }
    }

    /// Acknowledges the 2xx to a re-INVITE of ours.
    fn acknowledge(
        &mut self,
        key: CallKey,
        client: ClientKey,
        asked: &Asked,
        essentials: &Essentials,
    ) {
        let ack_key = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let endpoint = self.calls.get(&key).and_then(|call| call.endpoint);
        let ack = self.compose_within(key, Method::Ack, ack_key, asked.cseq, &asked.authorization);
        if let Some((flow, ack)) = ack {
            let tag = essentials.to.tag().unwrap_or_default();
            self.transactions
                .acknowledge(&mut self.core, client, tag, (flow, ack), endpoint);
        }
    }

    /// The peer knows nothing of the dialog, or does not answer: a call that stands ends.
    fn lose_dialog(&mut self, now: Instant, key: CallKey) {
        if self.stands(key) {
            self.send_bye(now, key, EndReason::DialogLost);
        }
    }

    /// Does what is due of the call's timer.
    pub(super) fn on_mid_timer(&mut self, now: Instant, key: CallKey) {
        self.on_session_timer(now, key);
        self.on_provisional_timer(now, key);
        self.on_refer_timer(now, key);
    }
}
