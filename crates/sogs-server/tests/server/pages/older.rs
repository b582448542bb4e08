//! Older messages.

use serde_json::json;
use session_protocol::auth::Signer;
use sogs_server::Config;

use super::{Place, body};
use crate::common::{make_admin, on_both, somebody};

on_both!(older_messages_are_on_pages_that_stay_where_they_are);

async fn older_messages_are_on_pages_that_stay_where_they_are(config: Config) {
    let place = Place::of(config).await;
    assert!(place.page("").await.contains("Nobody has written here yet."));
    assert!(
        place
            .page("?before=1")
            .await
            .contains("There are no messages here.")
    );
    let mut ids = Vec::new();
    for number in 0..120 {
        ids.push(place.text(&format!("message number {number}.")).await.0);
    }
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    place
        .say(&admin, body("a whisper"), json!({ "whisper_mods": true }))
        .await;
    let on = |page: &str| -> Vec<i64> {
        page.split("<li id=\"m")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    };
    let newest = place.page("").await;
    let expected: Vec<i64> = ids.iter().rev().take(50).copied().collect();
    assert_eq!(on(&newest), expected);
    let older = format!("?before={}", expected[49]);
    assert!(
        newest.contains(&format!("rel=\"next\" href=\"/r/r/{older}\"")),
        "{newest}"
    );
    assert!(!newest.contains("rel=\"prev\""));
    let middle = place.page(&older).await;
    let expected: Vec<i64> = ids.iter().rev().skip(50).take(50).copied().collect();
    assert_eq!(on(&middle), expected);
    // The newer page from there is the one it came from, also when something new was said meanwhile.
    place.text("something new").await;
    assert_eq!(place.page(&older).await, middle);
    assert!(middle.contains(&format!("rel=\"prev\" href=\"/r/r/?after={}\"", expected[0])));
    let back = place.page(&format!("?after={}", expected[0])).await;
    assert_eq!(on(&back), ids.iter().rev().take(50).copied().collect::<Vec<_>>());
    assert!(back.contains("rel=\"prev\"") && back.contains("rel=\"next\""));
    let last = place.page(&format!("?before={}", expected[49])).await;
    assert_eq!(on(&last).len(), 20);
    assert!(!last.contains("rel=\"next\"") && last.contains("noindex"));
    // Numbers that are none, or out of range, change nothing or show nothing.
    for odd in [
        "?before=x",
        "?before=-3",
        "?before=99999999999999999999",
        "?after=",
    ] {
        assert_eq!(on(&place.page(odd).await).len(), 50, "{odd}");
    }
    for empty in ["?before=0", "?after=9223372036854775807"] {
        assert_eq!(on(&place.page(empty).await).len(), 0, "{empty}");
    }
    place.running.shutdown().await;
}
