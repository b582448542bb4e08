//! Values and context with which several test programs load URLs.

use ackpost_notify::{Context, Environment, ServiceUrl};

pub(crate) const KEY: &str = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
pub(crate) const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// No environment, and no look at the permissions of files.
pub(crate) fn context() -> Context {
    Context::default()
        .with_env(Environment::empty())
        .with_check_permissions(false)
}

#[allow(dead_code, reason = "not every test program loads by hand")]
pub(crate) fn service(url: &str) -> ServiceUrl {
    ServiceUrl::parse(url, &context()).unwrap_or_else(|problem| panic!("{problem}"))
}

#[allow(dead_code, reason = "not every test program is refused something")]
pub(crate) fn refusal(url: &str) -> String {
    ServiceUrl::parse(url, &context())
        .expect_err("a refusal")
        .to_string()
}
