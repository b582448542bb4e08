//! Named values, the common form of JSON objects and form bodies.

use ackpost_platform::text::one_line;
use serde_json::{Map, Value};

use crate::reply::Reply;

/// More fields than any client sends.
const MAX_FIELDS: usize = 256;
/// Maximum number of steps in the path of a mapping; each name and each index is one.
const MAX_PATH: usize = 10;
/// Number of fields that an error names, and the longest part of a name that it shows.
const MAX_SHOWN: usize = 8;
const MAX_SHOWN_CHARS: usize = 40;
/// The fields a query may set when the body does not.
const QUERY_FIELDS: [&str; 9] = [
    "title",
    "type",
    "format",
    "tag",
    "tags",
    "wait",
    "ttl",
    "body",
    "require_files",
];

/// Named values.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The members of a JSON object; nothing else is a request.
    pub(crate) fn from_json(value: Value) -> Result<Self, Reply> {
        match value {
            Value::Object(map) if map.len() <= MAX_FIELDS => Ok(Self(map)),
            Value::Object(_) => Err(too_many()),
            _ => Err(Reply::bad_request("the JSON is not an object")
                .remedy("send an object such as {\"body\": \"text\"}")),
        }
    }

    /// A name that comes again becomes a list.
    pub(crate) fn push(&mut self, name: String, text: String) -> Result<(), Reply> {
        let full = self.0.len() >= MAX_FIELDS;
        match self.0.get_mut(&name) {
            Some(Value::Array(items)) if items.len() < MAX_FIELDS => items.push(Value::String(text)),
            Some(Value::Array(_)) => return Err(too_many()),
            Some(one) => *one = Value::Array(vec![one.take(), Value::String(text)]),
            None if full => return Err(too_many()),
            None => {
                self.0.insert(name, Value::String(text));
            }
        }
        Ok(())
    }

    /// Apprise API's payload mapping in the query (`?:message=body`: the field `message` is meant as `body`;
    /// `?:noise=` drops a field, `?:alert.name=title` reaches into objects and lists), and plain fields of the query
    /// for what the body leaves out.
    pub(crate) fn apply_query(&mut self, query: &str) -> Result<(), Reply> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .take(MAX_FIELDS)
            .collect();
        let rules = pairs
            .iter()
            .filter_map(|(name, to)| Some((name.strip_prefix(':')?, to)))
            .filter(|(from, _)| !from.is_empty());
        let mut mapped: Vec<(String, Option<Value>)> = Vec::new();
        for (from, to) in rules {
            mapped.push(match taken(&mut self.0, from) {
                Some(value) => (to.clone(), Some(value)),
                None if from.contains(['.', '[', ']']) => (to.clone(), Some(self.inside(from)?.clone())),
                // Nothing of that name in the body: a fixed value for a known field.
                None => (
                    from.to_owned(),
                    QUERY_FIELDS.contains(&from).then(|| Value::String(to.clone())),
                ),
            });
        }
        for (name, value) in mapped {
            if let (false, Some(value)) = (name.is_empty(), value) {
                self.0.insert(name, value);
            }
        }
        for (name, value) in pairs {
            if QUERY_FIELDS.contains(&name.as_str()) && !self.0.contains_key(&name) {
                self.0.insert(name, Value::String(value));
            }
        }
        Ok(())
    }

    /// Returns the value at a path: names with dots between them, indexes of lists as `.0` or `[0]`.
    fn inside(&self, path: &str) -> Result<&Value, Reply> {
        let missing = || {
            Reply::bad_request("the mapping names a field that is not in the body")
                .remedy(format!("correct the rule `:{}`", one_line(path)))
        };
        let mut steps = steps(path)
            .filter(|steps| steps.len() <= MAX_PATH)
            .ok_or_else(missing)?
            .into_iter();
        let Some(Step::Name(first)) = steps.next() else {
            return Err(missing());
        };
        let mut value = self.0.get(first).ok_or_else(missing)?;
        for step in steps {
            value = match (value, step) {
                (Value::Object(map), Step::Name(name)) => map.get(name),
                (Value::Array(items), Step::Name(name)) => {
                    name.parse::<usize>().ok().and_then(|index| items.get(index))
                }
                (Value::Array(items), Step::Index(index)) => items.get(index),
                _ => None,
            }
            .ok_or_else(missing)?;
        }
        Ok(value)
    }

    /// The first of these names that is there and not null.
    pub(crate) fn get(&self, names: &[&str]) -> Option<&Value> {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .filter(|value| !value.is_null())
    }

    /// Text, or a number as text.
    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<String>, Reply> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(yes)) => Ok(Some(yes.to_string())),
            // A form that repeats a field: the last one counts.
            Some(Value::Array(items))
                if !items.is_empty() && items.iter().all(Value::is_string) && names[0] != "body" =>
            {
                Ok(items.last().and_then(Value::as_str).map(str::to_owned))
            }
            Some(_) => Err(Reply::bad_request(format!(
                "the field `{}` is not text",
                names[0]
            ))),
        }
    }

    /// A text or a list of texts.
    pub(crate) fn list(&self, names: &[&str]) -> Result<Vec<String>, Reply> {
        match self.get(names) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_str().map(str::to_owned).ok_or_else(|| {
                        Reply::bad_request(format!("`{}` holds something that is not text", names[0]))
                    })
                })
                .collect(),
            Some(_) => Err(Reply::bad_request(format!(
                "`{}` is neither a text nor a list",
                names[0]
            ))),
        }
    }

    /// True for yes, true, on and 1; false for no, false, off, 0, nothing, and where there is no such field.
    pub(crate) fn switch(&self, name: &'static str) -> Result<bool, Reply> {
        let text = self.text(&[name])?.unwrap_or_default();
        match text.trim().to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Ok(true),
            "no" | "false" | "off" | "0" | "" => Ok(false),
            _ => Err(Reply::bad_request(format!("`{name}` is neither yes nor no"))),
        }
    }

    /// The names of the fields, for a person who reads an error; `None` if there are none.
    pub(crate) fn names(&self) -> Option<String> {
        let shown: Vec<String> = (self.0.keys().take(MAX_SHOWN))
            .map(|name| {
                let name: String = one_line(name).chars().take(MAX_SHOWN_CHARS).collect();
                format!("`{name}`")
            })
            .collect();
        let list = shown.join(", ");
        match self.0.len() {
            0 => None,
            count if count > MAX_SHOWN => Some(format!("{list} and {} more", count - MAX_SHOWN)),
            _ => Some(list),
        }
    }

    /// The whole, for webhooks.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Takes a value out; the others keep their order.
