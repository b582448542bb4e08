//! The parts of a URL that another program delivers.
//!
//! Of such a URL only the schema and the parameters of this program are read ([`OURS`]). Everything else stays as it is
//! written: its grammar is that of the other program.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer as _};
use zeroize::Zeroizing;

use crate::problem::Diagnostic;
use crate::url::percent;

use super::param::QUEUE_PARAMETERS;

/// The parameter in which a canonical URL holds the keys of a configuration entry.
pub(super) const KEYS: &str = "ackpost_keys";
/// Parameters that are read here and not handed over, besides those of the outbox.
const OURS: [&str; 6] = ["retry", "wait", "optional", "tz", "via", "repeat"];
/// Schemas whose host is a host name, and no part of a secret.
const HOSTED: [&str; 21] = [
    "apprise", "apprises", "form", "forms", "gotify", "gotifys", "json", "jsons", "mailto", "mailtos",
    "matrix", "matrixs", "mmost", "mmosts", "mqtt", "mqtts", "rocket", "rockets", "xml", "xmls", "smtp",
];

/// A URL of another program: its text without the parameters of this one, and the keys of its configuration entry.
pub struct ForeignUrl {
    pub(super) schema: String,
    pub(super) url: Zeroizing<String>,
    pub(super) keys: Vec<(String, Zeroizing<String>)>,
    pub(super) way: Way,
}

/// Reason why another program delivers a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No service here has the schema.
    Unknown,
    /// The service here lacks this parameter.
    Lacking(&'static str),
    /// `via=apprise` or `ACKPOST_NATIVE` ask for it.
    Asked,
}

impl Way {
    /// Finds the reason for the parameters of a URL; `lacking` is what the service here lacks that has the schema.
    pub(super) fn find<'a>(
        lacking: Option<&'static [&'static str]>,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let Some(lacking) = lacking else {
            return Self::Unknown;
        };
        let lacking = |name: &str| {
            let mut all = lacking.iter().copied();
            all.find(|one| one.eq_ignore_ascii_case(name))
        };
        names
            .into_iter()
            .find_map(lacking)
            .map_or(Self::Asked, Self::Lacking)
    }
}

impl fmt::Debug for ForeignUrl {
    /// Shows the masked URL only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignUrl").field(&self.masked()).finish()
    }
}

impl ForeignUrl {
    /// Returns the schema in lower case.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the reason why this program does not deliver it itself, such as ``tgram:// is not a service of Ackpost``.
    pub fn cause(&self) -> String {
        let schema = &self.schema;
        match self.way {
            Way::Unknown => format!("{schema}:// is not a service of Ackpost"),
            Way::Lacking(name) => format!("Ackpost cannot use `{name}` of {schema}:// itself"),
            Way::Asked => format!("{schema}:// is to go through Apprise (via=apprise or ACKPOST_NATIVE)"),
        }
    }

    /// Returns the parameter that the service here lacks, if that is the reason.
    pub fn lacking(&self) -> Option<&'static str> {
        match self.way {
            Way::Lacking(name) => Some(name),
            Way::Unknown | Way::Asked => None,
        }
    }

    /// Returns the URL **with its secrets**.
    pub fn expose_url(&self) -> &str {
        &self.url
    }

    /// Returns the keys of the configuration entry **with their secrets**. Each value is YAML that fits on one line.
    pub fn expose_keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the URL **with its secrets**, and with its keys as a parameter: loading it gives the same again.
    pub fn expose_base(&self) -> String {
        let mut url = self.url.to_string();
        if !self.keys.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(KEYS);
            url.push('=');
            url.push_str(&percent::encode(&keys_text(&self.keys)));
        }
        url
    }

    /// Returns the URL without what may be a secret, which is nearly all of it: the host is shown if it is one, and
    /// `****` stands for the rest.
    pub fn masked(&self) -> String {
        masked(&self.schema, &self.url, !self.keys.is_empty())
    }
}

pub(super) fn masked(schema: &str, url: &str, keys: bool) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !HOSTED.contains(&schema) {
        return format!("{schema}://****");
    }
    let (user, host) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(_, host)| ("****@", host));
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    if !plain {
        return format!("{schema}://****");
    }
    let hidden = keys || path.len() > 1;
    format!("{schema}://{user}{host}{}", if hidden { "/****" } else { "" })
}

/// The value of `via=`, from a key of the entry or from the URL.
pub(super) fn asked_way(rest: &str, overrides: &[(String, String)]) -> Option<String> {
    let plain = |text: &str| plain_of(text).trim().to_ascii_lowercase();
    if let Some((_, value)) = overrides.iter().rev().find(|(key, _)| key == "via") {
        return Some(plain(value));
    }
    let (_, query) = rest.split_once('?')?;
    let mut pairs = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case("via"))?;
    Some(percent::decode(found.1).trim().to_ascii_lowercase())
}

