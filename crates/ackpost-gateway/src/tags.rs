//! The tag expressions of Apprise API: `a, b` or `a|b` is either, `a b` is both; as JSON a list is either,
//! a list inside a list is both.

use ackpost_apprise::{TagFilter, Wanted};
use serde_json::Value;

use super::reply::Reply;

/// More words than any configuration has; keeps a filter cheap.
const MAX_WORDS: usize = 64;
/// Longest single tag.
const MAX_WORD_CHARS: usize = 64;

/// Reads the text form. Empty text means "no filter was given".
pub(crate) fn parse_text(text: &str) -> Result<Option<TagFilter>, Reply> {
    let mut groups = Vec::new();
    for group in text.split([',', '|', ';']) {
        push_group(&mut groups, group)?;
    }
    Ok(finish(groups))
}

/// Reads the JSON form: text, a list of texts, or a list with lists in it.
pub(crate) fn parse_json(value: &Value) -> Result<Option<TagFilter>, Reply> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => parse_text(text),
        Value::Number(number) => parse_text(&number.to_string()),
        Value::Array(items) => {
            let mut groups = Vec::new();
            for item in items.iter().take(MAX_WORDS + 1) {
                match item {
                    Value::String(text) => {
                        for group in text.split([',', '|', ';']) {
                            push_group(&mut groups, group)?;
                        }
                    }
                    Value::Number(number) => push_group(&mut groups, &number.to_string())?,
                    Value::Array(words) => {
                        let mut all = Vec::new();
                        for word in words.iter().take(MAX_WORDS + 1) {
                            match word {
                                Value::String(text) => all.push(text.clone()),
                                Value::Number(number) => all.push(number.to_string()),
                                _ => return Err(unsupported()),
                            }
                        }
                        push_group(&mut groups, &all.join(" "))?;
                    }
                    _ => return Err(unsupported()),
                }
            }
            Ok(finish(groups))
        }
        _ => Err(unsupported()),
    }
}

fn unsupported() -> Reply {
    Reply::bad_request("the tag expression is not understood")
        .remedy("write words of letters, digits, - and _; a comma means either, a blank means both")
}

fn push_group(groups: &mut Vec<Vec<Wanted>>, text: &str) -> Result<(), Reply> {
    let mut group = Vec::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c == '&' || c == '+')
        .filter(|word| !word.is_empty())
    {
        group.push(wanted(word)?);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    if groups.iter().map(Vec::len).sum::<usize>() > MAX_WORDS {
        return Err(Reply::bad_request("the tag expression has too many words")
            .remedy(format!("use {MAX_WORDS} words at most")));
    }
    Ok(())
}

/// `word`, `2:word`, `word:3`, `2:word:3`.
fn wanted(text: &str) -> Result<Wanted, Reply> {
    let lower = text.to_lowercase();
    let parts: Vec<&str> = lower.split(':').collect();
    let number = |part: &str| part.parse::<u32>().ok();
    let (priority, name, retry) = match *parts.as_slice() {
        [name] => (None, name, None),
        [first, second] => match (number(first), number(second)) {
            (Some(priority), _) => (Some(priority), second, None),
            (None, Some(retry)) => (None, first, Some(retry.min(10))),
            (None, None) => return Err(unsupported()),
        },
        [first, name, last] => match (number(first), number(last)) {
            (Some(priority), Some(retry)) => (Some(priority), name, Some(retry.min(10))),
            _ => return Err(unsupported()),
        },
        _ => return Err(unsupported()),
    };
    let legal = !name.is_empty()
        && name.chars().count() <= MAX_WORD_CHARS
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !legal {
        return Err(unsupported());
    }
    Ok(Wanted {
        name: name.to_owned(),
        priority,
        retry,
    })
}

fn finish(groups: Vec<Vec<Wanted>>) -> Option<TagFilter> {
    (!groups.is_empty()).then_some(TagFilter::AnyOf(groups))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(filter: Option<TagFilter>) -> Vec<Vec<String>> {
        match filter {
            Some(TagFilter::AnyOf(groups)) => groups
                .into_iter()
                .map(|group| group.into_iter().map(|word| word.name).collect())
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn commas_are_or_and_blanks_are_and() {
        let filter = parse_text("DevOps admin, me|ops").expect("legal");
        assert_eq!(words(filter), [vec!["devops", "admin"], vec!["me"], vec!["ops"]]);
    }

    #[test]
    fn json_lists_nest_once() {
        let filter = parse_json(&json!([["a", "b"], "c,d", 5])).expect("legal");
        assert_eq!(words(filter), [vec!["a", "b"], vec!["c"], vec!["d"], vec!["5"]]);
        assert!(parse_json(&json!([[["a"]]])).is_err());
        assert!(parse_json(&json!({"a": 1})).is_err());
    }

    #[test]
    fn an_empty_text_is_not_a_filter() {
        assert_eq!(parse_text(" , ").expect("legal"), None);
        assert_eq!(parse_json(&json!([])).expect("legal"), None);
    }

    #[test]
    fn characters_that_no_tag_has_are_refused() {
        for text in ["a$b", "../x", "a:b", "1:2:x", &"x".repeat(65), &"a ".repeat(65)] {
            assert!(parse_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn priorities_and_retries_are_read() {
        let Some(TagFilter::AnyOf(groups)) = parse_text("2:x:3").expect("legal") else {
            panic!("a filter")
        };
        assert_eq!(
            groups[0][0],
            Wanted {
                name: "x".into(),
                priority: Some(2),
                retry: Some(3)
            }
        );
    }
}
