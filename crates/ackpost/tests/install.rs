//! The release artefacts: built from a stand-in for the program, installed, upgraded and removed by `install.sh`.
//!
//! The stand-in is a script that starts the program of the tests, so nothing is built and the files stay small.

mod support;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::root;
use tempfile::TempDir;

/// Result of a command.
struct Said {
    code: i32,
    text: String,
}

fn finish(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the command runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        text: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// A release: the folder of its artefacts.
struct Release {
    folder: TempDir,
}

impl Release {
    /// Builds the artefacts. `version` is the one that the stand-in reports.
    fn build(version: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let stand_in = folder.path().join("stand-in");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'ackpost {version}'; exit; fi\nexec '{}' \"$@\"\n",
            env!("CARGO_BIN_EXE_ackpost")
        );
        std::fs::write(&stand_in, script).expect("written");
        std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).expect("set");
        let out = folder.path().join("out");
        let said = finish(
            Command::new(root().join("packaging/build-release"))
                .arg(&out)
                .env("BINARY", &stand_in)
                .env("KEEP_SYMBOLS", "1")
                .env("URL", "https://download.example.org/ackpost"),
        );
        assert_eq!(said.code, 0, "{}", said.text);
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// The artefacts whose name ends so, without the path.
    fn named(&self, end: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .expect("the folder")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(end))
            .collect();
        names.sort();
        names
    }

    fn tarball(&self) -> String {
        let machine = format!("{}-unknown-linux-musl.tar.gz", std::env::consts::ARCH);
        let names = self.named(&machine);
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].clone()
    }
}

/// Runs `install.sh` of the repository. Without `--prefix` it installs into `.local` of this home, also for root.
fn install(home: &Path, args: &[&str]) -> Said {
    let prefix = ["--prefix".to_owned(), home.join(".local").display().to_string()];
    finish(
        Command::new("sh")
            .arg(root().join("packaging/install.sh"))
            .args(prefix.iter().filter(|_| !args.contains(&"--prefix")))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .current_dir(home),
    )
}

