//! Session communities.

use std::net::TcpListener;

use ackpost_testkit::{SelfSigned, reserve_port};
use serde_json::json;

use crate::canned::{Answers, serve};
use crate::examined::{examine, fails_at, is_free, names, steps};
use crate::front::tls_front;
use crate::support::community::Community;
use crate::support::{Program, SEED, SERVER_KEY};

fn at(port: u16, rest: &str) -> String {
    format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{port}/{rest}")
}

#[test]
fn a_right_server_passes_every_step() {
    let community = Community::start("lobby");
    let url = format!("{}/lobby", community.server_url());
    let report = is_free(&["--send", &url]);
    assert_eq!(
        names(&report),
        [
            "url",
            "dns",
            "tcp",
            "tls",
            "http",
            "clock",
            "capabilities",
            "signature",
            "room",
            "send"
        ]
    );
    assert_eq!(report["steps"][9]["status"], "ok");
    is_free(&[&at(serve(Answers::default()), "lobby?encrypt=no")]);
}

#[test]
fn a_server_that_seals_nothing_needs_the_word_of_the_user() {
    let port = serve(Answers::default());
    let report = fails_at("signature", &at(port, "lobby"));
    let step = |report: &serde_json::Value, name: &str| {
        report["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
            .expect("the step")
    };
    let seen = |report: &serde_json::Value, name: &str| step(report, name)["seen"].to_string();
    assert!(
        seen(&report, "tls").contains("sealed to the server's key"),
        "{report:#}"
    );
    let remedy = step(&report, "signature")["remedy"].to_string();
    assert!(
        remedy.contains("encrypt=no") && remedy.contains("everybody on the way can read and change"),
        "{report:#}"
    );
    // With that word nothing claims to be sealed.
    let report = is_free(&[&at(port, "lobby?encrypt=no")]);
    assert!(
        seen(&report, "tls").contains("everybody on the way can read and change"),
        "{report:#}"
    );
    assert!(!seen(&report, "signature").contains("sealed"), "{report:#}");
}

#[test]
fn a_join_link_is_looked_at_with_the_stored_identity() {
    let community = Community::start("lobby");
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let program = Program::new();
    let without = program.run(&["doctor", &link]);
    assert!(
        without.code == 1 && without.all().contains("seed is missing"),
        "{}",
        without.all()
    );
    assert_eq!(program.run(&["identity", "new"]).code, 0);
    let with = program.run(&["doctor", "--send", &link]);
    assert_eq!(with.code, 0, "{}", with.all());
}

#[test]
fn urls_that_make_no_sense() {
    let port = serve(Answers::default());
    fails_at(
        "url",
        &format!("session://{SERVER_KEY}:123@127.0.0.1:{port}/lobby"),
    );
    fails_at("url", &format!("session://123:{SEED}@127.0.0.1:{port}/lobby"));
    fails_at("url", &format!("bogus://127.0.0.1:{port}/lobby"));
    fails_at("url", &at(port, ""));
    // One of two rooms is none.
    fails_at("url", &at(port, "lobby/b!d?encrypt=no"));
}

#[test]
fn names_and_ports_that_lead_nowhere() {
    fails_at(
        "dns",
        &format!("session://{SERVER_KEY}:{SEED}@no-such-host.invalid/lobby"),
    );
    fails_at("tcp", &at(reserve_port(), "lobby"));
}

#[test]
fn https_where_there_is_none() {
    let port = serve(Answers::default());
    let report = fails_at(
        "tls",
        &at(port, "lobby?encrypt=no").replacen("session:", "sessions:", 1),
    );
    let better = report["suggested_url"].as_str().expect("a proposal");
    assert!(better.starts_with("session://"), "{better}");
    is_free(&[&at(port, "lobby?encrypt=no")]);
}

#[test]
fn certificates_wrong_in_one_way_each() {
    let port = serve(Answers::default());
    let folder = tempfile::tempdir().expect("a folder");
    let url = |certificate: &SelfSigned, name: &str| {
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, &certificate.pem).expect("written");
        let front = tls_front(certificate, port);
        let plain = at(front, "lobby?encrypt=no")
            .replacen("session:", "sessions:", 1)
            .replace("127.0.0.1", "localhost");
        (plain.clone(), format!("{plain}&ca_file={}", file.display()))
    };
    let good = SelfSigned::new(&["localhost"]);
    let (untrusted, trusted) = url(&good, "good");
    fails_at("tls", &untrusted);
    is_free(&[&trusted]);
    let dated = |from: i32, to: i32, name: &str| {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        SelfSigned::from_params(&params)
    };
    fails_at("tls", &url(&dated(2020, 2021, "localhost"), "expired").1);
    fails_at("tls", &url(&dated(2090, 2095, "localhost"), "early").1);
    fails_at("tls", &url(&dated(2020, 2090, "elsewhere.example"), "name").1);
    is_free(&[&url(&dated(2020, 2090, "localhost"), "right").1]);
}

