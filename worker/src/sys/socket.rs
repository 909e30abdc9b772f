//! UDP sockets of a stream: kernel receive stamps, drop counts, DSCP and TTL of what arrives.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrLike as _, SockaddrStorage, setsockopt,
    sockopt as nix_sockopt,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};

/// A bound, non-blocking UDP socket that tells about each datagram what the kernel knows.
#[derive(Debug)]
pub struct MediaSocket {
    fd: OwnedFd,
    v6: bool,
    dscp: u8,
}

/// What the kernel knows about a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Octets written to the buffer; a longer datagram is cut.
    pub len: usize,
    /// Source; `None` for an address family a UDP socket does not have.
    pub from: Option<SocketAddr>,
    /// Receive time by the wall clock, nanoseconds since the Unix epoch; `None` if the kernel
    /// gave none.
    pub stamp: Option<i64>,
    /// Datagrams dropped at this socket since it was opened; `None` while there were none.
    pub dropped: Option<u32>,
    /// DSCP, 0..=63.
    pub dscp: Option<u8>,
    /// TTL (IPv4 only).
    pub ttl: Option<u8>,
}

/// Memory for the control messages of one receive call; one per thread.
#[derive(Debug)]
pub struct ControlBuffer(Vec<u8>);

impl ControlBuffer {
    /// Room for stamp, drop count, TOS or traffic class, and TTL.
    pub fn new() -> Self {
        Self(nix::cmsg_space!(
            libc::timespec,
            u32,
            libc::c_int,
            libc::c_int
        ))
    }
}

impl Default for ControlBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl MediaSocket {
    /// Binds `ip:port` with all that is to be told switched on.
    pub fn bind(ip: IpAddr, port: u16) -> io::Result<Self> {
        let v6 = ip.is_ipv6();
        let family = if v6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        let dscp = 0;
        let socket = Self { fd, v6, dscp };
        setsockopt(&socket.fd, nix_sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket.fd, nix_sockopt::RxqOvfl, &1)?;
        if v6 {
            sockopt::set_ipv6_recvtclass(&socket.fd, true)?;
        } else {
            sockopt::set_ip_recvtos(&socket.fd, true)?;
            setsockopt(&socket.fd, nix_sockopt::Ipv4RecvTtl, &true)?;
        }
        rustix::net::bind(&socket.fd, &SocketAddr::new(ip, port))?;
        Ok(socket)
    }

    /// Marks what is sent with `dscp`, 0..=63.
    pub fn set_dscp(&mut self, dscp: u8) -> io::Result<()> {
        if self.dscp == dscp {
            return Ok(());
        }
        // The two low bits are ECN's (RFC 3168), left at 0.
        let octet = dscp << 2;
        if self.v6 {
            sockopt::set_ipv6_tclass(&self.fd, u32::from(octet))?;
        } else {
            sockopt::set_ip_tos(&self.fd, octet)?;
        }
        self.dscp = dscp;
        Ok(())
    }

    /// The bound address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.fd)?;
        address
            .try_into()
            .map_err(|_| io::ErrorKind::Unsupported.into())
    }

    /// Sends one datagram; a datagram goes whole or not at all.
    pub fn send(&self, datagram: &[u8], to: &SocketAddr) -> io::Result<()> {
        rustix::net::sendto(&self.fd, datagram, SendFlags::empty(), to)?;
        Ok(())
    }

    /// Takes one datagram into `buffer`; `None` when none waits.
    pub fn receive(
        &self,
        buffer: &mut [u8],
        control: &mut ControlBuffer,
    ) -> io::Result<Option<Received>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.fd.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match nix::sys::socket::recvmsg::<SockaddrStorage>(
            fd,
            &mut parts,
            Some(&mut control.0),
            flags,
        ) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut received = Received {
            len: message.bytes,
            from: message.address.as_ref().and_then(to_std),
            stamp: None,
            dropped: None,
            dscp: None,
            ttl: None,
        };
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::ScmTimestampns(at) => {
                    received.stamp = Some(at.tv_sec() * 1_000_000_000 + at.tv_nsec());
                }
                ControlMessageOwned::RxqOvfl(total) => received.dropped = Some(total),
                ControlMessageOwned::Ipv4Tos(octet) => received.dscp = Some(octet >> 2),
                ControlMessageOwned::Ipv6TClass(octet) => {
                    received.dscp = Some((octet >> 2) as u8 & 0x3f);
                }
                ControlMessageOwned::Ipv4Ttl(ttl) => received.ttl = u8::try_from(ttl).ok(),
                _ => {}
            }
        }
        Ok(Some(received))
    }
}

