//! Shared parts of the tests of all channels.

#![allow(dead_code, reason = "each test program uses a part of it")]

use ackpost_channels::{FORM, GOTIFY, JSON, MAIL, NTFY};
use ackpost_notify::{
    Asset, Attachment, Attempt, ConnectionOptions, ConnectionPool, Context, Delivery, Environment, Guest,
    Message, MessageId, Outcome, Report, RunOptions, ServiceUrl, Services, prepare,
};
use serde_json::Value;

pub(crate) static SERVICES: Services = Services::new(&[&MAIL, &NTFY, &GOTIFY, &JSON, &FORM]);

pub(crate) fn context() -> Context {
    Context::default()
        .with_env(Environment::empty())
        .with_services(SERVICES)
}

pub(crate) fn guest(private_addresses: bool) -> Context {
    let guest = Guest {
        private_addresses,
        foreign: false,
    };
    Context::default()
        .with_env(Environment::for_guest(guest))
        .with_services(SERVICES)
}

pub(crate) fn connections() -> ConnectionOptions {
    ConnectionOptions::default().with_proxies(false)
}

pub(crate) fn parse(url: &str) -> ServiceUrl {
    ServiceUrl::parse(url, &context()).unwrap_or_else(|problem| panic!("{url}: {problem}"))
}

/// Sends a message as the command line does.
pub(crate) async fn notify(url: &str, message: Message) -> Report {
    let pool = ConnectionPool::new(connections(), Asset::default());
    let report = parse(url).send_with(&RunOptions::default(), &pool, message).await;
    pool.close().await;
    report
}

/// The message of a vector.
pub(crate) fn message(input: &Value) -> Message {
    let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
    let mut message = Message::new(text("body")).title(text("title"));
    if let Some(format) = input["format"].as_str() {
        message = message.input_format(format.parse().expect("a format"));
    }
    if let Some(kind) = input["type"].as_str() {
        message = message.kind(kind.parse().expect("a type"));
    }
    for file in input["files"].as_array().into_iter().flatten() {
        let text = |name: &str| file[name].as_str().expect("a text").to_owned();
        let mut attachment = Attachment::bytes(text("name"), text("text"));
        attachment.media_type = Some(text("type"));
        message = message.attach(attachment);
    }
    message
}

/// Makes one attempt at the first target of a URL.
pub(crate) async fn attempt_of(service: &ServiceUrl, message: Message) -> Attempt {
    attempt_with(service, message, false).await
}

/// The same; `repeat`: an earlier attempt may have arrived.
pub(crate) async fn attempt_with(service: &ServiceUrl, message: Message, repeat: bool) -> Attempt {
    let pool = ConnectionPool::new(connections(), Asset::default());
    let prepared = prepare(service, &message).expect("a message that can be rendered");
    let target = prepared.targets[0].clone();
    let id = MessageId {
        id: "00112233445566778899aabbccddeeff".to_owned(),
        sent_at_ms: 1_795_000_000_000,
    };
    let piece = service.encode(&target, &prepared.chunks[0], &id);
    let mut delivery = Delivery::new(target, vec![piece]);
    delivery.repeat = vec![repeat];
    let mut files = Vec::new();
    for attachment in &message.attachments {
        files.push(attachment.load(&connections()).await.expect("a file"));
    }
    delivery.files = files.into();
    service.deliver(&pool, &delivery).await.remove(0)
}

/// An outcome as one line.
pub(crate) fn line(attempt: &Attempt) -> String {
    let doubt = if attempt.may_have_arrived {
        " [may have arrived]"
    } else {
        ""
    };
    match &attempt.outcome {
        Outcome::Delivered { confirmed_by, id } => {
            format!(
                "delivered by {confirmed_by}, id {}{doubt}",
                id.as_deref().unwrap_or("-")
            )
        }
        other => format!(
            "{}: {}; {}{doubt}",
            other.word(),
            other.reason().unwrap_or_default(),
            other.remedy().unwrap_or_default()
        ),
    }
}
