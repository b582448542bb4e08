//! Declaration of URL parameters: one table per service, one for all services, one for the outbox.
//!
//! The parser, the canonical URL, `preview`, the warnings about unknown names, `ackpost details` and the reference page
//! all read these tables.

/// One parameter of a URL.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Param {
    /// Name as written in a URL.
    pub name: &'static str,
    /// Other names with the same meaning.
    pub aliases: &'static [&'static str],
    /// Accepted values.
    pub values: Values,
    /// Value used when none is written; empty if there is none.
    pub default: &'static str,
    /// Version that introduced the parameter.
    pub since: &'static str,
    /// The value is never printed.
    pub secret: bool,
    /// Effect of the parameter, in one or two sentences.
    pub help: &'static str,
    /// One example, `name=value`.
    pub example: &'static str,
    /// Rule for showing the parameter in the canonical URL.
    pub written: Written,
}

/// Accepted values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// `yes` or `no`.
    YesNo,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Free form, described in words.
    Text(&'static str),
}

/// Rule for showing a parameter in the canonical URL and in the list of effective parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// In the canonical URL always.
    Always,
    /// In the canonical URL if it is not the default.
    Changed,
    /// As `Changed`; the value is percent-decoded once more when it is read.
    Guarded,
    /// In the list only.
    Listed,
    /// Part of the address: in neither.
    Address,
}

impl Values {
    /// The words among the values, for completion.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::YesNo => &["yes", "no"],
            Self::Words(words) => words,
            Self::Text(_) => &[],
        }
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            words => f.write_str(&words.words().join(", ")),
        }
    }
}

impl Param {
    /// Declares a parameter. `default` is the text of the default value, empty if there is none; `help` is one or two
    /// sentences; `example` is `name=value`. The canonical URL has it if it is not the default.
    pub const fn new(
        name: &'static str,
        values: Values,
        default: &'static str,
        help: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            values,
            default,
            since: "0.1.0",
            secret: false,
            help,
            example,
            written: Written::Changed,
        }
    }

    /// Sets how the canonical URL shows it.
    #[must_use]
    pub const fn written(mut self, written: Written) -> Self {
        self.written = written;
        self
    }

    /// Sets other names with the same meaning.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Sets the version that introduced the parameter.
    #[must_use]
    pub const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }

    /// Makes the value a secret, which is never printed.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Name and aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// True if one of these parameters has this name.
pub fn declares(table: &[Param], name: &str) -> bool {
    table
        .iter()
        .any(|param| param.name == name || param.aliases.contains(&name))
}

/// Parts of the address that may also be written as parameters or as keys of a configuration entry.
pub static ADDRESS_PARAMETERS: &[Param] = &[
    Param::new(
        "schema",
        Values::Text("a schema"),
        "",
        "Schema of the URL. Key of a configuration entry only.",
        "schema=xmpps",
    )
    .written(Written::Address),
    Param::new(
        "host",
        Values::Text("a host name or address"),
        "",
        "Host of the URL. Key of a configuration entry only.",
        "host=example.org",
    )
    .written(Written::Address),
    Param::new(
        "port",
        Values::Text("1 to 65535"),
        "",
        "Port, instead of the one in the address.",
        "port=5222",
    )
    .written(Written::Address),
    Param::new(
        "user",
        Values::Text("text"),
        "",
        "User, instead of the one in the address.",
        "user=alerts",
    )
    .written(Written::Address),
    Param::new(
        "password",
        Values::Text("text"),
        "",
        "Password, instead of the one in the address.",
        "password=SECRET",
    )
    .aliases(&["pass"])
    .secret()
    .written(Written::Address),
    Param::new(
        "targets",
        Values::Text("see `to`"),
        "",
        "Another name for `to` in a configuration entry.",
        "targets=lobby",
    )
    .written(Written::Address),
];

