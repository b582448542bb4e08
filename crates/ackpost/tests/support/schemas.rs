//! The JSON Schema files of `docs/reference/json`, and which of them holds for a command.

use std::path::PathBuf;

use serde_json::Value;

/// The folder of the schemas.
pub(crate) fn folder() -> PathBuf {
    crate::support::root().join("docs/reference/json")
}

/// The schema for what a command prints; `None` for commands of other areas.
fn schema_of(args: &[&str]) -> Option<&'static str> {
    let words: Vec<&str> = args.iter().copied().filter(|arg| *arg != "--json").collect();
    let has = |flag: &str| words.contains(&flag);
    Some(
        match (words.first().copied()?, words.get(1).copied().unwrap_or_default()) {
            ("room", "read") if has("--since") => "change",
            ("room", "read") => "message",
            ("room", "post") => "posted",
            ("room", "info" | "list" | "settings") => "room",
            ("room", "react") if has("--who") => "reactor",
            ("room", "edit" | "delete" | "react" | "pin") => "done",
            ("room", "upload" | "download") => "file",
            ("room", "members" | "mods" | "permissions" | "ban" | "unban") => "person",
            ("room", "held") if has("list") => "held",
            ("room", "reports") if has("list") => "reported",
            ("room", "held" | "reports") => "decided",
            ("room", "report") => "report-filed",
            ("room", "save" | "saved" | "forget") => "saved",
            ("dm", "id") => "dm-id",
            ("dm", "read") if to_account(&words) => "mailbox",
            ("dm", "send") if to_account(&words) => "mailbox-sent",
            ("dm", "read") => "direct",
            ("dm", "send") => "direct-sent",
            ("identity", _) => "identity",
            ("watch", _) if words.iter().any(|word| is_mailbox(word)) => "mailbox-event",
            ("omemo", "init" | "devices" | "fingerprint") => "omemo-device",
            ("omemo", "trust" | "untrust") => "omemo-trust",
            ("omemo", "reset") => "omemo-reset",
            ("watch", _) => "event",
            ("send", _) if has("--dry-run") => "dry-run",
            ("send", _) => "sent",
            ("preview", _) => "preview",
            ("config", "check") => "config-check",
            ("doctor", _) => "doctor",
            ("details", "") => "service",
            ("details", _) => "parameter",
            ("outbox", "list" | "show") => "outbox-entry",
            ("outbox", "log") => "outbox-event",
            ("outbox", "acts") => "outbox-act",
            ("outbox", "flush") => "outbox-flush",
            ("outbox", "retry" | "drop") => "outbox-changed",
            ("outbox", "stats") => "outbox-stats",
            ("bridge", "check") => "bridge-finding",
            ("bridge", "status") => "bridge-status",
            ("bridge", "map") => "bridge-map",
            ("bridge", "pause") => "bridge-pause",
            ("bridge", "run") => "bridge-running",
            ("server", command) => return server(command, words.get(2).copied().unwrap_or_default()),
            ("gateway", "token") if has("add") => "token-added",
            ("gateway", "token") if has("list") => "token",
            ("gateway", "token") if has("remove") => "token-removed",
            ("gateway", "check") => "gateway-check",
            ("demo", _) => "demo",
            _ => return None,
        },
    )
}

/// The schema for what a command of the community server prints.
fn server(command: &str, verb: &str) -> Option<&'static str> {
    Some(match (command, verb) {
        ("init", _) => "server-init",
        ("run", _) => "server-run",
        ("status", _) => "server-status",
        ("reload", _) => "server-reload",
        ("config", "check") => "server-config-check",
        ("backup", _) => "server-backup",
        ("restore", _) => "server-restore",
        ("verify", _) => "server-verify",
        ("import", _) => "server-import",
        ("migrate", _) => "server-migrate",
        ("new-key", _) => "server-new-key",
        ("room", "list") => "server-room",
        ("room", "show") => "server-room-shown",
        ("room", "add" | "edit" | "delete") => "server-room-changed",
        ("user", "list") => "server-person",
        ("user", "show") => "server-person-shown",
        ("user", "permissions") => "server-permissions",
        ("mod", "list") => "server-moderator",
        ("mod", "add" | "remove") => "server-moderator-changed",
        ("ban", "list") => "server-ban",
        ("ban", "add" | "remove") => "server-ban-changed",
        ("message", "list") => "server-message",
        ("message", "held") => "server-held",
        (
            "message",
            "delete" | "delete-all" | "delete-containing" | "pin" | "unpin" | "approve" | "reject",
        ) => "server-message-changed",
        ("moderation", "on" | "off" | "status") => "server-moderation",
        ("file", "list") => "server-file",
        ("file", "delete" | "keep" | "move") => "server-file-changed",
        ("filter", "list") => "server-filter",
        ("filter", "add" | "remove") => "server-filter-changed",
        ("filter", "test") => "server-filter-test",
        ("settings", "list") => "server-setting",
        ("settings", "set" | "clear") => "server-setting-changed",
        ("settings", "names") => "server-setting-name",
        ("raid", "status") => "server-raid",
        ("raid", "on" | "off") => "server-raid-changed",
        ("raid", "sweep") => "server-raid-sweep",
        ("log", _) => "server-log",
        ("undo", _) => "server-undo",
        _ => return None,
    })
}

/// Returns true if there is a schema for what a command prints.
#[allow(dead_code, reason = "not every test that includes this file asks")]
pub(crate) fn has(args: &[&str]) -> bool {
    schema_of(args).is_some()
}

/// Returns true if a Session ID is given in place of a link.
fn to_account(words: &[&str]) -> bool {
    words.get(2).is_some_and(|word| is_mailbox(word))
}

/// Returns true for a Session ID, or a URL with one.
fn is_mailbox(word: &str) -> bool {
    (word.len() == 66 && word.starts_with("05")) || word.starts_with("sessiondm://")
}

/// Asserts that objects fit the schema of the command that printed them.
pub(crate) fn check(args: &[&str], objects: &[Value]) {
    let Some(name) = schema_of(args) else { return };
    let text = std::fs::read_to_string(folder().join(format!("{name}.schema.json"))).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for object in objects {
        let errors: Vec<String> = validator
            .iter_errors(object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "{args:?} does not fit {name}: {errors:#?}\n{object:#}"
        );
    }
}
