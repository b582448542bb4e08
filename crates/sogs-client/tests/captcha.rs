//! The example bot that asks newcomers a question, against the real server.

mod community;

use std::time::Duration;

use community::{Community, Way, admin, person, token};
use sogs_client::types::DirectMessage;
use sogs_client::{ListOptions, Server};

#[expect(dead_code, reason = "its `main` is for people")]
#[path = "../examples/captcha_bot.rs"]
mod captcha_bot;

/// The latest direct message that fits.
async fn letter(server: &Server, fits: impl Fn(&str) -> bool) -> DirectMessage {
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let got = server.inbox().received(None).await.expect("inbox");
            if let Some(found) = got
                .into_iter()
                .rev()
                .find(|message| message.body().is_some_and(&fits))
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a direct message comes")
}

#[tokio::test]
async fn a_newcomer_answers_and_may_write() {
    let community = Community::start().await;
    let keeper = community.server(Way::Direct, &admin());
    let room = keeper.room(&token("main"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let bot = captcha_bot::captcha(keeper.clone(), room.clone())
        .interval(Duration::from_millis(50))
        .on_ready(move || {
            let _ = ready.send(());
        });
    let running = tokio::spawn(bot.run(async {
        let _ = stopped.await;
    }));
    // The bot counts as newcomers whoever it has not seen when it begins.
    is_ready.await.expect("the bot runs");

    let newcomer = community.room(Way::Direct, &person(Way::Direct, 0));
    newcomer.post("buy my coins").await.expect("the first post");
    let question = letter(newcomer.server(), |body| body.contains("how much is")).await;
    let body = question.body().expect("text").to_owned();
    let refused = newcomer.post("me again").await.expect_err("not yet");
    assert_eq!(refused.status(), Some(403));
    assert!(
        newcomer
            .recent(ListOptions::limit(10))
            .await
            .expect("list")
            .iter()
            .all(|m| m.body() != Some("buy my coins"))
    );

    let keeper_id = keeper.my_id().await.expect("id");
    newcomer
        .server()
        .inbox()
        .send(&keeper_id, "1000", None)
        .await
        .expect("sent");
    letter(newcomer.server(), |body| body.contains("not it")).await;
    let numbers: Vec<u64> = body
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect();
    let sum: u64 = numbers.iter().sum();
    newcomer
        .server()
        .inbox()
        .send(&keeper_id, &sum.to_string(), None)
        .await
        .expect("sent");
    letter(newcomer.server(), |body| body.contains("Thank you")).await;
    newcomer.post("hello, everybody").await.expect("a member now");
    let _ = stop.send(());
    running.await.expect("task").expect("bot");
}
