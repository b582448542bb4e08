//! The keys of an entry as they are shown with a template.

use ackpost_notify::grammar::float_text;

use crate::template_url::{Setting, Settings};

use super::tree::{Node, NodeKind, Pair};

/// The keys of both layers by name, the later value over the earlier.
pub(super) fn settings(layers: [&[&Pair<'_>]; 2]) -> Settings {
    let mut all = Settings::new();
    for (key, value) in layers.into_iter().flatten() {
        let Some(key) = key.text() else { continue };
        let value = setting(value);
        match all.iter_mut().find(|(known, _)| known == key) {
            Some(known) => known.1 = value,
            None => all.push((key.to_owned(), value)),
        }
    }
    all
}

fn setting(node: &Node<'_>) -> Setting {
    match &node.kind {
        NodeKind::Scalar { .. } if node.is_null() => Setting::Nothing,
        NodeKind::Scalar { text, .. } if node.is_text() => Setting::Text(text.to_string()),
        NodeKind::Scalar { text, .. } => plain(text),
        NodeKind::Sequence(_) => {
            let mut texts = Vec::new();
            if flatten(node, &mut texts) {
                Setting::List(texts)
            } else {
                Setting::Nothing
            }
        }
        NodeKind::Mapping(_) => Setting::Nothing,
    }
}

/// The texts of a list and of the lists in it; false when something else is there.
fn flatten(node: &Node<'_>, texts: &mut Vec<String>) -> bool {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().all(|item| flatten(item, texts)),
        NodeKind::Scalar { text, .. } if node.is_text() => {
            texts.push(text.to_string());
            true
        }
        _ => false,
    }
}

/// Yes, no or a number, as it is printed.
fn plain(text: &str) -> Setting {
    let lower = text.to_ascii_lowercase();
    let digits = text.trim_start_matches('+').replace('_', "");
    Setting::Plain(match lower.as_str() {
        "yes" | "true" | "on" => "yes".to_owned(),
        "no" | "false" | "off" => "no".to_owned(),
        _ if lower.contains('e') && !lower.contains('.') => return Setting::Text(text.to_owned()),
        _ if digits.contains('.') => digits.parse().map_or_else(|_| text.to_owned(), float_text),
        _ => digits
            .parse::<i128>()
            .map_or_else(|_| text.to_owned(), |number| number.to_string()),
    })
}
