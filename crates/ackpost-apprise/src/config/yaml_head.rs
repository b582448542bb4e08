//! The top-level keys of a YAML configuration, `urls` and `asset` apart.

use std::collections::BTreeMap;

use ackpost_notify::Diagnostic;

use crate::split::split_urls;
use crate::template_url::is_name;

use super::groups::Groups;
use super::parsed::Include;
use super::tree::{Node, NodeKind, last_written};

pub(super) fn version(root: &Node<'_>) -> Result<(), Diagnostic> {
    let Some(node) = root.get("version") else {
        return Ok(());
    };
    // The reference compares with the number, so a word for yes is one too.
    let is_one = |text: &str| {
        let number = text
            .parse::<f64>()
            .is_ok_and(|n| n.to_bits() == 1.0_f64.to_bits());
        number || ["true", "yes", "on"].contains(&text.to_ascii_lowercase().as_str())
    };
    let one = matches!(&node.kind, NodeKind::Scalar { text, plain: true } if is_one(text));
    if one {
        return Ok(());
    }
    Err(Diagnostic::error(
        "the version is not the number 1",
        "write `version: 1` without quotes, or remove it",
    )
    .key("version")
    .at(None, Some(node.line), Some(node.column)))
}

/// Declared template variables, lower case, with their defaults.
pub(super) fn templates(root: &Node<'_>) -> Result<BTreeMap<String, Option<String>>, Diagnostic> {
    let mut declared = BTreeMap::new();
    let Some(node) = root.get("template").filter(|node| !node.is_null()) else {
        return Ok(declared);
    };
    let bad = |cause: String, remedy: &str, node: &Node<'_>| {
        Diagnostic::error(cause, remedy)
            .key("template")
            .at(None, Some(node.line), Some(node.column))
    };
    let mut pair = |key: &Node<'_>, value: Option<&Node<'_>>| {
        let Some(name) = key.text().filter(|name| is_name(name)) else {
            return Err(bad(
                "the name of a template variable is not made of letters, digits and `_`".to_owned(),
                "correct the name",
                key,
            ));
        };
        let default = match value.filter(|value| !value.is_null()) {
            Some(value) => Some(value.text().map(str::to_owned).ok_or_else(|| {
                let cause = format!("the default of the template variable `{name}` is not a text");
                bad(cause, "write a text", value)
            })?),
            None => None,
        };
        if declared.insert(name.to_lowercase(), default).is_some() {
            let cause = format!("the template variable `{name}` is declared more than once");
            return Err(bad(cause, "remove one of them", key));
        }
        Ok(())
    };
    match &node.kind {
        NodeKind::Mapping(pairs) => pairs.iter().try_for_each(|(key, value)| pair(key, Some(value)))?,
        NodeKind::Sequence(items) => {
            for item in items.iter() {
                match item.mapping() {
                    Some(pairs) => pairs.iter().try_for_each(|(key, value)| pair(key, Some(value)))?,
                    None => pair(item, None)?,
                }
            }
        }
        NodeKind::Scalar { .. } => {
            return Err(bad(
                "template is neither a list nor a mapping".to_owned(),
                "write the names as a list below it",
                node,
            ));
        }
    }
    Ok(declared)
}

pub(super) fn global_tags<'n>(
    root: &'n Node<'_>,
    name: &str,
    problems: &mut Vec<Diagnostic>,
) -> Vec<&'n str> {
    let Some(node) = root.get("tag").or_else(|| root.get("tags")) else {
        return Vec::new();
    };
    match tag_words(node) {
        Ok(words) => words,
        Err(problem) => {
            problems.push(
                problem
                    .key("tag")
                    .at(Some(name), Some(node.line), Some(node.column)),
            );
            Vec::new()
        }
    }
}

/// The words of a tag value: a string or a list of strings.
pub(super) fn tag_words<'n>(node: &'n Node<'_>) -> Result<Vec<&'n str>, Diagnostic> {
    let mut words = Vec::new();
    let mut split = |text: &'n str| {
        words.extend(
            text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']'))
                .filter(|word| !word.is_empty()),
        );
    };
    match &node.kind {
        _ if node.is_null() => {}
        NodeKind::Scalar { text, .. } => split(text),
        NodeKind::Sequence(items) => {
            for item in items.iter() {
                split(
                    item.text()
                        .ok_or_else(|| Diagnostic::error("a tag is not a word", "write tags as words"))?,
                );
            }
        }
        NodeKind::Mapping(_) => {
            return Err(Diagnostic::error(
                "tags are neither a text nor a list",
                "write `tag: one, two`",
            ));
        }
    }
    Ok(words)
}

/// The members of a group: words, each perhaps with a comment behind it (`- alice: on call`).
fn members<'n>(node: &'n Node<'_>) -> Result<Vec<&'n str>, Diagnostic> {
    let NodeKind::Sequence(items) = &node.kind else {
        return match node.kind {
            NodeKind::Mapping(_) => Err(Diagnostic::error(
                "the members of the group are a mapping, not a list",
                "write `name: [tag, tag]`, or put `- ` in front of each member",
            )),
            _ => tag_words(node),
        };
    };
    let mut words = Vec::new();
    for item in items.iter() {
        match item.mapping() {
            Some(pairs) => {
                for (key, _) in pairs {
                    words.extend(tag_words(key)?);
                }
            }
            None => words.extend(members(item)?),
        }
    }
    Ok(words)
}

pub(super) fn groups(root: &Node<'_>, name: &str, problems: &mut Vec<Diagnostic>) -> Groups {
    let mut groups = Groups::default();
    let Some(node) = root.get("groups").filter(|node| !node.is_null()) else {
        return groups;
    };
    let mut one = |key: &Node<'_>, value: Option<&Node<'_>>| {
        let missing = || Diagnostic::error("the group has no members", "write `name: tag, tag`");
        let found = match value {
            Some(value) if value.is_null() => Ok(Vec::new()),
            Some(value) => members(value),
            None => Err(missing()),
        };
        let names = tag_words(key).unwrap_or_default();
        if value.is_some() {
            // Even a group without members is the name of a group, through which no other group is reached.
            for group in &names {
                groups.add::<&str>(group, &[]);
            }
        }
        let problem = match found {
            Ok(tags) if !names.is_empty() && !tags.is_empty() => {
                for group in names {
                    groups.add(group, &tags);
                }
                return;
            }
            // An empty group says what it means.
            Ok(_) if !names.is_empty() => {
                let Diagnostic { cause, remedy, .. } = missing();
                Diagnostic::warning(cause, remedy)
            }
            Ok(_) => Diagnostic::error("the group has no name", "write `name: tag, tag`"),
            Err(problem) => problem,
        };
        problems.push(
            problem
                .key("groups")
                .at(Some(name), Some(key.line), Some(key.column)),
        );
    };
    for item in node.sequence().unwrap_or(std::slice::from_ref(node)) {
        match item.mapping() {
            Some(pairs) => last_written(pairs)
                .into_iter()
                .for_each(|(key, value)| one(key, Some(value))),
            None => one(item, None),
        }
    }
    groups
}

pub(super) fn includes(node: &Node<'_>, all: &mut Vec<Include>) {
    match &node.kind {
        NodeKind::Scalar { text, .. } => {
            for location in split_urls(text) {
                all.push(Include {
                    location: location.to_owned(),
                    line: Some(node.line),
                    column: Some(node.column),
                });
            }
        }
        NodeKind::Sequence(items) => items.iter().for_each(|item| includes(item, all)),
        NodeKind::Mapping(pairs) => pairs.iter().for_each(|(key, _)| includes(key, all)),
    }
}
