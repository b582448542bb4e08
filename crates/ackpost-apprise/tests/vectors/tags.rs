//! `tags`: which services a filter tries, in which order, and how often.

use ackpost_apprise::{TagFilter, parse_tags};
use serde_json::{Value, json};

use super::{run, same};

#[test]
fn tags() {
    run("tags", check);
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().expect("a list").iter();
    all.map(|one| one.as_str().expect("a text").to_owned()).collect()
}

fn check(line: &Value) -> Result<(), String> {
    let input = &line["input"];
    let filter = TagFilter::from_values(texts(&input["filter"]));
    let all: Vec<_> = texts(&input["tags"])
        .iter()
        .map(|tags| parse_tags(tags))
        .collect();
    let fails = |index: usize| {
        input["failing"]
            .as_array()
            .expect("a list")
            .contains(&json!(index))
    };
    let chosen: Vec<usize> = (0..all.len())
        .filter(|index| filter.matches(&all[*index]))
        .collect();
    let tags: Vec<_> = chosen.iter().map(|index| all[*index].as_slice()).collect();
    let mut sent = Vec::new();
    for chain in filter.chains(&tags) {
        for group in chain {
            let group: Vec<usize> = group.into_iter().map(|index| chosen[index]).collect();
            let failed = group.iter().any(|index| fails(*index));
            sent.extend(group);
            if !failed {
                break;
            }
        }
    }
    sent.sort_unstable();
    same("services", &json!(sent), &line["expected"]["sent"])?;
    let retries: Vec<u32> = sent
        .iter()
        .filter(|index| fails(**index))
        .map(|index| filter.retry_override(&all[*index]).unwrap_or(0))
        .collect();
    same("retries", &json!(retries), &line["expected"]["retry"])
}
