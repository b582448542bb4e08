//! `mailto://` and `mailtos://`: what is the same for every message of a URL.

mod address;
mod compose;
mod dialogue;
mod provider;
mod send;
mod url;
#[cfg(test)]
mod vectors;

use std::fmt;

use ackpost_notify::service::{Finding, Param, Service, ServiceKind, Target, Values, Written};
use ackpost_notify::url::{Mark, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, ConnectionPool, Delivery, Encoded, Format, Limits, MessageId,
    ParamValue, Shown,
};

use crate::piece::{Piece, SendRun, in_order};
use address::Person;

/// Definition of the service for mail.
pub static MAIL: ServiceKind = ServiceKind::new("mail", "Mail", url::parse)
    .with_schemas(&["mailto"], &["mailtos"])
    .with_parameters(&[
        Param::new(
            "to",
            Values::Text("mail addresses, separated by commas"),
            "",
            "Further recipients. Without any, the sender is the recipient.",
            "to=ops@example.org",
        )
        .written(Written::Address),
        Param::new(
            "from",
            Values::Text("a mail address or a name"),
            "",
            "Sender. The default is the user at the host.",
            "from=Backup <backup@example.org>",
        ),
        Param::new("name", Values::Text("a name"), "", "Name of the sender.", "name=Backup").written(Written::Listed),
        Param::new(
            "smtp",
            Values::Text("a host name or address"),
            "",
            "Mail server. The default is the one of a known provider, else the host.",
            "smtp=mail.example.org",
        ),
        Param::new(
            "mode",
            Values::Words(&["starttls", "ssl", "insecure"]),
            "",
            "Encryption of the connection: `starttls` on port 587, `ssl` from the first byte on port 465, `insecure` on port 25. \
             The default is `starttls` for mailtos:// and `insecure` for mailto://.",
            "mode=ssl",
        ),
        Param::new("cc", Values::Text("mail addresses, separated by commas"), "", "Recipients of a copy.", "cc=boss@example.org"),
        Param::new(
            "bcc",
            Values::Text("mail addresses, separated by commas"),
            "",
            "Recipients of a copy that the others do not see.",
            "bcc=archive@example.org",
        ),
        Param::new(
            "reply",
            Values::Text("mail addresses, separated by commas"),
            "",
            "Addresses for answers.",
            "reply=help@example.org",
        ),
        Param::new(
            "ca_file",
            Values::Text("a path"),
            "",
            "PEM file with the certificate authorities to trust.",
            "ca_file=/etc/ackpost/ca.pem",
        ),
    ])
    .with_url_forms(&[
        "{schema}://{host}",
        "{schema}://{host}:{port}/{targets}",
        "{schema}://{user}@{host}/{targets}",
        "{schema}://{user}:{password}@{host}",
        "{schema}://{user}:{password}@{host}:{port}/{targets}",
    ])
    .with_setup_url("https://appriseit.com/services/email/")
    .with_formats(&[Format::Html, Format::Text])
    .with_loose_host()
    .with_lacking(&["pgp", "pgppub", "pgpprv", "pgpkey", "wkd", "inline"])
    .with_guests();

/// Encryption of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Insecure,
    StartTls,
    Tls,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Insecure => "insecure",
            Self::StartTls => "starttls",
            Self::Tls => "ssl",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Insecure => 25,
            Self::StartTls => 587,
            Self::Tls => 465,
        }
    }
}

/// Contents of the URL, from which the canonical URL is made.
pub(crate) struct WrittenParts {
    pub(crate) schema: &'static str,
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) from: Option<String>,
    pub(crate) smtp: Option<String>,
    pub(crate) mode: Option<Mode>,
}

