//! A community server as an operator and a service manager meet it: the commands of the guide, reload by signal,
//! readiness and watchdog, backup and restore, the key that must not change.

#[path = "operate/moderation.rs"]
mod moderation;
#[path = "operate/raid.rs"]
mod raid;
#[path = "support/schemas.rs"]
mod schemas;
mod support;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{self, PATIENCE};
use support::{Program, SEED};

/// A server that runs in a folder; ended with the test.
struct Running {
    child: Child,
    /// The first line on standard output.
    started: Value,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that runs the server in a folder on a free port.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackpost"));
    command
        .args(["--json", "server", "run", "--listen", "127.0.0.1:0"])
        .arg(dir)
        .env_remove("NOTIFY_SOCKET")
        .stderr(Stdio::null());
    command
}

fn run(dir: &Path, env: &[(&str, String)]) -> Running {
    Running::start(command(dir).envs(env.iter().map(|(name, value)| (*name, value))))
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let (child, started) = process::start(command);
        Self { child, started }
    }

    fn signal(&self, signal: &str) {
        process::signal(self.child.id(), signal);
    }

    /// Ends it by a signal, which is a good end.
    fn stop(mut self) {
        self.signal("-TERM");
        let status = process::end(&mut self.child);
        assert!(status.success(), "a stop by signal is a good end: {status}");
    }

    fn host(&self) -> String {
        let url = self.started["url"].as_str().expect("url");
        url.strip_prefix("http://").expect("http").to_owned()
    }

    /// The URL that `send` takes for a room, speaking as the person of a seed.
    fn room(&self, seed: &str, token: &str) -> String {
        let key = self.started["public_key"].as_str().expect("key");
        format!("session://{key}:{seed}@{}/{token}", self.host())
    }

    fn page(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.host()).expect("connect");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }
}

/// Runs a command that must succeed; what it printed on standard output.
fn good(program: &Program, line: &str) -> String {
    let ran = program.shell(line);
    assert_eq!(ran.code, 0, "{line}\n{}", ran.all());
    ran.stdout
}

fn json(program: &Program, words: &str) -> Value {
    serde_json::from_str(&good(program, &format!("ackpost --json {words}"))).expect("JSON")
}

/// The objects of a list, one a line.
fn lines(program: &Program, words: &str) -> Vec<Value> {
    let printed = good(program, &format!("ackpost --json {words}"));
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

#[test]
fn a_service_manager_hears_of_readiness_health_and_the_end() {
    let program = Program::new();
    let dir = program.home().join("community");
    good(&program, "ackpost server init community");
    let path = program.home().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let next = || {
        let mut buffer = [0; 4096];
        let size = manager.recv(&mut buffer).expect("a notification in time");
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    };
    let running = run(
        &dir,
        &[
            ("NOTIFY_SOCKET", path.display().to_string()),
            ("WATCHDOG_USEC", "400000".to_owned()),
        ],
    );
    let ready = next();
    assert!(ready.starts_with("READY=1\nSTATUS=serving http"), "{ready}");
    for _ in 0..4 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    let began = Instant::now();
    assert_eq!(next(), "WATCHDOG=1");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "twice in its time, more or less"
    );
    running.signal("-TERM");
    let stopping = loop {
        let text = next();
        if text != "WATCHDOG=1" {
            break text;
        }
    };
    assert!(
        stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="),
        "{stopping}"
    );
    running.stop();
}

