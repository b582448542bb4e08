//! The words of sendxmpp and go-sendxmpp.

use std::fmt::Write as _;

use secrecy::SecretString;

/// The program whose words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// sendxmpp 1.24, in Perl.
    Perl,
    /// go-sendxmpp 0.5.
    Go,
}

/// Meaning of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Alias,
    CaFile,
    Chatroom,
    Component,
    File,
    Headline,
    Help,
    Interactive,
    Message,
    MessageType,
    NoVerify,
    Nothing,
    Password,
    RoomPassword,
    Server,
    Subject,
    Timeout,
    /// TLS from the first byte.
    Tls,
    /// Refused, with the reason.
    Unsupported(&'static str),
    Upload,
    User,
    Version,
}

/// An option: its letter or a blank, its long names, whether a value follows, and its meaning.
type Known = (char, &'static [&'static str], bool, Meaning);

const RAW: Meaning = Meaning::Unsupported("raw XML cannot be confirmed; send a text");
const OX: Meaning =
    Meaning::Unsupported("OpenPGP is not supported; use OMEMO with `ackpost send` and omemo=require");

const PERL: &[Known] = &[
    ('a', &["tls-ca-path"], true, Meaning::CaFile),
    ('c', &["chatroom"], false, Meaning::Chatroom),
    ('d', &["debug"], false, Meaning::Nothing),
    ('e', &["ssl"], false, Meaning::Tls),
    ('f', &["file"], true, Meaning::File),
    ('h', &["help", "usage"], false, Meaning::Help),
    ('i', &["interactive"], false, Meaning::Interactive),
    ('j', &["jserver"], true, Meaning::Server),
    ('l', &["headline"], false, Meaning::Headline),
    ('m', &["message"], true, Meaning::Message),
    (
        ' ',
        &["message-type", "messages-type"],
        true,
        Meaning::MessageType,
    ),
    ('n', &["no-tls-verify"], false, Meaning::NoVerify),
    ('o', &["component"], true, Meaning::Component),
    ('p', &["password"], true, Meaning::Password),
    ('r', &["resource"], true, Meaning::Alias),
    ('s', &["subject"], true, Meaning::Subject),
    (
        ' ',
        &["sso"],
        false,
        Meaning::Unsupported("Kerberos is not supported; give a password"),
    ),
    // The connection is encrypted anyway.
    ('t', &["tls"], false, Meaning::Nothing),
    ('u', &["username"], true, Meaning::User),
    ('v', &["verbose"], false, Meaning::Nothing),
    ('w', &["raw"], false, RAW),
];

const GO: &[Known] = &[
    ('a', &["alias"], true, Meaning::Alias),
    ('c', &["chatroom"], false, Meaning::Chatroom),
    ('d', &["debug"], false, Meaning::Nothing),
    ('f', &["file"], true, Meaning::File),
    ('h', &["http-upload"], true, Meaning::Upload),
    (' ', &["help"], false, Meaning::Help),
    ('i', &["interactive"], false, Meaning::Interactive),
    ('j', &["jserver"], true, Meaning::Server),
    (
        'l',
        &["listen"],
        false,
        Meaning::Unsupported("listening has its own command: ackpost watch"),
    ),
    ('m', &["message"], true, Meaning::Message),
    (' ', &["muc-password"], true, Meaning::RoomPassword),
    ('n', &["no-tls-verify"], false, Meaning::NoVerify),
    (' ', &["ox", "ox-delete-nodes"], false, OX),
    (' ', &["ox-genprivkey-rsa", "ox-genprivkey-x25519"], false, OX),
    (' ', &["ox-import-privkey", "ox-passphrase"], true, OX),
    ('p', &["password"], true, Meaning::Password),
    (' ', &["raw"], false, RAW),
    ('r', &["resource"], true, Meaning::Alias),
    (' ', &["timeout"], true, Meaning::Timeout),
    ('t', &["tls"], false, Meaning::Tls),
    // TLS 1.2 is the least anyway.
    (' ', &["tls-version"], true, Meaning::Nothing),
    ('u', &["username"], true, Meaning::User),
    (' ', &["version"], false, Meaning::Version),
];

