//! Calls per second over UDP beside SIPp (G1), and the CPU a call takes (G2).

use std::{net::UdpSocket, path::Path, process::Command, time::Duration};

use callmeter_proto::worker::Role;
use tokio::time::{Instant, sleep_until};

use super::{
    machine::{Cores, Used},
    media::Scheduling,
    support::{
        peer_process::{PeerProcess, Sipp, SippTotals},
        run::Group,
    },
    under_test::{FAR, UnderTest, WORKER, program},
};

/// Where SIPp calls from.
const CALLER: &str = "127.66.0.3";
/// What makes SIPp 3.6.1 as fast as it gets.
const TUNING: &str =
    "-buff_size 4194304 -max_recv_loops 10000 -max_sched_loops 10000 -deadcall_wait 0";
/// How long calls are begun at one rate.
const SECONDS: u32 = 3;
/// The part of it that is measured.
const FROM: Duration = Duration::from_millis(500);
const TO: Duration = Duration::from_millis(2800);
/// Answering endpoints of the worker: enough for a moment in which it gets no CPU.
const ANSWERERS: u32 = 1000;
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
}

/// The highest rates, by who is under test and what it does.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) sipp_answers: Option<Rate>,
    pub(crate) worker_answers: Option<Rate>,
    pub(crate) sipp_calls: Option<Rate>,
    pub(crate) worker_calls: Option<Rate>,
}

/// Measures SIPp against itself, then the worker in SIPp's place; none without SIPp.
pub(crate) async fn measure(cores: &Cores) -> Option<Figures> {
    let sipp = &program("sipp")?;
    Some(Figures {
        sipp_answers: highest("SIPp answers", 16_000, async |rate| {
            sipp_pair(cores, sipp, rate, Role::Callee).await
        })
        .await,
        worker_answers: highest("worker answers", 8000, async |rate| {
            worker_answers(cores, sipp, rate).await
        })
        .await,
        sipp_calls: highest("SIPp calls", 16_000, async |rate| {
            sipp_pair(cores, sipp, rate, Role::Caller).await
        })
        .await,
        worker_calls: highest("worker calls", 8000, async |rate| {
            worker_calls(cores, sipp, rate).await
        })
        .await,
    })
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
                let Rate { per_second, cpu_us } = reached;
                println!("  {what}: {per_second:.0} calls/s, {cpu_us:.1} µs each");
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

/// Starts SIPp with a scenario of its own, its figures in a file.
fn spawn(sipp: &Path, prefix: &[String], scenario: &str, own: &str, more: &[String]) -> Sipp {
    let mut words = prefix.to_vec();
    words.push(sipp.display().to_string());
    let fixed = format!(
        "-sn {scenario} -i {own} -mi {own} -p 5060 -nostdin -trace_stat -stf stat.csv -fd 1 \
         -trace_err -error_file errors.log {TUNING}"
    );
    words.extend(fixed.split_whitespace().map(str::to_owned));
    words.extend_from_slice(more);
    let mut launcher = Command::new(&words[0]);
    launcher.args(&words[1..]);
    let folder = tempfile::tempdir().unwrap();
    Sipp(PeerProcess::spawn_by(launcher, folder))
}

/// A caller that begins `rate` calls a second for [`SECONDS`] and hangs up at once.
fn spawn_caller(sipp: &Path, prefix: &[String], rate: u32, remote: &str) -> Sipp {
    let (total, most, timeout) = (rate * SECONDS, rate / 4, SECONDS * 3);
    let more = format!("-r {rate} -m {total} -l {most} -timeout {timeout}s {remote}");
    let more: Vec<_> = more.split_whitespace().map(str::to_owned).collect();
    spawn(sipp, prefix, "uac", CALLER, &more)
}

/// CPU per call between [`FROM`] and [`TO`] at a rate.
struct Meter<'a> {
    folder: &'a Path,
    begin: Instant,
    used: f64,
}

impl<'a> Meter<'a> {
    fn start(folder: &'a Path) -> Self {
        let used = Used::read(folder).total;
        let begin = Instant::now();
        Self {
            folder,
            begin,
            used,
        }
    }

    /// Ends it after so many calls a second.
    fn rate(&self, per_second: f64) -> Rate {
        let used = Used::read(self.folder).total - self.used;
        let calls = per_second * self.begin.elapsed().as_secs_f64();
        Rate {
            per_second,
            cpu_us: used * 1e6 / calls,
        }
    }
}

