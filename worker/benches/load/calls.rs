//! Calls per second beside SIPp over UDP (G1) and over one connection (G3), and the CPU a call takes
//! (G2).

use std::{net::UdpSocket, path::Path, time::Duration};

use callmeter_proto::worker::{Registrar, Role};
use tokio::time::{Instant, sleep_until};

use super::{
    machine::{Cores, Used},
    media::Scheduling,
    secure::{self, Secure},
    sipp::{self, Wire},
    support::{peer_process::SippTotals, run::Group},
    under_test::{FAR, UnderTest, WORKER, program},
};

/// How long calls are begun at one rate.
pub(crate) const SECONDS: u32 = 3;
/// The part of it that is measured.
const FROM: Duration = Duration::from_millis(500);
const TO: Duration = Duration::from_millis(2800);
/// Answering endpoints of the worker: enough for a moment in which it gets no CPU.
const ANSWERERS: u32 = 4000;
/// A calling endpoint takes this long per call: `TALK_MS`, the 200 ms for which stray packets are
/// waited for, and its signalling.
const PERIOD_MS: u32 = 250;
const TALK_MS: u32 = 40;
/// Less of the rate wanted is a failure.
const REACHED: f64 = 0.9;
/// Most rates tried.
const RATES: u32 = 5;
/// Attempts at a rate before it counts as too high; other work on the machine disturbs some.
const ATTEMPTS: u32 = 2;

/// A rate at which every call succeeded and nothing was sent twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// CPU of the process under test per call, in microseconds.
    pub(crate) cpu_us: f64,
    /// The part of it in threads that do signalling; SIPp has none of that name.
    pub(crate) signalling_us: f64,
}

/// What calls go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Datagrams.
    Udp,
    /// One connection.
    Tcp,
    /// One connection with TLS. SIPp of Debian has none: a relay puts it on for SIPp.
    Tls,
}

impl Over {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    fn sipp(self) -> Wire {
        if self == Self::Udp {
            Wire::Udp
        } else {
            Wire::Tcp
        }
    }
}

/// The highest rates, by who is under test and what it does.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sipp_answers: Option<Rate>,
    pub(crate) worker_answers: Option<Rate>,
    pub(crate) sipp_calls: Option<Rate>,
    pub(crate) worker_calls: Option<Rate>,
}

/// Measures SIPp against itself, then the worker in SIPp's place; none without SIPp.
pub(crate) async fn measure(cores: &Cores, over: Over) -> Option<Figures> {
    let sipp = &program("sipp")?;
    let with_sipp = over != Over::Tls;
    let name = over.name();
    let mut figures = Figures::default();
    if with_sipp {
        let what = format!("SIPp answers over {name}");
        figures.sipp_answers = highest(&what, 16_000, async |rate| {
            sipp_pair(cores, sipp, over, rate, Role::Callee).await
        })
        .await;
    }
    figures.worker_answers = highest(&format!("worker answers over {name}"), 8000, async |rate| {
        worker_answers(cores, sipp, over, rate).await
    })
    .await;
    if with_sipp {
        let what = format!("SIPp calls over {name}");
        figures.sipp_calls = highest(&what, 16_000, async |rate| {
            sipp_pair(cores, sipp, over, rate, Role::Caller).await
        })
        .await;
    }
    figures.worker_calls = highest(&format!("worker calls over {name}"), 8000, async |rate| {
        worker_calls(cores, sipp, over, rate).await
    })
    .await;
    Some(figures)
}

