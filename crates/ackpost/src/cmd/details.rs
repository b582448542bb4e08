//! `ackpost details` and Apprise's `--details`: services, schemas, forms of their URLs and their parameters.

use std::fmt::Write as _;

use ackpost_notify::{ADDRESS_PARAMETERS, COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, ServiceKind, Services};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use crate::context::{Context, Invocation};
use crate::exit::Exit;
use crate::output;

/// Topics of the command with the services of `ackpost`. A URL schema names its service.
const NAMES: [&str; 7] = ["sogs", "xmpp", "outbox", "xmpps", "session", "sessions", "common"];

#[derive(Debug, Args)]
pub(crate) struct DetailsArgs {
    /// Show every parameter of this service, of all services (common), or of the outbox
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(NAMES))]
    service: Option<String>,
}

/// A heading and the parameters below it.
type Section = (&'static str, &'static [Param]);

const SHARED: [Section; 3] = [
    ("All services", COMMON_PARAMETERS),
    ("Outbox", QUEUE_PARAMETERS),
    ("Address", ADDRESS_PARAMETERS),
];

pub(crate) fn run(args: &DetailsArgs, context: Context) -> Exit {
    match &args.service {
        None => print(context),
        Some(service) => {
            if let Some(kind) =
                find(service, context.services).filter(|kind| !kind.notice.is_empty() && !context.json)
            {
                output::line(&format!("{}\n", kind.notice));
            }
            print_parameters(&sections(service, context.services), context);
        }
    }
    Exit::Success
}

/// Lets the command take the names of further services that a program brings.
pub(crate) fn with_names(tree: clap::Command, services: Services) -> clap::Command {
    let further = |name: &&'static str| !NAMES.contains(name);
    let foreign = services.foreign().map(|foreign| foreign.kind.name);
    let names = services
        .iter()
        .flat_map(|kind| kind.schemas().chain([kind.name]))
        .chain(foreign);
    let mut more: Vec<&'static str> = names.filter(further).collect();
    if more.is_empty() {
        return tree;
    }
    more.extend(NAMES);
    more.sort_unstable();
    more.dedup();
    tree.mut_subcommand("details", |details| {
        details.mut_arg("service", |arg| arg.value_parser(PossibleValuesParser::new(more)))
    })
}

fn find(name: &str, services: Services) -> Option<&'static ServiceKind> {
    let foreign = services.foreign().map(|foreign| foreign.kind);
    (services.named(name))
        .or_else(|| services.find(name))
        .or_else(|| foreign.filter(|kind| kind.name == name))
}

fn sections(name: &str, services: Services) -> Vec<Section> {
    match (name, find(name, services)) {
        ("common", _) => vec![SHARED[0]],
        ("outbox", _) => vec![SHARED[1]],
        (_, row) => (row.map(|kind| (kind.title, kind.parameters)).into_iter())
            .chain(SHARED)
            .collect(),
    }
}

fn print_parameters(sections: &[Section], context: Context) {
    if context.json {
        let all: Vec<Value> = (sections.iter())
            .flat_map(|(section, params)| params.iter().map(|param| parameter_json(section, param)))
            .collect();
        output::json_document(&all);
        return;
    }
    for (heading, params) in sections {
        output::line(heading);
        for param in *params {
            let names: Vec<&str> = param.names().collect();
            output::line(&format!("  {}", names.join(", ")));
            output::line(&format!("      {}", param.help));
            output::line(&format!("      values   {}", param.values));
            if !param.default.is_empty() {
                output::line(&format!("      default  {}", param.default));
            }
            output::line(&format!("      example  {}", param.example));
            output::line(&format!("      since    {}", param.since));
        }
        output::line("");
    }
}

fn parameter_json(section: &str, param: &Param) -> Value {
    json!({
        "section": section,
        "name": param.name,
        "aliases": param.aliases,
        "values": param.values.to_string(),
        "words": param.values.words(),
        "default": Some(param.default).filter(|text| !text.is_empty()),
        "since": param.since,
        "secret": param.secret,
        "help": param.help,
        "example": param.example,
    })
}

