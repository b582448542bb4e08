//! `sessiondm://` and `ackpost dm` with a Session ID, by the real binary against a network of fake nodes.

#[path = "support/schemas.rs"]
mod schemas;
mod support;

use std::collections::HashMap;
use std::io::BufRead as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use serde_json::Value;
use support::{Program, Ran};

fn ok(program: &Program, args: &[&str]) -> Ran {
    let ran = program.run(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    ran
}

fn json(program: &Program, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(args);
    let objects = ok(program, &all).json();
    schemas::check(args, &objects);
    objects
}

/// A program with its own account.
fn person() -> (Program, String) {
    let program = Program::new();
    let id = ok(&program, &["identity", "new"]).stdout.trim().to_owned();
    (program, id)
}

fn url(program: &Program, swarm: &FakeSwarm, to: &str, more: &str) -> String {
    let seed = program.home().join(".config/ackpost/identities/default");
    let network = swarm.node_seed(0).replace('@', "%40").replace(':', "%3A");
    format!(
        "sessiondm://{to}?seed_file={}&network={network}{more}",
        seed.display()
    )
}

#[test]
fn a_text_to_a_session_id_is_delivered_and_read() {
    let swarm = FakeSwarm::with_swarms(&[5, 4]);
    let network = swarm.node_seed(0);
    let ((bot, bot_id), (reader, reader_id)) = (person(), person());
    let sent = &json(
        &bot,
        &[
            "dm",
            "send",
            &reader_id,
            "-b",
            "hello",
            "--name",
            "Bot",
            "--network",
            &network,
        ],
    )[0];
    assert_eq!(
        (&sent["from"], &sent["to"]),
        (&Value::from(bot_id.as_str()), &Value::from(reader_id.as_str()))
    );
    assert_eq!(sent["signed"], sent["nodes"]);
    // One for the list of nodes, one for the message, through three nodes.
    assert_eq!(sent["round_trips"], 2);
    ok(
        &bot,
        &[
            "-b",
            "by URL",
            &url(&bot, &swarm, &reader_id, "&name=Bot&mode=direct"),
        ],
    );
    let words = ok(
        &bot,
        &[
            "dm",
            "send",
            &reader_id,
            "-b",
            "soon gone",
            "--expire",
            "1h",
            "--network",
            &network,
        ],
    );
    assert!(words.stdout.contains("stored, signed by"), "{}", words.stdout);
    assert!(words.stdout.contains(", 1 round trip\n"), "{}", words.stdout);

    let read = json(&reader, &["dm", "read", &reader_id, "--network", &network]);
    let bodies: Vec<_> = read.iter().filter_map(|event| event["body"].as_str()).collect();
    assert_eq!(bodies, ["hello", "by URL", "soon gone"]);
    assert_eq!(
        (&read[0]["name"], &read[2]["disappears_after_seconds"]),
        (&Value::from("Bot"), &Value::from(3600))
    );
    assert!(read.iter().all(|event| event["from"] == bot_id.as_str()));
    // It reads the same again, and what one person wrote alone.
    assert_eq!(
        json(
            &reader,
            &["dm", "read", &bot_id, "--network", &network, "--mode", "direct"]
        )
        .len(),
        3
    );
    assert!(json(&bot, &["dm", "read", &reader_id, "--network", &network]).is_empty());
    let text = ok(&reader, &["dm", "read", &reader_id, "--network", &network]).stdout;
    assert!(text.contains("Bot") && text.contains("by URL"), "{text}");
}

/// A run of `watch` whose events go to `seen`, one by one.
fn watch(program: &Program, args: &[&str], seen: &Sender<Value>) -> Child {
    let mut all = vec!["watch", "--json", "--interval", "1"];
    all.extend(args);
    let checked: Vec<String> = all.iter().map(ToString::to_string).collect();
    let mut child = program
        .command(&all)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let seen = seen.clone();
    std::thread::spawn(move || {
        let args: Vec<&str> = checked.iter().map(String::as_str).collect();
        // A killed program may leave half a line behind.
        for event in stdout
            .lines()
            .filter_map(|line| serde_json::from_str(&line.ok()?).ok())
        {
            schemas::check(&args, std::slice::from_ref(&event));
            let _ = seen.send(event);
        }
    });
    child
}

#[test]
fn a_watched_mailbox_shows_every_message_over_kills_and_none_twice_over_stops() {
    let swarm = FakeSwarm::start(5);
    let network = swarm.node_seed(0);
    let ((bot, _), (reader, reader_id)) = (person(), person());
    let options = ["--network", &network, "--mode", "direct"];
    let send = |n: usize| {
        let body = format!("number {n}");
        let mut args = vec!["dm", "send", &reader_id, "-b", &body];
        args.extend(options);
        ok(&bot, &args);
    };
    let mut args = vec![reader_id.as_str()];
    args.extend(options);
    let (sender, seen) = channel();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut sent, mut kills) = (0, 0);
    let end = Instant::now() + Duration::from_secs(120);
    let mut child = watch(&reader, &args, &sender);
    for round in 0..6 {
        for _ in 0..4 {
            send(sent);
            sent += 1;
        }
        // Killed while it prints; on the other rounds it is stopped in order after it printed everything.
        let goal = if round % 2 == 0 { sent - 2 } else { sent };
        while counts.len() < goal {
            let left = end.saturating_duration_since(Instant::now());
            let event = seen.recv_timeout(left).expect("an event in time");
            assert_eq!(
                (&event["event"], &event["own"]),
                (&"direct".into(), &false.into())
            );
            *counts
                .entry(event["body"].as_str().expect("a text").to_owned())
                .or_default() += 1;
        }
        if round % 2 == 0 {
            child.kill().expect("our child");
            child.wait().expect("our child");
            kills += 1;
        } else {
            support::process::signal(child.id(), "-TERM");
            assert!(support::process::end(&mut child).success());
        }
        child = watch(&reader, &args, &sender);
    }
    std::thread::sleep(Duration::from_secs(3));
    support::process::signal(child.id(), "-TERM");
    assert!(support::process::end(&mut child).success());
    drop(sender);
    for event in seen {
        *counts
            .entry(event["body"].as_str().expect("a text").to_owned())
            .or_default() += 1;
    }
    assert_eq!(counts.len(), sent, "{counts:?}");
    let repeated: usize = counts.values().map(|count| count - 1).sum();
    assert!(
        repeated <= kills,
        "{repeated} events repeated after {kills} kills: {counts:?}"
    );
}

