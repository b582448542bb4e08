//! The entries below `urls:` of a YAML configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackpost_notify::grammar::{PARAMETERS, find_foreign};
use ackpost_notify::{Context, Diagnostic, ServiceUrl};

use crate::entry::{Entry, EntryBody};
use crate::tag::has_retry;
use crate::template::{Template, uses_any};
use crate::template_url::Settings;

use super::parsed::Parsed;
use super::slips;
use super::tree::{Node, NodeKind, Pair, last_written, repeated, written_again};
use super::yaml_head::tag_words;
use super::yaml_settings::settings;

/// The entry cannot be used, and why has been reported.
struct Reported;

/// Reads the entries below `urls:`.
pub(super) struct Entries<'a, 'n> {
    pub(super) name: &'a str,
    pub(super) context: &'a Context,
    pub(super) shared: Arc<Context>,
    pub(super) declared: Arc<BTreeMap<String, Option<String>>>,
    pub(super) global_tags: Vec<&'n str>,
    pub(super) number: usize,
    /// The tags of each entry that was loaded, as written.
    pub(super) words: Vec<Vec<&'n str>>,
    pub(super) parsed: &'a mut Parsed,
}

impl<'n> Entries<'_, 'n> {
    fn problem(&mut self, problem: Diagnostic, node: &Node<'_>) {
        let key = problem.key.clone();
        let mut problem = problem.at(Some(self.name), Some(node.line), Some(node.column));
        let entry = format!("urls[{}]", self.number);
        problem.key = Some(key.map_or(entry.clone(), |key| format!("{entry}.{key}")));
        self.parsed.problems.push(problem);
    }

    pub(super) fn urls(&mut self, node: &'n Node<'n>) {
        match &node.kind {
            NodeKind::Sequence(items) => {
                for item in items.iter() {
                    self.number += 1;
                    self.entry(item);
                }
            }
            NodeKind::Scalar { .. } if node.is_null() => {
                let problem = Diagnostic::warning("urls is empty", "write the URLs as a list below it");
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
                    Diagnostic::error("urls is a mapping, not a list", "put `- ` in front of each URL");
                self.parsed.problems.push(problem.key("urls").at(
                    Some(self.name),
                    Some(node.line),
                    Some(node.column),
                ));
            }
        }
    }

    fn entry(&mut self, node: &'n Node<'n>) {
        match &node.kind {
            NodeKind::Scalar { text, .. } if is_url(text) => self.service(text, node, &[], None),
            NodeKind::Mapping(pairs) => self.mapping(pairs, node),
            _ => {
                let slip = node.text().and_then(slips::in_yaml_text);
                let unknown = || {
                    Diagnostic::error(
                        "the entry is neither a URL nor a mapping with one",
                        "write schema://… here",
                    )
                };
                self.problem(slip.unwrap_or_else(unknown), node);
            }
        }
    }

    /// `- URL: {keys}`, `- URL:` with a list of mappings, or keys beside the URL.
    fn mapping(&mut self, pairs: &'n [Pair<'n>], node: &'n Node<'n>) {
        for key in written_again(pairs) {
            self.problem(repeated(key), key);
        }
        let pairs = last_written(pairs);
        let mut urls = pairs.iter().filter(|(key, _)| key.text().is_some_and(is_url));
        let Some((url, value)) = urls.next() else {
            self.problem(
                Diagnostic::error("the entry holds no URL", "write schema://…: in front of its keys"),
                node,
            );
            return;
        };
        for (more, _) in urls {
            self.problem(
                Diagnostic::error(
                    "the entry holds more than one URL",
                    "put `- ` in front of each URL",
                ),
                more,
            );
        }
        let beside: Vec<&Pair<'n>> = pairs
            .iter()
            .copied()
            .filter(|(key, _)| !key.text().is_some_and(is_url))
            .collect();
        let text = url.text().unwrap_or_default();
        match &value.kind {
            NodeKind::Mapping(keys) => self.service(text, url, &beside, Some(keys)),
            NodeKind::Scalar { .. } => {
                if !value.is_null() {
                    let slip = value.text().and_then(slips::in_yaml_text);
                    let unknown = || {
                        Diagnostic::error(
                            "the value behind the URL is not a mapping and is not used",
                            "write `key: value` below the URL, and `#` in front of a comment",
                        )
                    };
                    self.problem(slip.unwrap_or_else(unknown), value);
                }
                self.service(text, url, &beside, None);
            }
            NodeKind::Sequence(items) => {
                if items.is_empty() {
                    self.problem(
                        Diagnostic::error("the list behind the URL is empty", "remove it, or write keys"),
                        value,
                    );
                }
                for item in items.iter() {
                    match item.mapping() {
                        Some(keys) => self.service(text, item, &beside, Some(keys)),
                        None if item.is_null() => self.service(text, item, &beside, None),
                        None => {
                            let slip = item.text().and_then(slips::in_yaml_text);
                            let unknown = || {
                                Diagnostic::error(
                                    "an item of the list is not a mapping",
                                    "write `- key: value`",
                                )
                            };
                            self.problem(slip.unwrap_or_else(unknown), item);
                        }
                    }
                }
            }
        }
    }

    /// Keys of one layer of an entry, put over those of the layers before, and its `tag` and `tags`.
    fn layer(&mut self, layer: &[&'n Pair<'n>], sogs: bool, keys: &mut Keys<'n>) -> Result<(), Reported> {
        if keys.foreign {
            keys.foreign_layer(layer);
            return Ok(());
        }
        // Both names of the targets may be written; together they are the targets.
        let mut targets: Option<(String, &Node<'_>)> = None;
        let password = |(key, value): &&Pair<'_>| key.text() == Some("password") && !value.is_null();
        let password = layer.iter().any(password);
        for (key_node, value) in layer {
            let Some(key) = key_node.text() else { continue };
            match key {
                "pass" if password => {
                    let problem = Diagnostic::warning(
                        "both password and pass are written, password is used",
                        "keep one",
                    );
                    self.problem(problem.key("pass"), key_node);
                }
                "tag" => keys.tag = Some(value),
                "tags" => keys.tags = Some(value),
                _ => match self.value(key, key_node, value) {
                    Some(Ok(text)) if matches!(key, "to" | "targets") => match &mut targets {
                        Some((all, _)) => *all = format!("{all},{text}"),
                        None => targets = Some((text, key_node)),
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
            keys.set("to", text, node);
        }
        if sogs {
            keys.aliases(layer);
        }
        Ok(())
    }

    fn service(
        &mut self,
        url: &str,
        node: &'n Node<'n>,
        beside: &[&'n Pair<'n>],
        child: Option<&'n [Pair<'n>]>,
    ) {
        let mut written = Keys::default();
        let schema = schema_of(url);
        let sogs = (self.context.services).belongs(&schema.trim().to_ascii_lowercase(), "sogs");
        let child = child.unwrap_or_default();
        for key in written_again(child) {
            self.problem(repeated(key), key);
        }
        let child = last_written(child);
        let keyed = || {
            child
                .iter()
                .chain(beside)
                .filter(|(key, _)| key.text() == Some("via"))
        };
        let via: Vec<(String, String)> = (keyed().take(1))
            .map(|(_, value)| ("via".to_owned(), value.text().unwrap_or_default().to_owned()))
            .collect();
        written.foreign = find_foreign(url, &via, self.context).is_some();
        if beside.len() + child.len() > PARAMETERS {
            let problem = Diagnostic::error(
                "the entry has more than 1,000 keys",
                "write only those that are needed",
            );
            return self.problem(problem, node);
        }
        for layer in [beside, &child] {
            if self.layer(layer, sogs, &mut written).is_err() {
                return;
            }
        }
        if let (Some(_), Some(tags)) = (written.tag, written.tags) {
            let problem = Diagnostic::error("both tag and tags are written, tag is used", "keep one");
            self.problem(problem.key("tags"), tags);
        }
        let Ok(words) = self.tags(written.tag.or(written.tags), node) else {
            return;
        };
        let settings = if self.declared.is_empty() {
            Settings::new()
        } else {
            settings([beside, &child])
        };
        let body = match Template::new(url, &written.pairs, &settings, &self.declared, &self.shared) {
            Some(template) => {
                if schema.contains("${") {
                    self.problem(
                        Diagnostic::error("the schema contains a template variable", "write the schema out"),
                        node,
                    );
                    return;
                }
                template.map(EntryBody::Template)
            }
            None => ServiceUrl::parse_with(url, &written.pairs, self.context).map(EntryBody::Service),
        };
        match body {
            Ok(body) => {
                if let EntryBody::Service(service) = &body {
                    let warnings: Vec<Diagnostic> = ServiceUrl::warnings(service).to_vec();
                    for warning in warnings {
                        let at = written.place(warning.key.as_deref()).unwrap_or(node);
                        self.problem(warning, at);
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
                let at = written.place(problem.key.as_deref()).unwrap_or(node);
                self.problem(problem, at);
            }
        }
    }

    /// The text of a key's value; `None` means that the key is left out.
    fn value(
        &mut self,
        key: &str,
        key_node: &Node<'_>,
        value: &Node<'_>,
    ) -> Option<Result<String, Diagnostic>> {
        let mut chars = key.chars();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if !word(chars.next()) || !word(chars.next()) {
            self.problem(
                Diagnostic::warning(
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
            // Of a number with a fraction the whole part counts, as in the reference; a text stays as it is.
            NodeKind::Scalar { text, plain: true } if key == "retry" && is_fraction(text) => {
                Some(Ok(text.split('.').next().unwrap_or_default().to_owned()))
            }
            NodeKind::Scalar { text, .. } => Some(Ok(text.clone().into_owned())),
            NodeKind::Sequence(items) => {
                let words: Option<Vec<&str>> = items.iter().map(Node::text).collect();
                match words {
                    Some(words) => Some(Ok(words.join(","))),
                    None => Some(Err(Diagnostic::error(
                        "the list contains a value that is not text",
                        "write one text per item",
                    ))),
                }
            }
            NodeKind::Mapping(_) => {
                if list {
                    return Some(Err(Diagnostic::error(
                        "the targets are neither a text nor a list",
                        "write `to: a, b`",
                    )));
                }
                if ADDRESS_KEYS.contains(&key) {
                    return Some(Err(Diagnostic::error("the value is a mapping", "write a text")));
                }
                self.problem(
                    Diagnostic::warning("the value is a mapping and is not used", "write a text").key(key),
                    value,
                );
                None
            }
        }
    }

    /// The words of an entry's tags, those of the file included.
    fn tags(&mut self, tags: Option<&'n Node<'n>>, entry: &'n Node<'n>) -> Result<Vec<&'n str>, Reported> {
        let mut words = self.global_tags.clone();
        let node = tags.unwrap_or(entry);
        match tags.map_or_else(|| Ok(Vec::new()), tag_words) {
            Ok(own) if words.is_empty() => words = own,
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
        } else if words.iter().any(|word| uses_any(word, &self.declared)) {
            ("template variables are not allowed in tags", "write the tag out")
        } else {
            return Ok(words);
        };
        self.problem(Diagnostic::error(refused.0, refused.1).key("tag"), node);
        Err(Reported)
    }
}

/// Keys written for one service besides its URL, with their values and positions.
#[derive(Default)]
struct Keys<'n> {
    pairs: Vec<(String, String)>,
    nodes: Vec<&'n Node<'n>>,
    tag: Option<&'n Node<'n>>,
    tags: Option<&'n Node<'n>>,
    /// Another program delivers it: the values are YAML.
    foreign: bool,
}

impl<'n> Keys<'n> {
    /// Keys of one layer as the other program will read them.
    fn foreign_layer(&mut self, layer: &[&'n Pair<'n>]) {
        for (key_node, value) in layer {
            match key_node.text() {
                Some("tag") => self.tag = Some(value),
                Some("tags") => self.tags = Some(value),
                Some(key) => self.set(key, value.flow(), key_node),
                None => {}
            }
        }
    }

    fn set(&mut self, key: &str, text: String, node: &'n Node<'n>) {
        self.remove(key);
        self.pairs.push((key.to_owned(), text));
        self.nodes.push(node);
    }

    fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == key)
    }

    fn remove(&mut self, key: &str) -> Option<(String, &'n Node<'n>)> {
        let at = self.pairs.iter().position(|(known, _)| known == key)?;
        Some((self.pairs.remove(at).1, self.nodes.remove(at)))
    }

    /// Returns the node of a key.
    fn place(&self, key: Option<&str>) -> Option<&'n Node<'n>> {
        let at = self
            .pairs
            .iter()
            .position(|(known, _)| Some(known.as_str()) == key)?;
        self.nodes.get(at).copied()
    }

    /// Moves the value of another name for a community's parameter to that parameter; the name written last wins.
    fn aliases(&mut self, layer: &[&Pair<'_>]) {
        for (name, others) in [("public_key", ["user", "key"]), ("seed", ["password", "pass"])] {
            // If both a password and a pass are written, the password is taken.
            let mut written = layer.iter().rev().filter_map(|(key, _)| key.text());
            let Some(last) = written.find(|key| others.contains(key) && self.has(key)) else {
                continue;
            };
            let found = self.remove(last);
            for other in others {
                self.remove(other);
            }
            if let Some((text, node)) = found {
                self.set(name, text, node);
            }
        }
    }
}

/// Keys that decide who gets a message, and as whom.
const ADDRESS_KEYS: [&str; 11] = [
    "host",
    "port",
    "user",
    "password",
    "pass",
    "key",
    "public_key",
    "seed",
    "xmpp",
    "secure",
    "name",
];

/// True for a number as YAML 1.1 writes it with a fraction.
fn is_fraction(text: &str) -> bool {
    text.split_once('.').is_some_and(|(whole, fraction)| {
        let whole = whole.strip_prefix(['+', '-']).unwrap_or(whole);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(whole) && digits(fraction)
    })
}

/// Returns the part in front of `://`.
fn schema_of(url: &str) -> &str {
    url.split("://").next().unwrap_or_default()
}

fn is_url(text: &str) -> bool {
    text.trim().split_once(':').is_some_and(|(schema, rest)| {
        rest.starts_with("//")
            && (1..=64).contains(&schema.len())
            && schema
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"${}_".contains(&byte))
    })
}