/// The list, in Apprise's layout.
pub(crate) fn print(context: Context) {
    if context.json {
        let services: Vec<_> = context
            .services
            .iter()
            .map(|kind| {
                json!({
                    "service": kind.name,
                    "title": kind.title,
                    "protocols": kind.plain_schemas,
                    "secure_protocols": kind.secure_schemas,
                    "templates": kind.url_forms,
                    "parameters": kind.parameters.iter().map(|param| param.name).collect::<Vec<_>>(),
                    "setup": kind.setup_url,
                    "notice": Some(kind.notice).filter(|text| !text.is_empty()),
                })
            })
            .collect();
        output::json_document(&services);
        return;
    }
    for kind in context.services.iter() {
        let schemas = kind.schemas().collect::<Vec<_>>().join(", ");
        output::line(&format!("+ {:<30} | Schema(s): {schemas}", kind.title));
        for template in kind.url_forms {
            output::line(&format!("   - {template}"));
        }
        output::line("");
    }
    // Under its name the list is Apprise's own, in which these services stand.
    if let Some(foreign) = context
        .services
        .foreign()
        .filter(|_| context.name == Invocation::Ackpost)
    {
        let count = foreign.schemas.len();
        output::line(&format!("+ {:<30} | {count} schemas", foreign.kind.title));
        output::line(&format!("   - {}", foreign.kind.setup_url));
        output::line("");
    }
}

/// Returns the reference page of all parameters as Markdown.
pub(crate) fn page(services: Services) -> String {
    let mut page = String::from(PAGE_HEAD);
    let foreign = services.foreign().map(|foreign| foreign.kind);
    let own = services
        .iter()
        .chain(foreign)
        .map(|kind| (kind.title, kind.parameters));
    for (heading, params) in own.chain(SHARED) {
        let _ = write!(
            page,
            "\n## {heading}\n\n| Name | Values | Default | Meaning | Example | Since |\n|---|---|---|---|---|---|\n"
        );
        for param in params {
            let names: Vec<String> = param.names().map(|name| format!("`{name}`")).collect();
            let default = match param.default {
                "" => String::new(),
                text => format!("`{text}`"),
            };
            let secret = if param.secret { " Never printed." } else { "" };
            let _ = writeln!(
                page,
                "| {} | {} | {default} | {}{secret} | `{}` | {} |",
                names.join(", "),
                param.values,
                param.help,
                param.example,
                param.since
            );
        }
    }
    page.push_str(CONFIRMATION);
    page
}

const PAGE_HEAD: &str = "# URL parameters

Written by `ackpost generate parameters`; do not edit. `ackpost details xmpp` and `ackpost details sogs` print the same.

A parameter follows the address: `xmpps://user:password@host/bob?confirm=receipt&retry=3`. In a configuration entry it is a
key. A parameter that is not listed here is reported and not used. An unusable value is reported; `ackpost config check`,
`preview`, `doctor`, `send` and the gateway read a URL in the same way.
";

const CONFIRMATION: &str = "
## Confirmation levels

`confirm=` sets the proof that an XMPP message needs before it is reported as delivered. Without the proof, the outcome is
`handed-over`, `unconfirmed` or a failure, never `delivered`.

| Level | It proves | It does not prove |
|---|---|---|
| `sent` | the message was written to a session that is logged in | that the server processed it |
| `server` | the server of the recipient took the message, and it did not come back until the proof was complete | that a client received it |
| `room` | the room showed the message to its occupants, this account among them | that a particular member read it |
| `receipt` | a client of the recipient acknowledged the message (XEP-0184) | that a person read it |

- The default is `room` for a room and `server` for a person. For a room, `receipt` means `room`. For a person, `room`
  means `server`.
- `server`: a ping follows the message. Prosody handles the stanzas of one connection in order, so the first answer is the
  proof. On every other server, the session of the recipient can reject the message after that answer. A second ping
  follows after a settle time of 30 ms to 1 s, and its answer completes the proof.
- `receipt`: the client of the recipient must support receipts. If no receipt comes within `rto`, the outcome is
  `unconfirmed`: the message is not reported as delivered and not sent again.
- If the server of another domain does not answer within `rto`, the outcome is `handed-over`: this account's server took the
  message.
- `rto=` limits the wait for each answer and for the receipt.

[Decision 0004](../adr/0004-what-a-confirmation-proves.md) describes the proof on each server and the races that remain.
";