/// Every file and link below a folder, as relative paths.
fn files(folder: &Path) -> Vec<String> {
    let said = finish(
        Command::new("find")
            .args([".", "-type", "f", "-o", "-type", "l"])
            .current_dir(folder),
    );
    let mut all: Vec<String> = said
        .text
        .lines()
        .map(|line| line.trim_start_matches("./").to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn a_release_installs_upgrades_and_leaves_nothing_behind() {
    let old = Release::build("0.0.9");
    let new = Release::build("0.1.0");
    let home = tempfile::tempdir().expect("a folder");
    let prefix = home.path().join("opt");
    let place = prefix.to_str().expect("a path");
    let from = |release: &Release| release.path().display().to_string();

    std::fs::create_dir_all(prefix.join("bin")).expect("made");
    std::fs::write(prefix.join("bin/other"), "another program").expect("written");
    let said = install(home.path(), &["--from", &from(&old), "--prefix", place]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert!(said.text.contains("installed ackpost 0.0.9"), "{}", said.text);
    assert!(said.text.contains("add it to your PATH"), "{}", said.text);
    let installed = files(&prefix);
    for file in [
        "bin/ackpost",
        "share/man/man1/ackpost.1.gz",
        "share/man/man1/ackpost-server-room-add.1.gz",
        "share/bash-completion/completions/ackpost",
        "share/zsh/site-functions/_ackpost",
        "share/fish/vendor_completions.d/ackpost.fish",
        "share/doc/ackpost/README.md",
        "share/doc/ackpost/LICENSE-MIT",
        "share/doc/ackpost/LICENSE-APACHE",
        "share/doc/ackpost/docs/guide/gateway.md",
    ] {
        assert!(
            installed.iter().any(|one| one == file),
            "{file} is missing: {installed:?}"
        );
    }
    assert!(
        !installed.contains(&"bin/apprise".to_owned()),
        "the name was not asked for"
    );

    // An upgrade removes files that the new version no longer has.
    let list = prefix.join("share/ackpost/installed-files");
    let before = std::fs::read_to_string(&list).expect("the list");
    std::fs::write(prefix.join("share/doc/ackpost/gone.md"), "old").expect("written");
    std::fs::write(&list, format!("{before}share/doc/ackpost/gone.md\n")).expect("written");
    let said = install(
        home.path(),
        &["--from", &from(&new), "--prefix", place, "--apprise"],
    );
    assert_eq!(said.code, 0, "{}", said.text);
    assert!(said.text.contains("installed ackpost 0.1.0"), "{}", said.text);
    let ran = finish(Command::new(prefix.join("bin/apprise")).arg("--version"));
    assert_eq!((ran.code, ran.text.trim()), (0, "ackpost 0.1.0"));
    let installed = files(&prefix);
    assert!(!installed.contains(&"share/doc/ackpost/gone.md".to_owned()));
    assert!(
        !installed.iter().any(|file| file.strip_suffix(".new").is_some()),
        "{installed:?}"
    );

    let said = install(home.path(), &["--uninstall", "--prefix", place]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(files(&prefix), ["bin/other"]);
    assert!(!prefix.join("share").exists());
    let said = install(home.path(), &["--uninstall", "--prefix", place]);
    assert_eq!(said.code, 1);
    assert!(said.text.contains("nothing is installed"), "{}", said.text);
}

#[test]
fn a_changed_or_misleading_artefact_installs_nothing() {
    let release = Release::build("0.1.0");
    let home = tempfile::tempdir().expect("a folder");
    let from = release.path().display().to_string();
    let tarball = release.path().join(release.tarball());
    let good = std::fs::read(&tarball).expect("the tarball");
    let nothing = |args: &[&str], cause: &str| {
        let said = install(home.path(), args);
        assert_ne!(said.code, 0, "{args:?}: {}", said.text);
        assert!(said.text.contains(cause), "{args:?}: {}", said.text);
        assert!(said.text.starts_with("error: "), "{}", said.text);
        assert!(!home.path().join(".local").exists(), "{args:?}: {}", said.text);
    };

    nothing(
        &["--from", &from, "--sha256", &"0".repeat(64)],
        "not the expected file",
    );
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&tarball, &changed).expect("written");
    nothing(&["--from", &from], "not the expected file");
    std::fs::write(&tarball, &good).expect("written");

    // A tarball with a file outside of its own folder, and a hash that fits.
    let trap = home.path().join("trap");
    std::fs::create_dir_all(&trap).expect("made");
    let name = release.tarball();
    let script = format!(
        "mkdir x && cd x && echo pwned >../evil && tar -czPf ../trap/{name} ../evil && cd ../trap && sha256sum {name} >SHA256SUMS"
    );
    let said = finish(Command::new("sh").args(["-ec", &script]).current_dir(home.path()));
    assert_eq!(said.code, 0, "{}", said.text);
    let trap = trap.display().to_string();
    nothing(&["--from", &trap], "outside of");

    for address in [
        "http://download.example.org/",
        "http://localhost.example.org/",
        "http://127.0.0.1.example.org/",
        "http://localhost:80@download.example.org/",
    ] {
        nothing(&["--from", address], "refusing plain http");
    }
    nothing(&["--from", "/nonexistent"], "cannot read SHA256SUMS");
    nothing(&["--prefix"], "needs a value");
    nothing(&["--bogus"], "unknown option");
    nothing(&[], "no release files beside this script");
    std::fs::write(release.path().join("SHA256SUMS"), "").expect("written");
    nothing(&["--from", &from], "no program for");
}

#[test]
fn an_address_serves_as_a_folder_does() {
    let release = Release::build("0.1.0");
    let home = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let folder = release.path();
    // Two files are asked for, each over its own connection.
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .expect("set");
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            reader.read_line(&mut line).expect("a request");
            let mut rest = String::new();
            while reader.read_line(&mut rest).expect("a head") > 2 {
                rest.clear();
            }
            let name = line
                .split(' ')
                .nth(1)
                .expect("a path")
                .trim_start_matches("/v1/")
                .to_owned();
            let body = std::fs::read(folder.join(name)).expect("an artefact");
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )
            .and_then(|()| stream.write_all(&body))
            .expect("answered");
        }
    });
    let said = install(home.path(), &["--from", &format!("http://127.0.0.1:{port}/v1/")]);
    assert_eq!(said.code, 0, "{}", said.text);
    server.join().expect("no panic");
    assert!(home.path().join(".local/bin/ackpost").exists());
    let said = install(home.path(), &["--uninstall"]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(files(home.path()), Vec::<String>::new());
}

