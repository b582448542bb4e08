//! Doing an operation: over the socket of the running server, else on the database of the stopped one.

use sogs_server::admin::{self, AdminErrorKind, AdminRequest, Answer, Operation};

use super::{At, json, list};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Does one operation and prints its answer.
pub(crate) fn act(context: Context, at: &At, operation: Operation) -> Done {
    let list = list::of(&operation);
    let answer = ask(context, at, operation)?;
    match list {
        Some(list) => list.print(&answer, context),
        None => print(context, at.dry_run, &answer),
    }
    Ok(Exit::Success)
}

/// Does one operation.
pub(crate) fn ask(context: Context, at: &At, operation: Operation) -> Result<Answer, Failure> {
    let request = AdminRequest {
        actor: actor(),
        dry_run: at.dry_run,
        operation,
    };
    let outcome = context.runtime().block_on(admin::perform(&at.dir, request));
    outcome.map_err(|error| {
        if error.kind == AdminErrorKind::Usage {
            Failure::usage(error.cause, error.remedy)
        } else {
            Failure::new(error.cause, error.remedy)
        }
    })
}

fn print(context: Context, dry_run: bool, answer: &Answer) {
    if context.json {
        let mut document = answer.data.clone();
        if let Some(object) = document.as_object_mut() {
            if dry_run {
                object.insert("dry_run".to_owned(), true.into());
            }
            if let Some(id) = answer.undo {
                object.insert("undo".to_owned(), id.into());
            }
        }
        json::with_times(&mut document);
        output::json(&document);
        return;
    }
    for line in &answer.lines {
        // People wrote some of it.
        output::line(&output::one_line(line));
    }
    if dry_run {
        output::note("nothing was changed (dry run)");
    }
    if let Some(id) = answer.undo {
        output::note(&format!("to revert it: ackpost server undo {id}"));
    }
}

/// The person at the terminal, for the audit log.
pub(super) fn actor() -> String {
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default()
}
