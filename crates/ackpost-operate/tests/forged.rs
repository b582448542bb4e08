//! 500 forged gestures: none of them is acted on.

use std::time::Duration;

use ackpost_operate::model::decide::{Heard, Ignored, Said, Verdict, decide};
use ackpost_operate::model::gesture::{Form, Reacted};
use ackpost_operate::model::people::{Affiliation, AllowList, Person, Role};
use session_protocol::SessionId;

const JANE: &str = "jane@example.org";
const ROOM: &str = "ops@rooms.example.org";
/// Gestures that would all be acted on if their author were allowed.
const WORDS: [&str; 10] = [
    "ack",
    "!ack on it",
    "silence 2h",
    "silence 24h by instance",
    "mute 1h30m disk swap",
    "unsilence",
    "unmute",
    "status",
    "acknowledge",
    "silence",
];

fn id(prefix: &str, byte: &str) -> SessionId {
    format!("{prefix}{}", byte.repeat(32)).parse().expect("an id")
}

fn allowed() -> AllowList {
    let account = format!("session:{}", id("05", "ab"));
    AllowList::parse(&[
        "xmpp:jane@example.org",
        "xmpp-affiliation:member@ops@rooms.example.org",
        &account,
        "session-role:moderator",
    ])
    .expect("a list")
}

fn jane() -> Person {
    Person::Xmpp {
        jid: Some(JANE.to_owned()),
        room: Some((ROOM.to_owned(), Affiliation::Member)),
    }
}

fn heard(person: Person, body: &str) -> Heard<'_> {
    Heard {
        person,
        content: Said::Text {
            body,
            form: Form::Reply,
        },
        own: false,
        edited: false,
        private: false,
        verified: true,
        carried: false,
        age: None,
    }
}

fn acted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Act(_))
}

fn strangers() -> Vec<(&'static str, Person)> {
    let xmpp = |jid: Option<&str>, room: Option<(&str, Affiliation)>| Person::Xmpp {
        jid: jid.map(str::to_owned),
        room: room.map(|(room, rank)| (room.to_owned(), rank)),
    };
    let session = |id, account, role| Person::Session { id, account, role };
    vec![
        (
            "a copied nick in a room that hides addresses",
            xmpp(None, Some((ROOM, Affiliation::Owner))),
        ),
        (
            "a copied nick of another account",
            xmpp(Some("mallory@evil.example"), Some((ROOM, Affiliation::None))),
        ),
        (
            "the same name at another server",
            xmpp(Some("jane@example.org.evil.example"), None),
        ),
        (
            "an owner of another room",
            xmpp(
                Some("mallory@example.org"),
                Some(("ops2@rooms.example.org", Affiliation::Owner)),
            ),
        ),
        (
            "a person who was thrown out",
            xmpp(
                Some("bob@example.org"),
                Some((ROOM, Affiliation::of_word("outcast"))),
            ),
        ),
        ("a private message of the room", xmpp(Some(ROOM), None)),
        (
            "an address in other letters",
            xmpp(Some("j\u{430}ne@example.org"), None),
        ),
        (
            "another Session account",
            session(id("05", "cd"), None, Role::Everyone),
        ),
        (
            "a blinded id of another account",
            session(id("15", "ab"), Some(id("05", "cd")), Role::Everyone),
        ),
        (
            "a blinded id with the same key",
            session(id("25", "ab"), None, Role::Everyone),
        ),
    ]
}

/// Bodies that show a gesture somewhere, written by a person who may answer alerts.
fn shown_words(word: &str) -> Vec<(&'static str, String)> {
    vec![
        ("a quote", format!("> {word}")),
        ("a quote in a quote", format!("> > {word}\n> no")),
        ("a quote and a sentence", format!("> {word}\nshould we do that?")),
        ("a bridged name", format!("jane: {word}")),
        (
            "a bridged name that is a gesture",
            format!("{}: 24h", word.split_whitespace().next().unwrap_or_default()),
        ),
        ("a bridged name in brackets", format!("<jane> {word}")),
        ("a bridged action", format!("* jane {word}")),
        ("code", format!("`{word}`")),
        ("the second line", format!("look\n{word}")),
        ("a quoted word", format!("\"{word}\"")),
        ("a hidden mark before it", format!("\u{200b}{word}")),
    ]
}

#[test]
fn five_hundred_forged_gestures_change_nothing() {
    let allowed = allowed();
    assert!(
        WORDS
            .iter()
            .all(|word| acted(&decide(&heard(jane(), word), &allowed))),
        "the words are good"
    );
    let (mut forged, mut wrong) = (0, Vec::new());
    let mut check = |kind: &str, word: &str, heard: &Heard<'_>| {
        forged += 1;
        if acted(&decide(heard, &allowed)) {
            wrong.push(format!("{kind}: {word:?}"));
        }
    };
    for word in WORDS {
        for (kind, person) in strangers() {
            check(kind, word, &heard(person.clone(), word));
            for now in [&["🔕".to_owned()][..], &["👀".to_owned()]] {
                let content = Said::Reactions {
                    now,
                    before: Reacted::default(),
                };
                check(
                    kind,
                    "a reaction",
                    &Heard {
                        content,
                        ..heard(person.clone(), word)
                    },
                );
            }
        }
        for (kind, body) in shown_words(word) {
            check(kind, word, &heard(jane(), &body));
        }
        let moderator = Person::Session {
            id: id("15", "ab"),
            account: Some(id("05", "ab")),
            role: Role::Admin,
        };
        for (kind, change) in [
            (
                "an edited message",
                (|heard| heard.edited = true) as fn(&mut Heard<'_>),
            ),
            ("a private message of a room, or a whisper", |heard| {
                heard.private = true;
            }),
            ("a signature that is wrong", |heard| heard.verified = false),
            ("a message that a bridge carried", |heard| heard.carried = true),
            ("our own message", |heard| heard.own = true),
            ("a message of an hour ago", |heard| {
                heard.age = Some(Duration::from_secs(3_600));
            }),
        ] {
            for person in [jane(), moderator.clone()] {
                let mut one = heard(person, word);
                change(&mut one);
                check(kind, word, &one);
            }
        }
    }
    println!("{forged} forged gestures, {} acts", wrong.len());
    assert!(forged >= 500, "{forged}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_stranger_is_refused_and_a_broken_gesture_of_a_stranger_is_ignored() {
    let (_, stranger) = strangers().swap_remove(1);
    let verdict = decide(&heard(stranger.clone(), "silence 2h"), &allowed());
    assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    let verdict = decide(&heard(stranger, "silence soon"), &allowed());
    assert_eq!(verdict, Verdict::Ignore(Ignored::NoGesture));
    let verdict = decide(&heard(jane(), "silence soon"), &allowed());
    assert!(matches!(verdict, Verdict::Correct(_)), "{verdict:?}");
    let late = |seconds| Heard {
        age: Some(Duration::from_secs(seconds)),
        ..heard(jane(), "ack")
    };
    assert!(acted(&decide(&late(110), &allowed())));
    assert_eq!(decide(&late(130), &allowed()), Verdict::Ignore(Ignored::Old));
}