#[test]
fn the_same_input_gives_the_same_artefacts() {
    let sums = |release: &Release| std::fs::read_to_string(release.path().join("SHA256SUMS")).expect("sums");
    let (one, two) = (Release::build("0.1.0"), Release::build("0.1.0"));
    // The stand-ins lie in folders of different names, which they hold nothing of.
    let keep = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(keep(sums(&one)), keep(sums(&two)));
}

/// The files for Homebrew, the AUR and Nix name the source tarball of this release with its hash.
#[test]
fn the_files_for_other_packagers_name_the_source() {
    let release = Release::build("0.1.0");
    let sums = std::fs::read_to_string(release.path().join("SHA256SUMS")).expect("sums");
    let line = sums
        .lines()
        .find(|line| line.ends_with(" ackpost-0.1.0.tar.gz"))
        .expect("the source");
    let hash = line.split(' ').next().expect("a hash");
    for name in ["ackpost.rb", "PKGBUILD", "package.nix"] {
        let text = std::fs::read_to_string(release.path().join(name)).expect(name);
        assert!(text.contains(hash), "{name}: {text}");
        assert!(
            text.contains("https://download.example.org/ackpost/ackpost-"),
            "{name}: {text}"
        );
        assert!(!text.contains('@') || name == "PKGBUILD", "{name}: {text}");
        for word in ["@VERSION@", "@SHA256@", "@URL@"] {
            assert!(!text.contains(word), "{name}: {text}");
        }
    }
    let said = finish(
        Command::new("bash")
            .arg("-n")
            .arg(release.path().join("PKGBUILD")),
    );
    assert_eq!(said.code, 0, "{}", said.text);
}

/// The package has what every service needs, and its configuration files load.
#[test]
fn the_debian_package_is_whole() {
    let release = Release::build("0.1.0");
    let deb = release.named(".deb");
    assert_eq!(deb.len(), 1, "{deb:?}");
    let tree = tempfile::tempdir().expect("a folder");
    let said = finish(
        Command::new("dpkg-deb")
            .arg("-R")
            .arg(release.path().join(&deb[0]))
            .arg(tree.path()),
    );
    assert_eq!(said.code, 0, "{}", said.text);
    let all = files(tree.path());
    for file in [
        "etc/ackpost/bridge.toml",
        "etc/ackpost/gateway.toml",
        "etc/ackpost/outbox.env",
        "etc/ackpost/server.env",
        "lib/systemd/system/ackpost-bridge.service",
        "lib/systemd/system/ackpost-gateway.service",
        "lib/systemd/system/ackpost-outbox.service",
        "lib/systemd/system/ackpost-server.service",
        "lib/systemd/system/ackpost-server.socket",
        "usr/bin/ackpost",
        "usr/lib/ackpost/apprise",
        "usr/lib/systemd/user/ackpost-outbox.service",
        "usr/share/doc/ackpost/changelog.Debian.gz",
        "usr/share/doc/ackpost/copyright",
        "usr/share/doc/ackpost/docs/guide/getting-started.md",
        "usr/share/doc/ackpost/docs/reference/parameters.md",
    ] {
        assert!(all.iter().any(|one| one == file), "{file} is missing: {all:?}");
    }
    let conffiles = std::fs::read_to_string(tree.path().join("DEBIAN/conffiles")).expect("a list");
    assert_eq!(conffiles.lines().count(), 4, "{conffiles}");
    // No empty environment counts: what the unit reads is what the commands read.
    let file = tree.path().join("etc/ackpost/gateway.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let unit = std::fs::read_to_string(tree.path().join("lib/systemd/system/ackpost-gateway.service"))
        .expect("a unit");
    let state = unit
        .lines()
        .find_map(|line| line.strip_prefix("StateDirectory="))
        .expect("a folder");
    assert!(
        text.contains(&format!("\nfolder = \"/var/lib/{state}\"\n")),
        "{text}"
    );
    assert!(
        text.contains(&format!("\noutbox = \"/var/lib/{state}/outbox.db\"\n")),
        "{text}"
    );
    let checked = finish(
        Command::new(env!("CARGO_BIN_EXE_ackpost"))
            .args(["gateway", "check", "--config"])
            .arg(&file),
    );
    assert_eq!(checked.code, 0, "{}", checked.text);
    verify_units(tree.path());
}

/// `systemd-analyze verify`, where it is installed.
fn verify_units(tree: &Path) {
    let folder = tree.join("lib/systemd/system");
    let mut units: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("units")
        .map(|entry| entry.expect("a unit").path())
        .collect();
    units.push(tree.join("usr/lib/systemd/user/ackpost-outbox.service"));
    for unit in &units {
        let text = std::fs::read_to_string(unit).expect("a unit");
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let program = line.split(['=', ' ']).nth(1).expect("a program");
            assert!(
                program == "/usr/bin/ackpost" || Path::new(program).exists(),
                "{}: {line}",
                unit.display()
            );
        }
    }
}