#[test]
fn a_watchdog_that_is_for_another_process_is_left_alone() {
    let program = Program::new();
    good(&program, "ackpost server init community");
    let path = program.home().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let running = run(
        &program.home().join("community"),
        &[
            ("NOTIFY_SOCKET", path.display().to_string()),
            ("WATCHDOG_USEC", "100000".to_owned()),
            ("WATCHDOG_PID", "1".to_owned()),
        ],
    );
    let mut buffer = [0; 4096];
    let size = manager.recv(&mut buffer).expect("ready");
    assert!(buffer[..size].starts_with(b"READY=1"));
    manager
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a limit");
    assert!(manager.recv(&mut buffer).is_err(), "nothing more");
    running.stop();
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let program = Program::new();
    let dir = program.home().join("community");
    good(&program, "ackpost server init community");
    good(&program, "ackpost server room add --dir community test");
    let running = run(&dir, &[]);
    let file = dir.join("server.toml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    let said = text.replace("#base_url = \"\"", "base_url = \"https://changed.example\"");
    assert_ne!(said, text);
    std::fs::write(&file, &said).expect("written");
    running.signal("-HUP");
    let began = Instant::now();
    while !running
        .page("/r/test/")
        .contains("https://changed.example/test?public_key=")
    {
        assert!(began.elapsed() < PATIENCE, "the new address is not shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    // One that cannot be used changes nothing.
    std::fs::write(&file, "[net]\nlisten = 5\n").expect("written");
    running.signal("-HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.page("/r/test/").contains("https://changed.example/test"));
    std::fs::write(&file, said).expect("written");
    running.stop();
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    use std::io::{Read as _, Write as _};
    for (proxies, logged) in [
        // The chain of proxies is followed from its near end to the first address that is none of ours.
        ("[\"127.0.0.1\", \"192.0.2.7\"]", "client=203.0.113.9"),
        ("[]", "client=127.0.0.1"),
    ] {
        let program = Program::new();
        good(&program, "ackpost server init community");
        let dir = program.home().join("community");
        let file = dir.join("server.toml");
        let text = std::fs::read_to_string(&file).expect("configuration");
        let said = text
            .replace("#trusted_proxies = []", &format!("trusted_proxies = {proxies}"))
            .replace("#level = \"info\"", "level = \"debug\"");
        assert!(
            said.contains("\nlevel") && said.contains("\ntrusted_proxies"),
            "{said}"
        );
        std::fs::write(&file, said).expect("written");
        let log = program.home().join("log");
        let log_file = std::fs::File::create(&log).expect("a file");
        let running = Running::start(command(&dir).stderr(log_file));
        let mut stream = std::net::TcpStream::connect(running.host()).expect("connect");
        write!(
            stream,
            "GET /rooms HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 6.6.6.6, 203.0.113.9, 192.0.2.7\r\nconnection: close\r\n\r\n"
        )
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        running.stop();
        let log = std::fs::read_to_string(log).expect("the log");
        assert!(log.contains(logged) && !log.contains("6.6.6.6"), "{log}");
    }
}

/// One round of backup, restore and verification of a community in `database`, restored into `other`.
fn backup_and_restore(database: &str, other: &str) {
    let program = Program::new();
    let dir = program.home().join("community");
    good(
        &program,
        &format!("ackpost server init community --database {database}"),
    );
    good(
        &program,
        "ackpost server room add --dir community test --name Test",
    );
    good(
        &program,
        "ackpost server settings set rate_posts 1000 --dir community",
    );
    let running = run(&dir, &[]);
    let url = running.room(SEED, "test");
    // People write all the time.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writing = {
        let (stop, url) = (std::sync::Arc::clone(&stop), url.clone());
        std::thread::spawn(move || {
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let status = Command::new(env!("CARGO_BIN_EXE_ackpost"))
                    .args(["send", "-b", &format!("number {sent}"), &url])
                    .stderr(Stdio::null())
                    .status()
                    .expect("the program runs");
                assert!(status.success(), "message {sent}");
                sent += 1;
            }
            sent
        })
    };
    let count = || json(&program, "server status --dir community")["totals"]["messages"].as_i64();
    let began = Instant::now();
    while count() < Some(3) {
        assert!(began.elapsed() < PATIENCE, "nobody writes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let tried = json(&program, "server backup --dir community saved --dry-run");
    assert_eq!(tried["dry_run"], true);
    assert!(!program.home().join("saved").exists());
    good(&program, "ackpost server backup --dir community saved");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = writing.join().expect("the writer");
    assert_eq!(count(), Some(sent), "no message was lost meanwhile");
    let key = running.started["public_key"].clone();
    running.stop();

    let whole = json(&program, "server restore saved nowhere --dry-run");
    assert_eq!(whole["public_key"], key);
    assert!(!program.home().join("nowhere").exists());
    good(
        &program,
        &format!("ackpost server restore saved second --database {other}"),
    );
    let verified = json(&program, "server verify --dir second");
    assert_eq!(verified["problems"], serde_json::json!([]));
    assert_eq!(verified["signatures_good"], verified["messages"]);
    assert!(verified["messages"].as_i64() >= Some(3));
    let second = run(&program.home().join("second"), &[]);
    assert_eq!(second.started["public_key"], key, "the links stay");
    good(
        &program,
        &format!("ackpost send -b 'goes on' '{}'", second.room(SEED, "test")),
    );
    second.stop();
}

#[test]
fn a_running_community_on_sqlite_is_saved_and_restored_into_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    backup_and_restore("sqlite:community.db", database.url());
}

#[test]
fn a_running_community_on_postgresql_is_saved_and_restored_into_a_file() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    backup_and_restore(database.url(), "sqlite:community.db");
}

#[test]
fn a_community_on_postgresql_without_its_key_does_not_start() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    let program = Program::new();
    let made = json(
        &program,
        &format!("server init community --database {}", database.url()),
    );
    let key = made["public_key"].as_str().expect("key").to_owned();
    good(&program, "ackpost server room add --dir community test");
    let file = program.home().join("community/key_x25519");
    let bytes = std::fs::read(&file).expect("the key");
    std::fs::remove_file(&file).expect("removed");
    let refused = program.shell("ackpost server run community --listen 127.0.0.1:0");
    assert_eq!(refused.code, 1, "{}", refused.all());
    assert!(
        refused
            .stderr
            .contains("is missing although a community is stored already")
            && refused.stderr.contains(&key)
            && refused.stderr.contains("restore the file from a backup"),
        "{}",
        refused.stderr
    );
    assert!(!file.exists(), "no other key took its place");
    // A second folder on the same database makes no second community of it.
    let second = program.shell(&format!(
        "ackpost server init second --database {}",
        database.url()
    ));
    assert_eq!(second.code, 1, "{}", second.all());
    assert!(second.stderr.contains(&key), "{}", second.stderr);
    assert!(!program.home().join("second/key_x25519").exists());

    std::fs::write(&file, &bytes).expect("put back");
    run(&program.home().join("community"), &[]).stop();
    // With the key in it, the second folder is a second process of the same community.
    std::fs::create_dir_all(program.home().join("second")).expect("a folder");
    std::fs::write(program.home().join("second/key_x25519"), bytes).expect("a copy");
    good(
        &program,
        &format!("ackpost server init second --database {}", database.url()),
    );
    let running = run(&program.home().join("second"), &[]);
    assert!(running.page("/rooms").contains("\"test\""));
    running.stop();
}

/// The commands of a page, in order, each with the name of its section.
fn commands(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(support::root().join(page)).expect("the page");
    let (mut section, mut inside, mut all) = (String::new(), false, Vec::new());
    for line in text.lines() {
        if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
            && line.starts_with('#')
            && !inside
        {
            title.clone_into(&mut section);
        }
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            all.push((section.clone(), command.to_owned()));
        }
    }
    all
}

