//! The scenario of a call: its steps, from their moment to their end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::sdp::{self, Negotiated};
use callmeter_sip::{OfferBy, Registration, UaError, Uri};

use super::Engine;
use crate::assign::ShareId;
use crate::call::{Call, Change, OwnOffer, Purpose, Script, Stage as CallStage};
use crate::endpoint::Life;
use crate::media::StreamId;
use crate::scenario::{Action, Event, Tally};
use crate::share::Share;
use crate::timers::Timer;

/// How long an offer waits for one of the far end to be over.
const OFFER_AGAIN: Duration = Duration::from_millis(200);

impl Engine {
    /// The call is established: its scenario begins.
    pub(super) fn begin_script(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let scripted = self
            .shares
            .get(&call.share)
            .is_some_and(|share| !share.assign.scenario.is_empty());
        if scripted && call.script.is_none() && call.purpose == Purpose::Plan {
            call.script = Some(Box::new(Script::new(now)));
            self.run_script(now, stream);
        }
    }

    /// Something happened that steps may wait for.
    pub(super) fn script_event(&mut self, now: Instant, stream: StreamId, event: Event) {
        let Some((share, script)) = script(&self.shares, &mut self.calls, stream) else {
            return;
        };
        script.progress.happened(&share.assign.scenario, event);
        self.run_script(now, stream);
    }

    /// Starts the steps that are due.
    pub(super) fn run_script(&mut self, now: Instant, stream: StreamId) {
        self.offer_again(now, stream);
        loop {
            let stands = |call: &Call| call.stage == CallStage::Established;
            if !self.calls.get(&stream).is_some_and(stands) {
                return;
            }
            let Some((share, script)) = script(&self.shares, &mut self.calls, stream) else {
                return;
            };
            let Some(action) = script.progress.poll(&share.assign.scenario, now) else {
                break;
            };
            let action = action.clone();
            if let Some(executed) = self.start_action(now, stream, &action) {
                self.step_ended(stream, executed);
            }
        }
        self.count_steps(stream);
        let Some((share, script)) = script(&self.shares, &mut self.calls, stream) else {
            return;
        };
        let next = script.progress.next_timeout(&share.assign.scenario);
        let again = script.again.map(|(at, _)| at);
        let next = next.into_iter().chain(again).min();
        let held = std::mem::replace(&mut script.timer, next);
        let id = share.assign.share;
        self.timers.cancel(held, id, Timer::Script(stream));
        if let Some(at) = next {
            self.timers.set(at, id, Timer::Script(stream));
        }
    }

    /// Starts an action; whether it was executed if it is over at once.
    fn start_action(&mut self, now: Instant, stream: StreamId, action: &Action) -> Option<bool> {
        match action {
            Action::Hold => self.offer(now, stream, Change::Hold.into()),
            Action::Resume => self.offer(now, stream, Change::Resume.into()),
            Action::MediaUpdate => self.offer(now, stream, Change::Update.into()),
            Action::SendDtmf(digits) => {
                self.calls.get_mut(&stream)?.start_digits(digits);
                self.send_digits(now, stream)
            }
            Action::ReRegister => self.register_again(now, stream),
            Action::Transfer { to, attended } => self.transfer(now, stream, to, *attended),
            Action::HangUp => {
                self.step_ended(stream, true);
                self.hang_up(now, stream);
                None
            }
        }
    }

    /// The step in progress has ended; the next may start.
    pub(super) fn step_over(&mut self, now: Instant, stream: StreamId, executed: bool) {
        self.step_ended(stream, executed);
        self.run_script(now, stream);
    }

    pub(super) fn step_ended(&mut self, stream: StreamId, executed: bool) {
        if let Some((share, script)) = script(&self.shares, &mut self.calls, stream) {
            script.progress.finished(&share.assign.scenario, executed);
        }
    }

