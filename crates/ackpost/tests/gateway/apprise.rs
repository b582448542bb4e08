//! A client nobody here wrote: the Python `apprise` of PyPI.

use std::process::Command;

use ackpost_apprise::APPRISE_VERSION as VERSION;
use serde_json::json;

use crate::api::room_texts;
use crate::process::Gateway;
use crate::support::community::Community;
use crate::support::{Program, apprise};

#[test]
#[expect(clippy::too_many_lines, reason = "one environment, several calls")]
fn the_apprise_command_posts_and_the_messages_arrive() {
    let apprise = apprise::installed(VERSION);
    let community = Community::start("lobby");
    let gateway = Gateway::with(Program::new(), "access = \"open\"\n");
    let config = format!("ops={}/lobby", community.server_url());
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": config, "format": "text"}))
            .status,
        200
    );
    let file = gateway.program.home().join("note.txt");
    std::fs::write(&file, "attached").expect("written");
    let home = gateway.program.home();
    let run = |args: &[&str]| {
        let output = Command::new(&apprise)
            .args(args)
            .env("HOME", &home)
            .output()
            .expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let port = gateway.port;

    let (code, said) = run(&[
        "-vv",
        "-t",
        "T1",
        "-b",
        "by apprise json",
        &format!("apprise://127.0.0.1:{port}/ops"),
    ]);
    assert_eq!(code, Some(0), "{said}");
    let form = format!("apprise://127.0.0.1:{port}/ops?method=form&tags=ops");
    let (code, said) = run(&["-vv", "-t", "T2", "-b", "by apprise form", &form]);
    assert_eq!(code, Some(0), "{said}");
    let file = file.display().to_string();
    let (code, said) = run(&[
        "-vv",
        "-b",
        "by apprise file",
        "-a",
        &file,
        &format!("apprise://127.0.0.1:{port}/ops"),
    ]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&[
        "-vv",
        "-t",
        "T3",
        "-b",
        "by json service",
        &format!("json://127.0.0.1:{port}/notify/ops"),
    ]);
    assert_eq!(code, Some(0), "{said}");
    // It reads the configuration back with a POST, and sends by itself.
    let (code, said) = run(&[
        "-vv",
        "--dry-run",
        "-g",
        "ops",
        &format!("--config=http://127.0.0.1:{port}/get/ops"),
    ]);
    assert_eq!(code, Some(0), "{said}");
    // A delivery that fails at the gateway fails in Apprise too.
    let (code, said) = run(&[
        "-vv",
        "-b",
        "x",
        &format!("apprise://127.0.0.1:{port}/ops?tags=nobody"),
    ]);
    assert_eq!(code, Some(1), "{said}");

    // A token, as the password of the URL.
    let gateway = Gateway::start();
    let port = gateway.port;
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": config, "format": "text"}))
            .status,
        200
    );
    let token = gateway.token(&["apprise", "--key", "ops"]);
    let (code, said) = run(&[
        "-vv",
        "-b",
        "by token",
        &format!("apprise://user:{token}@127.0.0.1:{port}/ops"),
    ]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _) = run(&["-b", "x", &format!("apprise://127.0.0.1:{port}/ops")]);
    assert_eq!(code, Some(1));

    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let texts = room_texts(&community);
        let wanted = [
            "by apprise json",
            "by apprise form",
            "by apprise file",
            "by json service",
            "by token",
        ];
        if wanted
            .iter()
            .all(|part| texts.iter().any(|text| text.contains(part)))
        {
            break;
        }
        assert!(std::time::Instant::now() < until, "{texts:?}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}