/// Parameters of every service, in the order of the canonical URL.
pub static COMMON_PARAMETERS: &[Param] = &[
    Param::new(
        "overflow",
        Values::Words(&["upstream", "split", "truncate"]),
        "upstream",
        "Handling of a text that is too long for the service. `upstream` sends it as it is, `split` sends several messages, \
         `truncate` cuts it and reports that.",
        "overflow=split",
    )
    .written(Written::Always),
    Param::new(
        "format",
        Values::Words(&["text", "markdown", "html"]),
        "text",
        "Format of the text that is sent to the service.",
        "format=markdown",
    )
    .written(Written::Always),
    Param::new(
        "tz",
        Values::Text("an IANA time zone, its city, or UTC"),
        "UTC",
        "Time zone of times shown in messages and of `quiet`. Without it, `quiet` uses the zone of the system.",
        "tz=Europe/Berlin",
    ),
    Param::new("store", Values::YesNo, "yes", "Accepted for compatibility with Apprise; has no effect.", "store=no"),
    Param::new(
        "retry",
        Values::Text("0 to 10"),
        "0",
        "Number of further attempts after a failed one.",
        "retry=3",
    )
    .written(Written::Always),
    Param::new(
        "wait",
        Values::Text("seconds from 0 to 20"),
        "0.5",
        "Delay between two attempts.",
        "wait=2.5",
    )
    .written(Written::Always),
    Param::new(
        "optional",
        Values::YesNo,
        "no",
        "A failure of this URL does not change the exit code.",
        "optional=yes",
    )
    .written(Written::Always),
    Param::new("rto", Values::Text("seconds, more than 0"), "4.0", "Timeout for an answer.", "rto=15"),
    Param::new("cto", Values::Text("seconds, more than 0"), "4.0", "Timeout for opening a connection.", "cto=7.5"),
    Param::new(
        "verify",
        Values::YesNo,
        "yes",
        "Check the certificate of the server. Without the check, anybody on the network can read the messages.",
        "verify=no",
    ),
    Param::new(
        "redirect",
        Values::YesNo,
        "yes",
        "Follow HTTP redirects of a community server within its origin. Redirects to another origin are never followed.",
        "redirect=no",
    ),
    Param::new(
        "emojis",
        Values::YesNo,
        "no",
        "Replace short codes such as `:smile:` with emoji.",
        "emojis=yes",
    )
    .written(Written::Listed),
];