    /// The call is over: what has not run has failed.
    pub(super) fn end_script(&mut self, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(share) = self.shares.get_mut(&call.share) else {
            return;
        };
        if share.assign.scenario.is_empty() || call.purpose != Purpose::Plan {
            return;
        }
        if let Some(script) = call.script.as_deref_mut() {
            script.progress.close(&share.assign.scenario);
            let held = script.timer.take();
            self.timers.cancel(held, call.share, Timer::Script(stream));
            self.count_steps(stream);
        } else {
            let none = Tally::none_ran(&share.assign.scenario);
            if let Some(endpoint) = share.endpoint(call.endpoint) {
                endpoint.counts.steps += none;
            }
        }
    }

    fn count_steps(&mut self, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(script) = call.script.as_deref_mut() else {
            return;
        };
        let tally = script.progress.take_tally();
        let endpoint = self
            .shares
            .get_mut(&call.share)
            .and_then(|share| share.endpoint(call.endpoint));
        if let Some(endpoint) = endpoint {
            endpoint.counts.steps += tally;
        }
    }

    /// Offers a change of the media by a re-INVITE, from the session as it is now.
    fn offer(&mut self, now: Instant, stream: StreamId, offer: OwnOffer) -> Option<bool> {
        let call = self.calls.get_mut(&stream)?;
        let share = self.shares.get(&call.share)?;
        let local = call.changed_audio(&share.assign, offer.change);
        let (Some(key), Some(mut local)) = (call.key, local) else {
            return Some(false);
        };
        local.session_version += 1;
        let script = call.script.as_deref_mut()?;
        script.again = None;
        let body = sdp::offer(&local);
        let made = match offer.made {
            None => self.ua.offer(now, key, body, OfferBy::Invite),
            Some(_) => self.ua.offer_again(now, key, body, OfferBy::Invite),
        };
        match made {
            Ok(()) => {
                call.session_version = local.session_version;
                let made = offer.made.or(Some(now));
                script.offered = Some(OwnOffer { made, ..offer });
                None
            }
            // One of the far end is not acknowledged yet, or one of ours that was given up is not
            // answered.
            Err(UaError::OfferPending(_)) => {
                script.again = Some((now + OFFER_AGAIN, offer));
                None
            }
            Err(_) => Some(false),
        }
    }

    /// Makes the offer that had to wait, if its step has not been given up.
    fn offer_again(&mut self, now: Instant, stream: StreamId) {
        let Some((_, script)) = script(&self.shares, &mut self.calls, stream) else {
            return;
        };
        let Some((_, offer)) = script.again.take_if(|(at, _)| *at <= now) else {
            return;
        };
        if self.running(stream).is_some_and(changes_media)
            && let Some(executed) = self.offer(now, stream, offer)
        {
            self.step_ended(stream, executed);
        }
    }

    /// The far end answered our offer: what it agreed to holds from now on.
    pub(super) fn offer_answered(&mut self, now: Instant, stream: StreamId, body: &Bytes) {
        let Some(OwnOffer { change, made }) = self.take_offer(stream) else {
            return;
        };
        let Some(agreed) = self.accept_change(stream, change, body) else {
            self.end_offer(now, stream, false);
            return;
        };
        self.start_stream(stream, agreed, true);
        if let Some(call) = self.calls.get_mut(&stream) {
            call.holds = change.holds(call.holds);
            let took = now.saturating_duration_since(made.unwrap_or(now));
            if let Some(script) = call.script.as_deref_mut() {
                match change {
                    Change::Hold => _ = script.hold_delay.get_or_insert(took),
                    Change::Resume => _ = script.resume_delay.get_or_insert(took),
                    Change::Update => {}
                }
            }
            let (share, index) = (call.share, call.endpoint);
            if change == Change::Hold
                && let Some(endpoint) = self.endpoint(share, index)
            {
                endpoint.counts.holds_sent += 1;
            }
        }
        self.end_offer(now, stream, true);
    }

