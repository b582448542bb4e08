//! Properties that hold for any URLs, configuration and template.

mod common;

use ackpost_apprise::{LoadedUrls, Notifier, Options, Syntax, split_urls};
use ackpost_notify::Environment;
use proptest::prelude::*;

use common::{KEY, SEED, context};

/// Texts made of what means something in a URL.
fn urlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("xmpps://".to_owned()),
        Just("sogs://".to_owned()),
        Just(format!("{KEY}:{SEED}@")),
        Just("user:pa%3Ass@".to_owned()),
        Just("example.org".to_owned()),
        Just("[::1]".to_owned()),
        Just("?to=".to_owned()),
        Just("&retry=2".to_owned()),
        Just("%23room".to_owned()),
        Just("{env:X}".to_owned()),
        "[/;,&=?#%:@ a-z0-9\\[\\]-]{0,6}",
        "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_url_panics_and_no_message_shows_the_secret(text in urlish()) {
        let loaded = LoadedUrls::from_text(&text, &context());
        for problem in &loaded.problems {
            prop_assert!(!problem.to_string().contains(SEED), "{problem}");
        }
        for service in &loaded.services {
            prop_assert!(!service.masked_url().contains(SEED));
            if service.name() == "sogs" {
                prop_assert!(service.masked_url().contains(":****@"));
            }
            let shown = format!("{service:?}");
            prop_assert!(!shown.contains(SEED));
            for warning in service.warnings() {
                prop_assert!(!warning.to_string().contains(SEED), "{warning}");
            }
        }
        let pieces: usize = split_urls(&text).iter().map(|piece| piece.len()).sum();
        prop_assert!(pieces <= text.len());
    }

    /// Values of a template are filled in or refused, whatever they are, and nothing is shown of a password.
    #[test]
    fn no_value_of_a_template_panics(value in "\\PC{0,40}", place in 0_usize..6) {
        let url = ["xmpps://u:${X}@h.org", "xmpps://${X}@h.org/a", "xmpps://${X}/a", "xmpps://u:p@h.org/${X}/#${X}", "xmpps://u:p@h.org?to=${X}&name=${X}", "sogs://${X}:${X}@h.org/${X}"][place];
        let mut list = Notifier::with_options(Options::default()
.with_context(context()));
        let text = format!("template: [X]\nurls:\n - \"{url}\"\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(list.add_config_text(&text, Some(Syntax::Yaml)));
        let values = ackpost_apprise::Values::new([("X", value.clone())], &Environment::empty());
        let entry = list.iter().next().expect("an entry");
        if let Ok(service) = entry.resolve(&values)
            && place == 0
            && value.trim().chars().count() > 6
        {
            prop_assert!(!service.masked_url().contains(value.trim()));
        }
    }

    #[test]
    fn no_configuration_panics(text in "(urls:|tag: |groups:|include |template:|asset:|- |\\n|  |xmpps://u:p@h.org|: |&a|\\*a|<<: |[a-z=,:\\[\\]{}\"'#!%@|>-]{0,4}){0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for syntax in [Some(Syntax::Text), Some(Syntax::Yaml), None] {
            let mut list = Notifier::with_options(Options::default()
.with_context(context()
.with_env(Environment::foreign())));
            let report = runtime.block_on(list.add_config_text(&text, syntax));
            prop_assert_eq!(report.services, list.len());
        }
    }
}

/// Run time grows with the text, not with its square; otherwise this text would take minutes.
#[test]
fn a_hostile_list_of_urls_takes_no_time() {
    let _ = split_urls(&"a://".repeat(50_000));
}
