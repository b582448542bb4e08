//! Any text as a YAML configuration: no panic, bounded work, every problem has a remedy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ackpost_apprise::{Notifier, Options, Syntax};
use ackpost_notify::{Context, Environment};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let context = Context::default()
.with_env(Environment::foreign());
    let mut list = Notifier::with_options(Options::default()
.with_context(context));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let report = runtime.block_on(list.add_config_text(text, Some(Syntax::Yaml)));
    assert!(report.problems.iter().all(|problem| !problem.remedy.is_empty()));
    assert_eq!(report.services, list.len());
});
