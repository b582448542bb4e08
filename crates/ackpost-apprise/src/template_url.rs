//! Display of a template: the URL that would load it again, its variables in place.

use ackpost_notify::grammar::{declares, python_int};
use ackpost_notify::url::percent;
use ackpost_notify::{COMMON_PARAMETERS, Services};

/// Keys whose values are hidden whatever they look like.
const SECRET_KEYS: [&str; 11] = [
    "password",
    "secret",
    "pass",
    "token",
    "key",
    "id",
    "apikey",
    "to",
    "seed",
    "room_password",
    "public_key",
];

/// Characters that a path may hold unencoded, besides letters, digits and `_.-~`.
const PATH_SAFE: &str = ":@!$&'()*+=";

/// The value of a key beside or below the URL of an entry, as YAML means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// A text.
    Text(String),
    /// Yes, no or a number, which hide nothing.
    Plain(String),
    /// A list of texts.
    List(Vec<String>),
    /// Nothing that a URL could carry.
    Nothing,
}

impl Setting {
    /// Returns the setting with its texts changed.
    pub(crate) fn map(&self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::Text(change(text)),
            Self::List(texts) => Self::List(texts.iter().map(|text| change(text)).collect()),
            other => other.clone(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }
}

/// The keys of an entry by name, in the order in which they were first written.
pub(crate) type Settings = Vec<(String, Setting)>;

/// The URL of a template in its three forms.
pub(crate) struct Drawn {
    /// URL with its secrets.
    pub(crate) shown: String,
    /// URL without its secrets.
    pub(crate) masked: String,
    /// As Apprise masks it.
    pub(crate) apprise_masked: String,
}

/// The part of a secret that is masked.
#[derive(Clone, Copy, PartialEq)]
enum Masked {
    Nothing,
    Whole,
    /// As Apprise does: the first and the last character are shown.
    Middle,
}

/// The URL of a template and its masked forms. `url` and the texts of `settings` hold words in place of the variables, which
/// `words` turns back into `${NAME}`.
pub(crate) fn show(url: &str, settings: &Settings, words: &[(String, String)], services: Services) -> Drawn {
    let url = url.trim().replace("/#", "/%23");
    let (schema, rest) = url.split_once("://").unwrap_or(("", &url));
    let schema = schema.to_ascii_lowercase();
    let rest = rest.trim_start_matches(['/', '\\']);
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let front = front.split('#').next().unwrap_or_default();
    let (authority, path) = match front.find('/') {
        Some(at) => front.split_at(at),
        None => (front, ""),
    };
    let (user_info, host) = match authority.find('@') {
        Some(at) => (Some(&authority[..at]), authority[at..].trim_start_matches('@')),
        None => (None, authority),
    };
    let query = query_of(query);
    let (user, password) = credentials(user_info, &query);
    let (host, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let last = |name: &str| {
        let found = settings.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    };
    // The user and password of a community are its key and its seed, which have their own names.
    let sogs = services.belongs(&schema, "sogs");
    let own = |name: &str| last(name).filter(|_| !sogs).and_then(Setting::text);
    let port = match last("port") {
        Some(value) => Some(value.clone()),
        None => query
            .iter()
            .find(|(key, _)| key == "port")
            .map(|(_, value)| Setting::Text(value.clone()))
            .or_else(|| {
                let number = |text: &str| python_int(text).map_or_else(|| text.to_owned(), |n| n.to_string());
                port.map(|port| Setting::Plain(number(port)))
            }),
    };
    let parts = Parts {
        user: own("user").map(str::to_owned).or(user),
        password: own("password")
            .or_else(|| own("pass"))
            .map(str::to_owned)
            .or(password),
        host: last("host")
            .and_then(Setting::text)
            .unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host))
            .to_owned(),
        port,
        path: path_of(path),
        query: with_settings(query, settings, &schema, services),
        schema,
        words,
    };
    Drawn {
        shown: parts.draw(Masked::Nothing),
        masked: parts.draw(Masked::Whole),
        apprise_masked: parts.draw(Masked::Middle),
    }
}

