//! Any text as URLs: no panic, no secret in a masked form, and what loads prints a URL that loads again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ackpost_notify::{Context, Environment, LoadedUrls, Service};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let context = Context { env: Environment::foreign(), ..Context::default() };
    for service in LoadedUrls::from_text(text, &context).services {
        let again = Service::parse(&service.expose_url(), &context).expect("a printed URL loads");
        let third = Service::parse(&again.expose_url(), &context).expect("and again");
        assert_eq!(again.expose_url(), third.expose_url());
        assert_eq!(again.targets().len(), service.targets().len());
    }
});
