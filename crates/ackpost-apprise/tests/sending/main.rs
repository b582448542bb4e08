//! Lists that really are sent to, and configurations that really are fetched.

mod fetch;
mod tags;

use ackpost_apprise::{Notifier, Options};
use ackpost_notify::{Context, Environment};

/// A list that looks at nothing of this machine.
fn notifier(mut options: Options) -> Notifier {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    options.connections.proxies = false;
    options.context = Context::default()
        .with_env(Environment::empty())
        .with_check_permissions(false);
    Notifier::with_options(options)
}
