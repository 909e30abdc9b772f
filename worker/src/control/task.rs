//! The control task: joins the session core with the gateway stream, the shards and signals.

mod figures;
mod gateway;

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{FromWorker, Outcome, endpoint_event::What, from_worker, to_worker};
use tokio::sync::mpsc;

use super::{Backoff, Dialer, LinkEvent, Session, link::Link, session::Notice};
use crate::{
    health::{Health, Pulse},
    signalling::{Report, ShardHandle, StopCause},
    telemetry::Telemetry,
    vitals::{MediaFailed, Vitals},
};

/// A stream that is open but not welcomed after this is given up.
const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// A stream is dead when this many heartbeat intervals pass without any message.
const SILENT_INTERVALS: u32 = 3;
/// How often the loop proves that it lives and looks at its vitals.
const TICK: Duration = Duration::from_secs(1);
/// A loop that did not come round for longer than this was held up: stopped, or without CPU.
const HELD_UP: Duration = Duration::from_secs(2);
/// How long calls may go on after the token was refused.
const REFUSED_GRACE: Duration = Duration::from_secs(60);
/// How long hanging up may take after that.
const TEARDOWN: Duration = Duration::from_secs(5);
/// How long the end of the stream may take at exit.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Why the control task ended.
#[derive(Debug)]
pub enum Exit {
    /// Drained after a signal.
    Drained,
    /// The gateway refused the token.
    InvalidToken,
    /// The media threads ended.
    Failed(MediaFailed),
}

/// The control task.
#[derive(Debug)]
pub struct Control {
    session: Session,
    dialer: Dialer,
    shards: ShardHandle,
    reports: mpsc::Receiver<Report>,
    signals: mpsc::Receiver<&'static str>,
    health: Arc<Health>,
    telemetry: Arc<Telemetry>,
    vitals: Vitals,
    pulse: Pulse,
    link: State,
    backoff: Backoff,
    /// Logged last; the same again is not logged above debug.
    last_failure: String,
    heartbeat: Heartbeat,
    token_refused: Option<Instant>,
    own_capacity: u32,
}

#[derive(Debug)]
enum State {
    /// No stream until then.
    Waiting(Instant),
    /// Dialled; Welcome is due by then.
    Opening(Link, Instant),
    /// Welcomed.
    Up(Link),
    /// Never again: the token was refused.
    Off,
}

#[derive(Debug)]
struct Heartbeat {
    interval: Duration,
    next: Instant,
    heard: Instant,
    looked: Instant,
    last_health: Option<String>,
}

impl Heartbeat {
    /// When the stream is dead unless a message comes.
    fn silent_at(&self) -> Instant {
        self.heard + self.interval * SILENT_INTERVALS
    }

    /// Notes that the loop came round. Time in which this process was held up is not the gateway's
    /// silence: nobody could listen.
    fn look(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.looked);
        if since > HELD_UP {
            self.heard = (self.heard + since).min(now);
        }
        self.looked = now;
    }
}

/// The parts a control task joins.
#[derive(Debug)]
pub struct Parts {
    /// The session core.
    pub session: Session,
    /// The way to the gateway.
    pub dialer: Dialer,
    /// The way to the shards.
    pub shards: ShardHandle,
    /// What the shards report.
    pub reports: mpsc::Receiver<Report>,
    /// Names of signals that ask the process to drain.
    pub signals: mpsc::Receiver<&'static str>,
    /// Shared health.
    pub health: Arc<Health>,
    /// Shared metrics.
    pub telemetry: Arc<Telemetry>,
    /// What heartbeats report.
    pub vitals: Vitals,
    /// Endpoints this process can bear.
    pub own_capacity: u32,
}

impl Control {
    /// A control task that dials at once.
    pub fn new(now: Instant, parts: Parts) -> Self {
        let Parts {
            session,
            dialer,
            shards,
            reports,
            signals,
            health,
            telemetry,
            vitals,
            own_capacity,
        } = parts;
        Self {
            session,
            dialer,
            shards,
            reports,
            signals,
            pulse: health.watch("control", now),
            health,
            telemetry,
            vitals,
            link: State::Waiting(now),
            backoff: Backoff::default(),
            last_failure: String::new(),
            heartbeat: Heartbeat {
                interval: Duration::from_secs(10),
                next: now,
                heard: now,
                looked: now,
                last_health: None,
            },
            token_refused: None,
            own_capacity,
        }
    }

