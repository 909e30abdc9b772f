//! A registrar and proxy of the tests' own on a loopback port: for digest algorithms that no server
//! of Debian's has.

#[path = "../../../crates/sip/tests/pair/server.rs"]
mod server;
#[path = "../../../crates/sip/tests/pair/text.rs"]
mod text;

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use callmeter_sip::LARGEST_MESSAGE;
use server::Server;
use text::{header, reply};

/// Serves until it is dropped.
pub struct Registrar {
    pub port: u16,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// Starts it with one password for all users.
    pub fn start(realm: &'static str, algorithm: &'static str, password: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut server = Server::new(&address.to_string(), algorithm);
        server.realm = realm;
        server.password = password;
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; LARGEST_MESSAGE];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let packet = buffer[..length].to_vec().into();
                for (to, message) in server.handle(from, &packet) {
                    socket.send_to(message.as_bytes(), to).unwrap();
                }
            }
        });
        Self {
            port: address.port(),
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Registrar {
    /// What it found wrong fails the test.
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        waker.send_to(b"end", ("127.0.0.1", self.port)).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "its thread");
    }
}