#[test]
fn servers_that_are_not_a_community() {
    let with = |change: fn(&mut Answers)| {
        let mut answers = Answers::default();
        change(&mut answers);
        at(serve(answers), "lobby?encrypt=no&rto=2&cto=2")
    };
    fails_at(
        "http",
        &with(|answers| answers.capabilities = (404, "nothing here".into())),
    );
    fails_at(
        "http",
        &with(|answers| answers.capabilities = (200, "<html>hello</html>".into())),
    );
    fails_at(
        "http",
        &with(|answers| answers.capabilities = (200, "{\"capabilities\":[]}".into())),
    );
    fails_at(
        "http",
        &with(|answers| answers.capabilities = (500, String::new())),
    );
    fails_at("http", &with(|answers| answers.silent = true));

    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in other.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::{Read as _, Write as _};
                let mut stream = stream;
                if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
                    let _ =
                        stream.write_all(b"<stream:error><not-well-formed/></stream:error></stream:stream>");
                }
            });
        }
    });
    let report = fails_at("http", &at(port, "lobby?encrypt=no&rto=2&cto=2"));
    assert!(report.to_string().contains("does not speak HTTP"), "{report}");
}

#[test]
fn a_server_that_moved() {
    let new = serve(Answers::default());
    let answers = Answers {
        capabilities: (301, String::new()),
        location: Some(format!("http://127.0.0.1:{new}/capabilities")),
        ..Answers::default()
    };
    let report = fails_at("http", &at(serve(answers), "lobby?encrypt=no"));
    let better = report["suggested_url"].as_str().expect("a proposal");
    assert!(better.contains(&format!("@127.0.0.1:{new}/lobby")), "{better}");
    is_free(&[&at(new, "lobby?encrypt=no")]);
}