/// The pieces of a URL, words in place of the variables.
struct Parts<'a> {
    schema: String,
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<Setting>,
    path: String,
    query: Settings,
    words: &'a [(String, String)],
}

impl Parts<'_> {
    fn draw(&self, masked: Masked) -> String {
        let part = |text: &str, force: bool| match masked {
            Masked::Nothing => text.to_owned(),
            masked => mask(text, force, self.words, masked),
        };
        let value = |value: &Setting, force: bool| match value {
            Setting::Text(text) => Some(part(text, force)),
            Setting::Plain(text) => Some(text.clone()),
            Setting::List(texts) if !texts.is_empty() => {
                let texts: Vec<String> = texts.iter().map(|text| part(text, force)).collect();
                Some(texts.join(","))
            }
            _ => None,
        };
        let mut out = format!("{}://", self.schema);
        if let Some(user) = &self.user {
            out.push_str(&part(user, false));
            if let Some(password) = &self.password {
                out.push(':');
                out.push_str(&part(password, true));
            }
            out.push('@');
        }
        out.push_str(&part(&self.host, false));
        if let Some(port) = self.port.as_ref().and_then(|port| value(port, false)) {
            out.push(':');
            out.push_str(&port);
        }
        let pieces: Vec<String> = self.path.split('/').map(|piece| part(piece, false)).collect();
        out.push_str(&pieces.join("/"));
        let mut glue = '?';
        for (key, setting) in &self.query {
            let Some(text) = value(setting, SECRET_KEYS.contains(&key.as_str())) else {
                continue;
            };
            out.push(glue);
            glue = '&';
            out.push_str(&percent::encode(key));
            out.push('=');
            let text = percent::encode(&text);
            out.push_str(&match masked {
                Masked::Whole => text.replace("%2A%2A%2A%2A", "****"),
                _ => text,
            });
        }
        let out = self.words.iter().fold(out, |out, (word, name)| {
            out.replace(word, &format!("${{{name}}}"))
        });
        readable(&out)
    }
}

/// A URL in which `%24%7BNAME%7D` is `${NAME}` again: both are read alike.
fn readable(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find("%24%7B") {
        let behind = &rest[at + 6..];
        let name = behind.split('%').next().filter(|name| is_name(name));
        out.push_str(&rest[..at]);
        let closed = name.and_then(|name| Some((name, behind[name.len()..].strip_prefix("%7D")?)));
        if let Some((name, behind)) = closed {
            out.push_str("${");
            out.push_str(name);
            out.push('}');
            rest = behind;
        } else {
            out.push_str("%24%7B");
            rest = behind;
        }
    }
    out + rest
}

/// User and password of the authority, with those of the query over them.
fn credentials(user_info: Option<&str>, query: &[(String, String)]) -> (Option<String>, Option<String>) {
    let (user, password) = match user_info.map(|info| (info, info.find(':'))) {
        Some((info, Some(at))) => {
            let password = info[at..].trim_start_matches(':').split(':').next();
            (Some(&info[..at]), password)
        }
        Some((info, None)) => (Some(info), None),
        None => (None, None),
    };
    let asked = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let password = asked("pass")
        .or_else(|| asked("password"))
        .or_else(|| password.map(str::to_owned));
    match asked("user") {
        // A lone field of the authority is the password then.
        Some(other) => (Some(other), password.or_else(|| user.map(str::to_owned))),
        None => (user.map(str::to_owned), password),
    }
}

/// The path with its pieces encoded anew and no slash twice.
fn path_of(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (n, piece) in path.split('/').enumerate() {
        if n > 0 && !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(&percent::encode_except(&percent::decode(piece), PATH_SAFE));
    }
    out
}

/// The pairs of a query by name, where they were first written, with the last value.
fn query_of(query: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent::decode(key).trim().to_lowercase();
        let value = percent::decode(value).trim().to_owned();
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => all.push((key, value)),
        }
    }
    all
}

/// Returns the name of the value that a parameter sets; two names may set the same.
fn field(key: &str) -> &str {
    if key == "key" { "public_key" } else { key }
}

