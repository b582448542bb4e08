//! No secret in any output: every command of the suite, at every verbosity, in human and JSON form.

mod support;

use ackpost_testkit::{FakeSogs, FakeXmpp, FakeXmppMode};
use support::{Program, SEED, SERVER_KEY};

/// Secrets that are given to commands below. Each is unlike anything a program prints by itself.
const PASSWORD: &str = "hunter2-Zebra";
const ROOM_PASSWORD: &str = "room-Quagga-7";
const FROM_FILE: &str = "file-Okapi-9";
const FROM_ENV: &str = "env-Gnu-11";

/// Returns the secrets as they look on the wire and in other spellings.
fn spellings() -> Vec<String> {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut all = vec![SEED.to_owned(), SEED.to_uppercase()];
    all.push(base64.encode(hex::decode(SEED).expect("hex")));
    for secret in [PASSWORD, ROOM_PASSWORD, FROM_FILE, FROM_ENV] {
        all.push(secret.to_owned());
        all.push(base64.encode(secret));
        all.push(base64.encode(format!("\0user\0{secret}")));
        all.push(secret.replace('-', "%2D"));
    }
    all
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of everything that is tried")]
fn no_secret_is_shown_at_any_verbosity() {
    let sogs = FakeSogs::start(SERVER_KEY);
    let (starttls, plain) = (
        FakeXmpp::start(FakeXmppMode::StartTls),
        FakeXmpp::start(FakeXmppMode::Plain),
    );
    let program = Program::new()
        .env("SECRET", FROM_ENV)
        .env("APPRISE_TEMPLATE_TOKEN", FROM_ENV)
        .file("password", FROM_FILE)
        .file("seed", SEED)
        .file("bad.conf", &format!("nonsense {SEED}\nxmpps://u:{PASSWORD}@h.org/\u{1}\nops=xmpp://u:{PASSWORD}@\n"))
        .file("bad.yml", &format!("urls:\n  - xmpps://u:{PASSWORD}@h.org:\n      port: {PASSWORD}\n  - session://x:{SEED}@h/r\nasset: [{PASSWORD}\n"))
        .file("odd.yml", &format!("urls:\n  - session://{SERVER_KEY}@h.org/r:\n      seed: {SEED}x\n      mode: odd\n"))
        .file("t.yml", "template:\n  token:\nurls:\n  - xmpps://u:${TOKEN}@127.0.0.1:1/jane\n");
    let (s, x, p) = (sogs.port(), starttls.port(), plain.port());
    let urls = [
        format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{s}/ok/e403/bad!"),
        format!("session://{SERVER_KEY}@127.0.0.1:{s}/ok?seed={SEED}"),
        format!("session://{SERVER_KEY}@127.0.0.1:{s}/ok?seed_file=seed"),
        format!("session://{SERVER_KEY}:{SEED}x@127.0.0.1:{s}/ok"),
        format!("session://{SERVER_KEY}x:{SEED}@127.0.0.1:{s}/ok"),
        format!("session:/{SERVER_KEY}:{SEED}@127.0.0.1:{s}/ok"),
        format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:99999/ok"),
        format!("session://{SEED}@127.0.0.1/ok"),
        format!("bogus://{SEED}:{PASSWORD}@h/ok"),
        SEED.to_owned(),
        format!("http://127.0.0.1:{s}/ok?public_key={SERVER_KEY}&seed={SEED}"),
        format!("xmpps://user:{PASSWORD}@localhost:{x}/jane?verify=no"),
        format!("xmpps://user:pa ss{PASSWORD}@localhost:{x}/@?verify=no"),
        format!("xmpps://user@localhost:{x}/jane?password={PASSWORD}"),
        format!("xmpps://user:{{env:SECRET}}@localhost:{x}/jane?verify=no"),
        format!("xmpps://user@localhost:{x}/jane?verify=no&password_file=password"),
        format!("xmpps://user:{{file:password}}@localhost:{x}/jane?verify=no"),
        format!("xmpps://user:{PASSWORD}@localhost:{x}/#r@c?verify=no&room_password={ROOM_PASSWORD}"),
        format!("xmpps://user:{PASSWORD}@localhost:{x}/jane?mode=odd&verify=ture&retry=x"),
        format!("xmpp://user:{PASSWORD}@localhost:{p}/jane?plain=yes"),
        format!("xmpps://{PASSWORD}@localhost:1/jane?user=bob"),
    ];
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for url in &urls {
        commands.push(vec!["-b", "x", url]);
        commands.push(vec!["-d", url]);
        commands.push(vec!["preview", "-b", "x", url]);
    }
    for config in ["bad.conf", "bad.yml", "odd.yml", "t.yml"] {
        commands.push(vec!["-b", "x", "-g", "all", "-c", config]);
        commands.push(vec!["-d", "-g", "all", "-c", config]);
        commands.push(vec!["preview", "-b", "x", "-g", "all", "-c", config]);
        commands.push(vec!["config", "check", config]);
    }
    let secrets = spellings();
    let check = |args: &[&str]| {
        let mut command = program.command(args);
        command.env("RUST_BACKTRACE", "1");
        let out = command
            .stdin(std::process::Stdio::null())
            .output()
            .expect("the program runs");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{secret} is shown by {args:?}:\n{text}"
            );
        }
        assert!(!text.contains("panicked"), "{args:?}:\n{text}");
    };
    // Four at a time: most of them wait for a server.
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(command) = commands.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
                {
                    for verbosity in [None, Some("-vv"), Some("-vvvv"), Some("-D")] {
                        for json in [None, Some("--json")] {
                            let mut args = command.clone();
                            args.extend(verbosity);
                            args.extend(json);
                            check(&args);
                        }
                    }
                }
            });
        }
    });
}
