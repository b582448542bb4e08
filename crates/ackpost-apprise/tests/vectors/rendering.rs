//! `format`, `overflow` and `emoji`.

use ackpost_notify::{Context, Format, Message, Prepared, ServiceUrl, prepare};
use serde_json::{Value, json};

use super::{context, run, same};

#[test]
fn format() {
    run("format", check);
}

#[test]
fn overflow() {
    run("overflow", check);
}

#[test]
fn emoji() {
    run("emoji", |line| {
        let ours = ackpost_notify::render::emojis(line["input"]["text"].as_str().expect("a text"));
        same(
            "text",
            &ours,
            &line["expected"]["text"].as_str().expect("a text").to_owned(),
        )
    });
}

pub(crate) fn prepared(line: &Value) -> Result<Prepared, String> {
    let input = &line["input"];
    let context: Context = context();
    let service = ServiceUrl::parse(input["url"].as_str().expect("a URL"), &context)
        .map_err(|problem| problem.to_string())?;
    let mut message = Message::new(input["body"].as_str().expect("a body"))
        .title(input["title"].as_str().unwrap_or_default());
    message.input_format = input["input_format"]
        .as_str()
        .map(|word| word.parse::<Format>().expect("a format"));
    message.interpret_escapes = input["escapes"].as_bool().unwrap_or_default();
    message.interpret_emojis = input["emojis"].as_bool();
    prepare(&service, &message).map_err(|problem| problem.to_string())
}

pub(crate) fn check(line: &Value) -> Result<(), String> {
    let expected = &line["expected"];
    let ours = prepared(line);
    if expected["result"] != "SUCCESS" {
        return match ours {
            Err(_) => Ok(()),
            Ok(prepared) => Err(format!(
                "{} expected, got {:?}",
                expected["result"], prepared.chunks
            )),
        };
    }
    let ours = ours?;
    let chunks: Vec<Value> = ours
        .chunks
        .iter()
        .map(|chunk| json!({"title": chunk.title, "body": chunk.body}))
        .collect();
    let theirs = expected["chunks"].as_array().expect("chunks");
    same("number of chunks", &chunks.len(), &theirs.len())?;
    for (n, (ours, theirs)) in chunks.iter().zip(theirs).enumerate() {
        same(&format!("chunk {n}"), ours, theirs)?;
    }
    Ok(())
}
