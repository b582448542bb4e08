//! Proxies of the environment, with a proxy on this machine that counts what goes through it.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(
    clippy::disallowed_methods,
    reason = "the exit code is the answer of the process that plays the client"
)]

mod community;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackpost_testkit::SelfSigned;
use community::Community;
use sogs_client::{Cause, Encrypt, Server, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Set for the process that plays the client: the environment must be there before it starts.
const URL: &str = "SOGS_CLIENT_TEST_URL";
const KEY: &str = "SOGS_CLIENT_TEST_KEY";

/// Not a test by itself: what the tests below run as a process, in the environment they want to try.
#[tokio::test]
async fn client_in_its_own_process() {
    let (Ok(url), Ok(key)) = (std::env::var(URL), std::env::var(KEY)) else {
        return;
    };
    let encrypt = if url.starts_with("https") {
        Encrypt::No
    } else {
        Encrypt::Auto
    };
    let builder = Server::builder(url, key.parse().unwrap())
        .verify(Verify::No)
        .encrypt(encrypt);
    match builder.build().unwrap().capabilities().await {
        Ok(capabilities) => assert!(capabilities.has("sogs")),
        Err(error) => {
            assert!(matches!(error.cause(), Cause::Proxy { .. }), "{error:?}");
            assert!(
                error.remedy().contains("HTTP_PROXY") && !error.is_permanent(),
                "{error:?}"
            );
            std::process::exit(77);
        }
    }
}

/// Runs the client with these variables and no others that concern proxies; its exit code.
async fn client(url: &str, key: &str, variables: &[(&str, String)]) -> i32 {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "client_in_its_own_process", "--nocapture"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
        .env(URL, url)
        .env(KEY, key)
        .envs(variables.iter().cloned());
    command.kill_on_drop(true).stdout(std::process::Stdio::null());
    command.status().await.unwrap().code().unwrap()
}

/// An http proxy: passes on requests in absolute form, and tunnels for CONNECT.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.ok()?);
                }
                let text = String::from_utf8(head).ok()?;
                let (line, rest) = text.split_once("\r\n")?;
                let mut words = line.split(' ');
                let (method, target) = (words.next()?, words.next()?);
                seen.fetch_add(1, Ordering::SeqCst);
                let mut server;
                if method == "CONNECT" {
                    server = TcpStream::connect(target).await.ok()?;
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                } else {
                    let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
                    server = TcpStream::connect(host).await.ok()?;
                    server
                        .write_all(format!("{method} /{path} HTTP/1.1\r\n{rest}").as_bytes())
                        .await
                        .ok()?;
                }
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    (address, count)
}

/// A port with TLS that passes everything on to `port`, as a reverse proxy does.
async fn tls_in_front_of(port: u16) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(SelfSigned::new(&["127.0.0.1"]).server());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(socket).await.ok()?;
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    front
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_and_can_be_told_to_stay_out() {
    let community = Community::start().await;
    let key = community.key().to_string();
    let (proxy, count) = proxy().await;
    let port: u16 = community.url().rsplit(':').next().unwrap().parse().unwrap();
    let https = format!("https://127.0.0.1:{}", tls_in_front_of(port).await);

    // Sealed over plain http: the proxy sees a POST, and of it nothing but its destination.
    let set = |name, value: &str| (name, value.to_owned());
    assert_eq!(
        client(community.url(), &key, &[set("http_proxy", &proxy)]).await,
        0
    );
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
    assert_eq!(client(&https, &key, &[set("https_proxy", &proxy)]).await, 0);
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
    assert_eq!(client(&https, &key, &[set("HTTPS_PROXY", &proxy)]).await, 0);
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);

    for variables in [
        vec![],
        vec![set("http_proxy", &proxy), set("no_proxy", "localhost,127.0.0.1")],
        vec![set("https_proxy", &proxy)],
    ] {
        assert_eq!(
            client(community.url(), &key, &variables).await,
            0,
            "{variables:?}"
        );
        assert_eq!(count.swap(0, Ordering::SeqCst), 0, "{variables:?}");
    }

    // A proxy that is away, and one that refuses, are named as the cause.
    let away = format!("http://127.0.0.1:{}", ackpost_testkit::reserve_port());
    assert_eq!(client(&https, &key, &[set("https_proxy", &away)]).await, 77);
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refuses = format!("http://{}", refusing.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = refusing.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    assert_eq!(client(&https, &key, &[set("https_proxy", &refuses)]).await, 77);
    assert_eq!(
        client(community.url(), &key, &[set("http_proxy", &refuses)]).await,
        77
    );
}
