//! Messages that really go out: to a community server, to a server that misbehaves by the name of the room, to Prosody.

mod fetch;
mod sogs;
mod xmpp;

use ackpost_notify::{ConnectionOptions, Context, Environment, Notifier, Options};

/// A list that looks at nothing of this machine.
fn notifier(options: Options) -> Notifier {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Notifier::with_options(Options {
        context: Context {
            env: Environment::empty(),
            check_permissions: false,
            ..Context::default()
        },
        courier: ConnectionOptions {
            proxies: false,
            ..options.courier.clone()
        },
        ..options
    })
}

/// A text nobody else sends.
fn unique(what: &str) -> String {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).expect("randomness");
    format!("{what} {}", hex::encode(random))
}
