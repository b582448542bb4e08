//! Tests of common mistakes in URLs: each is named, without the secret, and loads as it did before.

mod common;

use ackpost_notify::{Diagnostic, Outcome, Severity};

use common::{KEY, SEED, context, refusal, service};

fn texts(problems: &[Diagnostic]) -> Vec<String> {
    for problem in problems {
        assert_eq!(problem.severity, Severity::Warning, "{problem}");
    }
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn special_characters_in_a_password_are_named() {
    for url in [
        "xmpps://alice:p@ss@localhost/bob",
        "xmpps://alice:p@@localhost/bob",
    ] {
        let warnings = texts(service(url).warnings());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("more than one @") && warnings[0].contains("%40"));
        assert!(!warnings[0].contains("ss@"), "{warnings:?}");
    }
    for url in [
        "xmpps://alice:p%40ss@localhost/bob@localhost/#r@c.localhost",
        "xmpps://alice:p@localhost/bob@localhost",
    ] {
        assert!(service(url).warnings().is_empty(), "{url}");
    }
    for mark in ['#', '/', '?'] {
        let text = refusal(&format!("xmpps://alice:wrong{mark}passw@h/bob"));
        for part in [
            "not a number",
            "%23",
            "%2F",
            "%3F",
            "%40",
            "%3A",
            "password_file=",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("wrong") && !text.contains("passw@"), "{text}");
    }
}

#[tokio::test]
async fn no_password_is_said_without_a_connection() {
    for url in ["xmpps://alice@192.0.2.1/bob", "xmpps://alice:@192.0.2.1/bob"] {
        assert!(service(url).warnings().is_empty());
        let report = service(url).send("x").await;
        let Outcome::Refused { reason, remedy } = &report.targets[0].outcome else {
            panic!("{:?}", report.targets[0].outcome);
        };
        assert_eq!(reason, "no password is given");
        assert!(remedy.contains("password_file="), "{remedy}");
    }
}

#[test]
fn texts_that_are_not_a_seed_are_recognised() {
    let missing = refusal(&format!("https://h.org/lobby?public_key={KEY}"));
    assert!(missing.contains("the seed is missing") && missing.contains("ackpost identity new"));
    for prefix in ["05", "15", "25"] {
        let text = refusal(&format!("sessions://{KEY}:{prefix}{SEED}@h.org/lobby"));
        assert!(text.contains("this is a Session id, not the seed"), "{text}");
        assert!(text.contains("seed_file=") && !text.contains("0123"), "{text}");
    }
    let mut odd = SEED.to_owned();
    odd.replace_range(16..17, "x");
    let text = refusal(&format!("sessions://{KEY}:{odd}@h.org/lobby"));
    assert!(
        text.contains("character 17 is not") && !text.contains("x12"),
        "{text}"
    );
    let text = refusal(&format!("sessions://{KEY}:{}@h.org/lobby", &SEED[1..]));
    assert!(text.contains("it has 63 characters"), "{text}");
}

#[test]
fn a_mistyped_schema_is_told_the_one_that_was_meant() {
    for (written, meant) in [
        ("xmmps", "xmpps"),
        ("xpmp", "xmpp"),
        ("sogz", "sogs"),
        ("sesion", "session"),
        ("sessionss", "sessions"),
    ] {
        let text = refusal(&format!("{written}://u:p@h.org/jane"));
        assert!(
            text.contains(&format!("the schema {written}:// is not supported"))
                && text.contains(&format!("did you mean {meant}://?")),
            "{text}"
        );
    }
    for other in [
        "smpp", "smpps", "json", "mailto", "slack", "signal", "sns", "ses", "pushover",
    ] {
        let text = refusal(&format!("{other}://u:p@h.org/jane"));
        assert!(
            text.contains("is not supported") && !text.contains("did you mean"),
            "{text}"
        );
    }
}

#[test]
fn a_masked_url_shows_no_digit_of_the_seed() {
    let service = service(&format!("sessions://{KEY}:{SEED}@h.org/lobby"));
    for shown in [service.masked_url(), service.masked_url_of(&service.targets()[0])] {
        assert!(
            shown.starts_with(&format!("sessions://{KEY}:****@h.org/lobby?")),
            "{shown}"
        );
    }
}

#[test]
fn an_address_that_is_no_join_link_is_told_what_it_lacks() {
    let text = refusal("https://h.org/lobby");
    assert!(text.contains("?public_key="), "{text}");
    assert!(refusal("mailto://h.org").contains("the schema mailto:// is not supported"));
}

#[test]
fn a_repeated_parameter_is_reported() {
    let seen =
        texts(service("xmpps://a:p@h.org/b?confirm=server&confirm=sent&CONFIRM=room&rto=5").warnings());
    assert_eq!(
        seen,
        ["confirm: `confirm` is written more than once; the last value counts; write it once"]
    );
    // A key of a configuration entry is meant to stand above the URL.
    assert!(
        service("xmpps://a:p@h.org/b?confirm=sent&port=5222")
            .warnings()
            .is_empty()
    );
}

#[test]
fn a_url_of_somebody_else_waits_for_a_limited_time() {
    let url = "xmpps://a:p@h.org/b?rto=600&cto=600";
    let own = service(url);
    assert_eq!(own.common().read_timeout().as_secs(), 600);
    let context = context().with_env(ackpost_notify::Environment::foreign());
    let guest = ackpost_notify::ServiceUrl::parse(url, &context).expect("a service");
    let common = guest.common();
    assert_eq!(
        (
            common.connect_timeout().as_secs(),
            common.read_timeout().as_secs()
        ),
        (10, 15)
    );
}

#[test]
fn unknown_names_are_reported() {
    let meant = |url: &str| texts(service(url).warnings());
    let seen = meant("xmpps://a:p@h.org/b?verfy=no&ca_flie=x&image=yes&footer=no&from=me");
    assert_eq!(
        seen,
        [
            "verfy: `verfy` is not a parameter here and is not used; perhaps verify is meant",
            "ca_flie: `ca_flie` is not a parameter here and is not used; perhaps ca_file is meant",
            "image: `image` is not a parameter here and is not used; remove it; `ackpost details xmpp` lists the parameters",
            "footer: `footer` is not a parameter here and is not used; remove it; `ackpost details xmpp` lists the parameters",
            "from: `from` is not a parameter here and is not used; remove it; `ackpost details xmpp` lists the parameters",
        ]
    );
}

#[test]
fn a_port_behind_the_host_to_connect_to_is_named() {
    for host in ["im.example.org:5222", "192.0.2.1:5223", "[2001:db8::1]:5222"] {
        let text = refusal(&format!("xmpps://alice:pw@example.org/bob?xmpp={host}"));
        assert!(
            text.contains("`xmpp=` takes a host without a port") && text.contains("domain:PORT/?xmpp=HOST"),
            "{text}"
        );
    }
    for host in ["im.example.org", "192.0.2.1", "2001:db8::1"] {
        service(&format!("xmpps://alice:pw@example.org/bob?xmpp={host}"));
    }
}
