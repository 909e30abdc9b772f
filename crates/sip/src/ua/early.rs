//! What the branches of a forking proxy say before one of them answers (RFC 3261 §13.2.2.1).

use bytes::Bytes;

use super::call::Outgoing;

/// Most branches of one INVITE whose early media is kept.
const MAX_EARLY: usize = 16;

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

    /// The SDP of the branch that answered: that of its 2xx, else what it said before.
    pub(super) fn agreed(&self, tag: Option<&Bytes>, body: Bytes) -> Bytes {
        let mut early = self.early.iter();
        let said = early.find(|(known, _)| Some(known) == tag);
        match said {
            Some((_, said)) if body.is_empty() => said.clone(),
            _ => body,
        }
    }
}