/// Id number `n` of those who wrote in a room, newest first.
fn author(program: &Program, n: usize) -> String {
    let list = lines(program, "server message list --room main --dir srv/community");
    let id = list[n]["session_id"].as_str().expect("an author");
    id.to_owned()
}

/// Every verb of `ackpost server`.
const VERBS: [&str; 53] = [
    "init",
    "run",
    "status",
    "backup",
    "restore",
    "verify",
    "import",
    "migrate",
    "reload",
    "config check",
    "config show",
    "new-key",
    "room list",
    "room show",
    "room add",
    "room edit",
    "room delete",
    "user list",
    "user show",
    "user permissions",
    "mod list",
    "mod add",
    "mod remove",
    "ban list",
    "ban add",
    "ban remove",
    "message list",
    "message delete",
    "message delete-all",
    "message delete-containing",
    "message held",
    "message approve",
    "message reject",
    "moderation on",
    "moderation off",
    "moderation status",
    "file list",
    "file delete",
    "filter list",
    "filter add",
    "filter remove",
    "filter test",
    "settings list",
    "file move",
    "settings set",
    "settings clear",
    "settings names",
    "raid status",
    "raid on",
    "raid sweep",
    "raid off",
    "log",
    "undo",
];

#[test]
fn every_command_of_the_guide_runs() {
    let program = Program::new();
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    let home = program.home();
    std::fs::create_dir(home.join("srv")).expect("a folder");
    let (mut running, mut seen): (Option<Running>, Vec<String>) = (None, Vec::new());
    let mut inside = false;
    let all = commands("docs/guide/community-server.md");
    assert!(all.len() > 60, "{} commands", all.len());
    for (section, command) in all {
        let line = here(&command, &home, database.url());
        // `moderators_decide_without_the_app` runs these.
        if line.starts_with("ackpost room ") {
            continue;
        }
        if line.starts_with("cd ") {
            inside = true;
            continue;
        }
        if line.contains("server run") {
            running = Some(run(&home.join("srv/community"), &[]));
            let server = running.as_ref().expect("it runs");
            write_posts(&program, server, &["hello", "look", "buy my coins"]);
            seen.push(line);
            continue;
        }
        // These work on a stopped server; what follows them in the guide does too.
        if ["PostgreSQL", "Files in an S3-compatible bucket", "The key"].contains(&section.as_str())
            && let Some(server) = running.take()
        {
            server.stop();
        }
        if line.contains("file move") && line.contains("--dry-run") {
            name_bucket(&home.join("srv/community/server.toml"));
        }
        if line.contains("held")
            && let Some(server) = &running
        {
            for (n, text) in ["may I?", "and I?"].iter().enumerate() {
                let seed = format!("{:064x}", 1000 + n);
                let line = format!("ackpost send -b '{text}' '{}'", server.room(&seed, "main"));
                let sent = program.shell(&line);
                assert_eq!(sent.code, 1, "{}", sent.all());
                assert!(sent.all().contains("withheld"), "{}", sent.all());
            }
        }
        prepare(&program, running.as_ref(), &line);
        let mut line = line;
        if line.contains("15…") {
            line = line.replace("15…", &author(&program, 0));
        }
        line = with_numbers(&program, &line);
        if inside && !line.contains("--dir") && !line.contains("restore") && !line.contains("settings names")
        {
            line.push_str(" --dir srv/community");
        }
        let ran = program.shell(&line);
        assert_eq!(ran.code, 0, "{section}: {line}\n{}", ran.all());
        if line.contains("undo --actor") {
            let list = lines(&program, "server message list --room main --dir srv/community");
            assert!(list.iter().any(|row| row["id"] == 2 && row["deleted"] == false));
        }
        seen.push(line);
    }
    for verb in VERBS {
        assert!(
            seen.iter()
                .any(|line| line.contains(&format!("ackpost server {verb}"))),
            "the guide does not show `server {verb}`"
        );
    }
}

