//! Properties that hold for any input.

mod common;

use ackpost_notify::render::{
    Markup, emojis, escapes, html_to_markdown, html_to_text, markdown_to_html, split,
};
use ackpost_notify::{
    Context, Environment, Format, LoadedUrls, Message, Notifier, Options, Service, Syntax, prepare,
    split_urls,
};
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

/// URLs that load, with everything that may be written in them.
fn good_url() -> impl Strategy<Value = String> {
    let target = "[a-zA-Z0-9_%+!é-]{1,10}";
    let targets = proptest::collection::vec(target, 0..5);
    let query = proptest::sample::subsequence(
        vec![
            "retry=3",
            "wait=2.5",
            "overflow=split",
            "format=markdown",
            "verify=no",
            "optional=yes",
            "tz=berlin",
            "cto=1e1",
            "rto=inf",
            "redirect=no",
            "store=no",
            "emojis=yes",
            "mode=tls",
            "subject=yes",
            "name=bot_1",
            "xmpp=h%2525.org",
            "scramplus=require",
            "confirm=receipt",
            "create=yes",
            "blind=no",
            "encrypt=no",
            "whisper=nobody",
            "room_password=a%26b%3D%25",
            "ttl=1h",
            "password=p%2541%3F",
        ],
        0..8,
    );
    (
        any::<bool>(),
        "[a-z0-9]{2,8}",
        proptest::option::of(1_u16..),
        targets,
        query,
    )
        .prop_map(|(sogs, host, port, targets, query)| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let place = if sogs {
                format!("sogs://{KEY}:{SEED}@")
            } else {
                "xmpps://us%25er%2Fres:p%40:x@".to_owned()
            };
            let room = if sogs { "/lobby" } else { "" };
            format!(
                "{place}{host}.org{port}{room}/{}?{}",
                targets.join("/"),
                query.join("&")
            )
        })
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

    #[test]
    fn parse_canonical_parse_is_stable(url in good_url()) {
        if let Ok(first) = Service::parse(&url, &context()) {
            let second = Service::parse(&first.expose_url(), &context()).map_err(|problem| TestCaseError::fail(problem.to_string()))?;
            let places = |service: &Service| {
                let mut places: Vec<String> = service.targets().into_iter().map(|target| target.address).collect();
                places.sort();
                places
            };
            prop_assert_eq!(places(&first), places(&second));
            let third = Service::parse(&second.expose_url(), &context()).map_err(|problem| TestCaseError::fail(problem.to_string()))?;
            prop_assert_eq!(second.expose_url(), third.expose_url());
            prop_assert_eq!(second.url_id(64), third.url_id(64));
            // Emoji is the one parameter that the reference's canonical URL leaves out.
            let params = |service: &Service| -> Vec<_> {
                service.parameters().into_iter().filter(|one| one.name != "emojis").map(|one| (one.name, format!("{:?}", one.value))).collect()
            };
            prop_assert_eq!(params(&first), params(&second));
        }
    }

    #[test]
    fn split_pieces_fit_and_lose_only_blanks(text in "[a-z .!\\n\\t\\r&;<>é😀]{0,300}", limit in 1_usize..40) {
        let pieces = split(&text, limit, Markup::TEXT);
        let strip = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert_eq!(strip(&pieces.concat()), strip(&text));
        if text.chars().count() > limit {
            for piece in &pieces {
                prop_assert!(piece.chars().count() <= limit, "{piece:?}");
            }
        } else {
            prop_assert_eq!(pieces, vec![text]);
        }
    }

    /// Whatever the text and the way to cut it: the pieces are the text, or its beginning, and each fits into a message.
    #[test]
    fn pieces_fit_the_wire_and_are_the_text(
        unit in "([a-z]{0,9}|[<>&\"']{1,4}|[жé😀\u{0}\u{1b}]{1,3}|[ \n]){1,8}",
        repeats in 1_usize..4_000,
        overflow in prop_oneof![Just("upstream"), Just("truncate"), Just("split")],
        title in "[a-zж<&]{0,12}",
    ) {
        let text = unit.repeat(repeats);
        prop_assume!(!text.trim().is_empty());
        for url in [
            format!("xmpps://u:p@example.org/jane?format=text&overflow={overflow}"),
            format!("xmpps://u:p@example.org/jane?subject=yes&overflow={overflow}"),
            format!("session://{KEY}:{SEED}@example.org/lobby?overflow={overflow}"),
        ] {
            let service = Service::parse(&url, &context()).expect("it loads");
            let message = Message::new(text.clone()).title(title.clone()).input_format(Format::Text);
            let chunks = prepare(&service, &message).expect("it is rendered").chunks;
            let strip = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let said: String = chunks.iter().map(|chunk| strip(&chunk.body)).collect();
            let whole = if service.limits().title > 0 || title.is_empty() {
                strip(&text)
            } else {
                strip(&format!("{title}{text}"))
            };
            match overflow {
                "truncate" => prop_assert!(whole.starts_with(&said)),
                _ if strip(&text).is_empty() => {}
                _ => prop_assert_eq!(&said, &whole),
            }
            if overflow != "upstream" {
                for chunk in &chunks {
                    prop_assert!(service.limits().fits(&chunk.body), "{url}");
                    prop_assert!(service.limits().wire_bytes(&chunk.body) <= service.limits().bytes);
                }
            }
        }
    }

    /// The same in bytes for HTML, whatever the text was written in.
    #[test]
    fn pieces_of_html_fit_the_wire(
        unit in "([a-z]{0,9}|[<>&\"']{1,4}|[жé😀]{1,3}|[ \n]|\\*\\*|[_`#~\\[]|<b>|</b>|&amp;){1,8}",
        repeats in 1_usize..2_000,
        overflow in prop_oneof![Just("truncate"), Just("split")],
        input in prop_oneof![Just(Format::Text), Just(Format::Markdown), Just(Format::Html)],
    ) {
        let message = Message::new(unit.repeat(repeats)).input_format(input);
        for url in [
            format!("xmpps://u:p@example.org/jane?format=html&overflow={overflow}"),
            format!("session://{KEY}:{SEED}@example.org/lobby?format=html&overflow={overflow}"),
        ] {
            let service = Service::parse(&url, &context()).expect("it loads");
            let limits = service.limits();
            // A text of which nothing is left is refused.
            let Ok(prepared) = prepare(&service, &message) else { continue };
            for chunk in &prepared.chunks {
                let bytes = limits.wire_bytes(&chunk.body);
                prop_assert!(bytes <= limits.bytes, "{url}: {bytes}");
            }
        }
    }

    /// The same in bytes for Markdown, whose pieces are repaired after they are cut.
    #[test]
    fn pieces_of_markdown_fit_the_wire(
        unit in "(\\*{1,3}|_{1,2}|`{1,3}|\\[|\\]\\(|[a-z]{1,9}|[<>&\"']{1,4}|[ж😀]{1,3}|[ \n]){1,8}",
        repeats in 1_usize..6_000,
        overflow in prop_oneof![Just("truncate"), Just("split")],
    ) {
        let text = unit.repeat(repeats);
        prop_assume!(!text.trim().is_empty());
        let url = format!("xmpps://u:p@example.org/jane?format=markdown&overflow={overflow}");
        let service = Service::parse(&url, &context()).expect("it loads");
        let message = Message::new(text).input_format(Format::Markdown);
        let limits = service.limits();
        // A text of which nothing is left is refused.
        let Ok(prepared) = prepare(&service, &message) else { return Ok(()) };
        for chunk in &prepared.chunks {
            let bytes = limits.wire_bytes(&chunk.body);
            prop_assert!(bytes <= limits.bytes, "{bytes} bytes");
        }
    }

    #[test]
    fn html_pieces_lose_nothing(text in "(<b c='d e'>|</b>|&amp;|[a-z ]{1,9}|\\n){0,40}", limit in 12_usize..60) {
        let pieces = split(&text, limit, Markup { format: Format::Html, declared: true, input: Some(Format::Html) });
        let strip = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert_eq!(strip(&pieces.concat()), strip(&text));
    }

    /// Markup that a cut goes through is closed, escaped or dropped; letters never are.
    #[test]
    fn repaired_markdown_keeps_every_letter(text in "(\\*{1,3}|_{1,2}|`{1,2}|\\[|\\]\\(|\\]\\(<|>\\)|\\)|<ab:|>|\\\\|[a-zé😀]{1,4}|[ .\\n]){0,60}", limit in 1_usize..30) {
        let pieces = split(&text, limit, Markup { format: Format::Markdown, declared: true, input: Some(Format::Markdown) });
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic() || *c == '😀').collect::<String>();
        prop_assert_eq!(letters(&pieces.concat()), letters(&text));
    }

    /// Values of a template are filled in or refused, whatever they are, and nothing is shown of a password.
    #[test]
    fn no_value_of_a_template_panics(value in "\\PC{0,40}", place in 0_usize..6) {
        let url = ["xmpps://u:${X}@h.org", "xmpps://${X}@h.org/a", "xmpps://${X}/a", "xmpps://u:p@h.org/${X}/#${X}", "xmpps://u:p@h.org?to=${X}&name=${X}", "sogs://${X}:${X}@h.org/${X}"][place];
        let mut list = Notifier::with_options(Options { context: context(), ..Options::default() });
        let text = format!("template: [X]\nurls:\n - \"{url}\"\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(list.add_config_text(&text, Some(Syntax::Yaml)));
        let values = ackpost_notify::Values::new([("X", value.clone())], &Environment::empty());
        let entry = list.iter().next().expect("an entry");
        if let Ok(service) = entry.resolve(&values)
            && place == 0
            && value.trim().chars().count() > 6
        {
            prop_assert!(!service.masked_url().contains(value.trim()));
        }
    }

    #[test]
    fn nothing_rendered_panics(text in "\\PC{0,120}", title in "\\PC{0,20}", format in 0_usize..3, input in 0_usize..4, overflow in 0_usize..3) {
        let words = ["text", "html", "markdown"];
        let ways = ["upstream", "truncate", "split"];
        let url = format!("xmpps://u:p@example.org/j?format={}&overflow={}&emojis=yes", words[format], ways[overflow]);
        let service = Service::parse(&url, &context()).expect("a service");
        let mut message = Message::new(&text).title(title).escapes(true);
        message.input_format = words.get(input).and_then(|word| word.parse().ok());
        let _ = prepare(&service, &message);
        let _ = (html_to_text(&text), html_to_markdown(&text), markdown_to_html(&text), emojis(&text), escapes(&text));
        for limit in [1, 7, 30] {
            for format in Format::ALL {
                let _ = split(&text, limit, Markup { format, declared: true, input: Some(format) });
            }
        }
    }

    #[test]
    fn markup_never_panics_or_hangs(text in "(<[a-z/]{0,4}|>|&[a-z#0-9]{0,4};?|['\"=` *_\\[\\]()|!\\\\#-]|[a-z]{1,3}|\\n){0,80}") {
        let _ = (html_to_text(&text), html_to_markdown(&text), markdown_to_html(&text));
        for limit in [1, 5, 17] {
            let _ = split(&text, limit, Markup { format: Format::Markdown, declared: true, input: Some(Format::Markdown) });
            let _ = split(&text, limit, Markup { format: Format::Html, declared: true, input: Some(Format::Html) });
        }
    }

    #[test]
    fn no_configuration_panics(text in "(urls:|tag: |groups:|include |template:|asset:|- |\\n|  |xmpps://u:p@h.org|: |&a|\\*a|<<: |[a-z=,:\\[\\]{}\"'#!%@|>-]{0,4}){0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for syntax in [Some(Syntax::Text), Some(Syntax::Yaml), None] {
            let mut list = Notifier::with_options(Options {
                context: Context { env: Environment::foreign(), ..context() },
                ..Options::default()
            });
            let report = runtime.block_on(list.add_config_text(&text, syntax));
            prop_assert_eq!(report.services, list.len());
        }
    }
}