/// The query with the settings put over it that a URL can carry.
fn with_settings(
    query: Vec<(String, String)>,
    settings: &Settings,
    schema: &str,
    services: Services,
) -> Settings {
    let own = services.find(schema).map_or(&[][..], |kind| kind.parameters);
    let carried = |key: &str| declares(COMMON_PARAMETERS, key) || declares(own, key);
    let mut all: Settings = query
        .into_iter()
        .map(|(key, value)| (key, Setting::Text(value)))
        .collect();
    let mut keys: Vec<&(String, Setting)> = settings.iter().filter(|(key, _)| carried(key)).collect();
    // Of two names for the same the one written later holds.
    let wins = |key: &str| {
        let same = |(other, _): &&&(String, Setting)| field(other) == field(key);
        keys.iter().rfind(same).is_some_and(|(last, _)| last == key)
    };
    let winners: Vec<String> = keys
        .iter()
        .map(|(key, _)| key.clone())
        .filter(|key| wins(key))
        .collect();
    keys.retain(|(key, _)| winners.contains(key));
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, value) in keys {
        if matches!(value, Setting::Nothing) || *value == Setting::List(Vec::new()) {
            continue;
        }
        all.retain(|(other, _)| other == key || !carried(other) || field(other) != field(key));
        match all.iter_mut().find(|(known, _)| known == key) {
            Some(known) => known.1 = value.clone(),
            None => all.push((key.clone(), value.clone())),
        }
    }
    all
}

/// A part as it may be shown: variables stay, what looks like a secret does not.
fn mask(text: &str, force: bool, words: &[(String, String)], masked: Masked) -> String {
    let next = |text: &str| {
        let found = words
            .iter()
            .filter_map(|(word, _)| text.find(word.as_str()).map(|at| (at, word.len())));
        found.min()
    };
    let short = |text: &str| {
        let trimmed = text.trim();
        match (trimmed.chars().next(), trimmed.chars().next_back()) {
            (Some(first), Some(last)) if masked == Masked::Middle => format!("{first}...{last}"),
            (Some(_), Some(_)) => "****".to_owned(),
            _ => text.to_owned(),
        }
    };
    let mut out = String::new();
    let mut rest = text;
    let mut any = false;
    while let Some((at, length)) = next(rest) {
        any = true;
        if at > 0 {
            out.push_str(&short(&rest[..at]));
        }
        out.push_str(&rest[at..at + length]);
        rest = &rest[at + length..];
    }
    if any {
        if !rest.is_empty() {
            out.push_str(&short(rest));
        }
        return out;
    }
    if text.trim().is_empty() {
        return text.to_owned();
    }
    if force || is_obscure(text.trim()) {
        short(text)
    } else {
        text.trim().to_owned()
    }
}

/// True for what does not look like the name of anything: no host name, long, or of many kinds of characters in turn.
fn is_obscure(word: &str) -> bool {
    if word.chars().count() > 1 && !is_plain_host(word) || word.chars().count() >= 16 {
        return true;
    }
    let mut turns = 0;
    let mut before = None;
    for c in word.chars() {
        let kind = match c {
            c if c.is_numeric() => 0,
            c if c.is_uppercase() => 1,
            c if c.is_lowercase() => 2,
            _ => 3,
        };
        if before != Some(kind) || kind == 3 {
            turns += 1;
        }
        before = Some(kind);
    }
    turns >= 5
}

/// A host of ASCII letters, digits and hyphens, none of its labels a single digit.
fn is_plain_host(word: &str) -> bool {
    let digit = |label: &str| label.len() == 1 && label.bytes().all(|byte| byte.is_ascii_digit());
    word.is_ascii()
        && !word.contains('_')
        && ackpost_notify::grammar::is_host(word)
        && (word.parse::<std::net::Ipv4Addr>().is_ok() || !word.split('.').any(digit))
}

/// Longest name of a variable.
pub(crate) const NAME_BYTES: usize = 32;

/// True for what may be the name of a template variable.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
