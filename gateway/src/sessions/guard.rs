//! The receiving half of a live stream.

use tokio::sync::mpsc;

use super::actor::Command;
use super::now;
use crate::link::{InstanceId, WorkerId};
use crate::session::Heartbeat;

/// Reports what a live stream brings; dropping it tells that the stream ended.
#[derive(Debug)]
pub struct StreamGuard {
    pub(super) id: WorkerId,
    pub(super) epoch: u64,
    pub(super) instance: InstanceId,
    pub(super) commands: mpsc::Sender<Command>,
}

impl StreamGuard {
    /// Whose stream it is.
    pub fn worker(&self) -> (WorkerId, InstanceId) {
        (self.id, self.instance)
    }

    /// A heartbeat arrived.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) {
        let (id, epoch, now) = (self.id, self.epoch, now());
        let command = Command::Heartbeat {
            id,
            epoch,
            heartbeat,
            now,
        };
        // A closed queue means the gateway stops; the stream ends anyway.
        let _ = self.commands.send(command).await;
    }

    /// The worker asks to be drained.
    pub async fn drain_request(&self, reason: String, ends_in_ms: u64) {
        let (id, epoch, now) = (self.id, self.epoch, now());
        let command = Command::Drain {
            id,
            epoch,
            reason,
            ends_in_ms,
            now,
        };
        let _ = self.commands.send(command).await;
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let command = Command::Disconnected {
            id: self.id,
            epoch: self.epoch,
            now: now(),
        };
        // With a full queue the end shows by silence, 60 s later.
        let _ = self.commands.try_send(command);
    }
}
