//! The four addresses of a worker and how they fall back on each other (R13 to R16, R31 to R34).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use super::{ConfigError, GivenAddresses, value::Reader};

const FORM: &str = "an IPv4 or IPv6 address of one host, as 10.0.1.50";

const SERVER: &str = "an IP address with or without a port, as 10.0.0.53 or [2001:db8::53]:5353";

/// No local address leads anywhere.
#[derive(Debug, thiserror::Error)]
#[error("SIP_IP could not be detected (no route out of this host); accepted: {FORM}")]
pub struct DetectError(#[source] io::Error);

/// The addresses in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// SIP sockets are bound to it.
    pub sip: IpAddr,
    /// RTP and RTCP sockets are bound to it.
    pub media: IpAddr,
    /// In the `c=` line of SDP.
    pub sdp: IpAddr,
    /// In Via and Contact.
    pub external: IpAddr,
}

impl Addresses {
    /// SDP_IP ← MEDIA_IP ← SIP_IP ← the detected one; EXTERNAL_IP ← SIP_IP.
    pub fn resolve(given: GivenAddresses, detected: IpAddr) -> Result<Self, ConfigError> {
        let sip = given.sip.unwrap_or(detected);
        let media = given.media.unwrap_or(sip);
        let sdp = given.sdp.unwrap_or(media);
        let external = given.external.unwrap_or(sip);
        let family = |variable, value: IpAddr, other: &str, held: IpAddr| ConfigError {
            variable,
            problem: format!("is {value} and contradicts {other}, which is {held}"),
            accepted: "two addresses of the same IP version",
        };
        if sdp.is_ipv4() != media.is_ipv4() {
            return Err(family("SDP_IP", sdp, "MEDIA_IP", media));
        }
        if external.is_ipv4() != sip.is_ipv4() {
            return Err(family("EXTERNAL_IP", external, "SIP_IP", sip));
        }
        Ok(Self {
            sip,
            media,
            sdp,
            external,
        })
    }
}

pub(super) fn given(vars: &Reader<'_>) -> Result<GivenAddresses, ConfigError> {
    Ok(GivenAddresses {
        sip: one(vars, "SIP_IP")?,
        media: one(vars, "MEDIA_IP")?,
        sdp: one(vars, "SDP_IP")?,
        external: one(vars, "EXTERNAL_IP")?,
    })
}

/// An address of a server, `port` where none is given.
pub(super) fn server(
    vars: &Reader<'_>,
    variable: &'static str,
    port: u16,
) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(text) = vars.optional(variable) else {
        return Ok(None);
    };
    let with_port = text.parse::<SocketAddr>().ok().filter(|at| at.port() != 0);
    let plain = || text.parse().ok().map(|ip| SocketAddr::new(ip, port));
    match with_port.or_else(plain) {
        Some(server) if !server.ip().is_unspecified() => Ok(Some(server)),
        _ => Err(ConfigError {
            variable,
            problem: "is no address of a server".into(),
            accepted: SERVER,
        }),
    }
}

fn one(vars: &Reader<'_>, variable: &'static str) -> Result<Option<IpAddr>, ConfigError> {
    let Some(text) = vars.optional(variable) else {
        return Ok(None);
    };
    let error = |problem: String| ConfigError {
        variable,
        problem,
        accepted: FORM,
    };
    let address: IpAddr = text
        .parse()
        .map_err(|_| error("is not an IP address".into()))?;
    // ::ffff:0.0.0.0 is 0.0.0.0.
    let address = address.to_canonical();
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(error(format!("is {address}, no address of one host")));
    }
    Ok(Some(address))
}

/// The local address the kernel would use towards `gateway`, else towards the default route, else
/// loopback. Connecting a UDP socket sends no packet.
pub fn detect_outbound(gateway: &[SocketAddr]) -> Result<IpAddr, DetectError> {
    // RFC 5737 documentation address: any address behind the default route answers the question.
    let anywhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mut last = io::Error::from(io::ErrorKind::NetworkUnreachable);
    for target in gateway.iter().chain([&anywhere, &loopback]) {
        match towards(*target) {
            Ok(address) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(DetectError(last))
}

fn towards(target: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    let address = socket.local_addr()?.ip();
    if address.is_unspecified() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    Ok(address)
}