/// A container of the gateway with the variables of Apprise API, without the container.
#[test]
#[expect(clippy::too_many_lines, reason = "one container from its start to its end")]
fn the_container_of_the_gateway_speaks_the_variables_of_apprise_api() {
    let home = tempfile::tempdir().expect("a folder");
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), bin.join("ackpost")).expect("a link");
    let config = home.path().join("config");
    std::fs::create_dir(&config).expect("made");
    std::fs::write(config.join("ops.cfg"), "ops=session://broken\n").expect("written");
    std::fs::write(config.join("ops.yml"), "urls: []\n").expect("written");
    let port = ackpost_testkit::reserve_port();
    let start = root().join("packaging/container-gateway-start");
    let command = |extra: &[(&str, &str)]| {
        let mut command = Command::new("sh");
        command
            .arg(&start)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", home.path())
            .env("APPRISE_CONFIG_DIR", &config)
            .env("LISTEN", format!("127.0.0.1:{port}"))
            .envs(extra.iter().copied());
        command
    };
    for (name, value) in [
        ("APPRISE_ATTACH_SIZE", "many"),
        ("APPRISE_CONFIG_LOCK", "perhaps"),
        ("ACKPOST_ACCESS", "everybody"),
        ("LOG_LEVEL", "loud"),
        ("HTTP_PORT", "port"),
    ] {
        let said = finish(&mut command(&[(name, value)]));
        assert_eq!(said.code, 2, "{name}: {}", said.text);
        assert!(
            said.text.contains(name) && said.text.contains(value),
            "{}",
            said.text
        );
    }
    let mut child = command(&[
        ("ACKPOST_ACCESS", "open"),
        (
            "APPRISE_STATELESS_URLS",
            "xmpps://a:b@127.0.0.1:1/c,xmpps://a:b@127.0.0.1:1/d",
        ),
        ("APPRISE_CONFIG_LOCK", "yes"),
        ("APPRISE_ATTACH_SIZE", "50"),
        ("ALLOWED_HOSTS", "* notify.example.org"),
        ("APPRISE_DENY_SERVICES", "mailto"),
    ])
    .stderr(Stdio::piped())
    .spawn()
    .expect("it starts");
    let ask = |method: &str, path: &str, body: &str| {
        let mut text = String::new();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("set");
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: notify.example.org\r\nConnection: close\r\n");
        let _ = write!(
            head,
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    let until = Instant::now() + Duration::from_secs(30);
    while ask("GET", "/healthz", "").is_none() {
        assert!(Instant::now() < until, "the gateway does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let health = finish(command(&[]).arg("health"));
    assert_eq!(health.code, 0, "{}", health.text);
    // No URLs in the request: those of the variable, both of them.
    let sent = ask("POST", "/notify", r#"{"body": "x"}"#).expect("an answer");
    assert!(sent.starts_with("HTTP/1.1 200"), "{sent}");
    let listed = ask("GET", "/outbox", "").expect("an answer");
    assert!(listed.contains("127.0.0.1"), "{listed}");
    let locked = ask("POST", "/add/new", r#"{"urls": "xmpps://a:b@127.0.0.1/c"}"#).expect("an answer");
    assert!(locked.starts_with("HTTP/1.1 403"), "{locked}");
    let keys = ask("GET", "/cfg", "").expect("an answer");
    assert!(keys.contains("ops"), "{keys}");
    let said = finish(Command::new("kill").arg(child.id().to_string()));
    assert_eq!(said.code, 0, "{}", said.text);
    let ended = child.wait().expect("our own child");
    let mut log = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut log)
        .expect("text");
    assert!(ended.success(), "{ended}: {log}");
    assert!(log.contains("APPRISE_DENY_SERVICES has no effect"), "{log}");
    // A second file of a key is left out, and the start says so.
    assert!(log.contains("ops.yml is not used"), "{log}");
    assert!(config.join("ackpost/outbox.db").exists());
    let health = finish(command(&[]).arg("health"));
    assert_ne!(health.code, 0);
}
