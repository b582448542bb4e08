//! Sources of services: URLs on the command line, configuration files, the environment, default files.

use ackpost_apprise::{Notifier, Options, Source, TagFilter, foreign_words};
use ackpost_notify::{Diagnostic, Foreign};

use crate::cmd::identity;
use crate::cmd::outbox::place;
use crate::cmd::room::saved;
use crate::context::Context;

/// Sources that a command line names.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// URL arguments.
    pub(crate) urls: &'a [String],
    /// `-c`.
    pub(crate) configs: &'a [String],
    /// `-g`.
    pub(crate) tags: &'a [String],
    /// `--foreign`.
    pub(crate) foreign: Option<Foreign>,
}

/// Services, and the filter that selects some of them.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) notifier: Notifier,
    pub(crate) filter: TagFilter,
    /// Remarks about sources that are not used.
    pub(crate) remarks: Vec<Diagnostic>,
    /// Rule for entries of other services, and the number of chosen ones by schema.
    pub(crate) foreign: (Foreign, Vec<(String, usize)>),
}

impl Loaded {
    /// Returns every problem worth telling, in order: sources that did not load, and oddities of those that did.
    pub(crate) fn problems(&self) -> Vec<Diagnostic> {
        let mut all = self.remarks.clone();
        all.extend(self.notifier.problems().iter().cloned());
        all
    }

    /// One line about the chosen entries of other services, if there are any.
    pub(crate) fn foreign_line(&self) -> Option<String> {
        let (rule, counts) = &self.foreign;
        let way = match rule {
            Foreign::Apprise => "through Apprise",
            Foreign::Skip => "skipped",
            Foreign::Fail => "not delivered",
        };
        (!counts.is_empty()).then(|| format!("{} ({way})", foreign_words(counts)))
    }
}

/// Loads services from the first source that is there: URLs, `-c`, `APPRISE_URLS`, default files.
pub(crate) async fn load(mut options: Options, wanted: &Wanted<'_>, context: Context) -> Loaded {
    // Data that URLs may leave out or ask to be remembered: the stored identity (join links), login tokens.
    options.context.identity = options.context.identity.or_else(identity::default_seed);
    options.context.communities = Some(saved::communities());
    options.context.services = context.services;
    let env = options.context.env.clone();
    options
        .connections
        .state_folder
        .get_or_insert_with(|| place::state_folder(&|name| env.var(name)));
    let mut notifier = Notifier::with_options(options);
    let mut remarks = Vec::new();
    let mut ignored = |what: &str, instead: &str| {
        remarks.push(Diagnostic::warning(
            format!("{what} is not used"),
            format!("{instead} were given; leave one of them out"),
        ));
    };
    let mut filter = TagFilter::from_values(wanted.tags);
    let variable = env.var("APPRISE_URLS").filter(|urls| !urls.trim().is_empty());
    if !wanted.urls.is_empty() {
        if !wanted.tags.is_empty() {
            ignored("--tag (-g)", "URLs");
        }
        if !wanted.configs.is_empty() {
            ignored("--config (-c)", "URLs");
        }
        for url in wanted.urls {
            // The notifier keeps the problems of the URL.
            let _ = notifier.add(url);
        }
        filter = TagFilter::All;
    } else if !wanted.configs.is_empty() {
        for location in wanted.configs {
            notifier.add_config(location).await;
        }
    } else if let Some(urls) = variable {
        if !wanted.tags.is_empty() {
            ignored("--tag (-g)", "URLs (in APPRISE_URLS)");
        }
        let _ = notifier.add(&urls);
        filter = TagFilter::All;
    } else {
        if env.var("APPRISE_CONFIG_PATH").is_none() && env.var("APPRISE_CONFIG").is_some() {
            remarks.push(Diagnostic::warning(
                "the environment variable APPRISE_CONFIG has an old name",
                "rename it to APPRISE_CONFIG_PATH",
            ));
        }
        for file in ackpost_apprise::config::default_paths(&env) {
            notifier
                .add_source(Source::from_location(&file.to_string_lossy()))
                .await;
        }
    }
    let rule = wanted.foreign.or(notifier.asset().foreign).unwrap_or_default();
    let counts = notifier.settle_foreign(rule, &filter);
    Loaded {
        notifier,
        filter,
        remarks,
        foreign: (rule, counts),
    }
}