#[test]
fn watch_takes_a_url_filters_a_person_and_keeps_its_place_beside_a_cursor() {
    let swarm = FakeSwarm::start(5);
    let network = swarm.node_seed(0);
    let ((alice, alice_id), (bob, _), (reader, reader_id)) = (person(), person(), person());
    for (who, text) in [(&alice, "from alice"), (&bob, "from bob")] {
        ok(
            who,
            &["dm", "send", &reader_id, "-b", text, "--network", &network],
        );
    }
    let bodies = |args: &[&str]| {
        let events = json(&reader, args);
        let bodies = events
            .iter()
            .map(|event| event["body"].as_str().expect("a text").to_owned());
        bodies.collect::<Vec<_>>()
    };
    let watch = ["watch", "--count", "2", "--cursor", "seen.json"];
    let url = url(&reader, &swarm, &alice_id, "");
    assert_eq!(
        bodies(&[&watch[..], &[&url]].concat()),
        ["from alice", "from bob"]
    );
    assert!(reader.home().join("seen.json.mailboxes").is_dir());
    // The messages of one person have their own reading state; the one in the state folder is separate again.
    let only = ["watch", "--count", "1", "--network", &network, &alice_id];
    assert_eq!(bodies(&only), ["from alice"]);
    ok(
        &alice,
        &["dm", "send", &reader_id, "-b", "more", "--network", &network],
    );
    assert_eq!(
        bodies(&["watch", "--count", "1", "--cursor", "seen.json", &url]),
        ["more"]
    );
    assert_eq!(bodies(&only), ["more"]);
    // A network that does not answer is waited for, and said so.
    drop(swarm);
    let events = json(&reader, &["watch", "--count", "1", "--interval", "1", &url]);
    assert_eq!(events[0]["event"], "offline");
    assert!(
        events[0]["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty())
    );
}

#[test]
fn a_failed_send_names_how_many_nodes_signed() {
    let swarm = FakeSwarm::start(5);
    let (bot, id) = person();
    ok(&bot, &["-b", "first", &url(&bot, &swarm, &id, "")]);
    swarm.add_fault(FaultPlan::new(SwarmFault::ForgedSignature));
    let ran = bot.run(&["-b", "second", &url(&bot, &swarm, &id, "&retry=0")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.all().contains("signed by 0 of 5 nodes"), "{}", ran.all());
    let ran = bot.run(&["dm", "send", &id, "-b", "third", "--network", &swarm.node_seed(0)]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("receipt's signature"), "{}", ran.stderr);
    // A command keeps no bytes: whoever repeats it makes another message.
    for part in ["the message may have arrived", "a repeat makes a second message"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
fn a_direct_message_that_no_majority_signs_is_sent_again_with_the_same_bytes() {
    let swarm = FakeSwarm::start(5);
    let (bot, id) = person();
    // One attempt asks three nodes.
    swarm.add_fault(FaultPlan::new(SwarmFault::ForgedSignature).times(3));
    ok(
        &bot,
        &["dm", "send", &id, "-b", "once", "--network", &swarm.node_seed(0)],
    );
    for node in 0..5 {
        assert_eq!(swarm.stored_at(node, &id, 0).len(), 1);
    }
}

#[test]
fn doctor_proves_the_network_with_a_message_to_oneself_and_live_keeps_the_day() {
    let swarm = FakeSwarm::with_swarms(&[4, 4]);
    let (bot, bot_id) = person();
    let (_, recipient) = person();
    let url = url(&bot, &swarm, &recipient, "");
    let ran = ok(&bot, &["doctor", &url]);
    for word in [
        "account",
        "seeds",
        "nodes",
        "swarm",
        "path",
        "version",
        "clock",
        "self",
        "proof",
        "signed by 4 of 4 nodes",
        "Not proven",
        "doctor --live",
    ] {
        assert!(ran.all().contains(word), "{word}: {}", ran.all());
    }
    let ran = ok(&bot, &["doctor", "--live", &url]);
    assert!(ran.all().contains("is kept as the day"), "{}", ran.all());
    let ran = ok(&bot, &["doctor", &url]);
    assert!(
        ran.all().contains("a message to oneself was stored on 20"),
        "{}",
        ran.all()
    );
    assert!(!ran.all().contains("Not proven"), "{}", ran.all());
    for node in 0..8 {
        assert!(swarm.stored_at(node, &recipient, 0).is_empty());
        assert!(swarm.stored_at(node, &bot_id, 0).is_empty());
    }
    // A failed test is not kept as a proof. Another network has its own.
    swarm.add_fault(FaultPlan::new(SwarmFault::Forgetful));
    let ran = bot.run(&["--json", "doctor", "--live", &url]);
    assert_ne!(ran.code, 0);
    let steps = ran.json()[0]["steps"].clone();
    let steps = steps.as_array().expect("a list");
    let step = |name: &str| steps.iter().find(|step| step["name"] == name).expect("the step");
    assert_eq!(
        (&step("self")["status"], &step("live")["status"]),
        (&"fail".into(), &"skipped".into())
    );
    assert!(
        step("self")["seen"]
            .as_str()
            .is_some_and(|seen| seen.contains("do not return it"))
    );
    assert!(step("proof")["status"] == "ok");
}

#[test]
fn a_url_without_a_seed_uses_the_account_that_dm_id_shows() {
    let swarm = FakeSwarm::start(5);
    let (reader, reader_id) = person();
    let network = swarm.node_seed(0);
    let escaped = network.replace('@', "%40").replace(':', "%3A");
    let url = format!("sessiondm://{reader_id}?network={escaped}&mode=direct");
    let bot = Program::new();
    let made = ok(&bot, &["dm", "id"]).stdout.trim().to_owned();
    assert_eq!(json(&bot, &["dm", "id"])[0]["session_id"], made.as_str());
    ok(&bot, &["-b", "from the state folder", &url]);
    // A stored identity comes first, for both.
    let stored = ok(&bot, &["identity", "new"]).stdout.trim().to_owned();
    assert_ne!(stored, made);
    assert_eq!(ok(&bot, &["dm", "id"]).stdout.trim(), stored);
    ok(&bot, &["-b", "from the identity", &url]);
    let read = json(&reader, &["dm", "read", &reader_id, "--network", &network]);
    let from: Vec<_> = read
        .iter()
        .map(|event| event["from"].as_str().expect("an id"))
        .collect();
    assert_eq!(from, [&made, &stored]);
}

#[test]
fn files_go_with_a_message_and_are_saved() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let ((bot, _), (reader, reader_id)) = (person(), person());
    let (host, key) = swarm.file_server();
    let server = format!("{}@{host}:80", hex::encode(key));
    let network = swarm.node_seed(0);
    let escaped = server.replace('@', "%40").replace(':', "%3A");
    let url = url(&bot, &swarm, &reader_id, &format!("&file_server={escaped}"));
    std::fs::write(bot.home().join("report.txt"), "all is well").expect("written");
    ok(&bot, &["-b", "the report", "-a", "report.txt", &url]);
    std::fs::create_dir(reader.home().join("inbox")).expect("a folder");
    let args = [
        "dm",
        "read",
        &reader_id,
        "--network",
        &network,
        "--file-server",
        &server,
        "--save",
        "inbox",
    ];
    let read = json(&reader, &args);
    assert_eq!(read[0]["files"][0]["name"], "report.txt");
    let saved = reader.home().join("inbox/report.txt");
    assert_eq!(std::fs::read_to_string(&saved).expect("saved"), "all is well");
    // A name that somebody else chose replaces nothing, and the exit code tells.
    std::fs::write(&saved, "mine").expect("written");
    let ran = reader.run(&args);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert_eq!(std::fs::read_to_string(&saved).expect("there"), "mine");
    assert!(ran.stdout.contains("[report.txt, 11 bytes]"), "{}", ran.stdout);
}

#[test]
fn a_watched_mailbox_saves_files_and_replaces_none() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let ((bot, _), (reader, reader_id)) = (person(), person());
    let (host, key) = swarm.file_server();
    let server = format!("{}@{host}:80", hex::encode(key));
    let network = swarm.node_seed(0);
    let escaped = server.replace('@', "%40").replace(':', "%3A");
    let url = url(&bot, &swarm, &reader_id, &format!("&file_server={escaped}"));
    let send = |content: &str| {
        std::fs::write(bot.home().join("report.txt"), content).expect("written");
        ok(&bot, &["-b", "the report", "-a", "report.txt", &url]);
    };
    let args = [
        "watch",
        "--interval",
        "1",
        "--count",
        "1",
        "--network",
        &network,
        "--file-server",
        &server,
        "--save",
        "inbox",
        &reader_id,
    ];
    let ran = reader.run(&args);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("inbox is not a folder"), "{}", ran.stderr);
    let inbox = reader.home().join("inbox");
    std::fs::create_dir(&inbox).expect("a folder");
    let saved = |events: &[Value]| {
        let path = events[0]["files"][0]["saved"].as_str().expect("saved").to_owned();
        std::fs::read_to_string(reader.home().join(path)).expect("there")
    };
    for content in ["monday", "tuesday"] {
        send(content);
        assert_eq!(saved(&json(&reader, &args)), content);
    }
    assert_eq!(
        std::fs::read_to_string(inbox.join("report.txt")).expect("there"),
        "monday"
    );
    // A file that cannot be fetched does not stop the mailbox.
    send("wednesday");
    swarm.add_fault(FaultPlan::new(SwarmFault::Forgetful).method("file"));
    let events = json(&reader, &args);
    let file = &events[0]["files"][0];
    assert!(
        file["problem"]
            .as_str()
            .is_some_and(|why| why.contains("ask the sender")),
        "{file}"
    );
    assert_eq!(std::fs::read_dir(&inbox).expect("a folder").count(), 2);
}

#[test]
fn keys_of_version_2_are_told_once_a_day_by_both_commands() {
    let swarm = FakeSwarm::start(5);
    let ((bot, _), (other, _), (_, reader_id)) = (person(), person(), person());
    swarm.put(&reader_id, -21, b"keys");
    let network = swarm.node_seed(0);
    let args = ["dm", "send", &reader_id, "-b", "hello", "--network", &network];
    let warned = |ran: &Ran| ran.all().contains("version 2 of the protocol");
    assert!(warned(&ok(&bot, &args)));
    assert!(!warned(&ok(&bot, &args)), "once a day");
    let url = url(&other, &swarm, &reader_id, "");
    let ran = ok(&other, &["-b", "by URL", &url]);
    assert!(warned(&ran), "{}", ran.all());
    assert!(!warned(&ok(&other, &["-b", "by URL", &url])));
    // Two nodes are asked, once a day for each sender.
    assert_eq!(swarm.count("retrieve"), 4);
}

#[test]
fn wrong_command_lines_name_the_right_form() {
    let (bot, id) = person();
    let blinded = format!("15{}", &id[2..]);
    for (args, word) in [
        (vec!["dm", "send", &id, &blinded, "-b", "x"], "two recipients"),
        (
            vec!["dm", "send", "https://example.org/room?public_key=00", "-b", "x"],
            "recipient is missing",
        ),
        (vec!["dm", "read", &id, "--clear"], "for communities"),
        (
            vec!["dm", "send", &id, "-b", "x", "--network", "example.org"],
            "ED25519@IP:PORT",
        ),
        (vec!["-b", "x", &format!("session://{id}")], "sessiondm://05"),
    ] {
        let ran = bot.run(&args);
        assert_ne!(ran.code, 0, "{args:?}");
        assert!(ran.all().contains(word), "{args:?}: {}", ran.all());
    }
}

#[test]
fn the_label_says_experimental_wherever_the_service_is_named() {
    let program = Program::new();
    for args in [
        &["details"][..],
        &["dm", "send", "--help"],
        &["dm", "read", "--help"],
        &["dm", "--help"],
    ] {
        let ran = ok(&program, args);
        assert!(ran.all().contains("xperimental"), "{args:?}: {}", ran.all());
    }
    // The whole label, word for word, however it is wrapped.
    let words = |text: &str| {
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace('*', "")
    };
    let label = words(ackpost_sessiondm::EXPERIMENTAL);
    let guide = std::fs::read_to_string(support::root().join("docs/guide/session-direct-messages.md"))
        .expect("the guide");
    let help = ok(&program, &["dm", "--help"]).stdout;
    let details = ok(&program, &["details", "sessiondm"]).stdout;
    for text in [guide, help, details] {
        assert!(words(&text).contains(&label), "{label}\nis not in\n{text}");
    }
}
