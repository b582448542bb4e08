//! Payloads that programs really sent or that their documentation shows, and the messages made of them.
//!
//! `golden/NAME.json` has headers, payload and the name of a reader (`auto` if it has none), `golden/NAME.txt` the kind, the title, a blank line and the body. After a
//! change: `ACKPOST_UPDATE_GOLDEN=1 cargo test -p ackpost-gateway golden`, then read the difference.

use std::path::Path;

use serde_json::json;

use super::*;

fn headers(value: &Value) -> HeaderMap {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let text = value.as_str().expect("text");
            (
                name.to_ascii_lowercase()
                    .parse::<axum::http::HeaderName>()
                    .expect("a name"),
                text.parse().expect("a value"),
            )
        })
        .collect()
}

#[test]
fn golden_payloads_become_golden_messages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hook/golden");
    let update = std::env::var_os("ACKPOST_UPDATE_GOLDEN").is_some();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        count += 1;
        let file: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
        let reader = file["reader"].as_str().unwrap_or("auto");
        let incoming = Reader::named(reader)
            .expect("a reader")
            .read(&file["payload"], &headers(&file["headers"]))
            .expect("understood");
        let got = format!("{}\n{}\n\n{}\n", incoming.kind, incoming.title, incoming.body);
        let text = path.with_extension("txt");
        if update {
            std::fs::write(&text, &got).expect("written");
        }
        let expected = std::fs::read_to_string(&text).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{}:\n{got}---\n{expected}", path.display()));
        }
        let all = format!("{}{}", incoming.title, incoming.body);
        assert!(
            !all.contains("@example.org"),
            "an e-mail address of a person: {}",
            path.display()
        );
    }
    assert!(count > 40, "{count} payloads");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reader_has_a_name_and_refuses_strangers_with_a_cause() {
    for (name, reader) in NAMES {
        assert_eq!(Reader::named(name), Some(reader));
        let read = reader.read(&json!({"x": 1}), &HeaderMap::new());
        match reader {
            Reader::Json | Reader::Healthchecks | Reader::Watchtower => assert!(read.is_ok(), "{name}"),
            _ => assert_eq!(read.expect_err(name).status().as_u16(), 400, "{name}"),
        }
    }
    assert_eq!(Reader::named("other"), None);
}

#[test]
fn no_shape_makes_a_reader_panic() {
    let values = [
        json!(null),
        json!([]),
        json!("x"),
        json!(1),
        json!({}),
        json!({"a": []}),
        json!([null, {"b": null}]),
    ];
    let members = [
        "alerts",
        "commonLabels",
        "groupLabels",
        "status",
        "eventType",
        "series",
        "episodes",
        "episodeFile",
        "notification_type",
        "heartbeat",
        "monitor",
        "msg",
        "object_kind",
        "object_attributes",
        "project",
        "entries",
        "report",
        "embeds",
        "attachments",
        "blocks",
        "commits",
        "ref",
        "repository",
        "workflow_run",
        "extra",
        "deletedFiles",
        "title",
        "message",
        "severity",
        "fields",
    ];
    for (_, reader) in NAMES {
        for value in &values {
            let _ = reader.read(value, &HeaderMap::new());
            let all: serde_json::Map<_, _> = members
                .iter()
                .map(|name| ((*name).to_owned(), value.clone()))
                .collect();
            let mut all = Value::Object(all);
            let _ = reader.read(&all, &HeaderMap::new());
            for name in ["eventType", "notification_type", "msg", "object_kind", "ref"] {
                all[name] = json!("täst");
            }
            let _ = reader.read(&all, &HeaderMap::new());
        }
    }
}
