//! The top-level keys of a YAML configuration, `urls` and `asset` apart.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::template::is_name;
use crate::url::split_urls;

use super::groups::Groups;
use super::load::Include;
use super::tree::{Node, NodeKind, Pair};

pub(super) fn version(root: &Node<'_>) -> Result<(), Problem> {
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
    Err(Problem::error(
        "the version is not the number 1",
        "write `version: 1` without quotes, or remove it",
    )
    .key("version")
    .at(None, Some(node.line), Some(node.column)))
}

/// Declared template variables, lower case, with their defaults.
pub(super) fn templates(root: &Node<'_>) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let mut declared = BTreeMap::new();
    let Some(node) = root.get("template").filter(|node| !node.is_null()) else {
        return Ok(declared);
    };
    let bad = |cause: String, remedy: &str, node: &Node<'_>| {
        Problem::error(cause, remedy)
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

pub(super) fn global_tags<'n>(root: &'n Node<'_>, name: &str, problems: &mut Vec<Problem>) -> Vec<&'n str> {
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
pub(super) fn tag_words<'n>(node: &'n Node<'_>) -> Result<Vec<&'n str>, Problem> {
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
                        .ok_or_else(|| Problem::error("a tag is not a word", "write tags as words"))?,
                );
            }
        }
        NodeKind::Mapping(_) => {
            return Err(Problem::error(
                "tags are neither a text nor a list",
                "write `tag: one, two`",
            ));
        }
    }
    Ok(words)
}

/// The pairs of a mapping; of those with the same key the last.
fn last_written<'n>(pairs: &'n [Pair<'n>]) -> impl Iterator<Item = &'n Pair<'n>> {
    let mut seen = std::collections::HashMap::new();
    for (at, (key, _)) in pairs.iter().enumerate() {
        if let Some(key) = key.text() {
            seen.insert(key, at);
        }
    }
    let holds = move |at: usize, key: &Node<'_>| key.text().is_none_or(|key| seen.get(key) == Some(&at));
    pairs
        .iter()
        .enumerate()
        .filter(move |(at, (key, _))| holds(*at, key))
        .map(|(_, pair)| pair)
}

pub(super) fn groups(root: &Node<'_>, name: &str, problems: &mut Vec<Problem>) -> Groups {
    let mut groups = Groups::default();
    let Some(node) = root.get("groups").filter(|node| !node.is_null()) else {
        return groups;
    };
    let mut one = |key: &Node<'_>, value: &Node<'_>| {
        let names = tag_words(key).unwrap_or_default();
        let tags = tag_words(value).unwrap_or_default();
        if names.is_empty() || tags.is_empty() {
            problems.push(
                Problem::warning("the group has no tags", "write `name: tag, tag`")
                    .key("groups")
                    .at(Some(name), Some(key.line), Some(key.column)),
            );
            return;
        }
        for group in names {
            groups.add(group, &tags);
        }
    };
    match &node.kind {
        NodeKind::Mapping(pairs) => last_written(pairs).for_each(|(key, value)| one(key, value)),
        NodeKind::Sequence(items) => {
            for item in items.iter() {
                match item.mapping() {
                    Some(pairs) => last_written(pairs).for_each(|(key, value)| one(key, value)),
                    None => one(item, &empty(item)),
                }
            }
        }
        NodeKind::Scalar { .. } => one(node, &empty(node)),
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

/// A value that is not there, at the place of another.
fn empty<'t>(node: &Node<'t>) -> Node<'t> {
    Node {
        kind: NodeKind::Scalar {
            text: "".into(),
            plain: true,
        },
        ..node.clone()
    }
}
