//! The account that takes reports.

use sogs_server::Config;
use sogs_server::admin::Operation;

use super::Place;
use crate::common::{on_both, operate};

on_both!(a_page_names_the_account_that_takes_reports);

async fn a_page_names_the_account_that_takes_reports(config: Config) {
    let place = Place::of(config).await;
    assert!(!place.page("").await.contains("Report a message"));
    let on = Operation::ModerationOn {
        room: "moderators".into(),
    };
    operate(&place.running, on).await;
    let about = place.get("/ackpost/moderation").await.json();
    let account = about["account"].as_str().unwrap();
    let page = place.page("").await;
    assert!(
        page.contains("Report a message") && page.contains(account),
        "{page}"
    );
    place.set("reports", "no").await;
    let page = place.page("").await;
    assert!(
        !page.contains("Report a message") && !page.contains(account),
        "{page}"
    );
    place.running.shutdown().await;
}
