//! The rows of `docs/reference/differences-from-apprise.md` that concern this crate, one assertion or more each. Rows
//! about the wire, the connections and the command line are asserted in the crates that make them; `tests/vectors` asserts
//! what stands in the vectors, `tests/sending` D7, and that of `ackpost-notify` D6, D11, D12 and D21.

mod common;

use std::io::Write as _;

use ackpost_apprise::{LoadedUrls, Notifier, Options};
use ackpost_notify::{Environment, Message, ParamValue, ServiceUrl, Severity, prepare};

use common::{KEY, SEED, context, refusal, service};

fn places(service: &ServiceUrl) -> Vec<String> {
    service
        .targets()
        .into_iter()
        .map(|target| target.address)
        .collect()
}

fn value(service: &ServiceUrl, name: &str) -> Option<ParamValue> {
    service
        .parameters()
        .into_iter()
        .find(|one| one.name == name)
        .map(|one| one.value)
}

async fn config(text: &str, yaml: bool) -> Notifier {
    let mut list = Notifier::with_options(Options::default().with_context(context()));
    let syntax = if yaml {
        ackpost_apprise::Syntax::Yaml
    } else {
        ackpost_apprise::Syntax::Text
    };
    list.add_config_text(text, Some(syntax)).await;
    list
}

#[test]
fn d1_an_unknown_word_keeps_the_default_and_warns() {
    let service = service("xmpps://u:p@x.org?verify=ture&optional=bogus");
    assert_eq!(value(&service, "verify"), Some(ParamValue::Bool(true)));
    let warning = &service.warnings()[0];
    assert!(warning.key.is_some() && warning.to_string().contains("neither yes nor no"));
}

#[test]
fn d2_ports_that_do_not_exist_are_refused() {
    for port in ["0", "65536", "-1", "99999"] {
        assert!(refusal(&format!("xmpps://u:p@x.org:{port}")).contains("1 to 65535"));
    }
}

#[test]
fn d3_rooms_keep_their_order_and_none_is_twice() {
    let service = service(&format!("sogs://{KEY}:{SEED}@x.org/Zeta/alpha/ZETA"));
    assert_eq!(places(&service), ["zeta", "alpha"]);
    assert!(service.expose_url().contains("/zeta/zeta/alpha?"));
}

#[test]
fn d4_semicolons_separate_and_an_empty_query_is_fine() {
    assert_eq!(
        places(&service("xmpps://u:p@x.org/jane;joe?")),
        ["jane@x.org", "joe@x.org"]
    );
}

#[test]
fn d5_credentials_are_decoded_once() {
    assert!(
        service("xmpps://u@x.org?password=a%2541")
            .expose_url()
            .contains(":a%2541@")
    );
}

#[test]
fn d6_bad_targets_are_named() {
    assert!(refusal("xmpps://u:p@x.org/@jane").contains("@jane"));
    let service = service("xmpps://u:p@x.org/@jane/joe");
    assert_eq!(places(&service), ["joe@x.org"]);
    assert_eq!(service.warnings()[0].severity, Severity::Error);
}

#[test]
fn d19_an_invalid_nick_warns_and_the_nick_is_stable() {
    let first = service("xmpps://user:p@x.org?name=b-t");
    assert!(first.warnings()[0].key.as_deref() == Some("name"));
    let second = service(&first.expose_url());
    assert_eq!(value(&first, "name"), value(&second, "name"));
    assert_eq!(value(&first, "name"), Some(ParamValue::Text("user".to_owned())));
}

#[test]
fn d20_html_has_a_plain_body_beside_it() {
    let message = Message::new("<p>a <b>b</b></p>").input_format(ackpost_notify::Format::Html);
    let chunk = prepare(&service("xmpps://u:p@x.org?format=html"), &message)
        .expect("a message")
        .chunks
        .remove(0);
    assert_eq!(chunk.body, "a b");
    assert!(chunk.xhtml.expect("html").contains("<b>"));
}

#[test]
fn d22_a_title_alone_is_the_message_and_blank_pieces_are_not_sent() {
    let split = service(&format!("sogs://{KEY}:{SEED}@x.org/a?overflow=split"));
    assert_eq!(
        prepare(&split, &Message::new("").title("T"))
            .expect("a message")
            .chunks[0]
            .body,
        "T"
    );
    assert!(prepare(&split, &Message::new("  \n ")).is_err());
    let long = format!("x{}y", " ".repeat(5000));
    assert!(
        prepare(&split, &Message::new(long))
            .expect("a message")
            .chunks
            .iter()
            .all(|chunk| !chunk.body.trim().is_empty())
    );
}

#[test]
fn d24_no_error_repeats_a_secret() {
    for url in [
        format!("sessions:/{KEY}:{SEED}@x.org/a"),
        format!("bogus://{KEY}:{SEED}@x.org/a"),
        format!("sogs://{KEY}:{SEED}@ex ample/a"),
        format!("sogs://{KEY}:{SEED}0@x.org/a"),
        format!("sogs://{SEED}:{KEY}x@x.org/a"),
        format!("sogs://{KEY}:{SEED}@x.org/a!?verify={SEED}&mode={SEED}&seed={SEED}{SEED}"),
        format!("xmpps://u:p@x.org/{KEY}:{SEED}@h@h?tz={SEED}"),
    ] {
        for problem in LoadedUrls::from_text(&url, &context()).problems {
            assert!(!format!("{problem} {problem:?}").contains(SEED), "{problem}");
        }
    }
}