fn taken(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let mut found = None;
    object.retain(|key, value| {
        let wanted = key == name;
        if wanted {
            found = Some(value.take());
        }
        !wanted
    });
    found
}

/// One step of a path into a JSON value.
enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

/// Takes `items[0].name` apart; `None` when a bracket is open or holds something else than digits.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, mut indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() || name.contains(']') {
            return None;
        }
        steps.push(Step::Name(name));
        while !indexes.is_empty() {
            let (index, rest) = indexes.strip_prefix('[')?.split_once(']')?;
            let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
            steps.push(Step::Index(index.parse().ok().filter(|_| digits)?));
            indexes = rest;
        }
    }
    Some(steps)
}

fn too_many() -> Reply {
    Reply::bad_request("too many fields").remedy(format!("send {MAX_FIELDS} at most"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_query_maps_fields_and_fills_gaps() {
        let mut fields =
            Fields::from_json(json!({"message": "m", "subject": "s", "noise": 1, "type": "info"}))
                .expect("ok");
        fields
            .apply_query(":message=body&:noise=&:subject=title&type=failure&tag=a&secret=x&:format=markdown")
            .expect("legal");
        assert_eq!(
            fields.into_value(),
            json!({"type": "info", "body": "m", "title": "s", "format": "markdown", "tag": "a"})
        );
    }

    #[test]
    fn a_mapping_reaches_into_objects() {
        let body = json!({"alert": {"name": "disk", "lines": ["a", "b"]}, "x.y": "literal"});
        let mapped = |query: &str| {
            let mut fields = Fields::from_json(body.clone()).expect("ok");
            fields.apply_query(query).map(|()| fields.into_value())
        };
        let value = mapped(":alert.name=title&:alert.lines.1=body&:x.y=tag").expect("found");
        assert_eq!(
            (&value["title"], &value["body"], &value["tag"]),
            (&json!("disk"), &json!("b"), &json!("literal"))
        );
        let lists = json!({"items": [{"objectURI": "/tags/acpi", "m": [[1, 2], [3, 4]]}], "a[0]": "literal"});
        let mut fields = Fields::from_json(lists.clone()).expect("ok");
        fields
            .apply_query(":items[0].objectURI=body&:items[0].m[1][0]=title&:a[0]=tag&:items.0.m.0.1=ttl")
            .expect("found");
        let value = fields.into_value();
        assert_eq!(
            (&value["body"], &value["title"], &value["tag"], &value["ttl"]),
            (&json!("/tags/acpi"), &json!(3), &json!("literal"), &json!(2))
        );
        for query in [
            ":items[1].objectURI=body",
            ":items[x].objectURI=body",
            ":items[-1].objectURI=body",
            ":items[+0].objectURI=body",
            ":items[].objectURI=body",
            ":items[0.objectURI=body",
            ":items0]=body",
            ":items[0]x=body",
            ":[0]=body",
            &format!(":items{}=body", "[0]".repeat(50)),
        ] {
            let mut fields = Fields::from_json(lists.clone()).expect("ok");
            assert!(fields.apply_query(query).is_err(), "{query}");
        }
        for query in [
            ":alert.nothing=body",
            ":alert.lines.9=body",
            ":alert.name.deeper=body",
            ":a.b=body",
            &format!(":alert{}=body", ".a".repeat(50)),
        ] {
            assert!(mapped(query).is_err(), "{query}");
        }
    }

    #[test]
    fn repeated_form_fields_become_a_list() {
        let mut fields = Fields::default();
        for tag in ["a", "b", "c"] {
            fields.push("tag".into(), tag.into()).expect("few");
        }
        assert_eq!(fields.get(&["tag"]), Some(&json!(["a", "b", "c"])));
        let mut many = Fields::default();
        let pushed = (0..=MAX_FIELDS).try_for_each(|n| many.push(n.to_string(), String::new()));
        assert!(pushed.is_err());
    }
}
