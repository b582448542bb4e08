//! How a template is shown: the URL that would load it again, its variables in place.

use crate::service::{GLOBAL_PARAMETERS, row_of};
use crate::url::percent;

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

/// What may stand in a path as it is, besides letters, digits and `_.-~`.
const PATH_SAFE: &str = ":@!$&'()*+=";

/// The URL of a template and its masked form. `url` and the values of `keys` hold words in place of the variables, which
/// `name` turns back into `${NAME}`.
pub(crate) fn show(url: &str, keys: &[(String, String)], words: &[(String, String)]) -> (String, String) {
    let url = url.trim().replace("/#", "/%23");
    let (schema, rest) = url.split_once("://").unwrap_or(("", &url));
    let schema = schema.to_ascii_lowercase();
    let rest = rest.trim_start_matches(['/', '\\']);
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let front = front.split('#').next().unwrap_or_default();
    let (authority, path) = front.split_once('/').map_or((front, None), |(a, p)| (a, Some(p)));
    let (user_info, host) = match authority.find('@') {
        Some(at) => (Some(&authority[..at]), authority[at..].trim_start_matches('@')),
        None => (None, authority),
    };
    let last = |name: &str| {
        keys.iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let (user, password) = match user_info.map(|info| {
        info.find(':').map_or((info, None), |at| {
            (&info[..at], Some(info[at..].trim_start_matches(':')))
        })
    }) {
        Some((user, password)) => (Some(user), password),
        None => (None, None),
    };
    let user = last("user").or(user);
    let password = last("password").or_else(|| last("pass")).or(password);
    let (host, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let host = last("host").unwrap_or(host);
    let port = last("port").or(port);
    let parts = Parts {
        schema: &schema,
        user,
        password,
        host: host.strip_suffix('.').unwrap_or(host),
        port,
        path,
        ends_with_slash: path.is_some() && url.ends_with('/'),
        query: query_of(&schema, query, keys),
        words,
    };
    (parts.draw(false), parts.draw(true))
}

/// The pieces of a URL, words in place of the variables.
struct Parts<'a> {
    schema: &'a str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: Option<&'a str>,
    ends_with_slash: bool,
    query: Vec<(String, String, bool)>,
    words: &'a [(String, String)],
}

impl Parts<'_> {
    fn draw(&self, masked: bool) -> String {
        let part = |text: &str, force: bool| {
            if masked {
                mask(text, force, self.words)
            } else {
                text.to_owned()
            }
        };
        let mut out = format!("{}://", self.schema);
        if let Some(user) = self.user {
            out.push_str(&part(user, false));
            if let Some(password) = self.password {
                out.push(':');
                out.push_str(&part(password, true));
            }
            out.push('@');
        }
        out.push_str(&part(self.host, false));
        if let Some(port) = self.port {
            out.push(':');
            out.push_str(port);
        }
        let segments = self.path.unwrap_or_default().split('/');
        for segment in segments.filter(|segment| !segment.is_empty()) {
            out.push('/');
            out.push_str(&part(
                &percent::encode_except(&percent::decode(segment), PATH_SAFE),
                false,
            ));
        }
        if self.ends_with_slash && !out.ends_with('/') {
            out.push('/');
        }
        for (n, (key, value, list)) in self.query.iter().enumerate() {
            out.push(if n == 0 { '?' } else { '&' });
            out.push_str(&percent::encode(key));
            out.push('=');
            let force = SECRET_KEYS.contains(&key.as_str());
            let value = if *list {
                let members: Vec<String> = value.split(',').map(|member| part(member, force)).collect();
                members.join(",")
            } else {
                part(value, force)
            };
            out.push_str(&percent::encode(&value));
        }
        self.words.iter().fold(out, |out, (word, name)| {
            let escaped = format!("%24%7B{}%7D", percent::encode(name));
            out.replace(word, &format!("${{{name}}}"))
                .replace(&escaped, &format!("${{{name}}}"))
        })
    }
}

/// The query of the URL with the keys put over it, and whether a value is a list.
fn query_of(schema: &str, query: &str, keys: &[(String, String)]) -> Vec<(String, String, bool)> {
    let mut all: Vec<(String, String, bool)> = Vec::new();
    for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent::decode(key).trim().to_lowercase();
        let value = percent::decode(value).trim().to_owned();
        match all.iter_mut().find(|(known, _, _)| *known == key) {
            Some(known) => known.1 = value,
            None => all.push((key, value, false)),
        }
    }
    let own = row_of(schema).map_or(&[][..], |row| row.parameters);
    let mut keys: Vec<&(String, String)> = keys
        .iter()
        .filter(|(key, _)| GLOBAL_PARAMETERS.contains(&key.as_str()) || own.contains(&key.as_str()))
        .collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, value) in keys {
        let value = match value.as_str() {
            "true" => "yes",
            "false" => "no",
            other => other,
        };
        let one = (key.clone(), value.to_owned(), key == "to");
        match all.iter_mut().find(|(known, _, _)| known == key) {
            Some(known) => *known = one,
            None => all.push(one),
        }
    }
    all
}

/// A part as it may be shown: variables stay, what looks like a secret keeps its first and last character only.
fn mask(text: &str, force: bool, words: &[(String, String)]) -> String {
    let next = |text: &str| {
        let found = words
            .iter()
            .filter_map(|(word, _)| text.find(word.as_str()).map(|at| (at, word.len())));
        found.min()
    };
    let short = |text: &str| {
        let text = text.trim();
        match (text.chars().next(), text.chars().next_back()) {
            (Some(first), Some(last)) => format!("{first}...{last}"),
            _ => String::new(),
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
    let plain = !word.contains('_') && crate::url::is_host(word);
    if word.chars().count() > 1 && !plain || word.chars().count() >= 16 {
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
