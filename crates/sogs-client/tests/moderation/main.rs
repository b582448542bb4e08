//! Moderation from the app and over the API: the moderators' room, decisions and reports, against the real server on
//! both databases.

#[path = "../community/mod.rs"]
mod community;
mod decisions;
mod notices;
mod reports;

use community::{Community, Database, Way, token};
use sogs_client::{Identity, ListOptions, Message, Room, Server, SessionId};
use sogs_server::admin::{Operation, RoomScope};
use std::time::Duration;

const DATABASES: [Database; 2] = [Database::Sqlite, Database::Postgresql];

fn somebody(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

/// A community with the rooms `main` and `other`, each with a moderator, and the moderators' room.
struct Stage {
    community: Community,
}

const OF_MAIN: u8 = 0x51;

const OF_OTHER: u8 = 0x52;

impl Stage {
    async fn new(database: Database) -> Self {
        let community = Community::start_on(database).await;
        community.room_add("other").await;
        for (n, room) in [(OF_MAIN, "main"), (OF_OTHER, "other")] {
            let user = somebody(n).session_id().to_string();
            let place = RoomScope::Rooms(vec![room.to_owned()]);
            let (admin, visible) = (false, None);
            let add = Operation::ModAdd {
                user,
                place,
                admin,
                visible,
            };
            community.act(add).await;
        }
        let stage = Self { community };
        stage
            .community
            .act(Operation::ModerationOn {
                room: "moderators".to_owned(),
            })
            .await;
        stage.rule(None, "rate_posts", "1000").await;
        stage
    }

    async fn rule(&self, room: Option<&str>, name: &str, value: &str) {
        self.community
            .act(Operation::SettingSet {
                room: room.map(str::to_owned),
                name: name.to_owned(),
                value: Some(value.to_owned()),
            })
            .await;
    }

    async fn hold_first_posts(&self) {
        self.rule(Some("main"), "approve_first", "1").await;
    }

    fn room(&self, name: &str, who: &Identity) -> Room {
        self.community.server(Way::Direct, who).room(&token(name))
    }

    fn server(&self, who: &Identity) -> Server {
        self.community.server(Way::Direct, who)
    }

    fn moderators(&self, n: u8) -> Room {
        self.room("moderators", &somebody(n))
    }

    /// Posts in `main`; the number of the held post.
    async fn held(&self, n: u8, text: &str) -> u64 {
        let posted = self.room("main", &somebody(n)).post(text).await.expect("posted");
        assert!(posted.withheld.is_some(), "it is held");
        posted.id
    }

    /// The notice about a message, as somebody sees it; waits until there is one that says so.
    async fn notice(&self, room: &Room, words: &[&str]) -> Message {
        for _ in 0..300 {
            for message in recent(room).await {
                let text = text(&message);
                if words.iter().all(|word| text.contains(word)) {
                    assert_eq!(message.problem(), None, "apps verify it");
                    assert_eq!(message.display_name(), Some("Moderation"));
                    return message;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen: Vec<String> = recent(room).await.iter().map(text).collect();
        panic!("no notice with {words:?} among {seen:#?}");
    }

    async fn texts(&self, room: &Room) -> Vec<String> {
        recent(room).await.iter().map(text).collect()
    }

    /// Actions of the log, newest first, with who did them.
    async fn log(&self) -> Vec<(String, String)> {
        let log = self
            .community
            .ask(Operation::LogList {
                limit: 100,
                room: None,
                actor: None,
                target: None,
                since: None,
                until: None,
            })
            .await;
        let entries = log.data["log"].as_array().expect("entries").clone();
        entries
            .iter()
            .map(|entry| {
                let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                (word("action"), word("actor"))
            })
            .collect()
    }

    async fn id_of(&self, n: u8) -> SessionId {
        self.server(&somebody(n)).my_id().await.expect("an id")
    }
}

async fn recent(room: &Room) -> Vec<Message> {
    room.recent(ListOptions::limit(256)).await.expect("messages")
}

fn text(message: &Message) -> String {
    message.body().unwrap_or_default().to_owned()
}