/// Returns true for a parameter of this program. A parameter that the other program's service has under the same name
/// belongs to that service.
pub(super) fn is_ours(schema: &str, name: &str) -> bool {
    let theirs = match name {
        "ttl" => &["amqp", "amqps", "bark", "barks", "nexmo", "vapid", "vonage"][..],
        "dedup" => &[
            "firehydrant",
            "goalert",
            "goalerts",
            "ilert",
            "incidentio",
            "opsimate",
            "opsimates",
            "pagerduty",
            "parsep",
            "pagertree",
            "signl4",
            "squadcast",
        ],
        "repeat" => &["pushward"],
        _ => &[],
    };
    !theirs.contains(&schema)
        && (OURS.contains(&name) || QUEUE_PARAMETERS.iter().any(|param| param.name == name))
}

/// True for a common parameter that is read here although another program delivers the URL.
pub(crate) fn is_kept(name: &str) -> bool {
    OURS.contains(&name) || QUEUE_PARAMETERS.iter().any(|param| param.name == name)
}

/// Reads the parameter that holds the keys of an entry.
pub(super) fn stored_keys(text: &str) -> Result<Vec<(String, Zeroizing<String>)>, Diagnostic> {
    let damaged = || Diagnostic::error("the keys of the entry are damaged", "remove the parameter").key(KEYS);
    let StoredKeys(keys) = serde_json::from_str(text).map_err(|_| damaged())?;
    Ok(keys)
}

/// Returns the keys as a JSON object, in their order.
fn keys_text(keys: &[(String, Zeroizing<String>)]) -> String {
    let mut text = Vec::new();
    let pairs = keys.iter().map(|(key, value)| (key, value.as_str()));
    let written = serde_json::Serializer::new(&mut text).collect_map(pairs);
    written.expect("texts can be written");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Keys in the order in which a JSON object has them. Of a key that is there twice, the last value counts.
struct StoredKeys(Vec<(String, Zeroizing<String>)>);

impl<'de> Deserialize<'de> for StoredKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StoredKeysVisitor)
    }
}

struct StoredKeysVisitor;

impl<'de> Visitor<'de> for StoredKeysVisitor {
    type Value = StoredKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StoredKeys, A::Error> {
        let mut keys: Vec<(String, Zeroizing<String>)> = Vec::new();
        let mut places = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            let value = Zeroizing::new(value);
            if let Some(place) = places.get(&key) {
                let (_, known): &mut (String, Zeroizing<String>) = &mut keys[*place];
                *known = value;
            } else {
                places.insert(key.clone(), keys.len());
                keys.push((key, value));
            }
        }
        Ok(StoredKeys(keys))
    }
}

/// The text of a YAML value on one line: quoted texts are JSON, everything else stands for itself.
pub(super) fn plain_of(value: &str) -> Cow<'_, str> {
    if value.starts_with('"')
        && let Ok(text) = serde_json::from_str::<String>(value)
    {
        return Cow::Owned(text);
    }
    Cow::Borrowed(value)
}

/// A text as it stands between the quotation marks of JSON.
pub fn json_text(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(url: &str) -> String {
        masked(url.split("://").next().expect("a schema"), url, false)
    }

    #[test]
    fn a_masked_url_shows_a_host_and_nothing_else() {
        for (url, shown) in [
            ("tgram://123456:abcdef/12315544", "tgram://****"),
            (
                "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
                "discord://****",
            ),
            (
                "mailto://me:pass@gmail.com?to=a@b.c",
                "mailto://****@gmail.com/****",
            ),
            ("json://localhost:8080", "json://localhost:8080"),
            ("json://localhost/", "json://localhost"),
            ("jsons://u:p@h.org/secret?+X=y", "jsons://****@h.org/****"),
            ("json://to%6Ben%2F", "json://****"),
        ] {
            assert_eq!(stripped(url), shown, "{url}");
        }
    }

    #[test]
    fn stored_keys_keep_their_order() {
        let keys = stored_keys(r#"{"z":"1","a":"\"2\"","z":"3"}"#).expect("keys");
        let pairs: Vec<_> = keys
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("z", "3"), ("a", "\"2\"")]);
        assert_eq!(keys_text(&keys), r#"{"z":"3","a":"\"2\""}"#);
        assert!(stored_keys(r#"{"a":1}"#).is_err() && stored_keys("[]").is_err());
    }

    #[test]
    fn a_parameter_of_the_same_name_belongs_to_the_service() {
        assert!(is_ours("discord", "ttl") && is_ours("discord", "retry") && !is_ours("discord", "format"));
        assert!(!is_ours("vonage", "ttl") && !is_ours("pagerduty", "dedup"));
    }
}
