//! A third service, as `docs/guide/adding-a-service.md` builds it. It exists in tests only, so that the guide stays true.

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::param::{Param, Values, Written};
use super::wire::SogsWire;
use super::{Chunk, CommonParams, Endpoint, Limits, ParamValue, Row, Taken, Target, Wire};
use crate::dispatch::{AttemptResult, ConnectionPool, MessageId, Parcel};
use crate::outcome::{Confirmation, Outcome};
use crate::problem::Diagnostic;
use crate::url::{RawUrl, percent, targets};

pub(super) static ROW: Row = Row {
    name: "pager",
    title: "Pager",
    plain_schemas: &["pager"],
    secure_schemas: &["pagers"],
    setup_url: "https://example.org/pager",
    parameters: &[
        Param::new("to", Values::Text("numbers"), "", "Further numbers.", "to=12").written(Written::Address),
        Param::new(
            "urgent",
            Values::YesNo,
            "no",
            "Ring until somebody answers.",
            "urgent=yes",
        )
        .written(Written::Always),
    ],
    parse,
};

/// What has been sent: number and text.
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

fn parse(raw: &RawUrl, taken: &mut Taken<'_>) -> Result<Box<dyn Endpoint>, Diagnostic> {
    let token = raw.user.clone().ok_or_else(|| {
        Diagnostic::error("the token is missing", "write pager://TOKEN@host/number").key("user")
    })?;
    let to = taken.text("to");
    let numbers = targets(raw.path.iter().map(String::as_str).chain(to.as_deref()));
    if numbers.is_empty() {
        return Err(Diagnostic::error("no number is given", "write pager://TOKEN@host/number").key("to"));
    }
    let urgent = taken.yes_no("urgent", false);
    Ok(Box::new(Pager {
        secure: raw.schema == "pagers",
        token: token.into(),
        host: raw.host.clone(),
        port: raw.port,
        numbers,
        urgent,
    }))
}

impl Endpoint for Pager {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn base(&self, secrets: bool, only: Option<&Target>) -> String {
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

    fn fix(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, stamp: &MessageId) -> Wire {
        // A service with a form of its own adds a variant to `Wire`; a text and a time are enough here.
        Wire::Sogs(SogsWire {
            body: chunk.body.to_string(),
            sent_at_ms: stamp.sent_at_ms,
            fixed: None,
            cut: chunk.cut,
        })
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn deliver<'a>(
        &'a self,
        _common: &'a CommonParams,
        _courier: &'a ConnectionPool,
        parcel: &'a Parcel,
    ) -> BoxFuture<'a, Vec<AttemptResult>> {
        let send = |wire: &Wire| {
            let Wire::Sogs(wire) = wire else {
                return AttemptResult::new(Outcome::refused("this is no page", "send it again"));
            };
            let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push((parcel.target.address.clone(), wire.body.clone()));
            AttemptResult::new(Outcome::Delivered {
                confirmed_by: Confirmation::Server,
                id: Some(sent.len().to_string()),
            })
        };
        Box::pin(async move { parcel.wires.iter().map(send).collect() })
    }
}

#[tokio::test]
async fn one_row_and_one_module_make_a_service() {
    use crate::{Context, Environment, Message, Notifier, Options, Service, Syntax, TagFilter};

    let context = Context {
        env: Environment::empty(),
        ..Context::default()
    };
    // Grammar, global parameters, canonical and masked form, uid.
    let url = "PAGERS://ge%40heim@example.org:81/12/34?to=56,12&urgent=yes&retry=2&overflow=split";
    let service = Service::parse(url, &context).expect("a service");
    let canonical = "pagers://ge%40heim@example.org:81/12/34/56?urgent=yes&overflow=split&format=text&retry=2&wait=0.5&optional=no";
    assert_eq!(service.expose_url(), canonical);
    assert_eq!(service.masked_url(), canonical.replace("ge%40heim", "****"));
    let again = Service::parse(canonical, &context).expect("the same");
    assert_eq!(again.url_id(8), service.url_id(8));
    assert!(!format!("{service:?}").contains("heim"));
    assert!(
        Service::parse("pager://example.org/12", &context)
            .is_err_and(|one| one.key.as_deref() == Some("user"))
    );
    // Configuration, tags, splitting, lanes, report.
    let mut list = Notifier::with_options(Options {
        context,
        ..Options::default()
    });
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
    // What lists services knows it.
    assert!(Notifier::details().iter().any(|one| one.service == "pager"));
}
