//! The commands of a bridge, and those of its guide.

use std::time::{Duration, Instant};

use ackpost_testkit::Prosody;
use ackpost_xmpp::{Content, Event, Outgoing};

use super::support::{self, Program};
use super::{PATIENCE, SEED, Stage, block_on, end, say, schemas, texts, until};

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one life of a bridge, command after command"
)]
fn the_commands_of_a_bridge_say_what_it_does() {
    let stage = Stage::new(Prosody::shared());
    block_on(async {
        let (alice, mut events) = stage.join("alice").await;
        let findings = stage.checked(&["check"]);
        assert!(
            findings.iter().all(|finding| finding["level"] != "error"),
            "{findings:#?}"
        );
        for step in ["xmpp archive", "xmpp people", "community pace"] {
            assert!(
                findings
                    .iter()
                    .any(|finding| finding["step"] == step && finding["level"] == "ok"),
                "{step}: {findings:#?}"
            );
        }
        let began = Instant::now();
        let doctor = stage
            .program
            .run(&["--json", "doctor", "--bridge", "bridge.toml"]);
        let whole = began.elapsed().as_millis();
        assert_eq!(doctor.code, 0, "{}", doctor.all());
        schemas::check(&["doctor"], &doctor.json());
        assert_eq!(doctor.json()[0]["url"], "bridge lobby");
        // The time of a step is its own, so that all together take no longer than the command.
        let report = doctor.json().remove(0);
        let steps = report["steps"].as_array().expect("steps");
        let times = steps.iter().filter_map(|step| step["elapsed_ms"].as_u64());
        assert!(u128::from(times.sum::<u64>()) <= whole, "{whole} ms: {steps:#?}");
        let doctor = stage.program.run(&["doctor", "--bridge", "bridge.toml"]);
        assert!(
            doctor.stdout.contains("→ messages would cross"),
            "{}",
            doctor.all()
        );
        let child = stage.run();
        let dora = stage.main(0xd0);
        // On its first start it begins with what is said from then on.
        let mut tries = 0;
        until("the text", PATIENCE, async || {
            if tries % 10 == 0 {
                say(&alice, Outgoing::new(stage.target(), Content::text("hello"))).await;
            }
            tries += 1;
            texts(&dora).await.contains(&"alice: hello".to_owned())
        })
        .await;
        let status = stage.checked(&["status"]);
        assert!(
            status[0]["to_session"]["carried"].as_u64() >= Some(1),
            "{status:?}"
        );
        let mapped = stage.checked(&["map", "lobby", "1"]);
        assert_eq!(
            (mapped[0]["from"].as_str(), mapped[0]["excerpt"].as_str()),
            (Some("xmpp"), Some("hello"))
        );

        // A second process does not carry for the same bridge.
        let second = stage.program.run(&[
            "bridge",
            "run",
            "--config",
            "bridge.toml",
            "--database",
            "bridge.db",
        ]);
        assert!(
            second.code == 1 && second.all().contains("another process runs"),
            "{}",
            second.all()
        );

        // A message during a pause crosses afterwards; the question about the bridge is answered in the room alone.
        assert_eq!(stage.checked(&["pause", "lobby"])[0]["paused"], true);
        tokio::time::sleep(Duration::from_secs(3)).await;
        say(&alice, Outgoing::new(stage.target(), Content::text("meanwhile"))).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!texts(&dora).await.contains(&"alice: meanwhile".to_owned()));
        assert_eq!(stage.checked(&["status"])[0]["paused"], "by command");
        stage.checked(&["pause", "lobby", "--off"]);
        until("the text of the pause", PATIENCE, async || {
            texts(&dora).await.contains(&"alice: meanwhile".to_owned())
        })
        .await;
        say(&alice, Outgoing::new(stage.target(), Content::text("!bridge"))).await;
        let answer = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(Event::Room(received)) = events.next().await
                    && received.body.starts_with("The bridge lobby is running.")
                {
                    return received.body;
                }
            }
        });
        assert!(answer.await.expect("an answer").contains("To the community: "));
        assert!(!texts(&dora).await.iter().any(|text| text.contains("!bridge")));

        let metrics = || {
            let words = ["bridge", "status", "--metrics", "--config", "bridge.toml"];
            stage
                .program
                .run(&[&words[..], &["--database", "bridge.db"]].concat())
        };
        until("an empty queue", PATIENCE, async || {
            let idle = "ackpost_bridge_waiting{bridge=\"lobby\",direction=\"to_session\"} 0";
            metrics().stdout.contains(idle)
        })
        .await;
        // The same metrics stand in the file, which node_exporter reads under another user.
        let file = stage.program.home().join("metrics.prom");
        until("the metrics file", PATIENCE, async || {
            std::fs::read_to_string(&file).is_ok_and(|text| text == metrics().stdout)
        })
        .await;
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
        assert_eq!(mode & 0o444, 0o444, "{mode:o}");
        assert!(!stage.program.home().join("metrics.prom.new").exists());
        end(child);
    });
}

#[test]
fn the_doctor_names_a_file_without_a_bridge() {
    let program = Program::new().file("bridge.toml", "");
    let ran = program.run(&["doctor", "--bridge", "bridge.toml"]);
    assert!(
        ran.code == 1 && ran.all().contains("bridge.toml has no bridge") && !ran.all().contains("URL"),
        "{}",
        ran.all()
    );
}

#[test]
fn the_commands_of_the_guide_are_understood() {
    let stage = Stage::new(Prosody::shared());
    block_on(async { stage.join("alice").await.0.close().await });
    let guide = std::fs::read_to_string(support::root().join("docs/guide/bridge.md")).expect("the guide");
    let mut found = 0;
    for line in guide
        .lines()
        .filter_map(|line| line.strip_prefix("$ ackpost bridge "))
    {
        let words: Vec<&str> = line
            .split(" > ")
            .next()
            .unwrap_or(line)
            .split_whitespace()
            .collect();
        if words.first() == Some(&"run") {
            continue;
        }
        found += 1;
        let mut all = vec!["bridge"];
        all.extend(&words);
        let ran = stage.program.run(&all);
        // Nothing has crossed yet: there is no message 42.
        let expected = i32::from(words.first() == Some(&"map"));
        assert_eq!(ran.code, expected, "{line}: {}", ran.all());
    }
    assert!(found >= 6, "{found} commands");
    // Two bridges on one room are refused.
    let text = std::fs::read_to_string(stage.program.home().join("bridge.toml")).expect("a file");
    let section = text[text.find("[[bridge]]").expect("a section")..].replace("'lobby'", "'again'");
    let program = Program::new()
        .file("bridge.toml", &format!("{text}{section}"))
        .secret_file("seed", SEED);
    let ran = program.run(&["bridge", "check", "--config", "bridge.toml"]);
    assert!(
        ran.code == 1 && ran.all().contains("bridge the same room"),
        "{}",
        ran.all()
    );
}
