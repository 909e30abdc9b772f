//! What the branches of a forking proxy say before one of them answers (RFC 3261 §13.2.2.1), and
//! UPDATE in their early dialogs (RFC 3311 §5).

use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::call::{Call, Outgoing, State};
use super::event::{CallEvent, CallKey};
use super::mid::Asked;
use super::prack::Prack;
use crate::dialog::Dialog;
use crate::message::{Essentials, Message};
use crate::transaction::LIFETIME;

/// Most branches of one INVITE whose early media is kept.
const MAX_EARLY: usize = 16;

/// An early dialog of the caller: one with reliable responses, or whose peer takes UPDATE.
#[derive(Debug)]
pub(super) struct EarlyDialog {
    pub(super) dialog: Dialog,
    /// RSeq of the last reliable response taken.
    pub(super) rseq: Option<u32>,
    /// Our last PRACK.
    pub(super) prack: Option<Prack>,
    /// Whether a reliable response had SDP: the answer to the offer of the INVITE.
    pub(super) answered: bool,
    /// Whether our last PRACK was accepted.
    pub(super) pracked: bool,
    /// Whether the peer's Allow has UPDATE.
    pub(super) updates: bool,
    /// Our session description, once an UPDATE changed it.
    pub(super) changed: Option<Bytes>,
}

impl EarlyDialog {
    pub(super) fn new(dialog: Dialog) -> Self {
        Self {
            dialog,
            rseq: None,
            prack: None,
            answered: false,
            pracked: false,
            updates: false,
            changed: None,
        }
    }

    /// Whether an UPDATE of ours may offer a change: the session is agreed on, and the peer knows
    /// that we know (RFC 3311 §5.1).
    fn takes_offers(&self) -> bool {
        self.answered && self.pracked && self.updates
    }
}

impl Outgoing {
    /// Takes what a provisional response says in the early dialog of its To tag; 199 ends that
    /// (RFC 6228). False if there are too many to keep.
    pub(super) fn hear(&mut self, tag: Bytes, body: &Bytes, code: u16) -> bool {
        let known = self.early.iter().position(|(known, _)| *known == tag);
        match known {
            Some(index) if code == 199 => {
                self.early.swap_remove(index);
            }
            _ if code == 199 || body.is_empty() => {}
            Some(index) => self.early[index].1.clone_from(body),
            None if self.early.len() >= MAX_EARLY => return false,
            None => self.early.push((tag, body.clone())),
        }
        true
    }

    /// The SDP of the branch that answered: that of its 2xx, else what it said before; what it said
    /// with UPDATE, if that changed the session (RFC 3311 §5).
    pub(super) fn agreed(&self, tag: Option<&Bytes>, body: Bytes) -> Bytes {
        let mut early = self.early.iter();
        let said = early.find(|(known, _)| Some(known) == tag);
        let changed = tag
            .and_then(|tag| self.branch(tag))
            .is_some_and(|branch| branch.changed.is_some());
        match said {
            Some((_, said)) if changed || body.is_empty() => said.clone(),
            _ => body,
        }
    }

    pub(super) fn branch(&self, tag: &[u8]) -> Option<&EarlyDialog> {
        let mut branches = self.branches.iter();
        branches.find(|branch| branch.dialog.remote_tag == tag)
    }

    pub(super) fn branch_mut(&mut self, tag: &[u8]) -> Option<&mut EarlyDialog> {
        let mut branches = self.branches.iter_mut();
        branches.find(|branch| branch.dialog.remote_tag == tag)
    }
}

impl Call {
    /// The dialog with the peer of this tag: that of the call, else an early one of ours.
    pub(super) fn dialog_with(&self, tag: &[u8]) -> Option<&Dialog> {
        match (&self.dialog, &self.state) {
            (Some(dialog), _) => Some(dialog).filter(|dialog| dialog.remote_tag == tag),
            (None, State::Calling(outgoing)) => Some(&outgoing.branch(tag)?.dialog),
            (None, _) => None,
        }
    }