/// The task of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Task {
    #[default]
    Send,
    Help,
    Version,
}

/// The task, the recipients and the options in the words of a call.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Flags {
    pub(super) task: Task,
    pub(super) recipients: Vec<String>,
    pub(super) subject: Option<String>,
    /// The recipients are rooms.
    pub(super) chatroom: bool,
    /// Nick in rooms.
    pub(super) alias: Option<String>,
    pub(super) room_password: Option<SecretString>,
    pub(super) interactive: bool,
    pub(super) headline: bool,
    /// File with the message.
    pub(super) message: Option<String>,
    /// File to upload.
    pub(super) upload: Option<String>,
    /// Configuration file.
    pub(super) file: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) server: Option<String>,
    pub(super) component: Option<String>,
    pub(super) tls: bool,
    pub(super) no_verify: bool,
    pub(super) ca_file: Option<String>,
    /// Seconds for opening the connection.
    pub(super) timeout: Option<f64>,
}

impl Flags {
    /// Reads the words.
    pub(super) fn read(program: Program, words: &[String]) -> Result<Self, String> {
        let known = match program {
            Program::Perl => PERL,
            Program::Go => GO,
        };
        let mut flags = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                flags.recipients.extend(words.cloned());
                break;
            }
            let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                flags.recipients.push(word.clone());
                continue;
            };
            let long = rest.strip_prefix('-').unwrap_or(rest);
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if let Some((_, _, takes, meaning)) = find_long(known, name, long.len() < rest.len())? {
                let value = match (takes, value) {
                    (true, None) => Some(
                        words
                            .next()
                            .cloned()
                            .ok_or_else(|| format!("{word} needs a value"))?,
                    ),
                    (false, Some(_)) => return Err(format!("--{name} takes no value")),
                    (_, value) => value,
                };
                flags.set(*meaning, value.unwrap_or_default())?;
                continue;
            }
            if long.len() < rest.len() {
                return Err(format!("unknown option {word}"));
            }
            flags.letters(known, rest, &mut words)?;
        }
        Ok(flags)
    }

    /// Letters that may stand together; the value of one that takes it follows in the same or the next word.
    fn letters(
        &mut self,
        known: &[Known],
        letters: &str,
        words: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let found = known.iter().find(|(short, ..)| *short == letter && letter != ' ');
            let (_, _, takes, meaning) = found.ok_or_else(|| format!("unknown option -{letter}"))?;
            if *takes {
                let rest = &letters[at + letter.len_utf8()..];
                let value = if rest.is_empty() {
                    words
                        .next()
                        .cloned()
                        .ok_or_else(|| format!("-{letter} needs a value"))?
                } else {
                    rest.strip_prefix('=').unwrap_or(rest).to_owned()
                };
                return self.set(*meaning, value);
            }
            self.set(*meaning, String::new())?;
        }
        Ok(())
    }

    fn set(&mut self, meaning: Meaning, value: String) -> Result<(), String> {
        match meaning {
            Meaning::Alias => self.alias = Some(value),
            Meaning::CaFile => self.ca_file = Some(value),
            Meaning::Chatroom => self.chatroom = true,
            Meaning::Component => self.component = Some(value),
            Meaning::File => self.file = Some(value),
            Meaning::Headline => self.headline = true,
            Meaning::Help => self.task = Task::Help,
            Meaning::Interactive => self.interactive = true,
            Meaning::Message => self.message = Some(value),
            Meaning::MessageType => match value.as_str() {
                "chat" | "message" | "normal" => {}
                "headline" => self.headline = true,
                "groupchat" => self.chatroom = true,
                _ => return Err(format!("the message type {value} is not supported")),
            },
            Meaning::NoVerify => self.no_verify = true,
            Meaning::Nothing => {}
            Meaning::Password => self.password = Some(value.into()),
            Meaning::RoomPassword => self.room_password = Some(value.into()),
            Meaning::Server => self.server = Some(value),
            Meaning::Subject => self.subject = Some(value),
            Meaning::Timeout => {
                let seconds = value.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
                self.timeout = Some(seconds.ok_or("--timeout needs seconds, more than 0")?);
            }
            Meaning::Tls => self.tls = true,
            Meaning::Unsupported(reason) => return Err(reason.to_owned()),
            Meaning::Upload => self.upload = Some(value),
            Meaning::User => self.user = Some(value),
            Meaning::Version => self.task = Task::Version,
        }
        Ok(())
    }
}

