//! Man pages: those parts that clap writes, and the sections that it does not know.

use std::fmt::Write as _;

use super::examples;

/// An exit code and its meaning.
type Status = (&'static str, &'static str);

/// Exit codes of the commands that send, as `docs/guide/getting-started.md` lists them.
const SENDING_STATUS: &[Status] = &[
    ("0", "success: every recipient has the message"),
    ("1", "nothing was delivered, or the command failed"),
    ("2", "the command line is not valid"),
    ("3", "no service matches the tags"),
    ("4", "some recipients have the message, others do not"),
    ("5", "a time limit ended the run"),
];

/// Exit codes of the doctor, as `docs/guide/doctor.md` lists them.
const DOCTOR_STATUS: &[Status] = &[
    ("0", "every URL passed"),
    ("1", "no URL passed"),
    ("2", "the command line is not valid"),
    ("4", "some URLs passed"),
];

/// Exit codes of `sendmail`, as `docs/guide/mail.md` lists them.
const MAIL_STATUS: &[Status] = &[
    ("0", "the mail is stored"),
    ("64", "unknown or unsupported option"),
    ("65", "the mail cannot be read, is empty or too large"),
    ("67", "no recipient"),
    ("69", "stored, but not for every service, or without a file"),
    ("74", "standard input cannot be read"),
    ("75", "the outbox is not available; try again"),
    ("78", "no valid service in the configuration"),
];

/// Exit codes of the commands that do one thing for several subjects.
const SEVERAL_STATUS: &[Status] = &[
    ("0", "success"),
    ("1", "the command failed"),
    ("2", "the command line is not valid"),
    ("4", "a part of the work is done, another part failed"),
];

/// Exit codes of `outbox`.
const OUTBOX_STATUS: &[Status] = &[
    ("0", "success"),
    (
        "1",
        "the command failed; flush: a message waits, was given up or is incomplete",
    ),
    ("2", "the command line is not valid"),
    ("4", "a part of the work is done, another part failed"),
];

/// Exit codes of every other command.
const PLAIN_STATUS: &[Status] = &[
    ("0", "success"),
    ("1", "the command failed, or a check found problems"),
    ("2", "the command line is not valid"),
];

/// Returns the exit codes of a command, by the first word of its path.
fn exit_status(first: &str) -> &'static [Status] {
    match first {
        "" | "send" | "preview" => SENDING_STATUS,
        "doctor" => DOCTOR_STATUS,
        "sendmail" => MAIL_STATUS,
        "outbox" => OUTBOX_STATUS,
        "room" | "dm" | "omemo" => SEVERAL_STATUS,
        _ => PLAIN_STATUS,
    }
}