    pub(super) fn dialog_with_mut(&mut self, tag: &[u8]) -> Option<&mut Dialog> {
        match (&mut self.dialog, &mut self.state) {
            (Some(dialog), _) => Some(dialog).filter(|dialog| dialog.remote_tag == tag),
            (None, State::Calling(outgoing)) => Some(&mut outgoing.branch_mut(tag)?.dialog),
            (None, _) => None,
        }
    }

    /// The tag of the peer that a request of ours goes to: of the dialog, or of the early dialog
    /// that agreed last on a session.
    pub(super) fn peer_tag(&self) -> Option<Bytes> {
        match (&self.dialog, &self.state) {
            (Some(dialog), _) => Some(dialog.remote_tag.clone()),
            (None, State::Calling(outgoing)) if !outgoing.cancelled => {
                let mut branches = outgoing.branches.iter().rev();
                let branch = branches.find(|branch| branch.takes_offers())?;
                Some(branch.dialog.remote_tag.clone())
            }
            (None, _) => None,
        }
    }

    /// Caller: whether the offer of our INVITE waits for the answer of the branch with this tag,
    /// and whether our INVITE had none, so that it is the peer's turn (RFC 3311 §5.2).
    pub(super) fn awaits(&self, tag: &[u8]) -> (bool, bool) {
        let State::Calling(outgoing) = &self.state else {
            return (false, false);
        };
        let answered = outgoing.branch(tag).is_some_and(|branch| branch.answered);
        let offers = !outgoing.body.is_empty();
        (offers && !answered, !offers)
    }

    /// Caller: an UPDATE has changed the session of an early dialog.
    pub(super) fn change_early(&mut self, tag: &Bytes, ours: Bytes, theirs: &Bytes) {
        if let State::Calling(outgoing) = &mut self.state {
            outgoing.hear(tag.clone(), theirs, 183);
            if let Some(branch) = outgoing.branch_mut(tag) {
                branch.changed = Some(ours);
            }
        }
    }
}

impl UserAgent {
    /// Leaves the early dialogs of a call but the one that answered: what waits in them gets no
    /// answer any more.
    pub(super) fn leave_branches(&mut self, now: Instant, key: CallKey, won: Option<&Bytes>) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let stays = |tag: &Bytes| Some(tag) == won;
        let offer = call.offer.as_ref().map(|offer| &offer.request);
        let tag = offer.and_then(|request| request.essentials().ok()?.from.tag());
        let deserted = tag.is_some_and(|tag| !stays(&tag));
        let mut lost: Vec<Asked> = Vec::new();
        if let Some(mid) = &mut call.mid {
            lost.extend(mid.asked.extract_if(.., |asked| !stays(&asked.peer)));
        }
        if deserted {
            call.give_up_at = call.give_up_at.filter(|_| won.is_none());
            self.refuse_offer(now, key, 481);
        }
        for asked in lost {
            let until = now + LIFETIME;
            self.transactions.end_by(&mut self.core, asked.key, until);
            self.on_asked_end(now, key, asked, None);
        }
    }

    pub(super) fn on_progress(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        essentials: &Essentials,
        code: u16,
    ) {
        if self.passes_over(now, key, message, essentials) {
            return;
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let body = message.body();
        if let State::Calling(outgoing) = &mut call.state
            && let Some(tag) = essentials.to.tag()
            && !outgoing.hear(tag, &body, code)
        {
            self.core
                .ledger
                .count(call.endpoint, |counters| counters.unexpected += 1);
            return;
        }
        if code == 199
            && let State::Calling(outgoing) = &mut call.state
            && let Some(branch) = essentials
                .to
                .tag()
                .and_then(|tag| outgoing.branch_mut(&tag))
        {
            branch.updates = false;
        }
        if code == 180 {
            call.times.ringing.get_or_insert(now);
        }
        if code == 183 && !body.is_empty() {
            call.times.early_media.get_or_insert(now);
        }
        if let State::Calling(outgoing) = &mut call.state {
            let first = !std::mem::replace(&mut outgoing.provisional, true);
            if first && outgoing.cancelled {
                self.send_cancel(now, key);
            }
        }
        self.call_event(now, key, CallEvent::Progress { code, body });
    }
}