/// Keeps the kernel stamping what it receives. It starts to with the first socket that asks, from
/// a deferred task, and ends with the last one; without this the first packets of a quiet host
/// could be stamped when they are read.
#[derive(Debug)]
pub struct StampKeeper {
    _unbound: OwnedFd,
}

impl StampKeeper {
    /// Asks for stamps with a socket that has no address.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        setsockopt(&fd, nix_sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { _unbound: fd })
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        nix::sys::socket::AddressFamily::Inet => address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4((*v4).into())),
        nix::sys::socket::AddressFamily::Inet6 => address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::clock;

    fn receive(socket: &MediaSocket, buffer: &mut [u8]) -> Received {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut control = ControlBuffer::new();
        loop {
            if let Some(received) = socket.receive(buffer, &mut control).unwrap() {
                return received;
            }
            assert!(Instant::now() < deadline, "datagram not received");
            std::thread::yield_now();
        }
    }

    fn exchange(ip: &str) -> Received {
        let ip: IpAddr = ip.parse().unwrap();
        let (mut a, b) = (
            MediaSocket::bind(ip, 0).unwrap(),
            MediaSocket::bind(ip, 0).unwrap(),
        );
        a.set_dscp(46).unwrap();
        let before = clock::monotonic().as_nanos() + clock::wall_offset();
        a.send(b"hello", &b.local().unwrap()).unwrap();
        let mut buffer = [0; 64];
        let received = receive(&b, &mut buffer);
        let after = clock::monotonic().as_nanos() + clock::wall_offset();
        assert_eq!(
            (&buffer[..received.len], received.from),
            (&b"hello"[..], a.local().ok())
        );
        let stamp = received.stamp.unwrap();
        assert!(stamp + 1_000_000 > before && stamp < after + 1_000_000);
        assert_eq!((received.dscp, received.dropped), (Some(46), None));
        received
    }

    #[test]
    fn source_stamp_dscp_and_ttl_over_ipv4_and_ipv6() {
        assert_eq!(exchange("127.0.0.1").ttl, Some(64));
        exchange("::1");
    }

    #[test]
    fn an_empty_socket_says_so_and_a_taken_port_is_refused() {
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        let socket = MediaSocket::bind(ip, 0).unwrap();
        let nothing = socket
            .receive(&mut [0; 8], &mut ControlBuffer::new())
            .unwrap();
        assert_eq!(nothing, None);
        let error = MediaSocket::bind(ip, socket.local().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn drops_at_a_full_socket_are_told_with_the_next_datagram() {
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        let (a, b) = (
            MediaSocket::bind(ip, 0).unwrap(),
            MediaSocket::bind(ip, 0).unwrap(),
        );
        sockopt::set_socket_recv_buffer_size(&b, 2048).unwrap();
        let to = b.local().unwrap();
        for _ in 0..100 {
            a.send(&[0; 500], &to).unwrap();
        }
        let mut control = ControlBuffer::new();
        let mut kept = 0;
        while b.receive(&mut [0; 500], &mut control).unwrap().is_some() {
            kept += 1;
        }
        a.send(&[0; 500], &to).unwrap();
        let received = receive(&b, &mut [0; 500]);
        assert_eq!(received.dropped, Some(100 - kept));
    }
}
