//! The language of the followed version, where no vector can say it: problems that are visible, text that is never lost,
//! causes that are right.

mod common;

use ackpost_notify::{
    Asset, Diagnostic, Format, Message, Notifier, Options, Service, Syntax, TagFilter, Target, prepare,
};

use common::{KEY, SEED, context, refusal, service};

async fn loaded(text: &str, syntax: Syntax) -> Notifier {
    let mut list = Notifier::with_options(Options {
        context: context(),
        ..Options::default()
    });
    list.add_config_text(text, Some(syntax)).await;
    list
}

/// The problems of a YAML, all of them errors.
async fn errors(yaml: &str) -> Vec<String> {
    let list = loaded(yaml, Syntax::Yaml).await;
    let idle = |problem: &&Diagnostic| !problem.cause.contains("reaches no service");
    let problems: Vec<&Diagnostic> = list.problems().iter().filter(idle).collect();
    for problem in &problems {
        assert!(problem.is_error(), "{problem}");
    }
    problems.iter().map(ToString::to_string).collect()
}

fn body(url: &str, message: &Message) -> Result<String, Diagnostic> {
    prepare(&service(url), message).map(|prepared| prepared.chunks[0].body.to_string())
}

fn html(text: &str) -> Message {
    Message::new(text).title("T").input_format(Format::Html)
}

#[tokio::test]
async fn a_comment_behind_a_group_member_keeps_the_group() {
    let yaml = "groups: [{team: [{alice: on call}, bob]}]\nurls:\n  - xmpps://u:p@h.org/a:\n      tag: alice\n  - \
                xmpps://u:p@h.org/b:\n      tag: bob\n  - xmpps://u:p@h.org/t:\n      tag: team\n";
    let list = loaded(yaml, Syntax::Yaml).await;
    assert!(list.problems().is_empty(), "{:?}", list.problems());
    assert_eq!(list.find(&TagFilter::from_values(["team"])).count(), 3);
}

#[tokio::test]
async fn what_changes_the_recipients_is_an_error() {
    let urls = "urls:\n  - xmpps://u:p@h.org/a\n";
    for (yaml, cause) in [
        (
            "groups: {team: {alice: x}}\n",
            "the members of the group are a mapping",
        ),
        ("groups: team\n", "the group has no members"),
        ("groups: [team]\n", "the group has no members"),
        (
            "groups:\n  team: [{{a: b}: x}]\n",
            "tags are neither a text nor a list",
        ),
        ("groups:\n  x: a\n  x: b\n", "`x` is written more than once"),
        ("include: {a.yml: x}\n", "include is a mapping"),
        ("grups: {team: alice}\n", "perhaps groups is meant"),
        ("tga: x\n", "perhaps tag is meant"),
        ("tag: a\ntag: b\n", "`tag` is written more than once"),
        (
            "urls:\n  - xmpps://u:p@h.org/b\n",
            "`urls` is written more than once",
        ),
    ] {
        let seen = errors(&format!("{yaml}{urls}")).await;
        assert!(seen.iter().any(|text| text.contains(cause)), "{yaml}: {seen:?}");
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
    for (keys, cause) in [
        ("to: b\n      to: c", "`to` is written more than once"),
        ("tag: a\n      tags: b", "both tag and tags are written"),
        ("targts: b", "perhaps targets is meant"),
        ("host: {a: b}", "the value is a mapping"),
        ("secure: perhaps", "neither yes nor no"),
    ] {
        let seen = errors(&format!("urls:\n  - xmpps://u:p@h.org/a:\n      {keys}\n")).await;
        assert!(seen.len() == 1 && seen[0].contains(cause), "{keys}: {seen:?}");
    }
    let seen = errors("urls:\n  - xmpps://u:p@h.org/a: tag=ops\n").await;
    assert!(seen[0].contains("not a mapping and is not used"), "{seen:?}");
    let seen = errors("services:\n  - xmpps://u:p@h.org/a\n").await;
    assert!(seen[0].contains("holds no `urls:`"), "{seen:?}");
    let list = loaded("xmpps://u:p@h.org/a\nteam=\n", Syntax::Text).await;
    assert!(
        list.len() == 1 && list.problems().iter().all(Diagnostic::is_error) && list.problems().len() == 1
    );
}

#[tokio::test]
async fn a_file_of_settings_and_an_empty_group_are_no_errors() {
    for yaml in [
        "asset:\n  app_id: Me\n",
        "groups: {team: }\nurls:\n  - xmpps://u:p@h.org/a\n",
        "urls:\n",
    ] {
        let list = loaded(yaml, Syntax::Yaml).await;
        assert!(
            !list.problems().iter().any(Diagnostic::is_error),
            "{:?}",
            list.problems()
        );
    }
}

#[tokio::test]
async fn an_include_beyond_the_depth_is_an_error_unless_it_leads_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("main.conf", "include mid.conf\n");
    write("mid.conf", "include deep.conf\nxmpps://u:p@h.org/mid\n");
    write("deep.conf", "xmpps://u:p@h.org/deep\n");
    write("loop.conf", "include loop.conf\nxmpps://u:p@h.org/loop\n");
    let load = async |name: &str, recursion| {
        let mut list = Notifier::with_options(Options {
            context: context(),
            recursion,
            ..Options::default()
        });
        list.add_config(&folder.path().join(name).to_string_lossy()).await;
        let errors = list
            .problems()
            .iter()
            .filter(|problem| problem.is_error())
            .count();
        (list.len(), errors)
    };
    assert_eq!(load("main.conf", 1).await, (1, 1));
    assert_eq!(load("main.conf", 2).await, (2, 0));
    assert_eq!(load("main.conf", 0).await, (0, 0), "no includes were asked for");
    assert_eq!(
        load("loop.conf", 1).await,
        (2, 0),
        "its services are loaded already"
    );
}

