//! Texts from outside in entries of other services: they cannot choose another service.

mod support;

use support::Program;
use support::apprise::{Sink, installed};

/// The oldest and the newest version of Apprise that are tested against.
const VERSIONS: [&str; 2] = ["1.2.0", "2.3.0"];

fn encoded(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

#[test]
fn the_value_of_a_key_cannot_begin_another_entry() {
    for version in VERSIONS {
        let sink = Sink::start();
        let program = Program::new()
            .env("ACKPOST_APPRISE", installed(version).display().to_string())
            .env("ACKPOST_NATIVE", "xmpp,session");
        let (host, port) = ("127.0.0.1", sink.port);
        let keys = [
            // The entry ends, and others follow.
            serde_json::json!({ "a": format!("1}}\n- json://{host}:{port}/two\n- ? x\n  : {{b: 1") }),
            serde_json::json!({ "a": format!("1}}\n- json://{host}:{port}/two\n- ? json://{host}:{port}/three\n  : {{b: 1") }),
            // Another file is included.
            serde_json::json!({ "a": format!("1}}\ninclude:\n- http://{host}:{port}/four\nx:\n- ? x\n  : {{b: 1") }),
            // Old versions let a key replace the service.
            serde_json::json!({ "schema": "json", "host": host, "port": port.to_string() }),
            serde_json::json!({ "Schema": "json", "schema ": "json", "host": host, "port": port.to_string() }),
        ];
        for keys in keys {
            let url = format!("discord://bad?ackpost_keys={}", encoded(&keys.to_string()));
            let ran = program.run(&["--json", "-b", "x", &url]);
            assert_eq!(ran.code, 1, "{version} {keys}: {}", ran.all());
            assert_eq!(
                ran.json()[0]["outcome"],
                "refused",
                "{version} {keys}: {}",
                ran.all()
            );
            assert!(sink.posted().is_empty(), "{version} {keys}: {:?}", sink.posted());
        }
    }
}
