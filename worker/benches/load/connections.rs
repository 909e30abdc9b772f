//! New TLS connections (G4) and messages over one (G3), beside the least anybody has to do: a bare
//! rustls loop that sends back what comes.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{Registrar, Role};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use tokio::task::JoinSet;

use super::{
    machine::{Cores, Used},
    media::Scheduling,
    secure::Secure,
    support::{eventually, run::Group, tls::server},
    under_test::{FAR, UnderTest, WORKER},
};

/// The argument that makes this program the bare loop.
pub(crate) const ECHO: &str = "tls-echo";
/// Where it listens.
const ECHO_AT: &str = "127.66.0.5:5061";
/// Who opens connections at the same time, one after the other each.
const CLIENTS: u64 = 4;
const SECONDS: Duration = Duration::from_secs(3);
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls whose messages are under way at once over one connection.
const WINDOW: usize = 32;
/// Octets of the messages of a call that come to who answers it, as SIPp writes them: INVITE, ACK
/// and BYE. The loop sends as many back.
const MESSAGES: [usize; 3] = [560, 400, 400];

/// Connections opened a second, and the CPU each took where they were accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) worker: Result<Opened, String>,
    pub(crate) bare: Result<Opened, String>,
    /// CPU of the bare loop for the messages of a call over one connection, in microseconds.
    pub(crate) bare_call_us: f64,
}

/// Opens connections to the worker, then to the bare loop.
pub(crate) async fn measure(cores: &Cores) -> Connections {
    let worker = worker(cores).await;
    let secure = Secure::new("127.66.0.5");
    let echo = Echo::start(cores, &secure).await;
    let remote = ECHO_AT.parse().unwrap();
    let before = (Instant::now(), Used::read(&echo.folder()));
    let bare = storm(&secure, remote).await.map(|opened| {
        let used = Used::read(&echo.folder()).total - before.1.total;
        per_second(opened, before.0.elapsed(), used)
    });
    let bare_call_us = tokio::task::spawn_blocking(move || one_connection(&secure, &echo, remote));
    let measured = Connections {
        worker,
        bare,
        bare_call_us: bare_call_us.await.unwrap(),
    };
    for (who, opened) in [("worker", &measured.worker), ("bare loop", &measured.bare)] {
        match opened {
            Ok(Opened { per_second, cpu_us }) => {
                println!("  {who}: {per_second:.0} TLS connections/s, {cpu_us:.1} µs each");
            }
            Err(reason) => println!("  {who}: TLS connections: {reason}"),
        }
    }
    measured
}

async fn worker(cores: &Cores) -> Result<Opened, String> {
    let secure = Secure::new(WORKER);
    let mut under_test = UnderTest::start(cores, Scheduling::Plain).await;
    let folder = under_test.proc_folder();
    let group = Group {
        run_ms: 60_000,
        registrar: Some(Registrar {
            transport: "tls".into(),
            tls: Some(secure.shown()),
            ..Registrar::default()
        }),
        ..Group::new("answerers", Role::Callee, 1)
    };
    under_test.begin("run-1", &[group]).await;
    let remote = format!("{WORKER}:5060").parse().unwrap();
    let before = (Instant::now(), Used::read(&folder));
    let opened = tokio::select! {
        opened = storm(&secure, remote) => opened?,
        () = under_test.read() => unreachable!("it reads for ever"),
    };
    let used = Used::read(&folder).total - before.1.total;
    let opened = per_second(opened, before.0.elapsed(), used);
    under_test.stop("run-1").await;
    under_test.finish().await;
    Ok(opened)
}

fn per_second(opened: u64, took: Duration, used: f64) -> Opened {
    Opened {
        per_second: opened as f64 / took.as_secs_f64(),
        cpu_us: used * 1e6 / opened as f64,
    }
}

