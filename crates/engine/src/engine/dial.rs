//! Outgoing calls, from the plan to the answer.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use callmeter_sip::message::Scheme;
use callmeter_sip::sdp;
use callmeter_sip::{Host, Invite, Listener, Transport, Uri};

use super::Engine;
use crate::assign::ShareId;
use crate::call::{Call, Hop, Stage as CallStage, Target};
use crate::endpoint::Life;
use crate::event::{Outcome, Phase, What};
use crate::load::Load;
use crate::media::StreamId;
use crate::share::{Share, Stage, Waiter};

impl Engine {
    /// Sets the timer of an endpoint's next call, once it is ready, idle and the run has started.
    /// While its registration is lost the timer is for taking that up again.
    pub(super) fn plan_dial(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        if share.stage != Stage::Running {
            return;
        }
        let register = share.assign.registrar.register;
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        if register && !endpoint.registered {
            return;
        }
        if endpoint.life != Life::Ready || endpoint.dialled_out || endpoint.current.is_some() {
            return;
        }
        let repeats = endpoint.repeats;
        let Some(at) = endpoint.dial_at else { return };
        let at = at.max(now);
        // By its plan a repeated call fits in; a lost registration or a call to the endpoint may
        // have put it off since. Those in line are judged at their turn.
        let put_off = repeats && matches!(share.assign.load, Load::Offsets) && !share.fits(at);
        match share.slot(index, at).filter(|_| !put_off) {
            Some(at) => self.set_endpoint_timer(id, index, Some(at)),
            None => self.dial_no_more(now, id, index),
        }
    }

    /// The endpoint places no more calls: it is done, unless it takes some.
    pub(super) fn dial_no_more(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let only_calls = !share.assign.role.answers();
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.dialled_out = true;
        if only_calls && endpoint.current.is_none() {
            self.end_endpoint(now, id, index);
        }
    }

    /// Places the next call of an endpoint, or has it wait for its turn.
    pub(super) fn dial(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        if !share.may_dial(index) {
            return;
        }
        match &mut share.line {
            Some(line) => {
                line.join(index);
                self.call_next(now, id);
            }
            None => self.call_peer(now, id, index),
        }
    }

    /// Places a call of an endpoint to its peer.
    pub(super) fn call_peer(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        let peer = endpoint.peer.clone();
        if peer.is_empty() {
            let reason = "not dialled: its callee has failed or none was given";
            self.refuse_dial(now, id, index, reason);
            return;
        }
        // The end of this call says when the next one is due.
        endpoint.dial_at = None;
        match peer.parse::<Uri>() {
            Ok(uri) => {
                let placed = self.place(now, id, index, uri);
                let share = self.shares.get_mut(&id);
                if let (Some(stream), Some(line)) = (placed, share.and_then(|s| s.line.as_mut())) {
                    line.placed(index, stream);
                }
            }
            Err(error) => {
                self.refuse_dial(now, id, index, &format!("not dialled: {peer}: {error}"));
            }
        }
    }

    /// Opens a call of an endpoint to somebody.
    pub(super) fn place(
        &mut self,
        now: Instant,
        id: ShareId,
        index: u32,
        uri: Uri,
    ) -> Option<StreamId> {
        let share = self.shares.get_mut(&id)?;
        let target = target(share, uri);
        share.take_idle(index);
        let stream = self.open_call(now, id, index)?;
        let name = match (target.hop, target.uri.host()) {
            (Hop::Unresolved { .. }, name @ Host::Name(_)) => Some(name.to_string()),
            _ => None,
        };
        if let Some(call) = self.calls.get_mut(&stream) {
            call.outgoing = true;
            call.target = Some(target);
        }
        if let Some(name) = name {
            self.resolve(now, id, &name, Waiter::Call(stream));
        }
        Some(stream)
    }