/// Parameters that the outbox reads. They have an effect for queued messages only.
pub static QUEUE_PARAMETERS: &[Param] = &[
    Param::new(
        "queue",
        Values::YesNo,
        "no",
        "Store the message in the outbox and deliver it from there, as `--queue` does.",
        "queue=yes",
    ),
    Param::new(
        "ttl",
        Values::Text("a time such as 16s, 5m, 1h30m, 2d; at most 60d"),
        "24h",
        "Time after which an undelivered message becomes a dead letter.",
        "ttl=2h",
    ),
    Param::new(
        "dedup",
        Values::Text("KEY or KEY/TIME; the key `auto` compares title and body"),
        "",
        "Send only the first message with this key within the time (1h by default), then the latest with the number of repeats.",
        "dedup=disk/10m",
    ),
    Param::new(
        "digest",
        Values::Text("a time such as 5m"),
        "",
        "Collect messages for this time and send them as one.",
        "digest=5m",
    ),
    Param::new(
        "budget",
        Values::Text("COUNT/TIME with a count from 1 to 256, or off"),
        "",
        "Maximum number of messages per time. A community has 5/16s unless something else is written.",
        "budget=5/16s",
    ),
    Param::new(
        "quiet",
        Values::Text("HH:MM-HH:MM"),
        "",
        "Hours in which nothing is sent, in the time zone of `tz`.",
        "quiet=22:00-07:00",
    ),
    Param::new(
        "alarm_after",
        Values::Text("a time such as 15m"),
        "",
        "Raise an alarm if deliveries have failed for this time.",
        "alarm_after=15m",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Context, SOGS, ServiceUrl, Services, XMPP};
    use crate::url::query::Query;
    use crate::{Diagnostic, Environment};

    const KEY: &str = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
    const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    static SERVICES: Services = Services::new(&[&SOGS, &XMPP]);

    fn load(url: &str) -> Result<ServiceUrl, Diagnostic> {
        let context = Context {
            env: Environment::empty(),
            check_permissions: false,
            services: SERVICES,
            ..Context::default()
        };
        ServiceUrl::parse(url, &context)
    }

    fn bases() -> [(&'static str, String); 2] {
        [
            ("sogs", format!("sessions://{KEY}:{SEED}@h.org/lobby")),
            ("xmpp", "xmpps://a:p@h.org/b".to_owned()),
        ]
    }

    #[test]
    fn every_example_is_accepted_without_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, SEED).expect("a file");
        for (service, base) in bases() {
            let kind = SERVICES.named(service).expect("a service");
            let all = [
                kind.parameters,
                COMMON_PARAMETERS,
                QUEUE_PARAMETERS,
                ADDRESS_PARAMETERS,
            ];
            for param in all.into_iter().flatten() {
                let (name, value) = param.example.split_once('=').expect("name=value");
                assert_eq!(name, param.name);
                let value = match (name, value) {
                    ("public_key", _) => KEY.to_owned(),
                    ("seed", _) => SEED.to_owned(),
                    ("user", _) if service == "sogs" => KEY.to_owned(),
                    ("password", _) if service == "sogs" => SEED.to_owned(),
                    ("whisper", _) => format!("05{KEY}"),
                    ("seed_file" | "password_file", _) => file.display().to_string(),
                    (_, value) => value.to_owned(),
                };
                let loaded = load(&format!("{base}?{name}={value}"))
                    .unwrap_or_else(|problem| panic!("{service} {}: {problem}", param.example));
                assert!(
                    loaded.warnings().is_empty(),
                    "{service} {}: {:?}",
                    param.example,
                    loaded.warnings()
                );
                let listed = loaded.parameters().into_iter().any(|one| one.name == name);
                assert_eq!(listed, param.written != Written::Address, "{service} {name}");
                for word in param.values.words() {
                    if service != "xmpp" || name != "mode" {
                        load(&format!("{base}?{name}={word}"))
                            .unwrap_or_else(|problem| panic!("{service} {name}={word}: {problem}"));
                    }
                }
            }
        }
    }

    #[test]
    fn defaults_are_those_of_the_parser() {
        for (service, base) in bases() {
            let loaded = load(&base).expect("loads");
            let shown = loaded.parameters();
            for param in loaded.kind().parameters.iter().chain(COMMON_PARAMETERS) {
                let Some(one) = shown.iter().find(|one| one.name == param.name) else {
                    continue;
                };
                // A default that depends on something else is described, not declared.
                if !param.default.is_empty() && param.name != "tz" {
                    assert_eq!(one.value.to_string(), param.default, "{service} {}", param.name);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "bogus is read but not declared")]
    fn reading_an_undeclared_parameter_fails() {
        let (query, context) = (Query::default(), Context::default());
        context.reader(&query, &[]).text("bogus");
    }

    #[test]
    fn unusable_values_for_the_outbox_are_refused_with_the_url() {
        for (name, value) in [
            ("ttl", "banana"),
            ("quiet", "xx"),
            ("budget", "zz"),
            ("digest", "0"),
            ("dedup", "/5m"),
            ("alarm_after", "61d"),
            ("queue", "banana"),
        ] {
            for (_, base) in bases() {
                let problem = load(&format!("{base}?{name}={value}")).expect_err("a refusal");
                assert_eq!(problem.key.as_deref(), Some(name), "{problem}");
            }
        }
        // All of a URL at once, those of the service and of the address too.
        for (_, base) in bases() {
            let problem =
                load(&format!("{base}?ttl=banana&quiet=xx&budget=zz&tz=nowhere")).expect_err("a refusal");
            assert_eq!(
                problem.key.as_deref(),
                Some("tz, ttl, budget, quiet"),
                "{problem}"
            );
            for name in ["ttl", "quiet", "budget"] {
                assert!(
                    problem.cause.contains(&format!("`{name}=` is not understood")),
                    "{problem}"
                );
            }
            assert!(problem.cause.contains("unknown time zone `nowhere`"), "{problem}");
            assert_eq!(
                problem.remedy.matches("write a time such as").count(),
                1,
                "{problem}"
            );
        }
        let problem = load("xmpps://h.org/b?ttl=banana").expect_err("a refusal");
        assert!(
            problem.to_string().contains("ttl") && problem.to_string().contains("user"),
            "{problem}"
        );
        let loaded = load("xmpps://a:p@h.org/b?ttl=2h&quiet=22:00-07:00&tz=Europe/Berlin").expect("loads");
        assert_eq!(
            loaded.common().rules.ttl,
            Some(std::time::Duration::from_secs(7200))
        );
        assert!(loaded.common().rules.quiet.is_some());
        assert!(loaded.expose_url().contains("&ttl=2h"), "{}", loaded.expose_url());
    }

    #[test]
    fn timeouts_that_are_none_are_reported_and_the_default_is_used() {
        for value in ["0", "-3", "inf", "nan", "-0.0", "1e300", "9223372037", "soon"] {
            for name in ["cto", "rto"] {
                let loaded = load(&format!("xmpps://a:p@h.org/b?{name}={value}")).expect("loads");
                assert_eq!(loaded.warnings().len(), 1, "{name}={value}");
                assert_eq!(loaded.warnings()[0].key.as_deref(), Some(name));
                assert_eq!(
                    (loaded.common().cto.to_bits(), loaded.common().rto.to_bits()),
                    (4.0_f64.to_bits(), 4.0_f64.to_bits())
                );
            }
        }
        for value in ["0.001", "9223372036", "1e3"] {
            assert!(
                load(&format!("xmpps://a:p@h.org/b?cto={value}"))
                    .expect("loads")
                    .warnings()
                    .is_empty()
            );
        }
    }
}
