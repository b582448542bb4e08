//! `${NAME}` in the URLs of a YAML configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::env::Environment;
use crate::problem::Problem;
use crate::service::{Context, Service, with_overrides};
use crate::template_url::show;
use crate::url::RawUrl;

/// Prefix of environment variables that fill templates.
const ENV_PREFIX: &str = "APPRISE_TEMPLATE_";
/// Longest text after filling in.
const FILLED_BYTES: usize = 256 * 1024;

/// What fills templates: values given for this run, then the file's own defaults, then `APPRISE_TEMPLATE_NAME`.
#[derive(Clone, Debug, Default)]
pub struct Values {
    given: BTreeMap<String, Zeroizing<String>>,
    env: Option<Environment>,
}

impl Values {
    /// Values given for this run (`-tv NAME=VALUE`) and the environment behind them. Case of names does not matter.
    pub fn new<N: AsRef<str>, V: Into<String>>(
        given: impl IntoIterator<Item = (N, V)>,
        env: &Environment,
    ) -> Self {
        Self {
            given: given
                .into_iter()
                .map(|(name, value)| (name.as_ref().to_lowercase(), Zeroizing::new(value.into())))
                .collect(),
            env: Some(env.clone()),
        }
    }

    fn find(&self, name: &str, default: Option<&str>) -> Option<Zeroizing<String>> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        if let Some(default) = default {
            return Some(Zeroizing::new(default.to_owned()));
        }
        let env = self.env.as_ref()?;
        if let Some(value) = env.var(&format!("{ENV_PREFIX}{}", name.to_uppercase())) {
            return Some(Zeroizing::new(value));
        }
        env.with_prefix(ENV_PREFIX)
            .find(|(known, _)| known.to_lowercase() == name)
            .map(|(_, value)| Zeroizing::new(value.to_owned()))
    }
}

/// A configuration entry with `${NAME}` in its URL or keys.
#[derive(Clone)]
pub struct Template {
    url: Zeroizing<String>,
    keys: Vec<(String, Zeroizing<String>)>,
    declared: Arc<BTreeMap<String, Option<String>>>,
    shown: Zeroizing<String>,
    masked: String,
    context: Arc<Context>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("url", &self.masked)
            .finish_non_exhaustive()
    }
}

