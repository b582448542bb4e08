//! Templates in the language of Jinja, by minijinja, within limits of size, depth, steps and output.
//!
//! Only `for`, `if` and `raw` are allowed: nothing that stores a value, so that no template doubles a text again and
//! again. Filters are the usual ones; those that could make a long text out of a short one are bounded.

use std::io::{self, Write};

use minijinja::value::{Rest, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, filters, tests,
};

use super::shortened;

/// Maximum size of the output, bytes.
const MAX_OUTPUT_BYTES: usize = 32 << 10;
/// Maximum number of instructions of one rendering.
const FUEL: u64 = 100_000;
/// Maximum recursion depth of a loop.
const MAX_RECURSION: usize = 16;
/// Maximum nesting depth of blocks.
const MAX_DEPTH: usize = 16;
/// The tags that are allowed.
const TAGS: [&str; 8] = ["for", "endfor", "if", "elif", "else", "endif", "raw", "endraw"];
/// The filters that are allowed.
const FILTERS: [&str; 36] = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "first",
    "last",
    "items",
    "dictsort",
    "sort",
    "reverse",
    "unique",
    "list",
    "int",
    "float",
    "round",
    "abs",
    "min",
    "max",
    "sum",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "map",
    "split",
    "lines",
    "join",
    "replace",
    "truncate",
    "length",
    "count",
    "default",
    "d",
    "tojson",
    "json",
];
/// Marks the end of an output that was cut.
const CUT: &str = "… (cut: the result of the template is too long)";

/// Returns the reason why a template cannot be used, if there is one.
pub(super) fn problem(source: &str) -> Option<String> {
    let mut depth = 0_usize;
    for piece in source.split("{%").skip(1) {
        let tag = piece.trim_start_matches(['-', '+']).trim_start();
        let word: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        if !TAGS.contains(&word.as_str()) {
            return Some(format!("`{{% {word} %}}` is not allowed; use for, if and raw"));
        }
        match word.as_str() {
            "for" | "if" => depth += 1,
            word if word.starts_with("end") => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(format!("more than {MAX_DEPTH} blocks inside one another"));
        }
    }
    let environment = environment();
    // Functions are looked for when the language comes to them: the data is empty here.
    let tried = environment
        .template_from_named_str("template", source)
        .and_then(|template| template.render(Value::from_pairs(std::iter::empty::<(String, Value)>())));
    if let Err(error) = tried
        && matches!(
            error.kind(),
            ErrorKind::SyntaxError
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFilter
        )
    {
        return Some(told(&error));
    }
    // The language looks for a filter when it comes to it.
    let unknown = filters_of(source).find(|name| !FILTERS.contains(&name.as_str()));
    unknown.map(|name| format!("unknown filter `{name}`; known are {}", FILTERS.join(", ")))
}

