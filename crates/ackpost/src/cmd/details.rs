//! `ackpost details` and Apprise's `--details`: the services, their schemas and the forms of their URLs.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Done, Exit};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct DetailsArgs {}

pub(crate) fn run(_args: &DetailsArgs, context: Context) -> Done {
    print(context);
    Ok(Exit::Success)
}

/// The list, in Apprise's layout.
pub(crate) fn print(context: Context) {
    if context.json {
        let services: Vec<_> = notify::SERVICES
            .iter()
            .map(|row| {
                json!({
                    "service": row.name,
                    "title": row.title,
                    "schemas": row.schemas().collect::<Vec<_>>(),
                    "templates": templates(row.name),
                    "parameters": row.parameters,
                    "setup": row.setup_url,
                })
            })
            .collect();
        output::json_document(&services);
        return;
    }
    for row in notify::SERVICES {
        let schemas = row.schemas().collect::<Vec<_>>().join(", ");
        output::line(&format!("+ {:<30} | Schema(s): {schemas}", row.title));
        for template in templates(row.name) {
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
