//! Frequent slips in configuration files, recognised by the text: each has a place, a name and a correction.
//!
//! A grammar that fails names the character at which it gave up, which is often a line too late. No value is repeated:
//! it may be a secret.

use ackpost_notify::Diagnostic;

/// Longest key that a message repeats.
const KEY_CHARS: usize = 32;

/// The slip behind an error of the YAML grammar at this line (from 1). `info` is what the grammar says.
pub(super) fn in_yaml(text: &str, line: u32, info: &str) -> Option<Diagnostic> {
    let lines: Vec<&str> = text.lines().collect();
    let at = usize::try_from(line)
        .ok()?
        .saturating_sub(1)
        .min(lines.len().saturating_sub(1));
    let here = *lines.get(at)?;
    indented_by_tab(&lines, at)
        .or_else(|| quote_left_open(&lines, at, info))
        .or_else(|| url_without_colon(&lines, at))
        .or_else(|| value_that_needs_quotes(here, at))
        .or_else(|| backslash(here, at, info))
        .or_else(|| setting(content(here)).map(|slip| slip.at(None, number(at), None)))
        .or_else(|| key_alone(here, at))
        .or_else(|| bracket_left_open(&lines, at, info))
        .or_else(|| indentation(&lines, at, info))
}

/// The slip in a text that stands where an entry, or a setting of one, is expected.
pub(super) fn in_yaml_text(text: &str) -> Option<Diagnostic> {
    typographic(text).or_else(|| dash(text)).or_else(|| setting(text))
}

/// The slip in a line of a TEXT configuration that is nothing.
pub(super) fn in_text(line: &str) -> Option<Diagnostic> {
    let slip = |cause: &str, remedy: &str| Some(Diagnostic::error(cause, remedy));
    let word = key_of(line, ':').map(|(key, _)| key);
    if let Some(found) = typographic(line) {
        return Some(found);
    }
    if line.starts_with(['"', '\'']) && line.contains("://") {
        return slip("the URL is in quotes", "remove the quotes: this format has none");
    }
    if line.starts_with("//") {
        return slip("the line begins with `//`", "a comment begins with `#`");
    }
    if matches!(
        word,
        Some("urls" | "url" | "version" | "include" | "groups" | "asset")
    ) || line.starts_with('-') && line.contains("://")
    {
        return slip(
            "the line is YAML, and the file is read as TEXT",
            "name the file *.yaml, or write each URL on its own line without `-` and settings",
        );
    }
    if let Some((before, after)) = line.split_once(": ")
        && after.contains("://")
        && before.bytes().all(is_tag_byte)
    {
        return slip(
            "a `:` is between the tags and the URL",
            "write a `=` between them: tags=URL",
        );
    }
    if let Some((before, after)) = line.split_once(char::is_whitespace)
        && before
            .split_once('=')
            .is_some_and(|(key, _)| matches!(key, "tag" | "tags"))
        && after.contains("://")
    {
        return slip(
            "`tag=` is in front of the URL",
            "write the tags alone: tags=URL, for example ops,night=xmpp://…",
        );
    }
    if let Some((_, url)) = line.split_once('=').or(Some(("", line)))
        && let Some((schema, _)) = url.trim().split_once("//")
        && (1..=KEY_CHARS).contains(&schema.len())
        && schema.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return slip("the URL has no `:` behind its schema", "write schema://…");
    }
    let first = line.split(char::is_whitespace).next().unwrap_or_default();
    if matches!(
        first.to_ascii_lowercase().as_str(),
        "includes" | "import" | "source"
    ) {
        return slip(
            "the line names another file by a word that is unknown here",
            "write: include PATH",
        );
    }
    None
}

fn number(at: usize) -> Option<u32> {
    u32::try_from(at + 1).ok()
}

fn found(cause: impl Into<String>, remedy: impl Into<String>, at: usize) -> Diagnostic {
    Diagnostic::error(cause, remedy).at(None, number(at), None)
}

/// A line without its indentation and the dashes of lists.
fn content(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start();
    }
    rest.trim_end()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-, \t".contains(&byte)
}

/// A key and the text behind the mark that follows it.
fn key_of(text: &str, mark: char) -> Option<(&str, &str)> {
    let (key, rest) = text.split_once(mark)?;
    let key = key.trim_end();
    let is_key = (1..=KEY_CHARS).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    is_key.then_some((key, rest))
}

fn indented_by_tab(lines: &[&str], at: usize) -> Option<Diagnostic> {
    let has_tab = |line: &&str| line[..indent(line)].contains('\t');
    let first = lines[..=at].iter().position(has_tab)?;
    Some(found(
        "a tab indents this line, and YAML takes spaces only",
        "replace each tab by two spaces",
        first,
    ))
}

