//! `ackpost server backup|restore|verify|import|migrate`, and moving files between storages

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sogs_server::admin::{self, Operation};
use sogs_server::config::Storage;
use sogs_server::import::{self, ImportError, ImportOptions, Origin};

use super::At;
use super::act::{act, actor};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

fn failure(error: &ImportError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

/// Words of `server backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    at: At,
    /// Folder to write; it must not exist or be empty
    to: PathBuf,
}

/// `ackpost server backup`
pub(crate) fn backup(args: &BackupArgs, context: Context) -> Done {
    let to =
        std::path::absolute(&args.to).map_err(|error| Failure::usage(error.to_string(), "check the path"))?;
    act(context, &args.at, Operation::Backup { to })
}

/// Words of `server restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Folder of the backup
    from: PathBuf,
    /// Folder for the new server; it must not exist or be empty
    dir: PathBuf,
    /// Restore into this database instead of a file in the folder
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Put the files into the empty bucket of the backup's configuration, not into the folder
    #[arg(long)]
    to_bucket: bool,
    /// Only check the backup
    #[arg(long)]
    dry_run: bool,
}

/// `ackpost server restore`
pub(crate) fn restore(args: &RestoreArgs, context: Context) -> Done {
    let outcome = if args.dry_run {
        import::backup::check(&args.from)
    } else {
        let options = import::backup::RestoreOptions {
            database: args.database.as_deref(),
            bucket: args.to_bucket,
        };
        context
            .runtime()
            .block_on(import::backup::restore_with(&args.from, &args.dir, options))
    };
    let manifest = outcome.map_err(|error| failure(&error))?;
    let checked = context
        .runtime()
        .block_on(import::backup::signatures(&args.from))
        .map_err(|error| failure(&error))?;
    if context.json {
        let mut document = serde_json::to_value(&manifest).unwrap_or_default();
        document["signatures_checked"] = checked.signatures_checked.into();
        document["signatures_good"] = checked.signatures_good.into();
        document["problems"] = checked.problems.clone().into();
        super::json::with_times(&mut document);
        output::json(&document);
    } else {
        let rows: u64 = manifest.tables.iter().map(|(_, rows)| rows).sum();
        output::line(&format!(
            "backup of {}: {rows} rows, {} files",
            manifest.created, manifest.files
        ));
        output::line(&format!(
            "signatures  {} of {} are valid",
            checked.signatures_good, checked.signatures_checked
        ));
        for problem in &checked.problems {
            output::warning(problem);
        }
        output::note(match (args.dry_run, checked.is_good()) {
            (true, true) => "the backup is complete; nothing was written (dry run)",
            (true, false) => {
                "the backup is complete, but has the problems above; nothing was written (dry run)"
            }
            (false, true) => "the server can be started",
            (false, false) => "the server is restored and can be started, but has the problems above",
        });
    }
    Ok(exit_of(checked.is_good()))
}

fn exit_of(is_good: bool) -> Exit {
    if is_good { Exit::Success } else { Exit::Failure }
}

/// Words of `server verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Folder of the server
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Check the signature of every Nth message
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: u64,
    /// Compare only the sizes of files, without reading them
    #[arg(long)]
    sizes_only: bool,
}

/// `ackpost server verify`
pub(crate) fn verify(args: &VerifyArgs, context: Context) -> Done {
    let options = import::verify::VerifyOptions {
        every: args.every,
        sizes_only: args.sizes_only,
    };
    let report = context
        .runtime()
        .block_on(import::verify::verify_with(&args.dir, options))
        .map_err(|error| failure(&error))?;
    if context.json {
        output::json(&report);
    } else {
        output::line(&format!("messages    {}", report.messages));
        output::line(&format!(
            "signatures  {} of {} are valid",
            report.signatures_good, report.signatures_checked
        ));
        output::line(&format!("files       {}", report.files));
        for problem in &report.problems {
            output::warning(problem);
        }
        if report.is_good() {
            output::line("no problems");
        }
    }
    Ok(exit_of(report.is_good()))
}

/// Which program a community comes from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OriginArg {
    /// The reference server
    Pysogs,
    /// The server for Bun
    Bunsogs,
}

/// Words of `server import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Program of the community
    #[arg(long, value_enum, value_name = "PROGRAM")]
    from: OriginArg,
    /// Folder of the other server (database, key file, uploads), or its configuration file
    source: PathBuf,
    /// Folder of the new server; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Database of a new folder: postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Read and convert everything, without writing
    #[arg(long)]
    dry_run: bool,
    /// Discard messages in the new server since an earlier import
    #[arg(long)]
    replace: bool,
}