#[tokio::test]
async fn the_first_body_format_counts_and_a_wrong_one_is_an_error() {
    let mut list = loaded(
        "asset:\n  body_format: ' HTML '\nurls: [xmpps://u:p@h.org/a]\n",
        Syntax::Yaml,
    )
    .await;
    list.add_config_text("asset: {body_format: markdown}\nurls: []\n", Some(Syntax::Yaml))
        .await;
    assert!(list.problems().is_empty(), "{:?}", list.problems());
    assert_eq!(list.asset().body_format, Some(Format::Html));
    let plan = list.plan(&Message::new("<b>disk</b> full"), &TagFilter::All);
    let prepared = plan.services[0].prepared.as_ref().expect("a text");
    assert_eq!(prepared.chunks[0].body, "disk full");
    let declared = Message::new("<b>x</b>").input_format(Format::Text);
    let plan = list.plan(&declared, &TagFilter::All);
    assert_eq!(
        plan.services[0].prepared.as_ref().expect("a text").chunks[0].body,
        "<b>x</b>"
    );
    for wrong in ["bogus", "1", "[html]", "yes", "''"] {
        let seen = errors(&format!(
            "asset: {{body_format: {wrong}}}\nurls: [xmpps://u:p@h.org/a]\n"
        ))
        .await;
        assert!(
            seen.len() == 1 && seen[0].contains("asset.body_format: the format is not known"),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn settings_that_belong_to_the_program_stay_as_they_are() {
    for key in [
        "secure_logging: no",
        "image_path_mask: x",
        "allow_templates: no",
        "theme: ../x",
        "default_extension: a/b",
    ] {
        let list = loaded(
            &format!("asset:\n  {key}\nurls: [xmpps://u:p@h.org/a]\n"),
            Syntax::Yaml,
        )
        .await;
        assert_eq!(list.problems().len(), 1, "{key}");
        assert_eq!(*list.asset(), Asset::default(), "{key}");
    }
}

#[tokio::test]
async fn a_variable_in_a_tag_refuses_every_entry_that_carries_it() {
    let seen = errors(
        "template: [t]\ntag: ${t}\nurls:\n  - xmpps://u:p@h.org/a\n  - xmpps://u:p@h.org/b:\n      tag: x\n",
    )
    .await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().all(|text| text.contains("not allowed in tags")));
    let list = loaded(
        "template: [t]\ntag: ${other}\nurls:\n  - xmpps://u:p@h.org/a\n",
        Syntax::Yaml,
    )
    .await;
    assert_eq!(list.iter().next().expect("it loads").tag_names(), ["${other}"]);
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
fn what_is_shown_is_what_is_sent() {
    let shown = |url: &str, message: &Message| {
        let service: Service = service(url);
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
        "https://hooks.slack.com/services/T00/B00/XXX",
        "https://discord.com/api/webhooks/1/abc",
        "https://h.org",
    ] {
        let text = refusal(url);
        assert!(
            text.contains("belongs to no service") && !text.contains("public_key"),
            "{text}"
        );
    }
    for url in ["https://h.org/lobby", "https://h.org/r/lobby?x=y"] {
        assert!(refusal(url).contains("it has no ?public_key="), "{url}");
    }
}