/// Doubles the rate until it fails, halves it until it holds, then halves the distance.
async fn highest(
    what: &str,
    first: u32,
    mut attempt: impl AsyncFnMut(u32) -> Result<Rate, String>,
) -> Option<Rate> {
    let (mut good, mut bad, mut best) = (None, None, None);
    for _ in 0..RATES {
        let rate = match (good, bad) {
            (None, None) => first,
            (Some(good), None) => good * 2,
            (None, Some(bad)) => bad / 2,
            (Some(good), Some(bad)) if (bad - good) * 8 <= good => break,
            (Some(good), Some(bad)) => u32::midpoint(good, bad),
        };
        let mut outcome = attempt(rate).await;
        for _ in 1..ATTEMPTS {
            if outcome.is_err() {
                outcome = attempt(rate).await;
            }
        }
        match outcome {
            Ok(reached) => {
                let Rate {
                    per_second,
                    cpu_us,
                    signalling_us,
                } = reached;
                println!(
                    "  {what}: {per_second:.0} calls/s, {cpu_us:.1} µs each, {signalling_us:.1} of \
                     it signalling"
                );
                (good, best) = (Some(rate), Some(reached));
            }
            Err(reason) => {
                println!("  {what}: not {rate} calls/s: {reason}");
                bad = Some(rate);
            }
        }
    }
    best
}

/// Begins to measure what a process uses.
struct Meter<'a> {
    folder: &'a Path,
    begin: Instant,
    before: Used,
}

/// What it used meanwhile: seconds of CPU.
struct Spent {
    took: Duration,
    total: f64,
    signalling: f64,
}

impl<'a> Meter<'a> {
    fn start(folder: &'a Path) -> Self {
        let before = Used::read(folder);
        Self {
            folder,
            begin: Instant::now(),
            before,
        }
    }

    fn stop(&self) -> Spent {
        let now = Used::read(self.folder);
        Spent {
            took: self.begin.elapsed(),
            total: now.total - self.before.total,
            signalling: now.thread("signalling") - self.before.thread("signalling"),
        }
    }
}

impl Spent {
    /// By each of so many calls a second.
    fn by(&self, per_second: f64) -> Rate {
        let calls = per_second * self.took.as_secs_f64();
        Rate {
            per_second,
            cpu_us: self.total * 1e6 / calls,
            signalling_us: self.signalling * 1e6 / calls,
        }
    }
}

/// What a caller's totals say against a rate.
fn judge(rate: u32, totals: SippTotals) -> Result<(), String> {
    let SippTotals {
        successful,
        failed,
        retransmissions,
        unexpected,
    } = totals;
    let wanted = u64::from(rate * SECONDS);
    if successful != wanted || failed + retransmissions + unexpected > 0 {
        return Err(format!(
            "{successful} of {wanted} calls succeeded, {failed} failed, {retransmissions} messages \
             were sent again"
        ));
    }
    Ok(())
}

/// Whether what was measured is the rate wanted.
fn reached(rate: u32, measured: Rate) -> Result<Rate, String> {
    if measured.per_second < f64::from(rate) * REACHED {
        return Err(format!("{:.0}/s were reached", measured.per_second));
    }
    Ok(measured)
}

/// Where SIPp takes the worker's RTCP. It binds its media port only; a port without a socket would
/// answer each report with an ICMP error at the sender's expense. What comes is not read.
fn rtcp_port(own: &str) -> UdpSocket {
    UdpSocket::bind((own, 6001)).unwrap_or_else(|e| panic!("{own}:6001: {e}"))
}

/// SIPp calls SIPp; the one under test has the core under test to itself.
async fn sipp_pair(
    cores: &Cores,
    program: &Path,
    over: Over,
    rate: u32,
    tested: Role,
) -> Result<Rate, String> {
    let (callee, caller) = if tested == Role::Callee {
        (cores.on_tested(), vec![])
    } else {
        (vec![], cores.on_tested())
    };
    let begin = Instant::now();
    let wire = over.sipp();
    let mut uas = sipp::answerer(program, &callee, wire, FAR, None).await;
    let mut uac = sipp::caller(program, &caller, wire, rate, &format!("{FAR}:5060"));
    let folder = if tested == Role::Callee {
        uas.0.proc_folder()
    } else {
        uac.0.proc_folder()
    };
    sleep_until(begin + FROM).await;
    let meter = Meter::start(&folder);
    sleep_until(begin + TO).await;
    let spent = meter.stop();
    uac.0.exit_code().await;
    judge(rate, uac.totals())?;
    let again = uas.stop().await.retransmissions;
    if again > 0 {
        return Err(format!("{again} answers were sent again"));
    }
    reached(rate, spent.by(uac.call_rate()))
}