    pub(super) fn offer_refused(&mut self, now: Instant, stream: StreamId) {
        if self.take_offer(stream).is_some() {
            self.end_offer(now, stream, false);
        }
    }

    /// Our offer met one of the far end: it is made again later, unless its step is given up.
    pub(super) fn offer_met(&mut self, now: Instant, stream: StreamId, wait: Duration) {
        let Some(offer) = self.take_offer(stream) else {
            return;
        };
        if let Some((_, script)) = script(&self.shares, &mut self.calls, stream) {
            // What waits already is of the step that came after.
            script.again.get_or_insert((now + wait, offer));
        }
        self.run_script(now, stream);
    }

    fn take_offer(&mut self, stream: StreamId) -> Option<OwnOffer> {
        let call = self.calls.get_mut(&stream)?;
        call.script.as_deref_mut()?.offered.take()
    }

    fn accept_change(&self, stream: StreamId, change: Change, body: &Bytes) -> Option<Negotiated> {
        let call = self.calls.get(&stream)?;
        let local = call.changed_audio(&self.shares.get(&call.share)?.assign, change)?;
        sdp::accept(body, &local).ok()
    }

    /// Ends the step of an offer, unless it was given up waiting for: the offer of the step that
    /// came after waits for the end of this one.
    fn end_offer(&mut self, now: Instant, stream: StreamId, executed: bool) {
        let waits = script(&self.shares, &mut self.calls, stream)
            .is_some_and(|(_, script)| script.again.is_some());
        if !waits && self.running(stream).is_some_and(changes_media) {
            self.step_over(now, stream, executed);
        }
    }

    pub(super) fn running(&mut self, stream: StreamId) -> Option<&Action> {
        let (share, script) = script(&self.shares, &mut self.calls, stream)?;
        script.progress.running(&share.assign.scenario)
    }

    fn register_again(&mut self, now: Instant, stream: StreamId) -> Option<bool> {
        let (id, index) = self.calls.get(&stream).map(|c| (c.share, c.endpoint))?;
        let registrar = &self.shares.get(&id)?.assign.registrar;
        let expires = registrar.expires;
        let Ok(uri) = format!("sip:{}", registrar.domain).parse::<Uri>() else {
            return Some(false);
        };
        let endpoint = self.endpoint(id, index)?;
        endpoint.registers_for = Some(stream);
        if endpoint.life == Life::Ready && !endpoint.registered {
            endpoint.life = Life::Registering;
        }
        let key = endpoint.key;
        let registration = Registration {
            registrar: uri,
            expires,
        };
        // An attempt that was due to get a lost registration back: this is one. A dial is planned
        // after the call.
        self.set_endpoint_timer(id, index, None);
        // Refused only while a REGISTER is under way: its end is ours, too.
        let _ = self.ua.register(now, key, registration);
        None
    }

    /// A REGISTER of the endpoint ended: a step may have waited for it.
    pub(super) fn registration_over(
        &mut self,
        now: Instant,
        id: ShareId,
        index: u32,
        accepted: bool,
    ) {
        let waiting = self
            .endpoint(id, index)
            .and_then(|endpoint| endpoint.registers_for.take());
        let Some(stream) = waiting else { return };
        if self.running(stream) == Some(&Action::ReRegister) {
            self.step_over(now, stream, accepted);
        }
    }
}

fn changes_media(action: &Action) -> bool {
    matches!(action, Action::Hold | Action::Resume | Action::MediaUpdate)
}

/// The scenario's state of a call, and its share.
fn script<'a>(
    shares: &'a std::collections::BTreeMap<ShareId, Share>,
    calls: &'a mut callmeter_sip::OwnMap<StreamId, Call>,
    stream: StreamId,
) -> Option<(&'a Share, &'a mut Script)> {
    let call = calls.get_mut(&stream)?;
    let share = shares.get(&call.share)?;
    Some((share, call.script.as_deref_mut()?))
}
