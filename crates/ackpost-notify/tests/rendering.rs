//! What becomes of a text, where no vector can say it: nothing is lost, and what is shown is what is sent.

mod common;

use ackpost_notify::{Diagnostic, Format, Message, ServiceUrl, Target, prepare};

use common::{KEY, SEED, refusal, service};

fn body(url: &str, message: &Message) -> Result<String, Diagnostic> {
    prepare(&service(url), message).map(|prepared| prepared.chunks[0].body.to_string())
}

fn html(text: &str) -> Message {
    Message::new(text).title("T").input_format(Format::Html)
}

#[test]
fn text_outside_of_items_and_cells_is_text() {
    let sogs = format!("session://{KEY}:{SEED}@h.org/a");
    let markdown = format!("{sogs}?format=markdown");
    for (text, plain, marked) in [
        (
            "<ul>disk full on db1</ul>",
            "disk full on db1",
            "disk full on db1",
        ),
        ("<ol>a<li>b</li>c</ol>", "a\n- b\nc", "a\n\n1. b\n\nc"),
        ("<table>loose</table>", "loose", "loose"),
        (
            "<table>loose<tr><td>a</td></tr></table>",
            "loose\na",
            "loose\n\n| a |\n| --- |",
        ),
        (
            "<table><tr><td>a</td></tr>loose<tr><td>b</td></tr></table>",
            "a\nloose\nb",
            "| a |\n| --- |\n\nloose\n\n| b |\n| --- |",
        ),
        (
            "<table><tr>loose<td>a</td></tr></table>",
            "loose\na",
            "loose\n\n| a |\n| --- |",
        ),
        (
            "<table><tr><td><table><tr><td>inner</td></tr></table></td></tr></table>",
            "inner",
            "| inner |\n| --- |",
        ),
        (
            "<ul><b>bold</b> and <a href='https://e.org/x'>log</a></ul>",
            "bold and log <https://e.org/x>",
            "**bold** and [log](<https://e.org/x>)",
        ),
        ("<ul><code>x</code></ul>", "x", "`x`"),
        ("<form>disk full</form>", "disk full", "disk full"),
        ("<meta charset=utf-8>disk full", "disk full", "disk full"),
        ("<input>disk full", "disk full", "disk full"),
        ("<html>disk full</html>", "disk full", "disk full"),
        ("<head>disk full</head>", "disk full", "disk full"),
        ("<select>disk full</select>", "disk full", "disk full"),
        (
            "<ul>\n  <li>a</li>\n  <li>b</li>\n</ul>",
            "- a\n\n- b",
            "- a\n- b",
        ),
    ] {
        assert_eq!(
            body(&sogs, &html(text)).expect(text),
            format!("T\r\n{plain}"),
            "{text}"
        );
        assert_eq!(
            body(&markdown, &html(text)).expect(text),
            format!("# T\n{marked}"),
            "{text}"
        );
    }
}

#[test]
fn a_body_of_which_nothing_is_left_is_a_failure() {
    let sogs = format!("session://{KEY}:{SEED}@h.org/a");
    for url in [
        sogs.clone(),
        format!("{sogs}?format=markdown"),
        "xmpps://u:p@h.org/a".to_owned(),
        "xmpps://u:p@h.org/a?format=markdown".to_owned(),
    ] {
        for text in [
            "<script>x</script>",
            "<style>x</style>",
            "<title>x</title>",
            "<!-- x -->",
            "<img src='x'>",
            "<p></p>",
        ] {
            let problem = body(&url, &html(text)).expect_err(text);
            assert!(
                problem
                    .to_string()
                    .contains("nothing is left of the body when html becomes"),
                "{problem}"
            );
        }
    }
    let definition = Message::new("[db1]: full")
        .title("")
        .input_format(Format::Markdown);
    for url in [
        "xmpps://u:p@h.org/a?format=markdown",
        "xmpps://u:p@h.org/a?format=html",
    ] {
        let problem = body(url, &definition).expect_err(url);
        assert!(problem.key.as_deref() == Some("body"), "{problem}");
    }
    let picture = Message::new("<img src='x'>").input_format(Format::Html);
    let problem = body("xmpps://u:p@h.org/a?format=html", &picture).expect_err("no plain text");
    assert!(problem.to_string().contains("shows no text"), "{problem}");
}

