//! Named webhooks of gateway.toml.

use axum::http::HeaderMap;
use serde_json::Value;

use super::generic::{check, kind_of};
use super::{IncomingMessage, Reader};
use crate::config::Hook;
use crate::reply::Reply;

/// Reads a request with the templates of a configured hook; parts it leaves out are found as without one.
pub(crate) fn from_hook(hook: &Hook, value: &Value, headers: &HeaderMap) -> Result<IncomingMessage, Reply> {
    let mut incoming = Reader::Json.read(value, headers).unwrap_or_default();
    if let Some(template) = &hook.title {
        template.render(value).trim().clone_into(&mut incoming.title);
    }
    if let Some(template) = &hook.body {
        incoming.body = template.render(value);
    }
    if let Some(template) = &hook.kind {
        incoming.kind = kind_of(&template.render(value));
    }
    check(incoming)
}

#[cfg(test)]
mod tests {
    use ackpost_notify::Kind;
    use serde_json::json;

    use super::super::Template;
    use super::*;

    #[test]
    fn templates_decide_when_there_are_any() {
        let template = |text: &str| Some(Template::parse(text).expect("legal"));
        let hook = Hook {
            key: "ops".into(),
            tag: None,
            title: template("{{ repo.name }}"),
            body: template("{{#each commits}}* {{ this }}\n{{/each}}"),
            kind: template("{{ state }}"),
        };
        let value =
            json!({"repo": {"name": "ackpost"}, "commits": ["a", "b"], "state": "failed", "message": "no"});
        let incoming = from_hook(&hook, &value, &HeaderMap::new()).expect("a message");
        assert_eq!(
            incoming,
            IncomingMessage::new("ackpost", "* a\n* b\n", Kind::Failure)
        );
    }
}