/// `ackpost server import`
pub(crate) fn import(args: &ImportArgs, context: Context) -> Done {
    let options = ImportOptions {
        origin: match args.from {
            OriginArg::Pysogs => Origin::Pysogs,
            OriginArg::Bunsogs => Origin::Bunsogs,
        },
        source: args.source.clone(),
        target: args.dir.clone(),
        database: args.database.clone(),
        dry_run: args.dry_run,
        replace: args.replace,
    };
    let report = context
        .runtime()
        .block_on(import::import(&options))
        .map_err(|error| failure(&error))?;
    let exit = exit_of(report.bad_signatures.is_empty());
    if context.json {
        output::json(&report);
        return Ok(exit);
    }
    output::line(&format!(
        "{:<28} {:>10} {:>10}",
        "table",
        "there",
        if args.dry_run { "to copy" } else { "copied" }
    ));
    for count in &report.tables {
        output::line(&format!(
            "{:<28} {:>10} {:>10}",
            count.table, count.source, count.copied
        ));
    }
    output::line(&format!("public key  {}", report.public_key));
    output::line(&format!(
        "signatures  {} of {} checked are valid",
        report.signatures_good, report.signatures_checked
    ));
    for bad in &report.bad_signatures {
        output::warning(&bad.sentence("their signatures are not valid, so apps do not show them"));
    }
    for (reason, rows) in &report.skipped {
        output::warning(&format!("{rows} left out: {reason}"));
    }
    for note in &report.notes {
        output::note(note);
    }
    if args.dry_run {
        output::note("nothing was written (dry run)");
    } else {
        output::note(&format!(
            "the community is in {}; start it with `ackpost server run {}`",
            shown(&args.dir),
            shown(&args.dir)
        ));
    }
    Ok(exit)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Words of `server migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    at: At,
    /// Target database without a community: postgres://USER:PASSWORD@HOST/NAME or sqlite:PATH
    #[arg(long, value_name = "URL")]
    to: String,
}

/// `ackpost server migrate`
pub(crate) fn migrate(args: &MigrateArgs, context: Context) -> Done {
    let report = context
        .runtime()
        .block_on(import::migrate::migrate(&args.at.dir, &args.to, args.at.dry_run))
        .map_err(|error| failure(&error))?;
    if context.json {
        output::json(&report);
        return Ok(Exit::Success);
    }
    for (table, rows) in &report.tables {
        output::line(&format!("{table:<28} {rows:>10}"));
    }
    if args.at.dry_run {
        output::note("nothing was written (dry run)");
    } else {
        output::note(&format!(
            "the configuration names {} now; {} is left as it was",
            report.to, report.from
        ));
    }
    Ok(Exit::Success)
}

/// Kinds of storage.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StorageArg {
    /// The folder `[files] directory`
    Folder,
    /// The bucket that the options `[files] s3_…` name
    S3,
}

/// Words of `server file move`.
#[derive(Debug, Args)]
pub(crate) struct MoveFilesArgs {
    #[command(flatten)]
    at: At,
    /// Storage to move to
    #[arg(long, value_enum, value_name = "STORAGE")]
    to: StorageArg,
}

/// `ackpost server file move`
pub(crate) fn move_files(args: &MoveFilesArgs, context: Context) -> Done {
    let to = match args.to {
        StorageArg::Folder => Storage::Folder,
        StorageArg::S3 => Storage::S3,
    };
    let report = context
        .runtime()
        .block_on(import::move_files::move_files(&args.at.dir, to, args.at.dry_run))
        .map_err(|error| failure(&error))?;
    if context.json {
        output::json(&report);
    } else {
        output::line(&format!("from     {}", report.from));
        output::line(&format!("to       {}", report.to));
        output::line(&format!(
            "{}   {} files, {} bytes",
            if args.at.dry_run { "to copy" } else { "copied " },
            report.copied,
            report.bytes
        ));
        output::line(&format!("there    {} files", report.there));
        if report.missing > 0 {
            output::warning(&format!("{} files are missing; their rows stay", report.missing));
        }
        for name in &report.damaged {
            output::warning(&format!("the file {name} is damaged and was not copied"));
        }
        output::note(&match (args.at.dry_run, report.is_complete()) {
            (true, _) => "nothing was written (dry run)".to_owned(),
            (false, true) => format!(
                "server.toml names the new storage; the files in {} are left as they were",
                report.from
            ),
            (false, false) => "server.toml still names the former storage: delete the damaged files with \
                               `ackpost server file delete`, then move again"
                .to_owned(),
        });
    }
    Ok(if report.is_complete() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// Words of `server new-key`.
#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    #[command(flatten)]
    at: At,
}

/// `ackpost server new-key`
pub(crate) fn new_key(args: &NewKeyArgs, context: Context) -> Done {
    let changed = context
        .runtime()
        .block_on(admin::new_key(&args.at.dir, &actor(), args.at.dry_run))
        .map_err(super::serve::failure)?;
    if context.json {
        output::json(&changed);
        return Ok(Exit::Success);
    }
    if let Some(former) = &changed.former {
        output::line(&format!("former public key  {former}"));
    }
    if let Some(public_key) = &changed.public_key {
        output::line(&format!("public key         {public_key}"));
    }
    if let Some(kept) = &changed.kept {
        output::line(&format!("former key file    {}", kept.display()));
    }
    output::note(&format!(
        "every join link changes, and everybody returns under another id; set these again: {} moderators and bans",
        changed.people_with_rights
    ));
    if args.at.dry_run {
        output::note("nothing was changed (dry run)");
    }
    if let Some(id) = changed.undo {
        output::note(&format!(
            "`ackpost server undo {id}` reverts this while the server is stopped"
        ));
    }
    Ok(Exit::Success)
}
