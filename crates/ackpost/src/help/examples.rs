//! Examples of every command, for `--help`, the man pages and the command reference.
//!
//! A test reads each of them as a command line, so an example cannot name an option that does not exist.

/// Examples of the command with this path, such as `server room add`; the program itself has the path "".
pub(crate) fn of(path: &str) -> &'static [&'static str] {
    EXAMPLES
        .iter()
        .find(|(one, _)| *one == path)
        .map_or(&[], |(_, examples)| examples)
}

/// Examples that a command has in its own text after the help: what is in backticks, or lines that are a command.
pub(crate) fn in_text(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .chain(text.lines())
        .map(str::trim)
        .filter(|one| one.starts_with("ackpost "))
        .map(str::to_owned)
        .collect()
}

const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ackpost demo",
            "ackpost -t Backup -b 'db1 is done' 'xmpps://bot:password@example.org/jane'",
            "ackpost -c notify.yml -g ops -b 'disk full on db1'",
        ],
    ),
    (
        "send",
        &[
            "ackpost send -t Backup -b 'db1 is done' 'xmpps://bot:password@example.org/jane'",
            "df -h | ackpost send -t Disks 'xmpps://bot:password@example.org/#ops@rooms.example.org'",
            "ackpost send -c notify.yml -g ops -b 'disk full' --attach report.pdf",
            "ackpost send --queue -q -g ops -b 'nightly job failed'",
        ],
    ),
    (
        "preview",
        &[
            "ackpost preview -t Report -b 'a long text' 'xmpps://bot:password@example.org/jane?overflow=split'",
            "ackpost preview -c notify.yml -g ops -b 'disk full'",
        ],
    ),
    ("config", &["ackpost config check ~/.config/apprise.yml"]),
    (
        "config check",
        &[
            "ackpost config check",
            "ackpost config check notify.yml",
            "ackpost config check notify.yml --json",
        ],
    ),
    ("demo", &["ackpost demo", "ackpost demo --keep"]),
    (
        "doctor",
        &[
            "ackpost doctor 'xmpps://bot:password@example.org/jane'",
            "ackpost doctor -c notify.yml",
            "ackpost doctor --bridge bridge.toml",
        ],
    ),
    (
        "bridge",
        &[
            "ackpost bridge config > bridge.toml",
            "ackpost bridge check",
            "ackpost bridge run",
        ],
    ),
    (
        "bridge run",
        &[
            "ackpost bridge run",
            "ackpost bridge run --config bridge.toml lobby",
        ],
    ),
    ("bridge check", &["ackpost bridge check --config bridge.toml"]),
    (
        "bridge status",
        &["ackpost bridge status", "ackpost bridge status --metrics"],
    ),
    ("bridge map", &["ackpost bridge map lobby 42"]),
    (
        "bridge pause",
        &["ackpost bridge pause lobby", "ackpost bridge pause lobby --off"],
    ),
    ("bridge config", &["ackpost bridge config > bridge.toml"]),
    (
        "gateway",
        &[
            "ackpost gateway run",
            "ackpost gateway token add grafana --key ops",
        ],
    ),
    (
        "gateway run",
        &[
            "ackpost gateway run",
            "ackpost gateway run --config gateway.toml --listen 127.0.0.1:8000",
        ],
    ),
    ("gateway config", &["ackpost gateway config > gateway.toml"]),
    ("gateway check", &["ackpost gateway check --config gateway.toml"]),
    (
        "gateway token",
        &[
            "ackpost gateway token add grafana --key ops",
            "ackpost gateway token list",
        ],
    ),
    (
        "gateway token add",
        &[
            "ackpost gateway token add grafana --key ops --tag alerts --rate 60/1m --expires 365d",
            "ackpost gateway token add pages --allow notify --allow read --allow outbox",
        ],
    ),
    ("gateway token list", &["ackpost gateway token list"]),
    ("gateway token remove", &["ackpost gateway token remove grafana"]),
    (
        "outbox",
        &["ackpost outbox list --state dead", "ackpost outbox retry --dead"],
    ),
    (
        "outbox list",
        &[
            "ackpost outbox list",
            "ackpost outbox list --state waiting --target jane --limit 20",
        ],
    ),
    ("outbox show", &["ackpost outbox show 0gh7x2m4k9p1q3r5"]),
    (
        "outbox retry",
        &[
            "ackpost outbox retry 0gh7x2m4k9p1q3r5",
            "ackpost outbox retry --dead",
        ],
    ),
    (
        "outbox drop",
        &[
            "ackpost outbox drop 0gh7x2m4k9p1q3r5",
            "ackpost outbox drop --dead",
        ],
    ),
    (
        "outbox flush",
        &[
            "ackpost outbox flush",
            "ackpost outbox flush --retries --deadline 5m",
        ],
    ),
    (
        "outbox run",
        &[
            "ackpost outbox run",
            "ackpost outbox run --alarm-after 15m --config alarm.conf",
        ],
    ),
    (
        "outbox stats",
        &["ackpost outbox stats", "ackpost outbox stats --json"],
    ),
    (
        "outbox log",
        &["ackpost outbox log --limit 20", "ackpost outbox log --since 1200"],
    ),
    (
        "outbox acts",
        &["ackpost outbox acts", "ackpost --json outbox acts --limit 10"],
    ),
    (
        "server",
        &[
            "ackpost server init community --base-url https://community.example.org",
            "ackpost server room add --dir community lobby --name Lobby",
            "ackpost server run community",
        ],
    ),
    (
        "server init",
        &[
            "ackpost server init community --base-url https://community.example.org",
            "ackpost server init community --base-url https://community.example.org --database postgres://localhost/community",
        ],
    ),
    (
        "server run",
        &[
            "ackpost server run community",
            "ackpost server run community --listen 0.0.0.0:8080",
        ],
    ),
    ("server status", &["ackpost server status --dir community"]),
    ("server reload", &["ackpost server reload --dir community"]),
    ("server config", &["ackpost server config check --dir community"]),
    (
        "server config check",
        &["ackpost server config check --dir community"],
    ),
    (
        "server config show",
        &["ackpost server config show --dir community"],
    ),
    ("server config reference", &["ackpost server config reference"]),
    (
        "server backup",
        &["ackpost server backup --dir community /backup/2026-11-30"],
    ),
    (
        "server restore",
        &["ackpost server restore /backup/2026-11-30 community"],
    ),
    ("server verify", &["ackpost server verify --dir community"]),
    (
        "server import",
        &["ackpost server import --dir community --from pysogs /var/lib/session-open-group-server"],
    ),
    (
        "server migrate",
        &["ackpost server migrate --dir community --to postgres://localhost/community"],
    ),
    ("server new-key", &["ackpost server new-key --dir community"]),
    (
        "server room",
        &[
            "ackpost server room add lobby --name Lobby",
            "ackpost server room list",
        ],
    ),
    ("server room list", &["ackpost server room list --dir community"]),
    ("server room show", &["ackpost server room show lobby"]),
    (
        "server room add",
        &[
            "ackpost server room add lobby --name Lobby",
            "ackpost server room add news --name News --write no",
        ],
    ),
    (
        "server room edit",
        &[
            "ackpost server room edit lobby --description 'Everything that grows'",
            "ackpost server room edit --all-rooms --write no --dry-run",
        ],
    ),
    ("server room delete", &["ackpost server room delete news"]),
    (
        "server user",
        &[
            "ackpost server user list --room lobby",
            "ackpost server user show bob",
        ],
    ),
    (
        "server user list",
        &[
            "ackpost server user list --room lobby --since 2h",
            "ackpost server user list --name bob",
        ],
    ),
    ("server user show", &["ackpost server user show bob"]),
    (
        "server user permissions",
        &["ackpost server user permissions bob --room news --write yes"],
    ),
    (
        "server mod",
        &[
            "ackpost server mod add 15e5…b6fe --room lobby",
            "ackpost server mod list",
        ],
    ),
    ("server mod list", &["ackpost server mod list"]),
    (
        "server mod add",
        &[
            "ackpost server mod add bob --room lobby",
            "ackpost server mod add bob --global --admin",
        ],
    ),
    (
        "server mod remove",
        &["ackpost server mod remove bob --room lobby"],
    ),
    (
        "server ban",
        &[
            "ackpost server ban add bob --room lobby --for 7d",
            "ackpost server ban list",
        ],
    ),
    ("server ban list", &["ackpost server ban list"]),
    (
        "server ban add",
        &[
            "ackpost server ban add bob --room lobby --for 7d",
            "ackpost server ban add bob --global --delete-posts",
        ],
    ),
    (
        "server ban remove",
        &["ackpost server ban remove bob --room lobby"],
    ),
    (
        "server message",
        &[
            "ackpost server message list --room lobby",
            "ackpost server message delete --room lobby 17",
        ],
    ),
    (
        "server message list",
        &[
            "ackpost server message list --room lobby --since 2h",
            "ackpost server message list --room lobby --user bob",
        ],
    ),
    (
        "server message delete",
        &["ackpost server message delete --room lobby 17 20-25"],
    ),
    (
        "server message delete-all",
        &["ackpost server message delete-all bob --global --dry-run"],
    ),
    (
        "server message delete-containing",
        &["ackpost server message delete-containing 'buy my coins' --all-rooms --dry-run"],
    ),
    (
        "server message pin",
        &["ackpost server message pin --room lobby 17"],
    ),
    (
        "server message unpin",
        &[
            "ackpost server message unpin --room lobby 17",
            "ackpost server message unpin --room lobby",
        ],
    ),
    ("server message held", &["ackpost server message held"]),
    ("server message approve", &["ackpost server message approve 17"]),
    ("server message reject", &["ackpost server message reject 17"]),
    ("server moderation", &["ackpost server moderation on"]),
    (
        "server moderation on",
        &["ackpost server moderation on --dir community"],
    ),
    ("server moderation off", &["ackpost server moderation off"]),
    ("server moderation status", &["ackpost server moderation status"]),
    (
        "server file",
        &[
            "ackpost server file list --room lobby",
            "ackpost server file delete 3",
        ],
    ),
    ("server file list", &["ackpost server file list --room lobby"]),
    ("server file keep", &["ackpost server file keep --room lobby"]),
    ("server file delete", &["ackpost server file delete 3"]),
    (
        "server file move",
        &[
            "ackpost server file move --to s3",
            "ackpost server file move --to folder",
        ],
    ),
    (
        "server filter",
        &[
            "ackpost server filter add words 'casino, lottery'",
            "ackpost server filter test 'win the lottery'",
        ],
    ),
    ("server filter list", &["ackpost server filter list"]),
    (
        "server filter add",
        &["ackpost server filter add words 'casino, lottery'"],
    ),
    ("server filter remove", &["ackpost server filter remove 2"]),
    (
        "server filter test",
        &["ackpost server filter test 'win the lottery'"],
    ),
    (
        "server settings",
        &[
            "ackpost server settings list",
            "ackpost server settings set approve_first 1",
        ],
    ),
    ("server settings list", &["ackpost server settings list"]),
    ("server settings names", &["ackpost server settings names"]),
    (
        "server settings set",
        &["ackpost server settings set approve_first 1"],
    ),
    (
        "server settings clear",
        &["ackpost server settings clear approve_first"],
    ),
    (
        "server raid",
        &["ackpost server raid on", "ackpost server raid off"],
    ),
    ("server raid status", &["ackpost server raid status"]),
    ("server raid on", &["ackpost server raid on"]),
    (
        "server raid sweep",
        &["ackpost server raid sweep --since 2h --dry-run"],
    ),
    ("server raid off", &["ackpost server raid off"]),
    ("server log", &["ackpost server log --limit 20"]),
    (
        "server undo",
        &["ackpost server undo", "ackpost server undo 17 20-25"],
    ),
    ("identity", &["ackpost identity new", "ackpost identity list"]),
    (
        "identity new",
        &["ackpost identity new", "ackpost identity new bot"],
    ),
    ("identity show", &["ackpost identity show bot"]),
    ("identity list", &["ackpost identity list"]),
    (
        "identity import",
        &["ackpost identity import bot < recovery-phrase.txt"],
    ),
    ("identity phrase", &["ackpost identity phrase bot"]),
    (
        "room",
        &[
            "ackpost room save lobby 'https://community.example.org/lobby?public_key=SERVERKEY'",
            "ackpost room read lobby",
            "ackpost room post lobby -b Hello",
        ],
    ),
    ("room info", &["ackpost room info lobby"]),
    ("room list", &["ackpost room list lobby"]),
    (
        "room read",
        &["ackpost room read lobby", "ackpost --json room read lobby"],
    ),
    (
        "room post",
        &[
            "ackpost room post lobby -b Hello",
            "df -h | ackpost room post lobby",
        ],
    ),
    ("room edit", &["ackpost room edit lobby 1234 -b 'Hello, all'"]),
    (
        "room delete",
        &[
            "ackpost room delete lobby 1234",
            "ackpost room delete lobby --all-of 15e5…b6fe",
        ],
    ),
    ("room react", &["ackpost room react lobby 1234 👍"]),
    ("room pin", &["ackpost room pin lobby 1234"]),
    ("room upload", &["ackpost room upload lobby picture.png"]),
    ("room download", &["ackpost room download lobby 7"]),
    ("room members", &["ackpost room members lobby"]),
    (
        "room ban",
        &[
            "ackpost room ban lobby 15e5…b6fe --for 12h --delete",
            "ackpost room ban lobby --file raiders.txt",
        ],
    ),
    ("room unban", &["ackpost room unban lobby 15e5…b6fe"]),
    (
        "room mods",
        &["ackpost room mods lobby", "ackpost room mods lobby --add Bob"],
    ),
    (
        "room held",
        &[
            "ackpost room held list lobby",
            "ackpost room held approve lobby 1234",
        ],
    ),
    ("room held list", &["ackpost room held list lobby"]),
    (
        "room held approve",
        &["ackpost room held approve lobby 1234 1240 --trust"],
    ),
    (
        "room held reject",
        &["ackpost room held reject lobby 1234 --ban 2d"],
    ),
    (
        "room report",
        &["ackpost room report lobby 1234 'insults people'"],
    ),
    (
        "room reports",
        &[
            "ackpost room reports list lobby",
            "ackpost room reports close lobby 1234",
        ],
    ),
    ("room reports list", &["ackpost room reports list lobby"]),
    (
        "room reports close",
        &["ackpost room reports close lobby 1234 --delete"],
    ),
    (
        "room permissions",
        &[
            "ackpost room permissions lobby",
            "ackpost room permissions lobby Bob --deny w",
        ],
    ),
    ("room settings", &["ackpost room settings lobby"]),
    (
        "room save",
        &["ackpost room save lobby 'https://community.example.org/lobby?public_key=SERVERKEY'"],
    ),
    ("room saved", &["ackpost room saved"]),
    ("room forget", &["ackpost room forget lobby"]),
    (
        "dm",
        &[
            "ackpost dm send lobby SESSION_ID -b Hello",
            "ackpost dm read lobby",
        ],
    ),
    ("dm send", &["ackpost dm send lobby SESSION_ID -b Hello"]),
    ("dm read", &["ackpost dm read lobby"]),
    ("dm id", &["ackpost dm id"]),
    (
        "watch",
        &[
            "ackpost watch lobby",
            "ackpost --json watch 'xmpps://bot:password@example.org/#ops@rooms.example.org'",
        ],
    ),
    (
        "details",
        &[
            "ackpost details",
            "ackpost details xmpp",
            "ackpost --json details xmpp",
        ],
    ),
    ("storage", &["ackpost storage list"]),
    (
        "sendmail",
        &["printf 'Subject: disk full\\n\\non db1\\n' | ackpost sendmail root"],
    ),
    (
        "sendxmpp",
        &["echo 'disk full' | ackpost sendxmpp -s alert jane@example.org"],
    ),
    (
        "generate",
        &[
            "ackpost generate completions bash",
            "ackpost generate man --dir ~/.local/share/man/man1",
        ],
    ),
    (
        "generate completions",
        &["ackpost generate completions bash > ~/.local/share/bash-completion/completions/ackpost"],
    ),
    (
        "generate man",
        &[
            "ackpost generate man --dir ~/.local/share/man/man1",
            "ackpost generate man | man -l -",
        ],
    ),
    (
        "generate reference",
        &["ackpost generate reference > commands.md"],
    ),
    (
        "generate parameters",
        &["ackpost generate parameters > parameters.md"],
    ),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::argv::Call;
    use crate::cli::Cli;
    use crate::context::Invocation;

    /// Returns the words of a command line: those after a pipe and before a redirection or the next pipe, without
    /// quotes.
    fn words(example: &str) -> Vec<String> {
        let start = example.find("ackpost").expect("a command of ackpost");
        let text = example[start..].replace("SESSION_ID", &"05".repeat(33));
        let text = text.split([';', '|', '<', '>']).next().expect("one part");
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in text.trim().chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().expect("one").push(c),
            }
        }
        words
    }

    fn paths(command: &clap::Command, path: &str, all: &mut Vec<String>) {
        all.push(path.to_owned());
        for sub in command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        {
            paths(sub, format!("{path} {}", sub.get_name()).trim(), all);
        }
    }

    #[test]
    fn every_command_has_examples_that_name_it_and_can_be_read() {
        let tree = Cli::command();
        let mut all = Vec::new();
        paths(&tree, "", &mut all);
        assert!(all.len() > 100, "{} commands", all.len());
        for path in &all {
            let examples = of(path);
            if examples.is_empty() {
                let command = path.split(' ').fold(&tree, |command, name| {
                    command.find_subcommand(name).expect("a path of the tree")
                });
                let text = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let own = in_text(&text);
                assert!(
                    own.iter().any(|one| one.starts_with(&format!("ackpost {path}"))),
                    "`{path}` has no example: add it to help/examples.rs"
                );
            }
            for example in examples {
                let words = words(example);
                let plain: Vec<&str> = words
                    .iter()
                    .skip(1)
                    .filter(|word| *word != "--json")
                    .map(String::as_str)
                    .collect();
                assert!(
                    plain.join(" ").starts_with(path.as_str()),
                    "{example} is not an example of `{path}`"
                );
                let call = Call::new(Invocation::Ackpost, &words[1..])
                    .unwrap_or_else(|e| panic!("{example}: {e:?}"));
                if let Err(error) = Cli::command().try_get_matches_from(&call.words) {
                    panic!("{example}: {error}");
                }
            }
        }
        for (path, _) in EXAMPLES {
            assert!(
                all.iter().any(|one| one == path),
                "no command has the path `{path}`"
            );
        }
    }
}
