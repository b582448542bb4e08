//! Tokens, and what they are bound to.

use base64::Engine as _;

use serde_json::json;

use crate::process::{Gateway, dead_url};
use crate::support::Program;

#[test]
#[expect(clippy::too_many_lines, reason = "one token through all it may and may not")]
fn tokens_are_bound_to_keys_tags_scopes_and_rates() {
    let gateway = Gateway::start();
    let text = format!("a={}\nb={}\n", dead_url(), dead_url());
    for key in ["ops", "other"] {
        assert_eq!(
            gateway
                .json(&format!("/add/{key}"), &json!({"config": text, "format": "text"}))
                .status,
            200
        );
    }
    let token = gateway.token(&["ci", "--key", "ops", "--tag", "a", "--rate", "20/1h"]);
    let bearer = format!("Bearer {token}");
    let with = |path: &str, body: &str| {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        gateway.request("POST", path, &headers, body.as_bytes())
    };
    // From now on nothing goes without one.
    let answer = gateway.json("/notify/ops", &json!({"body": "x"}));
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .expect("a challenge")
            .starts_with("Basic")
    );
    // Its key, and of it only its tag.
    let answer = with("/notify/ops", "{\"body\":\"x\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["outbox"].as_array().map(Vec::len), Some(1));
    assert_eq!(with("/notify/ops", "{\"body\":\"x\",\"tag\":\"b\"}").status, 424);
    // Not another key, nor another thing.
    assert_eq!(with("/notify/other", "{\"body\":\"x\"}").status, 403);
    assert_eq!(with("/notify/nokey", "{\"body\":\"x\"}").status, 403);
    assert_eq!(
        with("/notify", "{\"body\":\"x\",\"urls\":\"xmpp://u:p@h\"}").status,
        403
    );
    assert_eq!(with("/add/ops", "{\"urls\":\"xmpp://u:p@h\"}").status, 403);
    assert_eq!(with("/get/ops", "").status, 403);
    assert_eq!(with("/outbox/0000000000000000/drop", "").status, 403);
    let get = |path: &str| {
        gateway
            .request("GET", path, &[("Authorization", bearer.as_str())], b"")
            .status
    };
    assert_eq!(get("/outbox"), 403);
    assert_eq!(get("/metrics"), 403);
    // As the password of HTTP Basic, the way apprise:// sends it.
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{token}"));
    let headers = [
        ("Authorization", format!("Basic {basic}")),
        ("Content-Type", "application/json".to_owned()),
    ];
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        gateway
            .request("POST", "/notify/ops", &headers, b"{\"body\":\"x\"}")
            .status,
        200
    );
    // Its rate.
    let answers: Vec<u16> = (0..20)
        .map(|_| with("/notify/ops", "{\"body\":\"x\"}").status)
        .collect();
    assert!(answers.contains(&429), "{answers:?}");
    assert!(
        with("/notify/ops", "{\"body\":\"x\"}")
            .header("retry-after")
            .is_some()
    );
    // The file holds no token.
    let file = gateway
        .program
        .home()
        .join(".local/state/ackpost/gateway/tokens.toml");
    let stored = std::fs::read_to_string(file).expect("the token file");
    assert!(stored.contains("sha256") && !stored.contains(&token[14..]));
    // Removed means refused.
    let ran = gateway
        .program
        .run(&["gateway", "token", "--config", "gateway.toml", "remove", "ci"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let closed = |when: &str| {
        assert_eq!(with("/notify/ops", "{\"body\":\"x\"}").status, 401, "{when}");
        assert_eq!(gateway.get("/cfg").status, 401, "{when}");
        assert_eq!(
            gateway.form("/add/evil", "urls=xmpp://a:b@h/c").status,
            401,
            "{when}"
        );
    };
    closed("removed");
    let file = gateway
        .program
        .home()
        .join(".local/state/ackpost/gateway/tokens.toml");
    std::fs::write(&file, "").expect("truncated");
    closed("truncated");
    std::fs::write(&file, "[[").expect("garbled");
    closed("garbled");
    std::fs::remove_file(&file).expect("deleted");
    closed("deleted");
}

#[test]
fn twelve_tokens_made_at_once_all_work() {
    let gateway = Gateway::with(Program::new(), "access = \"tokens\"\n");
    let names: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
    let made: Vec<String> = std::thread::scope(|scope| {
        let add = |name: &String| {
            let args = [
                "gateway",
                "token",
                "--config",
                "gateway.toml",
                "add",
                name.as_str(),
            ];
            let ran = gateway.program.run(&args);
            assert_eq!(ran.code, 0, "{}", ran.all());
            ran.stdout.trim().to_owned()
        };
        let all: Vec<_> = names.iter().map(|name| scope.spawn(move || add(name))).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    for token in made {
        let headers = [("Authorization", format!("Bearer {token}"))];
        let headers = [(headers[0].0, headers[0].1.as_str())];
        assert_eq!(
            gateway
                .request("POST", "/notify/none", &headers, b"body=x")
                .status,
            204
        );
    }
}

/// Two processes of the program at a time: one removes a token while the other adds one.
#[test]
fn a_token_removed_beside_an_addition_stays_invalid() {
    const ROUNDS: usize = 200;
    let config = "access = \"tokens\"\n[limits]\nguess_rate = \"100000/1s\"\n";
    let gateway = Gateway::with(Program::new(), config);
    let run = |words: &[&str]| {
        let args = [&["gateway", "token", "--config", "gateway.toml"], words].concat();
        let ran = gateway.program.run(&args);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.all());
        ran.stdout.trim().to_owned()
    };
    let is_valid = |token: &str| {
        let headers = [("Authorization", format!("Bearer {token}"))];
        let headers = [(headers[0].0, headers[0].1.as_str())];
        let status = gateway
            .request("POST", "/notify/none", &headers, b"body=x")
            .status;
        assert!([204, 401].contains(&status), "{status}");
        status == 204
    };
    let name = |round: usize| format!("t{round}");
    let mut removed = Vec::new();
    let mut token = run(&["add", &name(0)]);
    for round in 0..ROUNDS {
        assert!(is_valid(&token), "round {round}: the token was added");
        let next = std::thread::scope(|scope| {
            scope.spawn(|| run(&["remove", &name(round)]));
            run(&["add", &name(round + 1)])
        });
        removed.push(std::mem::replace(&mut token, next));
        assert!(!is_valid(&removed[round]), "round {round}: the token was removed");
    }
    assert!(is_valid(&token));
    for (round, token) in removed.iter().enumerate() {
        assert!(!is_valid(token), "the token of round {round} came back");
    }
    let listed = run(&["list"]);
    assert!(listed.contains(&name(ROUNDS)), "{listed}");
    assert_eq!(
        listed.lines().filter(|line| line.contains("t1")).count(),
        0,
        "{listed}"
    );
}

/// Behind a trusted proxy each client has its own count of wrong tokens, by the last address that no trusted proxy has.
/// Nobody else chooses the address that counts.
#[test]
fn wrong_tokens_are_counted_by_the_address_that_a_trusted_proxy_names() {
    let limits = "[limits]\nguess_rate = \"3/10m\"\n";
    for (trusted, own_count) in [("\"127.0.0.1\", \"10.0.0.0/8\"", true), ("\"10.0.0.0/8\"", false)] {
        let config = format!("access = \"tokens\"\ntrusted_proxies = [{trusted}]\n{limits}");
        let gateway = Gateway::with(Program::new(), &config);
        let token = gateway.token(&["ci", "--allow", "outbox"]);
        let status = |forwarded: &str, token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", forwarded)];
            gateway.request("GET", "/outbox", &headers, b"").status
        };
        let wrong = "ackp_00000000_wrong";
        // Addresses that the client itself wrote in front change nothing.
        let guesses = [
            "192.0.2.1",
            "198.51.100.7, 192.0.2.1",
            "198.51.100.8, 192.0.2.1, 10.0.0.2",
            "198.51.100.9, 192.0.2.1",
        ];
        let seen = guesses.map(|forwarded| status(forwarded, wrong));
        assert_eq!(seen[3], 429, "{trusted}: {seen:?}");
        assert_eq!(status("192.0.2.1", &token), 200, "{trusted}: a right token");
        let other = status("192.0.2.2", wrong);
        assert_eq!(other, if own_count { 401 } else { 429 }, "{trusted}");
    }
}

#[test]
fn guessing_tokens_is_braked() {
    let gateway = Gateway::with(Program::new(), "[limits]\nguess_rate = \"5/10m\"\n");
    let token = gateway.token(&["ci"]);
    let status = |token: &str| {
        gateway
            .request(
                "GET",
                "/outbox",
                &[("Authorization", &format!("Bearer {token}"))],
                b"",
            )
            .status
    };
    let mut wrong = token.clone();
    wrong.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
    let guesses: Vec<u16> = (0..8).map(|_| status(&wrong)).collect();
    assert_eq!(guesses[..4], [401; 4], "{guesses:?}");
    assert_eq!(guesses[6..], [429; 2], "{guesses:?}");
    assert_eq!(
        status(&token),
        403,
        "the right token is never refused for wrong ones of its address"
    );
}

#[test]
fn an_open_gateway_answers_under_its_own_names_only() {
    let gateway = Gateway::with(Program::new(), "hosts = [\"notify.example.org\"]\n");
    let from = |headers: &[(&str, &str)]| gateway.request("GET", "/outbox", headers, b"").status;
    assert_eq!(from(&[("Host", "localhost:8000")]), 200);
    assert_eq!(from(&[("Host", "notify.example.org")]), 200);
    assert_eq!(from(&[("Host", "evil.example")]), 421, "a rebound name");
    assert_eq!(from(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(from(&[("Sec-Fetch-Site", "cross-site")]), 403);
}

#[test]
fn other_machines_need_a_token() {
    let gateway = Gateway::with(Program::new(), "access = \"tokens\"\n");
    assert_eq!(gateway.get("/outbox").status, 401);
    assert_eq!(gateway.get("/healthz").status, 200);
    assert_eq!(gateway.get("/status").status, 200);
}

/// The modes of a database and of the files that SQLite keeps beside it.
fn modes(database: &std::path::Path) -> Vec<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    ["", "-wal", "-shm"]
        .into_iter()
        .map(|end| {
            let mut file = database.as_os_str().to_owned();
            file.push(end);
            let meta = std::fs::metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            meta.permissions().mode() & 0o777
        })
        .collect()
}

/// A folder that everybody may enter.
fn shared_folder(program: &Program, name: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = program.home().join(name);
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("set");
    folder
}

#[test]
fn databases_in_a_shared_folder_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    for earlier in [false, true] {
        let program = Program::new();
        let database = shared_folder(&program, "open").join("outbox.db");
        if earlier {
            std::fs::write(&database, "").expect("written");
            std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).expect("set");
        }
        let config = format!("outbox = \"{}\"\n", database.display());
        let _gateway = Gateway::limited(program, &config, "umask 022");
        assert_eq!(modes(&database), [0o600; 3], "there before: {earlier}");
    }
    let program = Program::new();
    let folder = shared_folder(&program, "community");
    let words = ["server", "init", "community"];
    let made = program.limited("umask 022", &words).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let words = ["--json", "server", "run", "community", "--listen", "127.0.0.1:0"];
    let mut command = program.limited("umask 022", &words);
    let (mut child, _) = crate::support::process::start(command.stderr(std::process::Stdio::null()));
    let found = modes(&folder.join("community.db"));
    child.kill().expect("our child");
    child.wait().expect("our child");
    assert_eq!(found, [0o600; 3]);
}

#[test]
fn a_holder_of_keys_leaves_no_core_dump() {
    let gateway = Gateway::limited(Program::new(), "", "ulimit -S -c $(ulimit -H -c)");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).expect("limits");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .expect("a limit");
    let soft = core.split_whitespace().next().expect("a soft limit");
    // 1 stops both files and programs that dumps are piped to; a hard limit of 0 leaves only 0.
    assert!(matches!(soft, "0" | "1"), "{core}");
}

#[test]
fn a_key_file_of_another_user_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::new().file("key", &"0a".repeat(32));
    let key = program.home().join("key");
    // Only root can give a file away; the rule itself is tested with numbers.
    if std::os::unix::fs::chown(&key, Some(12_345), None).is_err() {
        return;
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");
    let words = [
        "send",
        "--queue",
        "-b",
        "x",
        "--outbox",
        "outbox.db",
        "--outbox-key",
        "key",
    ];
    let ran = program.run(&[words.as_slice(), &[dead_url().as_str()]].concat());
    assert_ne!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.all().contains("belongs to another user (12345)"),
        "{}",
        ran.all()
    );
}
