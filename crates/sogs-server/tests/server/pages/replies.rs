//! Replies and pins.

use serde_json::json;
use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::admin::Operation;

use super::{Place, answering, body};
use crate::common::{make_admin, on_both, operate, somebody};

on_both!(replies_name_what_they_answer_and_never_repeat_what_is_gone);

async fn replies_name_what_they_answer_and_never_repeat_what_is_gone(config: Config) {
    let place = Place::of(config).await;
    let author = place.who.shown_id().to_string();
    let (first, time) = place.text("The first tomatoes are ripe").await;
    let forged = "words that were never said";
    place
        .say(
            &place.who,
            answering("Which kind?", time, &author, forged),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    assert!(!page.contains(forged), "{page}");
    assert!(
        page.contains("<span class=\"unseen\">Reply to </span><b dir=\"auto\">Gardener</b>"),
        "{page}"
    );
    assert!(page.contains(&format!("href=\"#m{first}\"")), "{page}");
    assert_eq!(page.matches("The first tomatoes are ripe").count(), 2);

    // By the server's time, as apps do that do not know the author's.
    let posted = place
        .api
        .get(None, &format!("/room/r/message/{first}"))
        .await
        .json()["posted"]
        .as_f64()
        .unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time in milliseconds"
    )]
    let by_server = (posted * 1000.0) as u64;
    place
        .say(
            &place.who,
            answering("By the other clock", by_server, &author, ""),
            json!({}),
        )
        .await;
    assert_eq!(
        place
            .page("")
            .await
            .matches("The first tomatoes are ripe")
            .count(),
        3
    );

    // On another page the link leads to the page that begins with it.
    for number in 0..50 {
        place.text(&format!("filler {number}")).await;
    }
    place
        .say(
            &place.who,
            answering("Much later", time, &author, forged),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    let link = format!("/r/r/?before={}#m{first}", first + 1);
    assert!(page.contains(&link), "{page}");
    let there = place.page(&format!("?before={}", first + 1)).await;
    assert!(there.contains(&format!("id=\"m{first}\"")));

    // Pins are on the first page.
    operate(
        &place.running,
        Operation::MessagePin {
            room: "r".into(),
            id: first,
        },
    )
    .await;
    let page = place.page("").await;
    let (before, after) = page.split_once("Pinned messages").expect("a section");
    assert!(!before.contains("ripe") && after.contains(&link), "{page}");
    assert!(!place.page("?before=20").await.contains("Pinned messages"));

    // Somebody else's time, no such message, and a message that is gone.
    let stranger = Signer::blind15(&somebody(), &place.api.key)
        .shown_id()
        .to_string();
    place
        .say(
            &place.who,
            answering("To nobody", time, &stranger, forged),
            json!({}),
        )
        .await;
    place
        .say(
            &place.who,
            answering("To nothing", time - 5_000_000, &author, forged),
            json!({}),
        )
        .await;
    place
        .say(&place.who, answering("To no id", time, "15zz", forged), json!({}))
        .await;
    let page = place.page("").await;
    assert_eq!(
        page.matches("Reply to a message that is not shown here").count(),
        3,
        "{page}"
    );
    operate(
        &place.running,
        Operation::MessageDelete {
            room: "r".into(),
            ids: vec![first],
            ranges: Vec::new(),
        },
    )
    .await;
    let page = place.page("").await;
    assert!(
        page.contains("Reply to a message that was deleted") && !page.contains("ripe"),
        "{page}"
    );
    assert!(!page.contains("Pinned messages") && !page.contains(forged));

    // A reply to a whisper: the page says that the message is not shown, and does not show it.
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    let (_, whispered) = place
        .say(
            &admin,
            body("for moderators only"),
            json!({ "whisper_mods": true }),
        )
        .await;
    let admin_id = admin.shown_id().to_string();
    place
        .say(
            &place.who,
            answering("I heard", whispered, &admin_id, "for moderators only"),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    assert!(
        page.contains("Reply to a message that is not shown here") && !page.contains("for moderators"),
        "{page}"
    );
    place.running.shutdown().await;
}
