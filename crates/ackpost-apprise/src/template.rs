//! `${NAME}` in the URLs of a YAML configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ackpost_notify::grammar::{assemble, find_foreign, instead, json_text, take_apart, trim};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{Context, Diagnostic, Environment, Origin, ServiceUrl, Services};
use zeroize::Zeroizing;

use crate::template_url::{NAME_BYTES, Settings, is_name, show};

/// Prefix of environment variables that fill templates.
const ENV_PREFIX: &str = "APPRISE_TEMPLATE_";
/// Longest value, in code points.
const VALUE_CHARS: usize = 1024;
/// Longest URL in front of its query after filling in, in code points.
const FILLED_CHARS: usize = 8192;

/// Beginning of the words that stand for variables.
const WORD: &str = "a0b1c2d3e4f5a6b7t";

/// Values for templates: those given for this run, then the file's own defaults, then `APPRISE_TEMPLATE_NAME`.
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

    /// The value of a variable. Values of the run and the environment are trimmed, blank ones are none.
    fn find(&self, name: &str, default: Option<&str>) -> Result<Zeroizing<String>, Diagnostic> {
        let told = |text: &str| Some(Zeroizing::new(trim(text).to_owned())).filter(|text| !text.is_empty());
        let value = self
            .given
            .get(name)
            .and_then(|value| told(value))
            .or_else(|| default.map(|text| Zeroizing::new(text.to_owned())))
            .or_else(|| {
                let value = self
                    .env
                    .as_ref()?
                    .var(&format!("{ENV_PREFIX}{}", name.to_uppercase()));
                told(&Zeroizing::new(value?))
            })
            .ok_or_else(|| missing(name))?;
        let control = |c: char| c.is_ascii_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if value.chars().count() > VALUE_CHARS || value.contains(control) {
            let upper = name.to_uppercase();
            return Err(Diagnostic::error(
                format!(
                    "the value of the template variable {upper} is too long or holds a control character"
                ),
                format!("give at most {VALUE_CHARS} characters without line ends"),
            )
            .key("template"));
        }
        Ok(value)
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
    apprise_masked: String,
    /// The schema, if another program delivers it.
    foreign: Option<String>,
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
    /// A template, when one of the declared names occurs in the URL or a key. `settings` are the keys as written.
    pub(crate) fn new(
        url: &str,
        keys: &[(String, String)],
        settings: &Settings,
        declared: &Arc<BTreeMap<String, Option<String>>>,
        context: &Arc<Context>,
    ) -> Option<Result<Self, Diagnostic>> {
        if !uses_any(url, declared) && !keys.iter().any(|(_, value)| uses_any(value, declared)) {
            return None;
        }
        let schema = url
            .split("://")
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if let Some(found) = find_foreign(url, keys, context) {
            return Some(Ok(Self {
                url: Zeroizing::new(url.to_owned()),
                keys: kept(keys),
                declared: Arc::clone(declared),
                shown: Zeroizing::new(url.to_owned()),
                masked: found.masked(),
                apprise_masked: found.masked(),
                foreign: Some(found.schema().to_owned()),
                context: Arc::clone(context),
            }));
        }
        // A join link is a service too; a variable in the schema is noticed by who reads the entry.
        if context.services.find(&schema).is_none() && !schema.starts_with("http") && !schema.contains("${") {
            return Some(Err(context.services.unsupported(&schema, "")));
        }
        if let Err(problem) = fits(url, declared, context) {
            return Some(Err(problem));
        }
        let words: Vec<(String, String)> = declared
            .keys()
            .enumerate()
            .map(|(n, name)| (word(n), name.to_uppercase()))
            .collect();
        let word_of = |name: &str| declared.keys().position(|known| known == name).map(word);
        let in_words = |text: &str| replaced(text, word_of);
        let settings: Settings = settings
            .iter()
            .map(|(key, value)| (key.clone(), value.map(in_words)))
            .collect();
        // Of a URL that is none without its keys they are all that counts.
        let url_in_words = in_words(url);
        let shown = if RawUrl::parse(
            &url_in_words,
            &context.env,
            |schema| context.services.accept(schema),
            None,
        )
        .is_ok()
        {
            url_in_words
        } else {
            url.split_inclusive("://").next().unwrap_or_default().to_owned()
        };
        let drawn = show(&shown, &settings, &words, context.services);
        Some(Ok(Self {
            url: Zeroizing::new(url.to_owned()),
            keys: kept(keys),
            declared: Arc::clone(declared),
            masked: drawn.masked,
            apprise_masked: drawn.apprise_masked,
            shown: Zeroizing::new(drawn.shown),
            foreign: None,
            context: Arc::clone(context),
        }))
    }

    /// Its text, names in capitals, secrets masked.
    pub fn masked_url(&self) -> &str {
        &self.masked
    }

    /// Its text, names in capitals, masked as Apprise does: the first and the last character of a secret are shown.
    pub fn apprise_masked_url(&self) -> &str {
        &self.apprise_masked
    }

    /// Its text, names in capitals, **with its secrets**.
    pub fn expose_url(&self) -> &str {
        &self.shown
    }

    /// Returns the schema if another program delivers it.
    pub fn foreign_schema(&self) -> Option<&str> {
        self.foreign.as_deref()
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

    /// The service it becomes with these values. A value stands where its variable stood and nowhere else: nothing in it
    /// ends a password, a path or a query.
    ///
    /// # Errors
    /// A variable has no value, or the URL that the template becomes does not load.
    pub fn resolve(&self, values: &Values) -> Result<ServiceUrl, Diagnostic> {
        let mut filler = Filler::default();
        for (n, (name, default)) in self.declared.iter().enumerate() {
            if self.uses(name) {
                filler.values.insert(n, values.find(name, default.as_deref())?);
            }
        }
        let word_of = |name: &str| self.declared.keys().position(|known| known == name).map(word);
        let url = Zeroizing::new(replaced(&self.url, word_of));
        if self.foreign.is_some() {
            return self.resolve_foreign(&url, &filler);
        }
        let front = url.split('?').next().unwrap_or_default();
        if filler.put(front).chars().count() > FILLED_CHARS {
            return Err(Diagnostic::error(
                format!("the filled-in URL is longer than {FILLED_CHARS} characters"),
                "use shorter values",
            ));
        }
        let keys: Vec<(String, String)> = self
            .keys
            .iter()
            .map(|(key, value)| {
                let value = replaced(value, word_of);
                let value = if key == "port" {
                    filler.put(&value).to_string()
                } else {
                    value
                };
                (key.clone(), value)
            })
            .collect();
        let mut raw = take_apart(&url, &keys, &self.context)?;
        let keyed = |names: &[&str]| keys.iter().any(|(key, _)| names.contains(&key.as_str()));
        let encoded = (!keyed(&["user"]), !keyed(&["password", "pass"]));
        filler.fill(&mut raw, encoded, self.context.services)?;
        match assemble(raw, &self.context) {
            // A parameter that the service here lacks: another program may have it.
            Err(problem) if problem.is_unsupported_parameter() => {
                self.resolve_instead(&url, &filler).unwrap_or(Err(problem))
            }
            resolved => resolved,
        }
    }

    /// The filled-in URL as one of another program, if there is such a program.
    fn resolve_instead(&self, url: &str, filler: &Filler) -> Option<Result<ServiceUrl, Diagnostic>> {
        let word_of = |name: &str| self.declared.keys().position(|known| known == name).map(word);
        let keys: Vec<(String, String)> = (self.keys.iter())
            .map(|(key, value)| {
                let value = filler.put(&replaced(value, word_of));
                (key.clone(), value.to_string())
            })
            .collect();
        let url = filler.put_with(url, |text| Zeroizing::new(percent::encode(text)));
        instead(&url, &keys, &self.context)
    }

    /// The service of another program: a value is encoded as a part of the URL, or as a part of a quoted text of YAML.
    fn resolve_foreign(&self, url: &str, filler: &Filler) -> Result<ServiceUrl, Diagnostic> {
        let word_of = |name: &str| self.declared.keys().position(|known| known == name).map(word);
        let keys: Vec<(String, String)> = (self.keys.iter())
            .map(|(key, value)| {
                let value =
                    filler.put_with(&replaced(value, word_of), |text| Zeroizing::new(json_text(text)));
                (key.clone(), value.to_string())
            })
            .collect();
        let url = filler.put_with(url, |text| Zeroizing::new(percent::encode(text)));
        ServiceUrl::parse_with(&url, &keys, &self.context)
    }

    fn uses(&self, name: &str) -> bool {
        std::iter::once(&self.url)
            .chain(self.keys.iter().map(|(_, value)| value))
            .any(|text| occurrences(text).any(|used| used == name))
    }
}

fn kept(keys: &[(String, String)]) -> Vec<(String, Zeroizing<String>)> {
    let keep = |(key, value): &(String, String)| (key.clone(), Zeroizing::new(value.clone()));
    keys.iter().map(keep).collect()
}

/// The values of variables, by the numbers of their words.
#[derive(Default)]
struct Filler {
    values: BTreeMap<usize, Zeroizing<String>>,
}

impl Filler {
    /// Returns a text with its words replaced by the values. The values themselves are not searched for words.
    fn put(&self, text: &str) -> Zeroizing<String> {
        self.put_with(text, |value| Zeroizing::new(value.to_owned()))
    }

    /// Returns a text with its words replaced by the changed values.
    fn put_with(&self, text: &str, change: impl Fn(&str) -> Zeroizing<String>) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        while let Some(at) = rest.find(WORD) {
            let behind = &rest[at + WORD.len()..];
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            let value = behind[..digits]
                .parse()
                .ok()
                .filter(|_| behind[digits..].starts_with('z'))
                .and_then(|n: usize| self.values.get(&n));
            let end = at + WORD.len() + value.map_or(0, |_| digits + 1);
            match value {
                Some(value) => {
                    out.push_str(&rest[..at]);
                    out.push_str(&change(value));
                }
                None => out.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }

    /// The value of a text that is nothing but one word.
    fn whole(&self, text: &str) -> Option<Zeroizing<String>> {
        let digits = text.strip_prefix(WORD)?.strip_suffix('z')?;
        digits
            .parse()
            .ok()
            .and_then(|n: usize| self.values.get(&n))
            .cloned()
    }

    /// Puts the values into the parts of a URL. `encoded`: user and password are in the URL, where `%` means something.
    fn fill(&self, raw: &mut RawUrl, encoded: (bool, bool), services: Services) -> Result<(), Diagnostic> {
        let written = Zeroizing::new(raw.host().to_owned());
        let mut host = self.put(&written);
        let alone = raw.user().is_none() && raw.expose_password().is_none();
        // A variable that is the whole authority may hold the credentials too, and one that is the user the password.
        let pair = if alone && self.whole(&written).is_some() {
            let parts = host
                .rsplit_once('@')
                .filter(|(pair, host)| !pair.is_empty() && !host.is_empty());
            parts
                .map(|(pair, rest)| (pair.to_owned(), rest.to_owned()))
                .map(|(pair, rest)| {
                    host = Zeroizing::new(rest);
                    Zeroizing::new(pair)
                })
        } else if raw.expose_password().is_none() {
            raw.user().and_then(|user| self.whole(user))
        } else {
            None
        };
        let (user, password) = if let Some(pair) = pair {
            let (user, password) = pair
                .split_once(':')
                .map_or((pair.as_str(), None), |(a, b)| (a, Some(b)));
            (
                Some(credential(user, encoded.0)),
                password.map(|password| credential(password, encoded.0)),
            )
        } else {
            let filled = |text: &str, encoded: bool| self.put_with(text, |value| credential(value, encoded));
            (
                raw.user().map(|user| filled(user, encoded.0)),
                raw.expose_password().map(|password| filled(password, encoded.1)),
            )
        };
        raw.set_credentials(user.map(|user| user.to_string()), password);
        if *host != *written {
            if host.contains(['/', '\\', '?', '#', '@']) {
                return Err(Diagnostic::error(
                    "the value of a template variable is not a valid host",
                    "give a host name, perhaps with :port",
                )
                .key("template"));
            }
            raw.set_host_of(RawUrl::parse(
                &format!("{}://{}", raw.schema(), *host),
                &Environment::empty(),
                |schema| services.accept(schema),
                None,
            )?);
        }
        // XMPP decodes some parts once more. There a `%` in a value is encoded, so that it means itself.
        let twice = services.belongs(raw.schema(), "xmpp");
        let guarded = |text: &str, twice: bool| {
            let change = |value: &str| {
                Zeroizing::new(if twice {
                    value.replace('%', "%25")
                } else {
                    value.to_owned()
                })
            };
            self.put_with(text, change)
        };
        for piece in raw.path_mut() {
            *piece = guarded(piece, twice).to_string();
        }
        let written: Vec<(String, Zeroizing<String>, Origin)> = raw
            .parameters()
            .filter(|(_, value, _)| value.contains(WORD))
            .map(|(name, value, origin)| {
                let twice = twice && matches!(name, "to" | "xmpp");
                (name.to_owned(), guarded(value, twice), origin)
            })
            .collect();
        for (name, value, origin) in written {
            raw.set_parameter(name, value.to_string(), origin);
        }
        Ok(())
    }
}

/// A value as a credential; in a URL `%` means something in it.
fn credential(text: &str, encoded: bool) -> Zeroizing<String> {
    if encoded {
        Zeroizing::new(percent::decode(text))
    } else {
        Zeroizing::new(text.to_owned())
    }
}

fn missing(name: &str) -> Diagnostic {
    let upper = name.to_uppercase();
    Diagnostic::error(
        format!("the template variable {upper} has no value"),
        format!("give it with -tv {upper}=…, with {ENV_PREFIX}{upper}, or as a default in the file"),
    )
    .key("template")
}

/// Checks that every variable stands where a URL has room for it: a word in its place must be found again among the
/// parts.
fn fits(url: &str, declared: &BTreeMap<String, Option<String>>, context: &Context) -> Result<(), Diagnostic> {
    let word_of = |name: &str| declared.keys().position(|known| known == name).map(word);
    let mut words = occurrences(url).filter_map(|name| word_of(&name)).peekable();
    if words.peek().is_none() {
        return Ok(());
    }
    let raw = RawUrl::parse(
        &replaced(url, word_of),
        &context.env,
        |schema| context.services.accept(schema),
        None,
    );
    if raw.is_ok_and(|raw| words.all(|word| raw.holds(&word))) {
        return Ok(());
    }
    Err(Diagnostic::error(
        "a template variable stands where no value can be filled in",
        "use variables in user, password, host, path and query only",
    )
    .key("template"))
}

/// Next `${NAME}`: where it begins, where it ends, the name in lower case.
fn next(text: &str) -> Option<(usize, usize, String)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let at = from + found;
        let body = &text[at + 2..];
        let end = body.bytes().take(NAME_BYTES + 1).position(|byte| byte == b'}');
        if let Some(name) = end.map(|end| &body[..end]).filter(|name| is_name(name)) {
            return Some((at, at + 2 + name.len() + 1, name.to_lowercase()));
        }
        from = at + 2;
    }
    None
}

/// True when one of the declared variables occurs in the text.
pub(crate) fn uses_any(text: &str, declared: &BTreeMap<String, Option<String>>) -> bool {
    !declared.is_empty() && occurrences(text).any(|name| declared.contains_key(&name))
}

fn occurrences(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, end, name) = next(rest)?;
        rest = &rest[end..];
        Some(name)
    })
}

/// Returns the word for variable number `n` while a URL is taken apart. The word is valid everywhere.
fn word(n: usize) -> String {
    format!("{WORD}{n}z")
}

/// Returns a text with its variables replaced by words; a variable without a word stays.
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
