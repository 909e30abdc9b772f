//! SIPp 3.6.1 as fast as it gets.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use super::{
    calls::SECONDS,
    support::{
        eventually,
        peer_process::{PeerProcess, Sipp},
    },
};

/// Where SIPp calls from.
pub(crate) const CALLER: &str = "127.66.0.3";
/// What makes it fast.
const TUNING: &str =
    "-buff_size 4194304 -max_recv_loops 10000 -max_sched_loops 10000 -deadcall_wait 0";
/// Where its own scenario says it is.
const CONTACT: &str = "<sip:[local_ip]:[local_port];transport=[transport]>";
/// Calls over connections come from one port after the other: a closed one is kept from use for a
/// minute by the kernel.
static NEXT_PORT: AtomicU16 = AtomicU16::new(5060);

/// What it sends over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Udp,
    /// One connection for all calls.
    Tcp,
}

impl Wire {
    fn option(self) -> &'static str {
        match self {
            Self::Udp => "u1",
            Self::Tcp => "t1",
        }
    }

    /// Whether a port is taken.
    fn is_taken(self, own: &str, port: u16) -> bool {
        match self {
            Self::Udp => std::net::UdpSocket::bind((own, port)).is_err(),
            Self::Tcp => std::net::TcpListener::bind((own, port)).is_err(),
        }
    }
}

/// Answers at port 5060 of `own`; `contact`: peers reach it there, by TLS. Returns once it listens.
pub(crate) async fn answerer(
    program: &Path,
    prefix: &[String],
    wire: Wire,
    own: &str,
    contact: Option<&str>,
) -> Sipp {
    let folder = tempfile::tempdir().unwrap();
    let scenario = if let Some(contact) = contact {
        let own = Command::new(program).args(["-sd", "uas"]).output().unwrap();
        let text = String::from_utf8(own.stdout).unwrap();
        let text = text.replace(CONTACT, &format!("<sip:{contact};transport=tls>"));
        std::fs::write(folder.path().join("uas.xml"), text).unwrap();
        "-sf uas.xml"
    } else {
        "-sn uas"
    };
    let more = format!("{scenario} -p 5060");
    let started = spawn(program, prefix, folder, wire, own, &more);
    eventually("SIPp listens", async || {
        wire.is_taken(own, 5060).then_some(())
    })
    .await;
    started
}

/// A caller that begins `rate` calls a second for [`SECONDS`] and hangs up at once.
pub(crate) fn caller(
    program: &Path,
    prefix: &[String],
    wire: Wire,
    rate: u32,
    remote: &str,
) -> Sipp {
    let port = match wire {
        Wire::Udp => 5060,
        Wire::Tcp => NEXT_PORT.fetch_add(1, Ordering::Relaxed),
    };
    // What takes longer has failed.
    let (total, most, timeout) = (rate * SECONDS, rate / 4, SECONDS + 2);
    let more =
        format!("-sn uac -p {port} -r {rate} -m {total} -l {most} -timeout {timeout}s {remote}");
    let folder = tempfile::tempdir().unwrap();
    spawn(program, prefix, folder, wire, CALLER, &more)
}

/// Its figures go to a file.
fn spawn(
    program: &Path,
    prefix: &[String],
    folder: tempfile::TempDir,
    wire: Wire,
    own: &str,
    more: &str,
) -> Sipp {
    let mut words = prefix.to_vec();
    words.push(program.display().to_string());
    let option = wire.option();
    let fixed = format!(
        "-t {option} -i {own} -mi {own} -nostdin -trace_stat -stf stat.csv -fd 1 -trace_err \
         -error_file errors.log {TUNING} {more}"
    );
    words.extend(fixed.split_whitespace().map(str::to_owned));
    let mut launcher = Command::new(&words[0]);
    launcher.args(&words[1..]);
    Sipp(PeerProcess::spawn_by(launcher, folder))
}