/// Makes what a command of the guide needs: lists of words and people, and a moderator who deleted a message in the app.
fn prepare(program: &Program, server: Option<&Running>, line: &str) {
    let home = program.home();
    std::fs::write(home.join("list.txt"), "darn\nheck\n").expect("a list");
    if line.contains("ids.txt") {
        let ids = format!("# seen on Monday\n{}  # two posts\n", author(program, 0));
        std::fs::write(home.join("ids.txt"), ids).expect("a list");
    }
    if line.contains("undo --actor")
        && let Some(server) = server
    {
        let moderator = author(program, 0);
        let appoint = format!("ackpost server mod add {moderator} --room main --dir srv/community");
        good(program, &appoint);
        let delete = format!("ackpost room delete '{}' 2", server.room(SEED, "main"));
        good(program, &delete);
    }
}

/// Does what the guide says about `[files]`, with the store of the tests.
fn name_bucket(config: &Path) {
    let store = ackpost_testkit::ObjectStore::shared();
    let mut text = std::fs::read_to_string(config).expect("a configuration");
    for (option, value) in [
        ("s3_endpoint", store.endpoint()),
        ("s3_bucket", store.bucket()),
        ("s3_prefix", &store.prefix()),
        ("s3_credentials_file", &store.keys().display().to_string()),
    ] {
        let absent = format!("#{option} = \"\"");
        assert!(text.contains(&absent), "{option} is explained in the file");
        text = text.replace(&absent, &format!("{option} = \"{value}\""));
    }
    std::fs::write(config, text).expect("written");
}

