//! The YAML grammar.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Entry, EntryBody};
use crate::problem::Problem;
use crate::service::{Context, Service, row_of, with_overrides};
use crate::tag::has_retry;
use crate::template::{Template, is_name};
use crate::url::split_urls;

use super::asset;
use super::groups::Groups;
use super::load::{Include, Parsed, shared};
use super::text::too_many_groups;
use super::tree::{self, Node, NodeKind};

/// Reads a YAML configuration. A document that is none is refused whole; a bad entry is reported and the rest loads.
pub(super) fn parse(text: &str, name: &str, context: &mut Context) -> Parsed {
    let mut parsed = Parsed::default();
    let fail = |problem: Problem| Parsed {
        problems: vec![problem.at(Some(name), None, None)],
        ..Parsed::default()
    };
    let root = match tree::read(text) {
        Ok(root) => root,
        Err(problem) => return fail(problem),
    };
    if root.mapping().is_none() {
        return fail(
            Problem::error(
                "the YAML is not a mapping",
                "write `urls:` and the URLs as a list below it",
            )
            .at(None, Some(root.line), Some(root.column)),
        );
    }
    if let Err(problem) = version(&root) {
        return fail(problem);
    }
    if let Some(node) = root.get("asset").filter(|node| !node.is_null()) {
        asset::apply(node, &mut context.asset, &mut parsed.problems, name);
    }
    let declared = match templates(&root) {
        Ok(declared) => Arc::new(declared),
        Err(problem) => return fail(problem),
    };
    let mut reader = Entries {
        name,
        context,
        shared: shared(context),
        declared,
        global_tags: global_tags(&root, name, &mut parsed.problems),
        number: 0,
        words: Vec::new(),
        parsed: &mut parsed,
    };
    match root.get("urls") {
        Some(urls) => reader.urls(urls),
        None if root.get("include").is_some() => {}
        None => reader.parsed.problems.push(
            Problem::warning(
                "the file holds no `urls:`",
                "write `urls:` and the URLs as a list below it",
            )
            .key("urls")
            .at(Some(name), Some(root.line), Some(root.column)),
        ),
    }
    let words = reader.words;
    let groups = groups(&root, name, &mut parsed.problems);
    if !groups.apply(&mut parsed.entries, &words) {
        return fail(too_many_groups());
    }
    for idle in groups.idle(&words) {
        let node = root.get("groups");
        parsed.problems.push(
            Problem::warning(
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
    match root.get("include") {
        Some(node) if node.mapping().is_some() => parsed.problems.push(
            Problem::warning(
                "include is a mapping, so nothing is included",
                "write `include:` and a path, or a list of paths",
            )
            .key("include")
            .at(Some(name), Some(node.line), Some(node.column)),
        ),
        Some(node) => includes(node, &mut parsed.includes),
        None => {}
    }
    parsed
}

fn version(root: &Node) -> Result<(), Problem> {
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
fn templates(root: &Node) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let mut declared = BTreeMap::new();
    let Some(node) = root.get("template").filter(|node| !node.is_null()) else {
        return Ok(declared);
    };
    let bad = |cause: String, remedy: &str, node: &Node| {
        Problem::error(cause, remedy)
            .key("template")
            .at(None, Some(node.line), Some(node.column))
    };
    let mut pair = |key: &Node, value: Option<&Node>| {
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

fn global_tags(root: &Node, name: &str, problems: &mut Vec<Problem>) -> Vec<String> {
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
fn tag_words(node: &Node) -> Result<Vec<String>, Problem> {
    let split = |text: &str| -> Vec<String> {
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']'))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if node.is_null() {
        return Ok(Vec::new());
    }
    match &node.kind {
        NodeKind::Scalar { text, .. } => Ok(split(text)),
        NodeKind::Sequence(items) => {
            let mut words = Vec::new();
            for item in items.iter() {
                match item.text() {
                    Some(text) => words.extend(split(text)),
                    None => return Err(Problem::error("a tag is not a word", "write tags as words")),
                }
            }
            Ok(words)
        }
        NodeKind::Mapping(_) => Err(Problem::error(
            "tags are neither a text nor a list",
            "write `tag: one, two`",
        )),
    }
}

fn groups(root: &Node, name: &str, problems: &mut Vec<Problem>) -> Groups {
    let mut groups = Groups::default();
    let Some(node) = root.get("groups").filter(|node| !node.is_null()) else {
        return groups;
    };
    let mut one = |key: &Node, value: &Node| {
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
            groups.add(&group, &tags);
        }
    };
    let empty = |node: &Node| Node {
        kind: NodeKind::Scalar {
            text: String::new(),
            plain: true,
        },
        ..node.clone()
    };
    match &node.kind {
        NodeKind::Mapping(pairs) => pairs.iter().for_each(|(key, value)| one(key, value)),
        NodeKind::Sequence(items) => {
            for item in items.iter() {
                match item.mapping() {
                    Some(pairs) => pairs.iter().for_each(|(key, value)| one(key, value)),
                    None => one(item, &empty(item)),
                }
            }
        }
        NodeKind::Scalar { .. } => one(node, &empty(node)),
    }
    groups
}

fn includes(node: &Node, all: &mut Vec<Include>) {
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

/// The entry cannot be used, and why has been reported.
struct Reported;

/// Reads the entries below `urls:`.
struct Entries<'a> {
    name: &'a str,
    context: &'a Context,
    shared: Arc<Context>,
    declared: Arc<BTreeMap<String, Option<String>>>,
    global_tags: Vec<String>,
    number: usize,
    /// The tags of each entry that was loaded, as written.
    words: Vec<Vec<String>>,
    parsed: &'a mut Parsed,
}

impl Entries<'_> {
    fn problem(&mut self, problem: Problem, node: &Node) {
        let key = problem.key.clone();
        let mut problem = problem.at(Some(self.name), Some(node.line), Some(node.column));
        let entry = format!("urls[{}]", self.number);
        problem.key = Some(key.map_or(entry.clone(), |key| format!("{entry}.{key}")));
        self.parsed.problems.push(problem);
    }

    fn urls(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Sequence(items) => {
                for item in items.iter() {
                    self.number += 1;
                    self.entry(item);
                }
            }
            NodeKind::Scalar { .. } if node.is_null() => {
                let problem = Problem::warning("urls is empty", "write the URLs as a list below it");
                self.parsed.problems.push(problem.key("urls").at(
                    Some(self.name),
                    Some(node.line),
                    Some(node.column),
                ));
            }
            // A single URL instead of a list is one URL (D26).
            NodeKind::Scalar { .. } => {
                self.number = 1;
                self.entry(node);
            }
            NodeKind::Mapping(_) => {
                let problem =
                    Problem::error("urls is a mapping, not a list", "put `- ` in front of each URL");
                self.parsed.problems.push(problem.key("urls").at(
                    Some(self.name),
                    Some(node.line),
                    Some(node.column),
                ));
            }
        }
    }

    fn entry(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Scalar { text, .. } if is_url(text) => self.service(text, node, &[], None),
            NodeKind::Mapping(pairs) => self.mapping(pairs, node),
            _ => self.problem(
                Problem::error(
                    "the entry is neither a URL nor a mapping with one",
                    "write schema://… here",
                ),
                node,
            ),
        }
    }

    /// `- URL: {keys}`, `- URL:` with a list of mappings, or keys beside the URL.
    fn mapping(&mut self, pairs: &[(Node, Node)], node: &Node) {
        let mut urls = pairs.iter().filter(|(key, _)| key.text().is_some_and(is_url));
        let Some((url, value)) = urls.next() else {
            self.problem(
                Problem::error("the entry holds no URL", "write schema://…: in front of its keys"),
                node,
            );
            return;
        };
        for (more, _) in urls {
            self.problem(
                Problem::error(
                    "the entry holds more than one URL",
                    "put `- ` in front of each URL",
                ),
                more,
            );
        }
        let beside: Vec<(Node, Node)> = pairs
            .iter()
            .filter(|(key, _)| !key.text().is_some_and(is_url))
            .cloned()
            .collect();
        let text = url.text().unwrap_or_default().to_owned();
        match &value.kind {
            NodeKind::Mapping(keys) => self.service(&text, url, &beside, Some(keys)),
            NodeKind::Scalar { .. } => {
                if !value.is_null() {
                    self.problem(
                        Problem::warning(
                            "the value behind the URL is not a mapping and is not used",
                            "write key: value below the URL",
                        ),
                        value,
                    );
                }
                self.service(&text, url, &beside, None);
            }
            NodeKind::Sequence(items) => {
                if items.is_empty() {
                    self.problem(
                        Problem::error("the list behind the URL is empty", "remove it, or write keys"),
                        value,
                    );
                }
                for item in items.iter() {
                    match item.mapping() {
                        Some(keys) => self.service(&text, item, &beside, Some(keys)),
                        None if item.is_null() => self.service(&text, item, &beside, None),
                        None => self.problem(
                            Problem::error("an item of the list is not a mapping", "write `- key: value`"),
                            item,
                        ),
                    }
                }
            }
        }
    }

    /// Keys of one layer of an entry, put over those of the layers before, and its `tag` and `tags`.
    fn layer(&mut self, layer: &[(Node, Node)], sogs: bool, keys: &mut Keys) -> Result<(), Reported> {
        // Both names of the targets may be written; together they are the targets.
        let mut targets: Option<(String, Node)> = None;
        for (key_node, value) in layer {
            let Some(key) = key_node.text() else { continue };
            match key {
                "tag" => keys.tag = Some(value.clone()),
                "tags" => keys.tags = Some(value.clone()),
                _ => match self.value(key, key_node, value) {
                    Some(Ok(text)) if matches!(key, "to" | "targets") => match &mut targets {
                        Some((all, _)) => *all = format!("{all},{text}"),
                        None => targets = Some((text, key_node.clone())),
                    },
                    Some(Ok(text)) => keys.set(key, text, key_node),
                    Some(Err(problem)) => {
                        self.problem(problem.key(key), value);
                        return Err(Reported);
                    }
                    None => {}
                },
            }
        }
        if let Some((text, node)) = targets {
            keys.set("to", text, &node);
        }
        // What stands for another parameter of the service is put over it, the last one written.
        for (name, others) in [("public_key", ["user", "key"]), ("seed", ["password", "pass"])] {
            let written = layer.iter().rev().filter_map(|(key, _)| key.text());
            let last = written
                .filter(|_| sogs)
                .find(|key| others.contains(key))
                .map(str::to_owned);
            if let Some(last) = last
                && let Some((_, text, node)) = keys.all.iter().find(|(key, _, _)| *key == last).cloned()
            {
                keys.all.retain(|(key, _, _)| !others.contains(&key.as_str()));
                keys.set(name, text, &node);
            }
        }
        Ok(())
    }

    fn service(&mut self, url: &str, node: &Node, beside: &[(Node, Node)], child: Option<&[(Node, Node)]>) {
        let mut written = Keys::default();
        let schema = url
            .split("://")
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let sogs = row_of(&schema).is_some_and(|row| row.name == "sogs");
        for layer in [beside, child.unwrap_or_default()] {
            if self.layer(layer, sogs, &mut written).is_err() {
                return;
            }
        }
        if let (Some(_), Some(tags)) = (&written.tag, &written.tags) {
            let problem = Problem::warning("both tag and tags are written, tag is used", "keep one");
            self.problem(problem.key("tags"), &tags.clone());
        }
        let Ok(words) = self.tags(written.tag.as_ref().or(written.tags.as_ref())) else {
            return;
        };
        let keys = written.all;
        let overrides: Vec<(String, String)> = keys
            .iter()
            .map(|(key, value, _)| (key.clone(), value.clone()))
            .collect();
        let body = match Template::new(url, &overrides, &self.declared, &self.shared) {
            Some(template) => {
                if url
                    .split("://")
                    .next()
                    .is_some_and(|schema| schema.contains("${"))
                {
                    self.problem(
                        Problem::error("a template variable stands in the schema", "write the schema out"),
                        node,
                    );
                    return;
                }
                template.map(EntryBody::Template)
            }
            None => with_overrides(url, &overrides, self.context).map(EntryBody::Service),
        };
        match body {
            Ok(body) => {
                if let EntryBody::Service(service) = &body {
                    let warnings: Vec<Problem> = Service::warnings(service).to_vec();
                    for warning in warnings {
                        let at = keys.iter().find(|(key, _, _)| Some(key) == warning.key.as_ref());
                        let at = at.map_or(node, |(_, _, node)| node).clone();
                        self.problem(warning, &at);
                    }
                }
                self.words.push(words);
                self.parsed.entries.push(Entry {
                    tags: Vec::new(),
                    file: Some(self.name.to_owned()),
                    line: Some(node.line),
                    body,
                });
            }
            Err(problem) => {
                let at = keys.iter().find(|(key, _, _)| Some(key) == problem.key.as_ref());
                let at = at.map_or(node, |(_, _, node)| node).clone();
                self.problem(problem, &at);
            }
        }
    }

    /// The text of a key's value; `None` means that the key is left out.
    fn value(&mut self, key: &str, key_node: &Node, value: &Node) -> Option<Result<String, Problem>> {
        let mut chars = key.chars();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if !word(chars.next()) || !word(chars.next()) {
            self.problem(
                Problem::warning(
                    "the key is not the name of a parameter and is not used",
                    "remove it",
                )
                .key(key),
                key_node,
            );
            return None;
        }
        let list = key == "to" || key == "targets";
        match &value.kind {
            // A null target list is an empty one; any other null is a key that was not written.
            NodeKind::Scalar { .. } if value.is_null() => list.then(|| Ok(String::new())),
            NodeKind::Scalar { text, .. } => Some(Ok(text.clone())),
            NodeKind::Sequence(items) => {
                let words: Option<Vec<&str>> = items.iter().map(Node::text).collect();
                match words {
                    Some(words) => Some(Ok(words.join(","))),
                    None => Some(Err(Problem::error(
                        "the list holds something else than texts",
                        "write one text per item",
                    ))),
                }
            }
            NodeKind::Mapping(_) => {
                if list {
                    return Some(Err(Problem::error(
                        "the targets are neither a text nor a list",
                        "write `to: a, b`",
                    )));
                }
                self.problem(
                    Problem::warning("the value is a mapping and is not used", "write a text").key(key),
                    value,
                );
                None
            }
        }
    }

    /// The words of an entry's tags, those of the file included.
    fn tags(&mut self, node: Option<&Node>) -> Result<Vec<String>, Reported> {
        let mut words = self.global_tags.clone();
        let Some(node) = node else { return Ok(words) };
        match tag_words(node) {
            Ok(own) => words.extend(own),
            Err(problem) => {
                self.problem(problem.key("tag"), node);
                return Err(Reported);
            }
        }
        let refused = if words.iter().any(|word| has_retry(word)) {
            (
                "a tag of a service cannot carry a retry count",
                "write `retry: N` instead; tag:N belongs to --tag",
            )
        } else if words.iter().any(|word| word.contains("${")) {
            ("template variables are not allowed in tags", "write the tag out")
        } else {
            return Ok(words);
        };
        self.problem(Problem::error(refused.0, refused.1).key("tag"), node);
        Err(Reported)
    }
}

/// What is written for one service besides its URL.
#[derive(Default)]
struct Keys {
    all: Vec<(String, String, Node)>,
    tag: Option<Node>,
    tags: Option<Node>,
}

impl Keys {
    fn set(&mut self, key: &str, text: String, node: &Node) {
        self.all.retain(|(known, _, _)| known != key);
        self.all.push((key.to_owned(), text, node.clone()));
    }
}

fn is_url(text: &str) -> bool {
    let text = text.trim();
    text.split_once("://").is_some_and(|(schema, _)| {
        (1..=64).contains(&schema.len())
            && schema
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"${}_".contains(&byte))
    })
}
