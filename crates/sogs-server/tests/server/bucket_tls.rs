//! Files in a bucket of a real S3-compatible store behind TLS, as most stores are on another machine.

use ackpost_testkit::SelfSigned;
use sogs_server::Config;
use sogs_server::config::Storage;
use sogs_server::import::move_files::move_files;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::bucket::{content, upload, uploader};
use crate::common::{Api, in_bucket, room, shared_store, start, write_config};

/// Forwards TLS connections to an address, and returns the port. Ends with the test.
async fn tls_in_front_of(address: String, certificate: &SelfSigned) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(certificate.server());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, address) = (acceptor.clone(), address.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let mut store = TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut store).await;
            });
        }
    });
    port
}

/// A community with its files in the store, reached by https at this port. Returns the folder too, which must outlive it.
async fn configured(port: u16) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    in_bucket(&mut config, shared_store().await);
    config.files.s3_endpoint = format!("https://localhost:{port}");
    (dir, config)
}

async fn store_address() -> String {
    let endpoint = shared_store().await.endpoint();
    endpoint.strip_prefix("http://").unwrap().to_owned()
}

/// Returns why files cannot move into the store.
async fn refusal(mut config: Config) -> String {
    config.files.storage = Storage::Folder;
    write_config(&config);
    start(config.clone()).await.shutdown().await;
    move_files(&config.dir, Storage::S3, false)
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_a_store_behind_tls_and_back() {
    let certificate = SelfSigned::new(&["localhost"]);
    let port = tls_in_front_of(store_address().await, &certificate).await;
    let (dir, mut config) = configured(port).await;
    std::fs::write(dir.path().join("ca.pem"), &certificate.pem).unwrap();
    config.files.s3_ca_file = "ca.pem".into();
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = uploader(&api.key);
    for size in [1, 300_000, 5_000_000] {
        let bytes = content(size);
        let id = upload(&api, &who, &bytes).await;
        let path = format!("/room/r/file/{id}");
        let got = api.get(Some(&who), &path).await.expect(200);
        assert!(got.body == bytes, "{size} bytes");
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused_with_the_option_to_set() {
    let certificate = SelfSigned::new(&["localhost"]);
    let port = tls_in_front_of(store_address().await, &certificate).await;
    let (_dir, config) = configured(port).await;
    let error = refusal(config).await;
    assert!(
        error.contains("signed by an authority that is not trusted here")
            && error.contains("files.s3_ca_file"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused() {
    let certificate = SelfSigned::new(&["files.example"]);
    let port = tls_in_front_of(store_address().await, &certificate).await;
    let (dir, mut config) = configured(port).await;
    std::fs::write(dir.path().join("ca.pem"), &certificate.pem).unwrap();
    config.files.s3_ca_file = dir.path().join("ca.pem");
    let error = refusal(config).await;
    assert!(error.contains("the certificate is for another name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_read_are_named() {
    let certificate = SelfSigned::new(&["localhost"]);
    let port = tls_in_front_of(store_address().await, &certificate).await;
    for (name, text) in [
        ("absent.pem", None),
        ("empty.pem", Some(String::new())),
        ("large.pem", Some("x".repeat(2 << 20))),
    ] {
        let (dir, mut config) = configured(port).await;
        if let Some(text) = text {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        config.files.s3_ca_file = name.into();
        let error = refusal(config).await;
        assert!(
            error.contains(name) && error.contains("files.s3_ca_file"),
            "{name}: {error}"
        );
    }
}