    /// A call that cannot even be placed counts as failed; there is no point in repeating it.
    fn refuse_dial(&mut self, now: Instant, id: ShareId, index: u32, reason: &str) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        share.outcomes[Outcome::CallFailed.index()] += 1;
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.last_call += 1;
        endpoint.dialled_out = true;
        endpoint.verdict.raise(Outcome::CallFailed, reason);
        let number = endpoint.last_call;
        let ended = What::CallEnded {
            outcome: Outcome::CallFailed,
            sip_status: None,
            detail: reason.to_owned(),
            outgoing: true,
            completed: false,
        };
        self.emit(now, id, index, number, ended);
        self.after_call(now, id, index);
    }

    /// Sends the INVITE once ports are bound and the first hop is known.
    pub(super) fn try_invite(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let Some(target) = call.target.clone() else {
            return;
        };
        let next_hop = match target.hop {
            Hop::Configured => None,
            Hop::Direct(address) => Some(address),
            Hop::Unresolved { .. } => return,
        };
        let Some(local) = call.local_audio(&share.assign) else {
            return;
        };
        if call.stage != CallStage::Preparing {
            return;
        }
        let own = share.assign.listener_of(call.endpoint);
        if let Some(Err(reason)) = next_hop.map(|to| check_straight(&target.uri, to, own)) {
            self.raise(stream, Outcome::CallFailed, &reason);
            self.abandon(now, stream);
            return;
        }
        call.stage = CallStage::Inviting;
        let key = share.endpoints[call.endpoint as usize].key;
        let replaces = call.replaces.take();
        self.set_call_timer(stream, None);
        self.enter(now, stream, Phase::Calling);
        let invite = Invite {
            target: target.uri,
            next_hop,
            body: sdp::offer(&local),
        };
        let placed = match replaces {
            Some(replaces) => self.ua.invite_replacing(now, key, invite, *replaces),
            None => self.ua.invite(now, key, invite),
        };
        match placed {
            Ok(key) => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.key = Some(key);
                }
                self.by_key.insert(key, stream);
            }
            Err(error) => {
                self.raise(
                    stream,
                    Outcome::CallFailed,
                    &format!("not dialled: {error}"),
                );
                self.abandon(now, stream);
            }
        }
    }

    pub(super) fn progress(&mut self, now: Instant, stream: StreamId, code: u16, body: &Bytes) {
        if code == 180 {
            self.enter(now, stream, Phase::Ringing);
        }
        if code > 100 {
            self.beside_progress(now, stream, code);
        }
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        if body.is_empty() || call.negotiated.is_some() {
            return;
        }
        // Early media: hear it, say nothing before the answer. A bad answer shows up again in the
        // final one.
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let local = call.local_audio(&share.assign);
        if let Some(Ok(negotiated)) = local.map(|local| sdp::accept(body, &local)) {
            self.start_stream(stream, negotiated, false);
        }
    }

    /// Caller: the far end answered.
    pub(super) fn answered(&mut self, now: Instant, stream: StreamId, at: Instant, body: &Bytes) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        if call.stage != CallStage::Inviting {
            return;
        }
        call.stage = CallStage::Established;
        let hang_up_at = at + share.assign.call.duration;
        let early = call.negotiated.filter(|_| body.is_empty());
        let local = call.local_audio(&share.assign);
        self.enter(now, stream, Phase::Negotiating);
        let agreed = match (early, local) {
            (Some(early), _) => Ok(early),
            (None, Some(local)) => sdp::accept(body, &local).map_err(|error| error.to_string()),
            (None, None) => Err("no media port".to_owned()),
        };
        match agreed {
            Ok(negotiated) => {
                self.start_stream(stream, negotiated, true);
                self.enter(now, stream, Phase::InCall);
                self.set_call_timer(stream, Some(hang_up_at));
                self.begin_script(now, stream);
                self.beside_answered(now, stream);
            }
            Err(reason) => {
                self.raise(stream, Outcome::NegotiationFailed, &reason);
                self.hang_up(now, stream);
            }
        }
    }

    /// Ends a call that has no signalling (yet).
    pub(super) fn abandon(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if call.key.is_some() || matches!(call.stage, CallStage::Lingering | CallStage::Removing) {
            return;
        }
        call.ended_at = Some(now);
        self.release(now, stream);
        self.remove_stream(now, stream);
    }

    /// The endpoint of a call whose signalling is over is idle again.
    pub(super) fn release(&mut self, now: Instant, stream: StreamId) {
        let Some(&Call {
            share: id,
            endpoint: index,
            ..
        }) = self.calls.get(&stream)
        else {
            return;
        };
        self.one_of_two_over(now, stream);
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        if endpoint.beside == Some(stream) {
            endpoint.beside = None;
        } else if endpoint.current == Some(stream) {
            endpoint.current = endpoint.beside.take();
            if endpoint.current.is_none() {
                share.make_idle(now, index);
                if let Some(line) = &mut share.line {
                    line.in_call(index, false);
                }
            }
        }
        self.turn_over(now, id, stream);
    }
}

/// Whether a call may go straight to an address: one it can reach, and `sips:` not in the clear (RFC
/// 3261 §19.1), whoever has named it.
fn check_straight(uri: &Uri, to: SocketAddr, own: &Listener) -> Result<(), String> {
    if let Host::Ip(ip) = &own.advertised_host
        && ip.is_ipv4() != to.is_ipv4()
    {
        let to = to.ip();
        return Err(format!(
            "not dialled: {to} is not of the IP version of SIP_IP"
        ));
    }
    let secure = matches!(own.transport, Transport::Tls | Transport::Wss);
    if uri.scheme() == Scheme::Sips && !secure {
        let by = own.transport;
        return Err(format!(
            "not dialled: {uri} goes by TLS or WSS, not by {by}"
        ));
    }
    Ok(())
}

/// Where a call to `uri` goes first: through the registrar or proxy the endpoints are configured
/// with, if the call is theirs; else straight to the host of the URI.
fn target(share: &Share, uri: Uri) -> Target {
    let registrar = &share.assign.registrar;
    let domain = Host::parse(Bytes::copy_from_slice(registrar.domain.as_bytes()));
    let at_registrar = domain.is_ok_and(|domain| domain.same(uri.host()));
    let configured = !registrar.outbound_proxy.is_empty() || registrar.register || at_registrar;
    let hop = if configured {
        Hop::Configured
    } else {
        let port = uri
            .port()
            .unwrap_or_else(|| registrar.transport.default_port());
        match uri.host() {
            Host::Ip(ip) => Hop::Direct(SocketAddr::new(*ip, port)),
            Host::Name(_) => Hop::Unresolved { port },
        }
    };
    Target { uri, hop }
}
