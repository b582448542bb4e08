//! The language of the followed version, where no vector can say it: problems that are visible, causes that are right.

mod common;

use ackpost_apprise::{Notifier, Options, Syntax, TagFilter};
use ackpost_notify::{Asset, Diagnostic, Format, Message};

use common::context;

async fn loaded(text: &str, syntax: Syntax) -> Notifier {
    let mut list = Notifier::with_options(Options::default().with_context(context()));
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

#[tokio::test]
async fn a_comment_behind_a_group_member_keeps_the_group() {
    let yaml = "groups: [{team: [{alice: on call}, bob]}]\nurls:\n  - xmpps://u:p@h.org/a:\n      tag: alice\n  - \
                xmpps://u:p@h.org/b:\n      tag: bob\n  - xmpps://u:p@h.org/t:\n      tag: team\n";
    let list = loaded(yaml, Syntax::Yaml).await;
    assert!(list.problems().is_empty(), "{:?}", list.problems());
    assert_eq!(list.find(&TagFilter::from_values(["team"])).count(), 3);
}

#[tokio::test]
async fn faults_that_change_the_recipients_are_errors() {
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
    assert!(
        seen[0].contains("write `tag: …` on a line of its own"),
        "{seen:?}"
    );
    let seen = errors("urls:\n  - xmpps://u:p@h.org/a: for the night\n").await;
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
        let mut list = Notifier::with_options(
            Options::default()
                .with_context(context())
                .with_recursion(recursion),
        );
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

#[tokio::test]
async fn unknown_keys_are_reported() {
    let mut list = Notifier::with_options(Options::default().with_context(context()));
    let yaml = "url: xmpps://a:p@h.org/b\nmine: x\nurls:\n  - xmpps://a:p@h.org/b:\n      tga: ops\n      title: x\n";
    list.add_config_text(yaml, Some(Syntax::Yaml)).await;
    assert_eq!(list.len(), 1);
    let problems = list.problems();
    assert!(
        problems[..2].iter().all(Diagnostic::is_error),
        "both change who gets a message"
    );
    let seen: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].contains("1:1: url: unknown key `url`; it is ignored; perhaps urls is meant"));
    assert!(
        seen[1].contains("5:7: urls[1].tga: ") && seen[1].contains("perhaps tag is meant"),
        "{seen:?}"
    );
    assert!(
        seen[2].contains("urls[1].title: `title` is not a parameter"),
        "{seen:?}"
    );
}
