//! A real Alertmanager: Debian's package, on a free port of 127.0.0.1.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::guard::Guard;

/// A running Alertmanager. It groups by `alertname` and `instance`, and posts alerts to a webhook at once.
#[derive(Debug)]
pub struct Alertmanager {
    url: String,
    _guard: Guard,
}

impl Alertmanager {
    /// Starts one that posts its alerts to this address.
    pub fn start(webhook: &str) -> Self {
        let env = vec![("WEBHOOK".to_owned(), webhook.to_owned())];
        let (guard, answers) = Guard::start("start-alertmanager.sh", env, None);
        Self {
            url: answers["ALERTMANAGER_URL"].clone(),
            _guard: guard,
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Raises an alert with these labels for an hour, as Prometheus does.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn raise(&self, labels: &[(&str, &str)]) {
        self.post(labels, "");
    }

    /// Ends an alert at a time, in the form of RFC 3339.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn end(&self, labels: &[(&str, &str)], at: &str) {
        self.post(labels, &format!(r#","endsAt":{at:?}"#));
    }

    fn post(&self, labels: &[(&str, &str)], more: &str) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name:?}:{value:?}"))
            .collect();
        let body = format!(
            r#"[{{"labels":{{{}}},"annotations":{{"summary":"a test"}}{more}}}]"#,
            labels.join(",")
        );
        let answer = self.request("POST", "/api/v2/alerts", &body);
        assert!(
            answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"),
            "{answer}"
        );
    }

    /// The body of the answer to a request for this path.
    pub fn get(&self, path: &str) -> String {
        let answer = self.request("GET", path, "");
        answer
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
            .to_owned()
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let place = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(place).expect("the server listens");
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {place}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the request is written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}
