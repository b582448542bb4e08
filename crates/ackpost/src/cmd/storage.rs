//! `ackpost storage`: accepted for Apprise's sake. Neither service keeps anything on disk, so the list shows
//! which ids the given URLs have, and that nothing is stored for them.

use std::collections::BTreeMap;

use ackpost_apprise::{Options, TagFilter};
use clap::Args;

use super::send::{SendArgs, columns, cut};
use crate::context::{Context, Invocation};
use crate::exit::Exit;
use crate::output;
use crate::sources::{self, Wanted};
use crate::usage::{BadValue, refuse_value};

/// Every flag of `send` is accepted; the words are an action, ids and URLs.
#[derive(Debug, Args)]
#[command(override_help = HELP)]
pub(crate) struct StorageArgs {
    #[command(flatten)]
    send: SendArgs,
}

/// `storage --help`: what concerns storage alone; the flags of `send` are accepted besides.
const HELP: &str = "\
List the ids of services; accepted for Apprise's sake, nothing is kept on disk

Usage: ackpost storage [OPTIONS] [ACTION] [UID]... [URL]...

Arguments:
  [ACTION]  list (the default), prune, clear or clean; its beginning is enough
  [UID]...  Show only services whose id begins with this
  [URL]...  Services whose ids are listed (default: those of the configuration)

Options:
  -c, --config <PATH>             Read services from this configuration (may be repeated)
  -g, --tag <TAG>                 Only services with this tag (may be repeated)
      --storage-uid-length <N>    Digits of an id, 2 to 64 (-SUL) [default: 8]
      --storage-prune-days <N>    Accepted without effect (-SPD)
      --storage-path <PATH>       Accepted without effect (-S)
      --storage-mode <MODE>       auto, flush or memory; accepted without effect (-SM)
  -v, --verbose                   Say more; repeat for more still
  -h, --help                      Print help

Every other option of `ackpost send` is accepted and has no effect here.

Examples:
  ackpost storage list";

/// Actions of Apprise's storage command.
const ACTIONS: [&str; 4] = ["list", "prune", "clear", "clean"];

pub(crate) fn run(args: &StorageArgs, context: Context) -> Exit {
    let checked = match args.send.check_for_storage(context) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    let mut words = args.send.urls.iter().peekable();
    // As in Apprise, the beginning of an action is enough, and no action is `list`.
    let action = words.next_if(|word| !word.contains("://")).map(|word| {
        ACTIONS
            .iter()
            .find(|a| !word.is_empty() && a.starts_with(&word.to_lowercase()))
            .copied()
            .ok_or(word)
    });
    let mut ids: Vec<String> = Vec::new();
    let action = match action {
        None => "list",
        Some(Ok(action)) => action,
        Some(Err(word)) if is_id(word) => {
            ids.push(word.to_lowercase());
            "list"
        }
        Some(Err(word)) => {
            return refuse_value(
                context,
                BadValue::the(&format!(
                    "storage action '{word}' is not one of list, prune, clear, clean"
                )),
            );
        }
    };
    let (urls, others): (Vec<String>, Vec<String>) = words.cloned().partition(|word| word.contains("://"));
    if let Some(word) = others.iter().find(|word| !is_id(word)) {
        return refuse_value(
            context,
            BadValue::the(&format!("storage id '{word}' is not a hexadecimal number")),
        );
    }
    ids.extend(others.iter().map(|id| id.to_lowercase()));
    if action == "list" {
        list(args, &urls, &ids, checked.uid_length, context);
    }
    Exit::Success
}

fn is_id(word: &str) -> bool {
    !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The ids of the chosen services, in Apprise's layout.
fn list(args: &StorageArgs, urls: &[String], ids: &[String], uid_length: usize, context: Context) {
    let wanted = Wanted {
        urls,
        configs: &args.send.sources.config,
        tags: &args.send.sources.tag,
        foreign: None,
    };
    let loaded = context
        .runtime()
        .block_on(sources::load(Options::default(), &wanted, context));
    output::problems(&loaded.problems(), context);
    let filter = if wanted.tags.is_empty() {
        TagFilter::All
    } else {
        loaded.filter
    };
    // In the order in which the ids came up first.
    let mut order: Vec<String> = Vec::new();
    let mut found: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for entry in loaded.notifier.find(&filter) {
        let Some(service) = entry.service() else { continue };
        let id = service.url_id(uid_length);
        if !ids.is_empty() && !ids.iter().any(|wanted| id.starts_with(wanted)) {
            continue;
        }
        if !order.contains(&id) {
            order.push(id.clone());
        }
        let (urls, tags) = found.entry(id).or_default();
        urls.push(if context.name == Invocation::Apprise {
            service.apprise_masked_url()
        } else {
            service.masked_url()
        });
        tags.extend(entry.tag_names());
    }
    let width = columns();
    for (n, id) in order.iter().enumerate() {
        let (urls, tags) = found.get_mut(id).expect("put there above");
        if n > 0 {
            output::line("");
        }
        output::line(&format!("{:>4}. {id:<53}0.00B    unused", n + 1));
        for url in urls {
            output::line(&format!("      - {}", cut(url, width - 2)));
        }
        tags.sort();
        tags.dedup();
        if !tags.is_empty() {
            output::line(&format!("      tags: {}", tags.join(", ")));
        }
    }
}
