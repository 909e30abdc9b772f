//! A registrar for a far end: digest with MD5 and qop=auth, checked; bindings in memory.

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use md5::{Digest as _, Md5};

/// Its realm, and the domain it serves.
pub(crate) const REALM: &str = "bench.test";
/// The password of every user.
pub(crate) const PASSWORD: &str = "bench-password";
const NONCE: &str = "6f70656e2d666c656574";

/// A thread that answers REGISTER; ends when dropped.
pub(crate) struct Registrar {
    figures: Arc<Figures>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Figures {
    stop: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    lapsed: AtomicU64,
    kept: AtomicU64,
}

/// What it has seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: u64,
    /// With a wrong answer to the challenge.
    pub(crate) refused: u64,
    /// Came after the registration they refresh had ended.
    pub(crate) lapsed: u64,
    /// Users that have been registered.
    pub(crate) kept: u64,
}

impl Registrar {
    /// Listens on `address`; grants `lifetime` seconds.
    pub(crate) fn start(address: SocketAddr, lifetime: u32) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let room = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
        room.unwrap();
        let patience = Some(Duration::from_millis(100));
        socket.set_read_timeout(patience).unwrap();
        let figures = Arc::<Figures>::default();
        let mut state = State {
            figures: Arc::clone(&figures),
            lifetime,
            users: HashMap::new(),
        };
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !state.figures.stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let request = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
                if let Some(answer) = state.answer(request) {
                    socket.send_to(answer.as_bytes(), from).unwrap();
                }
            }
        });
        Self {
            figures,
            thread: Some(thread),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Seen {
            accepted: read(&self.figures.accepted),
            refused: read(&self.figures.refused),
            lapsed: read(&self.figures.lapsed),
            kept: read(&self.figures.kept),
        }
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.figures.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    figures: Arc<Figures>,
    lifetime: u32,
    /// The end of each user's registration, and the last nonce count it used.
    users: HashMap<String, (Instant, u32)>,
}

impl State {
    fn answer(&mut self, request: &str) -> Option<String> {
        if !request.starts_with("REGISTER ") {
            return None;
        }
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        let Some(credentials) = header(request, "Authorization") else {
            let challenge = format!(
                "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{NONCE}\", algorithm=MD5, \
                 qop=\"auth\"\r\n"
            );
            return Some(response(request, "401 Unauthorized", &challenge));
        };
        let user = parameter(credentials, "username")?;
        let count = u32::from_str_radix(parameter(credentials, "nc")?, 16).ok()?;
        let known = self.users.get(user);
        // A count that was used before is a copied answer.
        let fresh = known.is_none_or(|(_, last)| count > *last);
        if !fresh || expected(credentials)?.as_str() != parameter(credentials, "response")? {
            add(&self.figures.refused);
            return Some(response(request, "403 Forbidden", ""));
        }
        let now = Instant::now();
        match known {
            Some((ends, _)) if *ends < now => {
                add(&self.figures.lapsed);
            }
            Some(_) => {}
            None => {
                add(&self.figures.kept);
            }
        }
        add(&self.figures.accepted);
        let contact = header(request, "Contact")?;
        let asked = header(request, "Expires").and_then(|value| value.parse().ok());
        let granted = asked.map_or(self.lifetime, |asked: u32| asked.min(self.lifetime));
        if granted == 0 {
            self.users.remove(user);
            self.figures.kept.fetch_sub(1, Ordering::Relaxed);
            return Some(response(request, "200 OK", ""));
        }
        let ends = now + Duration::from_secs(granted.into());
        self.users.insert(user.to_owned(), (ends, count));
        let binding = format!("Contact: {contact};expires={granted}\r\n");
        Some(response(request, "200 OK", &binding))
    }
}

/// The answer a client that knows the password gives (RFC 7616 §3.4.1).
fn expected(credentials: &str) -> Option<String> {
    let of = |name| parameter(credentials, name);
    let (user, uri, nonce) = (of("username")?, of("uri")?, of("nonce")?);
    let (nc, cnonce) = (of("nc")?, of("cnonce")?);
    let (secret, what) = (
        hash(&format!("{user}:{REALM}:{PASSWORD}")),
        hash(&format!("REGISTER:{uri}")),
    );
    Some(hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{what}")))
}

fn hash(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

/// The value of the first header of a name, as the worker writes it.
fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = message.split("\r\n").take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A parameter of credentials, without its quotes.
fn parameter<'a>(credentials: &'a str, name: &str) -> Option<&'a str> {
    let parameters = credentials.strip_prefix("Digest ")?.split(',');
    parameters
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then(|| value.trim_matches('"')))
}

fn response(request: &str, status: &str, more: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        let value = header(request, name).unwrap_or_default();
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let to = header(request, "To").unwrap_or_default();
    let _ = write!(text, "To: {to};tag=far\r\n{more}Content-Length: 0\r\n\r\n");
    text
}
