//! A raid of 300 identities, ended with the commands of the guide.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{Program, SEED};
use super::{Running, commands, good, lines, run};

/// One post each of 300 identities. One process each: a program that writes to one room for many people waits for the
/// room's rate limit.
fn write_as_strangers(server: &Running) {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for n in (part..300).step_by(4) {
                    let status = Command::new(env!("CARGO_BIN_EXE_ackpost"))
                        .args([
                            "send",
                            "-b",
                            &format!("{n}: see https://site-{}.example/{}", n * 37, n * 91),
                        ])
                        .arg(server.room(&format!("{:064x}", 5000 + n), "main"))
                        .stderr(Stdio::null())
                        .status()
                        .expect("the program runs");
                    assert!(status.success(), "raider {n}");
                }
            });
        }
    });
}

#[test]
fn the_commands_of_the_guide_end_a_raid_of_300_identities() {
    let program = Program::new();
    good(&program, "ackpost server init srv/community");
    good(&program, "ackpost server room add --dir srv/community main");
    let server = run(&program.home().join("srv/community"), &[]);
    // The member comes before the raid begins.
    good(
        &program,
        &format!("ackpost send -b 'I was here' '{}'", server.room(SEED, "main")),
    );
    std::thread::sleep(Duration::from_millis(1200));
    let since = jiff::Timestamp::now().as_millisecond();
    write_as_strangers(&server);
    let posts = || {
        let list = lines(
            &program,
            "server message list --room main --limit 1000 --dir srv/community",
        );
        list.iter().filter(|row| row["deleted"] == false).count()
    };
    assert_eq!(posts(), 301);
    let section: Vec<String> = commands("docs/guide/community-server.md")
        .into_iter()
        .filter(|(section, _)| section == "Raids")
        .map(|(_, command)| command)
        .collect();
    assert_eq!(section.len(), 6, "{section:?}");
    for command in section {
        let line = command.split("  #").next().expect("a command").trim_end();
        // The ten minutes of the guide are the time since the raid began.
        let span = format!(
            "{}s",
            (jiff::Timestamp::now().as_millisecond() - since) / 1000 + 1
        );
        let line = format!("{} --dir srv/community", line.replace("10m", &span));
        let ran = program.shell(&line);
        assert_eq!(ran.code, 0, "{line}\n{}", ran.all());
        if line.contains("raid status") {
            let raider = server.room(&format!("{:064x}", 5000), "main");
            assert_ne!(program.shell(&format!("ackpost send -b more '{raider}'")).code, 0);
            let member = server.room(SEED, "main");
            good(&program, &format!("ackpost send -b 'still here' '{member}'"));
        }
        if line.contains("sweep") {
            let said = "300 accounts first seen since";
            assert!(ran.stdout.contains(said), "{}", ran.all());
            assert!(
                ran.stdout
                    .contains("300 posts, 0 reactions, 0 files, 0 direct messages, 300 bans"),
                "{}",
                ran.all()
            );
            assert_eq!(posts(), if line.contains("dry-run") { 302 } else { 2 });
        }
        if line.contains("undo") {
            assert_eq!(posts(), 302);
        }
    }
    let raider = server.room(&format!("{:064x}", 5000), "main");
    good(
        &program,
        &format!("ackpost send -b 'welcome after all' '{raider}'"),
    );
    server.stop();
}
