//! Templates of named webhooks: in the language of Jinja, or in the small language of earlier versions.
//!
//! A template with `{%` or `{#` in it, and one that the small language does not know, is Jinja (`jinja.rs`). The small
//! language:
//!
//! ```text
//! {{ path.to.field }}   {{ items.0.name | upper }}   {{ labels.'odd name' | default 'none' }}
//! {{#if path}} … {{else}} … {{/if}}      {{#each items}} {{ this.name }} {{ @index }} {{/each}}
//! ```
//!
//! Filters: `upper lower trim json length first last`, `default 'text'`, `join ', '`, `truncate 80`.
//! There are no variables, calls, includes or arithmetic. The text of a template, its depth, the number of steps
//! and the length of what comes out are bounded, so that no input makes a template expensive.

mod parse;
mod run;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::{jinja, shortened};
use parse::Node;

const MAX_TEMPLATE_BYTES: usize = 16 << 10;
const MAX_DEPTH: usize = 4;
const MAX_OUTPUT_BYTES: usize = 32 << 10;
const MAX_STEPS: usize = 20_000;
/// Maximum time of one rendering.
const MAX_TIME: Duration = Duration::from_secs(2);
/// End of a text that had to be cut.
const CUT: &str = "… (cut: the result of the template is too long)";

/// A checked template.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Template {
    source: String,
    /// `None`: it is in the language of Jinja.
    nodes: Option<Vec<Node>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

/// Error in a template, and its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at character {at})")]
pub(crate) struct TemplateError {
    reason: String,
    at: usize,
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let reason = format!("the template is longer than {MAX_TEMPLATE_BYTES} bytes");
            return Err(TemplateError { reason, at: 0 });
        }
        let is_jinja = source.contains("{%") || source.replace("{{#", "").contains("{#");
        let small = if is_jinja {
            None
        } else {
            Some(parse::parse(source))
        };
        if let Some(Ok(nodes)) = small {
            return Ok(Self {
                source: source.to_owned(),
                nodes: Some(nodes),
            });
        }
        let is_small = ["{{#", "{{/", "{{else}}", "{{ else }}"]
            .iter()
            .any(|sign| source.contains(sign));
        match (jinja::problem(source), small) {
            // Written in the small language, with a mistake.
            (_, Some(Err(error))) if is_small => Err(error),
            (None, _) => Ok(Self {
                source: source.to_owned(),
                nodes: None,
            }),
            (Some(reason), _) => Err(TemplateError { reason, at: 0 }),
        }
    }

    /// The text it makes of this value.
    pub(crate) fn render(&self, value: &Value) -> String {
        let Some(nodes) = &self.nodes else {
            return jinja::render(&self.source, value);
        };
        // Each step may copy a text.
        let value = &shortened::copy(value, MAX_OUTPUT_BYTES, CUT);
        run::render(nodes, value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(template: &str, value: &Value) -> String {
        Template::parse(template).expect("legal").render(value)
    }

    #[test]
    fn fields_filters_and_blocks() {
        let value = json!({
            "name": "ackpost", "n": 3, "ok": true, "none": null, "labels": {"odd name": "x"},
            "items": [{"id": "a"}, {"id": "b"}], "words": ["one", "two"]
        });
        for (template, expected) in [
            ("{{name}} {{ n }} {{ok}}", "ackpost 3 true"),
            ("{{ name | upper | truncate 4 }}", "ACK…"),
            ("{{ missing | default 'no | way' }}", "no | way"),
            ("{{ labels.'odd name' }}", "x"),
            ("{{ items.1.id }}", "b"),
            (
                "{{#each items}}{{ @index }}={{ this.id }} of {{ name }};{{/each}}",
                "1=a of ackpost;2=b of ackpost;",
            ),
            ("{{#each words}}{{this}},{{/each}}", "one,two,"),
            ("{{#if none}}yes{{else}}no{{/if}}{{#if items}}!{{/if}}", "no!"),
            (
                "{{ words | join ' and ' }} {{ items | length }} {{ words | first }} {{ words | last | upper }}",
                "one and two 2 one TWO",
            ),
            ("{{ labels }}", "{\"odd name\":\"x\"}"),
            ("no fields", "no fields"),
        ] {
            assert_eq!(render(template, &value), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "{{",
            "{{}}",
            "{{#each a}}",
            "{{/if}}",
            "{{else}}",
            "{{#if a}}{{/each}}",
            "{{#for a}}{{/for}}",
            "{{ a | evil }}",
            "{{ a | default x }}",
            "{{ f() }}",
            "{{ a..b }}",
            "{{#if}}x{{/if}}",
            "{{#each a}}{{#each b}}{{#each c}}{{#each d}}{{#each e}}{{/each}}{{/each}}{{/each}}{{/each}}{{/each}}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).is_err());
    }

    #[test]
    fn a_bomb_is_cut_and_says_so() {
        let list: Vec<Value> = (0..2_000)
            .map(|n| json!({"text": "x".repeat(100), "n": n}))
            .collect();
        let value = json!({"a": list.clone(), "b": list});
        let bomb = "{{#each a}}{{#each b}}{{#each a}}{{ text }}{{/each}}{{/each}}{{/each}}";
        let text = render(bomb, &value);
        assert!(text.len() <= MAX_OUTPUT_BYTES + CUT.len());
        assert!(text.ends_with(CUT));
        let silent = render(
            "{{#each a}}{{#each b}}{{#each a}}{{/each}}{{/each}}{{/each}}",
            &value,
        );
        assert_eq!(silent, CUT);
        assert!(render("{{ a }}{{ a }}", &value).len() <= MAX_OUTPUT_BYTES + CUT.len());
    }

    #[test]
    fn a_long_text_that_is_read_at_each_step_costs_no_more_than_a_short_one() {
        let value = json!({"a": vec![0; 20_000], "s": "x".repeat(8 << 20)});
        let began = Instant::now();
        let text = render("{{#each a}}{{#if s}}{{/if}}{{/each}}", &value);
        assert!(began.elapsed() < 4 * MAX_TIME, "{:?}", began.elapsed());
        assert!(text.is_empty() || text == CUT, "{text:.80}");
    }

    proptest! {
        #[test]
        fn no_template_panics(source in "[{}#/|a-c '.0-9@else ifach]{0,80}") {
            if let Ok(template) = Template::parse(&source) {
                let text = template.render(&json!({"a": [1, {"b": "ü"}], "b": {"c": null}}));
                prop_assert!(text.len() <= MAX_OUTPUT_BYTES + CUT.len());
            }
        }
    }
}
