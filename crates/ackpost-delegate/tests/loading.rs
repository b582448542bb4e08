//! URLs and configuration entries of other services: what is read here, what is handed over, and what is shown.

use ackpost_apprise::{Notifier, Options, Source, Syntax, TagFilter, Values};
use ackpost_delegate::APPRISE;
use ackpost_notify::service::{SOGS, Services, XMPP};
use ackpost_notify::{Context, Environment, Foreign, Guest, ServiceUrl};

static SERVICES: Services = Services::new(&[&SOGS, &XMPP]).with_foreign(&APPRISE);

fn context(vars: &[(&str, &str)]) -> Context {
    Context::default()
        .with_env(Environment::from_vars(vars.iter().copied()))
        .with_services(SERVICES)
        .with_check_permissions(false)
}

fn load(url: &str) -> ServiceUrl {
    ServiceUrl::parse(url, &context(&[])).unwrap_or_else(|problem| panic!("{url}: {problem}"))
}

fn refusal(url: &str, context: &Context) -> String {
    ServiceUrl::parse(url, context)
        .expect_err("a refusal")
        .to_string()
}

async fn config(text: &str, vars: &[(&str, &str)]) -> Notifier {
    let mut notifier = Notifier::with_options(Options::default().with_context(context(vars)));
    let source = Source::Text {
        text: text.to_owned(),
        syntax: Some(Syntax::Yaml),
    };
    notifier.add_source(source).await;
    notifier
}

#[test]
fn only_our_own_parameters_are_taken_out_of_a_url() {
    for (url, handed) in [
        ("tgram://123:ABC/1", "tgram://123:ABC/1"),
        ("dbus://", "dbus://"),
        (
            "json://h/a#b;c?x=1&retry=2&+H=v&wait=0.1",
            "json://h/a#b;c?x=1&+H=v&retry=2&wait=0.1",
        ),
        (
            "JSON://h/?format=markdown&overflow=split&cto=9",
            "JSON://h/?format=markdown&overflow=split&cto=9",
        ),
        (
            "discord://a/b?optional=yes&ttl=1h&quiet=22:00-07:00",
            "discord://a/b?optional=yes&ttl=1h&quiet=22%3A00-07%3A00",
        ),
        ("vonage://k:s@1/2?ttl=30", "vonage://k:s@1/2?ttl=30"),
    ] {
        let service = load(url);
        assert_eq!(service.name(), "apprise", "{url}");
        assert_eq!(service.expose_url(), handed);
        assert_eq!(
            load(&service.expose_url()).url_id(64),
            service.url_id(64),
            "{url}"
        );
    }
    let service = load("json://h/a?retry=2&wait=0&optional=yes");
    let common = service.common();
    assert_eq!((common.retry, common.wait, common.optional), (2, 0.0, true));
}

#[test]
fn the_schema_is_looked_at_first() {
    let context = context(&[]);
    for url in ["xmmps://u:p@h.org/jane", "bogus://x", "https://h.org/lobby"] {
        assert!(!refusal(url, &context).contains("Apprise"), "{url}");
    }
    assert_eq!(
        load("https://hooks.slack.com/services/T00/B00/secret").name(),
        "apprise"
    );
    assert_eq!(
        load("bogus://x?via=apprise").foreign_schema().as_deref(),
        Some("bogus")
    );
    assert_eq!(load("xmpps://u:p@h.org/jane?via=apprise").name(), "apprise");
    assert_eq!(load("xmpps://u:p@h.org/jane").name(), "xmpp");
}

#[test]
fn the_environment_may_leave_services_to_apprise() {
    let context = context(&[("ACKPOST_NATIVE", "session, sogs")]);
    let name = |url: &str| ServiceUrl::parse(url, &context).expect("a service").name();
    assert_eq!(name("xmpps://u:p@h.org/jane"), "apprise");
    let key = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
    assert_eq!(
        name(&format!("sessions://{key}:{}@h.org/lobby", "01".repeat(32))),
        "sogs"
    );
}

#[test]
fn nothing_that_may_be_a_secret_is_shown() {
    let service = load("slack://bot@TokenA/TokenB/TokenC/#channel?retry=1");
    let target = &service.targets()[0];
    for shown in [
        service.masked_url(),
        service.apprise_masked_url(),
        service.target_label(target),
        format!("{service:?}"),
        target.address.clone(),
    ] {
        assert!(!shown.contains("Token") && !shown.contains("channel"), "{shown}");
    }
}

#[test]
fn a_guest_names_other_services_only_with_permission_and_never_local_ones() {
    let mut guest = Guest::default();
    let with = |guest| context(&[]).with_env(Environment::for_guest(guest));
    assert!(
        refusal("json://h/", &with(guest))
            .contains("json:// is not allowed here, because this text comes from outside")
    );
    guest.foreign = true;
    assert!(ServiceUrl::parse("json://h/", &with(guest)).is_ok());
    for url in [
        "dbus://",
        "syslog://",
        "gnome://",
        "file:///etc/passwd",
        "json://{env:HOME}/",
    ] {
        let text = refusal(url, &with(guest));
        assert!(
            text.contains("this text comes from outside") || text.contains("not supported"),
            "{url}: {text}"
        );
    }
}

