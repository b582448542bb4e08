//! A service of another crate, made with the public trait alone. URLs, configurations and reports treat it like any other.

use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use ackpost_apprise::{Notifier, Options, Syntax, TagFilter};
use ackpost_notify::service::{Param, SOGS, Values, Written, XMPP};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, Confirmation, ConnectionPool, Context, Delivery, Diagnostic,
    Encoded, Environment, Format, Guest, Limits, Message, MessageId, Outcome, ParamReader, ParamValue,
    Service, ServiceKind, ServiceUrl, Services, Target, prepare,
};

static KIND: ServiceKind = ServiceKind::new("pager", "Pager", parse)
    .with_schemas(&["pager"], &["pagers"])
    .with_setup_url("https://example.org/pager")
    .with_parameters(&[
        Param::new("to", Values::Text("numbers"), "", "Further numbers.", "to=12").written(Written::Address),
        Param::new(
            "urgent",
            Values::YesNo,
            "no",
            "Ring until somebody answers.",
            "urgent=yes",
        )
        .written(Written::Always),
    ]);

/// Messages that have been sent: number and text.
static SENT: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Pager {
    secure: bool,
    token: SecretString,
    host: String,
    port: Option<u16>,
    numbers: Vec<String>,
    urgent: bool,
}

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let token = raw.user().map(str::to_owned).ok_or_else(|| {
        Diagnostic::error("the token is missing", "write pager://TOKEN@host/number").key("user")
    })?;
    let numbers = raw.targets(reader.text("to").as_deref())?;
    if numbers.is_empty() {
        return Err(Diagnostic::error("no number is given", "write pager://TOKEN@host/number").key("to"));
    }
    let urgent = reader.yes_no("urgent", false);
    Ok(Box::new(Pager {
        secure: raw.schema() == "pagers",
        token: token.into(),
        host: raw.host().to_owned(),
        port: raw.port(),
        numbers,
        urgent,
    }))
}

impl Service for Pager {
    fn kind(&self) -> &'static ServiceKind {
        &KIND
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let schema = if self.secure { "pagers" } else { "pager" };
        let token = if secrets {
            percent::encode(self.token.expose_secret())
        } else {
            "****".to_owned()
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let numbers: Vec<String> = self
            .numbers
            .iter()
            .filter(|number| only.is_none_or(|only| only.address == **number))
            .map(|number| percent::encode(number))
            .collect();
        format!("{schema}://{token}@{}{port}/{}", self.host, numbers.join("/"))
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        match name {
            "urgent" => ParamValue::Bool(self.urgent),
            _ => ParamValue::None,
        }
    }

    fn id_text(&self) -> String {
        format!("pager{}{}", self.host, self.token.expose_secret())
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn secure(&self) -> bool {
        self.secure
    }

    fn targets(&self) -> Vec<Target> {
        let target = |number: &String| Target {
            address: number.clone(),
            room: false,
        };
        self.numbers.iter().map(target).collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("pager {} at {}", target.address, self.host)
    }

    fn limits(&self) -> Limits {
        Limits::code_points(20)
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, _id: &MessageId) -> Encoded {
        Encoded::new("pager", chunk.body.to_string()).cut(chunk.cut)
    }

    fn deliver<'a>(
        &'a self,
        _common: &'a CommonParams,
        _courier: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        let send = |page: &Encoded| {
            let text = String::from_utf8_lossy(page.bytes()).into_owned();
            let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push((delivery.target.address.clone(), text));
            Attempt::new(Outcome::Delivered {
                confirmed_by: Confirmation::Server,
                id: Some(sent.len().to_string()),
            })
        };
        Box::pin(async move { delivery.pieces.iter().map(send).collect() })
    }
}

#[tokio::test]
async fn one_row_and_one_module_make_a_service() {
    static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &KIND]);

    let context = Context::default()
        .with_env(Environment::empty())
        .with_services(SERVICES);
    // Grammar, global parameters, canonical and masked form, uid.
    let url = "PAGERS://ge%40heim@example.org:81/12/34?to=56,12&urgent=yes&retry=2&overflow=split";
    let service = ServiceUrl::parse(url, &context).expect("a service");
    let canonical = "pagers://ge%40heim@example.org:81/12/34/56?urgent=yes&overflow=split&format=text&retry=2&wait=0.5&optional=no";
    assert_eq!(service.expose_url(), canonical);
    assert_eq!(service.masked_url(), canonical.replace("ge%40heim", "****"));
    let again = ServiceUrl::parse(canonical, &context).expect("the same");
    assert_eq!(again.url_id(8), service.url_id(8));
    assert!(!format!("{service:?}").contains("heim"));
    assert!(
        ServiceUrl::parse("pager://example.org/12", &context)
            .is_err_and(|one| one.key.as_deref() == Some("user"))
    );
    // Configuration, tags, splitting, lanes, report.
    let mut list = Notifier::with_options(Options::default().with_context(context));
    let yaml = "urls:\n  - pager://geheim@example.org/99:\n      tag: night\n      overflow: split\n";
    assert!(list.add_config_text(yaml, Some(Syntax::Yaml)).await.is_clean());
    let report = list
        .notify_to(
            Message::new("first page second page third"),
            &TagFilter::from_values(["night"]),
        )
        .await;
    assert_eq!(report.targets.len(), 1);
    assert!(report.targets[0].outcome.is_delivered(), "{report:?}");
    assert_eq!(report.targets[0].target, "pager 99 at example.org");
    let sent = SENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expected = [("99", "first page second"), ("99", "page third")];
    assert_eq!(
        sent,
        expected.map(|(number, text)| (number.to_owned(), text.to_owned()))
    );
    // A guest may not name a service that does not obey the rules for guests.
    let guest = Context::default()
        .with_env(Environment::for_guest(Guest::default()))
        .with_services(SERVICES);
    assert!(ServiceUrl::parse(canonical, &guest).is_err_and(|one| one.cause.contains("not allowed here")));
}