/// One mail server, the sender, and the recipients of a URL.
pub(crate) struct Mail {
    pub(crate) written: WrittenParts,
    pub(crate) server: String,
    pub(crate) port: u16,
    pub(crate) mode: Mode,
    /// User of the login.
    pub(crate) login: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) from: Person,
    /// The program's own name is shown, because the URL has no sender.
    pub(crate) program_name: bool,
    pub(crate) to: Vec<Person>,
    pub(crate) cc: Vec<Person>,
    pub(crate) bcc: Vec<Person>,
    pub(crate) reply: Vec<Person>,
    /// Headers of the URL.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) ca_file: Option<String>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("server", &self.server)
            .field("port", &self.port)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Mail {
    /// Host and port of the mail server.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }

    /// The password, if there is a login.
    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        Some((self.login.as_deref()?, self.password.as_deref()?))
    }

    /// Returns true if the sender alone is the recipient because none is written.
    fn is_to_sender(&self) -> bool {
        matches!(&self.to[..], [one] if one.name.is_none() && one.address == self.from.address)
    }
}

impl Service for Mail {
    fn kind(&self) -> &'static ServiceKind {
        &MAIL
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let written = &self.written;
        let login = match (&written.user, &self.password) {
            (None, _) => String::new(),
            (Some(user), None) => format!("{}@", percent::encode(user)),
            (Some(user), Some(_)) if !secrets => format!("{}:****@", percent::encode(user)),
            (Some(user), Some(password)) => {
                format!("{}:{}@", percent::encode(user), percent::encode(password))
            }
        };
        let port = written.port.map(|port| format!(":{port}")).unwrap_or_default();
        let person = |person: &Person| percent::encode(&person.to_string());
        let to: Vec<String> = match only {
            Some(target) => {
                let same = self.to.iter().find(|person| person.address == target.address);
                vec![same.map_or_else(|| percent::encode(&target.address), person)]
            }
            None if self.is_to_sender() => Vec::new(),
            None => self.to.iter().map(person).collect(),
        };
        format!(
            "{}://{login}{}{port}/{}",
            written.schema,
            written.host,
            to.join("/")
        )
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        let text =
            |text: Option<&str>| text.map_or(ParamValue::None, |text| ParamValue::Text(text.to_owned()));
        let list = |people: &[Person]| {
            let all: Vec<String> = people.iter().map(ToString::to_string).collect();
            text(Some(all.join(", ").as_str()).filter(|all| !all.is_empty()))
        };
        match name {
            "from" => text(Some(&self.from.to_string())),
            "name" => text(self.from.name.as_deref()),
            "smtp" => text(Some(&self.server)),
            "mode" => text(Some(self.mode.word())),
            "cc" => list(&self.cc),
            "bcc" => list(&self.bcc),
            "reply" => list(&self.reply),
            "ca_file" => text(self.ca_file.as_deref()),
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        match name {
            "from" => Some(self.written.from.is_none()),
            "smtp" => Some(self.written.smtp.is_none()),
            "mode" => Some(self.written.mode.is_none()),
            _ => None,
        }
    }

    fn pairs(&self) -> Vec<(Mark, String, String)> {
        let pair = |(name, value): &(String, String)| (Mark::Header, name.clone(), value.clone());
        self.headers.iter().map(pair).collect()
    }

    fn id_text(&self) -> String {
        format!(
            "mail {} {} {}",
            self.address(),
            self.login.as_deref().unwrap_or_default(),
            self.from.address
        )
    }

    fn host(&self) -> &str {
        &self.server
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn secure(&self) -> bool {
        self.mode != Mode::Insecure
    }

    fn targets(&self) -> Vec<Target> {
        let target = |person: &Person| Target {
            address: person.address.clone(),
            room: false,
        };
        self.to.iter().map(target).collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("{}://{}", self.written.schema, target.address)
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::code_points(32_768);
        limits.title = 250;
        limits
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        Piece::new(chunk, id).encode(MAIL.name, chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        let mut shown = Piece::shown(MAIL.name, piece);
        if Piece::read(MAIL.name, piece).is_ok_and(|piece| piece.format() == Format::Html) {
            let html = std::mem::take(&mut shown.body);
            shown.body = ackpost_notify::render::html_to_text(&html);
            shown.html = Some(html);
        }
        shown
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.findings(common, pool))
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(in_order(
            self,
            SendRun {
                common,
                pool,
                delivery,
            },
        ))
    }
}
