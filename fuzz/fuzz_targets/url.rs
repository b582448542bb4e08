//! Any text as URLs: no panic, no secret in a masked form, and what loads prints a URL that loads again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ackpost_apprise::LoadedUrls;
use ackpost_notify::service::{SOGS, XMPP};
use ackpost_notify::{Context, Environment, ServiceUrl, Services};
use ackpost_sessiondm::SESSIONDM;

static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &SESSIONDM]);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let context = Context::default().with_services(SERVICES).with_env(Environment::foreign());
    for service in LoadedUrls::from_text(text, &context).services {
        let again = ServiceUrl::parse(&service.expose_url(), &context).expect("a printed URL loads");
        let third = ServiceUrl::parse(&again.expose_url(), &context).expect("and again");
        assert_eq!(again.expose_url(), third.expose_url());
        assert_eq!(again.targets().len(), service.targets().len());
    }
});
