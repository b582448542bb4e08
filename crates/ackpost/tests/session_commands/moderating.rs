//! Moderation by a member of a room who has no access to the server.

use serde_json::Value;

use super::support::Program;
use super::{PHRASE, community, json, ok};

#[test]
fn moderating_from_the_shell() {
    let (_community, link, admin) = community();
    let user = Program::new().file("phrase", PHRASE);
    let me = ["-I", "{file:phrase}"];
    ok(&user, &["room", "post", &link, me[0], me[1], "-b", "one"]);
    let id = json(&admin, &["room", "read", &link])[0]["from"]
        .as_str()
        .expect("an id")
        .to_owned();
    ok(&admin, &["room", "ban", &link, &id, "--for", "1h", "--delete"]);
    let banned = user.run(&["room", "post", &link, me[0], me[1], "-b", "two"]);
    assert!(
        banned.code == 1 && banned.stderr.contains("banned from the room until 20"),
        "{}",
        banned.all()
    );
    assert!(json(&admin, &["room", "read", &link]).is_empty());
    assert!(ok(&admin, &["room", "members", &link]).stdout.contains("banned"));
    ok(&admin, &["room", "unban", &link, &id]);
    ok(&user, &["room", "post", &link, me[0], me[1], "-b", "two"]);

    ok(&admin, &["room", "mods", &link, "--add", &id]);
    let mods = json(&user, &["room", "mods", &link]);
    assert!(
        mods.iter()
            .any(|m| m["user"] == id.as_str() && m["role"] == "moderator"),
        "{mods:?}"
    );
    ok(&admin, &["room", "mods", &link, "--remove", &id]);
    let set = &json(
        &admin,
        &["room", "permissions", &link, &id, "--deny", "w", "--allow", "u"],
    )[0];
    assert_eq!(
        (&set["write"], &set["upload"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    ok(&admin, &["room", "permissions", &link, &id, "--reset", "wu"]);
    let later = json(
        &admin,
        &["room", "permissions", &link, &id, "--deny", "w", "--in", "2h"],
    );
    assert_eq!(later.last().expect("one")["write"], false);
    assert!(
        ok(&admin, &["room", "permissions", &link, "--scheduled"])
            .stdout
            .contains("may not post")
    );
    let not_mine = user.run(&["room", "ban", &link, &id, me[0], me[1]]);
    assert_eq!(not_mine.code, 1);
}

/// Everything that names a person takes what the app and `room read` show of them.
#[test]
#[expect(clippy::too_many_lines, reason = "every command with the same few people")]
fn people_are_named_by_what_a_member_sees() {
    let (_community, link, admin) = community();
    let admin = admin.file("raiders.txt", "# seen on Monday\n\nMallory  # two posts\n#2\n");
    let post = |words: &str, name: &str| {
        let user = Program::new().file("seed", words);
        let args = [
            "room",
            "post",
            &link,
            "-I",
            "{file:seed}",
            "-b",
            "hello",
            "--name",
            name,
        ];
        let posted = json(&user, &args)[0].clone();
        (user, posted["from"].as_str().expect("an id").to_owned())
    };
    // Messages 1 to 4: two people share a name.
    let (bob, bob_id) = post(&"01".repeat(32), "Bob");
    let (_, mallory) = post(&"02".repeat(32), "Mallory");
    let (_, twin) = post(&"03".repeat(32), "Twin");
    let (_, other_twin) = post(&"04".repeat(32), "twin");
    let short = |id: &str| format!("({}…{})", &id[..6], &id[62..]);
    let banned = |ran: &[Value]| -> Vec<String> {
        ran.iter()
            .map(|one| one["user"].as_str().expect("an id").to_owned())
            .collect()
    };
    for who in [
        short(&bob_id),
        format!("{}..{}", &bob_id[..8], &bob_id[60..]),
        "1".into(),
        "#1".into(),
        "bOB".into(),
        "name:Bob".into(),
    ] {
        assert_eq!(
            banned(&json(&admin, &["room", "ban", &link, &who])),
            [bob_id.as_str()],
            "{who}"
        );
        assert_eq!(
            banned(&json(&admin, &["room", "unban", &link, &who])),
            [bob_id.as_str()],
            "{who}"
        );
    }
    // A name of several people is an error that lists them, and nothing is done.
    let ran = admin.run(&["room", "ban", &link, "Bob", "Twin"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    for part in [
        "fits several people",
        &twin,
        &other_twin,
        "(twin)",
        "give the whole id",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let ran = admin.run(&["room", "ban", &link, "Bob", "nobody", &bob_id]);
    assert!(
        ran.code == 1 && ran.stderr.contains("`nobody` fits nobody"),
        "{}",
        ran.all()
    );
    let ran = admin.run(&["room", "ban", &link, "99"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("message 99 does not exist"),
        "{}",
        ran.all()
    );
    let ran = admin.run(&["room", "ban", &link, &bob_id[..64]]);
    assert!(
        ran.code == 2 && ran.stderr.contains("not a valid session id"),
        "{}",
        ran.all()
    );
    assert!(!ok(&admin, &["room", "members", &link]).stdout.contains("banned"));

    // A file names each person once; after their messages are gone, a ban can be lifted by what moderators see.
    let all = json(
        &admin,
        &["room", "ban", &link, "--file", "raiders.txt", "--delete"],
    );
    assert_eq!(banned(&all), [mallory.as_str()]);
    ok(&admin, &["room", "unban", &link, &short(&mallory)]);

    ok(&admin, &["room", "mods", &link, "--add", "Bob"]);
    let mods = json(&admin, &["room", "mods", &link]);
    assert!(mods.iter().any(|m| m["user"] == bob_id.as_str()), "{mods:?}");
    ok(&admin, &["room", "mods", &link, "--remove", &short(&bob_id)]);
    let set = json(&admin, &["room", "permissions", &link, "Bob", "4", "--deny", "u"]);
    assert_eq!(banned(&set), [bob_id.as_str(), other_twin.as_str()]);
    let ran = admin.run(&["room", "permissions", &link, "--deny", "u"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("no person is given"),
        "{}",
        ran.all()
    );

    let whispered = &json(&admin, &["room", "post", &link, "-b", "psst", "--whisper", "Bob"])[0];
    assert_eq!(whispered["whisper_to"], bob_id.as_str());
    let sent = &json(&admin, &["dm", "send", &link, "1", "-b", "a word"])[0];
    assert_eq!(sent["to"], bob_id.as_str());
    let inbox = json(&bob, &["dm", "read", &link, "-I", "{file:seed}"]);
    assert_eq!(inbox[0]["body"], "a word");

    let ran = admin.run(&["room", "delete", &link, "1", "--file", "raiders.txt"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    json(
        &admin,
        &[
            "room",
            "delete",
            &link,
            "--all-of",
            "Bob",
            "--all-of",
            &short(&twin),
        ],
    );
    let left = json(&admin, &["room", "read", &link]);
    let authors: Vec<_> = left
        .iter()
        .filter(|m| m["body"] == "hello")
        .map(|m| m["from"].clone())
        .collect();
    assert_eq!(authors, [Value::from(other_twin)]);
}
