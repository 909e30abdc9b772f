//! When a draining worker hangs up and when it may go: SIGTERM, fences, deadlines.

use std::time::{Duration, Instant};

/// How long an idle process waits for the fence that confirms its DrainRequest: an assignment may
/// be on its way until then.
const FENCE_WAIT: Duration = Duration::from_secs(5);
/// How long the last messages may take to be confirmed after the last run ended.
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// How long BYE and un-REGISTER may take after the deadline.
const TEARDOWN_WAIT: Duration = Duration::from_secs(40);

/// What draining asks for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStep {
    /// Go on.
    Wait,
    /// The deadline has come: BYE to all, un-REGISTER; asked for once.
    Cut,
    /// Nothing is left to do: the process ends with 0.
    Exit,
}

/// What the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Runs whose endpoints still work.
    pub active_runs: usize,
    /// Messages the gateway has not confirmed.
    pub unconfirmed: bool,
    /// An accepted connection exists.
    pub connected: bool,
}

/// Drain state of one process.
#[derive(Debug, Clone)]
pub struct Drain {
    timeout: Duration,
    signalled: Option<Instant>,
    fence: Option<Fence>,
    cut_at: Option<Instant>,
    idle_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    deadline: Option<Instant>,
}

impl Drain {
    /// `timeout` is `DRAIN_TIMEOUT`.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            signalled: None,
            fence: None,
            cut_at: None,
            idle_since: None,
        }
    }

    /// SIGTERM or SIGINT came; a second one changes nothing. True for the first.
    pub fn signal(&mut self, now: Instant) -> bool {
        let first = self.signalled.is_none();
        self.signalled.get_or_insert(now);
        first
    }

    /// The gateway fenced this process, or moved its deadline.
    pub fn fence(&mut self, now: Instant, ends_in: Option<Duration>) {
        // An unreadably far deadline is none.
        let deadline = ends_in.and_then(|ends_in| now.checked_add(ends_in));
        self.fence = Some(Fence { deadline });
    }

    /// The fence is lifted; a signal still drains.
    pub fn unfence(&mut self) {
        self.fence = None;
        if self.signalled.is_none() {
            self.cut_at = None;
        }
    }

    /// Whether a signal came; a DrainRequest is due on every new connection then.
    pub fn signalled(&self) -> bool {
        self.signalled.is_some()
    }

    /// The fence's deadline, else `DRAIN_TIMEOUT` after the signal.
    pub fn deadline(&self) -> Option<Instant> {
        let own = self.signalled.map(|at| at + self.timeout);
        self.fence.and_then(|fence| fence.deadline).or(own)
    }

    /// Time left of the process's own timeout, for the DrainRequest.
    pub fn own_time_left(&self, now: Instant) -> Duration {
        let end = self.signalled.map(|at| at + self.timeout);
        end.map_or(self.timeout, |end| end.saturating_duration_since(now))
    }

    /// What is to be done at `now`.
    pub fn step(&mut self, now: Instant, load: Load) -> DrainStep {
        if load.active_runs == 0 {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
        if load.active_runs > 0
            && self.cut_at.is_none()
            && self.deadline().is_some_and(|d| d <= now)
        {
            self.cut_at = Some(now);
            return DrainStep::Cut;
        }
        if self.may_exit(now, load) {
            DrainStep::Exit
        } else {
            DrainStep::Wait
        }
    }

    fn may_exit(&self, now: Instant, load: Load) -> bool {
        let Some(signalled) = self.signalled else {
            return false;
        };
        if self.cut_at.is_some_and(|cut| now >= cut + TEARDOWN_WAIT) {
            return true;
        }
        let Some(idle_since) = self.idle_since else {
            return false;
        };
        let from = idle_since.max(signalled);
        let settled = !load.connected || self.fence.is_some() || now >= signalled + FENCE_WAIT;
        let flushed = !load.unconfirmed || now >= from + FLUSH_WAIT;
        settled && flushed
    }

    /// When [`Drain::step`] may change its answer by time alone.
    pub fn next_timeout(&self) -> Option<Instant> {
        let signalled = self.signalled;
        [
            self.deadline().filter(|_| self.cut_at.is_none()),
            self.cut_at
                .filter(|_| signalled.is_some())
                .map(|at| at + TEARDOWN_WAIT),
            signalled
                .filter(|_| self.fence.is_none())
                .map(|at| at + FENCE_WAIT),
            signalled.and_then(|at| Some(self.idle_since?.max(at) + FLUSH_WAIT)),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load {
        active_runs: 0,
        unconfirmed: false,
        connected: true,
    };
    const BUSY: Load = Load {
        active_runs: 1,
        unconfirmed: true,
        connected: true,
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn drain() -> (Drain, Instant) {
        (Drain::new(seconds(1200)), Instant::now())
    }

    #[test]
    fn without_a_signal_nothing_ends() {
        let (mut drain, now) = drain();
        assert_eq!(drain.step(now, IDLE), DrainStep::Wait);
        drain.fence(now, None);
        assert_eq!(drain.step(now + seconds(100_000), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(100_000), IDLE), DrainStep::Wait);
    }

    #[test]
    fn an_idle_process_waits_for_the_fence_that_answers_its_request() {
        let (mut drain, now) = drain();
        assert!(drain.signal(now) && !drain.signal(now));
        assert_eq!(drain.step(now, IDLE), DrainStep::Wait);
        assert_eq!(drain.next_timeout(), Some(now + FENCE_WAIT));
        assert_eq!(drain.step(now + FENCE_WAIT, IDLE), DrainStep::Exit);
        drain.fence(now, None);
        assert_eq!(drain.step(now, IDLE), DrainStep::Exit);
    }

    #[test]
    fn an_idle_process_without_a_gateway_goes_at_once() {
        let (mut drain, now) = drain();
        drain.signal(now);
        assert_eq!(
            drain.step(
                now,
                Load {
                    connected: false,
                    ..IDLE
                }
            ),
            DrainStep::Exit
        );
    }

    #[test]
    fn a_busy_process_is_never_cut_before_its_deadline() {
        let (mut drain, now) = drain();
        drain.signal(now);
        drain.signal(now + seconds(1));
        assert_eq!(drain.step(now + seconds(1199), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(1200), BUSY), DrainStep::Cut);
        assert_eq!(drain.step(now + seconds(1201), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(1202), IDLE), DrainStep::Exit);
    }

    #[test]
    fn the_fences_deadline_wins_and_can_move() {
        let (mut drain, now) = drain();
        drain.signal(now);
        drain.fence(now, Some(seconds(60)));
        drain.fence(now + seconds(50), Some(seconds(60)));
        assert_eq!(drain.step(now + seconds(109), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(110), BUSY), DrainStep::Cut);
    }

    #[test]
    fn a_fence_without_a_signal_cuts_but_does_not_end_the_process() {
        let (mut drain, now) = drain();
        drain.fence(now, Some(seconds(5)));
        assert_eq!(drain.step(now + seconds(5), BUSY), DrainStep::Cut);
        assert_eq!(drain.step(now + seconds(500), IDLE), DrainStep::Wait);
        drain.unfence();
        assert_eq!(drain.deadline(), None);
        assert_eq!(drain.step(now + seconds(600), BUSY), DrainStep::Wait);
    }

    #[test]
    fn unconfirmed_messages_hold_the_exit_for_ten_seconds() {
        let (mut drain, now) = drain();
        drain.signal(now);
        drain.fence(now, None);
        let unconfirmed = Load {
            unconfirmed: true,
            ..IDLE
        };
        assert_eq!(drain.step(now + seconds(20), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(30), unconfirmed), DrainStep::Wait);
        assert_eq!(drain.next_timeout(), Some(now + seconds(40)));
        assert_eq!(drain.step(now + seconds(40), unconfirmed), DrainStep::Exit);
    }

    #[test]
    fn endpoints_that_cannot_be_ended_do_not_hold_the_process_for_ever() {
        let (mut drain, now) = drain();
        drain.signal(now);
        drain.fence(now, Some(seconds(1)));
        assert_eq!(drain.step(now + seconds(1), BUSY), DrainStep::Cut);
        assert_eq!(drain.step(now + seconds(40), BUSY), DrainStep::Wait);
        assert_eq!(drain.step(now + seconds(41), BUSY), DrainStep::Exit);
    }
}
