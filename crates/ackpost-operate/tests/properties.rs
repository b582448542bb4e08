//! Gestures and alerts stay within their bounds for any input of people and programs.

use std::time::Duration;

use ackpost_operate::model::alert::{Alert, SourceKind};
use ackpost_operate::model::gesture::{Command, Form, Gesture, parse};
use proptest::prelude::*;
use serde_json::json;

/// Texts that look like gestures more often than chance would have it.
fn body() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("ack".to_owned()),
        Just("!silence".to_owned()),
        Just("silence".to_owned()),
        Just("unsilence".to_owned()),
        Just("status".to_owned()),
        Just("2h".to_owned()),
        Just("99999999w".to_owned()),
        Just("1e9h".to_owned()),
        Just("by".to_owned()),
        Just("instance,job".to_owned()),
        Just("#4093".to_owned()),
        Just("> quoted\n".to_owned()),
        Just("\u{202e}".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(word, 0..8).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn a_gesture_stays_within_its_bounds(body in body()) {
        for form in [Form::Reply, Form::Direct, Form::Room] {
            let Some(read) = parse(&body, form) else { continue };
            if form == Form::Room {
                prop_assert!(body.trim_start().starts_with('!'), "{body:?}");
            }
            let Ok(Command { gesture, number, .. }) = read else { continue };
            prop_assert!(number.is_none_or(|number| number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_alphanumeric())));
            let text = match gesture {
                Gesture::Acknowledge { text } => text,
                Gesture::Silence { span, text, labels } => {
                    prop_assert!(span.is_none_or(|span| span >= Duration::from_secs(60)));
                    prop_assert!(labels.iter().all(|label| !label.is_empty() && label.len() <= 100));
                    text
                }
                _ => String::new(),
            };
            prop_assert!(text.chars().count() <= 200);
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn matchers_are_never_fewer_than_two_and_always_name_the_alert(
        labels in prop::collection::btree_map("[a-z]{1,3}|alertname|instance", "[a-z]{0,3}", 0..6),
        group in prop::collection::btree_map("[a-z]{1,3}|alertname", "[a-z]{0,3}", 0..3),
        only in prop::collection::vec("[a-z]{1,3}|alertname|instance", 0..3),
        count in 0_usize..4,
    ) {
        let alerts = vec![json!({"labels": labels}); count];
        let value = json!({"alerts": alerts, "groupLabels": group, "commonLabels": labels});
        let Some(alert) = Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, "") else { return Ok(()) };
        if let Ok(matchers) = alert.matchers(&only) {
            prop_assert!(matchers.len() >= 2, "{matchers:?}");
            prop_assert!(matchers.contains_key("alertname"));
            prop_assert!(matchers.values().all(|value| !value.is_empty()));
        }
        let stored = serde_json::to_string(&alert).expect("JSON");
        let again: Alert = serde_json::from_str(&stored).expect("readable");
        prop_assert_eq!(again.subject(), alert.subject());
    }
}
