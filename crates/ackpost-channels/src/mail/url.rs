//! Reading a URL.

use ackpost_notify::Diagnostic;
use ackpost_notify::service::{ParamReader, Service};
use ackpost_notify::url::{Mark, RawUrl};

use super::address::{Person, is_address, list, name_of};
use super::provider::{self, Login};
use super::{Mail, Mode, WrittenParts};

/// Maximum number of recipients of one mail: the target and those of its copies.
const COPIES: usize = 100;
/// Headers that this program writes itself.
const RESERVED: [&str; 12] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
];

/// The parts of a URL from which the sender, the login and the server are found.
struct Parts {
    user: Option<String>,
    host: String,
    server: Option<String>,
    mode: Mode,
    port: Option<u16>,
}

/// Makes the service of a URL.
pub(crate) fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let mut first = Vec::new();
    let mut host = raw.host().to_owned();
    if raw.has_loose_host() {
        if is_address(&host) {
            first.push(host);
        }
        host = String::new();
    }
    let mode = mode(reader)?;
    let written = WrittenParts {
        schema: if raw.schema() == "mailtos" {
            "mailtos"
        } else {
            "mailto"
        },
        user: raw.user().map(str::to_owned),
        host: if host.is_empty() {
            "_".to_owned()
        } else {
            host.clone()
        },
        port: raw.port(),
        from: from(reader),
        smtp: reader.text("smtp"),
        mode,
    };
    let mut parts = Parts {
        user: written.user.clone().filter(|user| !user.is_empty()),
        host,
        server: written.smtp.clone(),
        mode: mode.unwrap_or(if written.schema == "mailtos" {
            Mode::StartTls
        } else {
            Mode::Insecure
        }),
        port: raw.port(),
    };
    parts.apply_provider(mode.is_some());
    let (from, program_name) = parts.sender(written.from.as_deref())?;
    let recipients = Recipients::read(raw, first, &from, reader)?;
    let server = parts.server.unwrap_or(parts.host);
    check_server(&server)?;
    Ok(Box::new(Mail {
        written,
        port: parts.port.unwrap_or(parts.mode.port()),
        server,
        mode: parts.mode,
        login: parts.user,
        password: raw
            .expose_password()
            .filter(|password| !password.is_empty())
            .map(str::to_owned),
        from,
        program_name,
        to: recipients.to,
        cc: recipients.cc,
        bcc: recipients.bcc,
        reply: recipients.reply,
        headers: headers(raw)?,
        ca_file: reader.local_path("ca_file")?,
    }))
}

/// Everybody who gets a mail or an answer.
struct Recipients {
    to: Vec<Person>,
    cc: Vec<Person>,
    bcc: Vec<Person>,
    reply: Vec<Person>,
}

impl Recipients {
    /// Reads the recipients; without any, it is the sender.
    fn read(
        raw: &RawUrl,
        mut written: Vec<String>,
        from: &Person,
        reader: &mut ParamReader<'_>,
    ) -> Result<Self, Diagnostic> {
        written.extend(raw.path().iter().flat_map(|segment| list(segment)));
        written.extend(reader.text("to").iter().flat_map(|to| list(to)));
        let any = !written.is_empty();
        let mut to = distinct(people("to", written, reader));
        if to.is_empty() && any {
            return Err(Diagnostic::error(
                "none of the recipients is a mail address",
                "write mailtos://user:password@host/user@example.org",
            )
            .key("to"));
        }
        if to.is_empty() {
            to.push(Person {
                name: None,
                address: from.address.clone(),
            });
        }
        let mut copies = |name: &'static str| {
            let written = reader.text(name).map(|text| list(&text)).unwrap_or_default();
            distinct(people(name, written, reader))
        };
        let (cc, bcc, reply) = (copies("cc"), copies("bcc"), copies("reply"));
        if cc.len() + bcc.len() > COPIES || reply.len() > COPIES {
            return Err(Diagnostic::error(
                format!("there are more than {COPIES} recipients of copies"),
                "write fewer, or use a mailing list",
            )
            .key("cc"));
        }
        Ok(Self { to, cc, bcc, reply })
    }
}

fn mode(reader: &mut ParamReader<'_>) -> Result<Option<Mode>, Diagnostic> {
    let Some(word) = reader.text("mode") else {
        return Ok(None);
    };
    let known = [Mode::Insecure, Mode::StartTls, Mode::Tls];
    let mode = known
        .into_iter()
        .find(|mode| mode.word().eq_ignore_ascii_case(&word));
    mode.map(Some).ok_or_else(|| {
        Diagnostic::error(
            "the encryption is not known",
            "write mode=starttls, mode=ssl or mode=insecure",
        )
        .key("mode")
    })
}