/// What a caller's figures say against a rate.
fn judge(rate: u32, took: Duration, totals: SippTotals) -> Result<(), String> {
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
    let longest = f64::from(SECONDS) / REACHED + 0.5;
    if took.as_secs_f64() > longest {
        let seconds = took.as_secs_f64();
        return Err(format!("its {SECONDS} s took {seconds:.1} s"));
    }
    Ok(())
}

/// Where SIPp takes the worker's RTCP. It binds its media port only; a port without a socket would
/// answer each report with an ICMP error at the sender's expense. What comes is not read.
fn rtcp_port(own: &str) -> UdpSocket {
    UdpSocket::bind((own, 6001)).unwrap_or_else(|e| panic!("{own}:6001: {e}"))
}

/// SIPp calls SIPp; the one under test has the core under test to itself.
async fn sipp_pair(cores: &Cores, sipp: &Path, rate: u32, tested: Role) -> Result<Rate, String> {
    let (callee, caller) = if tested == Role::Callee {
        (cores.on_tested(), vec![])
    } else {
        (vec![], cores.on_tested())
    };
    let begin = Instant::now();
    let mut uas = spawn(sipp, &callee, "uas", FAR, &[]);
    uas.listens_at(FAR, 5060).await;
    let mut uac = spawn_caller(sipp, &caller, rate, &format!("{FAR}:5060"));
    let folder = if tested == Role::Callee {
        uas.0.proc_folder()
    } else {
        uac.0.proc_folder()
    };
    sleep_until(begin + FROM).await;
    let meter = Meter::start(&folder);
    sleep_until(begin + TO).await;
    let reached = meter.rate(f64::from(rate));
    uac.0.exit_code().await;
    judge(rate, begin.elapsed(), uac.totals())?;
    let again = uas.stop().await.retransmissions;
    if again > 0 {
        return Err(format!("{again} answers were sent again"));
    }
    Ok(reached)
}

/// SIPp calls the worker.
async fn worker_answers(cores: &Cores, sipp: &Path, rate: u32) -> Result<Rate, String> {
    let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
    let folder = under_test.proc_folder();
    let group = Group {
        codec: "pcmu",
        accept_external: true,
        run_ms: 60_000,
        ..Group::new("answerers", Role::Callee, ANSWERERS)
    };
    let _rtcp = rtcp_port(CALLER);
    under_test.begin("run-1", &[group]).await;
    let begin = Instant::now();
    let mut uac = spawn_caller(sipp, &[], rate, &format!("{WORKER}:5060"));
    under_test.read_until(begin + FROM).await;
    let meter = Meter::start(&folder);
    under_test.read_until(begin + TO).await;
    let reached = meter.rate(f64::from(rate));
    tokio::select! {
        _ = uac.0.exit_code() => {}
        () = under_test.read() => {}
    }
    judge(rate, begin.elapsed(), uac.totals())?;
    under_test.stop("run-1").await;
    under_test.finish().await;
    under_test.tally.judge()?;
    Ok(reached)
}

/// The worker calls SIPp.
async fn worker_calls(cores: &Cores, sipp: &Path, rate: u32) -> Result<Rate, String> {
    let mut uas = spawn(sipp, &[], "uas", FAR, &[]);
    uas.listens_at(FAR, 5060).await;
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
        peers: vec![format!("sip:service@{FAR}:5060"); endpoints as usize],
        ..Group::new("callers", Role::Caller, endpoints)
    };
    under_test.begin("run-1", &[group]).await;
    let begin = Instant::now();
    under_test.read_until(begin + FROM).await;
    let meter = Meter::start(&folder);
    let before = under_test.tally.calls_ended;
    under_test.read_until(begin + TO).await;
    let calls = under_test.tally.calls_ended - before;
    let reached = meter.rate(calls as f64 / meter.begin.elapsed().as_secs_f64());
    // The end of the run cuts calls that have just begun.
    let measured = under_test.tally.clone();
    under_test.finish().await;
    measured.judge()?;
    let totals = uas.stop().await;
    if totals.retransmissions > 0 {
        let again = totals.retransmissions;
        return Err(format!("{again} answers were sent again"));
    }
    if reached.per_second < f64::from(rate) * REACHED {
        return Err(format!("{:.0}/s were reached", reached.per_second));
    }
    Ok(reached)
}
