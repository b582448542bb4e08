//! `ackpost sendmail`, by its own name and by the name `sendmail`.

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSogs, Prosody, Receiver, ServerOptions};

use support::community::Community;
use support::{Program, SEED, SERVER_KEY};

struct House {
    fake: FakeSogs,
    program: Program,
}

impl House {
    fn open() -> Self {
        let fake = FakeSogs::start(SERVER_KEY);
        let url = |room: &str| {
            format!(
                "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/{room}?encrypt=no",
                fake.port()
            )
        };
        let config = format!("disks={}\nother={}\n", url("lobby"), url("lobby"));
        let program = Program::new().file("mail.conf", &config);
        Self { fake, program }
    }

    /// Runs the program under a name; its exit code and what it says.
    fn send(&self, name: &str, words: &[&str], mail: &[u8]) -> (i32, String) {
        let link = self.program.home().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), &link).expect("a link");
        }
        let template = self.program.command(&[]);
        let mut command = Command::new(&link);
        command.env_clear();
        for (name, value) in template.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if name == "ackpost" {
            command.arg("sendmail");
        }
        let mut child = command
            .args(words)
            .current_dir(self.program.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        // A refusal may come before the mail is read.
        let _ = child.stdin.take().expect("piped").write_all(mail);
        let ran = child.wait_with_output().expect("it ends");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        (ran.status.code().unwrap_or(-1), said)
    }

    fn texts(&self) -> Vec<String> {
        let posts = self.fake.posts();
        posts.iter().filter_map(|post| post.text.clone()).collect()
    }
}

#[test]
fn the_calls_of_cron_and_other_programs_deliver() {
    let house = House::open();
    let cron = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@nas> backup\nX-Cron-Env: <SECRET=hunter2>\n\ndone\n.\nnot the end\n";
    let (code, said) = house.send(
        "sendmail",
        &[
            "-FCronDaemon",
            "-i",
            "-B8BITMIME",
            "-oem",
            "-C",
            "mail.conf",
            "root",
        ],
        cron,
    );
    assert_eq!(code, 0, "{said}");
    let texts = house.texts();
    assert_eq!(texts.len(), 2, "every service: {texts:?}");
    assert_eq!(texts[0], "Cron <root@nas> backup\r\ndone\n.\nnot the end");
    // Recipients from the headers, one of them a tag; a dot ends the mail without -i.
    let mail = b"To: disks@nas\nSubject: =?utf-8?q?Pr=C3=BCfung?=\n\nok\n.\nafter the end\n";
    let (code, said) = house.send("ackpost", &["-t", "-C", "mail.conf"], mail);
    assert_eq!(code, 0, "{said}");
    assert_eq!(house.texts()[2..], ["Prüfung\r\nok".to_owned()]);
    // A text without headers.
    let (code, said) = house.send("sendmail", &["-C", "mail.conf", "disks+x@nas"], b"only text\n");
    assert_eq!(code, 0, "{said}");
    assert_eq!(house.texts()[3..], ["only text".to_owned()]);
}

#[test]
fn refusals_have_the_codes_of_sysexits() {
    let house = House::open();
    let mail = b"Subject: s\n\nx\n";
    for (words, input, expected) in [
        (&["-bs"][..], &mail[..], 64),
        (&["-C", "mail.conf", "root"], b"To: root\n\n\n", 65),
        (&["-C", "mail.conf", "-t"], mail, 67),
        (&["-C", "missing.conf", "root"], mail, 78),
        (&["-bp"], b"", 0),
    ] {
        let (code, said) = house.send("sendmail", words, input);
        assert_eq!(code, expected, "{words:?}: {said}");
    }
    // The outbox cannot be written: the caller may try again.
    let state = house.program.home().join("state");
    let _ = std::fs::remove_dir_all(&state);
    let (code, said) = house.send("ackpost", &["-C", "mail.conf", "root"], mail);
    assert!(code == 0 || code == 75, "{said}");
    assert_eq!(house.texts().len(), if code == 0 { 2 } else { 0 });
}

/// Runs in a mount namespace of its own: nothing of the machine's cron is used or changed. The folder of the arguments is
/// the home folder of root. cron gives no HOME to the program that sends the mail.
const CRON: &str = r#"
set -eu
for folder in /run /var/spool/cron /etc/cron.d; do mount -t tmpfs none $folder; done
mount --bind "$2" /root
: > /run/empty
mount --bind /run/empty /etc/crontab
mkdir -p /run/sbin /var/spool/cron/crontabs
ln -s "$1" /run/sbin/sendmail
mount -t overlay overlay -o lowerdir=/run/sbin:/usr/sbin /usr/sbin
cp "$2/crontab" /var/spool/cron/crontabs/root
chmod 600 /var/spool/cron/crontabs/root
exec env -i PATH=/usr/bin:/bin /usr/sbin/cron -f
"#;

/// Debian's cron itself sends what its jobs print, to a community and to a person at Prosody. Jobs of `@reboot` run at once when it
/// starts.
#[test]
fn the_cron_of_debian_sends_the_output_of_its_jobs() {
    let community = Community::start("lobby");
    let server = Prosody::start(ServerOptions::default());
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let config = format!(
        "disks={}/lobby\ndisks=xmpps://alice:alicepass@localhost:{}/bob?xmpp=127.0.0.1&mode=starttls&ca_file={}\n",
        community.server_url(),
        server.port,
        server.ca.display()
    );
    let crontab = "MAILTO=disks\n@reboot echo '3 files are missing: ä'; exit 3\n@reboot true\n\
                   @reboot echo 'to stderr' >&2\n";
    let program = Program::new()
        .secret_file(".config/apprise.conf", &config)
        .file("crontab", crontab);
    let home = program.home().display().to_string();
    let words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        CRON,
        "sh",
        env!("CARGO_BIN_EXE_ackpost"),
        &home,
    ];
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n");
    let words: Vec<&str> = if is_root {
        words.to_vec()
    } else {
        [&["sudo", "-n"], &words[..]].concat()
    };
    let mut cron = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(program.home().join("said")).expect("a file"))
        .spawn()
        .expect("it runs");
    let mut at_bob = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while at_bob.len() < 2 && Instant::now() < until && cron.try_wait().is_ok_and(|end| end.is_none()) {
        let came = bob.wait(Duration::from_secs(1), |stanza| {
            stanza.name == "message" && stanza.child_text("body").is_some()
        });
        at_bob.extend(came.and_then(|stanza| stanza.child_text("body").map(str::to_owned)));
    }
    let mut in_room = community.texts("lobby");
    while in_room.len() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
        in_room = community.texts("lobby");
    }
    let _ = cron.kill();
    let _ = cron.wait();
    let said = std::fs::read_to_string(program.home().join("said")).unwrap_or_default();
    for mut texts in [in_room, at_bob] {
        texts.sort();
        assert_eq!(
            texts.len(),
            2,
            "Debian's cron and root are needed (scripts/packages): {texts:?} {said}"
        );
        assert!(
            texts[0].contains("3 files are missing: ä") && texts[0].starts_with("Cron <root@"),
            "{texts:?}"
        );
        assert!(texts[1].ends_with("to stderr"), "{texts:?}");
    }
}