/// What takes time grows with the text, not with its square: these would take minutes otherwise.
#[test]
fn hostile_texts_take_no_time() {
    let many = 200_000;
    for piece in [
        "[](", "[", "<", "`", "*a ", "**", "&", "<a ", "\\", "<!--", "</", "](", "_a_b",
    ] {
        let text = piece.repeat(many / piece.len());
        let _ = html_to_text(&text);
        let _ = html_to_markdown(&text);
        let markup = Markup {
            format: Format::Markdown,
            declared: true,
            input: Some(Format::Markdown),
        };
        let _ = split(&text, 32_768, markup);
        let _ = split(
            &text,
            32_768,
            Markup {
                format: Format::Html,
                ..markup
            },
        );
    }
    let deep = "<ul><li>".repeat(20_000);
    let _ = (html_to_text(&deep), html_to_markdown(&deep));
    let _ = emojis(&":".repeat(many));
    let _ = split_urls(&"a://".repeat(many / 4));
}

/// What the fuzzer found: a room's password stands behind its domain. The name in front of the `@` may not be empty,
/// and a `:` in the resource belongs to it.
#[test]
fn a_colon_elsewhere_than_behind_a_rooms_domain_begins_no_password() {
    for targets in ["%23%2Fa:one/%23%2Fa:two", "%23room%2Fa:one/%23room%2Fa:two"] {
        let url = format!("xmpps://user:pass@host.example/{targets}");
        let first = Service::parse(&url, &context()).expect("it loads");
        let second = Service::parse(&first.expose_url(), &context()).expect("it loads again");
        assert_eq!(first.targets().len(), 2, "{targets}");
        assert_eq!(second.targets().len(), 2, "{targets}");
        assert_eq!(first.expose_url(), second.expose_url());
    }
}
