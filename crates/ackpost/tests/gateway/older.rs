//! A gateway folder that a version of November 2026 wrote: its tokens stay in force, and its sealed key is read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::process::Gateway;
use crate::support::Program;

/// Copies a folder with the modes that version control does not keep.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).expect("our folder");
    for entry in std::fs::read_dir(from).expect("vectors").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("our file");
        }
    }
}

#[test]
fn the_folder_of_november_2026_opens() {
    let program = Program::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ackpost-2026-11/gateway");
    let folder = program.home().join("kept");
    copy(&vectors, &folder);
    let gateway = Gateway::with(program, &format!("folder = \"{}\"\n", folder.display()));
    // The tokens of the folder keep the gateway closed, with the permissions that they had.
    assert_eq!(gateway.json("/notify/ops-1", &json!({"body": "x"})).status, 401);
    let list = ["--json", "gateway", "token", "--config", "gateway.toml", "list"];
    let listed = gateway.program.run(&list);
    assert_eq!(listed.code, 0, "{}", listed.all());
    let listed = listed.json();
    for (name, id, keys, allow) in [
        ("ci", "be6fb747", json!(["ops-*"]), json!(["notify", "read"])),
        ("conf", "45e5967f", json!(["*"]), json!(["configure", "outbox"])),
    ] {
        let token = listed.iter().find(|token| token["name"] == name);
        let token = token.unwrap_or_else(|| panic!("{name} is gone: {listed:?}"));
        assert_eq!(
            (&token["id"], &token["keys"], &token["allow"]),
            (&json!(id), &keys, &allow),
            "{token}"
        );
    }
    // Nobody knows the secrets of these tokens any more, so another one reads the sealed key.
    let token = gateway.token(&["reader", "--key", "ops-1", "--allow", "configure"]);
    let bearer = format!("Bearer {token}");
    let read = gateway.request("POST", "/get/ops-1", &[("Authorization", bearer.as_str())], b"");
    assert_eq!(read.status, 200, "{read:?}");
    assert!(read.body.contains("://"), "{}", read.body);
    let other = gateway.request("POST", "/get/ops-2", &[("Authorization", bearer.as_str())], b"");
    assert_eq!(other.status, 403, "{other:?}");
}
