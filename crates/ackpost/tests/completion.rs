//! Completion in the shell: the scripts ask the program, which offers commands, options and values that exist.

mod support;

use support::{Program, SEED, SERVER_KEY};

/// The words that fish would offer for a command line whose last word is being typed.
fn offered(program: &Program, words: &[&str]) -> Vec<String> {
    let mut command = program.command(&["--", "ackpost"]);
    let output = command
        .args(words)
        .env("ACKPOST_COMPLETE", "fish")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{words:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_scripts_of_every_shell_ask_the_program() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = program.run(&["generate", "completions", shell]);
        assert!(
            ran.code == 0 && ran.stdout.contains("ACKPOST_COMPLETE"),
            "{shell}: {}",
            ran.all()
        );
    }
    // The script of bash, run by bash: what Tab shows.
    let ran = program.shell(
        "ackpost generate completions bash >complete.bash\nbash -c '. ./complete.bash; COMP_WORDS=(ackpost outb); COMP_CWORD=1; \
         COMP_TYPE=9; _clap_complete_ackpost ackpost outb ackpost; echo \"${COMPREPLY[@]}\"'",
    );
    assert_eq!((ran.code, ran.stdout.trim()), (0, "outbox"), "{}", ran.all());
}

#[test]
fn commands_options_and_values_are_offered() {
    let program = Program::new()
        .secret_file(
            ".config/apprise.yml",
            &format!(
                "urls:\n  - session://{SERVER_KEY}:{SEED}@h.org/room:\n      tag: backup, ops\n  - xmpps://a:b@h.org/c:\n      tag: alerts\n"
            ),
        )
        .file("community/x", "");
    for line in [
        "ackpost identity new bot",
        "ackpost room save lobby 'https://h.org/lobby?public_key=KEY'",
        "ackpost gateway token add grafana",
        "ackpost server init community/server",
        "ackpost server room add news --dir community/server",
    ] {
        let ran = program.shell(&line.replace("KEY", SERVER_KEY));
        assert_eq!(ran.code, 0, "{line}: {}", ran.all());
    }
    for (words, wanted) in [
        (&["pre"][..], &["preview"][..]),
        (&["outbox", "list", "--sta"], &["--state"]),
        (
            &["outbox", "list", "--state", "d"],
            &["dead", "delivered", "dropped"],
        ),
        (&["send", "-g", ""], &["alerts", "backup", "ops"]),
        (&["preview", "--tag", "b"], &["backup"]),
        (&["identity", "show", ""], &["bot"]),
        (&["room", "read", "l"], &["lobby"]),
        (&["room", "forget", ""], &["lobby"]),
        (&["gateway", "token", "remove", ""], &["grafana"]),
        (&["server", "settings", "set", "slow"], &["slow_seconds"]),
        (&["generate", "completions", "z"], &["zsh"]),
    ] {
        let found = offered(&program, words);
        for word in wanted {
            assert!(found.iter().any(|one| one == word), "{words:?}: {found:?}");
        }
    }
    // Rooms come from the community in the current folder.
    let mut command = program.command(&["--", "ackpost", "server", "room", "show", ""]);
    let output = command
        .env("ACKPOST_COMPLETE", "fish")
        .current_dir(program.home().join("community/server"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().any(|line| line == "news"), "{text}");
    // Not offered: a name that does not exist yet, and nothing of a secret.
    assert!(!offered(&program, &["identity", "new", ""]).contains(&"bot".to_owned()));
    assert!(!offered(&program, &["send", "-g", ""]).join(" ").contains(SEED));
}
