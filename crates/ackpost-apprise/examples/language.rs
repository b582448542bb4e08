//! Reads JSON lines and says what the URL language makes of them; or measures itself.
//!
//! `language lines` answers one line per line: `{"url"}` with what loads, `{"url", "title", "body", "input_format"}`
//! with the chunks, `{"config", "syntax"}` with the services, `{"tags", "filter", "failing"}` with the services that are
//! tried and the retry counts of those that fail. `scripts/compare-apprise` feeds it generated input.
//! `language bench FOLDER` prints seconds for the three measurements of `benches/language.py`.

#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackpost_apprise::{EntryBody, LoadedUrls, Notifier, Options, Syntax, TagFilter, parse_tags};
use ackpost_notify::{Context, Environment, Format, Message, ServiceUrl, prepare, prepare_shared};
use serde_json::{Value, json};

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("lines"), None) => lines(),
        (Some("bench"), Some(folder)) => bench(&folder),
        _ => eprintln!("usage: language lines | language bench FOLDER"),
    }
}

fn context() -> Context {
    Context::default()
        .with_env(Environment::empty())
        .with_check_permissions(false)
}

fn lines() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let answer = if line.get("config").is_some() {
            config(&line)
        } else if line.get("body").is_some() {
            chunks(&line)
        } else if line.get("tags").is_some() {
            tried(&line)
        } else {
            urls(&line)
        };
        writeln!(out, "{answer}").expect("standard output");
    }
}

fn urls(line: &Value) -> Value {
    let loaded = LoadedUrls::from_text(line["url"].as_str().unwrap_or_default(), &context());
    let services: Vec<Value> = loaded.services.iter().map(describe).collect();
    json!({"valid": loaded.problems.is_empty(), "services": services, "why": loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()})
}

fn describe(service: &ServiceUrl) -> Value {
    json!({
        "url": service.expose_url(),
        "privacy": service.apprise_masked_url(),
        "url_id": service.url_id(8),
        "host": service.host(),
        "port": service.port(),
        "secure": service.secure(),
    })
}

fn chunks(line: &Value) -> Value {
    let service = match ServiceUrl::parse(line["url"].as_str().unwrap_or_default(), &context()) {
        Ok(service) => service,
        Err(problem) => return json!({"result": problem.to_string(), "chunks": []}),
    };
    let mut message = Message::new(line["body"].as_str().unwrap_or_default())
        .title(line["title"].as_str().unwrap_or_default());
    message.input_format = line["input_format"]
        .as_str()
        .and_then(|word| word.parse::<Format>().ok());
    message.interpret_escapes = line["escapes"].as_bool().unwrap_or_default();
    message.interpret_emojis = line["emojis"].as_bool();
    match prepare(&service, &message) {
        Ok(prepared) => json!({
            "result": "SUCCESS",
            "chunks": prepared.chunks.iter().map(|chunk| json!({"title": chunk.title, "body": chunk.body})).collect::<Vec<_>>(),
        }),
        Err(problem) => json!({"result": problem.to_string(), "chunks": []}),
    }
}

fn config(line: &Value) -> Value {
    let syntax = match line["syntax"].as_str() {
        Some("yaml") => Some(Syntax::Yaml),
        Some("text") => Some(Syntax::Text),
        _ => None,
    };
    let notifier = load(line["config"].as_str().unwrap_or_default(), syntax);
    let services: Vec<Value> = notifier
        .iter()
        .map(|entry| {
            let mut tags: Vec<String> = entry.tags.iter().map(ToString::to_string).collect();
            tags.sort();
            tags.dedup();
            json!({"url": entry.expose_url(), "tags": tags, "template": matches!(entry.body, EntryBody::Template(_))})
        })
        .collect();
    let body_format = notifier.asset().body_format.map(Format::as_str);
    json!({"services": services, "body_format": body_format, "why": notifier.problems().iter().map(ToString::to_string).collect::<Vec<_>>()})
}

/// Returns the services that are tried, in chains and groups, when those in `failing` fail.
fn tried(line: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| line[name].as_array().cloned().unwrap_or_default();
    let filter = TagFilter::from_values(list("filter").iter().map(text));
    let all: Vec<_> = list("tags").iter().map(|tags| parse_tags(&text(tags))).collect();
    let chosen: Vec<usize> = (0..all.len())
        .filter(|index| filter.matches(&all[*index]))
        .collect();
    let tags: Vec<_> = chosen.iter().map(|index| all[*index].as_slice()).collect();
    let failing = list("failing");
    let mut sent = Vec::new();
    for chain in filter.chains(&tags) {
        for group in chain {
            let group: Vec<usize> = group.into_iter().map(|index| chosen[index]).collect();
            let failed = group.iter().any(|index| failing.contains(&json!(index)));
            sent.extend(group);
            if !failed {
                break;
            }
        }
    }
    sent.sort_unstable();
    let retry: Vec<_> = sent
        .iter()
        .filter(|index| failing.contains(&json!(index)))
        .map(|index| filter.retry_override(&all[*index]).unwrap_or(0))
        .collect();
    json!({"sent": sent, "retry": retry})
}

fn load(text: &str, syntax: Option<Syntax>) -> Notifier {
    let mut notifier = Notifier::with_options(Options::default().with_context(context()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(notifier.add_config_text(text, syntax));
    notifier
}

/// Seconds on the clock, and of the processor in this thread.
struct Watch {
    clock: Instant,
    processor: f64,
}

impl Watch {
    fn start() -> Self {
        Self {
            processor: Self::processor(),
            clock: Instant::now(),
        }
    }

    fn processor() -> f64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default().as_secs_f64()
    }

    fn say(&self, count: usize, name: &str) {
        let clock = self.clock.elapsed().as_secs_f64();
        println!("{clock} {} {count} {name}", Self::processor() - self.processor);
    }
}

/// Each measurement is made this often, as it is on the other side; the best counts.
const ROUNDS: usize = 3;

fn bench(folder: &str) {
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).expect("an input file");
    let (urls, yaml, text) = (read("urls.txt"), read("config.yml"), read("long.txt"));
    let context = context();
    for url in urls.lines().take(2) {
        let _ = ServiceUrl::parse(url, &context);
    }
    let url = urls.lines().next().expect("a URL").to_owned() + "?overflow=split";
    let service = ServiceUrl::parse(&url, &context).expect("a service");
    let message = Arc::new(Message::new(text).input_format(Format::Text));
    for _ in 0..ROUNDS {
        let watch = Watch::start();
        let loaded = urls
            .lines()
            .filter(|url| ServiceUrl::parse(url, &context).is_ok())
            .count();
        watch.say(loaded, "urls");
    }
    for _ in 0..ROUNDS {
        let watch = Watch::start();
        let entries = load(&yaml, Some(Syntax::Yaml));
        watch.say(entries.len(), "yaml");
    }
    for _ in 0..ROUNDS {
        let watch = Watch::start();
        let prepared = prepare_shared(&service, &message).expect("a text");
        watch.say(prepared.chunks.len(), "split");
    }
}
