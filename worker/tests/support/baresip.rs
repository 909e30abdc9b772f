//! baresip 1.0, another user agent, that sends back what it hears.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{
    certificates::Certificates,
    eventually,
    peer_process::{PeerProcess, program},
    ports::Ports,
};

/// A running baresip; killed when dropped.
pub struct Baresip {
    process: PeerProcess,
    control: u16,
    /// Where its account is reached.
    pub port: u16,
}

impl Baresip {
    /// Starts it with one account, `echo`, that answers every call; none if it is not installed.
    pub async fn spawn(ports: Ports, transport: &str, own: Option<&Certificates>) -> Option<Self> {
        let path = program("baresip")?;
        let control = ports.health;
        // It listens for TLS one port above.
        let port = ports.sip_first + u16::from(transport == "tls");
        let tls = own.map(|_| "sip_certificate certificate.pem\nsip_cafile ca.pem");
        let config = include_str!("../peers/baresip.config")
            .replace("@SIP@", &ports.sip_first.to_string())
            .replace("@RTP_FIRST@", &ports.rtp_first.to_string())
            .replace("@RTP_LAST@", &ports.rtp_last.to_string())
            .replace("@CONTROL@", &control.to_string())
            .replace("@TLS@", tls.unwrap_or_default());
        let account =
            format!("<sip:echo@127.0.0.1:{port};transport={transport}>;regint=0;answermode=auto\n");
        let folder = tempfile::tempdir().unwrap();
        let write = |name, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("config", &config);
        write("accounts", &account);
        if let Some(own) = own {
            write(
                "certificate.pem",
                &format!("{}{}", own.certificate, own.key),
            );
            write("ca.pem", &own.ca);
        }
        let process = PeerProcess::spawn(&path, folder, &["-f", "."].map(str::to_owned));
        let running = Self {
            process,
            control,
            port,
        };
        running.says("baresip is ready").await;
        Some(running)
    }

    /// Its account's URI.
    pub fn uri(&self) -> String {
        format!("sip:echo@127.0.0.1:{}", self.port)
    }

    /// Waits until it has printed this.
    pub async fn says(&self, text: &str) {
        eventually(&format!("baresip says: {text}"), async || {
            self.output().contains(text).then_some(())
        })
        .await;
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Gives it a command of its menu and returns its answer.
    pub fn command(&self, command: &str, parameters: &str) -> String {
        let text = format!(r#"{{"command":"{command}","params":"{parameters}"}}"#);
        let mut stream = TcpStream::connect(("127.0.0.1", self.control)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(stream, "{}:{text},", text.len()).unwrap();
        // Events may come before the answer, each a netstring.
        let mut text = String::new();
        while !(text.contains(r#""response":true"#) && text.ends_with(',')) {
            let mut piece = vec![0; 4096];
            let length = stream.read(&mut piece).unwrap();
            assert_ne!(length, 0, "baresip closed the connection after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        text
    }
}
