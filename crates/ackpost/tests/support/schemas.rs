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
            ("dm", "read") => "direct",
            ("dm", "send") => "direct-sent",
            ("identity", _) => "identity",
            ("watch", _) => "event",
            _ => return None,
        },
    )
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
