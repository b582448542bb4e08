//! The storage may be slow: it is never used on the thread of the async runtime.

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ackpost_testkit::FakeSwarm;
use session_network::bot::{Bot, Command};
use session_network::{Event, ItemLock, MemoryStorage, Mode, Storage};
use support::{account, bot, builder};

/// A storage that refuses to work on one thread, and counts its calls.
struct Elsewhere {
    forbidden: ThreadId,
    calls: Arc<AtomicUsize>,
    items: MemoryStorage,
}

impl Elsewhere {
    fn check(&self, method: &str, item: &str) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_ne!(
            thread::current().id(),
            self.forbidden,
            "`{method}` of `{item}` blocks the runtime"
        );
    }
}

impl Storage for Elsewhere {
    fn load(&self, item: &str) -> io::Result<Option<Vec<u8>>> {
        self.check("load", item);
        self.items.load(item)
    }

    fn save(&self, item: &str, bytes: &[u8]) -> io::Result<()> {
        self.check("save", item);
        self.items.save(item, bytes)
    }

    fn update(&self, item: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Vec<u8>) -> io::Result<()> {
        self.check("update", item);
        self.items.update(item, change)
    }

    fn lock(&self, item: &str) -> io::Result<Option<ItemLock>> {
        self.check("lock", item);
        self.items.lock(item)
    }
}

#[tokio::test]
async fn sending_reading_and_answering_use_the_storage_on_other_threads() {
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[5, 5]);
        let calls = Arc::new(AtomicUsize::new(0));
        let storage = Elsewhere {
            forbidden: thread::current().id(),
            calls: Arc::clone(&calls),
            items: MemoryStorage::default(),
        };
        let network = builder(&swarm)
            .mode(mode)
            .storage(storage)
            .build()
            .expect("built");
        let robot = account(9);
        let id = robot.session_id();
        let _ = network.send_text(&bot(), &id, "one").await.expect("stored");
        assert_eq!(network.look_for_v2_keys(&id).await, Some(false));
        let mut mailbox = network.mailbox(robot.clone());
        assert_eq!(mailbox.poll().await.expect("an answer").events.len(), 1);
        mailbox.handled(1).await.expect("kept");
        mailbox.save().await.expect("kept");
        let echo = Command::new("one", |ctx| async move { ctx.reply("two").await });
        let running = Bot::new(network.clone(), robot, "Robot")
            .expect("a good name")
            .interval(Duration::from_millis(20))
            .command(echo);
        let answered = async {
            let mut mailbox = network.mailbox(account(1));
            loop {
                for event in mailbox.poll().await.expect("an answer").events {
                    if matches!(event, Event::Message(message) if message.text.as_deref() == Some("two")) {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), running.run(answered))
            .await
            .expect("an answer within a minute")
            .expect("no failure");
        assert!(calls.load(Ordering::SeqCst) > 10);
    }
}
