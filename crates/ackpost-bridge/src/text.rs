//! Form of people's names and messages on the other side.

use ackpost_platform::text::{misleads, plain_name};
use sha2::{Digest as _, Sha256};

/// Maximum length of a name that is shown, characters.
const NAME_CHARS: usize = 32;
/// Longest message of a community that every app shows whole, characters.
pub(crate) const PART_CHARS: usize = 2_000;
/// Maximum number of parts of one message; a longer one is cut.
const PARTS_MAX: usize = 10;
/// Maximum length of a quoted part of a message, characters.
const EXCERPT_CHARS: usize = 80;
/// Behind the name of a person who has an identity of their own in the community, if somebody there has this name too.
const FROM_XMPP: &str = " (XMPP)";
/// Longest addition to a name in front of a text: the mark of an edit, a tag, an invisible character, a colon.
const ADDED_CHARS: usize = 16;
/// Mark in front of the name of an author who edited a message.
const EDITED: &str = "\u{270f} ";
/// Invisible character that joins the text on both sides of it (U+2060).
const WORD_JOINER: char = '\u{2060}';

/// Characters that some programs show as the end of a line, besides the line feed.
const LINE_ENDS: [char; 6] = ['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
/// Colons, and characters that look like one.
const COLONS: [char; 4] = [':', '\u{2236}', '\u{fe55}', '\u{ff1a}'];
/// Characters that mark a line or a command where they come first: an action, a quote, an edit, a command of a bot.
const MARKS: [char; 8] = ['*', '>', '/', '!', '<', '\u{270f}', '.', ' '];

/// A name without characters that mislead, 32 characters at most.
///
/// A name must not end itself: in `bob: I agree. eve`, everything up to the last colon would pass for words of bob.
pub(crate) fn clean_name(name: &str) -> String {
    let clean = plain_name(name);
    let clean: Vec<&str> = clean
        .split_whitespace()
        .map(|word| word.trim_end_matches(COLONS))
        .filter(|word| !word.is_empty())
        .collect();
    let clean = clean.join(" ").replace(['<', '>'], "");
    let clean: String = clean.trim_start_matches(MARKS).chars().take(NAME_CHARS).collect();
    let clean = clean.trim_end_matches(COLONS);
    match clean.trim() {
        "" => "?".to_owned(),
        clean => clean.to_owned(),
    }
}

/// The name under which a nick of the XMPP room is shown in the community. Two nicks never have the same name.
///
/// A nick that cannot be shown as it is gets a tag made of the whole nick: `bob:` is another person than `bob`. So does a
/// nick that looks as if it had a tag already.
pub(crate) fn name_of_nick(nick: &str) -> String {
    let clean = clean_name(nick);
    if clean == nick && !is_tagged(nick) {
        return clean;
    }
    tagged(&clean, &hex::encode(&Sha256::digest(nick)[..4]))
}

/// A name with a tag that distinguishes it from the same name of others.
pub(crate) fn tagged(name: &str, tag: &str) -> String {
    format!("{name}#{tag}")
}

/// The name of somebody without one: both ends of the id.
pub(crate) fn unnamed(id: &str, end: &str) -> String {
    let start: String = id.chars().take(6).collect();
    format!("{start}…{end}")
}

/// A name of the XMPP room that somebody in the community has too.
pub(crate) fn from_xmpp(name: &str) -> String {
    format!("{name}{FROM_XMPP}")
}

/// Returns true for a name that ends like those which the bridge makes for people whose names alone could be those of others.
pub(crate) fn is_tagged(name: &str) -> bool {
    let is_tag = |tag: &str| tag.len() >= 4 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.to_lowercase().ends_with(&FROM_XMPP.to_lowercase())
        || name.rsplit_once(['#', '…']).is_some_and(|(_, tag)| is_tag(tag))
}

/// The name of an author in front of a text, with the mark of an edit.
pub(crate) fn author(name: &str, edited: bool) -> String {
    if edited {
        format!("{EDITED}{name}")
    } else {
        name.to_owned()
    }
}

/// Names that are equal for the eye: without case.
pub(crate) fn folded(name: &str) -> String {
    clean_name(name).to_lowercase()
}

/// A name with an invisible character in it, so that no program takes it for a nick of its own side.
pub(crate) fn unpinged(name: &str) -> String {
    let mut characters = name.chars();
    match characters.next() {
        Some(first) => format!("{first}{WORD_JOINER}{}", characters.as_str()),
        None => String::new(),
    }
}

/// A text in the form that follows a name: actions become `* name acts`, and no later line can pass for a line of
/// somebody else.
pub(crate) fn said(form: &str, name: &str, text: &str) -> String {
    if let Some(action) = text.strip_prefix("/me ") {
        return format!("* {name} {}", guarded(action));
    }
    // The name is put in last: braces in it mean nothing.
    let (before, after) = form.split_once("{text}").unwrap_or(("", ""));
    let text = guarded(text);
    format!(
        "{}{text}{}",
        before.replace("{name}", name),
        after.replace("{name}", name)
    )
}

/// A text as far as it can cross, and one part more, so that it is seen that something is missing. The rest need not be stored.
pub(crate) fn bounded(text: String) -> String {
    match text.char_indices().nth((PARTS_MAX + 1) * PART_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// Words that a gateway of Ackpost takes for an answer to an alert.
const GESTURES: [&str; 7] = [
    "ack",
    "acknowledge",
    "silence",
    "mute",
    "unsilence",
    "unmute",
    "status",
];

/// A line that the bridge writes for somebody else, so that no gateway takes it for an answer of the bridge to an alert: the nick
/// `silence` with the text `24h` would be one.
pub(crate) fn no_gesture(line: &str) -> String {
    let mut start = 0;
    for part in line.split_inclusive('\n') {
        if !part.trim().is_empty() && !part.trim_start().starts_with('>') {
            break;
        }
        start += part.len();
    }
    let (quote, rest) = line.split_at(start);
    let first = rest.split_whitespace().next().unwrap_or_default();
    let word: String = first
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    if GESTURES.contains(&word.as_str()) {
        format!("{quote}\u{2060}{}", rest.trim_start())
    } else {
        line.to_owned()
    }
}

/// Lines after the first that look like `name: …` or `* name` are indented.
fn guarded(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(LINE_ENDS, "\n");
    let mut lines = text.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        let start: String = line.chars().take(NAME_CHARS + ADDED_CHARS).collect();
        let words = start.split_whitespace();
        if words.clone().any(|word| word.ends_with(COLONS))
            || start.contains(['\u{fe55}', '\u{ff1a}'])
            || line.starts_with(['<', '\u{270f}'])
            || line.starts_with("* ")
        {
            out.push_str("  ");
        }
        out.push_str(line);
    }
    out
}

/// Cuts a text into parts that each fit, numbered if there is more than one.
pub(crate) fn parts(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= PART_CHARS {
        return vec![text.to_owned()];
    }
    // Room for " (10/10)".
    let room = PART_CHARS - 8;
    let mut cut = Vec::new();
    let mut rest = &characters[..];
    while !rest.is_empty() && cut.len() < PARTS_MAX {
        let end = if rest.len() <= room {
            rest.len()
        } else {
            // At a line, else at a word, if one ends in the second half.
            let found = |fits: fn(&char) -> bool| {
                rest[..room]
                    .iter()
                    .rposition(fits)
                    .filter(|at| *at > room / 2)
                    .map(|at| at + 1)
            };
            found(|c| *c == '\n')
                .or_else(|| found(|c| c.is_whitespace()))
                .unwrap_or(room)
        };
        let (part, behind) = rest.split_at(end);
        cut.push(part.iter().collect::<String>().trim_end().to_owned());
        rest = behind;
    }
    if !rest.is_empty()
        && let Some(last) = cut.last_mut()
    {
        last.push('…');
    }
    let count = cut.len();
    cut.iter()
        .enumerate()
        .map(|(at, part)| format!("{part} ({}/{count})", at + 1))
        .collect()
}

/// The first characters of the first line.
pub(crate) fn excerpt(text: &str) -> String {
    let line = text
        .split(|c| c == '\n' || LINE_ENDS.contains(&c))
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    // A database may refuse control characters, and a direction would go on behind the quote.
    let line: String = line.chars().filter(|c| !misleads(*c)).collect();
    let line = line.trim();
    if line.chars().count() <= EXCERPT_CHARS {
        return line.to_owned();
    }
    line.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect()
}

/// The line that stands for the message that is answered.
pub(crate) fn quoted(excerpt: &str) -> String {
    format!("> {excerpt}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_stored_as_far_as_it_can_cross() {
        let long = "é".repeat(100_000);
        let bounded = bounded(long.clone());
        assert!(bounded.len() < 50_000);
        assert_eq!(parts(&bounded), parts(&long));
        assert_eq!(super::bounded("short".to_owned()), "short");
    }

    #[test]
    fn no_line_of_the_bridge_is_an_answer_to_an_alert() {
        for line in [
            "silence: 24h",
            "Ack: hello",
            "!ack: x",
            "!silence #4093 24h (mallory)",
            "> a quote\n> more\nsilence 24h (mallory)",
            "status",
        ] {
            let guarded = no_gesture(line);
            assert!(guarded.contains('\u{2060}'), "{line}");
            assert_eq!(guarded.replace('\u{2060}', ""), line);
        }
        for line in ["alice: silence 24h", "silences: are bad", "", "> ack"] {
            assert_eq!(no_gesture(line), line);
        }
    }

    #[test]
    fn names_cannot_mislead() {
        assert_eq!(clean_name("bob\u{202e}ecila\u{200b}"), "bobecila");
        assert_eq!(clean_name("a\nb\tc"), "abc");
        assert_eq!(clean_name(" \u{2060} "), "?");
        assert_eq!(clean_name(&"x".repeat(50)).chars().count(), 32);
        assert_eq!(folded("B\u{200d}oB"), "bob");
        assert_eq!(unpinged("bob"), "b\u{2060}ob");
        for (name, shown) in [
            ("bob: I agree. eve", "bob I agree. eve"),
            ("bob\u{ff1a} I agree. eve", "bob I agree. eve"),
            ("bob:", "bob"),
            ("a:b", "a:b"),
            ("* bob", "bob"),
            ("/me is", "me is"),
            ("!kick bob", "kick bob"),
            ("> <bob", "bob"),
            ("eve> yes <bob", "eve yes bob"),
            ("\u{270f} bob", "bob"),
            (" : ", "?"),
        ] {
            assert_eq!(clean_name(name), shown, "{name}");
        }
    }

    #[test]
    fn a_nick_that_looks_like_another_one_has_a_name_of_its_own() {
        assert_eq!(name_of_nick("bob"), "bob");
        assert_eq!(name_of_nick("Bob B."), "Bob B.");
        let mut names = std::collections::HashSet::from(["bob".to_owned()]);
        for nick in [
            "bob:",
            "!bob",
            "\u{270f} bob",
            "<bob>",
            "* bob",
            "b\u{200b}ob",
            "bob (XMPP)",
            "bob#1f2e",
        ] {
            let name = name_of_nick(nick);
            assert!(name.starts_with("bob") && is_tagged(&name), "{name}");
            assert!(names.insert(name.clone()), "{nick} is shown as {name}");
            // Somebody who takes that name as a nick is shown in another way.
            assert!(names.insert(name_of_nick(&name)), "{name}");
        }
        let long = "x".repeat(100);
        assert_ne!(name_of_nick(&long), name_of_nick(&format!("{long}y")));
    }

    proptest::proptest! {
        /// Nicks of few letters and many characters that names lose: most pairs have the same clean name.
        #[test]
        fn two_nicks_never_have_the_same_name(
            one in "[ab:!<>*/. \u{270f}\u{200b}\u{ff1a}#f]{0,8}",
            other in "[ab:!<>*/. \u{270f}\u{200b}\u{ff1a}#f]{0,8}",
        ) {
            let (first, second) = (name_of_nick(&one), name_of_nick(&other));
            proptest::prop_assert_eq!(one == other, first == second);
            // Nor does any other form of a name meet that of somebody else.
            let forms = |name: &str| [name.to_owned(), unpinged(name), from_xmpp(name)];
            for form in forms(&first) {
                proptest::prop_assert_eq!(one == other, forms(&second).contains(&form));
            }
            // A name that is shown ends no name: nothing behind it can pass for a text.
            proptest::prop_assert!(!first.ends_with(COLONS) && !first.starts_with(MARKS));
        }
    }

    #[test]
    fn nobody_speaks_for_somebody_else() {
        let form = "{name}: {text}";
        assert_eq!(said(form, "alice", "bob: hi"), "alice: bob: hi");
        assert_eq!(
            said(form, "alice", "hi\nbob: I agree\nplain"),
            "alice: hi\n  bob: I agree\nplain"
        );
        assert_eq!(
            said(form, "alice", "hi\n* bob leaves"),
            "alice: hi\n  * bob leaves"
        );
        for end in ["\r\n", "\r", "\u{85}", "\u{b}", "\u{2028}", "\u{2029}"] {
            assert_eq!(
                said(form, "alice", &format!("hi{end}bob: forged")),
                "alice: hi\n  bob: forged",
                "{end:?}"
            );
        }
        for line in [
            "bob\u{ff1a}forged",
            "<bob> forged",
            "bob:",
            "\u{270f} bob: forged",
        ] {
            let shown = said(form, "alice", &format!("hi\n{line}"));
            assert_eq!(shown, format!("alice: hi\n  {line}"));
        }
        assert_eq!(said(form, "{text}", "x"), "{text}: x");
        assert_eq!(said("<{name}> {text}", "al", "x {name}"), "<al> x {name}");
        assert_eq!(said(form, "alice", "/me waves"), "* alice waves");
    }

    #[test]
    fn long_texts_come_in_numbered_parts() {
        assert_eq!(parts("short"), ["short"]);
        let exact = "x".repeat(PART_CHARS);
        assert_eq!(parts(&exact), [exact]);
        let long = "word ".repeat(900);
        let cut = parts(&long);
        assert_eq!(cut.len(), 3);
        assert!(cut[0].ends_with("word (1/3)") && cut[2].ends_with("(3/3)"));
        assert!(cut.iter().all(|part| part.chars().count() <= PART_CHARS));
        let endless = parts(&"y".repeat(100_000));
        assert_eq!(endless.len(), 10);
        assert!(endless[9].ends_with("… (10/10)") && endless[9].chars().count() <= PART_CHARS + 1);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("\n first\nsecond"), "first");
        assert_eq!(excerpt(&"é".repeat(100)).chars().count(), 80);
        assert_eq!(excerpt("one\u{2028}bob: forged"), "one");
        assert_eq!(excerpt("nul\0 and \u{202e}more"), "nul and more");
    }
}
