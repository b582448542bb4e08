//! An HTTP proxy that answers in place of every host, so that a program with fixed addresses reaches a fake.

use std::sync::Arc;

use crate::authority::Authority;
use crate::fake_http::{FakeHttp, HttpAnswer, HttpSeen};

/// The proxy, on 127.0.0.1. A client must be given its address and its certificate authority.
#[derive(Debug)]
pub struct FakeProxy {
    http: FakeHttp,
    /// The certificate authority, PEM.
    pub ca_pem: String,
}

impl FakeProxy {
    /// Starts the proxy; `rule` gives the answer to each request of each host.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(rule: impl Fn(&HttpSeen) -> HttpAnswer + Send + Sync + 'static) -> Self {
        let (authority, ca_pem) = Authority::new();
        let http = FakeHttp::start_as(Some(Arc::new(authority)), rule);
        Self { http, ca_pem }
    }

    /// `http://` and its place, as the variable `https_proxy` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.http.place())
    }

    /// Forgets the requests so far, and returns them.
    pub fn take(&self) -> Vec<HttpSeen> {
        self.http.take()
    }
}
