//! What endpoints do within a call: steps that are due at a time or on an event.
//!
//! [`Progress`] is one call's way through a [`Scenario`]: events in, actions out. It starts one
//! action at a time, in the order they fell due; hanging up waits for none. Each step runs at most
//! once in a call, and is executed or failed in the end: failed if it was refused, took too long
//! or did not run because the call ended before.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use callmeter_sip::Uri;

use crate::assign::{Invalid, check};

/// Most steps of a scenario.
const MOST_STEPS: usize = 30;
/// Most digits sent by one step.
const MOST_DIGITS: usize = 64;
/// Longest wait for the end of an action. A request that nobody answers is over after 32 s; a
/// re-INVITE that was answered 1xx may be later than this, when its step has been given up.
const PATIENCE: Duration = Duration::from_secs(40);

/// The same for a transfer, whose target may ring.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(180);

/// What every endpoint of a group does within its calls.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scenario {
    steps: Vec<Step>,
}

/// One step of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When it is due.
    pub when: When,
    /// What is done.
    pub action: Action,
}

/// When a step is due; at most once in a call.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// So long after the call was established.
    At(Duration),
    /// The far end held the call.
    HoldReceived,
    /// The far end resumed the call.
    ResumeReceived,
    /// One of these digits was received, by RTP or INFO; empty: any.
    DtmfReceived(String),
    /// An INFO was received.
    InfoReceived,
    /// The session was refreshed, by whichever side (RFC 4028).
    SessionRefreshed,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Puts the far end on hold by a re-INVITE with `a=sendonly` (RFC 3264 §8.4).
    Hold,
    /// Resumes the call by a re-INVITE.
    Resume,
    /// Offers the same media under a new session version by a re-INVITE.
    MediaUpdate,
    /// Sends digits, one after the other.
    SendDtmf(String),
    /// Sends the far end to another party by REFER (RFC 3515), and ends the call when that has
    /// answered.
    Transfer {
        /// Whom it is to call.
        to: Uri,
        /// The other party is called first and that call is replaced (RFC 3891).
        attended: bool,
    },
    /// Ends the call.
    HangUp,
    /// Registers again.
    ReRegister,
}

impl Scenario {
    /// Takes at most 30 steps; digits are 0-9, A-D, * and #, 1 to 64 to send.
    pub fn new(steps: Vec<Step>) -> Result<Self, Invalid> {
        let count = steps.len();
        check("scenario", count, count <= MOST_STEPS, "at most 30 actions")?;
        for (index, step) in steps.iter().enumerate() {
            if let When::DtmfReceived(digits) = &step.when {
                check(
                    &format!("scenario[{index}].event_digits"),
                    digits,
                    digits.len() <= MOST_DIGITS && digits.bytes().all(is_digit),
                    "up to 64 of 0-9, A-D, * and #; none: any",
                )?;
            }
            if let Action::SendDtmf(digits) = &step.action {
                check(
                    &format!("scenario[{index}].digits"),
                    digits,
                    (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(is_digit),
                    "1 to 64 of 0-9, A-D, * and #",
                )?;
            }
        }
        Ok(Self { steps })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Digits of telephone events (RFC 4733 §3.2).
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'D').contains(&byte) || byte == b'*' || byte == b'#'
}

/// Something that happened in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    HoldReceived,
    ResumeReceived,
    DtmfReceived(char),
    InfoReceived,
    SessionRefreshed,
}

impl Event {
    fn meets(self, when: &When) -> bool {
        match (self, when) {
            (Self::HoldReceived, When::HoldReceived)
            | (Self::ResumeReceived, When::ResumeReceived)
            | (Self::InfoReceived, When::InfoReceived)
            | (Self::SessionRefreshed, When::SessionRefreshed) => true,
            (Self::DtmfReceived(digit), When::DtmfReceived(digits)) => {
                digits.is_empty() || digits.contains(digit)
            }
            _ => false,
        }
    }
}

/// Steps by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Of steps due at a time.
    pub(crate) timed: Ends,
    /// Of steps due on an event.
    pub(crate) on_event: Ends,
}

/// How steps ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) executed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.timed, other.timed),
            (&mut self.on_event, other.on_event),
        ] {
            sum.executed += more.executed;
            sum.failed += more.failed;
        }
    }
}

impl Tally {
    fn count(&mut self, when: &When, executed: bool) {
        let ends = match when {
            When::At(_) => &mut self.timed,
            _ => &mut self.on_event,
        };
        if executed {
            ends.executed += 1;
        } else {
            ends.failed += 1;
        }
    }

