//! Transfers: the second calls they lead to, at the side that asks and at the side that is asked
//! (RFC 3515, RFC 3891, RFC 5589).

use std::time::Instant;

use callmeter_sip::{Refer, Replaces, Uri};

use super::Engine;
use crate::call::{Call, Purpose, Stage as CallStage};
use crate::media::StreamId;
use crate::scenario::Action;
use crate::share::Stage;

impl Engine {
    /// Sends the far end to another party; an attended transfer calls that party first.
    pub(super) fn transfer(
        &mut self,
        now: Instant,
        stream: StreamId,
        to: &Uri,
        attended: bool,
    ) -> Option<bool> {
        if attended {
            let consulted = self.call_beside(now, stream, to.clone(), Purpose::Consult(stream));
            return consulted.is_none().then_some(false);
        }
        let refer = Refer {
            to: to.clone(),
            replaces: None,
        };
        let key = self.calls.get(&stream)?.key;
        let asked = key.map(|key| self.ua.refer(now, key, &refer));
        (!matches!(asked, Some(Ok(())))).then_some(false)
    }

    /// A second call of the endpoint of `stream`, while that one lasts.
    fn call_beside(
        &mut self,
        now: Instant,
        stream: StreamId,
        to: Uri,
        purpose: Purpose,
    ) -> Option<StreamId> {
        let (id, index) = self.calls.get(&stream).map(|c| (c.share, c.endpoint))?;
        let share = self.shares.get_mut(&id)?;
        let running = matches!(share.stage, Stage::Assigned | Stage::Running);
        let endpoint = share.endpoint(index)?;
        if !running || endpoint.beside.is_some() {
            return None;
        }
        let beside = self.place(now, id, index, to)?;
        let endpoint = self.endpoint(id, index)?;
        endpoint.beside = Some(beside);
        endpoint.current = Some(stream);
        self.calls.get_mut(&beside)?.purpose = purpose;
        Some(beside)
    }

    /// A second call was answered: the other party is asked to replace it, or told of it.
    pub(super) fn beside_answered(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        match call.purpose {
            Purpose::Plan | Purpose::Replacement => {}
            Purpose::Referred(first) => self.tell(now, first, 200, true),
            Purpose::Consult(first) => {
                let target = call.target.as_ref().map(|target| target.uri.clone());
                let replaces = call.key;
                let key = self.calls.get(&first).and_then(|first| first.key);
                let asked = target.zip(key).map(|(to, key)| {
                    let refer = Refer { to, replaces };
                    self.ua.refer(now, key, &refer)
                });
                if !matches!(asked, Some(Ok(()))) {
                    self.transfer_over(now, first, false);
                }
            }
        }
    }

    /// A second call rings or is trying: the side that asked for it is told.
    pub(super) fn beside_progress(&mut self, now: Instant, stream: StreamId, code: u16) {
        if let Some(&Call {
            purpose: Purpose::Referred(first),
            ..
        }) = self.calls.get(&stream)
        {
            self.tell(now, first, code, false);
        }
    }

    /// The signalling of a call of an endpoint with two of them is over.
    pub(super) fn one_of_two_over(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        let end = call.end.as_ref();
        let answered = end.is_some_and(|end| end.times.answered.is_some());
        let status = end.and_then(|end| end.status).unwrap_or(503);
        match call.purpose {
            Purpose::Referred(first) if !answered => self.tell(now, first, status, true),
            Purpose::Consult(first) if !answered => self.transfer_over(now, first, false),
            _ => {}
        }
        // A party that was only consulted is of no use when the call is gone.
        let purpose = |beside: &StreamId| self.calls.get(beside).map(|call| call.purpose);
        let consulted = self
            .beside(stream)
            .filter(|beside| purpose(beside) == Some(Purpose::Consult(stream)));
        if let Some(beside) = consulted {
            self.hang_up(now, beside);
        }
    }

    /// The second call of the endpoint of a call, while its signalling lasts.
    fn beside(&self, stream: StreamId) -> Option<StreamId> {
        let call = self.calls.get(&stream)?;
        let share = self.shares.get(&call.share)?;
        let beside = share.endpoints.get(call.endpoint as usize)?.beside?;
        let lasts = self.calls.get(&beside)?.ended_at.is_none();
        lasts.then_some(beside)
    }

    fn tell(&mut self, now: Instant, first: StreamId, code: u16, last: bool) {
        if let Some(key) = self.calls.get(&first).and_then(|call| call.key) {
            // Refused only if the call or the subscription has ended: nobody is to be told.
            let _ = self.ua.notify_refer(now, key, code, last);
        }
    }

    /// The far end asks for a transfer: it gets a second call of ours, 486 if there is one, or 603
    /// if the test does not want it (RFC 3515 §2.4.2).
    pub(super) fn referred(
        &mut self,
        now: Instant,
        stream: StreamId,
        to: Uri,
        replaces: Option<Replaces>,
    ) {
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        let Some(key) = call.key else { return };
        let share = self.shares.get(&call.share);
        if !share.is_some_and(|share| share.assign.accept_transfers) {
            // Refused only if the call has ended meanwhile.
            let _ = self.ua.reject_refer(now, key, 603);
            return;
        }
        let stands = call.stage == CallStage::Established;
        let purpose = Purpose::Referred(stream);
        let beside = if stands {
            self.call_beside(now, stream, to, purpose)
        } else {
            None
        };
        // Refused only if the call ends meanwhile: then the second call has no one to be told of.
        let Some(beside) = beside else {
            let _ = self.ua.reject_refer(now, key, 486);
            return;
        };
        if let Some(call) = self.calls.get_mut(&beside) {
            call.replaces = replaces.map(Box::new);
        }
        let _ = self.ua.accept_refer(now, key);
    }

    pub(super) fn refer_answered(&mut self, now: Instant, stream: StreamId, code: Option<u16>) {
        if !code.is_some_and(|code| (200..300).contains(&code)) {
            self.transfer_over(now, stream, false);
        }
    }

    /// What the far end says of the transfer; who asked for it hangs up when it has worked.
    pub(super) fn transfer_progress(
        &mut self,
        now: Instant,
        stream: StreamId,
        code: Option<u16>,
        last: bool,
    ) {
        if last {
            let worked = code.is_some_and(|code| (200..300).contains(&code));
            self.transfer_over(now, stream, worked);
        }
    }

    fn transfer_over(&mut self, now: Instant, stream: StreamId, worked: bool) {
        let transfers = |action: &Action| matches!(action, Action::Transfer { .. });
        if !self.running(stream).is_some_and(transfers) {
            return;
        }
        if worked {
            self.step_ended(stream, true);
            self.hang_up(now, stream);
        } else {
            self.step_ended(stream, false);
            if let Some(beside) = self.beside(stream) {
                self.hang_up(now, beside);
            }
            self.run_script(now, stream);
        }
    }
}
