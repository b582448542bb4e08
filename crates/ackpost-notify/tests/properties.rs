//! Properties that hold for any URL and any text.

mod common;

use ackpost_notify::render::{
    Markup, emojis, escapes, html_to_markdown, html_to_text, markdown_to_html, split,
};
use ackpost_notify::{Chunk, Format, Message, ServiceUrl, prepare};
use proptest::prelude::*;

use common::{KEY, SEED, context};

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

/// Characters that Python counts as blanks, as the reference does.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Finds each piece in the text, one behind the other. Nothing but blanks may lie between them, because a cut drops the
/// blanks around it. Returns what is left of the text behind the last one.
fn behind_pieces<'t>(text: &'t str, pieces: &[&str]) -> Result<&'t str, TestCaseError> {
    let mut rest = text;
    for piece in pieces {
        let at = rest.find(piece);
        let between = at.map(|at| &rest[..at]);
        prop_assert!(
            between.is_some_and(|between| between.chars().all(is_blank)),
            "{piece:?} is not the beginning of {rest:?}"
        );
        rest = &rest[at.unwrap_or_default() + piece.len()..];
    }
    Ok(rest)
}

/// The same for pieces that hold the whole text.
fn assert_are(text: &str, pieces: &[&str]) -> Result<(), TestCaseError> {
    let rest = behind_pieces(text, pieces)?;
    prop_assert!(rest.chars().all(is_blank), "{rest:?} is missing");
    Ok(())
}

/// The bytes of a text on the wire, counted without the code under test.
fn wire_bytes(xml: bool, text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            _ if !xml => c.len_utf8(),
            '<' | '>' => "&lt;".len(),
            '&' | '\r' => "&amp;".len(),
            '"' | '\'' => "&quot;".len(),
            '\u{0}'..='\u{1f}' if !"\t\n".contains(c) => '\u{fffd}'.len_utf8(),
            _ => c.len_utf8(),
        })
        .sum()
}

