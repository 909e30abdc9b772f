//! Kamailio as a child process.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use super::{
    certificates::Certificates,
    eventually,
    inspect::udp_is_bound,
    peer_process::{PeerProcess, program},
    ports,
};

/// What Kamailio needs for TLS.
const TLS: &str = r#"enable_tls=yes
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "@FOLDER@/certificate.pem")
modparam("tls", "private_key", "@FOLDER@/key.pem")"#;

/// What it needs to speak WebSocket to those who ask for the subprotocol and the right path.
const WEB_SOCKET: &str = r#"tcp_accept_no_cl=yes
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "nathelper.so"
event_route[xhttp:request] {
  if ($hdr(Upgrade)=~"websocket" && $hdr(Connection)=~"Upgrade" && $hu=~"^/sip") {
    ws_handle_handshake();
    exit;
  }
  xhttp_reply("404", "Not Found", "text/plain", "no such path");
}"#;

/// What it needs to keep the flows of registrations (RFC 5626); the first before what uses it.
const OUTBOUND: &str = r#"loadmodule "outbound.so""#;
const FLOWS: &str = r#"modparam("registrar", "outbound_mode", 1)
modparam("registrar", "flow_timer", 25)"#;

/// Where it takes large requests of those who use UDP.
const LARGE: &str = "listen=tcp:127.0.0.1:@PORT@";

/// What it needs to reach endpoints by the way their REGISTER came (RFC 3327).
const PATH: &str = r#"modparam("registrar", "use_path", 1)"#;

/// Kamailio as registrar and proxy of `pbx.test`.
pub struct Kamailio<'a> {
    pub algorithm: &'a str,
    pub transport: &'a str,
    pub own: &'a Certificates,
    /// That of all users.
    pub password: &'a str,
    /// It keeps the flows of registrations.
    pub outbound: bool,
    /// It is behind an edge proxy.
    pub path: bool,
}

impl Kamailio<'_> {
    /// Starts it on a loopback port; none if it is not installed.
    pub async fn start(&self) -> Option<(PeerProcess, u16)> {
        let web_socket = self.transport.starts_with("ws");
        let config = include_str!("../peers/kamailio.cfg")
            .replace("@OUTBOUND@", given(self.outbound, OUTBOUND))
            .replace("@FLOWS@", given(self.outbound, FLOWS))
            .replace("@PATH@", given(self.path, PATH))
            .replace("@LARGE@", given(self.transport == "udp", LARGE))
            .replace("@ALGORITHM@", self.algorithm)
            .replace("@WEB_SOCKET@", given(web_socket, WEB_SOCKET))
            .replace("@PASSWORD@", self.password);
        start(&config, self.transport, self.own).await
    }
}

/// Kamailio as the edge proxy before a registrar on that loopback port, which it speaks UDP with;
/// none if it is not installed.
pub async fn edge(
    registrar: u16,
    transport: &str,
    own: &Certificates,
) -> Option<(PeerProcess, u16)> {
    let inner = ports::block().sip_first;
    let config = include_str!("../peers/edge.cfg")
        .replace("@REGISTRAR@", &registrar.to_string())
        .replace("@INNER@", &inner.to_string());
    start(&config, transport, own).await
}

fn given(wanted: bool, lines: &'static str) -> &'static str {
    if wanted { lines } else { "" }
}

async fn start(config: &str, transport: &str, own: &Certificates) -> Option<(PeerProcess, u16)> {
    let path = program("kamailio")?;
    let port = ports::block().sip_first;
    let folder = tempfile::tempdir().unwrap();
    let config = config
        .replace("@LISTEN@", listens(transport))
        .replace("@PORT@", &port.to_string())
        .replace("@TLS@", given(secure(transport), TLS))
        .replace("@FOLDER@", folder.path().to_str().unwrap());
    let write = |name, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("kamailio.cfg", &config);
    write("certificate.pem", &own.certificate);
    write("key.pem", &own.key);
    let arguments = [
        "-f",
        "kamailio.cfg",
        "-DD",
        "-E",
        "-m",
        "64",
        "-M",
        "8",
        "-Y",
        ".",
    ];
    let process = PeerProcess::spawn(&path, folder, &arguments.map(str::to_owned));
    eventually("Kamailio listens", async || {
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let listens = match transport {
            "udp" => udp_is_bound(&process.proc_folder(), at),
            _ => TcpStream::connect(at).is_ok(),
        };
        listens.then_some(())
    })
    .await;
    Some((process, port))
}

/// Whether a transport is over TLS.
pub fn secure(transport: &str) -> bool {
    ["tls", "wss"].contains(&transport)
}

/// What Kamailio calls the socket of a transport: WebSocket comes over those of TCP and TLS.
fn listens(transport: &str) -> &str {
    match transport {
        "ws" => "tcp",
        "wss" => "tls",
        other => other,
    }
}