/// The names behind `|` in expressions and tags, outside of texts in quotes.
fn filters_of(source: &str) -> impl Iterator<Item = String> {
    let mut bare = String::new();
    for piece in source
        .split("{{")
        .skip(1)
        .flat_map(|piece| piece.split("{%"))
        .chain(source.split("{%").skip(1))
    {
        let inside = piece.split("}}").next().unwrap_or_default();
        let inside = inside.split("%}").next().unwrap_or_default();
        let mut quote = None;
        for letter in inside.chars() {
            match (quote, letter) {
                (None, '"' | '\'') => quote = Some(letter),
                (Some(open), letter) if open == letter => quote = None,
                (None, letter) => bare.push(letter),
                _ => {}
            }
        }
        bare.push(' ');
    }
    let names: Vec<String> = bare
        .split('|')
        .skip(1)
        .map(|rest| {
            rest.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect();
    names.into_iter()
}

/// Renders a template. An output that is too long, or a template that fails on the way, ends with a sign that says so.
pub(super) fn render(source: &str, value: &serde_json::Value) -> String {
    let environment = environment();
    let mut out = Bounded(Vec::new());
    let rendered = environment
        .template_from_named_str("template", source)
        .and_then(|template| template.render_captured_to(context(value), &mut out).map(drop));
    let full = out.0.len() >= MAX_OUTPUT_BYTES;
    let mut text = match String::from_utf8(out.0) {
        Ok(text) => text,
        Err(error) => {
            // Cut inside of a character.
            let end = error.utf8_error().valid_up_to();
            String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned()
        }
    };
    match rendered {
        Ok(()) if !full => {}
        Err(error) if !full && error.kind() != ErrorKind::OutOfFuel => {
            text.push_str(&format!("… (cut: the template failed: {})", told(&error)));
        }
        _ => text.push_str(CUT),
    }
    text
}

/// The problem, with the line, without pieces of the data.
fn told(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let what: String = what.chars().take(200).collect();
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(write_value);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("trim", filters::trim);
    for name in ["length", "count"] {
        environment.add_filter(name, filters::length);
    }
    for name in ["default", "d"] {
        environment.add_filter(name, filters::default);
    }
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("items", filters::items);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("list", filters::list);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_filter("min", filters::min);
    environment.add_filter("max", filters::max);
    environment.add_filter("sum", filters::sum);
    environment.add_filter("select", filters::select);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("map", filters::map);
    environment.add_filter("split", filters::split);
    environment.add_filter("lines", filters::lines);
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("truncate", truncate);
    for name in ["tojson", "json"] {
        environment.add_filter(name, |value: &Value| json(value));
    }
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("mapping", tests::is_mapping);
    for name in ["eq", "equalto"] {
        environment.add_test(name, tests::is_eq);
    }
    environment.add_test("in", tests::is_in);
    environment
}

/// Writes nothing for a missing value and JSON for a list or an object.
fn write_value(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(()),
        // As in JSON.
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => out.write_str(&json(value)?),
        _ => write!(out, "{value}"),
    };
    written.map_err(Error::from)
}

fn json(value: &Value) -> Result<String, Error> {
    let mut out = Bounded(Vec::new());
    serde_json::to_writer(&mut out, value).map_err(|_| too_long())?;
    String::from_utf8(out.0).map_err(|_| too_long())
}

fn too_long() -> Error {
    Error::new(ErrorKind::OutOfFuel, "the text is too long")
}

/// Returns the text unless it is longer than an output may be.
fn bounded(text: String) -> Result<String, Error> {
    if text.len() > MAX_OUTPUT_BYTES {
        Err(too_long())
    } else {
        Ok(text)
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(
        || {
            if value.is_none() || value.is_undefined() {
                String::new()
            } else {
                value.to_string()
            }
        },
        str::to_owned,
    )
}

fn join(value: &Value, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut out = String::new();
    for (number, item) in value.try_iter()?.enumerate() {
        if number > 0 {
            out.push_str(&between);
        }
        out.push_str(&text_of(&item));
        if out.len() > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
    }
    Ok(out)
}

fn replace(value: &Value, from: &str, to: &str) -> Result<String, Error> {
    let text = text_of(value);
    let times = if from.is_empty() {
        text.len() + 1
    } else {
        text.matches(from).count()
    };
    if text.len().saturating_add(times.saturating_mul(to.len())) > MAX_OUTPUT_BYTES {
        return Err(too_long());
    }
    bounded(text.replace(from, to))
}

/// `truncate(80)`: the first characters, with a sign if there are more.
fn truncate(value: &Value, length: Option<usize>, _more: Rest<Value>) -> String {
    let (text, length) = (text_of(value), length.unwrap_or(255));
    match text.char_indices().nth(length.saturating_sub(1)) {
        Some((end, _)) if text.chars().nth(length).is_some() => format!("{}…", &text[..end]),
        _ => text,
    }
}

/// Returns the data of a template; texts longer than an output are cut with a sign.
fn context(value: &serde_json::Value) -> Value {
    let value = shortened::copy(value, MAX_OUTPUT_BYTES, CUT);
    Value::from(minijinja::value::Serde(&value))
}

/// Accepts this number of bytes and refuses the rest.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = MAX_OUTPUT_BYTES.saturating_sub(self.0.len());
        if left == 0 && !bytes.is_empty() {
            return Err(io::Error::other("the output is too long"));
        }
        let taken = bytes.len().min(left);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    #[test]
    fn jinja_as_people_know_it() {
        let value = json!({
            "name": "ackpost", "n": 3, "ok": true, "none": null, "labels": {"odd name": "x", "a": "b"},
            "items": [{"id": "a", "n": 1}, {"id": "b", "n": 2}], "words": ["one", "two"], "amp": "a & <b>"
        });
        for (template, expected) in [
            (
                "{{ name }} {{ n + 1 }} {{ ok }}{{ none }}{{ missing.deep }}",
                "ackpost 4 true",
            ),
            (
                "{% for item in items %}{{ loop.index }}={{ item.id }};{% endfor %}",
                "1=a;2=b;",
            ),
            ("{%- if ok and n > 2 -%} yes {%- else -%} no {%- endif -%}", "yes"),
            (
                "{{ words | join(', ') | upper }} {{ name | truncate(4) }}",
                "ONE, TWO ack…",
            ),
            (
                "{{ missing | default('none') }} {{ labels['odd name'] }} {{ amp }}",
                "none x a & <b>",
            ),
            (
                "{{ items | selectattr('n', 'eq', 2) | map(attribute='id') | join }}",
                "b",
            ),
            (
                "{{ labels | tojson }} {{ words }}",
                "{\"odd name\":\"x\",\"a\":\"b\"} [\"one\",\"two\"]",
            ),
            (
                "{% for key, value in labels | items %}{{ key }}:{{ value }} {% endfor %}",
                "odd name:x a:b ",
            ),
            (
                "{{ name | replace('ack', 'n') }} {{ 'x' if ok else 'y' }}",
                "npost x",
            ),
        ] {
            assert_eq!(problem(template), None, "{template}");
            assert_eq!(render(template, &value), expected, "{template}");
        }
    }

    #[test]
    fn harmful_templates_are_refused_when_they_are_read() {
        for bad in [
            "{% set a = 1 %}",
            "{% macro a() %}{% endmacro %}",
            "{% include 'x' %}",
            "{%- import 'x' as y -%}",
            "{% filter upper %}{% endfilter %}",
            "{% with a = 1 %}{% endwith %}",
            "{{ a | evil }}",
            "{% if false %}{{ a | upper | evil }}{% endif %}",
            "{{ a }}{{",
            "{% for a in b %}",
            &"{% if a %}".repeat(40),
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn bombs_are_cut_and_say_so() {
        let list: Vec<_> = (0..2_000)
            .map(|n| json!({"text": "x".repeat(100), "n": n}))
            .collect();
        let value = json!({"a": list, "s": "y".repeat(1 << 20), "u": "ü".repeat(40_000)});
        let loops = "{% for a in a %}{% for b in a %}{% for c in a %}x{% endfor %}{% endfor %}{% endfor %}";
        let silent = "{% for x in a %}{% for y in a %}{% for z in a %}{% endfor %}{% endfor %}{% endfor %}";
        let replaced = "{{ s | replace('y', s) | replace('y', s) }}";
        let joined = "{{ a | map(attribute='text') | join(s) }}";
        let added = format!("{{{{ {} }}}}", vec!["s"; 500].join(" ~ "));
        let repeated = "{{ s * 100000000 }}";
        let began = Instant::now();
        for bomb in [
            loops,
            silent,
            replaced,
            joined,
            &added,
            repeated,
            "{{ s }}{{ u }}",
            "{{ a }}{{ a }}",
        ] {
            let text = render(bomb, &value);
            assert!(text.len() <= MAX_OUTPUT_BYTES + 300, "{bomb:.60}: {}", text.len());
            if bomb != loops {
                assert!(
                    text.ends_with(CUT) || text.ends_with(')'),
                    "{bomb:.60}: {text:.80}"
                );
            }
        }
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }
}
