//! Held posts and reports: looking, deciding, reporting.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sogs_client::moderation::Verdict;

use super::place::{Needs, Place, Way, failed};
use super::{all_of, parse_time, show};
use crate::context::Context;
use crate::exit::{Done, Exit};
use crate::output;

/// Commands about held posts.
#[derive(Debug, Subcommand)]
pub(super) enum HeldCommand {
    /// List posts that wait for approval, oldest first
    List(ListArgs),
    /// Show held posts to everybody
    Approve(ApproveArgs),
    /// Delete held posts
    Reject(RejectArgs),
}

/// Commands about reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportsCommand {
    /// List reported messages that wait for a decision, oldest first
    List(ListArgs),
    /// Close reports: the messages stay, unless --delete or --ban is given
    Close(CloseArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Numbers of the posts
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u64>,
    /// The authors' posts no longer need approval
    #[arg(long)]
    trust: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct RejectArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Numbers of the posts
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u64>,
    #[command(flatten)]
    ban: BanWords,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct CloseArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Numbers of the messages
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u64>,
    /// Delete the messages
    #[arg(long, conflicts_with = "ban")]
    delete: bool,
    #[command(flatten)]
    ban: BanWords,
    #[command(flatten)]
    way: Way,
}

/// A ban that comes with the deletion.
#[derive(Debug, Args)]
pub(super) struct BanWords {
    /// Delete, and ban the authors from the room: permanently, or for a time such as 12h or 7d
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "", require_equals = false, value_parser = parse_ban)]
    ban: Option<BanTime>,
}

/// Length of a ban; without one, permanent.
#[derive(Debug, Clone, Copy)]
struct BanTime(Option<std::time::Duration>);

fn parse_ban(text: &str) -> Result<BanTime, String> {
    if text.is_empty() {
        return Ok(BanTime(None));
    }
    parse_time(text).map(|time| BanTime(Some(time)))
}

impl BanWords {
    fn verdict(&self, otherwise: Verdict) -> Verdict {
        self.ban.map_or(otherwise, |time| Verdict::Ban(time.0))
    }
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Number of the message
    #[arg(value_name = "ID")]
    id: u64,
    /// Reason, in your own words
    #[arg(value_name = "REASON", default_value = "")]
    reason: String,
    #[command(flatten)]
    way: Way,
}

pub(super) async fn held(command: &HeldCommand, context: Context) -> Done {
    match command {
        HeldCommand::List(args) => list_held(args, context).await,
        HeldCommand::Approve(args) => {
            let place = args.way.place(&args.link, Needs::Identity)?;
            let verdict = if args.trust {
                Verdict::Trust
            } else {
                Verdict::Approve
            };
            Ok(decide(&place, &args.ids, verdict, true, context).await)
        }
        HeldCommand::Reject(args) => {
            let place = args.way.place(&args.link, Needs::Identity)?;
            let verdict = args.ban.verdict(Verdict::Reject);
            Ok(decide(&place, &args.ids, verdict, true, context).await)
        }
    }
}

pub(super) async fn reports(command: &ReportsCommand, context: Context) -> Done {
    match command {
        ReportsCommand::List(args) => list_reports(args, context).await,
        ReportsCommand::Close(args) => {
            let place = args.way.place(&args.link, Needs::Identity)?;
            let otherwise = if args.delete {
                Verdict::Reject
            } else {
                Verdict::Approve
            };
            Ok(decide(&place, &args.ids, args.ban.verdict(otherwise), false, context).await)
        }
    }
}

async fn decide(place: &Place, ids: &[u64], verdict: Verdict, is_held: bool, context: Context) -> Exit {
    let (mut worked, mut lost) = (0, 0);
    for &id in ids {
        let decided = if is_held {
            place.room.decide_held(id, verdict).await
        } else {
            place.room.decide_report(id, verdict).await
        };
        match decided {
            Ok(decision) => {
                worked += 1;
                if context.json {
                    output::json(&json!({
                        "room": place.shown, "id": id, "done": decision.state, "from": decision.session_id,
                    }));
                } else {
                    let from = decision.session_id.short();
                    output::words(&format!("{}  #{id} of {from}  {}", place.shown, decision.state));
                }
            }
            Err(error) => {
                lost += 1;
                failed(error).print();
            }
        }
    }
    all_of(worked, lost)
}

async fn list_held(args: &ListArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let mut rows = Vec::new();
    for post in place.room.held().await.map_err(failed)? {
        if context.json {
            output::json(&json!({
                "room": place.shown, "id": post.id, "from": post.session_id,
                "name": Some(&post.name).filter(|name| !name.is_empty()),
                "time": show::utc_time(post.at), "reason": post.reason, "text": post.text, "files": post.files,
            }));
        } else {
            let files = match post.files {
                0 => String::new(),
                files => format!("  [{}]", output::count(files, "file")),
            };
            rows.push(vec![
                format!("#{}", post.id),
                show::local_time(post.at),
                output::one_line(&format!("{} {}", post.session_id.short(), post.name)),
                output::one_line(&post.reason),
                format!("{}{files}", output::one_line(&post.text)),
            ]);
        }
    }
    if !context.json {
        let headings = ["NUMBER", "TIME", "AUTHOR", "REASON", "TEXT"];
        output::list("held posts", &headings, &rows, context);
    }
    Ok(Exit::Success)
}

async fn list_reports(args: &ListArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let reported = place.room.reports().await.map_err(failed)?;
    if reported.is_empty() {
        output::none("reports", context);
    }
    for message in reported {
        if context.json {
            let reports: Vec<Value> = message
                .reports
                .iter()
                .map(|report| {
                    json!({
                        "from": report.session_id, "time": show::utc_time(report.at), "reason": report.reason,
                    })
                })
                .collect();
            output::json(&json!({
                "room": place.shown, "id": message.id, "from": message.session_id, "time": show::utc_time(message.at),
                "count": message.count, "text": message.text, "reports": reports,
            }));
            continue;
        }
        output::words(&format!(
            "#{}  {}  of {}  {}",
            message.id,
            output::count(message.count, "report"),
            message.session_id.short(),
            output::one_line(&message.text)
        ));
        for report in &message.reports {
            output::words(&format!(
                "    {}  {}  {}",
                show::local_time(report.at),
                report.session_id.short(),
                output::one_line(&report.reason)
            ));
        }
    }
    Ok(Exit::Success)
}

pub(super) async fn report(args: &ReportArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let filed = place.room.report(args.id, &args.reason).await.map_err(failed)?;
    if context.json {
        output::json(&json!({
            "room": place.shown, "id": args.id, "done": "reported", "reports": filed.reports,
        }));
    } else {
        output::words(&format!(
            "{}  #{}  {}",
            place.shown,
            args.id,
            output::one_line(&filed.text)
        ));
    }
    Ok(Exit::Success)
}
