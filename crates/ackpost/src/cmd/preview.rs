//! `ackpost preview`: what would be sent where, without any network.

use std::io::IsTerminal as _;

use ackpost_apprise::{Options, Planned};
use ackpost_notify::{Diagnostic, ParamValue, Parameter, Shown};
use clap::Args;
use serde_json::{Map, Value, json};

use super::send::{ContentArgs, SourceArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::input;
use crate::output;
use crate::sources::{self, Wanted};
use crate::usage::refuse_value;

/// The flags of `send` for message and services.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    sources: SourceArgs,
    /// Show URLs with their secrets
    #[arg(long, help_heading = "Preview")]
    show_secrets: bool,
    /// Recipients: URLs or Session join links
    #[arg(value_name = "URL", help_heading = "Arguments")]
    urls: Vec<String>,
}

pub(crate) fn run(args: &PreviewArgs, context: Context) -> Exit {
    let settings = args.content.check().and_then(|checked| {
        let sources = &args.sources;
        Ok((
            checked,
            sources.recursion()?,
            sources.templates()?,
            sources.foreign()?,
        ))
    });
    let (checked, recursion, templates, foreign) = match settings {
        Ok(settings) => settings,
        Err(value) => return refuse_value(context, value),
    };
    let options = Options::default()
        .with_template_values(templates.into_iter().collect())
        .with_recursion(recursion);
    let wanted = Wanted {
        urls: &args.urls,
        configs: &args.sources.config,
        tags: &args.sources.tag,
        foreign,
    };
    let loaded = context
        .runtime()
        .block_on(sources::load(options, &wanted, context));
    let body = match &args.content.body {
        Some(body) => body.clone(),
        // As `send` does; on a terminal nobody has to type a message to see what a URL means.
        None if std::io::stdin().is_terminal() => String::new(),
        None => match input::message() {
            Ok(body) => body,
            Err(failure) => return failure.print(),
        },
    };
    let message = args.content.message(&checked, loaded.notifier.asset(), body);
    let plan = loaded.notifier.plan(&message, &loaded.filter);
    // A URL with some bad targets is loaded: that is said, but the preview shows what would be sent.
    let mut failed = loaded.problems();
    failed.extend(plan.problems.iter().cloned());
    let (files, unreadable) = attachments(&message);
    failed.extend(unreadable);
    if !message.body.is_empty() || !message.title.is_empty() {
        let unsendable = plan
            .services
            .iter()
            .filter_map(|planned| planned.prepared.as_ref().err());
        failed.extend(unsendable.cloned());
    }
    if loaded.notifier.is_empty() && !failed.iter().any(Diagnostic::is_error) {
        failed.push(Diagnostic::error(
            "no service is given",
            "give a URL or a configuration file",
        ));
    }
    let errors: Vec<&Diagnostic> = failed.iter().filter(|p| p.is_error()).collect();
    // A URL that lost some of its targets is loaded: they are named among the errors, but it is not invalid.
    let lost: Vec<&Diagnostic> = loaded
        .notifier
        .iter()
        .filter_map(ackpost_apprise::Entry::service)
        .flat_map(ackpost_notify::ServiceUrl::warnings)
        .collect();
    let valid = errors.iter().all(|error| {
        lost.iter()
            .any(|one| (&one.cause, &one.remedy) == (&error.cause, &error.remedy))
    });
    if context.json {
        output::json_document(&json!({
            "valid": valid,
            "errors": errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "services": plan.services.iter().map(|s| service_json(s, args.show_secrets)).collect::<Vec<_>>(),
        }));
    } else {
        output::problems(&failed, context);
        if let Some(line) = loaded.foreign_line() {
            output::note_own(context, &line);
        }
        for planned in &plan.services {
            print(planned, &files, args.show_secrets);
        }
    }
    if valid { Exit::Success } else { Exit::Failure }
}

/// Returns the attached files as lines for people, and the problems of the others.
fn attachments(message: &ackpost_notify::Message) -> (Vec<String>, Vec<Diagnostic>) {
    let limit = ackpost_notify::ConnectionOptions::default().attachment_bytes;
    let mut lines = Vec::with_capacity(message.attachments.len());
    let mut problems = Vec::new();
    for file in &message.attachments {
        match file.size(limit) {
            Ok(Some(bytes)) => lines.push(format!("{}, {bytes} bytes", file.shown())),
            Ok(None) => lines.push(format!("{}, fetched when it is sent", file.shown())),
            Err(problem) => problems.push(problem),
        }
    }
    (lines, problems)
}