#[test]
fn clocks_that_differ() {
    let date = |seconds: i64| {
        let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        Some(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    };
    let url = |seconds| {
        at(
            serve(Answers {
                date: date(seconds),
                ..Answers::default()
            }),
            "lobby?encrypt=no",
        )
    };
    fails_at("clock", &url(3 * 86_400));
    fails_at("clock", &url(-8 * 3_600));
    let report = is_free(&[&url(600)]);
    assert_eq!(report["steps"][5]["status"], "warn", "{report:#}");
    is_free(&[&url(0)]);
}

#[test]
fn ids_and_keys_that_the_server_does_not_take() {
    let port = serve(Answers::default());
    let report = fails_at("capabilities", &at(port, "lobby?encrypt=no&blind=no"));
    assert!(
        !report["suggested_url"]
            .as_str()
            .expect("a proposal")
            .contains("blind"),
        "{report:#}"
    );
    let rooms = |status, text: &str| {
        let answers = Answers {
            rooms: (status, text.to_owned()),
            ..Answers::default()
        };
        at(serve(answers), "lobby?encrypt=no")
    };
    fails_at("signature", &rooms(401, "Invalid signature"));
    fails_at("account", &rooms(403, "Banned"));
    // A real server, and the key of another.
    let community = Community::start("lobby");
    let right = format!("{}/lobby", community.server_url());
    fails_at("signature", &right.replace(&community.key, SERVER_KEY));
    is_free(&[&right]);
}

#[test]
fn rooms_that_cannot_be_posted_to() {
    let community = Community::start("lobby");
    let report = fails_at("room", &format!("{}/loby", community.server_url()));
    assert!(
        report["suggested_url"]
            .as_str()
            .expect("a proposal")
            .contains("/lobby"),
        "{report:#}"
    );
    is_free(&[&format!("{}/lobby", community.server_url())]);
    let room = |change: serde_json::Value| {
        let mut answers = Answers::default();
        for (name, value) in change.as_object().expect("an object") {
            answers.room[name] = value.clone();
        }
        at(serve(answers), "lobby?encrypt=no")
    };
    fails_at("room", &room(json!({"write": false})));
    fails_at("room", &room(json!({"write": false, "read": false})));
    let report = is_free(&[&room(json!({"upload": false}))]);
    assert_eq!(report["steps"][8]["status"], "warn", "{report:#}");
    let forbidden = Answers {
        room_status: 403,
        ..Answers::default()
    };
    fails_at("room", &at(serve(forbidden), "lobby?encrypt=no"));
}

#[test]
fn a_configuration_is_looked_at_as_a_whole() {
    let port = serve(Answers::default());
    let good = at(port, "lobby?encrypt=no");
    let program = Program::new().file(
        "ops.conf",
        &format!("ops={good}\nbad={}\n", at(reserve_port(), "lobby")),
    );
    let ran = program.run(&["--json", "doctor", "--config", "ops.conf"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (4, 2), "{}", ran.all());
    let ran = program.run(&["doctor", "--config", "ops.conf", "-g", "ops"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout.contains("a message would be delivered"),
        "{}",
        ran.all()
    );
    assert!(!ran.all().contains(SEED));
}

#[test]
fn operators_see_whether_their_link_leads_there() {
    let community = Community::start("lobby");
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let report = is_free(&["--server", &link]);
    assert_eq!(
        names(&report)[..6],
        ["link", "dns", "tcp", "tls", "http", "clock"],
        "{report:#}"
    );
    for (bad, step) in [
        (link.replace(&community.key, SERVER_KEY), "onion"),
        (link.replace("/lobby", "/loby"), "room"),
        (
            format!(
                "http://127.0.0.1:{}/lobby?public_key={}",
                reserve_port(),
                community.key
            ),
            "tcp",
        ),
        ("http://127.0.0.1/lobby".to_owned(), "link"),
    ] {
        let examined = examine(&["--server", &bad]);
        assert_eq!(examined.code, 1, "{:#}", examined.report);
        assert_eq!(steps(&examined.report, "fail"), [step], "{:#}", examined.report);
    }
}

#[test]
fn rooms_and_bans_of_a_real_server() {
    let community = Community::start("lobby");
    let allow_writing = |allowed: &str| {
        let edit = ["server", "room", "edit", "--dir", "community", "lobby"];
        let ran = community
            .program
            .run(&[&edit[..], &["--write", allowed]].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
    };
    let url = format!("{}/lobby", community.server_url());
    is_free(&["--send", &url]);
    // A room that is only read.
    allow_writing("no");
    fails_at("room", &url);
    allow_writing("yes");
    let report = is_free(&["--send", &url]);
    // Somebody who is banned, from the room and from the server.
    let id = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find_map(|step| step["seen"].as_str()?.split("this account as ").nth(1))
        .expect("the id that the server shows")
        .to_owned();
    for (place, step, cause) in [
        (
            &["--room", "lobby", "--for", "2h"][..],
            "room",
            "this account is banned from the room until 20",
        ),
        (&["--global"], "account", "this account is banned on the server"),
    ] {
        let ban = ["server", "ban", "add", "--dir", "community", &id];
        let ran = community.program.run(&[&ban[..], place].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
        let report = fails_at(step, &url).to_string();
        assert!(
            report.contains(cause) && report.contains("ask a moderator") && !report.contains("no such room"),
            "{report}"
        );
    }
}

#[test]
fn links_whose_way_in_is_broken() {
    // Everything answers but the way for sealed requests, which is the one that people's apps take.
    let port = serve(Answers::default());
    let examined = examine(&[
        "--server",
        &format!("http://127.0.0.1:{port}/lobby?public_key={SERVER_KEY}"),
    ]);
    assert_eq!(examined.code, 1, "{:#}", examined.report);
    let failed: Vec<_> = examined.report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter(|one| one["status"] == "fail")
        .map(|one| {
            (
                one["name"].clone(),
                one["remedy"].as_str().unwrap_or_default().len() > 5,
            )
        })
        .collect();
    assert_eq!(failed, [(json!("onion"), true)], "{:#}", examined.report);
}