/// Opens connections for [`SECONDS`], each for one OPTIONS and its answer; how many there were. One
/// that fails is the reason why there is no figure.
async fn storm(secure: &Secure, remote: SocketAddr) -> Result<u64, String> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (config, name) = secure.client();
        clients.spawn_blocking(move || {
            let (end, mut opened) = (Instant::now() + SECONDS, 0);
            while Instant::now() < end {
                let call = client << 32 | opened;
                open(&config, &name, remote, call).map_err(|error| error.to_string())?;
                opened += 1;
            }
            Ok(opened)
        });
    }
    let opened: Result<Vec<u64>, String> = clients.join_all().await.into_iter().collect();
    Ok(opened?.iter().sum())
}

fn open(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    remote: SocketAddr,
    call: u64,
) -> std::io::Result<()> {
    let mut tls = dial(config, name, remote)?;
    let at = tls.sock.local_addr()?;
    let message = format!(
        "OPTIONS sip:{remote};transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS {at};branch=z9hG4bK{call}\
         \r\nMax-Forwards: 70\r\nFrom: <sip:far@{FAR}>;tag={call}\r\nTo: <sip:{remote}>\r\n\
         Call-ID: {call}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    tls.write_all(message.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !answer.ends_with(b"\r\n\r\n") {
        let length = tls.read(&mut buffer)?;
        if length == 0 {
            return Err(std::io::Error::other("closed before the answer"));
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    let well = answer.starts_with(b"SIP/2.0 200 ") || answer == message.as_bytes();
    well.then_some(())
        .ok_or_else(|| std::io::Error::other("another answer than 200"))
}

fn dial(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    remote: SocketAddr,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let socket = TcpStream::connect_timeout(&remote, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::clone(config), name.clone());
    Ok(StreamOwned::new(
        session.map_err(std::io::Error::other)?,
        socket,
    ))
}

/// CPU the bare loop needs for the messages of a call, in microseconds.
fn one_connection(secure: &Secure, echo: &Echo, remote: SocketAddr) -> f64 {
    let (config, name) = secure.client();
    let mut tls = dial(&config, &name, remote).unwrap();
    let all: usize = MESSAGES.iter().sum::<usize>() * WINDOW;
    let (mut sent, mut back) = (vec![b'x'; all], vec![0; all]);
    let (end, mut calls) = (Instant::now() + SECONDS, 0);
    let before = Used::read(&echo.folder()).total;
    while Instant::now() < end {
        sent.fill(calls as u8);
        let mut rest = &sent[..];
        for length in MESSAGES.repeat(WINDOW) {
            let (message, others) = rest.split_at(length);
            tls.write_all(message).unwrap();
            rest = others;
        }
        tls.read_exact(&mut back).unwrap();
        assert!(sent == back, "the loop sends back something else");
        calls += WINDOW;
    }
    (Used::read(&echo.folder()).total - before) * 1e6 / calls as f64
}

/// The bare loop as a process on the core under test; killed when dropped.
struct Echo(Child);

impl Echo {
    async fn start(cores: &Cores, secure: &Secure) -> Self {
        let mut words = cores.on_tested();
        let own = std::env::current_exe().unwrap().display().to_string();
        words.extend([&own, "--bench", ECHO].map(str::to_owned));
        let mut launcher = Command::new(&words[0]);
        launcher.args(&words[1..]).stdin(Stdio::piped());
        let mut child = launcher.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(secure.pem().as_bytes()).unwrap();
        drop(input);
        let echo = Self(child);
        eventually("the bare loop listens", async || {
            TcpStream::connect(ECHO_AT).ok().map(drop)
        })
        .await;
        echo
    }

    fn folder(&self) -> std::path::PathBuf {
        format!("/proc/{}", self.0.id()).into()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The bare loop itself: one connection after the other, what comes goes back. Certificate and key
/// come by standard input.
pub(crate) fn echo() {
    let mut pem = String::new();
    std::io::stdin().read_to_string(&mut pem).unwrap();
    let config = server(&pem);
    let listener = TcpListener::bind(ECHO_AT).unwrap();
    loop {
        let (socket, _) = listener.accept().unwrap();
        // A client that goes away ends its connection and nothing else.
        let _ = send_back(&config, socket);
    }
}

fn send_back(config: &Arc<ServerConfig>, socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let session = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(session, socket);
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = tls.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        tls.write_all(&buffer[..length])?;
    }
}
