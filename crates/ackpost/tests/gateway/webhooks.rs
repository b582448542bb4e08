//! Alertmanager, Grafana and any JSON.

use serde_json::json;
use testkit::FakeSogs;

use crate::process::Gateway;
use crate::support::{Program, SEED, SERVER_KEY};

#[test]
fn other_programs_are_understood() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new().file("ops.conf", &format!("ops={url}\n"));
    let config = "[keys]\nops = \"ops.conf\"\n\
        [hooks.deploy]\nkey = \"ops\"\ntag = \"ops\"\ntitle = \"{{ repo.name | upper }}\"\n\
        body = \"{{#each commits}}* {{ this }}\\n{{/each}}\"\n\
        [hooks.bomb]\nkey = \"ops\"\nbody = \"{{#each a}}{{#each a}}{{#each a}}{{ this }}{{/each}}{{/each}}{{/each}}\"\n";
    let gateway = Gateway::with(program, config);

    let alert = json!({"version": "4", "status": "firing", "alerts": [
        {"status": "firing", "labels": {"alertname": "DiskFull"}, "annotations": {"summary": "disk is full"}}],
        "commonLabels": {"alertname": "DiskFull"}, "groupLabels": {}});
    let answer = gateway.json("/hook/alertmanager/ops?wait=20", &alert);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json(
        "/hook/grafana/ops?wait=20",
        &json!({"title": "CPU", "message": "hot", "alerts": []}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json(
        "/hook/json/ops?wait=20&tag=ops",
        &json!({"event": "build", "text": "it is done"}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let commits = json!({"repo": {"name": "ackpost"}, "commits": ["one", "two"]});
    assert_eq!(gateway.json("/hook/deploy?wait=20", &commits).status, 200);
    let numbers: Vec<u32> = (0..3_000).collect();
    let answer = gateway.json("/hook/bomb", &json!({"a": numbers}));
    assert_eq!(
        answer.status, 200,
        "a bomb is cut, it does not go off: {answer:?}"
    );

    let texts: Vec<String> = fake.posts().iter().filter_map(|post| post.text.clone()).collect();
    for part in [
        "[FIRING:1] DiskFull",
        "disk is full",
        "hot",
        "it is done",
        "ACKPOST\r\n* one\n* two",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:?}");
    }

    assert_eq!(
        gateway.json("/hook/alertmanager/ops", &json!({"x": 1})).status,
        400
    );
    assert_eq!(gateway.json("/hook/grafana/ops", &json!({"x": 1})).status, 400);
    assert_eq!(gateway.json("/hook/nothing", &json!({"x": 1})).status, 404);
    assert_eq!(gateway.json("/hook/other/ops", &json!({"x": 1})).status, 404);
    assert_eq!(
        gateway.json("/hook/json/nokey", &json!({"text": "x"})).status,
        404
    );
    // The operator's key is not changed over HTTP.
    assert_eq!(gateway.json("/add/ops", &json!({"urls": url})).status, 403);
    assert_eq!(gateway.get("/get/ops").status, 403);
}
