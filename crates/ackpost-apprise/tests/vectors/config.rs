//! Runs the vectors of `config-text` and `config-yaml`.

use ackpost_apprise::{Entry, EntryBody, Notifier, Options};
use serde_json::{Value, json};

use super::{context, run, same};

#[test]
fn config_text() {
    run("config-text", check);
}

#[test]
fn config_yaml() {
    run("config-yaml", check);
}

pub(crate) struct Loaded {
    pub(crate) notifier: Notifier,
    /// Held so that the files stay.
    _folder: tempfile::TempDir,
}

pub(crate) fn load(line: &Value) -> Loaded {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in line["input"]["files"].as_object().expect("files") {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content.as_str().expect("a text")).expect("a file");
    }
    let recursion = u32::try_from(line["input"]["recursion"].as_u64().expect("a depth")).expect("small");
    let mut notifier = Notifier::with_options(
        Options::default()
            .with_context(context())
            .with_recursion(recursion),
    );
    let main = folder
        .path()
        .join(line["input"]["main"].as_str().expect("a name"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(notifier.add_config(&main.to_string_lossy()));
    Loaded {
        notifier,
        _folder: folder,
    }
}

fn tags(entry: &Entry) -> Vec<Value> {
    let mut tags: Vec<Value> = entry
        .tags
        .iter()
        .map(|tag| {
            if tag.priority == 0 {
                json!(tag.name)
            } else {
                json!({"tag": tag.name, "priority": tag.priority})
            }
        })
        .collect();
    tags.sort_by_key(ToString::to_string);
    tags
}

pub(crate) fn services(notifier: &Notifier) -> Vec<Value> {
    notifier
        .iter()
        .map(|entry| match &entry.body {
            EntryBody::Service(service) => {
                json!({"service": service.name(), "url": entry.expose_url(), "tags": tags(entry)})
            }
            EntryBody::Template(template) => json!({
                "template": true,
                "url": entry.expose_url(),
                "privacy": entry.apprise_masked_url(),
                "tags": tags(entry),
                "names": template.names(),
                "required": template.required(),
            }),
        })
        .collect()
}

pub(crate) fn check(line: &Value) -> Result<(), String> {
    let loaded = load(line);
    let ours = services(&loaded.notifier);
    let mut theirs = line["expected"]["services"].as_array().expect("services").clone();
    for service in &mut theirs {
        if let Some(tags) = service["tags"].as_array_mut() {
            tags.sort_by_key(ToString::to_string);
        }
    }
    same("services", &ours, &theirs)?;
    if theirs.is_empty()
        && !line["input"]["files"]
            .as_object()
            .expect("files")
            .values()
            .all(only_comments)
    {
        same(
            "a reason is given",
            &loaded.notifier.problems().is_empty(),
            &false,
        )?;
    }
    if let Some(changes) = line["expected"]["asset"].as_object() {
        let asset = loaded.notifier.asset();
        for (key, value) in changes {
            let ours = match key.as_str() {
                "app_id" => json!(asset.app_id),
                "app_desc" => json!(asset.app_desc),
                "app_url" => json!(asset.app_url),
                "theme" => json!(asset.theme),
                "http_redirects" => json!(asset.http_redirects),
                "async_mode" => json!(asset.async_mode),
                "interpret_escapes" => json!(asset.interpret_escapes),
                "secure_logging" => json!(asset.secure_logging),
                "encoding" => json!(asset.encoding),
                "body_format" => json!(asset.body_format.map(ackpost_notify::Format::as_str)),
                other => return Err(format!("the asset {other} is not compared")),
            };
            same(key, &ours, value)?;
        }
    }
    Ok(())
}

fn only_comments(text: &Value) -> bool {
    let text = text.as_str().expect("a text");
    text.lines()
        .all(|line| line.trim().is_empty() || line.trim().starts_with(['#', ';']))
}