/// A command of the guide with the places of this test in it.
fn here(command: &str, home: &Path, database: &str) -> String {
    let admin = "05c83d65bee210fe7a0c14e392b4fd7aced78423aea1882d3395be6e01583eab78";
    let sample = support::root().join("vectors/sogs/pysogs-sample");
    command
        .split("  #")
        .next()
        .expect("a command")
        .trim_end()
        .replace(
            "/var/lib/session-open-group-server",
            &sample.display().to_string(),
        )
        .replace("postgres://user:password@host/name", database)
        .replace("/srv/", &format!("{}/srv/", home.display()))
        .replace("05…your-session-id…", admin)
        .replace("05…", admin)
}

/// Three posts of one person, one of them with a file.
fn write_posts(program: &Program, server: &Running, texts: &[&str]) {
    std::fs::write(program.home().join("note.txt"), "a file").expect("a file");
    for (n, text) in texts.iter().enumerate() {
        let attach = if n == 0 { "--attach note.txt" } else { "" };
        good(
            program,
            &format!(
                "ackpost send {attach} -b '{text}' '{}'",
                server.room(SEED, "main")
            ),
        );
    }
}

/// Numbers that the guide makes up, as they are here.
fn with_numbers(program: &Program, line: &str) -> String {
    let held = |n: usize| {
        let list = lines(program, "server message held --dir srv/community");
        list[n]["id"].as_i64().expect("a held post")
    };
    if line.contains("undo 17") {
        for seconds in 1..=3 {
            let set =
                format!("ackpost server settings set slow_seconds {seconds} --room main --dir srv/community");
            good(program, &set);
        }
        let log = lines(program, "server log --limit 3 --dir srv/community");
        return format!(
            "ackpost server undo {} {}-{}",
            log[2]["id"], log[1]["id"], log[0]["id"]
        );
    }
    if line.contains("message approve") {
        return format!("ackpost server message approve {}", held(0));
    }
    if line.contains("message reject") {
        return format!("ackpost server message reject {}", held(0));
    }
    line.to_owned()
}

#[test]
fn the_packaged_units_and_examples_name_commands_that_exist() {
    let folder: PathBuf = support::root().join("packaging");
    let program = Program::new();
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder.join("systemd"))
        .expect("units")
        .flatten()
    {
        texts.push(std::fs::read_to_string(entry.path()).expect("a unit"));
    }
    texts.push(std::fs::read_to_string(folder.join("container-start")).expect("the start"));
    let mut found = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some(at) = line
            .find("ackpost ")
            .filter(|_| line.starts_with("Exec") || line.contains("exec "))
        else {
            continue;
        };
        let words: Vec<&str> = line[at..]
            .split_whitespace()
            .skip(1)
            .filter(|word| !word.starts_with("-v"))
            .take_while(|word| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            })
            .collect();
        assert!(!words.is_empty(), "{line}");
        good(&program, &format!("ackpost {} --help", words.join(" ")));
        found += 1;
    }
    assert!(found >= 4, "{found} commands");
}
