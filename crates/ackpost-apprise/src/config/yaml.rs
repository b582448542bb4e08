//! The YAML grammar.

use std::sync::Arc;

use ackpost_notify::grammar::near_miss;
use ackpost_notify::{Context, Diagnostic, Foreign};

use super::asset;
use super::groups::too_many_groups;
use super::parsed::Parsed;
use super::tree::{self, Node, repeated, written_again};
use super::yaml_entries::Entries;
use super::yaml_head::{global_tags, groups, includes, templates, version};

/// Reads a YAML configuration. A document that is none is refused whole; a bad entry is reported and the rest loads.
pub(super) fn parse(text: &str, name: &str, context: &mut Context) -> Parsed {
    let mut parsed = Parsed::default();
    let fail = |problem: Diagnostic| Parsed {
        problems: vec![problem.at(Some(name), None, None)],
        ..Parsed::default()
    };
    let root = match tree::read(text) {
        Ok(root) => root,
        Err(problem) => return fail(problem),
    };
    if root.mapping().is_none() {
        return fail(
            Diagnostic::error(
                "the YAML is not a mapping",
                "write `urls:` and the URLs as a list below it",
            )
            .at(None, Some(root.line), Some(root.column)),
        );
    }
    if let Err(problem) = version(&root) {
        return fail(problem);
    }
    misspelt(&root, name, &mut parsed);
    repeated_keys(&root, name, &mut parsed);
    if let Some(node) = root.get("asset").filter(|node| !node.is_null()) {
        asset::apply(node, &mut context.asset, &mut parsed.problems, name);
    }
    foreign_rule(&root, name, context, &mut parsed);
    let declared = match templates(&root) {
        Ok(declared) => Arc::new(declared),
        Err(problem) => return fail(problem),
    };
    let mut reader = Entries {
        name,
        context,
        // A copy, because later `asset:` sections must not reach back.
        shared: Arc::new(context.clone()),
        declared,
        global_tags: global_tags(&root, name, &mut parsed.problems),
        number: 0,
        words: Vec::new(),
        parsed: &mut parsed,
    };
    match root.get("urls") {
        Some(urls) => reader.urls(urls),
        None if root.get("include").is_some() => {}
        None => reader.parsed.problems.push(without_urls(&root).key("urls").at(
            Some(name),
            Some(root.line),
            Some(root.column),
        )),
    }
    let words = reader.words;
    let groups = groups(&root, name, &mut parsed.problems);
    if !groups.apply(&mut parsed.entries, &words) {
        return fail(too_many_groups());
    }
    for idle in groups.idle(&words) {
        let node = root.get("groups");
        parsed.problems.push(
            Diagnostic::warning(
                format!("the group `{idle}` reaches no service"),
                "tag a service with one of its tags",
            )
            .key(format!("groups.{idle}"))
            .at(
                Some(name),
                node.map(|node| node.line),
                node.map(|node| node.column),
            ),
        );
    }
    if let Some(node) = root.get("include") {
        included(node, name, &mut parsed);
    }
    parsed
}

/// The keys of a file.
const KNOWN: [&str; 9] = [
    "version", "asset", "template", "tag", "tags", "groups", "urls", "include", "foreign",
];

/// A file without `urls:`. It may hold settings alone; with a key that is not known it probably holds services.
fn without_urls(root: &Node<'_>) -> Diagnostic {
    let cause = "the file holds no `urls:`";
    let remedy = "write `urls:` and the URLs as a list below it";
    let pairs = root.mapping().unwrap_or_default();
    if pairs
        .iter()
        .all(|(key, _)| key.text().is_some_and(|key| KNOWN.contains(&key)))
    {
        Diagnostic::warning(cause, remedy)
    } else {
        Diagnostic::error(cause, remedy)
    }
}

/// Keys that are written more than once, at the top and among the groups.
fn repeated_keys(root: &Node<'_>, name: &str, parsed: &mut Parsed) {
    let mut mappings = vec![root];
    if let Some(groups) = root.get("groups") {
        mappings.push(groups);
        mappings.extend(groups.sequence().unwrap_or_default());
    }
    for key in mappings
        .into_iter()
        .filter_map(Node::mapping)
        .flat_map(written_again)
    {
        parsed
            .problems
            .push(repeated(key).at(Some(name), Some(key.line), Some(key.column)));
    }
}

/// Top-level keys that are nearly one that is known; others are left alone.
fn misspelt(root: &Node<'_>, name: &str, parsed: &mut Parsed) {
    for (node, _) in root.mapping().unwrap_or_default() {
        let Some(key) = node.text().filter(|key| !KNOWN.contains(key)) else {
            continue;
        };
        if let Some(meant) = near_miss(key, KNOWN.into_iter()) {
            let problem = match meant {
                "version" | "asset" => Diagnostic::warning,
                // All others change who gets a message.
                _ => Diagnostic::error,
            };
            parsed.problems.push(
                problem(
                    format!("unknown key `{key}`; it is ignored"),
                    format!("perhaps {meant} is meant"),
                )
                .key(key)
                .at(Some(name), Some(node.line), Some(node.column)),
            );
        }
    }
}

/// `foreign:` says what is done with entries of other services. The first file that says so decides.
fn foreign_rule(root: &Node<'_>, name: &str, context: &mut Context, parsed: &mut Parsed) {
    let Some(node) = root.get("foreign").filter(|node| !node.is_null()) else {
        return;
    };
    match node.text().map(str::parse::<Foreign>) {
        Some(Ok(rule)) => {
            context.asset.foreign.get_or_insert(rule);
        }
        _ => parsed.problems.push(
            Diagnostic::error(
                "the rule for other services is not known",
                "write apprise, skip or fail",
            )
            .key("foreign")
            .at(Some(name), Some(node.line), Some(node.column)),
        ),
    }
}

/// Reads the value of `include:`.
fn included(node: &Node<'_>, name: &str, parsed: &mut Parsed) {
    if node.mapping().is_none() {
        return includes(node, &mut parsed.includes);
    }
    parsed.problems.push(
        Diagnostic::error(
            "include is a mapping, so nothing is included",
            "write `include:` and a path, or a list of paths",
        )
        .key("include")
        .at(Some(name), Some(node.line), Some(node.column)),
    );
}
