//! What an engine holds and has counted.

use super::Engine;
use crate::Held;
use crate::endpoint::Life;
use crate::share::Share;

impl Engine {
    /// Endpoints that have not ended.
    pub fn active_endpoints(&self) -> usize {
        let active = |share: &Share| {
            share
                .endpoints
                .iter()
                .filter(|e| e.life != Life::Ended)
                .count()
        };
        self.shares.values().map(active).sum()
    }

    /// What the engine holds now (R105).
    pub fn held(&self) -> Held {
        Held {
            shares: self.shares.len(),
            calls: self.calls.len().max(self.by_key.len()),
            timers: self.timers.len(),
            sip: self.ua.held(),
        }
    }

    /// Whether nothing of any share is left but SIP timers that have no owner.
    pub fn is_empty(&self) -> bool {
        let mut held = self.held();
        held.sip.timers = 0;
        held == Held::default() && self.outputs.is_empty()
    }

    /// SIP messages that could not be read, since the engine was made.
    pub fn malformed(&self) -> u64 {
        self.ua.counters().malformed
    }
}
