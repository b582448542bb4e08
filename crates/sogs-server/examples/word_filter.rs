//! A plugin of the community server that decides about posts: `word_filter WORD…` refuses those with one of the words.
//!
//! ```toml
//! [[plugins]]
//! name = "words"
//! command = ["word_filter", "casino", "viagra"]
//! decide = true
//! events = ["none"]
//! ```
//!
//! It reads questions on standard input, one JSON object a line, and answers on standard output.
#![expect(clippy::print_stdout, reason = "standard output is the plugin's voice")]

use std::io::BufRead as _;

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).map(|word| word.to_lowercase()).collect();
    for line in std::io::stdin().lock().lines() {
        if let Some(answer) = answer(&words, &line?) {
            // Standard output is line-buffered: the answer goes out at once.
            println!("{answer}");
        }
    }
    Ok(())
}

/// The answer to a line of the server; events are not answered.
pub(crate) fn answer(words: &[String], line: &str) -> Option<Value> {
    let question: Value = serde_json::from_str(line).ok()?;
    let number = question.get("ask")?;
    let text = question["text"].as_str().unwrap_or_default().to_lowercase();
    let hit = words.iter().find(|word| {
        text.split(|c: char| !c.is_alphanumeric())
            .any(|part| part == **word)
    });
    Some(match hit {
        Some(word) => {
            json!({ "answer": number, "decision": "reject", "text": format!("'{word}' is not a word for this room") })
        }
        None => json!({ "answer": number, "decision": "accept" }),
    })
}
