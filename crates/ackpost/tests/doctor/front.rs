//! Proxies between a client and a server.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use ackpost_testkit::SelfSigned;

/// TLS in front of a port, with this certificate.
pub(crate) fn tls_front(certificate: &SelfSigned, target: u16) -> u16 {
    let config = certificate.server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inside = acceptor.accept(stream).await.ok()?;
                    let mut outside = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.ok()?;
                    tokio::io::copy_bidirectional(&mut inside, &mut outside)
                        .await
                        .ok()
                });
            }
        });
    });
    port
}

/// A port at `::1` that leads to one at 127.0.0.1.
pub(crate) fn ipv6_front(target: u16) -> u16 {
    let listener = TcpListener::bind("[::1]:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for inside in listener.incoming().flatten() {
            let Ok(outside) = TcpStream::connect(("127.0.0.1", target)) else {
                continue;
            };
            for (from, to) in [(&inside, &outside), (&outside, &inside)] {
                let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    port
}