/// Returns each part as it is sent. All targets of a URL are sent the same texts.
fn shown(planned: &Planned<'_>) -> Vec<Shown> {
    let Ok(prepared) = &planned.prepared else {
        return Vec::new();
    };
    let Some(target) = prepared.targets.first() else {
        return Vec::new();
    };
    let parts = prepared.chunks.iter();
    parts.map(|chunk| planned.service.shown(target, chunk)).collect()
}

fn url(planned: &Planned<'_>, secrets: bool) -> String {
    if secrets {
        planned.service.expose_url()
    } else {
        planned.service.masked_url()
    }
}

fn service_json(planned: &Planned<'_>, secrets: bool) -> Value {
    let service = &planned.service;
    let chunks: Vec<Value> = shown(planned)
        .into_iter()
        .map(|part| {
            let mut chunk = json!({"title": part.subject.unwrap_or_default(), "body": part.body});
            if let Some(html) = part.html {
                chunk["html"] = html.into();
            }
            chunk
        })
        .collect();
    let targets: Vec<String> = service.targets().into_iter().map(|t| t.address).collect();
    let params: Map<String, Value> = service
        .parameters()
        .iter()
        .map(|p| (p.name.to_owned(), param_json(p)))
        .collect();
    json!({
        "service": service.name(),
        "url": url(planned, secrets),
        "privacy": service.masked_url(),
        "url_id": service.url_id(8),
        "host": service.host(),
        "port": service.port(),
        "secure": service.secure(),
        "targets": targets,
        "tags": planned.entry.tag_names(),
        "params": params,
        "chunks": chunks,
    })
}

fn param_json(parameter: &Parameter) -> Value {
    match &parameter.value {
        ParamValue::None => Value::Null,
        ParamValue::Bool(yes) => json!(yes),
        ParamValue::Int(number) => json!(number),
        // JSON has no infinity.
        ParamValue::Float(number) if number.is_finite() => json!(number),
        ParamValue::Float(number) if number.is_nan() => json!("nan"),
        ParamValue::Float(number) => json!(number.to_string()),
        ParamValue::Text(text) => json!(text),
    }
}

fn print(planned: &Planned<'_>, files: &[String], secrets: bool) {
    let service = &planned.service;
    // The list below has every parameter with its value: the URL shows what is not a default.
    let url = if secrets {
        service.expose_url()
    } else {
        service.short_url()
    };
    output::line(&format!("{}  {url}", service.name()));
    output::line(&format!("  uid         {}", service.url_id(8)));
    let tags = planned.entry.tag_names();
    if !tags.is_empty() {
        output::line(&format!("  tags        {}", tags.join(", ")));
    }
    output::line("  parameters");
    for parameter in service.parameters() {
        output::line(&format!(
            "    {:<10}  {:<12}  {}",
            parameter.name,
            parameter.value.to_string(),
            parameter.origin.as_str()
        ));
    }
    let prepared = match &planned.prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            let targets: Vec<String> = service.targets().into_iter().map(|t| t.address).collect();
            output::line(&format!("  to          {}", targets.join(", ")));
            output::line(&format!("  nothing     {problem}"));
            output::line("");
            return;
        }
    };
    for target in &prepared.targets {
        output::line(&format!("  to          {}", target.address));
    }
    for file in files {
        output::line(&format!("  file        {file}"));
    }
    let parts = shown(planned);
    let total = parts.len();
    for (n, part) in parts.into_iter().enumerate() {
        let characters = part.body.chars().count();
        output::line(&format!("  part {}/{total}, {characters} characters", n + 1));
        if let Some(subject) = part.subject {
            output::line(&format!("    | subject: {subject}"));
        }
        for line in part.body.split('\n') {
            output::line(&format!("    | {line}"));
        }
        if let Some(html) = part.html {
            output::line(&format!("    | html: {html}"));
        }
    }
    output::line("");
}
