//! `ackpost identity`, `room`, `dm` and `watch` against a community server, all by the real binary.

#[path = "session_commands/moderating.rs"]
mod moderating;
#[path = "support/schemas.rs"]
mod schemas;
mod support;

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;
use support::community::Community;
use support::{Program, Ran, SEED};

const PHRASE: &str = "love love love love love love love love love love love love love";

/// Runs it and wants success.
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

/// A community, its link, and its global admin.
fn community() -> (Community, String, Program) {
    let community = Community::start("lobby");
    let admin = Program::new();
    let id = ok(&admin, &["identity", "new"]).stdout.trim().to_owned();
    ok(
        &community.program,
        &[
            "server",
            "mod",
            "add",
            "--dir",
            "community",
            &id,
            "--global",
            "--admin",
        ],
    );
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    (community, link, admin)
}

#[test]
fn identities_are_kept_for_their_owner_alone() {
    let program = Program::new();
    let made = &json(&program, &["identity", "new"])[0];
    let file = program.home().join(".config/ackpost/identities/default");
    let mode = std::fs::metadata(&file)
        .expect("it is stored")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = ok(&program, &["identity", "show"]);
    assert_eq!(shown.stdout.trim(), made["session_id"].as_str().expect("an id"));
    let phrase = ok(&program, &["identity", "phrase"]).stdout;
    assert_eq!(phrase.split_whitespace().count(), 13);

    // The same account elsewhere, from its phrase.
    let other = Program::new();
    let ran = other.run_with(&["identity", "import", "copy"], phrase.as_bytes());
    assert_eq!(
        (ran.code, ran.stdout.trim()),
        (0, shown.stdout.trim()),
        "{}",
        ran.all()
    );
    assert_eq!(ok(&other, &["identity", "phrase", "copy"]).stdout, phrase);
    assert!(ok(&other, &["identity", "list"]).stdout.contains("copy"));

    let again = program.run(&["identity", "new"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    let none = Program::new().run(&["identity", "show"]);
    assert!(
        none.code == 1 && none.stderr.contains("identity new"),
        "{}",
        none.all()
    );
    let bad = program.run_with(&["identity", "import", "x"], b"love love lov");
    assert!(bad.code == 1 && bad.stderr.contains("13 words"), "{}", bad.all());
    assert_eq!(program.run(&["identity", "new", "../up"]).code, 2);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("our file");
    assert!(ok(&program, &["identity", "show"]).stderr.contains("chmod 600"));

    let server = "33202f87ce4ff20cbcd0f2e48c8c7f263d11a3609c673b8c7eae56653769c12f";
    let known = program.run_with(&["identity", "import", "known"], PHRASE.as_bytes());
    assert_eq!(
        known.stdout.trim(),
        "053db493811f729da20289e31498b8fe2b28edc90358cd3ec11a6b12ac1b9fb818"
    );
    let blinded = ok(&program, &["identity", "show", "known", "--server", server]).stdout;
    assert!(
        blinded.contains("15ac698d7f18c008621465e72ee4c3e33bda714c2c6f97c67dcb0a4d3f4e1d6f46"),
        "{blinded}"
    );
}

#[test]
fn invalid_names_and_invalid_secrets_are_recognised() {
    let program = Program::new();
    // A phrase in the place of the name earns the warning, and is not repeated.
    let words: Vec<_> = ["identity", "import"]
        .into_iter()
        .chain(PHRASE.split(' '))
        .collect();
    let seed = "ab".repeat(32);
    for args in [
        &words[..],
        &["identity", "import", PHRASE],
        &["identity", "new", &seed],
    ] {
        let ran = program.run(args);
        assert!(
            ran.code == 2
                && ran
                    .stderr
                    .contains("everybody on this machine can see a seed or phrase"),
            "{}",
            ran.all()
        );
        assert!(
            !ran.all().contains("love") && !ran.all().contains("abab"),
            "{}",
            ran.all()
        );
    }
    // Not a text, not a file, not a phrase.
    std::fs::write(program.home().join("key"), [0xff; 32]).expect("our file");
    for (reference, words) in [
        ("{file:key}", "neither a recovery phrase nor a seed"),
        ("{file:none}", "does not exist"),
        ("{file:.}", "folder"),
    ] {
        let ran = program.run(&["identity", "import", "other", "--from", reference]);
        assert!(
            ran.code == 1 && ran.stderr.contains(words),
            "{reference}: {}",
            ran.all()
        );
        assert!(!ran.stderr.contains("word by word"), "{}", ran.all());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_room_from_the_shell() {
    let (_community, link, admin) = community();
    let user = Program::new().env("PHRASE", PHRASE);
    let me = ["-I", "{env:PHRASE}"];
    let nowhere = user.run(&["room", "read", &link.replace("/lobby?", "/lobbby?")]);
    assert!(
        nowhere.code == 1 && nowhere.stderr.contains("no room \u{201c}lobbby\u{201d}"),
        "{}",
        nowhere.all()
    );
    let word = user.run(&["room", "react", &link, "1", "thumbsup", me[0], me[1]]);
    assert!(
        word.code == 2 && word.stderr.contains("is not an emoji"),
        "{}",
        word.all()
    );
    let info = &json(&user, &["room", "info", &link])[0];
    assert_eq!(
        (info["token"].as_str(), info["link"].as_str()),
        (Some("lobby"), Some(link.as_str()))
    );
    assert_eq!(json(&user, &["room", "list", &link])[0]["token"], "lobby");

    let refused = user.run(&["room", "post", &link, "-b", "x"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("identity new"),
        "{}",
        refused.all()
    );

    std::fs::write(user.home().join("notes.txt"), "some notes").expect("a file");
    let posted = json(
        &user,
        &[
            "room",
            "post",
            &link,
            me[0],
            me[1],
            "-b",
            "Hello\nall",
            "--name",
            "Love",
            "-a",
            "notes.txt",
        ],
    );
    let id = posted[0]["id"].as_u64().expect("a number").to_string();
    let read = json(&admin, &["room", "read", &link]);
    assert_eq!(read.len(), 1);
    assert_eq!(
        (
            read[0]["body"].as_str(),
            read[0]["name"].as_str(),
            &read[0]["verified"]
        ),
        (Some("Hello\nall"), Some("Love"), &Value::Bool(true))
    );
    let file = read[0]["files"][0]["id"].as_u64().expect("a file").to_string();
    let text = ok(&admin, &["room", "read", &link]).stdout;
    assert!(
        text.contains(&format!("#{id}  Love (15"))
            && text.contains("    Hello\n    all")
            && text.contains("notes.txt"),
        "{text}"
    );
    ok(
        &user,
        &["room", "post", &link, me[0], me[1], "-b", "Title\r\nBody\rx"],
    );
    let text = ok(&admin, &["room", "read", &link, "-n", "1"]).stdout;
    assert!(
        text.contains("    Title\n    Body\u{fffd}x"),
        "CR LF is a line break, CR alone is not printed: {text}"
    );
    ok(&admin, &["room", "download", &link, &file]);
    assert_eq!(
        std::fs::read_to_string(admin.home().join("notes.txt")).expect("a file"),
        "some notes"
    );
    assert_eq!(
        admin.run(&["room", "download", &link, &file]).code,
        1,
        "a file that is there is not replaced"
    );
    assert_eq!(
        ok(&admin, &["room", "download", &link, &file, "-o", "-"]).stdout,
        "some notes"
    );

    let piped = admin.run_with(&["room", "post", &link, "--reply-to", &id], b"from a pipe\n");
    assert_eq!(piped.code, 0, "{}", piped.all());
    let reply = json(&admin, &["room", "read", &link, "-n", "1"]);
    assert_eq!(
        (reply[0]["body"].as_str(), &reply[0]["reply_to"]["from"]),
        (Some("from a pipe"), &read[0]["from"])
    );

    ok(
        &user,
        &["room", "edit", &link, &id, me[0], me[1], "-b", "changed"],
    );
    ok(&admin, &["room", "react", &link, &id, "👍"]);
    assert_eq!(
        json(&admin, &["room", "react", &link, &id, "👍", "--who"]).len(),
        1
    );
    ok(&admin, &["room", "pin", &link, &id]);
    assert_eq!(
        json(&user, &["room", "info", &link])[0]["pinned_messages"][0]["id"].to_string(),
        id
    );
    ok(&admin, &["room", "pin", &link, &id, "--remove"]);
    let one = &json(&admin, &["room", "read", &link, "--message", &id])[0];
    assert_eq!(
        (one["body"].as_str(), &one["reactions"]["👍"]["count"]),
        (Some("changed"), &Value::from(1))
    );
    ok(&admin, &["room", "react", &link, &id, "--clear"]);
    ok(&user, &["room", "delete", &link, &id, me[0], me[1]]);
    let gone = user.run(&["room", "read", &link, "--message", &id]);
    assert!(gone.code == 1 && gone.stderr.contains("404"), "{}", gone.all());

    let settings = json(
        &admin,
        &[
            "room",
            "settings",
            &link,
            "--name",
            "The lobby",
            "--description",
            "Come in",
            "--default-upload",
            "false",
        ],
    );
    assert_eq!(
        (settings[0]["name"].as_str(), &settings[0]["default_upload"]),
        (Some("The lobby"), &Value::Bool(false))
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn direct_messages_and_watching() {
    let (community, link, admin) = community();
    let user = Program::new().env("PHRASE", PHRASE);
    let me = ["-I", "{env:PHRASE}"];
    ok(&user, &["room", "post", &link, me[0], me[1], "-b", "here I am"]);
    let id = json(&admin, &["room", "read", &link])[0]["from"]
        .as_str()
        .expect("an id")
        .to_owned();

    let watching = |count: &str| {
        user.command(&[
            "watch",
            "--json",
            "--interval",
            "1",
            "--cursor",
            "seen.json",
            "--count",
            count,
            &link,
            me[0],
            me[1],
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
    };
    // The first run notes where "now" is; it ends with its first event.
    let mut child = watching("1");
    std::thread::sleep(std::time::Duration::from_secs(2));
    ok(&admin, &["room", "post", &link, "-b", "first", "--name", "Admin"]);
    let read = |child: &mut std::process::Child| -> Vec<Value> {
        let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let lines: Vec<Value> = stdout
            .lines()
            .map(|line| serde_json::from_str(&line.expect("text")).expect("JSON"))
            .collect();
        schemas::check(&["watch"], &lines);
        assert!(child.wait().expect("our child").success());
        lines
    };
    let first = read(&mut child);
    assert_eq!(
        (
            first[0]["event"].as_str(),
            first[0]["body"].as_str(),
            first[0]["room"].as_str(),
            &first[0]["verified"]
        ),
        (Some("message"), Some("first"), Some("lobby"), &Value::Bool(true))
    );
    // The next run reports events that happen while nobody watches, once and in order.
    let posted = &json(&admin, &["room", "post", &link, "-b", "second"])[0];
    ok(&admin, &["room", "react", &link, &posted["id"].to_string(), "👍"]);
    ok(&admin, &["room", "post", &link, "-b", "third"]);
    let sent = &json(
        &admin,
        &[
            "dm",
            "send",
            &link,
            &id,
            "-b",
            "a word in private",
            "--name",
            "Admin",
        ],
    )[0];
    assert_eq!(sent["to"], id.as_str());
    let events = read(&mut watching("3"));
    let shape: Vec<_> = events
        .iter()
        .map(|e| (e["event"].as_str().expect("event"), e["body"].as_str()))
        .collect();
    assert_eq!(
        shape,
        [
            ("message", Some("second")),
            ("message", Some("third")),
            ("direct", Some("a word in private"))
        ],
        "{events:?}"
    );
    assert!(
        events
            .iter()
            .all(|e| e["service"] == "sogs" && e["source"] == community.url.as_str())
    );

    let inbox = json(&user, &["dm", "read", &link, me[0], me[1]]);
    assert_eq!(
        (inbox.len(), inbox[0]["body"].as_str()),
        (1, Some("a word in private"))
    );
    let outbox = ok(&admin, &["dm", "read", &link, "--sent"]).stdout;
    assert!(outbox.contains("a word in private"), "{outbox}");
    let both = user.run(&["dm", "read", &link, me[0], me[1], "--since", "1", "--clear"]);
    assert_eq!(both.code, 2, "it would remove what is not shown: {}", both.all());
    ok(&user, &["dm", "read", &link, me[0], me[1], "--clear"]);
    assert!(json(&user, &["dm", "read", &link, me[0], me[1]]).is_empty());

    let lost = user.run(&[
        "watch",
        "--json",
        "http://127.0.0.1:1/x?public_key=00",
        me[0],
        me[1],
    ]);
    assert_eq!(lost.code, 2, "{}", lost.all());
    let missing = user.run(&["watch", "--count", "1", &link.replace("/lobby?", "/nothing?")]);
    assert_eq!(missing.code, 1, "{}", missing.all());
    assert!(missing.stdout.contains("cannot be read"), "{}", missing.all());
}

#[test]
fn secrets_on_the_command_line_are_warned_of_and_never_shown() {
    let (community, link, _admin) = community();
    let program = Program::new();
    for identity in [PHRASE, SEED] {
        let ran = ok(
            &program,
            &["-vvvv", "room", "post", &link, "-I", identity, "-b", "x"],
        );
        assert!(
            ran.stderr
                .contains("everybody on this machine can see a seed or phrase"),
            "{}",
            ran.stderr
        );
        assert!(
            !ran.all().contains(SEED) && !ran.all().contains("love love"),
            "{}",
            ran.all()
        );
    }
    let url = format!("{}/lobby", community.server_url());
    let ran = ok(&program, &["-vvvv", "room", "info", &url]);
    assert!(
        ran.stderr
            .contains("everybody on this machine can see the seed in the URL")
            && !ran.all().contains(SEED),
        "{}",
        ran.all()
    );
    let stdin = program.run_with(&["room", "post", &link, "-I", "-", "-b", "y"], PHRASE.as_bytes());
    assert!(
        stdin.code == 0 && !stdin.stderr.contains("can be seen"),
        "{}",
        stdin.all()
    );
    let wrong = program.run(&["room", "info", &link.replace("public_key=", "public_key=zz")]);
    assert_eq!(wrong.code, 2);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each command")]
fn every_object_fits_its_schema() {
    let (_community, link, admin) = community();
    let user = Program::new();
    let id = json(&user, &["identity", "new"])[0]["session_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    json(&user, &["identity", "show"]);
    json(&user, &["identity", "list"]);
    json(&user, &["identity", "phrase"]);
    json(&user, &["room", "save", "lobby", &link]);
    json(&user, &["room", "saved"]);
    std::fs::write(user.home().join("a.txt"), "text").expect("a file");
    let file = json(&user, &["room", "upload", "lobby", "a.txt"])[0]["id"].to_string();
    json(&user, &["room", "download", "lobby", &file, "-o", "b.txt"]);

    // The whole message comes back, from the post and from reading it.
    let posted = &json(
        &user,
        &[
            "room", "post", "lobby", "-b", "one", "--name", "Bob", "-a", "a.txt",
        ],
    )[0];
    assert_eq!(
        (&posted["body"], &posted["name"], &posted["withheld"]),
        (&"one".into(), &"Bob".into(), &Value::Null)
    );
    assert!(posted["sent"].is_string() && posted["signature"].as_str().is_some_and(|text| text.len() == 88));
    let number = posted["id"].to_string();
    let reply = &json(
        &user,
        &["room", "post", "lobby", "-b", "two", "--reply-to", &number],
    )[0];
    assert_eq!(reply["reply_to"]["from"], posted["from"]);
    let text = ok(&user, &["room", "read", "lobby"]).stdout;
    assert!(text.contains("\n    [reply to (15"), "{text}");
    // An edit keeps file, name and reply.
    json(&user, &["room", "edit", "lobby", &number, "-b", "uno"]);
    json(
        &user,
        &["room", "edit", "lobby", &reply["id"].to_string(), "--name", "Eve"],
    );
    let read = json(&user, &["room", "read", "lobby"]);
    assert_eq!(
        (&read[0]["body"], &read[0]["name"], &read[0]["files"][0]["name"]),
        (&"uno".into(), &"Bob".into(), &"a.txt".into())
    );
    assert_eq!(
        (&read[1]["body"], &read[1]["name"], &read[1]["reply_to"]),
        (&"two".into(), &"Eve".into(), &reply["reply_to"])
    );
    json(
        &user,
        &["room", "edit", "lobby", &number, "-b", "alone", "--whole"],
    );
    let alone = json(&user, &["room", "read", "lobby", "--message", &number]);
    assert_eq!(
        (&alone[0]["name"], &alone[0]["files"]),
        (&Value::Null, &Value::Array(Vec::new()))
    );

    json(&user, &["room", "react", "lobby", &number, "👍"]);
    json(&user, &["room", "react", "lobby", &number, "👍", "--who"]);
    json(&user, &["room", "delete", "lobby", &reply["id"].to_string()]);
    assert_eq!(json(&user, &["room", "read", "lobby", "--since", "0"]).len(), 1);
    json(&admin, &["room", "pin", &link, &number]);
    let info = &json(&admin, &["room", "info", &link])[0];
    assert_eq!(
        info["active_users_cutoff"].to_string(),
        "604800",
        "a whole number has no fraction"
    );
    json(&admin, &["room", "pin", &link, "--remove-all"]);
    json(&admin, &["room", "list", &link]);
    json(&admin, &["room", "mods", &link]);
    json(&admin, &["room", "permissions", &link, &id, "--deny", "u"]);
    json(
        &admin,
        &["room", "permissions", &link, &id, "--deny", "w", "--in", "7d"],
    );
    json(&admin, &["room", "permissions", &link, "--scheduled"]);
    json(&admin, &["room", "members", &link]);
    json(&admin, &["room", "ban", &link, &id]);
    json(&admin, &["room", "unban", &link, &id]);
    json(&admin, &["room", "delete", &link, "--all-of", &id]);
    json(&user, &["room", "forget", "lobby"]);
}

#[test]
fn every_schema_is_valid_and_documented() {
    let page = std::fs::read_to_string(support::root().join("docs/reference/json.md")).expect("the page");
    let mut count = 0;
    for entry in std::fs::read_dir(schemas::folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let schema: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        assert!(jsonschema::meta::is_valid(&schema), "{}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(
            page.contains(&format!("(json/{name})")),
            "{name} is not in json.md"
        );
        count += 1;
    }
    assert_eq!(page.matches(".schema.json)").count(), count);
}
