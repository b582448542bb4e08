//! Tests of the variables of a YAML configuration and of the search for includes. The expected URLs are those that
//! Apprise 2.2.0 makes of the same values, unless a test says otherwise.

use ackpost_apprise::{Notifier, Options, Syntax, Values};
use ackpost_notify::{Context, Diagnostic, Environment, ServiceUrl};

const KEY: &str = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn options() -> Options {
    Options::default().with_context(
        Context::default()
            .with_env(Environment::empty())
            .with_check_permissions(false),
    )
}

/// The service that one entry becomes with these values.
async fn resolved(entry: &str, values: &[(&str, &str)]) -> Result<ServiceUrl, Diagnostic> {
    let mut list = Notifier::with_options(options());
    let text = format!("template:\n  - X\n  - Y\n  - D: fallback\nurls:\n  - {entry}\n");
    list.add_config_text(&text, Some(Syntax::Yaml)).await;
    assert!(list.problems().is_empty(), "{:?}", list.problems());
    let entry = list.iter().next().expect("an entry").clone();
    entry.resolve(&Values::new(values.iter().copied(), &Environment::empty()))
}

/// The canonical URL in front of its query.
async fn front(entry: &str, values: &[(&str, &str)]) -> String {
    let service = resolved(entry, values).await.expect("a service");
    service
        .expose_url()
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_password_may_hold_what_ends_one_in_a_url() {
    let url = "xmpps://bot:${X}@x.org/jane";
    assert_eq!(
        front(url, &[("X", "p@ss:w/rd#1?x=1&y")]).await,
        "xmpps://bot%40x.org:p%40ss%3Aw%2Frd%231%3Fx%3D1%26y@x.org/jane%40x.org"
    );
    // As in the URL itself, what is percent-encoded is decoded.
    assert_eq!(
        front(url, &[("X", "p%40ss")]).await,
        "xmpps://bot%40x.org:p%40ss@x.org/jane%40x.org"
    );
}

#[tokio::test]
async fn a_value_is_one_target_unless_it_lists_several() {
    let url = "xmpps://bot:p@x.org/${X}";
    for (value, targets) in [
        ("jane@x.org/res", "jane%40x.org%2Fres"),
        ("#room@c.x.org", "%23room%40c.x.org"),
        ("jane,joe", "jane%40x.org/joe%40x.org"),
        ("  jane ", "jane%40x.org"),
    ] {
        assert_eq!(
            front(url, &[("X", value)]).await,
            format!("xmpps://bot%40x.org:p@x.org/{targets}")
        );
    }
    let url = format!("session://{KEY}:{SEED}@h.com/a-${{x}}-b/${{Y}}");
    let service = resolved(&url, &[("x", "1"), ("Y", "c?d#e")])
        .await
        .expect("a service");
    assert!(service.expose_url().contains("@h.com/a-1-b/c%3Fd%23e?"));
    assert_eq!(service.targets().len(), 1);
}

#[tokio::test]
async fn a_value_is_not_looked_at_again() {
    let url = "xmpps://bot:${X}@x.org/${Y}";
    let service = resolved(url, &[("X", "${Y}{env:HOME}"), ("Y", "jane")])
        .await
        .expect("a service");
    assert!(
        service
            .expose_url()
            .contains(":%24%7BY%7D%7Benv%3AHOME%7D@x.org/jane%40x.org?")
    );
}

#[tokio::test]
async fn the_authority_may_come_from_one_variable() {
    assert_eq!(
        front("xmpps://${X}/jane", &[("X", "bot:p@ss@x.org")]).await,
        "xmpps://bot%40x.org:p%40ss@x.org/jane%40x.org"
    );
    assert_eq!(
        front("xmpps://${X}@x.org/jane", &[("X", "bot:pw")]).await,
        "xmpps://bot%40x.org:pw@x.org/jane%40x.org"
    );
    // A host is checked, which the reference does not.
    for host in ["x.org/evil", "a b", "x.org#", "u@x.org?"] {
        assert!(resolved("xmpps://bot:p@${X}/jane", &[("X", host)]).await.is_err());
    }
}

#[tokio::test]
async fn keys_below_the_url_are_filled_too() {
    let entry = "xmpps://bot@x.org:\n      password: ${X}\n      to: [jane, \"${Y}\"]\n      port: ${D}";
    let service = resolved(entry, &[("X", "p@ss/1"), ("Y", "joe"), ("d", "5299")])
        .await
        .expect("a service");
    assert!(
        service
            .expose_url()
            .contains("bot%40x.org:p%40ss%2F1@x.org:5299/jane%40x.org/joe%40x.org?")
    );
}

/// The URL that is shown and its masked form.
#[tokio::test]
async fn a_template_is_shown_with_its_keys() {
    for (entry, shown, apprise, masked) in [
        (
            "xmpps://bot:${X}@x.org//a/".to_owned(),
            "xmpps://bot:${X}@x.org/a/",
            "xmpps://bot:${X}@x.org/a/",
            "xmpps://bot:${X}@x.org/a/",
        ),
        (
            "xmpps://bot:p@x.org/?user=eve&pass=q${X}".to_owned(),
            "xmpps://eve:q${X}@x.org/?user=eve&pass=q${X}",
            "xmpps://eve:q...q${X}@x.org/?user=eve&pass=q...q${X}",
            "xmpps://eve:****${X}@x.org/?user=eve&pass=****${X}",
        ),
        (
            "xmpps://bot@x.org:\n      password: a${x}\n      to: [jane, \"${Y}\"]\n      retry: 7\n      verify: off".to_owned(),
            "xmpps://bot:a${X}@x.org?retry=7&to=jane%2C${Y}&verify=no",
            "xmpps://bot:a...a${X}@x.org?retry=7&to=j...e%2C${Y}&verify=no",
            "xmpps://bot:****${X}@x.org?retry=7&to=****%2C${Y}&verify=no",
        ),
        (
            format!("session://{KEY}:${{X}}@h.com/a?key={KEY}:\n      public_key: ${{Y}}\n      seed: ${{X}}"),
            "session://KEY:${X}@h.com/a?public_key=${Y}&seed=${X}",
            "session://a...8:${X}@h.com/a?public_key=${Y}&seed=${X}",
            "session://****:${X}@h.com/a?public_key=${Y}&seed=${X}",
        ),
        (
            "xmpps://bot:p@[::1]:\n      host: i.org\n      name: ${X}\n      tz: '%24{X}'".to_owned(),
            "xmpps://bot:p@i.org?name=${X}&tz=%2524%7BX%7D",
            "xmpps://bot:p...p@i.org?name=${X}&tz=%25...%7D",
            "xmpps://bot:****@i.org?name=${X}&tz=****",
        ),
    ] {
        let mut list = Notifier::with_options(options());
        let text = format!("template:\n  - X\n  - Y\nurls:\n  - {entry}\n");
        list.add_config_text(&text, Some(Syntax::Yaml)).await;
        let entry = list.iter().next().expect("an entry");
        assert_eq!(entry.expose_url().replace(KEY, "KEY"), shown);
        assert_eq!(entry.apprise_masked_url(), apprise);
        assert_eq!(entry.masked_url(), masked);
    }
}

#[tokio::test]
async fn a_host_below_an_address_leaves_no_port_of_it() {
    let entry = "xmpps://bot:p@[::1]:\n      host: i.org\n      name: ${X}";
    let url = front(entry, &[("X", "n")]).await;
    assert_eq!(url, "xmpps://bot%40i.org:p@i.org/");
}

#[tokio::test]
async fn blank_values_are_none_and_impossible_ones_are_refused() {
    assert_eq!(
        front("xmpps://bot:p@x.org/${D}", &[("D", "  ")]).await,
        "xmpps://bot%40x.org:p@x.org/fallback%40x.org"
    );
    let url = "xmpps://bot:p@x.org/${X}";
    for value in ["", " ", "a\nb", "a\u{2028}b", &"x".repeat(1025)] {
        assert!(resolved(url, &[("X", value)]).await.is_err());
    }
    assert!(resolved(url, &[]).await.is_err());
}

#[tokio::test]
async fn names_are_exact() {
    let mut list = Notifier::with_options(options());
    let name = "n".repeat(32);
    let text = format!(
        "template:\n  - {name}\n  - X\nurls:\n  - xmpps://u:${{ X }}@x.org/${{{name}}}\n  - xmpps://u:p@x.org/${{nope}}\n"
    );
    list.add_config_text(&text, Some(Syntax::Yaml)).await;
    let entries: Vec<_> = list.iter().collect();
    assert!(entries[0].service().is_none() && entries[1].service().is_some());
    assert!(entries[0].expose_url().contains("u:${ X }@"));
}

/// A path is beside the file that includes it; a `file://` address goes from the working folder.
#[tokio::test]
async fn includes_are_found_where_the_reference_finds_them() {
    let here = tempfile::Builder::new()
        .prefix("includes")
        .tempdir_in(".")
        .expect("a folder");
    let name = here
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    std::fs::write(here.path().join("b.conf"), "xmpps://b:p@x.org\n").expect("a file");
    for (include, found) in [
        ("b.conf".to_owned(), 1),
        ("./b.conf".to_owned(), 1),
        (format!("file://{name}/b.conf"), 1),
        (format!("FILE://{name}/b.conf?format=text"), 1),
        ("file://b.conf".to_owned(), 0),
        (format!("{name}/b.conf"), 0),
        (
            here.path()
                .canonicalize()
                .expect("a path")
                .join("b.conf")
                .display()
                .to_string(),
            1,
        ),
    ] {
        let main = here.path().join("main.conf");
        std::fs::write(&main, format!("include {include}\n")).expect("a file");
        let mut list = Notifier::with_options(options());
        let report = list.add_config(&main.to_string_lossy()).await;
        assert_eq!(
            (list.iter().count(), report.is_clean()),
            (found, found == 1),
            "{include}"
        );
    }
}
