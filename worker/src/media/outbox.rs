//! Events on their way to one client.

use std::collections::VecDeque;

use callmeter_engine::media::MediaEvent;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::client::Wake;
use super::stats::Counter;

/// A thread's end of one client's queue.
///
/// The seconds of streams (their counters are in the next one) and the digits far ends send may be
/// given up when the queue is full, and that is counted; every other event waits, in order: at most
/// four per stream and one per row of digits we were told to send.
pub(super) struct Outbox {
    events: mpsc::Sender<MediaEvent>,
    wake: Wake,
    waiting: VecDeque<MediaEvent>,
    sent: bool,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Sender<MediaEvent>, wake: Wake) -> Self {
        Self {
            events,
            wake,
            waiting: VecDeque::new(),
            sent: false,
        }
    }

    pub(super) fn push(&mut self, event: MediaEvent, overflows: &Counter) {
        let droppable = matches!(
            event,
            MediaEvent::Second { .. } | MediaEvent::DigitReceived { .. }
        );
        if !self.waiting.is_empty() {
            if droppable {
                overflows.add(1);
            } else {
                self.waiting.push_back(event);
            }
            return;
        }
        match self.events.try_send(event) {
            Ok(()) => self.sent = true,
            Err(TrySendError::Full(_)) if droppable => overflows.add(1),
            Err(TrySendError::Full(event)) => self.waiting.push_back(event),
            // The client is gone, and nobody asks for its streams.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Sends what waited and wakes the client if anything went out since the last call.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => self.sent = true,
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
        if std::mem::take(&mut self.sent) {
            (self.wake)();
        }
    }

    /// Whether events wait for room.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use callmeter_engine::media::{StreamId, StreamSnapshot};

    use super::*;

    fn second(id: u64) -> MediaEvent {
        MediaEvent::Second {
            stream: StreamId(id),
            snapshot: StreamSnapshot::default(),
        }
    }

    fn removed(id: u64) -> MediaEvent {
        MediaEvent::Removed {
            stream: StreamId(id),
            last: StreamSnapshot::default(),
        }
    }

    #[test]
    fn seconds_are_given_up_and_counted_the_rest_waits_in_order() {
        let (sender, mut receiver) = mpsc::channel(2);
        let wakes = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&wakes);
        let mut outbox = Outbox::new(
            sender,
            Arc::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
        );
        let overflows = Counter::default();
        for event in [
            second(1),
            second(2),
            second(3),
            removed(4),
            second(5),
            removed(6),
        ] {
            outbox.push(event, &overflows);
        }
        outbox.flush();
        assert!(outbox.is_behind() && format!("{overflows:?}").contains('2'));
        let mut order = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            order.push(event.stream().0);
            outbox.flush();
        }
        assert_eq!(order, [1, 2, 4, 6]);
        assert!(!outbox.is_behind());
        assert_eq!(wakes.load(Ordering::Relaxed), 3, "once per flush that sent");
        drop(receiver);
        outbox.push(removed(7), &overflows);
        assert!(!outbox.is_behind());
    }
}
