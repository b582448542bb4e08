//! A real sender process, killed with SIGKILL at random instants.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackpost_notify::BoxFuture;
use ackpost_notify::{Encoded, MessageId};
use ackpost_notify::{Message, Outcome};
use ackpost_outbox::{
    AcceptOptions, DeliveryRequest, Destination, Location, Outbox, OutboxConfig, Transport, WorkerSettings,
};

use crate::support::{Place, delivered, stamped, submission};

stamped!(kills_lose_nothing_and_double_nothing);

/// The other side: a file that pieces are appended to.
struct Paper(PathBuf);

impl Transport for Paper {
    fn encode(&self, _: &Destination, message: &Message, stamp: &MessageId) -> Result<Vec<Encoded>, Outcome> {
        let line = format!("{} {}", stamp.piece(0).id, message.body);
        Ok(vec![Encoded::new("test", line)])
    }

    fn deliver<'a>(&'a self, request: DeliveryRequest<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let line = std::str::from_utf8(request.piece.bytes()).unwrap();
            let path = self.0.join(&request.destination.address);
            if request.repeat
                && std::fs::read_to_string(&path).is_ok_and(|text| text.lines().any(|known| known == line))
            {
                return delivered();
            }
            // On the way there, and on the way back, it may be killed.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            delivered()
        })
    }
}

/// Not a test by itself: the sender that the test above starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the sender process of the crash tests"]
async fn sender() {
    let folder = PathBuf::from(std::env::var_os("OUTBOX_TEST_FOLDER").expect("started by the crash test"));
    let location = Location::parse(&std::env::var("OUTBOX_TEST_LOCATION").unwrap());
    let outbox = open(&folder, location).await;
    outbox.run(settings(), std::future::pending()).await.unwrap();
}

async fn open(folder: &Path, location: Location) -> Outbox {
    let config = OutboxConfig::new(location, folder.join("outbox.key"));
    Outbox::open(config, Arc::new(Paper(folder.join("paper"))))
        .await
        .unwrap()
}

fn settings() -> WorkerSettings {
    WorkerSettings::default()
        .with_poll(Duration::from_millis(20))
        .with_lease(Duration::from_millis(300))
}

async fn kills_lose_nothing_and_double_nothing(place: Place) {
    const MESSAGES: usize = 120;
    const KILLS: usize = 15;
    let folder = place.folder.path();
    std::fs::create_dir(folder.join("paper")).unwrap();
    let location = match &place.database {
        Some(database) => database.url().to_owned(),
        None => folder.join("outbox.db").display().to_string(),
    };
    let outbox = open(folder, Location::parse(&location)).await;
    let mut ids = Vec::new();
    let mut kills = 0;
    let begun = Instant::now();
    let mut accepted = 0;
    while kills < KILLS {
        assert!(begun.elapsed() < Duration::from_secs(100), "bounded");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::sender", "--exact", "--ignored", "--nocapture"])
            .env("OUTBOX_TEST_FOLDER", folder)
            .env("OUTBOX_TEST_LOCATION", &location)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..MESSAGES / KILLS {
            for address in ["a", "b"] {
                let message = Message::new(accepted.to_string());
                let submissions = vec![submission(address, &[])];
                ids.extend(
                    outbox
                        .submit(&message, &[], submissions, &AcceptOptions::default())
                        .await
                        .unwrap(),
                );
            }
            accepted += 1;
        }
        // From "has not begun" to "in the middle".
        let pause = 20 + (kills * 53) % 400;
        tokio::time::sleep(Duration::from_millis(pause as u64)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let finish = outbox.run(settings(), async {
        let ids: Vec<_> = ids.iter().map(|one| one.id.clone()).collect();
        let entries = outbox.wait(&ids, Duration::from_secs(60)).await.unwrap();
        assert!(entries.iter().all(|entry| entry.state.is_final()));
    });
    finish.await.unwrap();
    let expected: Vec<String> = (0..accepted).map(|number| number.to_string()).collect();
    for address in ["a", "b"] {
        let text = std::fs::read_to_string(folder.join("paper").join(address)).unwrap();
        let bodies: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            bodies, expected,
            "lane {address}: none lost, none doubled, in order"
        );
    }
}
