//! Where services come from: URLs on the command line, configuration files, the environment, default files.

use ackpost_notify::{Diagnostic, Notifier, Options, Source, TagFilter};

use crate::cmd::identity;
use crate::cmd::outbox::place;
use crate::cmd::room::saved;
use crate::context::Context;

/// What a command line says about sources.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// URL arguments.
    pub(crate) urls: &'a [String],
    /// `-c`.
    pub(crate) configs: &'a [String],
    /// `-g`.
    pub(crate) tags: &'a [String],
}

/// Services, and which of them are meant.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) notifier: Notifier,
    pub(crate) filter: TagFilter,
    /// Remarks about sources that are not used.
    pub(crate) remarks: Vec<Diagnostic>,
}

impl Loaded {
    /// Every problem worth telling, in the order they came up: what did not load, and what is odd about what did.
    pub(crate) fn problems(&self) -> Vec<Diagnostic> {
        let mut all = self.remarks.clone();
        all.extend(self.notifier.problems().iter().cloned());
        all
    }
}

/// Loads services from the first source that is there: URLs, `-c`, `APPRISE_URLS`, default files.
pub(crate) async fn load(mut options: Options, wanted: &Wanted<'_>, _context: Context) -> Loaded {
    // What URLs may leave out or ask to be remembered: the stored identity (join links), login tokens.
    options.context.identity = options.context.identity.or_else(identity::default_seed);
    options.context.communities = Some(saved::communities());
    let env = options.context.env.clone();
    options
        .courier
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
            // What is wrong with it stays in the notifier.
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
        for file in ackpost_notify::config::default_paths(&env) {
            notifier
                .add_source(Source::from_location(&file.to_string_lossy()))
                .await;
        }
    }
    Loaded {
        notifier,
        filter,
        remarks,
    }
}
