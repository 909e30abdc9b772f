//! What a user agent counts and holds.

use super::endpoint::Endpoint;
use super::{Held, UserAgent};
use crate::counters::{EndpointKey, UaCounters};

impl UserAgent {
    /// Counters over all endpoints, and of messages that belong to none.
    pub fn counters(&self) -> UaCounters {
        self.core.ledger.total()
    }

    /// Counters of one endpoint.
    pub fn endpoint_counters(&self, key: EndpointKey) -> Option<UaCounters> {
        self.core.ledger.endpoint(key)
    }

    /// What this user agent holds now.
    pub fn held(&self) -> Held {
        let registered = |endpoint: &&Endpoint| endpoint.binding.is_some();
        let dialogs = self.by_tag.len().max(self.merged.len());
        Held {
            listeners: self.listeners.len(),
            endpoints: self.endpoints.len().max(self.by_user.len()),
            registrations: self.endpoints.values().filter(registered).count(),
            calls: self.calls.len().max(dialogs),
            transactions: self.transactions.count(),
            timers: self.core.timers.len(),
        }
    }
}
