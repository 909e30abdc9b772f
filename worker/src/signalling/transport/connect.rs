//! Sockets of connections, none of which blocks.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

/// Connections that may wait for [`TcpListener::accept`].
const BACKLOG: i32 = 1024;

/// A socket bound to an address, which may have other connections to other peers; port 0: any.
pub(super) fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// A port for connections of our own, held by the socket that is given with it.
pub(in crate::signalling) fn any_port(ip: IpAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = bound(SocketAddr::new(ip, 0))?;
    let address = net::getsockname(&socket)?;
    let address = SocketAddr::try_from(address)?;
    Ok((socket, address))
}

/// Begins to connect; the socket is writable when that has ended one way or the other.
pub(super) fn connect(socket: OwnedFd, remote: SocketAddr) -> io::Result<TcpStream> {
    match net::connect(&socket, &remote) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a listening socket on exactly this address and port.
pub(in crate::signalling) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}
