//! Answers calls for a far end: every call gets the media port of an endpoint of its own.

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// First media port, that of `endpoints.c`.
const FIRST_PORT: u32 = 10_000;

/// A thread that answers INVITE and BYE with 200; ends when dropped.
pub(crate) struct Answerer {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Listens on `address`; media is at the same IP address.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let room = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
        room.unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (ended, known) = (Arc::clone(&stop), Arc::clone(&calls));
        let thread = std::thread::spawn(move || {
            let mut ports = HashMap::new();
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let request = String::from_utf8_lossy(&buffer[..length]);
                if let Some(answer) = answer(&request, address, &mut ports) {
                    socket.send_to(answer.as_bytes(), from).unwrap();
                }
                known.store(ports.len() as u32, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            calls,
            thread: Some(thread),
        }
    }

    /// Calls answered so far.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// 200 to an INVITE (a repeated one too) or BYE; nothing else wants an answer.
fn answer(request: &str, at: SocketAddr, ports: &mut HashMap<String, u32>) -> Option<String> {
    let invite = request.starts_with("INVITE ");
    if !invite && !request.starts_with("BYE ") {
        return None;
    }
    let head = request.split("\r\n\r\n").next()?;
    let mut response = "SIP/2.0 200 OK\r\n".to_owned();
    for line in head.lines() {
        let name = line.split(':').next()?;
        if matches!(name, "Via" | "From" | "Call-ID" | "CSeq") {
            let _ = write!(response, "{line}\r\n");
        } else if name == "To" {
            let tag = if line.contains(";tag=") {
                ""
            } else {
                ";tag=far"
            };
            let _ = write!(response, "{line}{tag}\r\n");
        }
    }
    if !invite {
        response += "Content-Length: 0\r\n\r\n";
        return Some(response);
    }
    let call_id = head
        .lines()
        .find_map(|line| line.strip_prefix("Call-ID:"))?
        .trim();
    let next = FIRST_PORT + 2 * ports.len() as u32;
    let port = ports.entry(call_id.to_owned()).or_insert(next);
    let ip = at.ip();
    let body = format!(
        "v=0\r\no=far 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
    );
    let length = body.len();
    let _ = write!(
        response,
        "Contact: <sip:far@{at}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    Some(response)
}
