//! `ackpost details` and Apprise's `--details`: the services, their schemas and the forms of their URLs.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct DetailsArgs {}

pub(crate) fn run(_args: &DetailsArgs, context: Context) -> Exit {
    print(context);
    Exit::Success
}

/// The list, in Apprise's layout.
pub(crate) fn print(context: Context) {
    if context.json {
        let services: Vec<_> = notify::Notifier::details()
            .iter()
            .map(|row| {
                json!({
                    "service": row.service,
                    "title": row.service_name,
                    "protocols": row.protocols,
                    "secure_protocols": row.secure_protocols,
                    "templates": templates(row.service),
                    "parameters": row.parameters,
                    "setup": row.setup_url,
                })
            })
            .collect();
        output::json_document(&services);
        return;
    }
    for row in notify::Notifier::details() {
        let schemas = [row.protocols, row.secure_protocols].concat().join(", ");
        output::line(&format!("+ {:<30} | Schema(s): {schemas}", row.service_name));
        for template in templates(row.service) {
            output::line(&format!("   - {template}"));
        }
        output::line("");
    }
}

/// The forms of a URL. `{targets}` are room tokens, or users and `#rooms`.
fn templates(service: &str) -> &'static [&'static str] {
    match service {
        "sogs" => &[
            "{schema}://{key}:{seed}@{host}/{targets}",
            "{schema}://{key}:{seed}@{host}:{port}/{targets}",
        ],
        _ => &[
            "{schema}://{user}:{password}@{host}",
            "{schema}://{user}:{password}@{host}:{port}",
            "{schema}://{user}:{password}@{host}/{targets}",
            "{schema}://{user}:{password}@{host}:{port}/{targets}",
        ],
    }
}
