//! Services that Apprise delivers: the operator's files may name them, and other callers only with an explicit right.

use ackpost_apprise::APPRISE_VERSION;
use serde_json::json;

use crate::process::Gateway;
use crate::support::Program;
use crate::support::apprise::{Sink, installed};

fn gateway(config: &str, keys: &str) -> Gateway {
    let program = Program::new()
        .env(
            "ACKPOST_APPRISE",
            installed(APPRISE_VERSION).display().to_string(),
        )
        .file("ops.conf", keys);
    Gateway::with(program, config)
}

/// A URL of a service that Ackpost does not have.
fn xml(sink: &Sink, path: &str) -> String {
    format!("xml://127.0.0.1:{}/{path}", sink.port)
}

#[test]
fn a_file_of_the_operator_may_name_every_service() {
    let sink = Sink::start();
    let config = "access = \"open\"\nwait = \"40s\"\n[keys]\nops = \"ops.conf\"\n";
    let gateway = gateway(config, &xml(&sink, "operator"));
    let answer = gateway.json(
        "/notify/ops",
        &json!({"body": "x", "title": "T", "type": "failure"}),
    );
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    let posted = sink.posted();
    assert_eq!((posted.len(), posted[0].path.as_str()), (1, "/operator"));
    assert!(answer.body.contains("handed-over"), "{answer:?}");
    // Over HTTP nobody may: there is no token that could have the right.
    let answer = gateway.json("/notify", &json!({"body": "x", "urls": xml(&sink, "guest")}));
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(sink.count("/guest"), 0);
}

#[test]
fn over_http_a_token_needs_the_right_and_local_services_are_never_allowed() {
    let sink = Sink::start();
    let config = "access = \"tokens\"\nwait = \"40s\"\n[foreign]\nenabled = true\n";
    let gateway = gateway(config, "");
    let allow = |name: &str, rights: &[&str]| {
        let mut args = vec![name];
        args.extend(rights.iter().flat_map(|right| ["--allow", right]));
        format!("Bearer {}", gateway.token(&args))
    };
    let plain = allow("plain", &["notify", "urls", "configure"]);
    let trusted = allow("trusted", &["notify", "urls", "configure", "foreign"]);
    let post = |path: &str, token: &str, value: &serde_json::Value| {
        gateway.request(
            "POST",
            path,
            &[("Authorization", token), ("Content-Type", "application/json")],
            value.to_string().as_bytes(),
        )
    };
    let urls = json!({"body": "x", "urls": xml(&sink, "guest")});
    let refused = post("/notify", &plain, &urls);
    assert_eq!((refused.status, sink.count("/guest")), (424, 0), "{refused:?}");
    let sent = post("/notify", &trusted, &urls);
    assert_eq!(
        (sent.status, sink.count("/guest")),
        (200, 1),
        "{sent:?} {}",
        gateway.log()
    );
    let local = post("/notify", &trusted, &json!({"body": "x", "urls": "syslog://"}));
    assert_eq!(local.status, 204, "{local:?}");
    let save = json!({"config": xml(&sink, "saved"), "format": "text"});
    assert_eq!(post("/add/ops", &plain, &save).status, 403);
    // Only the filled-in URL shows that it is Apprise's.
    let filled =
        "template: {who: jane}\nurls:\n  - mailto://localhost?from=b@x.org&to=${who}@x.org&inline=yes\n";
    let filled = json!({"config": filled, "format": "yaml"});
    assert_eq!(post("/add/filled", &plain, &filled).status, 403);
    assert_eq!(post("/add/filled", &trusted, &filled).status, 200);
    assert_eq!(post("/add/ops", &trusted, &save).status, 200);
    let message = json!({"body": "x"});
    assert_eq!(post("/notify/ops", &plain, &message).status, 424);
    assert_eq!(
        (
            post("/notify/ops", &trusted, &message).status,
            sink.count("/saved")
        ),
        (200, 1)
    );
}

/// The words, the numbers and the pages keep a success without proof apart from a delivery.
#[test]
fn what_was_only_handed_over_is_never_called_delivered() {
    let sink = Sink::start();
    let config = "access = \"open\"\nwait = \"40s\"\n[keys]\nops = \"ops.conf\"\nboth = \"both.conf\"\n";
    let http = ackpost_testkit::FakeHttp::start(|_| ackpost_testkit::HttpAnswer::Status(200, String::new()));
    let program = Program::new()
        .env(
            "ACKPOST_APPRISE",
            installed(APPRISE_VERSION).display().to_string(),
        )
        .file("ops.conf", &xml(&sink, "alone"))
        .file(
            "both.conf",
            &format!("{}\njson://{}/native\n", xml(&sink, "both"), http.place()),
        );
    let gateway = Gateway::with(program, config);
    let answer = gateway.json("/notify/ops", &json!({"body": "x"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!(said["status"], "handed-over", "{said}");
    assert_eq!(
        said["message"],
        "delivered to 0 of 1 targets, handed over without proof for 1"
    );
    let details = said["details"].to_string();
    assert!(
        details.contains("handed-over xml://") && !details.contains("delivered xml://"),
        "{details}"
    );
    let id = said["outbox"][0]["id"].as_str().expect("an id").to_owned();
    let page = gateway.get(&format!("/ui/outbox/{id}")).body;
    assert!(page.contains("handed over without proof"), "{page}");
    let list = gateway.get("/ui/outbox").body;
    assert!(
        list.contains("handed-over") && !list.contains(">delivered</td>"),
        "{list}"
    );
    let said = gateway.json("/notify/both", &json!({"body": "x"})).json();
    assert_eq!(said["status"], "handed-over", "{said}");
    assert_eq!(
        said["message"],
        "delivered to 1 of 2 targets, handed over without proof for 1"
    );
    let metrics = gateway.get("/metrics").body;
    for line in [
        "ackpost_messages_total{service=\"apprise\",outcome=\"delivered\"} 0",
        "ackpost_messages_total{service=\"apprise\",outcome=\"handed-over\"} 2",
        "ackpost_messages_total{service=\"json\",outcome=\"delivered\"} 1",
        "ackpost_messages_total{service=\"json\",outcome=\"handed-over\"} 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }
    let stats = gateway.program.run(&["outbox", "stats"]);
    assert!(
        stats
            .stdout
            .contains("2 delivered (2 of them handed over without proof)"),
        "{}",
        stats.all()
    );
}
