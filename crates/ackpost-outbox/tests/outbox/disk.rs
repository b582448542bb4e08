//! A disk without room, on a file system of a few megabytes. Mounting it needs root, or
//! `unshare --map-root-user --mount`.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use ackpost_notify::Message;
use ackpost_outbox::{AcceptOptions, Outbox, OutboxConfig};

use crate::support::{Sink, flush, submission};

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "mounting needs root, or unshare --map-root-user --mount"
        );
        Self(folder)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        for bytes in [4096, 256, 1] {
            while file.write(&vec![0; bytes]).is_ok_and(|written| written > 0) {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the right to mount; scripts/torture runs it"]
async fn a_message_without_room_is_refused_as_a_whole() {
    let disk = SmallDisk::mount();
    let sink = Sink::new();
    let config = OutboxConfig::in_folder(disk.0.path());
    let outbox = Outbox::open(config, Arc::new(sink.clone())).await.unwrap();
    let put = |text: &str| {
        let (outbox, text) = (outbox.clone(), text.repeat(20_000));
        async move {
            let submissions = vec![submission("a", &[]), submission("b", &[])];
            outbox
                .submit(&Message::new(text), &[], submissions, &AcceptOptions::default())
                .await
        }
    };
    put("1").await.unwrap();
    outbox.check().await.unwrap();
    for _ in 0..3 {
        disk.fill();
        assert!(outbox.check().await.unwrap_err().is_full());
        let error = put("2").await.unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(
            error.to_string().contains("full") && error.remedy().contains("space"),
            "{error}"
        );
        assert_eq!(
            outbox.stats().await.unwrap().waiting,
            2,
            "nothing of it is stored"
        );
        disk.free();
    }
    outbox.check().await.unwrap();
    put("3").await.unwrap();
    assert_eq!(outbox.stats().await.unwrap().waiting, 4);
    assert_eq!(flush(&outbox).await.delivered, 4);
    let firsts: Vec<char> = sink
        .texts("b")
        .iter()
        .filter_map(|text| text.chars().next())
        .collect();
    assert_eq!(firsts, ['1', '3']);
}