/// Settings below a URL that has no colon at its end.
fn url_without_colon(lines: &[&str], at: usize) -> Option<Diagnostic> {
    key_of(content(lines[at]), ':')?;
    let deep = indent(lines[at]);
    let before = lines[..at]
        .iter()
        .rposition(|line| !is_blank(line) && indent(line) < deep)?;
    let url = content(lines[before]);
    let (schema, _) = url.split_once("://")?;
    if url.ends_with(':') || !schema.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(found(
        "settings follow this URL, and it has no colon at its end",
        format!("put a colon behind the URL: `- {schema}://…:`"),
        before,
    ))
}

/// A value that YAML reads as something else than text.
fn value_that_needs_quotes(line: &str, at: usize) -> Option<Diagnostic> {
    let (key, value) = key_of(content(line), ':')?;
    let value = value.strip_prefix(' ')?.trim_start();
    if value.starts_with(['"', '\'']) {
        return None;
    }
    let why = if value.starts_with(['@', '`', '*', '&', '!', '%', '|', '>']) {
        format!("begins with `{}`", &value[..1])
    } else if value.contains(": ") || value.ends_with(':') {
        "holds a `:`".to_owned()
    } else {
        return None;
    };
    Some(found(
        format!("the value of `{key}` {why}, which has a meaning in YAML"),
        format!("put the value in quotes: `{key}: \"…\"`"),
        at,
    ))
}

fn quote_left_open(lines: &[&str], at: usize, info: &str) -> Option<Diagnostic> {
    if !info.contains("quoted scalar") || info.contains("escape") {
        return None;
    }
    let opens = |line: &&str| {
        let text = content(line);
        let value = key_of(text, ':').map_or(text, |(_, value)| value.trim_start());
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        (value.matches(quote).count() % 2 == 1).then_some(())
    };
    let first = lines[..=at].iter().rposition(|line| opens(line).is_some())?;
    Some(found(
        "a quote opens in this line and does not close",
        "close it, or remove it",
        first,
    ))
}

fn backslash(line: &str, at: usize, info: &str) -> Option<Diagnostic> {
    (info.contains("escape") && line.contains('\\')).then(|| {
        found(
            "a backslash in double quotes has a meaning in YAML",
            "use single quotes, or write each backslash twice",
            at,
        )
    })
}

/// `key = value`, or `key:value`.
fn setting(text: &str) -> Option<Diagnostic> {
    if text.contains("://") && !text.contains(" = ") {
        return None;
    }
    if let Some((key, _)) = key_of(text, '=') {
        return Some(Diagnostic::error(
            format!("a `=` follows `{key}`, and YAML takes a colon"),
            format!("write `{key}: …` on a line of its own"),
        ));
    }
    let (key, value) = key_of(text, ':')?;
    (!value.is_empty() && !value.starts_with(' ')).then(|| {
        Diagnostic::error(
            format!("there is no space behind the colon of `{key}`"),
            format!("write `{key}: …` on a line of its own"),
        )
    })
}

fn key_alone(line: &str, at: usize) -> Option<Diagnostic> {
    let word = content(line);
    let is_key = matches!(
        word,
        "urls" | "url" | "version" | "include" | "groups" | "asset" | "tag" | "tags" | "to" | "format"
    );
    is_key.then(|| {
        found(
            format!("there is no colon behind `{word}`"),
            format!("write `{word}:`"),
            at,
        )
    })
}

fn bracket_left_open(lines: &[&str], at: usize, info: &str) -> Option<Diagnostic> {
    if !info.contains("unclosed bracket") && !info.contains("flow") {
        return None;
    }
    let opens = |line: &&str| {
        !is_blank(line)
            && (line.contains('[') && !line.contains(']') || line.contains('{') && !line.contains('}'))
    };
    let first = lines[..=at].iter().rposition(opens)?;
    Some(found(
        "a bracket opens in this line and does not close",
        "close it, or put the value in quotes if the bracket is part of it",
        first,
    ))
}

fn indentation(lines: &[&str], at: usize, info: &str) -> Option<Diagnostic> {
    if !info.contains("did not find expected") && !info.contains("indentation") {
        return None;
    }
    let deep = indent(lines[at]);
    let before = lines[..at].iter().rposition(|line| !is_blank(line))?;
    (indent(lines[before]) != deep).then(|| {
        found(
            "the indentation of this line fits no line above it",
            "align it with the lines that it belongs to",
            at,
        )
    })
}

fn typographic(text: &str) -> Option<Diagnostic> {
    if text.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']) {
        return Some(Diagnostic::error(
            "typographic quotes are around the text",
            "replace them by \" or ', or remove them",
        ));
    }
    text.contains('\u{a0}').then(|| {
        Diagnostic::error(
            "the text holds a no-break space, which looks like a space",
            "write the line again with plain spaces",
        )
    })
}