    /// All steps of a call that was never established.
    pub(crate) fn none_ran(scenario: &Scenario) -> Self {
        let mut tally = Self::default();
        for step in &scenario.steps {
            tally.count(&step.when, false);
        }
        tally
    }
}

/// One call's way through its scenario. Call [`Self::poll`] after every input until it gives
/// nothing, and again at [`Self::next_timeout`].
#[derive(Debug)]
pub(crate) struct Progress {
    established: Instant,
    /// By index of the step: it has fallen due.
    due: u32,
    /// Steps that are due and wait for the one in progress.
    waiting: VecDeque<usize>,
    running: Option<Running>,
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    step: usize,
    deadline: Instant,
}

impl Progress {
    pub(crate) fn new(established: Instant) -> Self {
        Self {
            established,
            due: 0,
            waiting: VecDeque::new(),
            running: None,
            tally: Tally::default(),
        }
    }

    /// Something happened: steps that wait for it are due.
    pub(crate) fn happened(&mut self, scenario: &Scenario, event: Event) {
        for (index, step) in scenario.steps.iter().enumerate() {
            if event.meets(&step.when) {
                self.fall_due(index);
            }
        }
    }

    /// The action in progress has ended. Without one: nothing.
    pub(crate) fn finished(&mut self, scenario: &Scenario, executed: bool) {
        if let Some(running) = self.running.take() {
            self.count(scenario, running.step, executed);
        }
    }

    /// The action in progress, if there is one.
    pub(crate) fn running<'a>(&self, scenario: &'a Scenario) -> Option<&'a Action> {
        let running = self.running?;
        scenario.steps.get(running.step).map(|step| &step.action)
    }

    /// The next action to start; its end is told by [`Self::finished`].
    pub(crate) fn poll<'a>(&mut self, scenario: &'a Scenario, now: Instant) -> Option<&'a Action> {
        if self.running.is_some_and(|running| running.deadline <= now) {
            self.finished(scenario, false);
        }
        let mut timed: Vec<_> = self.timed(scenario).filter(|(at, _)| *at <= now).collect();
        timed.sort_unstable();
        for (_, index) in timed {
            self.fall_due(index);
        }
        let action = |index: usize| scenario.steps.get(index).map(|step| &step.action);
        let ends_call = |index: &usize| action(*index) == Some(&Action::HangUp);
        let at = match self.waiting.iter().position(ends_call) {
            Some(at) => at,
            None if self.running.is_none() => 0,
            None => return None,
        };
        let index = self.waiting.remove(at)?;
        let action = action(index)?;
        if *action == Action::HangUp {
            self.finished(scenario, false);
        }
        let patience = match action {
            Action::Transfer { .. } => TRANSFER_PATIENCE,
            _ => PATIENCE,
        };
        self.running = Some(Running {
            step: index,
            deadline: now + patience,
        });
        Some(action)
    }

    /// When [`Self::poll`] is due next.
    pub(crate) fn next_timeout(&self, scenario: &Scenario) -> Option<Instant> {
        let deadline = self.running.map(|running| running.deadline);
        let due = self.timed(scenario).map(|(at, _)| at).min();
        match (deadline, due) {
            (Some(deadline), Some(due)) => Some(deadline.min(due)),
            (deadline, due) => deadline.or(due),
        }
    }

    /// The steps that ended since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The call is over: what has not run has failed.
    pub(crate) fn close(&mut self, scenario: &Scenario) {
        self.finished(scenario, false);
        let waiting = std::mem::take(&mut self.waiting);
        let never = (0..scenario.steps.len()).filter(|index| self.due & (1 << index) == 0);
        for index in waiting.into_iter().chain(never.collect::<Vec<_>>()) {
            self.count(scenario, index, false);
        }
        self.due = u32::MAX;
    }

    /// Steps of a time that have not fallen due.
    fn timed<'a>(&self, scenario: &'a Scenario) -> impl Iterator<Item = (Instant, usize)> + 'a {
        let (due, established) = (self.due, self.established);
        let steps = scenario.steps.iter().enumerate();
        steps.filter_map(move |(index, step)| match step.when {
            When::At(after) if due & (1 << index) == 0 => Some((established + after, index)),
            _ => None,
        })
    }

    fn fall_due(&mut self, index: usize) {
        if self.due & (1 << index) == 0 {
            self.due |= 1 << index;
            self.waiting.push_back(index);
        }
    }

    fn count(&mut self, scenario: &Scenario, index: usize, executed: bool) {
        if let Some(step) = scenario.steps.get(index) {
            self.tally.count(&step.when, executed);
        }
    }
}

#[cfg(test)]
mod tests;
