//! The search, and its index.

use serde_json::json;
use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::admin::{Operation, PermissionChange};

use super::{Place, body, now_ms, signed};
use crate::common::{make_admin, on_both, operate, room, somebody, start};

on_both!(
    a_search_finds_what_everybody_may_see_and_no_more,
    an_index_of_an_older_database_is_built_while_the_server_runs,
);

async fn a_search_finds_what_everybody_may_see_and_no_more(config: Config) {
    let place = Place::of(config).await;
    place.text("Fresh Café au lait & tomatoes").await;
    place.text("tomatoes without milk").await;
    place.text("green house of glass").await;
    place.text("a house that is green").await;
    place.text("東京タワー is tall").await;
    let (edited, _) = place.text("before the editing").await;
    let (deleted, _) = place.text("to be deleted").await;
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    place
        .say(
            &admin,
            body("a whispered secret"),
            json!({ "whisper_mods": true }),
        )
        .await;
    place
        .say(
            &admin,
            body("a whispered word"),
            json!({ "whisper_to": place.who.shown_id().to_string() }),
        )
        .await;
    place.indexed("markone").await;
    let found = async |query: &str| -> Vec<String> {
        let page = place.page(&format!("?q={query}")).await;
        page.split("<p class=\"body\" dir=\"auto\">")
            .skip(1)
            .map(|rest| rest.split("</p>").next().unwrap().to_owned())
            .collect()
    };
    let milk = ["tomatoes without milk", "Fresh Café au lait &amp; tomatoes"];
    for (query, expected) in [
        ("TOMATOES", &milk[..]),
        ("cafe", &milk[1..]),
        ("caf%C3%A9+tomatoes", &milk[1..]),
        ("tomatoes+-milk", &milk[1..]),
        ("%22green+house%22", &["green house of glass"]),
        ("green+house", &["a house that is green", "green house of glass"]),
        ("green-house", &["green house of glass"]),
        ("%E3%82%BF%E3%83%AF%E3%83%BC", &["東京タワー is tall"]),
        ("toma", &[]),
        ("whispered", &[]),
        ("nosuchword", &[]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    // Nothing of a search is syntax of a database.
    for odd in [
        "%22",
        "%27",
        "*",
        "-",
        "a+OR+b",
        "NEAR(a+b)",
        "text%3Ax",
        "%00",
        "%25",
        "%3Cscript%3E",
        "a%22b%27c%3B--",
    ] {
        let page = place.page(&format!("?q={odd}")).await;
        assert!(!page.contains("<script>"), "{odd}");
    }
    assert!(place.page("?q=").await.contains("Write a word"));
    let long = "long ".repeat(1000).replace(' ', "+");
    assert!(
        place
            .page(&format!("?q={long}"))
            .await
            .contains("No message has these words.")
    );

    // Edited, deleted and held messages are gone from the results at once, and what is shown again comes back.
    let body_of = signed(&place.who, body("after the editing"), now_ms());
    place
        .api
        .put(Some(&place.who), &format!("/room/r/message/{edited}"), &body_of)
        .await
        .expect(200);
    place
        .api
        .delete(Some(&place.who), &format!("/room/r/message/{deleted}"))
        .await
        .expect(200);
    assert_eq!(found("before").await, Vec::<String>::new());
    assert_eq!(found("deleted").await, Vec::<String>::new());
    place.until("?q=after", "after the editing", true).await;
    place.set("approve_first", "100000").await;
    let newcomer = Signer::blind15(&somebody(), &place.api.key);
    let (held, _) = place.say(&newcomer, body("kept waiting"), json!({})).await;
    place.set("approve_first", "0").await;
    place.indexed("marktwo").await;
    assert_eq!(found("waiting").await, Vec::<String>::new());
    let approved = operate(&place.running, Operation::HeldApprove { id: held }).await;
    place.until("?q=waiting", "kept waiting", true).await;
    operate(&place.running, Operation::Undo { id: approved.undo }).await;
    assert_eq!(found("waiting").await, Vec::<String>::new());

    // Only in this room, and only where it is allowed.
    room(&place.running, "other").await;
    let elsewhere = place.get("/r/other/?q=tomatoes").await.expect(200).text();
    assert!(elsewhere.contains("No message has these words."));
    place.set("search", "no").await;
    let page = place.page("?q=tomatoes").await;
    assert!(
        !page.contains("role=\"search\"") && !page.contains("<h2>Results"),
        "{page}"
    );
    place.set("search", "yes").await;
    let closed = PermissionChange {
        read: Some(false),
        ..PermissionChange::default()
    };
    operate(
        &place.running,
        Operation::RoomEdit {
            room: "r".into(),
            name: None,
            description: None,
            permissions: closed,
            image: None,
        },
    )
    .await;
    let page = place.page("?q=tomatoes").await;
    assert!(
        !page.contains("tomatoes") && !page.contains("role=\"search\""),
        "{page}"
    );
    place.running.shutdown().await;
}

async fn an_index_of_an_older_database_is_built_while_the_server_runs(config: Config) {
    let place = Place::of(config.clone()).await;
    for number in 0..30 {
        place.text(&format!("common number{number}")).await;
    }
    place.indexed("markone").await;
    place.running.shutdown().await;
    // As the migration leaves a database of an older version: nothing indexed, everything queued.
    testing_reset(&config).await;
    let place = Place::again(start(config).await);
    let page = place.until("?q=common", "number0<", true).await;
    assert_eq!(page.matches("<p class=\"body\"").count(), 30, "{page}");
    place.running.shutdown().await;
}

async fn testing_reset(config: &Config) {
    let text = "DELETE FROM search_index; INSERT INTO search_queue (message_id) SELECT id FROM messages;";
    let url = config.database_url();
    if url.starts_with("postgres") {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
            .await
            .unwrap();
        sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
    } else {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(url.trim_start_matches("sqlite:"));
        let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
        sqlx::Connection::close(conn).await.unwrap();
    }
}