#[test]
fn its_declared_examples_load_and_its_defaults_are_shown() {
    static SERVICES: Services = Services::new(&[&KIND]);
    let context = Context::default()
        .with_env(Environment::empty())
        .with_services(SERVICES);
    let load = |url: &str| ServiceUrl::parse(url, &context).expect("loads");
    let plain = load("pagers://a@h.org/12");
    for param in KIND.parameters {
        let loaded = load(&format!("pagers://a@h.org/12?{}", param.example));
        assert!(loaded.warnings().is_empty(), "{:?}", loaded.warnings());
        let shown = plain.parameters().into_iter().find(|one| one.name == param.name);
        assert_eq!(
            shown.is_some(),
            param.written != Written::Address,
            "{}",
            param.name
        );
        if let Some(shown) = shown {
            assert_eq!(shown.value.to_string(), param.default, "{}", param.name);
        }
    }
}

/// The same service with every property that a service of Apprise may need.
static LIKE_APPRISE: ServiceKind = ServiceKind::new("pager", "Pager", parse)
    .with_schemas(&["pager"], &["pagers"])
    .with_parameters(KIND.parameters)
    .with_formats(&[Format::Html, Format::Text])
    .with_loose_host()
    .with_lacking(&["pgp"]);

fn like_apprise(url: &str) -> Result<ServiceUrl, Diagnostic> {
    static SERVICES: Services = Services::new(&[&LIKE_APPRISE]);
    let context = Context::default()
        .with_env(Environment::empty())
        .with_services(SERVICES);
    ServiceUrl::parse(url, &context)
}

#[test]
fn a_parameter_that_only_apprise_has_is_told_apart_from_other_faults() {
    let problem = like_apprise("pager://t@h.org/1?pgp=sign").expect_err("no such parameter");
    assert!(problem.is_unsupported_parameter(), "{problem}");
    assert_eq!(problem.key.as_deref(), Some("pgp"));
    let other = like_apprise("pager://h.org/1").expect_err("no token");
    assert!(!other.is_unsupported_parameter(), "{other}");
    // Not wanted is as good as not written.
    for off in ["no", "", "false"] {
        let loaded = like_apprise(&format!("pager://t@h.org/1?pgp={off}")).expect("loads");
        assert!(loaded.warnings().is_empty(), "{:?}", loaded.warnings());
    }
}

#[test]
fn a_service_with_several_formats_sends_the_one_of_the_message() {
    let format = |url: &str, input: Option<Format>| {
        let service = like_apprise(url).expect("loads");
        let mut message = Message::new("a **b** <i>c</i>");
        message.input_format = input;
        prepare(&service, &message).expect("prepared").chunks[0].format
    };
    let url = "pager://t@h.org/1";
    assert_eq!(format(url, None), Format::Html);
    assert_eq!(format(url, Some(Format::Text)), Format::Text);
    assert_eq!(format(url, Some(Format::Markdown)), Format::Html);
    let text = "pager://t@h.org/1?format=text";
    assert_eq!(format(text, Some(Format::Html)), Format::Text);
    assert!(
        like_apprise(text)
            .expect("loads")
            .expose_url()
            .contains("format=text")
    );
    assert!(!like_apprise(url).expect("loads").expose_url().contains("format="));
    // One that the service cannot send is reported, and its own is used.
    let odd = like_apprise("pager://t@h.org/1?format=markdown").expect("loads");
    assert!(
        odd.warnings()[0].cause.contains("markdown"),
        "{:?}",
        odd.warnings()
    );
    assert_eq!(format("pager://t@h.org/1?format=markdown", None), Format::Html);
}

#[test]
fn a_loose_host_is_kept_as_written() {
    for (url, host) in [
        ("pager://t@_/1", "_"),
        ("pager://t@a_/1", "a_"),
        ("pager://t@h.org/1", "h.org"),
    ] {
        assert_eq!(like_apprise(url).expect("loads").host(), host, "{url}");
    }
}