/// `from=` and `name=` as one text.
fn from(reader: &mut ParamReader<'_>) -> Option<String> {
    let (from, name) = (reader.text("from"), reader.text("name"));
    match (from, name.as_deref().and_then(name_of)) {
        (Some(from), Some(name)) => Some(match Person::read(&from) {
            Some(person) => Person {
                name: Some(name),
                ..person
            }
            .to_string(),
            None => from,
        }),
        (Some(from), None) => Some(from),
        (None, name) => name,
    }
}

impl Parts {
    /// Fills missing parts from a known provider.
    fn apply_provider(&mut self, mode_written: bool) {
        if self.server.is_some() {
            return;
        }
        let Some(user) = self.user.clone() else {
            return;
        };
        let Some(provider) = provider::find(&self.host) else {
            return;
        };
        self.server = Some(provider.server.to_owned());
        if self.port.is_none() {
            self.port = Some(provider.mode.port());
        }
        if !mode_written {
            self.mode = provider.mode;
        }
        match (is_address(&user), provider.login) {
            (true, Login::User) => {
                let name = user.split('@').next().unwrap_or_default();
                self.user = Some(name.split_once('+').map_or(name, |(_, id)| id).to_owned());
            }
            (true, Login::Address) => {
                user.rsplit('@')
                    .next()
                    .unwrap_or_default()
                    .clone_into(&mut self.host);
            }
            (false, Login::Address) => self.user = Some(format!("{user}@{}", self.host)),
            _ => {}
        }
    }

    /// Finds the sender: the one in the URL, else the user at the host. The second value is true if the program's name
    /// is to be shown.
    fn sender(&mut self, written: Option<&str>) -> Result<(Person, bool), Diagnostic> {
        let local = ["localhost", "localhost.localdomain"];
        let of_user = match &self.user {
            Some(user) if !self.host.is_empty() => {
                let name = user
                    .split(|c: char| c == '@' || c.is_whitespace())
                    .next()
                    .unwrap_or_default();
                Some(format!("{name}@{}", self.host))
            }
            Some(user) if is_address(user) => {
                user.rsplit('@')
                    .next()
                    .unwrap_or_default()
                    .clone_into(&mut self.host);
                Some(user.clone())
            }
            None if local.contains(&&*self.host.to_ascii_lowercase()) => Some(format!("root@{}", self.host)),
            _ => None,
        };
        let program_name = written.is_none() && self.user.is_some();
        let found = match written.map(|written| (Person::read(written), written)) {
            Some((Some(person), _)) => Some(person),
            Some((None, name)) => of_user.map(|address| Person {
                name: name_of(name),
                address,
            }),
            None => of_user.map(|address| Person { name: None, address }),
        };
        let found = found.filter(|person| is_address(&person.address));
        found.map(|person| (person, program_name)).ok_or_else(|| {
            Diagnostic::error(
                "the sender is not a mail address",
                "write mailtos://user:password@host/recipient, or add ?from=ADDRESS",
            )
            .key("from")
        })
    }
}

/// Reads the addresses of one parameter; those that are none are reported.
fn people(name: &'static str, written: Vec<String>, reader: &mut ParamReader<'_>) -> Vec<Person> {
    let mut people = Vec::new();
    for text in written {
        match Person::read(&text) {
            Some(person) => people.push(person),
            None => reader.warn(
                Diagnostic::error(
                    "a recipient is not a mail address, and is left out",
                    "write user@example.org or Name <user@example.org>",
                )
                .key(name),
            ),
        }
    }
    people
}

fn distinct(people: Vec<Person>) -> Vec<Person> {
    let mut all: Vec<Person> = Vec::with_capacity(people.len());
    for person in people {
        if all.iter().all(|known| known.address != person.address) {
            all.push(person);
        }
    }
    all
}

/// The server must be a name or an address: it is the name that its certificate must have.
fn check_server(server: &str) -> Result<(), Diagnostic> {
    let bare = crate::net::bare(server);
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    let is_name = (1..=253).contains(&server.len())
        && (server.bytes()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_address || is_name {
        return Ok(());
    }
    Err(Diagnostic::error(
        "the mail server is missing or not a valid name",
        "write mailtos://user:password@host, or add ?smtp=HOST",
    )
    .key("smtp"))
}

/// The headers of the URL.
fn headers(raw: &RawUrl) -> Result<Vec<(String, String)>, Diagnostic> {
    let mut headers = Vec::new();
    for (_, name, value) in raw.pairs().filter(|(mark, _, _)| *mark == Mark::Header) {
        let bad = |cause: &str, remedy: &str| Err(Diagnostic::error(cause, remedy).key("header"));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return bad(
                "the name of a header contains invalid characters",
                "write letters, digits and -",
            );
        }
        if RESERVED.contains(&&*name.to_ascii_lowercase()) {
            return bad(
                "this header is written by Ackpost",
                "use the parameters of the URL, such as from= and reply=",
            );
        }
        if value.chars().any(char::is_control) {
            return bad("a header has a line end in its value", "write it in one line");
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}
