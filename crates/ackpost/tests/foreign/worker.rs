//! The Python process that runs Apprise: how it is found, and what others see of it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::Program;
use crate::support::apprise::{Sink, installed};
use crate::{NATIVE, NEWEST, program};

#[test]
fn this_program_under_the_name_apprise_is_not_taken_for_apprise() {
    let program = Program::called("apprise");
    let folder = program.home().join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), folder.join("apprise")).expect("a link");
    let program = program
        .env("PATH", folder.display().to_string())
        .env("ACKPOST_NATIVE", NATIVE);
    let ran = program.run(&["-b", "x", "json://127.0.0.1:1/"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.all().contains("no Apprise was found"), "{}", ran.all());
}

#[test]
fn an_apprise_on_the_path_is_found_by_its_first_line() {
    let sink = Sink::start();
    let folder = installed(NEWEST);
    let folder = folder.parent().expect("a folder").display().to_string();
    let ran = Program::new()
        .env("PATH", folder)
        .env("ACKPOST_NATIVE", NATIVE)
        .run(&["-b", "x", &sink.url("found")]);
    assert_eq!((ran.code, sink.count("/found")), (0, 1), "{}", ran.all());
}

/// Every process below this one.
fn below(parent: u32) -> Vec<u32> {
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let above = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            if above == Some(parent) && !found.contains(&pid) {
                found.push(pid);
            }
        }
    }
    found
}

fn holds(folder: &Path, secret: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, secret);
        }
        std::fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(secret))
    })
}

#[test]
fn no_secret_stands_in_a_process_list_an_environment_or_a_file() {
    let sink = Sink::start();
    let program = program(NEWEST).env("SINK_TOKEN", "SECRETTOKEN").file(
        "c.conf",
        &format!("ops=json://127.0.0.1:{}/slow/{{env:SINK_TOKEN}}\n", sink.port),
    );
    let mut child = program
        .command(&["-vv", "-b", "SECRETBODY", "-c", "c.conf", "-g", "ops"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let until = Instant::now() + Duration::from_secs(30);
    while sink.count("/slow/SECRETTOKEN") == 0 {
        assert!(Instant::now() < until, "the message does not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
    let all = below(child.id());
    assert_eq!(all.len(), 2, "the program and one Python process");
    for pid in &all[1..] {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).expect("our own child");
            assert!(!String::from_utf8_lossy(&text).contains("SECRET"), "{file}");
        }
    }
    assert!(!holds(&program.home(), "SECRET"));
    assert!(child.wait().expect("a child").success());
}

#[test]
fn a_process_that_is_killed_leaves_the_message_in_doubt() {
    let sink = Sink::start();
    let program = program(NEWEST);
    let mut child = program
        .command(&["--json", "-b", "x", &sink.url("slow/killed?retry=1&wait=0")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let until = Instant::now() + Duration::from_secs(30);
    while sink.count("/slow/killed") == 0 {
        assert!(Instant::now() < until, "the message does not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in &below(child.id())[1..] {
        let killed = std::process::Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().expect("piped"), &mut said).expect("text");
    assert_eq!(child.wait().expect("a child").code(), Some(1), "{said}");
    assert!(said.contains("may have arrived"), "{said}");
    assert_eq!(sink.count("/slow/killed"), 1);
}

/// Only a message that is sent starts Apprise; `doctor` does too, and names it.
#[test]
fn apprise_starts_for_messages_and_for_doctor_and_not_for_rehearsals() {
    let program = Program::new();
    let (home, real) = (program.home(), installed(NEWEST).with_file_name("python3"));
    let python = home.join("python3");
    let script = format!(
        "#!/bin/sh\necho started >> {}/starts\nexec {} \"$@\"\n",
        home.display(),
        real.display()
    );
    std::fs::write(&python, script).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, mode).expect("executable");
    let sink = Sink::start();
    let program = program
        .env("ACKPOST_APPRISE", python.display().to_string())
        .env("ACKPOST_NATIVE", NATIVE)
        .secret_file("c.conf", &sink.url("real"));
    let starts = || {
        let lines = std::fs::read_to_string(home.join("starts")).unwrap_or_default();
        lines.lines().count()
    };
    for args in [
        &["preview", "-b", "x", "-c", "c.conf"][..],
        &["config", "check", "c.conf"],
        &["--dry-run", "-b", "x", "-c", "c.conf"],
    ] {
        let ran = program.run(args);
        assert_eq!((ran.code, starts()), (0, 0), "{args:?}: {}", ran.all());
    }
    let ran = program.run(&["-b", "x", "-c", "c.conf"]);
    let seen = (ran.code, starts(), sink.count("/real"));
    assert_eq!(seen, (0, 1, 1), "{}", ran.all());
    let ran = program.run(&["doctor", "-c", "c.conf"]);
    assert!(
        ran.all().contains(&format!("Apprise {NEWEST} (")),
        "{}",
        ran.all()
    );
    assert_eq!((starts(), sink.count("/real")), (2, 1), "{}", ran.all());
    let ran = program.run(&["send", "--queue", "--no-drain", "-b", "x", "-c", "c.conf"]);
    assert_eq!((ran.code, starts()), (0, 2), "{}", ran.all());
}