impl Template {
    /// A template, when one of the declared names occurs in the URL or a key.
    pub(crate) fn new(
        url: &str,
        keys: &[(String, String)],
        declared: &Arc<BTreeMap<String, Option<String>>>,
        context: &Arc<Context>,
    ) -> Option<Result<Self, Problem>> {
        if declared.is_empty() {
            return None;
        }
        let used = |text: &str| occurrences(text).any(|name| declared.contains_key(&name));
        if !used(url) && !keys.iter().any(|(_, value)| used(value)) {
            return None;
        }
        if let Err(problem) = fits(url, keys, declared, context) {
            return Some(Err(problem));
        }
        let words: Vec<(String, String)> = declared
            .keys()
            .enumerate()
            .map(|(n, name)| (word(n), name.to_uppercase()))
            .collect();
        let word_of = |name: &str| declared.keys().position(|known| known == name).map(word);
        let in_words = |text: &str| replaced(text, word_of);
        let shown_keys: Vec<(String, String)> = keys
            .iter()
            .map(|(key, value)| (key.clone(), in_words(value)))
            .collect();
        let (shown, masked) = show(&in_words(url), &shown_keys, &words);
        Some(Ok(Self {
            url: Zeroizing::new(url.to_owned()),
            keys: keys
                .iter()
                .map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())))
                .collect(),
            declared: Arc::clone(declared),
            masked,
            shown: Zeroizing::new(shown),
            context: Arc::clone(context),
        }))
    }

    /// Its text, names in capitals, secrets masked.
    pub fn masked_url(&self) -> &str {
        &self.masked
    }

    /// Its text, names in capitals, **with its secrets**.
    pub fn expose_url(&self) -> &str {
        &self.shown
    }

    /// The names it uses, lower case, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for text in std::iter::once(&self.url).chain(self.keys.iter().map(|(_, value)| value)) {
            names.extend(occurrences(text).filter(|name| self.declared.contains_key(name)));
        }
        names.into_iter().collect()
    }

    /// The names among them that have no default in the file.
    pub fn required(&self) -> Vec<String> {
        self.names()
            .into_iter()
            .filter(|name| self.declared.get(name).is_none_or(Option::is_none))
            .collect()
    }

    /// The service it becomes with these values.
    pub fn resolve(&self, values: &Values) -> Result<Service, Problem> {
        let url = self.fill(&self.url, values)?;
        let keys = self
            .keys
            .iter()
            .map(|(key, value)| Ok((key.clone(), self.fill(value, values)?.to_string())))
            .collect::<Result<Vec<_>, Problem>>()?;
        with_overrides(&url, &keys, &self.context)
    }

    fn fill(&self, text: &str, values: &Values) -> Result<Zeroizing<String>, Problem> {
        let mut out = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        while let Some((at, end, name)) = next(rest) {
            out.push_str(&rest[..at]);
            match self.declared.get(&name) {
                Some(default) => {
                    let value = values
                        .find(&name, default.as_deref())
                        .ok_or_else(|| missing(&name))?;
                    out.push_str(&value);
                }
                None => out.push_str(&rest[at..end]),
            }
            if out.len() > FILLED_BYTES {
                return Err(Problem::error(
                    "the filled-in template is longer than 256 KiB",
                    "use shorter values",
                ));
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn missing(name: &str) -> Problem {
    let upper = name.to_uppercase();
    Problem::error(
        format!("the template variable {upper} has no value"),
        format!("give it with -tv {upper}=…, with {ENV_PREFIX}{upper}, or as a default in the file"),
    )
    .key("template")
}

/// Whether every variable stands where a URL has room for it: a word in its place must be found again among the parts.
fn fits(
    url: &str,
    keys: &[(String, String)],
    declared: &BTreeMap<String, Option<String>>,
    context: &Context,
) -> Result<(), Problem> {
    let host = keys
        .iter()
        .rev()
        .find(|(key, _)| key == "host")
        .map(|(_, value)| value.as_str());
    let word_of = |name: &str| declared.keys().position(|known| known == name).map(word);
    let filled = replaced(url, word_of);
    let host = host.map(|host| replaced(host, word_of));
    let misplaced = || {
        Problem::error(
            "a template variable stands where no value can be filled in",
            "use variables in user, password, host, path and query only",
        )
        .key("template")
    };
    let raw = RawUrl::parse(&filled, &context.env, host.as_deref()).map_err(|_| misplaced())?;
    let lost = occurrences(url)
        .filter_map(|name| word_of(&name))
        .any(|word| !raw.holds(&word));
    if lost { Err(misplaced()) } else { Ok(()) }
}

/// Next `${NAME}`: where it begins, where it ends, the name in lower case.
fn next(text: &str) -> Option<(usize, usize, String)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let at = from + found;
        let body = &text[at + 2..];
        if let Some(end) = body.find('}') {
            let name = body[..end].trim();
            if is_name(name) {
                return Some((at, at + 2 + end + 1, name.to_lowercase()));
            }
        }
        from = at + 2;
    }
    None
}

fn occurrences(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, end, name) = next(rest)?;
        rest = &rest[end..];
        Some(name)
    })
}

/// True for what may be the name of a template variable.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What stands for variable number `n` while a URL is taken apart: a word that is valid everywhere.
fn word(n: usize) -> String {
    format!("a0b1c2d3e4f5a6b7t{n}z")
}

/// A text with other words for its variables; one without another word stays.
fn replaced(text: &str, word: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, end, name)) = next(rest) {
        out.push_str(&rest[..at]);
        match word(&name) {
            Some(word) => out.push_str(&word),
            None => out.push_str(&rest[at..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}
