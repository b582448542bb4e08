//! Server, login, sender and recipients that a URL means in Apprise.

use ackpost_notify::{Context, Environment, ServiceUrl, Services};
use serde_json::{Value, json};

use super::address::Person;
use super::{MAIL, Mail};

static SERVICES: Services = Services::new(&[&MAIL]);

/// Cases in which this program reads a URL in another way, and why.
const DIFFERENT: [(&str, &str); 1] = [(
    "settings-046",
    "a URL without a single usable recipient does not load; Apprise fails when it sends",
)];

fn settings(mail: &Mail) -> Value {
    let person = |person: &Person| json!([person.name, person.address]);
    let sorted = |people: &[Person]| {
        let mut all: Vec<Value> = people.iter().map(person).collect();
        all.sort_by_key(|one| one[1].to_string());
        all
    };
    let program = mail.program_name.then(|| "Ackpost".to_owned());
    json!({
        "server": mail.server,
        "port": mail.port,
        "mode": mail.mode.word(),
        "login": mail.login(),
        "from": [mail.from.name.clone().or(program), mail.from.address],
        "to": mail.to.iter().map(person).collect::<Vec<_>>(),
        "cc": sorted(&mail.cc),
        "bcc": sorted(&mail.bcc),
        "reply": sorted(&mail.reply),
    })
}

#[test]
fn urls_mean_what_they_mean_in_apprise() {
    let text = include_str!("../../vectors/settings.jsonl");
    let context = Context::default()
        .with_env(Environment::empty())
        .with_services(SERVICES);
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let (id, url) = (
            line["id"].as_str().expect("an id"),
            line["input"].as_str().expect("a URL"),
        );
        count += 1;
        if DIFFERENT.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let loaded = ServiceUrl::parse(url, &context);
        let mut expected = line["expected"].clone();
        let valid = expected["valid"].as_bool().expect("valid");
        expected.as_object_mut().expect("an object").remove("valid");
        match loaded {
            Ok(service) if valid => {
                let mail = service.downcast::<Mail>().expect("a mail service");
                let ours = settings(mail);
                if ours != expected {
                    wrong.push(format!("{id} {url}\n  ours   {ours}\n  theirs {expected}"));
                }
                // The canonical URL means the same.
                let again = ServiceUrl::parse(&service.expose_url(), &context).expect("the canonical URL");
                let again = settings(again.downcast::<Mail>().expect("a mail service"));
                if again != ours {
                    let canonical = service.expose_url();
                    wrong.push(format!("{id} {url} is not {canonical}\n  {ours}\n  {again}"));
                }
            }
            Err(_) if !valid => {}
            Ok(_) => wrong.push(format!("{id} {url} loads here alone")),
            Err(problem) => wrong.push(format!("{id} {url}: {problem}")),
        }
    }
    assert!(count >= 58, "{count} vectors");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