#[test]
fn too_many_targets_are_refused_and_none_is_left_out() {
    for base in [
        "xmpps://u:p@h.org".to_owned(),
        format!("session://{KEY}:{SEED}@h.org"),
    ] {
        let url = |count: usize| {
            let targets: Vec<String> = (0..count).map(|n| format!("t{n}")).collect();
            format!("{base}/{}", targets.join(","))
        };
        assert_eq!(service(&url(10_000)).targets().len(), 10_000);
        assert!(refusal(&url(10_001)).contains("more than 10,000 targets"));
    }
}

#[test]
fn a_plain_text_keeps_the_addresses_of_links() {
    let sogs = format!("session://{KEY}:{SEED}@h.org/a");
    for (text, plain) in [
        (
            "see <a href=\"https://e.org/x?a=1&amp;b=2\">the log</a>.",
            "see the log <https://e.org/x?a=1&b=2>.",
        ),
        ("<a href='https://e.org/'>https://e.org</a>", "https://e.org"),
        ("<a href='https://e.org/'>e.org</a>", "e.org"),
        ("<a href='mailto:jane@e.org'>jane@e.org</a>", "jane@e.org"),
        ("<a href='https://e.org/'><img></a>", "<https://e.org/>"),
        (
            "<a href='#top'>up</a> <a href='javascript:x'>x</a> <a href='/log'>log</a> <a>y</a>",
            "up x log y",
        ),
        ("<a href='https://e.org/a b>c'>x", "x <https://e.org/a%20b%3Ec>"),
        (
            "<a href='https://1'>a<a href='https://2'>b</a>",
            "a <https://1>b <https://2>",
        ),
    ] {
        let message = Message::new(text).input_format(Format::Html);
        assert_eq!(body(&sogs, &message).expect(text), plain, "{text}");
        let prepared = prepare(&service("xmpps://u:p@h.org/a?format=html"), &message).expect(text);
        assert_eq!(prepared.chunks[0].body, plain, "{text}");
    }
    let markdown = Message::new("[log](https://e.org/x)").input_format(Format::Markdown);
    assert_eq!(
        body("xmpps://u:p@h.org/a?format=html", &markdown).expect("a text"),
        "log <https://e.org/x>"
    );
}

#[test]
fn the_shown_text_is_the_sent_text() {
    let shown = |url: &str, message: &Message| {
        let service: ServiceUrl = service(url);
        let prepared = prepare(&service, message).expect("a text");
        let target: &Target = &prepared.targets[0];
        service.shown(target, &prepared.chunks[0])
    };
    let message = Message::new("see **db1**\u{1}").title("T");
    let text = shown(
        "xmpps://u:p@h.org/a?format=markdown",
        &message.clone().input_format(Format::Markdown),
    );
    assert_eq!(text.body, "*T*\n\nsee *db1*\u{fffd}");
    let text = shown("xmpps://u:p@h.org/a?subject=yes", &message);
    assert_eq!(
        (text.subject.as_deref(), text.body.as_str()),
        (Some("T"), "see **db1**\u{fffd}")
    );
    let text = shown(
        "xmpps://u:p@h.org/a?format=html",
        &html("<b>x</b><script>y</script>"),
    );
    assert!(
        text.html
            .is_some_and(|html| html.contains("<strong>x</strong>") && !html.contains("script"))
    );
}

#[test]
fn another_services_url_is_told_by_its_schema() {
    for url in [
        "tgram://123:ABC/1",
        "dbus://",
        "syslog://",
        "discord://a:b:c/d",
        "mailto://u:p@@h",
        "json://h:abc",
    ] {
        let schema = url.split(':').next().expect("a schema");
        assert!(
            refusal(url).contains(&format!("the schema {schema}:// is not supported")),
            "{url}: {}",
            refusal(url)
        );
    }
    for url in [
        "https://hooks.slack.com/services/T00/B00/secret",
        "https://discord.com/api/webhooks/1/abc",
        "https://h.org",
    ] {
        let text = refusal(url);
        assert!(
            text.contains("no supported service uses") && !text.contains("public_key"),
            "{text}"
        );
    }
    for url in ["https://h.org/lobby", "https://h.org/r/lobby?x=y"] {
        assert!(refusal(url).contains("it has no ?public_key="), "{url}");
    }
}