/// `-xmpp://…`: an item of a list needs a space behind its dash.
fn dash(text: &str) -> Option<Diagnostic> {
    let rest = text.strip_prefix('-')?;
    (rest.contains("://") || key_of(rest, ':').is_some()).then(|| {
        Diagnostic::error(
            "there is no space behind the dash",
            "write `- ` in front of each entry of the list",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Diagnostic {
        match crate::config::tree::read(text) {
            Err(problem) => problem,
            Ok(_) => panic!("this is YAML: {text}"),
        }
    }

    /// What is written, the line of the slip, and words of its cause and its correction. URL stands for a URL with a password.
    const YAML: [(&str, u32, &str, &str); 12] = [
        (
            "urls:\n  - URL\n    tag: ops\n",
            2,
            "no colon at its end",
            "`- xmpp://…:`",
        ),
        (
            "urls:\n  - URL\n    - tag: ops\n",
            2,
            "no colon at its end",
            "`- xmpp://…:`",
        ),
        (
            "urls:\n  - URL\n    # who\n\n    tag: ops\n",
            2,
            "no colon at its end",
            "`- xmpp://…:`",
        ),
        ("urls:\n\t- URL\n", 2, "a tab indents", "two spaces"),
        (
            "urls:\n  - URL:\n      nick: Backup: night\n",
            3,
            "`nick` holds a `:`",
            "`nick: \"…\"`",
        ),
        (
            "urls:\n  - URL:\n      nick: @ops\n",
            3,
            "`nick` begins with `@`",
            "`nick: \"…\"`",
        ),
        (
            "urls:\n  - URL:\n      nick: *ops\n",
            3,
            "`nick` begins with `*`",
            "`nick: \"…\"`",
        ),
        ("urls:\n  - \"URL\n  - URL\n", 2, "does not close", "close it"),
        (
            "urls:\n  - URL:\n      ca_file: \"C:\\certs\"\n",
            3,
            "a backslash",
            "single quotes",
        ),
        (
            "version: 1\nurls\n  - URL\n",
            2,
            "no colon behind `urls`",
            "`urls:`",
        ),
        (
            "urls:\n  - URL:\n      tag: [ops\n",
            3,
            "a bracket opens",
            "close it",
        ),
        (
            "urls:\n  - URL:\n    - tag: ops\n   to: x\n",
            4,
            "the indentation",
            "align it",
        ),
    ];

    #[test]
    fn slips_of_yaml_are_named_with_their_line_and_correction() {
        for (text, line, cause, remedy) in YAML {
            let text = text.replace("URL", "xmpp://user:hunter2@host/jane");
            let problem = yaml(&text);
            let said = problem.to_string();
            assert!(said.contains(cause) && said.contains(remedy), "{text}\n{said}");
            assert_eq!(problem.line, Some(line), "{text}\n{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let other = yaml("urls: [}\n").to_string();
        assert!(
            other.contains("this is not YAML"),
            "another fault keeps the words of the grammar: {other}"
        );
    }

    #[test]
    fn slips_of_text_are_named_with_their_correction() {
        for (line, cause) in [
            ("ops: xmpp://u:hunter2@host", "a `:` is between"),
            ("\"xmpp://u:hunter2@host\"", "in quotes"),
            ("\u{201c}xmpp://u:hunter2@host\u{201d}", "typographic quotes"),
            ("// a comment", "begins with `//`"),
            ("urls:", "the line is YAML"),
            ("- xmpp://u:hunter2@host", "the line is YAML"),
            ("tag=ops xmpp://u:hunter2@host", "`tag=` is in front"),
            ("ops=xmpp//u:hunter2@host", "no `:` behind its schema"),
            ("includes /etc/more.conf", "another file"),
        ] {
            let said = in_text(line).unwrap_or_else(|| panic!("{line}")).to_string();
            assert!(
                said.contains(cause) && !said.contains("hunter2"),
                "{line}: {said}"
            );
        }
        for line in ["hello, world!", "a b c ?", ""] {
            assert!(in_text(line).is_none(), "{line}");
        }
    }

    #[test]
    fn slips_of_entries_are_named_with_their_correction() {
        for (text, cause) in [
            ("tag = ops", "a `=` follows `tag`"),
            ("tag:ops", "no space behind the colon of `tag`"),
            ("-xmpp://u:hunter2@host", "no space behind the dash"),
            ("\u{201c}xmpp://u:hunter2@host\u{201d}", "typographic quotes"),
        ] {
            let said = in_yaml_text(text).unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(
                said.contains(cause) && !said.contains("hunter2"),
                "{text}: {said}"
            );
        }
        for text in ["ops", "", "a comment"] {
            assert!(in_yaml_text(text).is_none(), "{text}");
        }
    }
}
