//! Messages that really go out: to a community server, to a server that misbehaves by the name of the room, to Prosody.

mod sogs;
mod xmpp;

use ackpost_notify::dispatch::{Job, Run};
use ackpost_notify::{
    Asset, ConnectionOptions, ConnectionPool, Context, Environment, Message, Report, RunOptions, ServiceUrl,
    prepare,
};

/// Services that are sent to at the same time.
struct List {
    services: Vec<ServiceUrl>,
    rules: RunOptions,
    connections: ConnectionOptions,
}

/// An empty list with default options.
fn new_list() -> List {
    list_over(ConnectionOptions::default())
}

/// An empty list with options for its connections.
fn list_over(connections: ConnectionOptions) -> List {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    List {
        services: Vec::new(),
        rules: RunOptions::default(),
        connections: connections.with_proxies(false),
    }
}

impl List {
    /// Adds a URL, which looks at nothing of this machine.
    fn add(&mut self, url: &str) {
        let context = Context::default().with_env(Environment::empty());
        let service = ServiceUrl::parse(url, &context).unwrap_or_else(|problem| panic!("{problem}"));
        self.services.push(service);
    }

    /// Sends a message over connections of its own.
    async fn notify(&self, message: Message) -> Report {
        let pool = ConnectionPool::new(self.connections.clone(), Asset::default());
        let report = self.notify_with(&pool, message).await;
        pool.close().await;
        report
    }

    async fn notify_with(&self, pool: &ConnectionPool, message: Message) -> Report {
        self.run(&message).send(&self.rules, pool, &message).await
    }

    /// A run that sends to all services at the same time.
    fn run(&self, message: &Message) -> Run {
        let job = |service: &ServiceUrl| Job {
            service: service.clone(),
            tags: Vec::new(),
            prepared: prepare(service, message).expect("a text"),
            retry: service.common().retry,
        };
        Run::new(self.services.iter().map(job).collect())
    }
}

/// Sends a message for one URL, as a program with a single service does.
async fn send(url: &str, message: impl Into<Message>) -> Report {
    let mut list = new_list();
    list.add(url);
    let pool = ConnectionPool::new(list.connections.clone(), Asset::default());
    let report = list.services[0].send_with(&list.rules, &pool, message).await;
    pool.close().await;
    report
}

/// Returns a text that no other test sends.
fn unique(what: &str) -> String {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).expect("randomness");
    format!("{what} {}", hex::encode(random))
}
