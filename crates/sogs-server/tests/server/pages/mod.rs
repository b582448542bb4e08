//! Room pages as browsers see them; on both databases.

mod older;
mod pictures;
mod replies;
mod reports;
mod search;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::content::{AttachmentPointer, Content, DataMessage, Profile, Quote};
use session_protocol::encoding::b64;
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;
use sogs_server::admin::Operation;
use sogs_server::{Config, Running};

use crate::common::{Api, Body, Resp, operate, room, somebody, start};

/// A room `r` without rate limits, and a person who writes there.
pub(super) struct Place {
    pub(super) running: Running,
    pub(super) api: Api,
    pub(super) who: Signer,
}

impl Place {
    pub(super) async fn of(config: Config) -> Self {
        let running = start(config).await;
        room(&running, "r").await;
        let place = Self::again(running);
        place.set("rate_posts", "100000").await;
        place
    }

    pub(super) fn again(running: Running) -> Self {
        let api = Api::of(&running);
        let who = Signer::blind15(&somebody(), &api.key);
        Self { running, api, who }
    }

    pub(super) async fn set(&self, name: &str, value: &str) {
        operate(
            &self.running,
            Operation::SettingSet {
                room: Some("r".into()),
                name: name.into(),
                value: Some(value.into()),
            },
        )
        .await;
    }

    pub(super) async fn page(&self, rest: &str) -> String {
        let got = self.api.get(None, &format!("/r/r/{rest}")).await;
        assert_eq!(got.status, 200, "{rest}: {}", got.text());
        got.text()
    }

    /// Posts a message; returns its number and the author's time.
    pub(super) async fn say(&self, who: &Signer, message: DataMessage, extra: Value) -> (i64, u64) {
        let time = now_ms();
        let mut body = signed(who, message, time);
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let got = self
            .api
            .post(Some(who), "/room/r/message", &body)
            .await
            .expect(201);
        (got.json()["id"].as_i64().unwrap(), time)
    }

    pub(super) async fn text(&self, text: &str) -> (i64, u64) {
        self.say(&self.who, body(text), json!({})).await
    }

    pub(super) async fn upload(&self, bytes: &[u8], name: &str) -> i64 {
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        let body = Body::raw(bytes, &[("content-disposition", &disposition)]);
        let got = self
            .api
            .call(Some(&self.who), "POST", "/room/r/file", body)
            .await
            .expect(201);
        got.json()["id"].as_i64().unwrap()
    }

    pub(super) async fn with_file(&self, text: &str, file: i64) -> i64 {
        let pointer = AttachmentPointer {
            id: file.unsigned_abs(),
            file_name: Some("as-posted.bin".into()),
            ..AttachmentPointer::default()
        };
        let message = DataMessage {
            attachments: vec![pointer],
            ..body(text)
        };
        self.say(&self.who, message, json!({ "files": [file] })).await.0
    }

    pub(super) async fn get(&self, path: &str) -> Resp {
        self.api.get(None, path).await
    }

    /// Waits until a page has a text.
    pub(super) async fn until(&self, rest: &str, text: &str, is_there: bool) -> String {
        let began = Instant::now();
        loop {
            let page = self.page(rest).await;
            if page.contains(text) == is_there {
                return page;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{text} on {rest}: {page}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until this file is indexed: everything before it is then, too.
    pub(super) async fn indexed(&self, mark: &str) {
        self.text(mark).await;
        self.until(&format!("?q={mark}"), &format!(">{mark}</p>"), true)
            .await;
        // A page before: what was queued earlier may be in the next round.
        let began = Instant::now();
        while self
            .api
            .get(None, "/r/r/?q=zzz")
            .await
            .text()
            .contains("is being built")
        {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

pub(super) fn body(text: &str) -> DataMessage {
    DataMessage {
        body: Some(text.into()),
        profile: Some(Profile {
            display_name: Some("Gardener".into()),
            ..Profile::default()
        }),
        ..DataMessage::default()
    }
}

pub(super) fn signed(who: &Signer, message: DataMessage, time: u64) -> Value {
    let content = Content {
        data_message: Some(message),
        sig_timestamp: Some(time),
    };
    let post = SignedPost::new(&content, who, Padding::Block);
    json!({ "data": b64(&post.data), "signature": b64(post.signature) })
}

pub(super) fn answering(text: &str, time: u64, author: &str, claimed: &str) -> DataMessage {
    DataMessage {
        quote: Some(Quote {
            id: Some(time),
            author: Some(author.into()),
            text: Some(claimed.into()),
            ..Quote::default()
        }),
        ..body(text)
    }
}