/// Checks the titles of the pieces: the title, a counter where there are several pieces, and a sign if a part of the title
/// is missing.
fn assert_titles(title: &str, limit: usize, chunks: &[Chunk]) -> Result<(), TestCaseError> {
    let cut = chunks.iter().any(|chunk| chunk.title_cut);
    for chunk in chunks {
        prop_assert!(chunk.title.chars().count() <= limit);
        let shown = chunk.title.split(" [").next().unwrap_or_default();
        if cut {
            prop_assert!(
                title.starts_with(shown) && shown.len() < title.len(),
                "{shown:?} of {title:?}"
            );
        } else {
            prop_assert_eq!(shown, title);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_canonical_parse_is_stable(url in good_url()) {
        if let Ok(first) = ServiceUrl::parse(&url, &context()) {
            let second = ServiceUrl::parse(&first.expose_url(), &context()).map_err(|problem| TestCaseError::fail(problem.to_string()))?;
            let places = |service: &ServiceUrl| {
                let mut places: Vec<String> = service.targets().into_iter().map(|target| target.address).collect();
                places.sort();
                places
            };
            prop_assert_eq!(places(&first), places(&second));
            let third = ServiceUrl::parse(&second.expose_url(), &context()).map_err(|problem| TestCaseError::fail(problem.to_string()))?;
            prop_assert_eq!(second.expose_url(), third.expose_url());
            prop_assert_eq!(second.url_id(64), third.url_id(64));
            // Emoji is the one parameter that the reference's canonical URL leaves out.
            let params = |service: &ServiceUrl| -> Vec<_> {
                service.parameters().into_iter().filter(|one| one.name != "emojis").map(|one| (one.name, format!("{:?}", one.value))).collect()
            };
            prop_assert_eq!(params(&first), params(&second));
        }
    }

    #[test]
    fn split_pieces_fit_and_lose_only_blanks(text in "[a-z .!\\n\\t\\r&;<>é😀]{0,300}", limit in 1_usize..40) {
        let pieces = split(&text, limit, Markup::TEXT);
        assert_are(&text, &pieces.iter().map(String::as_str).collect::<Vec<_>>())?;
        if text.chars().count() > limit {
            for piece in &pieces {
                prop_assert!(piece.chars().count() <= limit, "{piece:?}");
            }
        } else {
            prop_assert_eq!(pieces, vec![text]);
        }
    }

    /// For every text, title and way to cut it, the pieces are the text, or its beginning and a sign that the rest was cut
    /// off. Each fits into a message as the wire counts. Blanks inside of a piece stay as they are.
    #[test]
    fn pieces_fit_the_wire_and_are_the_text(
        unit in "([a-z]{0,9}|[<>&\"']{1,4}|[жé😀\u{0}\u{1b}]{1,3}|[ \n\t\r]{1,3}){1,8}",
        repeats in prop_oneof![1_usize..4, 1_usize..4_000],
        overflow in prop_oneof![Just("upstream"), Just("truncate"), Just("split")],
        title in "[a-zж<&]{0,12}",
        title_repeats in prop_oneof![Just(1_usize), 1_usize..40],
    ) {
        let text = unit.repeat(repeats);
        let title = title.repeat(title_repeats);
        prop_assume!(!text.chars().all(is_blank));
        for (url, xml) in [
            (format!("xmpps://u:p@example.org/jane?format=text&overflow={overflow}"), true),
            (format!("xmpps://u:p@example.org/jane?subject=yes&overflow={overflow}"), true),
            (format!("session://{KEY}:{SEED}@example.org/lobby?overflow={overflow}"), false),
        ] {
            let service = ServiceUrl::parse(&url, &context()).expect("it loads");
            let limits = service.limits();
            let message = Message::new(text.clone()).title(title.clone()).input_format(Format::Text);
            let chunks = prepare(&service, &message).expect("it is rendered").chunks;
            let body = text.trim_end_matches(is_blank);
            let whole = if limits.title > 0 || title.is_empty() {
                body.to_owned()
            } else {
                format!("{title}\r\n{body}")
            };
            let pieces: Vec<&str> = chunks.iter().map(|chunk| &*chunk.body).collect();
            prop_assert!(!pieces.is_empty());
            let cut = chunks.iter().any(|chunk| chunk.cut);
            match overflow {
                "upstream" => prop_assert_eq!(&pieces, &[whole.as_str()]),
                "truncate" => {
                    prop_assert_eq!(pieces.len(), 1);
                    let rest = behind_pieces(&whole, &pieces)?;
                    prop_assert_eq!(cut, !rest.is_empty(), "the sign is right");
                    // As much is kept as fits: the next visible character does not.
                    if let Some((at, next)) = rest.char_indices().find(|(_, c)| !is_blank(*c)) {
                        let end = whole.len() - rest.len() + at + next.len_utf8();
                        prop_assert!(!limits.fits(&whole[..end]), "{} of {} bytes", pieces[0].len(), whole.len());
                    }
                }
                _ => {
                    prop_assert!(!cut);
                    assert_are(&whole, &pieces)?;
                }
            }
            if limits.title > 0 && overflow != "upstream" {
                assert_titles(&title, limits.title, &chunks)?;
            } else {
                prop_assert!(chunks.iter().all(|chunk| !chunk.title_cut));
            }
            if overflow != "upstream" {
                for piece in pieces {
                    prop_assert!(piece.chars().count() <= limits.body);
                    prop_assert_eq!(limits.wire_bytes(piece), wire_bytes(xml, piece));
                    prop_assert!(wire_bytes(xml, piece) <= limits.bytes, "{url}");
                }
            }
        }
    }

    /// Pieces of HTML fit the limit in bytes, whatever format the text was written in.
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
            let service = ServiceUrl::parse(&url, &context()).expect("it loads");
            let limits = service.limits();
            // A text of which nothing is left is refused.
            let Ok(prepared) = prepare(&service, &message) else { continue };
            for chunk in &prepared.chunks {
                let bytes = limits.wire_bytes(&chunk.body);
                prop_assert!(bytes <= limits.bytes, "{url}: {bytes}");
            }
        }
    }

    /// Pieces of Markdown, which are repaired after they are cut, fit the limit in bytes.
    #[test]
    fn pieces_of_markdown_fit_the_wire(
        unit in "(\\*{1,3}|_{1,2}|`{1,3}|\\[|\\]\\(|[a-z]{1,9}|[<>&\"']{1,4}|[ж😀]{1,3}|[ \n]){1,8}",
        repeats in 1_usize..6_000,
        overflow in prop_oneof![Just("truncate"), Just("split")],
    ) {
        let text = unit.repeat(repeats);
        prop_assume!(!text.trim().is_empty());
        let url = format!("xmpps://u:p@example.org/jane?format=markdown&overflow={overflow}");
        let service = ServiceUrl::parse(&url, &context()).expect("it loads");
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
        assert_are(&text, &pieces.iter().map(String::as_str).collect::<Vec<_>>())?;
    }

    /// Markup that a cut goes through is closed, escaped or dropped; letters never are.
    #[test]
    fn repaired_markdown_keeps_every_letter(text in "(\\*{1,3}|_{1,2}|`{1,2}|\\[|\\]\\(|\\]\\(<|>\\)|\\)|<ab:|>|\\\\|[a-zé😀]{1,4}|[ .\\n]){0,60}", limit in 1_usize..30) {
        let pieces = split(&text, limit, Markup { format: Format::Markdown, declared: true, input: Some(Format::Markdown) });
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic() || *c == '😀').collect::<String>();
        prop_assert_eq!(letters(&pieces.concat()), letters(&text));
    }

    #[test]
    fn nothing_rendered_panics(text in "\\PC{0,120}", title in "\\PC{0,20}", format in 0_usize..3, input in 0_usize..4, overflow in 0_usize..3) {
        let words = ["text", "html", "markdown"];
        let ways = ["upstream", "truncate", "split"];
        let url = format!("xmpps://u:p@example.org/j?format={}&overflow={}&emojis=yes", words[format], ways[overflow]);
        let service = ServiceUrl::parse(&url, &context()).expect("a service");
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
}

/// Run time grows with the text, not with its square; otherwise these texts would take minutes.
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
}

/// Found by the fuzzer: a room's password is behind its domain. The name in front of the `@` may not be empty, and
/// a `:` in the resource belongs to it.
#[test]
fn a_colon_elsewhere_than_behind_a_rooms_domain_begins_no_password() {
    for targets in ["%23%2Fa:one/%23%2Fa:two", "%23room%2Fa:one/%23room%2Fa:two"] {
        let url = format!("xmpps://user:pass@host.example/{targets}");
        let first = ServiceUrl::parse(&url, &context()).expect("it loads");
        let second = ServiceUrl::parse(&first.expose_url(), &context()).expect("it loads again");
        assert_eq!(first.targets().len(), 2, "{targets}");
        assert_eq!(second.targets().len(), 2, "{targets}");
        assert_eq!(first.expose_url(), second.expose_url());
    }
}