/// The option of a long name, or of its beginning if `dashes` are in front of it.
fn find_long<'a>(known: &'a [Known], name: &str, dashes: bool) -> Result<Option<&'a Known>, String> {
    let exact = known.iter().find(|(_, names, ..)| names.contains(&name));
    if exact.is_some() || !dashes || name.is_empty() {
        // One dash and one letter is the letter.
        return Ok(exact);
    }
    let mut fitting = known
        .iter()
        .filter(|(_, names, ..)| names.iter().any(|long| long.starts_with(name)));
    match (fitting.next(), fitting.next()) {
        (Some(_), Some(_)) => Err(format!("--{name} is the beginning of several options")),
        (found, _) => Ok(found),
    }
}

/// The options of a program, a line each.
pub(super) fn usage(program: Program) -> String {
    let (name, known) = match program {
        Program::Perl => ("sendxmpp", PERL),
        Program::Go => ("go-sendxmpp", GO),
    };
    let mut text = format!("usage: {name} [options] RECIPIENT...\n");
    for (short, names, takes, meaning) in known {
        if matches!(meaning, Meaning::Unsupported(_)) {
            continue;
        }
        let short = if *short == ' ' {
            "    ".to_owned()
        } else {
            format!("-{short}, ")
        };
        let value = if *takes { " VALUE" } else { "" };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {short}--{}{value}", names[0]);
    }
    text.push_str("See `ackpost sendxmpp --help`.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(program: Program, line: &str) -> Result<Flags, String> {
        let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        Flags::read(program, &words)
    }

    #[test]
    fn both_programs_have_their_words() {
        let perl = read(Program::Perl, "-tcs Alert -rcook --file=rc -jhost:5223 a@b c@d").expect("good");
        assert!(perl.chatroom && !perl.tls);
        assert_eq!(perl.subject.as_deref(), Some("Alert"));
        assert_eq!(perl.alias.as_deref(), Some("cook"));
        assert_eq!(perl.file.as_deref(), Some("rc"));
        assert_eq!(perl.server.as_deref(), Some("host:5223"));
        assert_eq!(perl.recipients, ["a@b", "c@d"]);
        let go = read(
            Program::Go,
            "-t --alias=bot -u x@y -p z --timeout 3 --muc-pass q -h file a@b",
        )
        .expect("good");
        assert!(go.tls && go.password.is_some() && go.room_password.is_some());
        assert_eq!(go.timeout, Some(3.0));
        assert_eq!(go.upload.as_deref(), Some("file"));
        assert_eq!(read(Program::Perl, "-h").expect("good").task, Task::Help);
        // Perl's options may have one dash in front of a long name.
        assert!(read(Program::Perl, "-chatroom a@b").expect("good").chatroom);
        assert!(
            read(Program::Perl, "a@b -- -c")
                .expect("good")
                .recipients
                .contains(&"-c".to_owned())
        );
    }

    #[test]
    fn an_option_that_cannot_be_honoured_is_refused() {
        for (program, line) in [
            (Program::Perl, "--sso a@b"),
            (Program::Perl, "--raw"),
            (Program::Perl, "-z a@b"),
            (Program::Perl, "--message-type error a@b"),
            (Program::Perl, "-s"),
            (Program::Perl, "--m x"),
            (Program::Go, "-s x a@b"),
            (Program::Go, "--ox a@b"),
            (Program::Go, "-l"),
            (Program::Go, "--timeout never a@b"),
            (Program::Go, "--chatroom=x a@b"),
        ] {
            assert!(read(program, line).is_err(), "{line}");
        }
    }
}
