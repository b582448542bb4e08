//! Places where connections vanish.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A port that answers no attempt to connect, as behind a firewall that drops: its queue is full, and
/// the system drops what does not fit.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// Fails where the machine has no such address.
    pub fn at(ip: IpAddr, port: u16) -> io::Result<Self> {
        let listener = super::block_on(async {
            let socket = match ip {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
            }?;
            socket.bind((ip, port).into())?;
            socket.listen(1)?.into_std()
        })?;
        let address = listener.local_addr()?;
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(stream);
            assert!(queue.len() < 50, "the queue of {address} never fills");
        }
        Ok(Self {
            address,
            _listener: listener,
            _queue: queue,
        })
    }
}

/// An address of this machine that is not the loopback, if it has one. Nothing is sent to find out.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}