#[tokio::test]
async fn d25_one_bad_line_costs_only_itself_and_a_bom_nothing() {
    let list = config("\u{feff}xmpps://u:p@x.org/a\nnot a url!!\nxmpps://u:p@x.org/b\nxmpps://u:p@x.org/c, xmpps://u:p@x.org/d\n", false).await;
    assert_eq!(list.len(), 2);
    let lines: Vec<Option<u32>> = list.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(4)]);
    assert!(
        list.problems()
            .iter()
            .all(|problem| problem.is_error() && problem.file.is_some())
    );
}

#[tokio::test]
async fn d26_words_and_numbers_are_what_they_are_meant_to_be() {
    let list = config(
        "urls:\n  - xmpps://u@x.org:\n      password: 12345\n      roster: 'no'\n      to: 678\n",
        true,
    )
    .await;
    let url = list.urls(false).remove(0);
    assert!(
        url.contains(":12345@") && url.contains("roster=no") && url.contains("/678%40x.org"),
        "{url}"
    );
    assert_eq!(config("urls: xmpps://u:p@x.org", true).await.len(), 1);
    let list = config("urls:\n  - xmpps://u:p@x.org:\n      mode: bogus\n", true).await;
    let problem = &list.problems()[0];
    assert_eq!(
        (problem.line, problem.column.is_some(), problem.key.as_deref()),
        (Some(3), true, Some("urls[1].mode"))
    );
}

#[test]
fn d29_names_beyond_ascii_and_single_digits_are_hosts() {
    assert_eq!(service("xmpps://u:p@bücher.de").host(), "xn--bcher-kva.de");
    assert_eq!(service("xmpps://u:p@1").host(), "1");
}

#[test]
fn d30_a_join_link_is_a_url_when_there_is_a_seed() {
    let link = format!("https://open.example.org/lobby?public_key={KEY}");
    assert!(
        service(&format!("{link}&seed={SEED}"))
            .expose_url()
            .starts_with(&format!("sessions://{KEY}:{SEED}@open.example.org/lobby?"))
    );
    assert!(refusal(&link).contains("seed"));
    let identity = Some(secrecy::SecretString::from(SEED));
    assert!(ServiceUrl::parse(&link, &context().with_identity(identity)).is_ok());
}

#[test]
fn d33_a_target_at_an_ipv6_address_is_one() {
    let one = service("xmpps://u:p@[::1]/jane/%23room?to=joe@[2001:db8::1],ann");
    let expected = ["#room@[::1]", "ann@[::1]", "jane@[::1]", "joe@[2001:db8::1]"];
    assert_eq!(places(&one), expected);
    assert_eq!(places(&service(&one.expose_url())), expected);
}

#[tokio::test]
async fn d32_secrets_by_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    writeln!(std::fs::File::create(&path).expect("a file"), "p@ss/w:rd?").expect("written");
    let env = Environment::from_vars([("PW", "p@ss/w:rd?"), ("WHOLE", "xmpps://u:q@x.org")]);
    let context = context().with_env(env);
    let path = path.display();
    for url in [
        "xmpps://u:{env:PW}@x.org/jane".to_owned(),
        format!("xmpps://u:{{file:{path}}}@x.org/jane"),
        format!("xmpps://u@x.org/jane?password_file={path}"),
    ] {
        let service = ServiceUrl::parse(&url, &context).unwrap_or_else(|problem| panic!("{url}: {problem}"));
        assert!(
            service
                .expose_url()
                .starts_with("xmpps://u%40x.org:p%40ss%2Fw%3Ard%3F@x.org/jane%40x.org?")
        );
    }
    assert!(ServiceUrl::parse("{env:WHOLE}", &context).is_ok());
    let missing = ServiceUrl::parse("xmpps://u:{env:NOPE}@x.org", &context).expect_err("not set");
    assert!(missing.cause.contains("NOPE"));
    let foreign = context.clone().with_env(Environment::foreign());
    assert!(ServiceUrl::parse(&format!("xmpps://u:{{file:{path}}}@x.org"), &foreign).is_err());

    let file = folder.path().join("a.conf");
    std::fs::write(&file, "xmpps://u:p@x.org\n").expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let context = context.with_check_permissions(true);
        let mut list = Notifier::with_options(Options::default().with_context(context));
        let report = list.add_config(&file.to_string_lossy()).await;
        assert!(
            report.problems[0].cause.contains("other users may read it"),
            "{report:?}"
        );
        assert!(!report.problems[0].is_error(), "a warning only");
        // A secret that is only named does not stand in the file; one beside it that is written does.
        let named = format!("xmpps://u:{{file:{path}}}@x.org\n");
        std::fs::write(&file, &named).expect("written");
        let report = list.add_config(&file.to_string_lossy()).await;
        assert!(report.services == 1 && report.is_clean(), "{report:?}");
        // Nor if it is the very word by which it is named.
        let word = folder.path().join("word");
        std::fs::write(&word, "word").expect("written");
        std::fs::set_permissions(&word, std::fs::Permissions::from_mode(0o600)).expect("changed");
        std::fs::write(&file, format!("xmpps://u:{{file:{}}}@x.org\n", word.display())).expect("written");
        let report = list.add_config(&file.to_string_lossy()).await;
        assert!(report.services == 1 && report.is_clean(), "{report:?}");
        std::fs::write(&file, format!("{named}xmpps://u:written%40here@x.org\n")).expect("written");
        let report = list.add_config(&file.to_string_lossy()).await;
        assert!(report.services == 2 && report.problems.len() == 1, "{report:?}");
    }
}
