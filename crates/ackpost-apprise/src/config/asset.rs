//! The `asset:` section.

use ackpost_notify::{Asset, Diagnostic, Format};

use super::tree::{Node, NodeKind, last_written, repeated, written_again};

/// Text settings the reference has beyond ours; accepted and kept as text.
const OTHER_TEXTS: [&str; 4] = [
    "default_ascii_chars",
    "default_html_color",
    "image_url_logo",
    "image_url_mask",
];
/// Yes-or-no settings the reference has beyond ours.
const OTHER_FLAGS: [&str; 3] = ["abort_on_chain_failure", "pem_autogen", "pgp_autogen"];

/// Applies one section; a key that cannot be set is reported and left alone.
pub(super) fn apply(node: &Node, asset: &mut Asset, problems: &mut Vec<Diagnostic>, file: &str) {
    let Some(pairs) = node.mapping() else {
        problems.push(at(
            Diagnostic::error("asset is not a mapping", "write one setting per line below it"),
            node,
            file,
        ));
        return;
    };
    for key in written_again(pairs) {
        problems.push(at(repeated(key), key, file));
    }
    for (key_node, value) in last_written(pairs) {
        let key = key_node.text().unwrap_or_default().trim().to_lowercase();
        if let Err(problem) = set(&key, value, asset) {
            problems.push(at(problem.key(format!("asset.{key}")), key_node, file));
        }
    }
}

fn at(problem: Diagnostic, node: &Node, file: &str) -> Diagnostic {
    problem.at(Some(file), Some(node.line), Some(node.column))
}

fn set(key: &str, value: &Node, asset: &mut Asset) -> Result<(), Diagnostic> {
    let unknown = || Diagnostic::warning("this setting cannot be changed", "remove it");
    match key {
        "app_id" => asset.app_id = text(value)?,
        "app_desc" => asset.app_desc = text(value)?,
        "app_url" => asset.app_url = text(value)?,
        "theme" => asset.theme = without_folder(value, &[".", ".."])?,
        "default_extension" => {
            let extension = without_folder(value, &[])?;
            asset.others.push((key.to_owned(), extension));
        }
        "body_format" if value.is_null() => {}
        "body_format" => {
            let format = text(value).ok().and_then(|word| word.parse::<Format>().ok());
            let format = format.ok_or_else(|| {
                Diagnostic::error("the format is not known", "write `text`, `markdown` or `html`")
            })?;
            // The first file that names a format decides.
            asset.body_format.get_or_insert(format);
        }
        "encoding" => {
            let name = text(value)?;
            let known = ["utf-8", "utf8", ""].contains(&name.to_ascii_lowercase().as_str());
            asset.encoding = name;
            if !known {
                return Err(Diagnostic::warning(
                    "only UTF-8 is spoken",
                    "save the files as UTF-8 and remove the key",
                ));
            }
        }
        "timezone" | "tz" => {
            let name = text(value)?;
            let zone = ackpost_notify::grammar::find_time_zone(&name).ok_or_else(|| {
                Diagnostic::warning(
                    "the time zone is not known",
                    "write an IANA name such as Europe/Berlin",
                )
            })?;
            asset.timezone = Some(zone);
        }
        "language" | "lang" => asset.language = text(value)?,
        "async_mode" => asset.async_mode = flag(value)?,
        "interpret_escapes" => asset.interpret_escapes = flag(value)?,
        "http_redirects" => asset.http_redirects = flag(value)?,
        _ if key.starts_with('_') || key.ends_with('_') => return Err(unknown()),
        _ if OTHER_TEXTS.contains(&key) => asset.others.push((key.to_owned(), text(value)?)),
        _ if OTHER_FLAGS.contains(&key) => asset.others.push((key.to_owned(), flag(value)?.to_string())),
        _ => return Err(unknown()),
    }
    Ok(())
}

/// A text without a folder.
fn without_folder(value: &Node, folders: &[&str]) -> Result<String, Diagnostic> {
    let name = text(value)?;
    if name.contains(['/', '\\']) || folders.contains(&name.as_str()) {
        return Err(Diagnostic::warning(
            "the value names a folder",
            "write a name without `/` and `\\`",
        ));
    }
    Ok(name)
}

/// Text where text is meant: null is empty, numbers are not text here (as in the reference).
fn text(value: &Node) -> Result<String, Diagnostic> {
    match &value.kind {
        NodeKind::Scalar { text, plain } if !plain || value.is_text() => Ok(text.trim().to_owned()),
        NodeKind::Scalar { .. } if value.is_null() => Ok(String::new()),
        _ => Err(Diagnostic::warning("the value is not a text", "put it in quotes")),
    }
}

fn flag(value: &Node) -> Result<bool, Diagnostic> {
    value
        .text()
        .and_then(ackpost_notify::grammar::boolean_word)
        .ok_or_else(|| Diagnostic::warning("the value is neither yes nor no", "write yes or no"))
}
