//! The end of an alert: a real Alertmanager, a real XMPP server and a community, and one message that says how it stands.

use std::time::{Duration, Instant, SystemTime};

use ackpost_testkit::{Alertmanager, Prosody, ServerOptions};

use crate::answers::{Client, xmpp_url};
use crate::api::room_texts;
use crate::process::Gateway;
use crate::support::Program;
use crate::support::community::Community;

const DISK: [(&str, &str); 3] = [
    ("alertname", "DiskFull"),
    ("instance", "db1"),
    ("severity", "critical"),
];

/// Waits until the texts of a room fit.
fn until(community: &Community, gateway: &Gateway, what: &str, fits: impl Fn(&[String]) -> bool) {
    let limit = Instant::now() + Duration::from_secs(90);
    loop {
        let texts = room_texts(community);
        if fits(&texts) {
            return;
        }
        assert!(Instant::now() < limit, "{what}: {texts:?} {}", gateway.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_alert_edits_its_message_where_that_is_configured() {
    let server = Prosody::start(ServerOptions::default());
    let community = Community::start("lobby");
    let urls = format!("{}\n{}/lobby\n", xmpp_url(&server, "bob"), community.server_url());
    let program = Program::new().secret_file("ops.conf", &urls);
    let config = "[keys]\nops = \"ops.conf\"\n[operate]\nresolved = \"replace\"\n[operate.source.main]\nkind = \
                  \"alertmanager\"\nurl = \"http://127.0.0.1:9\"\nkeys = [\"ops\"]\n";
    let gateway = Gateway::with(program, config);
    let webhook = format!("http://127.0.0.1:{}/hook/alertmanager/ops", gateway.port);
    let alertmanager = Alertmanager::start(&webhook);
    let mut bob = Client::start(&server, "bob", None).await;

    alertmanager.raise(&DISK);
    let alert = bob.message("[FIRING:1] DiskFull").await;
    let wait = |what: &'static str, fits: fn(&[String]) -> bool| {
        tokio::task::block_in_place(|| until(&community, &gateway, what, fits));
    };
    wait("it fires", |texts| {
        texts.len() == 1 && texts[0].contains("[FIRING:1] DiskFull")
    });
    alertmanager.end(&DISK, &ackpost_outbox::time_text(SystemTime::now()));
    let over = bob.correction("[RESOLVED] DiskFull").await;
    assert_eq!(over.replaces, alert.id, "the message of the alert");
    wait("it is over, and there is no second message", |texts| {
        texts.len() == 1 && texts[0].contains("[RESOLVED] DiskFull")
    });
    // The next alert is a message of its own, and its end edits that one.
    alertmanager.raise(&DISK);
    let next = bob.message("[FIRING:1] DiskFull").await;
    assert_ne!(next.id, alert.id);
    wait("it fires again", |texts| texts.len() == 2);
    alertmanager.end(&DISK, &ackpost_outbox::time_text(SystemTime::now()));
    let over = bob.correction("[RESOLVED] DiskFull").await;
    assert_eq!(over.replaces, next.id);
    wait("it is over again", |texts| {
        texts.len() == 2 && texts.iter().all(|text| text.contains("[RESOLVED] DiskFull"))
    });
    // A message of nobody in particular about an end that has no beginning is new.
    let stray = serde_json::json!({"version": "4", "status": "resolved", "groupKey": "stray", "alerts": [
        {"status": "resolved", "labels": {"alertname": "Stray", "instance": "x"}, "annotations": {}}],
        "commonLabels": {"alertname": "Stray", "instance": "x"}, "groupLabels": {"alertname": "Stray"}});
    assert_eq!(gateway.json("/hook/alertmanager/ops", &stray).status, 200);
    bob.message("[RESOLVED] Stray").await;
    wait("a new message", |texts| texts.len() == 3);
}
