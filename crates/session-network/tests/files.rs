//! Files of messages over a file server on loopback, which is reached through three hops.

mod support;

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::{
    Cause, Draft, Event, FileError, FileServer, IncomingMessage, MAX_FILE_LEN_BYTES, MAX_FILES, Mode, Network,
};
use support::{account, bot, builder, fault};

fn network(swarm: &FakeSwarm, mode: Mode) -> Network {
    let (host, x25519) = swarm.file_server();
    let server = FileServer {
        host: host.to_owned(),
        port: 80,
        x25519,
    };
    builder(swarm)
        .mode(mode)
        .file_server(server)
        .build()
        .expect("built")
}

/// Sends a draft to account 9, which reads it.
async fn deliver(network: &Network, draft: &Draft) -> Box<IncomingMessage> {
    let mut mailbox = network.mailbox(account(9));
    let messages = network.prepare(&bot(), &mailbox.owner(), draft).await;
    for mut message in messages.expect("made") {
        let _ = network.send(&mut message).await.expect("stored");
    }
    match mailbox.poll().await.expect("an answer").events.remove(0) {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_of_all_lengths_arrive_with_their_message() {
    for mode in [Mode::Onion, Mode::Direct] {
        let swarm = FakeSwarm::with_swarms(&[5, 5]);
        let network = network(&swarm, mode);
        let files: Vec<Vec<u8>> = [0, 1, 541, 542, 400_000]
            .map(|len| (0..=250).cycle().take(len).collect())
            .to_vec();
        let mut uploaded = Vec::new();
        for (n, file) in files.iter().enumerate() {
            let name = format!("folder/file {n}.bin");
            let file = network.upload(&name, "application/octet-stream", file).await;
            uploaded.push(file.expect("taken"));
        }
        assert!(!format!("{uploaded:?}").contains("key"));
        let message = deliver(&network, &Draft::text("with files").files(uploaded)).await;
        assert_eq!(
            (message.text.as_deref(), message.files().len()),
            (Some("with files"), 5)
        );
        for (n, (pointer, file)) in message.files().iter().zip(&files).enumerate() {
            let name = format!("file {n}.bin");
            assert_eq!(pointer.file_name.as_deref(), Some(name.as_str()));
            assert_eq!(pointer.size.map(|size| size as usize), Some(file.len()));
            assert_eq!(network.download(pointer).await.as_ref(), Ok(file));
        }
        assert_eq!(
            (swarm.files(), swarm.count("POST /file"), swarm.count("GET /file")),
            (5, 5, 5)
        );
    }
}

#[tokio::test]
async fn the_longest_file_goes_through_three_hops_and_comes_back() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let network = network(&swarm, Mode::Onion);
    let file: Vec<u8> = (0..=250).cycle().take(MAX_FILE_LEN_BYTES).collect();
    let uploaded = network
        .upload("backup.bin", "application/octet-stream", &file)
        .await;
    let message = deliver(&network, &Draft::text("10 MB").files([uploaded.expect("taken")])).await;
    let pointer = &message.files()[0];
    assert_eq!(pointer.size.map(|size| size as usize), Some(MAX_FILE_LEN_BYTES));
    assert!(network.download(pointer).await.is_ok_and(|read| read == file));
}

#[tokio::test]
async fn a_file_that_is_too_long_is_not_sent() {
    let swarm = FakeSwarm::start(5);
    let network = network(&swarm, Mode::Direct);
    let file = vec![7; MAX_FILE_LEN_BYTES + 1];
    let error = network
        .upload("a", "text/plain", &file)
        .await
        .expect_err("too long");
    assert_eq!(
        error.cause(),
        &Cause::File(FileError::TooLong(MAX_FILE_LEN_BYTES + 1))
    );
    assert!(error.is_permanent());
    assert_eq!((swarm.files(), swarm.exchanges()), (0, 0));
    let one = network.upload("a", "text/plain", b"x").await.expect("taken");
    let many = Draft::text("x").files(vec![one; MAX_FILES + 1]);
    let error = network.prepare(&bot(), &account(9).session_id(), &many).await;
    assert!(matches!(
        error.expect_err("too many").cause(),
        Cause::Option { .. }
    ));
}

#[tokio::test]
async fn a_server_or_hop_that_misbehaves_is_named() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let network = network(&swarm, Mode::Onion);
    let file = network
        .upload("a.txt", "text/plain", b"hello")
        .await
        .expect("taken");
    let message = deliver(&network, &Draft::text("x").files([file])).await;
    let pointer = &message.files()[0];
    for (kind, expected, permanent) in [
        (SwarmFault::Forgetful, Cause::FileServer { status: 404 }, true),
        (SwarmFault::NodeBusy, Cause::FileServer { status: 503 }, false),
        (SwarmFault::ChangedData, Cause::File(FileError::Altered), true),
        (SwarmFault::WrongKey, Cause::WrongKey, false),
    ] {
        swarm.add_fault(fault(kind).method("file"));
        let error = network.download(pointer).await.expect_err("a fault");
        assert_eq!(
            (error.cause(), error.is_permanent()),
            (&expected, permanent),
            "{kind:?}"
        );
        swarm.clear_faults();
    }
    // One path that fails is replaced.
    swarm.add_fault(fault(SwarmFault::HopNotReady).method("deliver").times(1));
    assert_eq!(network.download(pointer).await.as_deref(), Ok(&b"hello"[..]));
    // A pointer without a key, or to nothing, asks nobody.
    let asked = swarm.exchanges();
    for change in [
        |pointer: &mut session_network::AttachmentPointer| pointer.key = None,
        |pointer: &mut session_network::AttachmentPointer| pointer.digest = None,
        |pointer: &mut session_network::AttachmentPointer| {
            (pointer.id, pointer.url) = (0, Some("http://files.example/file/../secret".to_owned()));
        },
    ] {
        let mut pointer = pointer.clone();
        change(&mut pointer);
        let error = network.download(&pointer).await.expect_err("incomplete");
        assert!(
            matches!(error.cause(), Cause::File(FileError::Pointer(_))),
            "{error}"
        );
    }
    assert_eq!(swarm.exchanges(), asked);
}
