//! XMPP: a real Prosody, and what goes wrong on the way to it.

use ackpost_testkit::{Federation, Prosody, Relay, RelayOptions, SelfSigned, ServerOptions};

use crate::accounts::{alice, room};
use crate::canned::{Answers, serve};
use crate::examined::{fails_at, is_free, names};
use crate::front::tls_front;

#[test]
fn a_right_account_passes_every_step() {
    let server = Prosody::shared();
    let report = is_free(&[&alice(server, server.port, "mode=starttls")]);
    assert_eq!(
        names(&report),
        [
            "url",
            "dns",
            "tcp",
            "tls",
            "stream",
            "mechanism",
            "login",
            "recipient",
            "upload"
        ]
    );
    is_free(&["--send", &room(server, "open", "")]);
}

#[test]
fn names_and_ports_that_lead_nowhere() {
    fails_at("dns", "xmpps://alice:alicepass@no-such-host.invalid/bob");
    fails_at(
        "dns",
        "xmpps://alice:alicepass@localhost:5222/bob?xmpp=no-such-host.invalid",
    );
    let port = ackpost_testkit::reserve_port();
    fails_at(
        "tcp",
        &format!("xmpps://alice:alicepass@localhost:{port}/bob?xmpp=127.0.0.1"),
    );
}

#[test]
fn encryption_of_the_wrong_kind() {
    let server = Prosody::shared();
    let report = fails_at("tls", &alice(server, server.tls_port, "mode=starttls"));
    assert!(
        report["suggested_url"]
            .as_str()
            .expect("a proposal")
            .contains("mode=tls"),
        "{report:#}"
    );
    is_free(&[&alice(server, server.tls_port, "mode=tls")]);
    let report = fails_at("tls", &alice(server, server.port, "mode=tls"));
    assert!(
        report["suggested_url"]
            .as_str()
            .expect("a proposal")
            .contains("mode=starttls"),
        "{report:#}"
    );
    is_free(&[&alice(server, server.port, "mode=starttls")]);
    // Without encryption, where the domain insists on it.
    let strict = alice(server, server.strict_port, "mode=none")
        .replacen("xmpps:", "xmpp:", 1)
        .replace("@localhost", &format!("@{}", server.strict_domain));
    fails_at("tls", &strict);
    is_free(&[&strict
        .replacen("xmpp:", "xmpps:", 1)
        .replace("mode=none", "mode=starttls")]);
}

#[test]
fn certificates_that_are_not_believed() {
    let server = Prosody::shared();
    let url = alice(server, server.port, "mode=starttls");
    fails_at(
        "tls",
        &url.replace(&format!("&ca_file={}", server.ca.display()), ""),
    );
    is_free(&[&url]);
}

#[test]
fn servers_that_are_something_else() {
    let server = Prosody::shared();
    let http = serve(Answers::default());
    fails_at(
        "stream",
        &alice(server, http, "mode=none").replacen("xmpps:", "xmpp:", 1),
    );
    // The server does not serve this domain.
    let other = alice(server, server.port, "mode=none")
        .replacen("xmpps:", "xmpp:", 1)
        .replace("@localhost", "@elsewhere.test");
    fails_at("stream", &other);
    // It takes the connection and says nothing.
    let relay = Relay::to_port(server.port, RelayOptions::default());
    relay.black_hole(true);
    fails_at(
        "stream",
        &alice(server, relay.port(), "mode=none&rto=2").replacen("xmpps:", "xmpp:", 1),
    );
    relay.black_hole(false);
    is_free(&[&alice(server, relay.port(), "mode=starttls")]);
}

#[test]
fn logins_that_are_not_accepted() {
    let server = Prosody::shared();
    let good = alice(server, server.port, "mode=starttls");
    fails_at("login", &good.replace("alicepass", "wrong"));
    fails_at("login", &good.replace("alice:", "nobody:"));
    is_free(&[&good]);
    // Nothing to bind the login to.
    let unbound = alice(server, server.port, "mode=none&scramplus=require").replacen("xmpps:", "xmpp:", 1);
    fails_at("mechanism", &unbound);
    is_free(&[&unbound.replace("=require", "=yes")]);
}

#[test]
fn rooms_and_people_that_cannot_be_reached() {
    let server = Prosody::shared();
    fails_at("room", &room(server, "nowhere", ""));
    fails_at("room", &room(server, "members", ""));
    fails_at("room", &room(server, "secret", ""));
    fails_at("room", &room(server, "secret", "room_password=wrong"));
    is_free(&[&room(server, "secret", "room_password=roompass")]);
    fails_at("room", &room(server, "moderated", ""));
    is_free(&[&room(server, "open", "")]);
    // A room that is addressed like a person.
    let report = fails_at("recipient", &room(server, "open", "").replace("/%23", "/"));
    assert!(
        report["suggested_url"]
            .as_str()
            .expect("a proposal")
            .contains("%23open"),
        "{report:#}"
    );
}

#[test]
fn certificates_wrong_in_one_way_each() {
    let server = Prosody::shared();
    let folder = tempfile::tempdir().expect("a folder");
    // TLS from the first byte, ended in front of the server's clear port: only the certificate is ours.
    let url = |certificate: &SelfSigned, name: &str| {
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, &certificate.pem).expect("written");
        format!(
            "xmpps://alice:alicepass@localhost:{}/bob?xmpp=127.0.0.1&mode=tls&ca_file={}",
            tls_front(certificate, server.port),
            file.display()
        )
    };
    let dated = |from: i32, to: i32, name: &str| {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        SelfSigned::from_params(&params)
    };
    let seen = |report: &serde_json::Value| {
        let steps = report["steps"].as_array().expect("steps");
        let failed = steps.iter().find(|step| step["status"] == "fail");
        failed.expect("one failed")["seen"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let expired = seen(&fails_at("tls", &url(&dated(2020, 2021, "localhost"), "expired")));
    assert!(
        expired.contains("expired") && expired.contains("2021"),
        "{expired}"
    );
    let early = seen(&fails_at("tls", &url(&dated(2090, 2095, "localhost"), "early")));
    assert!(
        early.contains("not valid yet") || early.contains("not yet valid"),
        "{early}"
    );
    let name = seen(&fails_at(
        "tls",
        &url(&dated(2020, 2090, "elsewhere.example"), "name"),
    ));
    assert!(name.contains("elsewhere.example"), "{name}");
    let good = url(&dated(2020, 2090, "localhost"), "right");
    is_free(&["--send", &good]);
    let (plain, _) = good.split_once("&ca_file").expect("it was put there");
    fails_at("tls", plain);
}

#[test]
fn people_of_domains_that_cannot_be_reached() {
    let free = ackpost_testkit::reserve_port;
    // A server that talks to others; the one it looks for does not run.
    let server = Prosody::start(ServerOptions {
        federation: Some(Federation {
            host: "one.test".to_owned(),
            port: free(),
            peer: "two.test".to_owned(),
            peer_port: free(),
            dns_port: free(),
        }),
        ..ServerOptions::default()
    });
    let to = |person: &str| {
        format!(
            "xmpps://alice:alicepass@one.test:{}/{person}?xmpp=127.0.0.1&mode=starttls&verify=no",
            server.port
        )
    };
    fails_at("recipient", &to("jane%40two.test"));
    is_free(&["--send", &to("bob%40one.test")]);
}