/// A variable or file, the first words of the commands that use it (empty: all), and its meaning.
type Used = (&'static str, &'static [&'static str], &'static str);

const SENDING: &[&str] = &["", "send", "preview", "doctor", "storage", "config"];
const STORING: &[&str] = &["", "send", "outbox", "gateway"];
const ACCOUNTS: &[&str] = &[
    "", "send", "preview", "doctor", "identity", "room", "dm", "watch", "gateway",
];

const ENVIRONMENT: &[Used] = &[
    (
        "APPRISE_URLS",
        SENDING,
        "URLs to send to when the command line names neither URLs nor configuration files",
    ),
    (
        "APPRISE_CONFIG_PATH",
        SENDING,
        "configuration files that replace the default ones, separated by semicolons",
    ),
    (
        "ACKPOST_OUTBOX",
        STORING,
        "the outbox: a file or a postgres:// URL",
    ),
    (
        "ACKPOST_SIGNS",
        &["", "send", "preview", "sendmail"],
        "signs that show the type of a message, as --signs has them",
    ),
    ("ACKPOST_OUTBOX_KEY", STORING, "file with the key of the outbox"),
    ("STATE_DIRECTORY", STORING, "state folder, as systemd sets it"),
    (
        "XDG_STATE_HOME",
        STORING,
        "parent of the state folder (default: ~/.local/state)",
    ),
    (
        "XDG_CONFIG_HOME",
        ACCOUNTS,
        "parent of the folder with identities and saved communities (default: ~/.config)",
    ),
    (
        "NO_COLOR",
        &[],
        "no colour in the output, unless --color=always is given",
    ),
];

const FILES: &[Used] = &[
    (
        "~/.config/apprise.yml, ~/.config/apprise.conf",
        SENDING,
        "default configuration files of the user; ~/.apprise and /etc/apprise are read too",
    ),
    (
        "~/.config/ackpost/identities/",
        ACCOUNTS,
        "stored Session accounts, one file each",
    ),
    (
        "~/.config/ackpost/communities/",
        &["", "room", "dm", "watch", "send"],
        "saved communities",
    ),
    (
        "~/.local/state/ackpost/outbox.db, outbox.key",
        STORING,
        "the outbox and its key",
    ),
    (
        "~/.config/ackpost/gateway.toml, /etc/ackpost/gateway.toml",
        &["gateway"],
        "configuration of the gateway; the first that exists is used",
    ),
    (
        "~/.local/state/ackpost/gateway/",
        &["gateway"],
        "keys and tokens of the gateway, unless its configuration names another folder",
    ),
    (
        "/etc/ackpost/server.env, /var/lib/ackpost/server/",
        &["server"],
        "settings of the first start and folder of the packaged service",
    ),
    (
        "DIR/server.toml, DIR/key_x25519, DIR/community.db",
        &["server"],
        "configuration, key and database of a community",
    ),
];

/// Renders the man page of a command; `path` is its path without the name of the program.
pub(crate) fn page(command: &clap::Command, path: &str) -> std::io::Result<Vec<u8>> {
    let full = format!("ackpost {path}").trim().to_owned();
    // The name of the page has dashes, and clap wants a name that lives as long as the program.
    let name: &'static str = Box::leak(full.replace(' ', "-").into_boxed_str());
    let man = clap_mangen::Man::new(
        command
            .clone()
            .name(name)
            .display_name(name)
            .bin_name(full.clone()),
    )
    .date("")
    .manual("Ackpost manual")
    .source(concat!("ackpost ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if has_subcommands(command) {
        man.render_subcommands_section(&mut text)?;
    }
    text.extend_from_slice(own_sections(command, path).as_bytes());
    Ok(text)
}

fn has_subcommands(command: &clap::Command) -> bool {
    command
        .get_subcommands()
        .any(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn own_sections(command: &clap::Command, path: &str) -> String {
    let mut out = String::from(".SH EXAMPLES\n");
    let own = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let listed = examples::of(path).iter().map(|one| (*one).to_owned());
    for example in listed.chain(examples::in_text(&own)) {
        let _ = writeln!(out, ".PP\n.nf\n.RS 4\n{}\n.RE\n.fi", escaped(&example));
    }
    out.push_str(".SH \"EXIT STATUS\"\n");
    let first = path.split(' ').next().unwrap_or_default();
    for (code, meaning) in exit_status(first) {
        let _ = writeln!(out, ".TP\n\\fB{code}\\fR\n{}", escaped(meaning));
    }
    for (heading, table) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        let _ = writeln!(out, ".SH {heading}");
        let before = out.len();
        for (name, users, meaning) in table {
            if users.is_empty() || users.contains(&first) {
                let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(meaning));
            }
        }
        if out.len() == before {
            out.push_str("The command uses no files.\n");
        }
    }
    out.push_str(".SH \"SEE ALSO\"\n");
    let mut pages = Vec::new();
    if let Some((parent, _)) = path.rsplit_once(' ') {
        pages.push(format!("ackpost-{}", parent.replace(' ', "-")));
    }
    if !path.is_empty() {
        pages.push("ackpost".to_owned());
    }
    let name = format!("ackpost {path}").trim().replace(' ', "-");
    pages.extend(
        command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            .map(|sub| format!("{name}-{}", sub.get_name())),
    );
    let pages: Vec<String> = pages
        .iter()
        .map(|page| format!("\\fB{}\\fR(1)", escaped(page)))
        .collect();
    out.push_str(&pages.join(",\n"));
    out.push('\n');
    out
}

/// Text for roff: dashes that can be copied, backslashes, and no control line by accident.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn each(command: &clap::Command, path: &str, pages: &mut Vec<(String, String)>) {
        let text = String::from_utf8(page(command, path).expect("in memory")).expect("text");
        pages.push((path.to_owned(), text));
        for sub in command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        {
            each(sub, format!("{path} {}", sub.get_name()).trim(), pages);
        }
    }

    #[test]
    fn every_page_has_every_section() {
        let mut tree = Cli::command();
        tree.build();
        let mut pages = Vec::new();
        each(&tree, "", &mut pages);
        assert!(pages.len() > 100, "{}", pages.len());
        for (path, text) in &pages {
            let mut at = 0;
            for section in [
                ".SH NAME",
                ".SH SYNOPSIS",
                ".SH DESCRIPTION",
                ".SH EXAMPLES",
                ".SH \"EXIT STATUS\"",
                ".SH ENVIRONMENT",
                ".SH FILES",
                ".SH \"SEE ALSO\"",
            ] {
                let found = text[at..].find(&format!("{section}\n"));
                assert!(found.is_some(), "`{path}`: no {section}: {text}");
                at += found.unwrap_or_default() + section.len();
                let body = text[at..].trim_start();
                assert!(
                    !body.is_empty() && !body.starts_with(".SH"),
                    "`{path}`: {section} is empty"
                );
            }
        }
        // Only the commands that send have recipients.
        let page = |path: &str| pages.iter().find(|(one, _)| one == path).map(|(_, text)| text);
        for (path, code, meaning) in [
            ("send", "5", "a time limit ended the run"),
            ("server room list", "0", "success"),
            ("sendmail", "75", "the outbox is not available; try again"),
            ("doctor", "4", "some URLs passed"),
        ] {
            let text = page(path).expect("a page");
            assert!(
                text.contains(&format!(".TP\n\\fB{code}\\fR\n{meaning}\n")),
                "{path}: {text}"
            );
        }
        // Every page that another one names exists.
        for (path, text) in &pages {
            let (_, see) = text.rsplit_once(".SH \"SEE ALSO\"").expect("seen above");
            for name in see
                .split("\\fB")
                .skip(1)
                .filter_map(|rest| rest.split("\\fR").next())
            {
                let name = name.replace("\\-", " ");
                let one = name
                    .strip_prefix("ackpost")
                    .expect("a page of ours")
                    .trim()
                    .to_owned();
                assert!(
                    pages.iter().any(|(path, _)| path.replace('-', " ") == one),
                    "`{path}` names {name}"
                );
            }
        }
    }
}
