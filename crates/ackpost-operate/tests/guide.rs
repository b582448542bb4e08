//! The answers that the guide names are answers.

use std::path::Path;

use ackpost_operate::model::gesture::{Form, Gesture, parse};
use ackpost_operate::model::people::AllowList;

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/answer-alerts.md");
    std::fs::read_to_string(path).expect("the guide")
}

/// The first cells of the rows of a table, by its heading.
fn rows(guide: &str, heading: &str) -> Vec<String> {
    let rest = guide.split(heading).nth(1).expect("the table");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.split('|').nth(1).expect("a cell").to_owned())
        .collect()
}

fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_answer_of_the_guide_is_a_gesture() {
    let guide = guide();
    let mut found = 0;
    for row in rows(&guide, "| Answer | Reaction | Effect |") {
        for answer in code(&row) {
            let read = parse(answer, Form::Reply);
            assert!(matches!(read, Some(Ok(_))), "{answer}: {read:?}");
            found += 1;
        }
    }
    assert_eq!(found, 8);
    for answer in ["!silence 2h #0a1b2", "!silence 2h #4093", "!status"] {
        assert!(guide.contains(answer), "{answer}");
        assert!(matches!(parse(answer, Form::Room), Some(Ok(_))), "{answer}");
    }
    let narrowed = parse(
        "silence 2h the disk is being replaced by instance,job",
        Form::Reply,
    );
    let Some(Ok(command)) = narrowed else {
        panic!("{narrowed:?}")
    };
    let Gesture::Silence { labels, .. } = command.gesture else {
        panic!("a silence")
    };
    assert_eq!(labels, ["instance", "job"]);
}

#[test]
fn every_line_for_people_in_the_guide_can_be_read() {
    let id = format!("session:05{}", "ab".repeat(32));
    for row in rows(&guide(), "| Line in `allow` | People |") {
        for line in code(&row) {
            let line = line.replace("session:05…", &id);
            assert!(AllowList::parse(&[&line]).is_ok(), "{line}");
        }
    }
}
