//! `--dry-run`: what would be notified, in Apprise's layout.

use ackpost_apprise::{Entry, EntryBody, Template, Values};

use crate::context::{Context, Invocation};
use crate::exit::Exit;
use crate::output;
use crate::sources::Loaded;

/// Columns of a terminal that does not say.
const COLUMNS: isize = 80;

/// Lists the chosen services on standard output.
pub(super) fn print(loaded: &Loaded, uid_length: usize, context: Context) -> Exit {
    let notifier = &loaded.notifier;
    let given = notifier
        .options()
        .template_values
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()));
    let values = Values::new(given, &notifier.options().context.env);
    let width = columns();
    let (mut listed, mut unresolved) = (0, 0);
    for entry in notifier.find(&loaded.filter) {
        listed += 1;
        let service = entry.resolve(&values);
        if let Err(problem) = &service {
            unresolved += 1;
            output::problems(std::slice::from_ref(problem), context);
        }
        let as_apprise = context.name == Invocation::Apprise;
        let (url, uid) = match &service {
            Ok(service) if as_apprise => (service.apprise_masked_url(), service.url_id(uid_length)),
            Ok(service) if context.json => (service.masked_url(), service.url_id(uid_length)),
            Ok(service) => (service.short_url(), service.url_id(uid_length)),
            Err(_) => (
                if as_apprise {
                    entry.apprise_masked_url()
                } else {
                    entry.masked_url()
                },
                "- template; unresolved, would not send -".to_owned(),
            ),
        };
        if context.json {
            output::json(&serde_json::json!({
                "url": url,
                "uid": service.is_ok().then_some(uid),
                "tags": entry.tag_names(),
            }));
            continue;
        }
        output::line(&format!("{listed:>4}. {}", cut(&url, width)));
        output::line(&label("uid", &uid));
        print_rest(entry);
    }
    if unresolved > 0 && !context.json {
        output::line("");
        output::line(&format!(
            "{unresolved} of {listed} matched entries could not be resolved and would not be sent. Check the log for the reason."
        ));
    }
    if context.name == Invocation::Ackpost
        && let Some(line) = loaded.foreign_line()
    {
        output::note(&line);
    }
    let problems = loaded.problems().iter().any(ackpost_notify::Diagnostic::is_error);
    match (listed, unresolved > 0 || problems) {
        (0, _) => Exit::NoMatch,
        (_, true) if unresolved == listed => Exit::Failure,
        (_, true) => Exit::Partial,
        _ => Exit::Success,
    }
}

fn print_rest(entry: &Entry) {
    let tags = entry.tag_names();
    if !tags.is_empty() {
        output::line(&label("tags", &tags.join(", ")));
    }
    if let EntryBody::Template(template) = &entry.body {
        output::line(&label("template", &names(template)));
    }
}

/// `other (has default), room (required)`
fn names(template: &Template) -> String {
    let required = template.required();
    let mark = |name: &String| {
        if required.contains(name) {
            "required"
        } else {
            "has default"
        }
    };
    template
        .names()
        .iter()
        .map(|name| format!("{name} ({})", mark(name)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn label(name: &str, value: &str) -> String {
    format!("{name:>10}: {value}")
}

/// The width of the output: `COLUMNS`, or 80.
pub(crate) fn columns() -> isize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|c| c.trim().parse().ok())
        .filter(|c| *c > 0)
        .unwrap_or(COLUMNS)
}

/// Apprise's cut: a URL that does not fit loses its end. In a terminal narrower than anyone has, it counts from the end.
pub(crate) fn cut(url: &str, columns: isize) -> String {
    let length = isize::try_from(url.chars().count()).unwrap_or(isize::MAX);
    if length <= columns - 8 {
        return url.to_owned();
    }
    let keep = if columns < 9 {
        length + columns - 9
    } else {
        columns - 9
    };
    let mut short: String = url.chars().take(usize::try_from(keep).unwrap_or(0)).collect();
    short.push_str("...");
    short
}