#[test]
fn a_reference_is_encoded_where_it_stands() {
    let context = context(&[("TOKEN", "a/b c"), ("URL", "json://h/x?retry=1")]);
    let url = |text: &str| ServiceUrl::parse(text, &context).expect("a service").expose_url();
    assert_eq!(
        url("json://h/{env:TOKEN}?+X={env:TOKEN}"),
        "json://h/a%2Fb%20c?+X=a%2Fb%20c"
    );
    assert_eq!(url("{env:URL}"), "json://h/x?retry=1");
}

#[tokio::test]
async fn the_keys_of_an_entry_travel() {
    let text = r#"
urls:
  - mailto://u:p@example.org:
      - to: [a@example.org, b@example.org]
        format: markdown
        retry: 3
        port: 2525
        tag: ops
        +X-Token: "quo\"te"
"#;
    let notifier = config(text, &[]).await;
    assert_eq!(notifier.problems(), []);
    let service = notifier
        .iter()
        .next()
        .and_then(|entry| entry.service())
        .expect("a service")
        .clone();
    assert_eq!(service.common().retry, 3);
    let again = load(&service.expose_url());
    assert_eq!(again.expose_url(), service.expose_url());
    let url = ackpost_notify::url::percent::decode(&service.expose_url());
    for part in [
        r#""to":"[\"a@example.org\", \"b@example.org\"]""#,
        r#""port":"2525""#,
        r#""format":"\"markdown\"""#,
    ] {
        assert!(url.contains(part), "{part} is not in {url}");
    }
    assert!(url.ends_with("&retry=3") && !url.contains("tag"), "{url}");
}

#[tokio::test]
async fn a_template_is_filled_in_before_the_url_is_handed_over() {
    let text = "template: [token, who]\nurls:\n  - tgram://${token}/1:\n      - to: ${who}\n";
    let notifier = config(text, &[]).await;
    assert_eq!(notifier.problems(), []);
    let entry = notifier.iter().next().expect("an entry");
    assert_eq!(entry.foreign_schema().as_deref(), Some("tgram"));
    assert_eq!(entry.masked_url(), "tgram://****");
    let values = Values::new([("token", "12:a/b"), ("who", "x\"y")], &Environment::empty());
    let url = entry.resolve(&values).expect("a service").expose_url();
    assert!(url.starts_with("tgram://12%3Aa%2Fb/1?"), "{url}");
    let url = ackpost_notify::url::percent::decode(&url);
    assert!(url.contains(r#"{"to":"\"x\\\"y\""}"#), "{url}");
}

#[tokio::test]
async fn entries_outside_the_chosen_tags_are_not_part_of_the_run() {
    let text = "foreign: fail\nurls:\n  - json://h/a:\n      tag: home\n  - discord://a/b:\n      tag: home\n  - json://h/b:\n      tag: ops\n";
    let chosen = |tag: &str| TagFilter::from_values([tag]);
    let notifier = config(text, &[]).await;
    assert_eq!(notifier.asset().foreign, Some(Foreign::Fail));
    for (rule, tag, counts, problems, left) in [
        (Foreign::Apprise, "home", vec![("json", 1), ("discord", 1)], 0, 3),
        (Foreign::Skip, "home", vec![("json", 1), ("discord", 1)], 0, 0),
        (Foreign::Fail, "home", vec![("json", 1), ("discord", 1)], 1, 0),
        (Foreign::Fail, "work", vec![], 0, 0),
    ] {
        let mut notifier = config(text, &[]).await;
        let found = notifier.settle_foreign(rule, &chosen(tag));
        let counts: Vec<(String, usize)> = counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        assert_eq!(found, counts);
        assert_eq!(
            (notifier.problems().len(), notifier.len()),
            (problems, left),
            "{rule:?} {tag}"
        );
    }
}

#[test]
fn a_guest_names_no_file_of_this_machine() {
    let guest = |foreign| Guest {
        private_addresses: false,
        foreign,
    };
    let context = |foreign| {
        Context::default()
            .with_env(Environment::for_guest(guest(foreign)))
            .with_services(SERVICES)
    };
    for url in [
        "discord://a/b?template=/etc/passwd",
        "discord://a/b?Template=relative.json",
        "https://discord.com/api/webhooks/1/abc?template=/etc/passwd",
        "tgram://123:ABC/1?template=/etc/passwd",
        "vapid://me@h.org/you@h.org?keyfile=/etc/ackpost/key.pem",
        "vapid://me@h.org/you@h.org?subfile=/etc/ackpost/list.json",
        "fcm://project/token?keyfile=/etc/ackpost/key.json",
        "discord://a/b?ackpost_keys=%7B%22template%22%3A%22%2Fetc%2Fpasswd%22%7D",
        "discord://a/b?ackpost_keys=%7B%22Template%20%22%3A%22%2Fetc%2Fpasswd%22%7D",
    ] {
        let problem = refusal(url, &context(true));
        assert!(problem.contains("a path on this machine"), "{url}: {problem}");
    }
    // The template of other services is the name of one that they keep.
    assert!(ServiceUrl::parse("msg91://template@key/15551234567?template=abc", &context(true)).is_ok());
    load("discord://a/b?template=/etc/ackpost/card.json");
    for url in ["gio://", "glib://", "syslog://"] {
        let problem = refusal(url, &context(true));
        assert!(problem.contains("acts on this machine"), "{url}: {problem}");
    }
}