    /// Runs until the worker has drained or its token is refused.
    pub async fn run(mut self) -> Exit {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            if let ControlFlow::Break(exit) = self.settle(now) {
                if let State::Opening(link, _) | State::Up(link) =
                    std::mem::replace(&mut self.link, State::Off)
                {
                    self.dialer.close(link, CLOSE_WAIT).await;
                }
                return exit;
            }
            let due = self.next_timeout(now);
            tokio::select! {
                Some(report) = self.reports.recv() => self.take_report(report),
                traffic = traffic(&mut self.link, self.session.has_transmit()) => match traffic {
                    Traffic::Event(event) => self.take_event(Instant::now(), event),
                    Traffic::Room => self.transmit(),
                },
                Some(signal) = self.signals.recv() => {
                    if self.session.signal(Instant::now()) {
                        tracing::info!(signal, "draining: no new work, calls go on to their end");
                    } else {
                        tracing::info!(signal, "already draining");
                    }
                }
                _ = tick.tick() => {
                    if let Err(failed) = self.tick(Instant::now()) {
                        return Exit::Failed(failed);
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Does what is due at `now`.
    fn settle(&mut self, now: Instant) -> ControlFlow<Exit> {
        self.heartbeat.look(now);
        let may_exit = self.session.handle_timeout(now);
        while let Some(notice) = self.session.poll_notice() {
            match notice {
                Notice::Ignored(what) => tracing::warn!("ignored: {what}"),
                Notice::Work(what) => tracing::info!("{what}"),
            }
        }
        if let Some(refused) = self.token_refused {
            if now >= refused + REFUSED_GRACE {
                self.session.stop_all(&StopCause::GatewayLost);
            }
            if self.session.active_runs() == 0 || now >= refused + REFUSED_GRACE + TEARDOWN {
                return ControlFlow::Break(Exit::InvalidToken);
            }
        }
        match &self.link {
            State::Waiting(until) if *until <= now => self.dial(now),
            State::Opening(_, until) if *until <= now => {
                self.lose(
                    now,
                    format!("no Welcome within {WELCOME_WAIT:?}"),
                    "no_welcome",
                );
            }
            State::Up(link) if now >= self.heartbeat.silent_at() && link.events.is_empty() => {
                self.lose(now, "the gateway is silent".into(), "silent");
            }
            State::Up(_) if now >= self.heartbeat.next => self.send_heartbeat(now),
            _ => {}
        }
        // Commands that find no room stay in the session until the next round.
        while let Some(room) = self.shards.room() {
            let Some(command) = self.session.poll_command() else {
                break;
            };
            room.send(command);
        }
        figures::tell(&mut self.session, &self.telemetry);
        if may_exit {
            ControlFlow::Break(Exit::Drained)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn next_timeout(&self, now: Instant) -> Instant {
        let link = match &self.link {
            State::Waiting(until) | State::Opening(_, until) => Some(*until),
            State::Up(_) => Some(self.heartbeat.next.min(self.heartbeat.silent_at())),
            State::Off => None,
        };
        [link, self.session.next_timeout()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + TICK)
            .max(now)
    }

    fn dial(&mut self, now: Instant) {
        let link = self.dialer.dial(self.session.hello());
        self.link = State::Opening(link, now + WELCOME_WAIT + Duration::from_secs(10));
    }

    fn take_event(&mut self, now: Instant, event: LinkEvent) {
        use to_worker::Message as Down;
        self.heartbeat.heard = now;
        let message = match event {
            LinkEvent::Message(message) => *message,
            LinkEvent::Refused(refusal) => return self.refused(now, &refusal),
            LinkEvent::Lost(reason) => return self.lose(now, reason, "lost"),
        };
        match (message, &self.link) {
            (Down::Welcome(welcome), State::Opening(..)) => self.welcome(now, &welcome),
            (Down::Close(close), _) => {
                self.lose(
                    now,
                    format!("closed by the gateway: {}", close.reason),
                    "closed",
                );
            }
            (message, State::Up(_)) => self.session.from_gateway(now, message),
            (_, _) => tracing::warn!("ignored: a message before Welcome"),
        }
    }

    fn send_heartbeat(&mut self, now: Instant) {
        let State::Up(link) = &self.link else { return };
        let heartbeat = self.vitals.heartbeat(self.session.active_endpoints());
        self.heartbeat.last_health = Some(heartbeat.unhealthy_reason.clone());
        let message = FromWorker {
            message: Some(from_worker::Message::Heartbeat(heartbeat)),
        };
        // A full queue means that the stream does not move; the next heartbeat says the same.
        let _ = link.outbound.try_send(message);
        self.heartbeat.next = now + self.heartbeat.interval;
    }

    /// Writes what the stream has room for.
    fn transmit(&mut self) {
        let State::Up(link) = &self.link else { return };
        while let Ok(room) = link.outbound.try_reserve() {
            let Some(message) = self.session.poll_transmit() else {
                break;
            };
            room.send(message);
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), MediaFailed> {
        self.pulse.beat(now);
        self.vitals.observe(now, &self.telemetry)?;
        // A change of health is told at once.
        let reason = self.vitals.trouble();
        if self
            .heartbeat
            .last_health
            .as_ref()
            .is_some_and(|last| last != reason)
        {
            if reason.is_empty() {
                tracing::info!("healthy again");
            } else {
                tracing::warn!(reason, "unhealthy");
            }
            self.send_heartbeat(now);
        }
        Ok(())
    }

    fn take_report(&mut self, report: Report) {
        match &report {
            Report::Events { events, .. } => {
                for event in events {
                    if let Some(What::CallEnded(call)) = &event.what {
                        let outcome = Outcome::try_from(call.outcome).unwrap_or_default();
                        self.telemetry
                            .calls
                            .with_label_values(&[outcome.as_str_name()])
                            .inc();
                    }
                }
            }
            Report::Rows { rows, .. } => self.telemetry.rows.inc_by(rows.len() as u64),
            Report::RowsLost { .. } | Report::ShareEnded { .. } => {}
        }
        self.session.from_shards(report);
    }
}

/// What a stream is ready for.
enum Traffic {
    Event(LinkEvent),
    Room,
}

/// The next event of the stream, or room in it if `wanted`; never, without a stream.
async fn traffic(state: &mut State, wanted: bool) -> Traffic {
    let (link, wanted) = match state {
        State::Opening(link, _) => (link, false),
        State::Up(link) => (link, wanted),
        State::Waiting(_) | State::Off => return std::future::pending().await,
    };
    let ended = || LinkEvent::Lost("the stream ended".into());
    tokio::select! {
        event = link.events.recv() => Traffic::Event(event.unwrap_or_else(ended)),
        // A closed queue is followed by the event that tells why.
        Ok(_) = link.outbound.reserve(), if wanted => Traffic::Room,
    }
}