/// SIPp calls the worker.
async fn worker_answers(
    cores: &Cores,
    program: &Path,
    over: Over,
    rate: u32,
) -> Result<Rate, String> {
    let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
    let folder = under_test.proc_folder();
    let secure = Secure::new(WORKER);
    let group = Group {
        codec: "pcmu",
        accept_external: true,
        run_ms: 60_000,
        registrar: registrar(over, secure.shown()),
        ..Group::new("answerers", Role::Callee, ANSWERERS)
    };
    let _rtcp = rtcp_port(sipp::CALLER);
    under_test.begin("run-1", &[group]).await;
    let worker = format!("{WORKER}:5060");
    let relay = (over == Over::Tls).then(|| secure.to_tls(&worker));
    let remote = relay.as_ref().map_or(worker, secure::Relay::address);
    let begin = Instant::now();
    let mut uac = sipp::caller(program, &[], over.sipp(), rate, &remote);
    under_test.read_until(begin + FROM).await;
    let measured = under_test.measure(&folder, begin + TO).await;
    tokio::select! {
        _ = uac.0.exit_code() => {}
        () = under_test.read() => {}
    }
    judge(rate, uac.totals())?;
    under_test.stop("run-1").await;
    under_test.finish().await;
    under_test.tally.judge()?;
    reached(rate, measured)
}

/// The worker calls SIPp.
async fn worker_calls(
    cores: &Cores,
    program: &Path,
    over: Over,
    rate: u32,
) -> Result<Rate, String> {
    let secure = Secure::new(FAR);
    let relay = (over == Over::Tls).then(|| secure.to_tcp(&format!("{FAR}:5060")));
    let contact = relay.as_ref().map(secure::Relay::address);
    let wire = over.sipp();
    let mut uas = sipp::answerer(program, &[], wire, FAR, contact.as_deref()).await;
    let remote = contact.unwrap_or_else(|| format!("{FAR}:5060"));
    let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
    let folder = under_test.proc_folder();
    let _rtcp = rtcp_port(FAR);
    let endpoints = rate * PERIOD_MS / 1000;
    let group = Group {
        codec: "pcmu",
        call_ms: TALK_MS,
        repeat: true,
        run_ms: SECONDS * 1000,
        start_over_ms: PERIOD_MS,
        peers: vec![format!("sip:service@{remote}"); endpoints as usize],
        registrar: registrar(over, secure.trusted()),
        ..Group::new("callers", Role::Caller, endpoints)
    };
    under_test.begin("run-1", &[group]).await;
    let begin = Instant::now();
    under_test.read_until(begin + FROM).await;
    let measured = under_test.measure(&folder, begin + TO).await;
    // The end of the run cuts calls that have just begun; what was sent again by then is told
    // with the rows after it.
    let mut tally = under_test.tally.clone();
    under_test.finish().await;
    tally.retransmissions = under_test.tally.retransmissions;
    tally.judge()?;
    let totals = uas.stop().await;
    if totals.retransmissions > 0 {
        let again = totals.retransmissions;
        return Err(format!("{again} answers were sent again"));
    }
    reached(rate, measured)
}

impl UnderTest {
    /// What calls took from now on until then, by those that ended.
    async fn measure(&mut self, folder: &Path, until: Instant) -> Rate {
        let meter = Meter::start(folder);
        let before = self.tally.calls_ended;
        self.read_until(until).await;
        let calls = self.tally.calls_ended - before;
        let spent = meter.stop();
        spent.by(calls as f64 / spent.took.as_secs_f64())
    }
}

/// The transport of a group; none is UDP.
fn registrar(over: Over, tls: callmeter_proto::worker::Tls) -> Option<Registrar> {
    let (transport, tls) = match over {
        Over::Udp => return None,
        Over::Tcp => ("tcp", None),
        Over::Tls => ("tls", Some(tls)),
    };
    Some(Registrar {
        transport: transport.into(),
        tls,
        ..Registrar::default()
    })
}
